//! Everything that was published since the broker's last start, recorded independently of the broker.
//!
//! For each message, a hash of its data is kept; for each change of a book, a hash of the whole book after it. Only one
//! question goes to the broker, to judge gaps: whether a history still holds a message.

use std::collections::BTreeMap;
use std::sync::Arc;

use tickwire_client::book::L2Book;
use tickwire_router::{DedupeLimits, Directory, Ingress, Origin, Published};
use tickwire_wire::message::PublishKey;
use tickwire_wire::{Epoch, Kind, Micros, Payload, Seq};

use crate::archive::SimArchive;
use crate::broken::{Broken, Rule, ensure};
use crate::link::Said;
use crate::plan::Setup;
use crate::topics::{self, MORTALS, NAMES};
use crate::trace::{hash_numbers, hash_of};

/// The number of prices that a side of a book uses.
const PRICES: u64 = 16;

/// Few keys, and for a short time, so that both bounds are met.
pub(crate) const DEDUPE: DedupeLimits = DedupeLimits {
    within_ms: 3_000,
    keys_max: 6,
};

/// What was published to one topic.
#[derive(Debug, Default)]
struct TopicTruth {
    /// Hashes of the data by number, from 1: of the text, or of the whole book after the change.
    messages: Vec<u64>,
    /// When each message was published.
    times: Vec<Micros>,
    /// The current book: sizes by price, for bids and asks.
    book: [BTreeMap<u64, u64>; 2],
}

/// One life of a topic that ends.
#[derive(Debug)]
struct Life {
    epoch: Epoch,
    /// Hashes of the data by number, from 1.
    messages: Vec<u64>,
    has_ended: bool,
}

/// What was published since the broker's last start.
#[derive(Debug)]
pub(crate) struct Truth {
    mortals: [Vec<Life>; MORTALS.len()],
    directory: Arc<Directory>,
    archive: Option<Arc<SimArchive>>,
    topics: [TopicTruth; NAMES.len()],
    epochs: [Epoch; NAMES.len()],
    /// What was published with a key: its topic, key, time and number. Duplicates are not in it.
    keys: Vec<(usize, PublishKey, Micros, u64)>,
    squeezed: bool,
    kept_events: u64,
    kept_books: u64,
}

impl Truth {
    pub(crate) fn new(directory: Arc<Directory>, archive: Option<Arc<SimArchive>>, setup: &Setup) -> Self {
        Self {
            epochs: std::array::from_fn(|topic| directory.epoch_of(topics::name(topic))),
            directory,
            archive,
            mortals: Default::default(),
            keys: Vec::new(),
            topics: Default::default(),
            squeezed: setup.squeezed,
            kept_events: setup.kept_events as u64,
            kept_books: setup.kept_books as u64,
        }
    }

    /// The archive, if there is one.
    pub(crate) fn archive(&self) -> Option<&SimArchive> {
        self.archive.as_deref()
    }

    /// Has the archive keep what is new of a topic.
    fn keep(&self, topic: &str) {
        if let Some(archive) = &self.archive
            && let Some(cell) = self.directory.find(topic)
        {
            archive.keep(&cell);
        }
    }

    /// Whether message `seq` of a topic is stored, in the archive or in memory.
    pub(crate) fn is_stored(&self, topic: usize, seq: u64) -> bool {
        let archived = self.archive.as_ref().is_some_and(|archive| {
            let cell = self.directory.find(topics::name(topic));
            cell.is_some_and(|cell| archive.has(cell.id(), seq))
        });
        archived || self.still_held(topic, seq)
    }

    /// The epoch of a topic.
    pub(crate) fn epoch(&self, topic: usize) -> &Epoch {
        &self.epochs[topic]
    }

    /// The newest number of a topic.
    pub(crate) fn head(&self, topic: usize) -> u64 {
        self.topics[topic].messages.len() as u64
    }

    /// The number of the first message of a topic that was published at `moment` or later; of the next one if there is none.
    pub(crate) fn first_at(&self, topic: usize, moment: Micros) -> u64 {
        let times = &self.topics[topic].times;
        1 + times.partition_point(|time| *time < moment) as u64
    }

