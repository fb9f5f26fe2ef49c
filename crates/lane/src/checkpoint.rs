//! A checkpoint: the state of all topics, from which on the log is read.
//!
//! It is written topic by topic while messages come. Each topic is as it was at some moment after the checkpoint was begun,
//! so no message before its place is missing. A checkpoint counts only if it is whole: its end says how many topics there
//! are.

use thiserror::Error;
use tickwire_wire::{Epoch, Kind, Micros, Seq};

use crate::bytes::{Malformed, Reader, put_bytes, put_number};
use crate::entry::{Declaration, TopicNumber, read_epoch};
use crate::frame::{self, BodyKind, FrameError};
use crate::message::{Content, ITEM_BYTES_MIN, Item, ItemMark, put_kind, read_kind};
use crate::{Chain, Place, Position};

/// How many topics have ended whose names have one hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedCount {
    /// The place of the hash in the table.
    pub slot: u32,
    /// How many have ended.
    pub count: u32,
}

/// What a checkpoint says of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointHead {
    /// The log behind this place is still to be read.
    pub place: Place,
    /// The epoch of the log.
    pub epoch: Epoch,
    /// When it was begun.
    pub made: Micros,
    /// Tells functions of hashing apart: the hash of a certain name.
    pub hashing: u64,
    /// How many topics have ended, by the hashes of their names. Those of 0 are left out.
    pub ended: Vec<EndedCount>,
}

/// A topic in a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicState<'a> {
    /// The topic. `head` is its newest message.
    pub topic: Declaration,
    /// The whole book after the newest message, as JSON, if the topic has one.
    pub book: Option<&'a [u8]>,
    /// The newest messages, without a hole, up to `head`. Their topic number is 0.
    pub messages: Vec<Item<'a>>,
    /// Closed candles from before these messages, oldest first. Their topic number is 0.
    pub candles: Vec<Item<'a>>,
}

/// A key by which a message is known if its publisher repeats it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptKey<'a> {
    /// The topic of the message.
    pub topic: &'a str,
    /// The key.
    pub key: &'a str,
    /// The epoch of the message's number.
    pub epoch: Epoch,
    /// The message's number.
    pub seq: Seq,
    /// The topic's kind.
    pub kind: Kind,
    /// When the message came.
    pub at: Micros,
}

/// The least bytes of a key: its topic, its text, epoch, number, kind and time.
const KEY_BYTES_MIN: usize = 6;

