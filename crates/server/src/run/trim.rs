//! Makes the system's allocator hold no more memory than the broker does. All threads share one heap, and memory is
//! returned to the system when the broker holds much less than before.
//!
//! Some threads publish messages and others encode them. If each had its own heap, memory that one frees could not be
//! used by another ([ADR 0010](../../../../docs/adr/0010-all-threads-share-one-heap.md)).
//!
//! The system's allocator keeps freed memory between other blocks. So a broker that once kept much for replays or
//! histories would stay as large. This is checked about once a second. When there is memory to return, a thread of its
//! own returns it; other threads may wait for the allocator meanwhile, a millisecond or two for each 32 MiB.

use std::sync::Arc;
use std::time::Duration;

use tickwire_router::Directory;

/// The time between two checks.
const PAUSE: Duration = Duration::from_secs(1);
/// The number of freed bytes from which on it is worth the work.
const LEAST_BYTES: usize = 32 * 1024 * 1024;

/// Makes all threads that start from now on share one heap. Must be called before there are other threads. Does nothing
/// with another allocator.
#[allow(unsafe_code, reason = "the C library is told by a call of its own")]
pub fn share_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt(3) takes two numbers and no pointer, and there is no other thread yet that could be in the allocator.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Checks the memory until the future is dropped.
pub(crate) async fn run(directory: Arc<Directory>) {
    let mut most = 0;
    loop {
        tokio::time::sleep(PAUSE).await;
        let stored = directory.history_bytes() + directory.value_bytes();
        let held = stored + directory.replay_bytes() + directory.archived_bytes();
        most = held.max(most);
        if most - held >= LEAST_BYTES {
            most = held;
            if let Err(error) = std::thread::Builder::new()
                .name("trim".to_owned())
                .spawn(give_back)
            {
                tracing::warn!(%error, "memory is not given back to the system");
            }
        }
    }
}

/// Makes the allocator return memory that it does not need.
#[allow(unsafe_code, reason = "the C library is told by a call of its own")]
fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim(3) takes a number and no pointer, may be called by any thread at any time, and touches only memory that
    // is free.
    unsafe {
        libc::malloc_trim(0);
    }
}