    /// When message `seq` of a topic was published.
    pub(crate) fn time(&self, topic: usize, seq: u64) -> Option<Micros> {
        let index = usize::try_from(seq.checked_sub(1)?).ok()?;
        self.topics[topic].times.get(index).copied()
    }

    /// The newest number of each topic.
    pub(crate) fn heads(&self) -> [u64; NAMES.len()] {
        std::array::from_fn(|topic| self.head(topic))
    }

    /// Publishes a message of about `size` bytes from the feed, or a change of a book that `level` selects. Returns the
    /// length of its data.
    pub(crate) fn publish(
        &mut self,
        topic: usize,
        level: u8,
        size: usize,
        now: Micros,
    ) -> Result<usize, Broken> {
        let seq = self.head(topic) + 1;
        let data = if topics::kind(topic) == Kind::Book {
            self.change_book(topic, level)
        } else {
            let number = (topic as u64 * 1_000_000 + seq).to_string();
            if size == 0 { number } else { padded(&number, size) }
        };
        let hash = match topics::kind(topic) {
            Kind::Book => self.book_hash(topic),
            Kind::State | Kind::Event => hash_of(&data),
        };
        let bytes = data.len();
        let payload = Payload::from_json(data.as_bytes());
        let payload = payload.map_err(|refusal| Broken::new(Rule::Content, refusal.to_string()))?;
        let ingress = Ingress::new(self.directory.clone());
        let submitted = ingress.submit(Origin::Feed, topics::topic(topic), payload, now);
        let Published { seq: got, epoch, .. } = submitted.map_err(|error| {
            let what = format!("publishing to {} failed: {error}", topics::name(topic));
            Broken::new(Rule::Content, what)
        })?;
        ensure(got.0 == seq && epoch == *self.epoch(topic), Rule::Order, || {
            format!("{} got number {got} where {seq} was due", topics::name(topic))
        })?;
        self.topics[topic].messages.push(hash);
        self.topics[topic].times.push(now);
        self.keep(topics::name(topic));
        Ok(bytes)
    }

    /// Publishes a message to a topic that ends, which may be its first in another life.
    pub(crate) fn publish_mortal(&mut self, mortal: usize, now: Micros) -> Result<(), Broken> {
        let (name, lives) = (MORTALS[mortal].0, &mut self.mortals[mortal]);
        let is_anew = lives.last().is_none_or(|life| life.has_ended);
        let life = lives.len() + usize::from(is_anew);
        let seq = 1 + lives
            .last()
            .filter(|_| !is_anew)
            .map_or(0, |life| life.messages.len());
        let data = (life * 1_000_000 + seq).to_string();
        let payload = Payload::from_json(data.as_bytes()).expect("a number");
        let topic = name.parse().expect("a topic");
        let submitted = Ingress::new(self.directory.clone()).submit(Origin::Feed, &topic, payload, now);
        let published = submitted.map_err(|error| Broken::new(Rule::Content, format!("{name}: {error}")))?;
        if is_anew {
            let is_new = lives.iter().all(|life| life.epoch != published.epoch);
            ensure(is_new, Rule::Ends, || {
                format!("{name} has a life in epoch {} again", published.epoch)
            })?;
            lives.push(Life {
                epoch: published.epoch.clone(),
                messages: Vec::new(),
                has_ended: false,
            });
        }
        let last = lives.last_mut().filter(|life| life.epoch == published.epoch);
        let last = last.ok_or_else(|| Broken::new(Rule::Ends, format!("{name} is in another life")))?;
        last.messages.push(hash_of(&data));
        ensure(published.seq.0 == seq as u64, Rule::Order, || {
            format!("{name} got number {} where {seq} was due", published.seq)
        })
    }

