//! One round of writing without its system calls: takes the waiting bytes of each session and records that they were
//! written.

use std::hint::black_box;

use tickwire_wire::Codec;

use crate::case::HotPath;
use crate::set_up::{self, Audience, NOW};

/// Sessions whose outboxes hold messages.
#[derive(Debug)]
pub struct OutboxDrain {
    audience: Audience,
    messages: usize,
}

impl OutboxDrain {
    /// `sessions` sessions with `messages` messages waiting for each.
    #[must_use]
    pub fn new(sessions: usize, messages: usize) -> Self {
        Self {
            audience: Audience::new(sessions, &[Codec::Json]),
            messages,
        }
    }

    /// The same, with an account for every ten sessions.
    #[must_use]
    pub fn accounted(mut self) -> Self {
        self.audience.account(10);
        self
    }
}

impl HotPath for OutboxDrain {
    /// The number of frames, of their bytes, and of publications written.
    type Output = (usize, usize, usize);

    const PREPARES: bool = true;

    fn prepare(&mut self) {
        self.audience.read_all();
        for _ in 0..self.messages {
            self.audience.publish(set_up::ticker());
        }
    }

    fn run(&mut self) -> (usize, usize, usize) {
        let (mut frames, mut bytes, mut written) = (0, 0, 0);
        let shard = &mut self.audience.shard;
        while let Some(id) = shard.next_dirty() {
            let Some(outbox) = shard.outbox(id) else { continue };
            let mut count = 0;
            for waiting in outbox.waiting() {
                count += black_box(waiting.bytes).len();
                frames += 1;
            }
            shard
                .wrote(id, count, NOW, |_| written += 1)
                .expect("no more than waited");
            bytes += count;
        }
        (frames, bytes, written)
    }

    fn check(&mut self, output: &(usize, usize, usize)) {
        let (frames, bytes, written) = *output;
        assert_eq!(frames, self.audience.sessions.len() * self.messages);
        assert_eq!(written, frames);
        assert!(bytes > frames * 100, "{bytes} bytes in {frames} frames");
        assert_eq!(self.audience.shard.waiting_bytes(), 0);
        assert_eq!(self.audience.shard.dirty_count(), 0);
    }
}
