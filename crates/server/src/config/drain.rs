//! How a broker leaves: the key table `[drain]`.

use super::error::ConfigError;
use super::settings::Settings;

/// Time in milliseconds that is kept behind the window: for what clients have yet to take, and for their answers.
const AFTER_WINDOW_MS: u64 = 1_000;

/// The key table `[drain]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// Longest time in milliseconds over which the closes of all connections are spread.
    pub window_ms: u64,
    /// Time in milliseconds after which the broker ends, whoever is still connected.
    pub deadline_ms: u64,
}

impl Drain {
    pub(super) fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let drain = Self {
            window_ms: settings.integer("drain.window_ms")?,
            deadline_ms: settings.integer("drain.deadline_ms")?,
        };
        if drain.window_ms + AFTER_WINDOW_MS > drain.deadline_ms {
            let rule = format!("must be at least {AFTER_WINDOW_MS} more than");
            return Err(settings.refuse_beside("drain.deadline_ms", &rule, "drain.window_ms"));
        }
        Ok(drain)
    }
}
