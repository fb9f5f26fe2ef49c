//! How a broker leaves: the key table `[drain]`.

use super::error::ConfigError;
use super::keys::{Key, MINUTE_MS};
use super::settings::Settings;

/// Time in milliseconds that is kept behind the window: for what clients have yet to take, and for their answers.
const AFTER_WINDOW_MS: u64 = 1_000;

pub(super) const DELAY: Key = Key::integer(
    "drain.delay_ms",
    0,
    10 * MINUTE_MS,
    0,
    "Time for which a broker that was told to stop still takes connections, while /readyz fails already; the window and the deadline begin after it",
);
pub(super) const WINDOW: Key = Key::integer(
    "drain.window_ms",
    0,
    60 * MINUTE_MS,
    30_000,
    "Longest time over which connections are closed when the broker stops; with few it is 100 ms for each",
);
pub(super) const DEADLINE: Key = Key::integer(
    "drain.deadline_ms",
    1_000,
    61 * MINUTE_MS,
    60_000,
    "Time after which a broker that stops ends, whoever is still connected; at least 1,000 more than the window",
);

/// The key table `[drain]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// Time in milliseconds for which connections are still taken after the broker was told to stop.
    pub delay_ms: u64,
    /// Longest time in milliseconds over which the closes of all connections are spread.
    pub window_ms: u64,
    /// Time in milliseconds after which the broker ends, whoever is still connected.
    pub deadline_ms: u64,
}

impl Drain {
    pub(super) fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let drain = Self {
            delay_ms: settings.integer("drain.delay_ms")?,
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
