//! The task that looks for topics that are silent or have expired, at the time when that may be so of the next one, and
//! forgets keys of publications whose time is over.

use std::sync::Arc;
use std::time::Duration;

use tickwire_router::Directory;

use crate::run::clock::Clock;

/// The longest time between two looks. A topic that is made in between is seen at the next one.
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// The shortest time between two looks, in which the thread's other tasks have their turn.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// Looks for silent and expired topics until the future is dropped.
pub(crate) async fn run(directory: Arc<Directory>, clock: Clock) {
    loop {
        let (silent, expired) = (
            directory.look_for_stale(clock.now()),
            directory.expire(clock.now()),
        );
        let keys = directory.forget_keys(clock.now()).then(|| clock.now());
        let next = [silent, expired, keys].into_iter().flatten().min();
        let wait = next.map_or(PAUSE_MAX, |at| {
            Duration::from_micros(at.since(clock.now())).clamp(PAUSE_MIN, PAUSE_MAX)
        });
        tokio::time::sleep(wait).await;
    }
}
