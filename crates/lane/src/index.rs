//! The index of a segment: where it has the messages of each topic.
//!
//! A segment is divided into *blocks*: a block begins at an entry and has all entries that begin in the [`BLOCK_BYTES`] from
//! there on. For each topic the index has its numbers and times in the segment, and the blocks that have its messages. As
//! bytes it is a head, pages with the places of the topics in the order of their hashes, and then the topics. So one topic
//! among very many is found with the head, one page and its own bytes.
//!
//! An index is made of its segment and can be made again. Each part has a checksum. A reader checks what it finds by the
//! messages themselves, so a wrong index costs time and never gives a wrong message.

use rustc_hash::FxHashMap;
use tickwire_wire::{Epoch, Micros, Seq, Topic};

use crate::bytes::{Malformed, Reader, put_bytes, put_difference, put_number};
use crate::entry::{Entry, TopicNumber};
use crate::frame::{self, BodyKind};
use crate::message::Content;
use crate::segment::SegmentHead;
use crate::{Chain, Position};

/// The bytes in which the entries of a block begin. Its last entry may exceed them.
pub const BLOCK_BYTES: u64 = 64 * 1024;
/// The bytes of a segment or an index with which its head can be read.
pub const INDEX_HEAD_BYTES_MAX: usize = 1024 * 1024;

/// The places of topics in a page.
const PAGE_TOPICS: usize = 200;
/// The bytes of a topic's place: its hash, the offset of its bytes, their number.
const PLACE_BYTES: usize = 8 + 4 + 4;
/// The bytes of a checksum.
const SUM_BYTES: usize = 4;

/// What tells a segment from any other with its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentIdentity {
    /// The position before its first entry.
    pub position: Position,
    /// The hash of its head's frame.
    pub head: Chain,
    /// Its bytes that are indexed.
    pub length: u64,
}

/// Where a block begins that has messages of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockRef {
    /// The offset of its first entry in the segment.
    pub offset: u64,
    /// The first message of the topic in it.
    pub first: Seq,
    /// The time of that message.
    pub ts: Micros,
}

/// What a segment has of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicIndex {
    /// The number of the topic in the segment.
    pub number: TopicNumber,
    /// The topic's newest message before the segment; 0 if it began here.
    pub before: Seq,
    /// Its first and its last message here.
    pub seqs: (Seq, Seq),
    /// The times of these.
    pub times: (Micros, Micros),
    /// The blocks with its messages in their order. There is at least one.
    pub blocks: Vec<BlockRef>,
}

impl TopicIndex {
    /// The place among the blocks of the one to begin with, to read message `seq` and those after it.
    #[must_use]
    pub fn block_of(&self, seq: Seq) -> usize {
        let later = self.blocks.partition_point(|block| block.first <= seq);
        later.saturating_sub(1)
    }

    /// The place among the blocks of the one to begin with, to find the first message from `moment` on.
    #[must_use]
    pub fn block_from(&self, moment: Micros) -> usize {
        let later = self.blocks.partition_point(|block| block.ts < moment);
        later.saturating_sub(1)
    }
}

/// The hash by which a topic's life is found.
fn hash(topic: &str, epoch: &Epoch) -> u64 {
    let mut key = Vec::with_capacity(topic.len() + epoch.as_str().len() + 1);
    key.extend_from_slice(topic.as_bytes());
    key.push(0); // no topic has it
    key.extend_from_slice(epoch.as_str().as_bytes());
    twox_hash::XxHash3_64::oneshot(&key)
}

/// A topic of a segment, as far as its entries were seen.
#[derive(Debug)]
struct Seen {
    topic: Topic,
    epoch: Epoch,
    before: Seq,
    seqs: (Seq, Seq),
    times: (Micros, Micros),
    blocks: u64,
    last: BlockRef,
    /// The blocks, each as its difference from the one before it.
    coded: Vec<u8>,
}

impl Seen {
    fn message(&mut self, block: u64, seq: Seq, ts: Micros) {
        if self.blocks == 0 {
            (self.seqs.0, self.times.0) = (seq, ts);
        }
        if self.blocks == 0 || self.last.offset != block {
            put_number(&mut self.coded, block - self.last.offset);
            put_number(&mut self.coded, seq.0.saturating_sub(self.last.first.0));
            put_difference(&mut self.coded, self.last.ts.0, ts.0);
            self.blocks += 1;
            self.last = BlockRef {
                offset: block,
                first: seq,
                ts,
            };
        }
        (self.seqs.1, self.times.1) = (seq, ts);
    }

