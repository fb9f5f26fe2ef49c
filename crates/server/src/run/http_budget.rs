//! The time budget of the HTTP tasks on a shard's thread. Together they get little time between two cycles of the
//! shard, so that they do not hold up deliveries.
//!
//! In a flood of handshakes, each with a signature to verify, many tasks are ready at once, and tokio polls sixty of
//! them before it comes back to the loop. Tasks beyond the budget wait for the next round, in their order. One poll is
//! never interrupted, however long it takes.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// The time for such tasks in a round.
const ROUND: Duration = Duration::from_micros(500);

/// The rest of the round's time. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct HttpBudget(Rc<Cell<Duration>>);

impl HttpBudget {
    /// Runs `work`, the loop. Each of its polls begins a round.
    pub(crate) async fn lead<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            self.0.set(Duration::ZERO);
            work.as_mut().poll(context)
        })
        .await
    }

    /// Runs `work` within the time of the rounds.
    ///
    /// `work` gets memory of its own. Otherwise it would be a part of its task, which the runtime aligns to cache lines, and
    /// the GNU C library does not use the place of such a block for the next one
    /// ([ADR 0023](../../../../docs/adr/0023-what-is-large-is-no-part-of-a-task.md)).
    pub(crate) fn take<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        let (budget, mut work) = (self.clone(), Box::pin(work));
        poll_fn(move |context| {
            let spent = budget.0.get();
            if spent >= ROUND {
                // The loop is polled in every round, so there is a next one.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let began = Instant::now();
            let outcome = work.as_mut().poll(context);
            budget.0.set(spent + began.elapsed());
            outcome
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;

    /// Works for longer than a round.
    fn long() {
        let began = Instant::now();
        while began.elapsed() <= ROUND {
            std::hint::spin_loop();
        }
    }

    /// Each ended task then left a hole of that size in the heap.
    #[test]
    fn all_that_a_connection_may_need_was_a_part_of_its_task() {
        let large = async {
            let held = [0_u8; 4_096];
            tokio::task::yield_now().await;
            held.len()
        };
        assert!(size_of_val(&large) >= 4_096);
        assert!(size_of_val(&HttpBudget::default().take(large)) <= 32);
    }

    #[test]
    fn one_that_takes_long_has_a_round_to_itself() {
        const TASKS: usize = 5;
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let (local, http_budget) = (LocalSet::new(), HttpBudget::default());
        let done = Rc::new(Cell::new(0));
        for _ in 0..TASKS {
            let (http_budget, done) = (http_budget.clone(), done.clone());
            local.spawn_local(async move {
                http_budget
                    .take(async {
                        long();
                        done.set(done.get() + 1);
                    })
                    .await;
            });
        }
        // The number of finished tasks at each look.
        let mut looks = Vec::new();
        let looking = poll_fn(|context| {
            looks.push(done.get());
            context.waker().wake_by_ref();
            match done.get() {
                TASKS => Poll::Ready(()),
                _ => Poll::Pending,
            }
        });
        local.block_on(&runtime.expect("a runtime"), http_budget.lead(looking));
        assert_eq!(looks, [0, 1, 2, 3, 4, 5]);
    }
}
