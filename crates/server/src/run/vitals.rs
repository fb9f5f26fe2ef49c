//! Whether a broker works: every shard must answer.
//!
//! A shard answers between two cycles, so one that hangs does not. One that has ended is a fault, unless the broker drains. The
//! watchdog of the program asks.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::net::acceptor::ShardHandle;
use crate::run::command::Command;
use crate::run::lifecycle::Lifecycle;

/// The time between two attempts to reach a shard whose commands have no room.
const AGAIN: Duration = Duration::from_millis(20);

/// Why a broker does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NoSignOfLife {
    /// A shard hangs, or has far too much to do.
    #[error("shard {shard} did not answer within {} ms", within.as_millis())]
    Late {
        /// The number of the shard.
        shard: usize,
        /// The time that it had.
        within: Duration,
    },
    /// A shard has ended.
    #[error("shard {0} has ended")]
    Ended(usize),
}

/// The ways to ask the shards of a broker for a sign of life.
#[derive(Debug, Clone)]
pub struct Vitals {
    /// The channels by the shards' numbers.
    shards: Vec<mpsc::Sender<Command>>,
    lifecycle: Arc<Lifecycle>,
}

impl Vitals {
    pub(crate) fn new(handles: &[ShardHandle], lifecycle: Arc<Lifecycle>) -> Self {
        Self {
            shards: handles.iter().map(|handle| handle.commands.clone()).collect(),
            lifecycle,
        }
    }

    /// Waits until every shard has answered. Must not be called in a runtime.
    ///
    /// # Errors
    /// If one does not answer `within` that time, or has ended although the broker does not drain.
    pub fn check(&self, within: Duration) -> Result<(), NoSignOfLife> {
        let deadline = Instant::now() + within;
        for (shard, commands) in self.shards.iter().enumerate() {
            match ask(commands, deadline) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => return Err(NoSignOfLife::Late { shard, within }),
                Err(RecvTimeoutError::Disconnected) if self.lifecycle.is_draining() => {}
                Err(RecvTimeoutError::Disconnected) => return Err(NoSignOfLife::Ended(shard)),
            }
        }
        Ok(())
    }
}

/// Waits until a shard has answered.
fn ask(shard: &mpsc::Sender<Command>, deadline: Instant) -> Result<(), RecvTimeoutError> {
    let (answer, answered) = sync_channel(1);
    let mut command = Command::GiveSign(answer);
    loop {
        match shard.try_send(command) {
            Ok(()) => break,
            Err(TrySendError::Closed(_)) => return Err(RecvTimeoutError::Disconnected),
            Err(TrySendError::Full(_)) if Instant::now() >= deadline => {
                return Err(RecvTimeoutError::Timeout);
            }
            Err(TrySendError::Full(refused)) => command = refused,
        }
        std::thread::sleep(AGAIN);
    }
    answered.recv_timeout(deadline.saturating_duration_since(Instant::now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shard's channel, and what asks it.
    fn shard(room: usize) -> (mpsc::Receiver<Command>, Vitals, Arc<Lifecycle>) {
        let (sender, commands) = mpsc::channel(room);
        let handle = ShardHandle {
            commands: sender,
            connections: Arc::default(),
        };
        let lifecycle = Arc::new(Lifecycle::new(true));
        let vitals = Vitals::new(&[handle], lifecycle.clone());
        (commands, vitals, lifecycle)
    }

    #[test]
    fn a_shard_that_answers_is_alive() {
        let (mut commands, vitals, _lifecycle) = shard(1);
        let answering = std::thread::spawn(move || match commands.blocking_recv() {
            Some(Command::GiveSign(answer)) => answer.send(()).expect("somebody waits"),
            other => panic!("{other:?}"),
        });
        assert_eq!(vitals.check(Duration::from_secs(60)), Ok(()));
        answering.join().expect("no panic");
    }

    #[test]
    fn a_shard_that_hangs_is_late_with_and_without_room() {
        let (_commands, vitals, _lifecycle) = shard(1);
        let within = Duration::ZERO;
        let late = Err(NoSignOfLife::Late { shard: 0, within });
        // The first question stays in the channel, so the second finds no room.
        assert_eq!(vitals.check(within), late);
        assert_eq!(vitals.check(within), late);
    }

    #[test]
    fn a_shard_may_end_only_when_the_broker_drains() {
        let (commands, vitals, lifecycle) = shard(1);
        drop(commands);
        let within = Duration::from_secs(60);
        assert_eq!(vitals.check(within), Err(NoSignOfLife::Ended(0)));
        lifecycle.drain();
        assert_eq!(vitals.check(within), Ok(()));
    }
}
