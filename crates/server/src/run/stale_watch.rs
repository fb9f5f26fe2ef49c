//! The task that looks for topics which fell silent, when the next of them may have.

use std::sync::Arc;
use std::time::Duration;

use tickwire_router::Directory;

use crate::run::clock::Clock;

/// Longest time between two looks: a topic that is made in between is looked at then.
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// Shortest time between two looks, in which the thread's other tasks have their turn.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// Looks until it is dropped.
pub(crate) async fn run(directory: Arc<Directory>, clock: Clock) {
    loop {
        let next = directory.look_for_stale(clock.now());
        let wait = next.map_or(PAUSE_MAX, |at| {
            Duration::from_micros(at.since(clock.now())).clamp(PAUSE_MIN, PAUSE_MAX)
        });
        tokio::time::sleep(wait).await;
    }
}