    fn put(&self, number: u32, out: &mut Vec<u8>) {
        let begin = out.len();
        put_bytes(out, self.topic.as_str().as_bytes());
        put_bytes(out, self.epoch.as_str().as_bytes());
        put_number(out, u64::from(number));
        put_number(out, self.before.0);
        for seq in [self.seqs.0, self.seqs.1] {
            put_number(out, seq.0);
        }
        for ts in [self.times.0, self.times.1] {
            put_number(out, ts.0);
        }
        put_number(out, self.blocks);
        out.extend_from_slice(&self.coded);
        put_sum(out, begin);
    }
}

/// Appends the checksum of what was appended from `begin` on.
fn put_sum(out: &mut Vec<u8>, begin: usize) {
    let sum = crc32c::crc32c(&out[begin..]);
    out.extend_from_slice(&sum.to_le_bytes());
}

/// The bytes before their checksum, if it is theirs.
fn summed(bytes: &[u8]) -> Result<&[u8], Malformed> {
    let (body, sum) = bytes
        .split_last_chunk::<SUM_BYTES>()
        .ok_or(Malformed("a checksum"))?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*sum) {
        return Err(Malformed("a part of an index with its checksum"));
    }
    Ok(body)
}

/// Makes the index of a segment while its entries are read, in their order.
#[derive(Debug)]
pub struct IndexBuilder {
    position: Position,
    head: Chain,
    /// The hash of the last entry.
    last: Chain,
    /// Whether an entry was missing or damaged. Topics that are declared behind it have numbers that nobody knows.
    broken: bool,
    /// The topics by their numbers in the segment.
    topics: Vec<Seen>,
    by_hash: FxHashMap<u64, Vec<u32>>,
    /// Where the block of the next entry begins, if one was begun.
    block: Option<u64>,
}

impl IndexBuilder {
    /// The index of a segment without an entry. `frame` is that of its head.
    #[must_use]
    pub fn new(head: &SegmentHead, frame: &[u8]) -> Self {
        Self {
            position: head.place.position,
            head: Chain::of(frame),
            last: head.place.chain,
            broken: false,
            topics: Vec::new(),
            by_hash: FxHashMap::default(),
            block: None,
        }
    }

