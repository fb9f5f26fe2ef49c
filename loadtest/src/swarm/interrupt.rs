//! Handles SIGINT and SIGTERM, so that the broker that was started does not outlive the load test.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};

/// Whether a signal asked for the end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Starts to watch. The signals are only recorded from now on.
    pub(crate) fn watch() -> anyhow::Result<Self> {
        let asked = Self::default();
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, asked.0.clone()).context("cannot watch for signals")?;
        }
        Ok(asked)
    }

    pub(crate) fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.0.load(Ordering::Relaxed), "interrupted by a signal");
        Ok(())
    }
}
