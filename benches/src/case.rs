//! A case: something that is set up once and then measured again and again.
//!
//! What is measured ends with dropping the result. Never measures anything itself; the two harnesses do.

use std::fmt;
use std::hint::black_box;

/// How large the input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// As the case's name says: to be measured.
    Full,
    /// As small as still does what the case is about: to be tested.
    Small,
}

impl Scale {
    /// `full` things, or a few.
    ///
    /// ```
    /// use tickwire_benches::Scale;
    /// assert_eq!((Scale::Full.of(1_000), Scale::Small.of(1_000)), (1_000, 20));
    /// assert_eq!(Scale::Small.of(3), 3);
    /// ```
    #[must_use]
    pub fn of(self, full: usize) -> usize {
        match self {
            Self::Full => full,
            Self::Small => full.min(20),
        }
    }
}

/// Something measured, with everything that it needs at hand. Running it leaves it as it was, or [`Self::prepare`] puts
/// it back.
pub trait HotPath {
    /// What a run results in.
    type Output;

    /// Whether [`Self::prepare`] has to be called before each run, unmeasured.
    const PREPARES: bool = false;

    /// Makes ready for the next run.
    fn prepare(&mut self) {}

    /// What is measured.
    fn run(&mut self) -> Self::Output;

    /// Compares the result of the last run with what it must be, known in another way.
    ///
    /// # Panics
    /// When it is wrong.
    fn check(&mut self, output: &Self::Output);
}

/// A [`HotPath`] of any type.
pub trait Work {
    /// Whether [`Self::prepare`] does something.
    fn prepares(&self) -> bool;
    /// Makes ready for the next run; unmeasured.
    fn prepare(&mut self);
    /// Runs once and drops the result; measured.
    fn run(&mut self);
    /// Makes ready, runs and checks the result.
    ///
    /// # Panics
    /// When it is wrong.
    fn run_checked(&mut self);
}

impl<H: HotPath> Work for H {
    fn prepares(&self) -> bool {
        H::PREPARES
    }

    fn prepare(&mut self) {
        HotPath::prepare(self);
    }

    fn run(&mut self) {
        drop(black_box(HotPath::run(black_box(self))));
    }

    fn run_checked(&mut self) {
        HotPath::prepare(self);
        let output = HotPath::run(self);
        self.check(&output);
    }
}

impl fmt::Debug for dyn Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Work")
    }
}

/// One line of the table of cases.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// The hot path, the name of its file.
    pub path: &'static str,
    /// The case's name within its path.
    pub id: &'static str,
    pub(crate) set_up: fn(Scale) -> Box<dyn Work>,
}

impl Case {
    /// Makes what the case works on.
    #[must_use]
    pub fn set_up(&self, scale: Scale) -> Box<dyn Work> {
        (self.set_up)(scale)
    }

    /// As [`Self::set_up`], in full size, run once and ready for the next run: buffers have their usual capacity, so the
    /// next run is like any other.
    #[must_use]
    pub fn warmed(&self) -> Box<dyn Work> {
        let mut work = self.set_up(Scale::Full);
        work.prepare();
        work.run();
        work.prepare();
        work
    }
}