    /// Whether all entries up to here were there and whole.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.broken
    }

    /// Records that there are bytes which are no entry.
    pub fn damaged(&mut self) {
        self.broken = true;
    }

    /// Adds the entry at `offset` of the segment, whose bytes are `frame`.
    ///
    /// Behind an entry that is missing or damaged, topics go on that were declared before it. The others have no messages in
    /// the index from there on.
    ///
    /// # Errors
    /// If it is no entry.
    pub fn entry(&mut self, offset: u64, frame: &[u8]) -> Result<(), Malformed> {
        let entry = Entry::read(frame)?;
        self.broken |= entry.prev != self.last;
        self.last = Chain::of(frame);
        let block = match self.block {
            Some(block) if offset < block.saturating_add(BLOCK_BYTES) => block,
            _ => offset,
        };
        self.block = Some(block);
        let declared = entry.declared.iter().filter(|_| !self.broken);
        for declared in declared {
            let number = u32::try_from(self.topics.len()).unwrap_or(u32::MAX);
            let hash = hash(declared.topic.as_str(), &declared.epoch);
            self.by_hash.entry(hash).or_default().push(number);
            self.topics.push(Seen {
                topic: declared.topic.clone(),
                epoch: declared.epoch.clone(),
                before: declared.head,
                seqs: (Seq::ZERO, Seq::ZERO),
                times: (Micros(0), Micros(0)),
                blocks: 0,
                last: BlockRef {
                    offset: 0,
                    first: Seq::ZERO,
                    ts: Micros(0),
                },
                coded: Vec::new(),
            });
        }
        for item in &entry.items {
            if let (Some(topic), false) = (
                self.topics.get_mut(item.topic.0 as usize),
                matches!(item.content, Content::End(_)),
            ) {
                topic.message(block, item.seq, item.ts);
            }
        }
        Ok(())
    }

    /// What the segment has of a topic, as far as entries were added; `None` if it has no message of it.
    ///
    /// # Errors
    /// Never, unless the entries contradict each other.
    pub fn find(&self, topic: &str, epoch: &Epoch) -> Result<Option<TopicIndex>, Malformed> {
        let numbers = self.by_hash.get(&hash(topic, epoch)).into_iter().flatten();
        for number in numbers {
            let Some(seen) = self.topics.get(*number as usize) else {
                continue;
            };
            if seen.topic.as_str() == topic && seen.epoch == *epoch && seen.blocks > 0 {
                let mut bytes = Vec::new();
                seen.put(*number, &mut bytes);
                return read_topic(&bytes, topic, epoch);
            }
        }
        Ok(None)
    }

    /// The bytes of memory that it holds, about.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let coded: usize = self.topics.iter().map(|seen| seen.coded.capacity()).sum();
        coded + self.topics.capacity() * (size_of::<Seen>() + 2 * size_of::<(u64, Vec<u32>)>())
    }

    /// The bytes of the index of the segment, which has `length` bytes.
    #[must_use]
    pub fn seal(&self, length: u64) -> Vec<u8> {
        let seen = self.topics.iter().zip(0_u32..);
        let mut places: Vec<(u64, u32)> = seen
            .filter(|(seen, _)| seen.blocks > 0)
            .map(|(seen, number)| (hash(seen.topic.as_str(), &seen.epoch), number))
            .collect();
        places.sort_unstable();
        let (mut pages, mut topics) = (Vec::new(), Vec::new());
        for page in places.chunks(PAGE_TOPICS) {
            let begin = pages.len();
            for (hash, number) in page {
                let from = topics.len();
                self.topics[*number as usize].put(*number, &mut topics);
                let offset = u32::try_from(from).unwrap_or(u32::MAX);
                let bytes = u32::try_from(topics.len() - from).unwrap_or(u32::MAX);
                pages.extend_from_slice(&hash.to_le_bytes());
                pages.extend_from_slice(&offset.to_le_bytes());
                pages.extend_from_slice(&bytes.to_le_bytes());
            }
            put_sum(&mut pages, begin);
        }
        let mut out = Vec::with_capacity(pages.len() + topics.len() + 4096);
        frame::put(&mut out, BodyKind::IndexHead, |out| {
            put_number(out, self.position.0);
            out.extend_from_slice(&self.head.0.to_le_bytes());
            put_number(out, length);
            put_number(out, places.len() as u64);
            put_number(out, topics.len() as u64);
            for page in places.chunks(PAGE_TOPICS) {
                out.extend_from_slice(&page[0].0.to_le_bytes());
            }
        });
        out.extend_from_slice(&pages);
        out.extend_from_slice(&topics);
        out
    }
}

/// A part of an index: where its bytes are in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexPart {
    /// The offset of the first.
    pub offset: u64,
    /// Their number.
    pub bytes: usize,
}

/// The head of an index, with which the rest is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexHead {
    /// The segment that it is of.
    pub segment: SegmentIdentity,
    topics: usize,
    /// The bytes of the topics.
    topics_bytes: u64,
    /// The first hash of each page.
    fences: Vec<u64>,
    /// Where the pages begin.
    pages: u64,
}

