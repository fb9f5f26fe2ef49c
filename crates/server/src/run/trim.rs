//! How the system's allocator is told to hold no more than the broker does: all threads share one heap, and memory goes back to the
//! system when the broker holds much less than it did.
//!
//! Messages are published by some threads and encoded by others. With a heap for each, what one lets go is of no use to the other
//! ([ADR 0010](../../../../docs/adr/0010-all-threads-share-one-heap.md)).
//!
//! The system's allocator keeps what was freed between other blocks, so that a broker which once kept much for replays or
//! histories would go on looking as large. Asked about once a second, on a thread of its own when there is something to give
//! back; other threads may wait for the allocator meanwhile, a millisecond or two for each 32 MiB.

use std::sync::Arc;
use std::time::Duration;

use tickwire_router::Directory;

/// Time between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// Bytes that must have been let go for it to be worth while.
const LEAST_BYTES: usize = 32 * 1024 * 1024;

/// Has all threads that begin from now on share one heap. To be called before there are others; does nothing where the allocator is
/// another one.
#[allow(unsafe_code, reason = "the C library is told by a call of its own")]
pub fn share_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt(3) takes two numbers and no pointer, and there is no other thread yet that could be in the allocator.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Looks until it is dropped.
pub(crate) async fn run(directory: Arc<Directory>) {
    let mut most = 0;
    loop {
        tokio::time::sleep(PAUSE).await;
        let held = directory.history_bytes() + directory.value_bytes() + directory.replay_bytes();
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

/// Has the allocator give back what it does not need.
#[allow(unsafe_code, reason = "the C library is told by a call of its own")]
fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim(3) takes a number and no pointer, may be called by any thread at any time, and touches only memory that
    // is free.
    unsafe {
        libc::malloc_trim(0);
    }
}
