//! The time of the tasks that speak HTTP on a shard's thread: together they get little between two cycles of the shard, so that
//! they do not hold up deliveries.
//!
//! A flood of handshakes, each with a signature to be verified, is many tasks that are ready at once, and tokio polls sixty of them
//! before it comes back to the loop. Those beyond the time wait for the next round, in their order. One poll is one piece,
//! however long.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// Time for such tasks in a round.
const ROUND: Duration = Duration::from_micros(500);

/// What is left of the round. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct HttpBudget(Rc<Cell<Duration>>);

impl HttpBudget {
    /// Runs `work`, the loop; with each of its polls a round begins.
    pub(crate) async fn lead<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            self.0.set(Duration::ZERO);
            work.as_mut().poll(context)
        })
        .await
    }

    /// Runs `work` in what time the rounds have for it.
    pub(crate) async fn take<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            let spent = self.0.get();
            if spent >= ROUND {
                // The loop is polled with every round, so there is a next one.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let began = Instant::now();
            let outcome = work.as_mut().poll(context);
            self.0.set(spent + began.elapsed());
            outcome
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;

    /// Work that takes longer than a round.
    fn long() {
        let began = Instant::now();
        while began.elapsed() <= ROUND {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn one_that_takes_long_has_a_round_to_itself() {
        const TASKS: usize = 5;
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let (local, turns) = (LocalSet::new(), HttpBudget::default());
        let done = Rc::new(Cell::new(0));
        for _ in 0..TASKS {
            let (turns, done) = (turns.clone(), done.clone());
            local.spawn_local(async move {
                turns
                    .take(async {
                        long();
                        done.set(done.get() + 1);
                    })
                    .await;
            });
        }
        // How many were done at each look.
        let mut looks = Vec::new();
        let looking = poll_fn(|context| {
            looks.push(done.get());
            context.waker().wake_by_ref();
            match done.get() {
                TASKS => Poll::Ready(()),
                _ => Poll::Pending,
            }
        });
        local.block_on(&runtime.expect("a runtime"), turns.lead(looking));
        assert_eq!(looks, [0, 1, 2, 3, 4, 5]);
    }
}