/// What follows on the head of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckpointPart<'a> {
    /// A topic.
    Topic(TopicState<'a>),
    /// Some of the keys.
    Keys(Vec<KeptKey<'a>>),
    /// The newest message of the broker's own feed that is before the checkpoint's place.
    Mark(ItemMark),
    /// What the broker has derived from messages, in a form of its own.
    Derived(&'a [u8]),
}

/// Why bytes are no whole checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CheckpointError {
    /// A part of it is damaged, or it is cut off.
    #[error("at byte {0}: {1}")]
    Frame(usize, FrameError),
    /// A part of it is not what it should be there.
    #[error("at byte {0}: {1}")]
    Malformed(usize, Malformed),
    /// Its end says another number of topics than it has.
    #[error("it has {has} topics, and should have {says}")]
    Topics {
        /// The topics that it has.
        has: u64,
        /// The topics that its end says.
        says: u64,
    },
}

/// Makes the bytes of a checkpoint, a piece at a time.
#[derive(Debug, Default)]
pub struct CheckpointWriter {
    topics: u64,
}

impl CheckpointWriter {
    /// Appends the beginning.
    pub fn begin(out: &mut Vec<u8>, head: &CheckpointHead) -> Self {
        frame::put(out, BodyKind::CheckpointHead, |out| {
            put_number(out, head.place.position.0);
            out.extend_from_slice(&head.place.chain.0.to_le_bytes());
            put_bytes(out, head.epoch.as_str().as_bytes());
            put_number(out, head.made.0);
            out.extend_from_slice(&head.hashing.to_le_bytes());
            put_number(out, head.ended.len() as u64);
            for ended in &head.ended {
                put_number(out, u64::from(ended.slot));
                put_number(out, u64::from(ended.count));
            }
        });
        Self::default()
    }

    /// Appends a topic.
    pub fn topic(&mut self, out: &mut Vec<u8>, state: &TopicState<'_>) {
        frame::put(out, BodyKind::CheckpointTopic, |out| {
            state.topic.put(out);
            out.push(u8::from(state.book.is_some()));
            if let Some(book) = state.book {
                put_bytes(out, book);
            }
            for items in [&state.messages, &state.candles] {
                put_number(out, items.len() as u64);
                let mut ts = Micros(0);
                for item in items {
                    item.put(out, ts);
                    ts = item.ts;
                }
            }
        });
        self.topics += 1;
    }

    /// Appends keys. Their bytes should be fewer than a few MiB.
    pub fn keys(&mut self, out: &mut Vec<u8>, keys: &[KeptKey<'_>]) {
        frame::put(out, BodyKind::CheckpointKeys, |out| {
            put_number(out, keys.len() as u64);
            for kept in keys {
                put_bytes(out, kept.topic.as_bytes());
                put_bytes(out, kept.key.as_bytes());
                put_bytes(out, kept.epoch.as_str().as_bytes());
                put_number(out, kept.seq.0);
                put_kind(out, kept.kind);
                put_number(out, kept.at.0);
            }
        });
    }

    /// Appends the place of the broker's own feed.
    pub fn mark(&mut self, out: &mut Vec<u8>, mark: ItemMark) {
        frame::put(out, BodyKind::CheckpointMark, |out| mark.put(out));
    }

    /// Appends what is derived from messages. Its bytes should be fewer than a few MiB.
    pub fn derived(&mut self, out: &mut Vec<u8>, bytes: &[u8]) {
        frame::put(out, BodyKind::CheckpointDerived, |out| put_bytes(out, bytes));
    }

    /// Appends the end.
    pub fn end(self, out: &mut Vec<u8>) {
        frame::put(out, BodyKind::CheckpointEnd, |out| put_number(out, self.topics));
    }
}

/// Reads the bytes of a checkpoint.
#[derive(Debug, Clone)]
pub struct Checkpoint<'a> {
    bytes: &'a [u8],
    at: usize,
    topics: u64,
}

impl<'a> Checkpoint<'a> {
    /// The head of a checkpoint, and a reader of its topics.
    ///
    /// # Errors
    /// If it does not begin as one.
    pub fn new(bytes: &'a [u8]) -> Result<(CheckpointHead, Self), CheckpointError> {
        let frame = frame::first(bytes).map_err(|error| CheckpointError::Frame(0, error))?;
        let head = read_head(frame).map_err(|error| CheckpointError::Malformed(0, error))?;
        let at = frame.len();
        Ok((head, Self { bytes, at, topics: 0 }))
    }

    /// Checks that a checkpoint is whole, and gives its head.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn check(bytes: &'a [u8]) -> Result<CheckpointHead, CheckpointError> {
        let (head, mut topics) = Self::new(bytes)?;
        while topics.next_part()?.is_some() {}
        Ok(head)
    }

    /// Where the next part begins.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.at
    }

    /// The next part. `None` at the end of a whole checkpoint.
    ///
    /// # Errors
    /// If it is damaged or not whole.
    pub fn next_part(&mut self) -> Result<Option<CheckpointPart<'a>>, CheckpointError> {
        let at = self.at;
        let malformed = |error| CheckpointError::Malformed(at, error);
        let frame = frame::first(&self.bytes[at..]).map_err(|error| CheckpointError::Frame(at, error))?;
        self.at += frame.len();
        if frame::kind(frame) == Some(BodyKind::CheckpointEnd as u8) {
            let mut reader = frame::body(frame, BodyKind::CheckpointEnd).map_err(malformed)?;
            let says = reader.number("a number of topics").map_err(malformed)?;
            reader.end().map_err(malformed)?;
            if says != self.topics || self.at != self.bytes.len() {
                return Err(CheckpointError::Topics {
                    has: self.topics,
                    says,
                });
            }
            return Ok(None);
        }
        if let Some(part) = read_beside_topics(frame).map_err(malformed)? {
            return Ok(Some(part));
        }
        self.topics += 1;
        let topic = read_topic(frame).map_err(malformed)?;
        Ok(Some(CheckpointPart::Topic(topic)))
    }
}