impl IndexHead {
    /// Reads the head from the first bytes of an index, all or [`INDEX_HEAD_BYTES_MAX`] of them.
    ///
    /// # Errors
    /// If they are no index.
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let frame = frame::first(bytes).map_err(|_| Malformed("the head of an index"))?;
        let mut reader = frame::body(frame, BodyKind::IndexHead)?;
        let position = Position(reader.number("a position")?);
        let head = Chain(reader.fixed_number("the hash of a head")?);
        let length = reader.number("the length of a segment")?;
        let topics = reader.count_of("a number of topics")?;
        let topics_bytes = reader.number("the bytes of the topics")?;
        let pages = topics.div_ceil(PAGE_TOPICS);
        if reader.left() != pages.saturating_mul(8) {
            return Err(Malformed("a hash for each page"));
        }
        let fences = (0..pages).map(|_| reader.fixed_number("a hash"));
        let fences = fences.collect::<Result<_, _>>()?;
        Ok(Self {
            segment: SegmentIdentity {
                position,
                head,
                length,
            },
            topics,
            topics_bytes,
            fences,
            pages: frame.len() as u64,
        })
    }

    /// The number of topics with a message in the segment.
    #[must_use]
    pub fn topics(&self) -> usize {
        self.topics
    }

    /// The bytes of memory that it holds.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.fences.capacity() * size_of::<u64>()
    }

    /// The page that has the place of a topic, if the segment has messages of it. `None` if it has none.
    #[must_use]
    pub fn page_of(&self, topic: &str, epoch: &Epoch) -> Option<IndexPart> {
        let hash = hash(topic, epoch);
        let page = self
            .fences
            .partition_point(|first| *first <= hash)
            .checked_sub(1)?;
        let page_bytes = PAGE_TOPICS * PLACE_BYTES + SUM_BYTES;
        let topics = (self.topics - page * PAGE_TOPICS).min(PAGE_TOPICS);
        Some(IndexPart {
            offset: self.pages + (page * page_bytes) as u64,
            bytes: topics * PLACE_BYTES + SUM_BYTES,
        })
    }

    /// Where the topics of the hash of `topic` are, by the bytes of its [page](Self::page_of). Nearly always this is one or
    /// none.
    ///
    /// # Errors
    /// If the bytes are not those of a page.
    pub fn places_of(&self, page: &[u8], topic: &str, epoch: &Epoch) -> Result<Vec<IndexPart>, Malformed> {
        let hash = hash(topic, epoch);
        let page = summed(page)?;
        let all = self.topics * PLACE_BYTES + self.fences.len() * SUM_BYTES;
        let topics = self.pages + all as u64;
        let mut found = Vec::new();
        for place in page.chunks_exact(PLACE_BYTES) {
            let mut reader = Reader::new(place);
            let is_it = reader.fixed_number("a hash")? == hash;
            let offset = u64::from(u32::from_le_bytes(reader.fixed("an offset")?));
            let bytes = u32::from_le_bytes(reader.fixed("a number of bytes")?);
            if is_it && offset + u64::from(bytes) <= self.topics_bytes {
                found.push(IndexPart {
                    offset: topics + offset,
                    bytes: bytes as usize,
                });
            }
        }
        Ok(found)
    }
}

/// Reads what a segment has of `topic` from the bytes at its place; `None` if they are those of another topic.
///
/// # Errors
/// If they are not those of a topic.
pub fn read_topic(bytes: &[u8], topic: &str, epoch: &Epoch) -> Result<Option<TopicIndex>, Malformed> {
    let mut reader = Reader::new(summed(bytes)?);
    if reader.bytes("the name of a topic")? != topic.as_bytes()
        || reader.bytes("an epoch")? != epoch.as_str().as_bytes()
    {
        return Ok(None);
    }
    let number = TopicNumber(reader.small("the number of a topic")?);
    let before = Seq(reader.number("a topic's newest message")?);
    let mut pair = |what| Ok::<_, Malformed>((reader.number(what)?, reader.number(what)?));
    let seqs = pair("the number of a message")?;
    let times = pair("a time")?;
    let count = reader.count(3, "a number of blocks")?;
    let mut last = BlockRef {
        offset: 0,
        first: Seq::ZERO,
        ts: Micros(0),
    };
    let mut blocks = Vec::with_capacity(count);
    for _ in 0..count {
        let offset = reader.number("the offset of a block")?;
        let first = reader.number("the number of a message")?;
        last = BlockRef {
            offset: last.offset.checked_add(offset).ok_or(Malformed("an offset"))?,
            first: Seq(last.first.0.checked_add(first).ok_or(Malformed("a number"))?),
            ts: Micros(reader.difference(last.ts.0, "a time")?),
        };
        blocks.push(last);
    }
    reader.end()?;
    if blocks.is_empty() {
        return Err(Malformed("a block"));
    }
    Ok(Some(TopicIndex {
        number,
        before,
        seqs: (Seq(seqs.0), Seq(seqs.1)),
        times: (Micros(times.0), Micros(times.1)),
        blocks,
    }))
}

#[cfg(test)]
mod tests;
