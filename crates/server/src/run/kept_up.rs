//! Tasks that the broker cannot do without: one that panics is begun again.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;

/// Time before a task is begun again, so that one that panics at once does not keep its thread from everything else.
const PAUSE: Duration = Duration::from_millis(50);

/// Does `work`, and again whenever it panics, until it ends by itself.
pub(crate) async fn kept_up<F: Future<Output = ()>>(what: &str, work: impl Fn() -> F) {
    while AssertUnwindSafe(work()).catch_unwind().await.is_err() {
        tracing::error!(what, "a task of the broker panicked and is begun again");
        tokio::time::sleep(PAUSE).await;
    }
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
