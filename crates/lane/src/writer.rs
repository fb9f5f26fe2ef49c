//! The writer of a log: it gathers items into an entry, and chains the entries.
//!
//! An entry is *sealed*, and then either *stored* or *dropped*. Until one of these is known, nothing else can be
//! gathered, so the chain never forks. What a dropped entry declared is declared again.

use rustc_hash::FxHashMap;
use tickwire_wire::{Epoch, Micros};

use crate::entry::{Declaration, EntryFlags, EntryParts, TopicNumber, put_entry};
use crate::message::Item;
use crate::{Chain, Place};

/// What the writer's owner calls a topic. No two topics that are ever written have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TopicKey(pub u32);

/// Makes the entries of a log.
#[derive(Debug)]
pub struct Writer {
    place: Place,
    epoch: Epoch,
    numbers: FxHashMap<TopicKey, TopicNumber>,
    /// The topics that the entry declares.
    fresh: Vec<TopicKey>,
    declared: Vec<u8>,
    items: Vec<u8>,
    item_count: usize,
    /// The times of the entry's first item and of its last one.
    times: Option<(Micros, Micros)>,
    /// The sealed entry; empty if none is.
    sealed: Vec<u8>,
}

impl Writer {
    /// A writer that goes on at `place` of a log with this epoch, in a new segment.
    #[must_use]
    pub fn new(place: Place, epoch: Epoch) -> Self {
        Self {
            place,
            epoch,
            numbers: FxHashMap::default(),
            fresh: Vec::new(),
            declared: Vec::new(),
            items: Vec::new(),
            item_count: 0,
            times: None,
            sealed: Vec::new(),
        }
    }

    /// Where the next entry goes.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }

    /// The epoch of the log.
    #[must_use]
    pub fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// The bytes that were gathered for the next entry.
    #[must_use]
    pub fn gathered_bytes(&self) -> usize {
        self.declared.len() + self.items.len()
    }

    /// Begins a segment: topics are declared again.
    ///
    /// # Panics
    /// If items are gathered already.
    pub fn begin_segment(&mut self) {
        assert!(self.item_count == 0, "an entry is in one segment");
        self.numbers.clear();
    }

    /// Gathers an item of the topic `key`; the number in `item` does not count. `declare` is called if the topic is new
    /// in the segment.
    ///
    /// # Panics
    /// If an entry is sealed.
    pub fn gather(&mut self, key: TopicKey, declare: impl FnOnce() -> Declaration, item: Item<'_>) {
        assert!(self.sealed.is_empty(), "what became of the last entry is known");
        let next = TopicNumber(u32::try_from(self.numbers.len()).unwrap_or(u32::MAX));
        let topic = *self.numbers.entry(key).or_insert_with(|| {
            declare().put(&mut self.declared);
            self.fresh.push(key);
            next
        });
        let (first, last) = self.times.unwrap_or((item.ts, item.ts));
        self.times = Some((first, item.ts));
        Item { topic, ..item }.put(&mut self.items, last);
        self.item_count += 1;
    }

    /// The number of items that were gathered for the next entry.
    #[must_use]
    pub fn gathered_items(&self) -> usize {
        self.item_count
    }

    /// Seals the entry and returns its bytes. It may be empty.
    pub fn seal(&mut self, flags: EntryFlags) -> &[u8] {
        self.seal_behind(|_| {}, flags)
    }

    /// Does the same with an entry that has what `head` appends before it. The chain is over all of its bytes.
    pub fn seal_behind(&mut self, head: impl FnOnce(&mut Vec<u8>), flags: EntryFlags) -> &[u8] {
        if self.sealed.is_empty() {
            head(&mut self.sealed);
            let parts = EntryParts {
                flags,
                prev: self.place.chain,
                epoch: &self.epoch,
                ts: self.times.map_or(Micros(0), |(first, _)| first),
                declared: (self.fresh.len(), &self.declared),
                items: (self.item_count, &self.items),
            };
            put_entry(&mut self.sealed, &parts);
        }
        &self.sealed
    }

    /// The sealed entry; empty if none is.
    #[must_use]
    pub fn sealed(&self) -> &[u8] {
        &self.sealed
    }

    /// Goes on behind the sealed entry, which is stored.
    pub fn stored(&mut self) {
        if !self.sealed.is_empty() {
            self.place = Place {
                position: self.place.position.next(),
                chain: Chain::of(&self.sealed),
            };
            self.begin_entry();
        }
    }

    /// Drops what was gathered, sealed or not: it is not stored, and never will be.
    pub fn dropped(&mut self) {
        for key in &self.fresh {
            self.numbers.remove(key);
        }
        self.begin_entry();
    }

    fn begin_entry(&mut self) {
        self.fresh.clear();
        self.declared.clear();
        self.items.clear();
        self.item_count = 0;
        self.times = None;
        self.sealed.clear();
    }
}
