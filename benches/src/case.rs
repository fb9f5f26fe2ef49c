//! A case: something that is set up once and then measured again and again.
//!
//! Dropping the result is part of what is measured. This file measures nothing itself: the two harnesses do.

use std::fmt;
use std::hint::black_box;

/// How large the input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// The size that the case's name tells, to be measured.
    Full,
    /// The smallest size that still shows what the case is about, to be tested.
    Small,
}

impl Scale {
    /// The number of things to use: `full`, or a few.
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

/// Something to measure, with everything that it needs. A run leaves it as it was, or [`Self::prepare`] puts it back.
pub trait HotPath {
    /// The result of a run.
    type Output;

    /// Whether [`Self::prepare`] has to be called before each run. That call is not measured.
    const PREPARES: bool = false;

    /// Prepares the next run.
    fn prepare(&mut self) {}

    /// Does what is measured.
    fn run(&mut self) -> Self::Output;

    /// Compares the result of the last run with the right one, which is known in another way.
    ///
    /// # Panics
    /// When the result is wrong.
    fn check(&mut self, output: &Self::Output);
}

/// A [`HotPath`] of any type, as an object.
pub trait Work {
    /// Whether [`Self::prepare`] does something.
    fn prepares(&self) -> bool;
    /// Prepares the next run. This is not measured.
    fn prepare(&mut self);
    /// Runs once and drops the result. This is measured.
    fn run(&mut self);
    /// Prepares a run, runs and checks the result.
    ///
    /// # Panics
    /// When the result is wrong.
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

/// A row of the table of cases.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// The hot path: the name of its file.
    pub path: &'static str,
    /// The case's name within its path.
    pub id: &'static str,
    pub(crate) set_up: fn(Scale) -> Box<dyn Work>,
}

impl Case {
    /// Sets up the case.
    #[must_use]
    pub fn set_up(&self, scale: Scale) -> Box<dyn Work> {
        (self.set_up)(scale)
    }

    /// Sets up the case in full size, runs it once and prepares the next run. Buffers then have their usual capacity,
    /// so that the next run is like any later one.
    #[must_use]
    pub fn warmed(&self) -> Box<dyn Work> {
        let mut work = self.set_up(Scale::Full);
        work.prepare();
        work.run();
        work.prepare();
        work
    }
}
