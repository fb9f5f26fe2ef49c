//! The promised replays of a session. Their messages are kept, so that a promised replay is sent whatever the histories
//! drop meanwhile.
//!
//! The bytes are bounded by the caller, which checks them before it promises more. A message counts here as often as it
//! was promised to the session, and once in the broker's account.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use tickwire_wire::Micros;

use crate::publication::{Publication, TopicId};

/// A message that a replay keeps.
#[derive(Debug)]
pub(crate) struct Pinned(Arc<Publication>);

impl Pinned {
    pub(crate) fn new(publication: Arc<Publication>) -> Self {
        publication.pin();
        Self(publication)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.0.unpin();
    }
}

/// The messages of one topic's replay, the next one first.
pub(crate) type PromisedReplay = VecDeque<Pinned>;

/// The promised messages that a session has not got yet. Most sessions have none, and pay for a pointer.
#[derive(Debug, Default)]
pub(crate) struct Replays(Option<Box<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// None of them is empty.
    replays: FxHashMap<TopicId, PromisedReplay>,
    /// The bytes of the data of their messages.
    bytes: usize,
    /// When it was first noticed that messages wait.
    seen: Option<Micros>,
}

impl Kept {
    fn cancel(&mut self, topic: TopicId) -> usize {
        let replay = self.replays.remove(&topic).unwrap_or_default();
        self.bytes -= data_bytes(&replay);
        replay.len()
    }
}

impl Replays {
    /// The bytes of the data that is kept.
    pub(crate) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |kept| kept.bytes)
    }

    /// Keeps the messages of a promised replay, if there are any, in place of an earlier one of the topic.
    pub(crate) fn promise(&mut self, topic: TopicId, replay: PromisedReplay) {
        if !replay.is_empty() {
            let kept = self.0.get_or_insert_default();
            kept.cancel(topic);
            kept.bytes += data_bytes(&replay);
            kept.replays.insert(topic, replay);
        }
    }

    /// Puts a message that was taken for the outbox back as the next one.
    pub(crate) fn give_back(&mut self, publication: &Arc<Publication>) {
        let kept = self.0.get_or_insert_default();
        kept.bytes += publication.data_bytes();
        let replay = kept.replays.entry(publication.lineage.id).or_default();
        replay.push_front(Pinned::new(publication.clone()));
    }

    /// Takes the next message of a topic.
    pub(crate) fn next(&mut self, topic: TopicId) -> Option<Arc<Publication>> {
        let kept = self.0.as_mut()?;
        let replay = kept.replays.get_mut(&topic)?;
        let next = replay.pop_front()?;
        kept.bytes -= next.0.data_bytes();
        if replay.is_empty() {
            kept.replays.remove(&topic);
            self.free_if_empty();
        }
        Some(next.0.clone())
    }

    /// Drops the replay of a topic and returns the number of its messages.
    pub(crate) fn cancel(&mut self, topic: TopicId) -> usize {
        let cancelled = self.0.as_mut().map_or(0, |kept| kept.cancel(topic));
        self.free_if_empty();
        cancelled
    }

    /// Whether messages of a topic wait.
    pub(crate) fn has(&self, topic: TopicId) -> bool {
        let kept = self.0.as_ref();
        kept.is_some_and(|kept| kept.replays.contains_key(&topic))
    }

    /// Whether messages have waited for more than `most_ms`, counted from when this was first noticed.
    pub(crate) fn are_overdue(&mut self, most_ms: u64, now: Micros) -> bool {
        let since = self.0.as_mut().map(|kept| *kept.seen.get_or_insert(now));
        since.is_some_and(|since| since.plus_ms(most_ms) <= now)
    }

    fn free_if_empty(&mut self) {
        self.0.take_if(|kept| kept.replays.is_empty());
    }
}

fn data_bytes(replay: &PromisedReplay) -> usize {
    replay.iter().map(|message| message.0.data_bytes()).sum()
}

#[cfg(test)]
mod tests {
    use tickwire_wire::{Epoch, Kind, Payload, Seq};

    use super::*;
    use crate::memory::Memory;
    use crate::publication::Lineage;

    #[test]
    fn a_replay_that_another_one_replaced_went_on_counting() {
        let topic = TopicId(0);
        let lineage = Arc::new(Lineage {
            id: topic,
            topic: "trade.A".parse().expect("a topic"),
            kind: Kind::Event,
            epoch: Epoch::from("e"),
            family: crate::FamilyId::OTHER,
            memory: Arc::new(Memory::new(0, 0, usize::MAX)),
        });
        let replay = |seqs: std::ops::Range<u64>| -> PromisedReplay {
            let payload = Payload::from_json(b"1").expect("JSON");
            let made = |seq| Publication::new(lineage.clone(), Seq(seq), Micros(0), payload.clone());
            seqs.map(|seq| Pinned::new(Arc::new(made(seq)))).collect()
        };
        let mut replays = Replays::default();
        replays.promise(topic, replay(1..4));
        replays.promise(topic, replay(2..4));
        let seqs = std::iter::from_fn(|| replays.next(topic).map(|next| next.seq.0));
        assert_eq!(seqs.collect::<Vec<_>>(), [2, 3]);
        assert_eq!((replays.bytes(), replays.0.is_none()), (0, true));
        assert_eq!(lineage.memory.replays.bytes(), 0);
    }
}
