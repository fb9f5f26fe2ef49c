//! One publication on its way into the outboxes of its subscribers: number, last value, queue, encoding, and an entry
//! in each outbox.

use tickwire_router::{Origin, Published};
use tickwire_wire::{Codec, Payload};

use crate::case::HotPath;
use crate::set_up::{self, Audience, NOW};

/// A topic whose subscribers have read everything.
#[derive(Debug)]
pub struct FanOut {
    audience: Audience,
    codecs: usize,
    next: Option<Payload>,
}

impl FanOut {
    /// A topic with `subscribers` subscribers, which use `codecs` in turn.
    #[must_use]
    pub fn new(subscribers: usize, codecs: &[Codec]) -> Self {
        Self {
            audience: Audience::new(subscribers, codecs),
            codecs: codecs.len(),
            next: None,
        }
    }
}

impl HotPath for FanOut {
    type Output = Published;

    const PREPARES: bool = true;

    fn prepare(&mut self) {
        self.audience.read_all();
        self.next = Some(set_up::ticker());
    }

    fn run(&mut self) -> Published {
        let payload = self.next.take().expect("prepare was called");
        let Audience { shard, topic, .. } = &mut self.audience;
        let published = shard.ingress().submit(Origin::Feed, topic, payload, NOW);
        let published = published.expect("a ticker");
        while shard.hand_out(usize::MAX, NOW) {}
        published
    }

    fn check(&mut self, published: &Published) {
        let shard = &self.audience.shard;
        assert_eq!(shard.dirty_count(), self.audience.sessions.len());
        for id in &self.audience.sessions {
            let outbox = shard.outbox(*id).expect("an open session");
            let waiting: Vec<_> = outbox.waiting().collect();
            assert_eq!(waiting.len(), 1);
            let delivery = waiting[0].delivery.expect("an update");
            assert_eq!(delivery.publication().seq, published.seq);
        }
        let encodes: u64 = shard.counts().encodes.iter().flatten().sum();
        assert_eq!(encodes, published.seq.0 * self.codecs as u64, "once per codec");
    }
}
