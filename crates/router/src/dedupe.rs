//! The keys of publications that may be repeated, and the answers that they got.
//!
//! A key counts for one topic, by its name, and for a time. Keys are forgotten when their time is over and, when there are
//! too many, in the order in which they came, so the memory is bounded. A publication with a key holds the lock until it
//! has entered: of two at once, one is the first. Publications without a key never come here. Never reads a clock.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tickwire_wire::message::PublishKey;
use tickwire_wire::{Epoch, Kind, Micros, Seq, Topic};

use crate::cell::Published;
use crate::planted::{Fault, is_planted};
use crate::write_queue::Ticket;

/// Keys that are forgotten at once because their time is over.
const FORGET_AT_ONCE: usize = 4_096;
/// Bytes that a key takes beside its text: its places in the table and in the order, and what the allocator adds.
const KEY_OVERHEAD: usize = 192;

/// For how long keys are known, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DedupeLimits {
    /// The time in milliseconds for which a key is known.
    pub within_ms: u64,
    /// Most keys that are known, at least 1.
    pub keys_max: usize,
}

/// What the first publication with a key got.
#[derive(Debug, Clone)]
struct First {
    epoch: Epoch,
    seq: Seq,
    kind: Kind,
    at: Micros,
    /// While it waits to be written: its place there.
    ticket: Option<Ticket>,
}

/// A key that is known, and what its publication got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownKey {
    /// The topic.
    pub topic: Topic,
    /// The key.
    pub key: PublishKey,
    /// The epoch of the publication's number.
    pub epoch: Epoch,
    /// The number of the publication.
    pub seq: Seq,
    /// The topic's kind.
    pub kind: Kind,
    /// When the publication came.
    pub at: Micros,
}

/// All keys that are known. The hasher is the standard one: clients choose the keys.
#[derive(Debug)]
pub(crate) struct Keys {
    limits: DedupeLimits,
    /// By topic and key.
    first: HashMap<Arc<str>, First>,
    /// The same names, the oldest first, with the time of each.
    order: VecDeque<(Micros, Arc<str>)>,
    /// The names that were in the order and are not any more.
    left: u64,
    bytes: usize,
}

impl Keys {
    /// What the first publication of `name` got, if that is known at `now`.
    fn find(&self, name: &str, now: Micros) -> Option<&First> {
        let first = self.first.get(name)?;
        let is_known = first.at.plus_ms(self.limits.within_ms) > now || is_planted(Fault::KeyKnownTooLong);
        (is_known && !is_planted(Fault::DuplicatePublished)).then_some(first)
    }

    /// Keeps what the publication of `name` got. Returns how many keys were forgotten before their time.
    fn keep(&mut self, name: &str, first: First) -> u64 {
        let (name, at): (Arc<str>, _) = (name.into(), first.at);
        self.bytes += bytes_of(&name);
        if self.first.insert(name.clone(), first).is_some() {
            // Its time was over, and its place in the order goes with the others'.
            self.bytes -= bytes_of(&name);
        }
        self.order.push_back((at, name));
        let mut early = 0;
        while self.order.len() > self.limits.keys_max {
            early += u64::from(self.forget_oldest());
        }
        early
    }

    /// Forgets the oldest name. Returns whether it was still known.
    fn forget_oldest(&mut self) -> bool {
        let Some((at, name)) = self.order.pop_front() else {
            return false;
        };
        self.left += 1;
        // The name may have come again since.
        if self.first.get(&name).is_none_or(|first| first.at != at) {
            return false;
        }
        self.first.remove(&name);
        self.bytes -= bytes_of(&name);
        true
    }

    /// Forgets up to `most` names whose time is over at `now`. Returns whether more of them are left.
    fn forget(&mut self, now: Micros, most: usize) -> bool {
        let within_ms = self.limits.within_ms;
        let is_over = |keys: &Self| {
            let oldest = keys.order.front();
            oldest.is_some_and(|(at, _)| at.plus_ms(within_ms) <= now)
        };
        for _ in 0..most {
            if !is_over(self) {
                break;
            }
            self.forget_oldest();
        }
        if self.order.capacity() > 4 * self.order.len() + 1_024 {
            self.order.shrink_to(2 * self.order.len());
            self.first.shrink_to(2 * self.order.len());
        }
        is_over(self)
    }
}

fn bytes_of(name: &str) -> usize {
    name.len() + KEY_OVERHEAD
}

/// The name under which a key of a topic is kept. No topic has a zero byte.
fn name_of(topic: &Topic, key: &PublishKey) -> String {
    format!("{topic}\0{key}")
}

/// The keys of a directory, for all threads.
#[derive(Debug)]
pub(crate) struct Dedupe {
    keys: Mutex<Keys>,
    duplicates: AtomicU64,
    /// Keys that were forgotten before their time because there were too many.
    early: AtomicU64,
}

