//! Runs a plan and returns its outcome.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};

use crate::broken::{Broken, Rule};
use crate::plan::Plan;
use crate::tally::Tally;
use crate::world::World;

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The outcome of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// A hash of the run. Two runs of the same plan have the same.
    pub hash: u64,
    /// How often what happened.
    pub tally: Tally,
    /// The first broken promise, if there is one.
    pub broken: Option<Broken>,
    /// The last events as text, if they were asked for.
    pub lines: Vec<String>,
}

/// Runs `plan`. Keeps what happens as text if `with_lines`. A panic of the broker counts as a broken promise.
#[must_use]
pub fn run(plan: &Plan, with_lines: bool) -> Outcome {
    let mut world = World::new(plan.setup.clone(), with_lines);
    let ran = panic::catch_unwind(AssertUnwindSafe(|| {
        plan.ops.iter().try_for_each(|op| world.apply(op))
    }));
    let broken = match ran {
        Ok(result) => result.err(),
        Err(_) => Some(Broken::new(Rule::Panic, PANIC.take())),
    };
    let tally = world.tally();
    // What has panicked may panic again when it is dropped.
    let trace = std::mem::replace(&mut world.trace, crate::trace::Trace::new(false));
    if broken.as_ref().is_some_and(|broken| broken.rule == Rule::Panic) {
        std::mem::forget(world);
    }
    let (hash, lines) = trace.finish();
    Outcome {
        hash,
        tally,
        broken,
        lines,
    }
}

/// Keeps the message of a panic instead of printing it: a panic is an outcome here.
pub fn catch_panics() {
    panic::set_hook(Box::new(|info| {
        PANIC.set(info.to_string());
    }));
}
