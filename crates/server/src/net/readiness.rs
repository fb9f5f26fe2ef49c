//! Waits on tokio's epoll until a descriptor that tokio does not know otherwise is readable.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor that tokio watches.
#[derive(Debug)]
pub(crate) struct Readiness(AsyncFd<OwnedFd>);

impl Readiness {
    /// Watches `descriptor` on the current runtime.
    ///
    /// # Errors
    /// If the system cannot watch it.
    #[expect(unsafe_code, reason = "tokio owns the descriptor")]
    pub(super) fn of(descriptor: OwnedFd) -> io::Result<Self> {
        // SAFETY: the descriptor is open, and as an `OwnedFd` that moves into the `AsyncFd` and is never taken out again it
        // stays open, and the same, until the `AsyncFd` is dropped.
        let watched = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
        watched.map(Self).map_err(|error| error.into_parts().1)
    }

    /// Waits until there is something to read since this was last called. There may be nothing: the caller tries, and waits
    /// again.
    pub(crate) async fn wait(&self) -> io::Result<()> {
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}
