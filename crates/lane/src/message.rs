//! The messages in entries and checkpoints, and the ends of topics.

use tickwire_wire::message::{EndReason, GapReason, StaleReason};
use tickwire_wire::{Kind, Micros, Seq};

use crate::bytes::{Malformed, Reader, put_bytes, put_difference, put_number};
use crate::entry::TopicNumber;

/// The content of an item. The bytes are those of JSON, and are not looked at here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'a> {
    /// The data of a message.
    Data(&'a [u8]),
    /// The levels of a book that a message changes, with the checksum after them.
    Change(&'a [u8]),
    /// All levels of a book.
    Whole(&'a [u8]),
    /// The topic ends after the message with this number.
    End(EndReason),
    /// The messages from the one behind `after` to this number did not come. Only recordings have this.
    Gap(GapReason),
}

/// The place of a message in a feed that gives the same messages in the same order each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ItemMark {
    /// Tells feeds apart.
    pub feed: u32,
    /// The number of the message among all of the feed, from 0.
    pub number: u64,
}

/// The key of a message, by which it is known if its publisher repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ItemKey<'a> {
    /// The key.
    pub text: &'a str,
    /// When the message came.
    pub at: Micros,
}

impl ItemMark {
    pub(crate) fn put(self, out: &mut Vec<u8>) {
        put_number(out, u64::from(self.feed));
        put_number(out, self.number);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            feed: reader.small("a feed")?,
            number: reader.number("the place in a feed")?,
        })
    }
}

/// A message or an end, with its place in its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item<'a> {
    /// The number of its topic in the segment.
    pub topic: TopicNumber,
    /// The number of the message before it. For an end: the last message.
    pub after: Seq,
    /// Its own number. For an end: the last message.
    pub seq: Seq,
    /// When it was numbered.
    pub ts: Micros,
    /// Why the book is in doubt from this message on.
    pub doubt: Option<StaleReason>,
    /// The key that its publisher gave it.
    pub key: Option<ItemKey<'a>>,
    /// Its place in the broker's own feed, if it came from that.
    pub mark: Option<ItemMark>,
    /// The content.
    pub content: Content<'a>,
}

/// The least bytes of an item: topic, number, time, kind, and a length or a reason.
pub(crate) const ITEM_BYTES_MIN: usize = 5;

const DATA: u8 = 0;
const CHANGE: u8 = 1;
const WHOLE: u8 = 2;
const END: u8 = 3;
const GAP: u8 = 1 << 5;
/// The bits that say what a message is.
const KIND_BITS: u8 = GAP | 0b11;
/// Set if the place in a feed follows.
const MARKED: u8 = 1 << 4;
/// Set if the number of the message before it follows.
const SKIPS: u8 = 1 << 6;

/// Set if the key and its time follow.
const KEYED: u8 = 1 << 7;

/// The doubts by their numbers in bits 2 and 3, beginning with 1.
const DOUBTS: [StaleReason; 3] = [StaleReason::Partial, StaleReason::Hole, StaleReason::Crossed];

impl Item<'_> {
    /// Appends the item. `ts` is the time of the item before it.
    pub(crate) fn put(&self, out: &mut Vec<u8>, ts: Micros) {
        put_number(out, u64::from(self.topic.0));
        put_number(out, self.seq.0);
        put_difference(out, ts.0, self.ts.0);
        let kind = match self.content {
            Content::Data(_) => DATA,
            Content::Change(_) => CHANGE,
            Content::Whole(_) => WHOLE,
            Content::End(_) => END,
            Content::Gap(_) => GAP,
        };
        let doubt = DOUBTS.iter().position(|doubt| Some(*doubt) == self.doubt);
        let doubt = doubt.map_or(0, |at| at as u8 + 1) << 2;
        let skips = kind != END && self.after.0.checked_add(1) != Some(self.seq.0);
        let keyed = if self.key.is_some() { KEYED } else { 0 };
        let marked = if self.mark.is_some() { MARKED } else { 0 };
        out.push(kind | doubt | keyed | marked | if skips { SKIPS } else { 0 });
        if skips {
            put_number(out, self.after.0);
        }
        if let Some(key) = self.key {
            put_difference(out, self.ts.0, key.at.0);
            put_bytes(out, key.text.as_bytes());
        }
        if let Some(mark) = self.mark {
            mark.put(out);
        }
        match self.content {
            Content::Data(bytes) | Content::Change(bytes) | Content::Whole(bytes) => put_bytes(out, bytes),
            Content::End(reason) => put_number(out, reason as u64),
            Content::Gap(reason) => put_number(out, reason as u64),
        }
    }
}

impl<'a> Item<'a> {
    /// Reads an item. `ts` is the time of the item before it.
    pub(crate) fn read(reader: &mut Reader<'a>, ts: Micros) -> Result<Self, Malformed> {
        let topic = TopicNumber(reader.small("the number of a topic")?);
        let seq = Seq(reader.number("the number of a message")?);
        let ts = Micros(reader.difference(ts.0, "a time")?);
        let flags = reader.byte("what a message is")?;
        let doubt = match (flags >> 2) & 0b11 {
            0 => None,
            number => {
                let doubt = DOUBTS.get(usize::from(number) - 1);
                Some(*doubt.ok_or(Malformed("a doubt"))?)
            }
        };
        let kind = flags & KIND_BITS;
        let after = match flags & SKIPS != 0 {
            true => Seq(reader.number("the number of the message before")?),
            false if kind == END => seq,
            false => Seq(seq
                .0
                .checked_sub(1)
                .ok_or(Malformed("a message's number above 0"))?),
        };
        if after > seq || (after == seq) != (kind == END) {
            return Err(Malformed("a message behind the one before it"));
        }
        let key = match flags & KEYED != 0 {
            true => Some(ItemKey {
                at: Micros(reader.difference(ts.0, "the time of a key")?),
                text: reader.text("a key")?,
            }),
            false => None,
        };
        let mark = match flags & MARKED != 0 {
            true => Some(ItemMark::read(reader)?),
            false => None,
        };
        let content = match kind {
            DATA => Content::Data(reader.bytes("the data of a message")?),
            CHANGE => Content::Change(reader.bytes("the change of a book")?),
            WHOLE => Content::Whole(reader.bytes("a book")?),
            END => {
                let reason = EndReason::ALL.get(read_reason(reader)?);
                Content::End(*reason.ok_or(Malformed("the reason of an end"))?)
            }
            GAP => {
                let reason = GapReason::ALL.get(read_reason(reader)?);
                Content::Gap(*reason.ok_or(Malformed("the reason of a gap"))?)
            }
            _ => return Err(Malformed("a kind of messages that this version knows")),
        };
        Ok(Self {
            topic,
            after,
            seq,
            ts,
            doubt,
            key,
            mark,
            content,
        })
    }
}

fn read_reason(reader: &mut Reader<'_>) -> Result<usize, Malformed> {
    Ok(usize::try_from(reader.number("a reason")?).unwrap_or(usize::MAX))
}

/// The kinds by their numbers.
const KINDS: [Kind; 3] = [Kind::State, Kind::Book, Kind::Event];

pub(crate) fn put_kind(out: &mut Vec<u8>, kind: Kind) {
    out.push(KINDS.iter().position(|known| *known == kind).unwrap_or_default() as u8);
}

pub(crate) fn read_kind(reader: &mut Reader<'_>) -> Result<Kind, Malformed> {
    let kind = KINDS.get(usize::from(reader.byte("a kind of topics")?));
    kind.copied().ok_or(Malformed("a kind of topics"))
}
