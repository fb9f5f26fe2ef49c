//! An entry: the topics that it declares, and its items.
//!
//! A topic is declared once in each segment, before its first item there. So a segment can be read without those before it.

use tickwire_wire::{Epoch, Kind, Micros, Seq, Topic};

use crate::Chain;
use crate::bytes::{Malformed, Reader, put_bytes, put_number};
use crate::frame::{self, BodyKind};
use crate::message::{ITEM_BYTES_MIN, Item, put_kind, read_kind};

/// The number of a topic within a segment. It counts from 0, in the order in which topics are declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TopicNumber(pub u32);

/// What an entry says of a topic before its first item in the segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// The topic's name.
    pub topic: Topic,
    /// Its kind.
    pub kind: Kind,
    /// How many messages its history may have.
    pub history: u32,
    /// The epoch of its numbers.
    pub epoch: Epoch,
    /// Which of its name's lives it is.
    pub life: u32,
    /// Its newest message before this segment's; 0 if it is new.
    pub head: Seq,
}

/// The least bytes of a declaration.
const DECLARATION_BYTES_MIN: usize = 8;

impl Declaration {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.topic.as_str().as_bytes());
        put_kind(out, self.kind);
        put_number(out, u64::from(self.history));
        put_bytes(out, self.epoch.as_str().as_bytes());
        put_number(out, u64::from(self.life));
        put_number(out, self.head.0);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let topic = reader.text("the name of a topic")?;
        Ok(Self {
            topic: topic.parse().map_err(|_| Malformed("the name of a topic"))?,
            kind: read_kind(reader)?,
            history: reader.small("the length of a history")?,
            epoch: read_epoch(reader)?,
            life: reader.small("the life of a topic")?,
            head: Seq(reader.number("a topic's newest message")?),
        })
    }
}

/// Most bytes of an epoch.
const EPOCH_BYTES_MAX: usize = 64;

pub(crate) fn read_epoch(reader: &mut Reader<'_>) -> Result<Epoch, Malformed> {
    let epoch = reader.text("an epoch")?;
    if epoch.is_empty() || epoch.len() > EPOCH_BYTES_MAX {
        return Err(Malformed("an epoch"));
    }
    Ok(Epoch::from(epoch))
}

/// What an entry is beside its items.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EntryFlags {
    /// Its writer stopped in order: everything before it is on the disk, and no entry of this writer follows.
    pub clean_end: bool,
}

const CLEAN_END: u8 = 1;

/// An entry that was read. It borrows from the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What it is beside its items.
    pub flags: EntryFlags,
    /// The hash of the entry before it.
    pub prev: Chain,
    /// The epoch of the log. A topic's epoch is this one, unless earlier topics of its name have ended.
    pub epoch: Epoch,
    /// The topics that it declares. The first has the number after that of the last topic declared before.
    pub declared: Vec<Declaration>,
    /// Its items in their order.
    pub items: Vec<Item<'a>>,
}

impl<'a> Entry<'a> {
    /// Reads a whole frame.
    ///
    /// # Errors
    /// If it is no entry. A frame with a right checksum never is a damaged one: then another program has written it.
    pub fn read(frame: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = frame::body(frame, BodyKind::Entry)?;
        let flags = reader.byte("the flags of an entry")?;
        if flags & !CLEAN_END != 0 {
            return Err(Malformed("flags that this version knows"));
        }
        let prev = Chain(reader.fixed_number("the hash of the entry before")?);
        let epoch = read_epoch(&mut reader)?;
        let mut ts = Micros(reader.fixed_number("a time")?);
        let count = reader.count(DECLARATION_BYTES_MIN, "a number of topics")?;
        let declared = (0..count).map(|_| Declaration::read(&mut reader));
        let declared = declared.collect::<Result<_, _>>()?;
        let count = reader.count(ITEM_BYTES_MIN, "a number of messages")?;
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            let item = Item::read(&mut reader, ts)?;
            ts = item.ts;
            items.push(item);
        }
        reader.end()?;
        Ok(Self {
            flags: EntryFlags {
                clean_end: flags & CLEAN_END != 0,
            },
            prev,
            epoch,
            declared,
            items,
        })
    }
}

/// The items of an entry, read one after the other. What it declares is passed over, so this costs less than [`Entry::read`].
#[derive(Debug)]
pub struct EntryItems<'a> {
    reader: Reader<'a>,
    left: usize,
    ts: Micros,
}

impl<'a> EntryItems<'a> {
    /// Begins to read a whole frame.
    ///
    /// # Errors
    /// If it is no entry.
    pub fn read(frame: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = frame::body(frame, BodyKind::Entry)?;
        reader.byte("the flags of an entry")?;
        reader.fixed_number("the hash of the entry before")?;
        reader.bytes("an epoch")?;
        let ts = Micros(reader.fixed_number("a time")?);
        let count = reader.count(DECLARATION_BYTES_MIN, "a number of topics")?;
        for _ in 0..count {
            reader.bytes("the name of a topic")?;
            reader.byte("a kind of topics")?;
            reader.number("the length of a history")?;
            reader.bytes("an epoch")?;
            reader.number("the life of a topic")?;
            reader.number("a topic's newest message")?;
        }
        let left = reader.count(ITEM_BYTES_MIN, "a number of messages")?;
        Ok(Self { reader, left, ts })
    }
}

impl<'a> Iterator for EntryItems<'a> {
    type Item = Result<Item<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let item = Item::read(&mut self.reader, self.ts);
        match &item {
            Ok(item) => self.ts = item.ts,
            Err(_) => self.left = 0,
        }
        Some(item)
    }
}

/// The parts of an entry that is to be written.
pub(crate) struct EntryParts<'a> {
    pub(crate) flags: EntryFlags,
    pub(crate) prev: Chain,
    pub(crate) epoch: &'a Epoch,
    pub(crate) ts: Micros,
    /// The number and the bytes of the declarations.
    pub(crate) declared: (usize, &'a [u8]),
    /// The number and the bytes of the items.
    pub(crate) items: (usize, &'a [u8]),
}

/// Appends the frame of an entry.
pub(crate) fn put_entry(out: &mut Vec<u8>, parts: &EntryParts<'_>) {
    frame::put(out, BodyKind::Entry, |out| {
        out.push(if parts.flags.clean_end { CLEAN_END } else { 0 });
        out.extend_from_slice(&parts.prev.0.to_le_bytes());
        put_bytes(out, parts.epoch.as_str().as_bytes());
        out.extend_from_slice(&parts.ts.0.to_le_bytes());
        for (count, bytes) in [parts.declared, parts.items] {
            put_number(out, count as u64);
            out.extend_from_slice(bytes);
        }
    });
}