/// A part that is no topic. `None` if it is one.
fn read_beside_topics(frame: &[u8]) -> Result<Option<CheckpointPart<'_>>, Malformed> {
    const KEYS: u8 = BodyKind::CheckpointKeys as u8;
    const MARK: u8 = BodyKind::CheckpointMark as u8;
    const DERIVED: u8 = BodyKind::CheckpointDerived as u8;
    Ok(match frame::kind(frame) {
        Some(KEYS) => Some(CheckpointPart::Keys(read_keys(frame)?)),
        Some(MARK) => {
            let mut reader = frame::body(frame, BodyKind::CheckpointMark)?;
            let mark = ItemMark::read(&mut reader)?;
            reader.end()?;
            Some(CheckpointPart::Mark(mark))
        }
        Some(DERIVED) => {
            let mut reader = frame::body(frame, BodyKind::CheckpointDerived)?;
            let bytes = reader.bytes("what is derived")?;
            reader.end()?;
            Some(CheckpointPart::Derived(bytes))
        }
        _ => None,
    })
}

fn read_head(frame: &[u8]) -> Result<CheckpointHead, Malformed> {
    let mut reader = frame::body(frame, BodyKind::CheckpointHead)?;
    let place = Place {
        position: Position(reader.number("a position")?),
        chain: Chain(reader.fixed_number("the hash of an entry")?),
    };
    let epoch = read_epoch(&mut reader)?;
    let made = Micros(reader.number("a time")?);
    let hashing = reader.fixed_number("a hash")?;
    let count = reader.count(2, "a number of hashes")?;
    let mut ended = Vec::with_capacity(count);
    for _ in 0..count {
        ended.push(EndedCount {
            slot: reader.small("the place of a hash")?,
            count: reader.small("a number of topics")?,
        });
    }
    reader.end()?;
    Ok(CheckpointHead {
        place,
        epoch,
        made,
        hashing,
        ended,
    })
}

fn read_keys(frame: &[u8]) -> Result<Vec<KeptKey<'_>>, Malformed> {
    let mut reader = frame::body(frame, BodyKind::CheckpointKeys)?;
    let count = reader.count(KEY_BYTES_MIN, "a number of keys")?;
    let mut keys = Vec::with_capacity(count);
    for _ in 0..count {
        keys.push(KeptKey {
            topic: reader.text("the name of a topic")?,
            key: reader.text("a key")?,
            epoch: read_epoch(&mut reader)?,
            seq: Seq(reader.number("the number of a message")?),
            kind: read_kind(&mut reader)?,
            at: Micros(reader.number("the time of a key")?),
        });
    }
    reader.end()?;
    Ok(keys)
}

fn read_topic(frame: &[u8]) -> Result<TopicState<'_>, Malformed> {
    let mut reader = frame::body(frame, BodyKind::CheckpointTopic)?;
    let topic = Declaration::read(&mut reader)?;
    let book = match reader.byte("whether there is a book")? {
        0 => None,
        1 => Some(reader.bytes("a book")?),
        _ => return Err(Malformed("whether there is a book")),
    };
    let messages = read_items(&mut reader, true)?;
    let newest = messages.last().map_or(topic.head, |item| item.seq);
    if newest != topic.head || messages.is_empty() && topic.head > Seq::ZERO {
        return Err(Malformed("the newest message of a topic"));
    }
    // Checkpoints of the first version have none.
    let candles = match reader.left() {
        0 => Vec::new(),
        _ => read_items(&mut reader, false)?,
    };
    let first = messages.first().map_or(topic.head.next(), |item| item.seq);
    if candles.last().is_some_and(|last| last.seq >= first) {
        return Err(Malformed("a closed candle from before the messages"));
    }
    reader.end()?;
    Ok(TopicState {
        topic,
        book,
        messages,
        candles,
    })
}

/// The messages of a topic, in the order of their numbers, `without_holes` or with.
fn read_items<'a>(reader: &mut Reader<'a>, without_holes: bool) -> Result<Vec<Item<'a>>, Malformed> {
    let count = reader.count(ITEM_BYTES_MIN, "a number of messages")?;
    let (mut items, mut ts) = (Vec::<Item<'_>>::with_capacity(count), Micros(0));
    for _ in 0..count {
        let item = Item::read(reader, ts)?;
        let follows = items.last().is_none_or(|before| match without_holes {
            true => before.seq == item.after,
            false => before.seq < item.seq,
        });
        let is_message = !matches!(item.content, Content::End(_) | Content::Gap(_));
        if item.topic != TopicNumber(0) || !follows || !is_message {
            return Err(Malformed("a message that follows on the one before"));
        }
        ts = item.ts;
        items.push(item);
    }
    Ok(items)
}