    /// Ends a topic, if it exists.
    pub(crate) fn end_mortal(&mut self, mortal: usize) -> Result<(), Broken> {
        let name = MORTALS[mortal].0;
        let ended = self
            .directory
            .delete(name)
            .map(|ended| (ended.epoch, ended.seq.0));
        let last = self.mortals[mortal].last_mut().filter(|life| !life.has_ended);
        let expected = last
            .as_ref()
            .map(|life| (life.epoch.clone(), life.messages.len() as u64));
        if let Some(life) = last {
            life.has_ended = true;
        }
        ensure(ended == expected, Rule::Ends, || {
            format!("{name} ended at {ended:?} and not at {expected:?}")
        })
    }

    fn life(&self, mortal: usize, epoch: &Epoch) -> Option<&Life> {
        self.mortals[mortal].iter().find(|life| life.epoch == *epoch)
    }

    /// The last number of a life that has ended.
    pub(crate) fn mortal_end(&self, mortal: usize, epoch: &Epoch) -> Option<u64> {
        let life = self.life(mortal, epoch).filter(|life| life.has_ended);
        life.map(|life| life.messages.len() as u64)
    }

    /// The epoch and the newest number of a topic that ends, if it exists now.
    pub(crate) fn mortal_head(&self, mortal: usize) -> Option<(&Epoch, u64)> {
        let life = self.mortals[mortal].last().filter(|life| !life.has_ended)?;
        Some((&life.epoch, life.messages.len() as u64))
    }

    /// Checks that `data` was published as message `seq` of a life.
    pub(crate) fn check_mortal(
        &self,
        mortal: usize,
        epoch: &Epoch,
        seq: u64,
        data: &str,
    ) -> Result<(), Broken> {
        let at = usize::try_from(seq).ok().and_then(|seq| seq.checked_sub(1));
        let hash = at.and_then(|at| self.life(mortal, epoch)?.messages.get(at));
        ensure(hash == Some(&hash_of(data)), Rule::Content, || {
            format!(
                "{} {epoch}:{seq}: {data:.60} was never published as this",
                MORTALS[mortal].0
            )
        })
    }

    /// The number of topics that exist.
    pub(crate) fn topics_there(&self) -> usize {
        let mortals = (0..MORTALS.len()).filter(|mortal| self.mortal_head(*mortal).is_some());
        mortals.count() + self.heads().iter().filter(|head| **head > 0).count()
    }

    /// Checks that nothing is held of a topic that has ended.
    pub(crate) fn nothing_ended_is_held(&self) -> Result<(), Broken> {
        let (held, there) = (self.directory.ended_and_held(), self.directory.topic_count());
        ensure(held == 0 && there == self.topics_there(), Rule::Ends, || {
            format!(
                "{there} topics are there, not {}, and {held} that have ended are held",
                self.topics_there()
            )
        })
    }

    /// Sets, removes or replaces levels of a book. Returns the book message.
    fn change_book(&mut self, topic: usize, level: u8) -> String {
        let book = &mut self.topics[topic].book;
        let (side, price, size) = (
            usize::from(level & 1),
            u64::from(level >> 1) % PRICES + 1,
            u64::from(level >> 5),
        );
        let replace = level % 61 == 60;
        if replace {
            book.iter_mut().for_each(BTreeMap::clear);
        }
        if size == 0 {
            book[side].remove(&price);
        } else {
            book[side].insert(price, size);
        }
        let side = ["bids", "asks"][side];
        let levels = if replace && size == 0 {
            String::new()
        } else {
            format!("[\"{price}\",\"{size}\"]")
        };
        let replace = if replace { ",\"replace\":true" } else { "" };
        let symbol = topics::name(topic).trim_start_matches("book.");
        format!("{{\"symbol\":\"{symbol}\",\"{side}\":[{levels}],\"time\":0{replace}}}")
    }

    fn book_hash(&self, topic: usize) -> u64 {
        let [bids, asks] = &self.topics[topic].book;
        let levels = bids.iter().rev().chain(asks.iter());
        hash_numbers(levels.flat_map(|(price, size)| [*price, *size]))
    }