impl Dedupe {
    pub(crate) fn new(limits: DedupeLimits) -> Self {
        Self {
            keys: Mutex::new(Keys {
                limits,
                first: HashMap::new(),
                order: VecDeque::new(),
                left: 0,
                bytes: 0,
            }),
            duplicates: AtomicU64::new(0),
            early: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Keys> {
        // A panic of a publication leaves the keys as they were.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies other limits. Keys beyond them are forgotten with the next ones.
    pub(crate) fn set_limits(&self, limits: DedupeLimits) {
        self.lock().limits = limits;
    }

    /// Publishes by `publish`, unless a publication to `topic` with this key is known: then returns what that one got, and
    /// `true`.
    pub(crate) fn once<E>(
        &self,
        topic: &Topic,
        key: &PublishKey,
        now: Micros,
        publish: impl FnOnce() -> Result<Published, E>,
    ) -> Result<(Published, bool), E> {
        let name = name_of(topic, key);
        let mut keys = self.lock();
        if let Some(first) = keys.find(&name, now) {
            self.duplicates.fetch_add(1, Ordering::Relaxed);
            let published = Published::before(first.epoch.clone(), first.seq, first.kind);
            let ticket = first.ticket;
            return Ok((Published { ticket, ..published }, true));
        }
        let published = publish()?;
        let first = First {
            epoch: published.epoch.clone(),
            seq: published.seq,
            kind: published.kind,
            at: now,
            ticket: published.ticket,
        };
        let early = keys.keep(&name, first);
        self.early.fetch_add(early, Ordering::Relaxed);
        Ok((published, false))
    }

    /// Says that the publication of a key has entered, which waited to be written.
    pub(crate) fn entered(&self, topic: &Topic, key: &PublishKey) {
        if let Some(first) = self.lock().first.get_mut(&*name_of(topic, key)) {
            first.ticket = None;
        }
    }

    /// Forgets a key whose publication was dropped before it was written.
    pub(crate) fn dropped(&self, topic: &Topic, key: &PublishKey) {
        let (mut keys, name) = (self.lock(), name_of(topic, key));
        if keys.first.get(&*name).is_some_and(|first| first.ticket.is_some()) {
            // Its place in the order goes with the others'.
            keys.first.remove(&*name);
            keys.bytes -= bytes_of(&name);
        }
    }

    /// Keeps a key that was known before a restart, unless its time is over at `now`.
    pub(crate) fn restore(&self, known: KnownKey, now: Micros) {
        let KnownKey {
            topic,
            key,
            epoch,
            seq,
            kind,
            at,
        } = known;
        let (mut keys, name) = (self.lock(), name_of(&topic, &key));
        let is_there = keys.first.get(&*name).is_some_and(|first| first.at >= at);
        if !is_there && at.plus_ms(keys.limits.within_ms) > now {
            let first = First {
                epoch,
                seq,
                kind,
                at,
                ticket: None,
            };
            keys.keep(&name, first);
        }
    }

    /// The keys from the place `from` of all that ever came, at most about `most` of them, and the place behind them; `None`
    /// at the end. Those whose publications wait to be written are left out.
    pub(crate) fn known(&self, from: u64, most: usize) -> (Vec<KnownKey>, Option<u64>) {
        let keys = self.lock();
        let from = from.max(keys.left);
        let skipped = usize::try_from(from - keys.left).unwrap_or(usize::MAX);
        let names = keys.order.iter().skip(skipped).take(most);
        let known = names.clone().filter_map(|(at, name)| {
            let first = keys
                .first
                .get(name)
                .filter(|first| first.at == *at && first.ticket.is_none())?;
            // Both were read from such texts.
            let (topic, key) = name.split_once('\0')?;
            Some(KnownKey {
                topic: topic.parse().ok()?,
                key: key.parse().ok()?,
                epoch: first.epoch.clone(),
                seq: first.seq,
                kind: first.kind,
                at: *at,
            })
        });
        let (known, count) = (known.collect(), names.len());
        let is_end = skipped.saturating_add(count) >= keys.order.len();
        (known, (!is_end).then_some(from + count as u64))
    }

    /// Whether a publication to `topic` with this key is known at `now`.
    pub(crate) fn knows(&self, topic: &Topic, key: &PublishKey, now: Micros) -> bool {
        self.lock().find(&name_of(topic, key), now).is_some()
    }

    /// The place of the message that was published to `topic` with this key, if that is known at `now`.
    pub(crate) fn place(&self, topic: &Topic, key: &PublishKey, now: Micros) -> Option<(Epoch, Seq, Kind)> {
        let keys = self.lock();
        let first = keys.find(&name_of(topic, key), now)?;
        Some((first.epoch.clone(), first.seq, first.kind))
    }

    /// Forgets keys whose time is over at `now`. Returns whether more of them are left for another call.
    pub(crate) fn forget(&self, now: Micros) -> bool {
        self.lock().forget(now, FORGET_AT_ONCE)
    }

    /// The counts of the keys.
    pub(crate) fn tally(&self) -> DedupeTally {
        let keys = self.lock();
        DedupeTally {
            keys: keys.first.len(),
            bytes: keys.bytes,
            duplicates: self.duplicates.load(Ordering::Relaxed),
            early: self.early.load(Ordering::Relaxed),
        }
    }
}

/// The counts of the keys of publications.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DedupeTally {
    /// Keys that are known.
    pub keys: usize,
    /// Bytes that they hold.
    pub bytes: usize,
    /// Publications that were not published, because their key was known.
    pub duplicates: u64,
    /// Keys that were forgotten before their time, because there were too many.
    pub early: u64,
}

#[cfg(test)]
mod tests;
