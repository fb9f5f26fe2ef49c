//! Threads for the steps of handshakes that take long: with a key other than P-256 or Ed25519 a signature takes up to some
//! milliseconds, and certificates of clients as long as their keys and their chain make it. On the thread of a shard such a step
//! would hold up all its deliveries.
//!
//! At most as many steps are done at a time as there are processors; the others wait, for at most the time of their handshake. The
//! threads are those of the shard's runtime for what blocks.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;

use rustls::Error;
use tokio::sync::Semaphore;

use super::session::TlsSession;

/// The threads that shards share for such steps.
#[derive(Debug, Clone)]
pub(super) struct Workers(Arc<Semaphore>);

impl Workers {
    pub(super) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self(Arc::new(Semaphore::new(processors)))
    }

    /// Has `session` [receive](TlsSession::receive) the bytes of its client on another thread. Returns the session with the
    /// result.
    ///
    /// # Errors
    /// If the step panics.
    pub(super) async fn receive(
        &self,
        mut session: TlsSession,
        mut wire: Vec<u8>,
    ) -> io::Result<(TlsSession, Result<(), Error>)> {
        let turn = self.0.clone().acquire_owned().await;
        let turn = turn.map_err(io::Error::other)?;
        let stepping = tokio::task::spawn_blocking(move || {
            let received = session.receive(&mut wire);
            // A handshake that is given up meanwhile keeps its turn until then.
            drop(turn);
            (session, received)
        });
        stepping.await.map_err(io::Error::other)
    }

    /// Keeps all turns until the result is dropped.
    #[cfg(test)]
    pub(super) fn keep_busy(&self) -> tokio::sync::OwnedSemaphorePermit {
        let all = u32::try_from(self.0.available_permits()).expect("few processors");
        let turns = self.0.clone().try_acquire_many_owned(all);
        turns.expect("nobody works")
    }
}