    /// Records that a client published `data` and the broker gave it the next number.
    pub(crate) fn said(&mut self, said: &Said) {
        let data = std::str::from_utf8(&said.text).unwrap_or_default();
        self.topics[said.topic].messages.push(hash_of(data));
        self.topics[said.topic].times.push(said.at);
        self.keep(topics::name(said.topic));
        if let Some(key) = &said.key {
            let seq = self.head(said.topic);
            self.keys.push((said.topic, key.clone(), said.at, seq));
        }
    }

    /// The number of the message that had the key of a publication first, if the broker still knows that.
    pub(crate) fn first_with_key(&self, said: &Said) -> Option<u64> {
        let known = &self.keys[self.keys.len().saturating_sub(DEDUPE.keys_max)..];
        let first = known.iter().rev().find(|(topic, key, at, _)| {
            *topic == said.topic && Some(key) == said.key.as_ref() && at.plus_ms(DEDUPE.within_ms) > said.at
        });
        first.map(|(.., seq)| *seq)
    }

    /// The newest number that the broker has for a topic.
    pub(crate) fn broker_head(&self, topic: usize) -> u64 {
        self.directory
            .find(topics::name(topic))
            .map_or(0, |cell| cell.position().seq.0)
    }

    /// Checks that `data` was published as message `seq` of a topic that is not a book.
    pub(crate) fn check(&self, topic: usize, seq: u64, data: &str) -> Result<(), Broken> {
        ensure(
            self.hash(topic, seq) == Some(hash_of(data)),
            Rule::Content,
            || {
                format!(
                    "{} {seq}: {data:.60} was never published as this",
                    topics::name(topic)
                )
            },
        )
    }

    /// Checks that `book` is the book of a topic after message `seq`.
    pub(crate) fn check_book(&self, topic: usize, seq: u64, book: &L2Book) -> Result<(), Broken> {
        let levels = book.bids().chain(book.asks());
        let hash =
            hash_numbers(levels.flat_map(|level| [level.price.digits() as u64, level.size.digits() as u64]));
        let expected = if seq == 0 {
            Some(hash_numbers(std::iter::empty()))
        } else {
            self.hash(topic, seq)
        };
        ensure(expected == Some(hash), Rule::Books, || {
            format!(
                "{} at {seq}: the client's book is not the one that there was",
                topics::name(topic)
            )
        })
    }

    fn hash(&self, topic: usize, seq: u64) -> Option<u64> {
        let index = usize::try_from(seq.checked_sub(1)?).ok()?;
        self.topics[topic].messages.get(index).copied()
    }

    /// How many messages the history of a topic holds if there is room.
    pub(crate) fn kept(&self, topic: usize) -> u64 {
        match topics::kind(topic) {
            // A state topic may keep a history, too. It matters to subscribers of every message.
            Kind::State if topics::name(topic).starts_with("candle.") => self.kept_events,
            Kind::State => 1,
            Kind::Book => self.kept_books,
            Kind::Event => self.kept_events,
        }
    }

    /// Whether the history certainly held every message after `seq` when the newest was `head`.
    pub(crate) fn certainly_reached(&self, topic: usize, seq: u64, head: u64) -> bool {
        let kept = self.kept(topic);
        seq == head || seq + kept >= head && !(self.squeezed && kept > 1)
    }

    /// Whether the history may have held every message after `seq` when the newest was `head`.
    pub(crate) fn possibly_reached(&self, topic: usize, seq: u64, head: u64) -> bool {
        seq + self.kept(topic) >= head
    }

    /// Whether the broker still holds message `seq`. A message that it holds now, it has held since it was published.
    pub(crate) fn still_held(&self, topic: usize, seq: u64) -> bool {
        let cell = self.directory.find(topics::name(topic));
        cell.is_some_and(|cell| {
            cell.history(Seq(seq), 0)
                .oldest
                .is_some_and(|oldest| oldest.0 <= seq)
        })
    }
}

/// A JSON string of `size` letters that ends with `number`. Most of what is published are long strings, so this is
/// fast.
pub(crate) fn padded(number: &str, size: usize) -> String {
    let mut text = " ".repeat(size.max(number.len()) + 2);
    text.replace_range(..1, "\"");
    text.truncate(text.len() - number.len() - 1);
    text.push_str(number);
    text.push('"');
    text
}
