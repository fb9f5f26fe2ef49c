//! Runs tasks that the broker cannot do without: a task that panics is started again.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;

/// The pause before a restart, so that a task that panics at once does not take all the time of its thread.
const PAUSE: Duration = Duration::from_millis(50);

/// Runs `work`, and again whenever it panics, until it ends normally. `what` names it in the log.
pub(crate) async fn kept_up<F: Future<Output = ()>>(what: &str, work: impl Fn() -> F) {
    while AssertUnwindSafe(work()).catch_unwind().await.is_err() {
        tracing::error!(what, "a task of the broker panicked and is begun again");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Does the same in a task of its own. Must be called within a `LocalSet`.
pub(crate) fn keep_up<F: Future<Output = ()> + 'static>(what: &'static str, work: impl Fn() -> F + 'static) {
    tokio::task::spawn_local(async move { kept_up(what, work).await });
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_task_that_panics_is_begun_again() {
        let begun = Cell::new(0);
        kept_up("a task", || async {
            begun.set(begun.get() + 1);
            assert!(begun.get() == 3, "not yet");
        })
        .await;
        assert_eq!(begun.get(), 3);
    }
}
