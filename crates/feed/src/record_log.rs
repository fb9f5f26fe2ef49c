//! Writes what a broker sends as a recording in the form of a journal: the entries of a segment (`tickwire_lane`) in
//! compressed blocks (RECORDINGS.md).
//!
//! It keeps topic, kind, epoch, number, `ts` and data of each message, the gaps that were told, and the ends of topics. A
//! message that came before is left out. Messages are gathered into a block, which is written when it is full, or when the
//! caller says so. So a recording that breaks off loses no more than its last block.

use std::collections::HashMap;
use std::io::{self, Read, Write};

use tickwire_lane::{
    BlockPart, BlockReader, Content, Declaration, EntryFlags, Item, Place, SegmentHead, TopicKey,
    TopicNumber, Writer, put_block,
};
use tickwire_wire::message::{StaleReason, TopicState};
use tickwire_wire::{Control, Epoch, Kind, Micros, Seq, ServerMessage, Topic};

/// An entry that has so many bytes takes no more messages.
const ENTRY_BYTES: usize = 64 * 1024;
/// A block that has so many bytes is written.
const BLOCK_BYTES: usize = 256 * 1024;
/// The epoch of a topic whose epoch nobody has said.
const NO_EPOCH: &str = "unknown";

/// A topic that is recorded.
#[derive(Debug)]
struct LogTopic {
    name: Topic,
    kind: Kind,
    epoch: Epoch,
    /// Its newest message, or the last one that a gap named; `None` before the first of this epoch.
    head: Option<Seq>,
    /// Whether a book needs its value again: messages of it are missing.
    needs_value: bool,
    doubt: Option<StaleReason>,
    /// What the log calls it in this epoch, once it has an item.
    key: Option<TopicKey>,
}

impl LogTopic {
    /// Goes on in `epoch`, whose first message to come is the one after `head`, if that is known.
    fn go_on(&mut self, epoch: &Epoch, head: Option<Seq>) {
        if self.epoch != *epoch {
            self.epoch = epoch.clone();
            self.key = None;
            self.head = head;
        }
    }

    fn has(&self, seq: Seq) -> bool {
        self.head.is_some_and(|head| seq <= head)
    }

    /// The number of the message before message `seq`.
    fn before(&self, seq: Seq) -> Seq {
        let known = self.head.filter(|head| *head < seq);
        known.unwrap_or(Seq(seq.0.saturating_sub(1)))
    }

    fn declaration(&self, head: Seq) -> Declaration {
        Declaration {
            topic: self.name.clone(),
            kind: self.kind,
            history: 0,
            epoch: self.epoch.clone(),
            life: 0,
            head,
        }
    }
}

/// Writes a recording in the form of a journal.
#[derive(Debug)]
pub struct LogRecorder<W> {
    file: W,
    log: Log,
    topics: HashMap<String, LogTopic>,
    written: u64,
}

/// The segment that is written.
#[derive(Debug)]
struct Log {
    writer: Writer,
    /// The content of the block that is gathered.
    block: Vec<u8>,
    /// The keys that were given to topics.
    keys: u32,
    /// The time of the last message.
    ts: Micros,
    /// Whether the entry has an item.
    has_items: bool,
}

impl<W: Write> LogRecorder<W> {
    /// Writes to `file`, from where it stands. `epoch` tells this recording from others, `made` is the time now.
    #[must_use]
    pub fn new(file: W, epoch: Epoch, made: Micros) -> Self {
        let place = Place::default();
        let mut block = Vec::with_capacity(BLOCK_BYTES + ENTRY_BYTES);
        SegmentHead {
            place,
            epoch: epoch.clone(),
            begins_epoch: true,
            synced: false,
            boot: [0; 16],
            made,
        }
        .put(&mut block);
        let log = Log {
            writer: Writer::new(place, epoch),
            block,
            keys: 0,
            ts: made,
            has_items: false,
        };
        Self {
            file,
            log,
            topics: HashMap::new(),
            written: 0,
        }
    }

    /// Whether it was told what `topic` is.
    #[must_use]
    pub fn knows(&self, topic: &str) -> bool {
        self.topics.contains_key(topic)
    }

    /// Tells of which kind a topic is, and its epoch if that is known.
    pub fn learn(&mut self, topic: &Topic, kind: Kind, epoch: Option<Epoch>) {
        let fresh = LogTopic {
            name: topic.clone(),
            kind,
            epoch: epoch.unwrap_or_else(|| Epoch::from(NO_EPOCH)),
            head: None,
            needs_value: false,
            doubt: None,
            key: None,
        };
        self.topics.entry(topic.as_str().to_owned()).or_insert(fresh);
    }

    /// Adds a message of a topic that it was told of. Others, and messages that say nothing of a topic, are left out.
    ///
    /// # Errors
    /// If so much was gathered that it is written, and that fails.
    pub fn add(&mut self, message: &ServerMessage) -> io::Result<()> {
        let Self { topics, log, .. } = self;
        match message {
            ServerMessage::Update { topic, seq, ts, data } => {
                if let Some(topic) = topics.get_mut(topic).filter(|topic| !topic.has(*seq)) {
                    let data = data.get().as_bytes();
                    let content = match topic.kind {
                        Kind::Book => Content::Change(data),
                        Kind::State | Kind::Event => Content::Data(data),
                    };
                    log.put(topic, *seq, *ts, content);
                }
            }
            ServerMessage::Snapshot {
                topic,
                epoch,
                seq,
                ts,
                data,
            } => {
                let Some(topic) = topics.get_mut(topic) else {
                    return Ok(());
                };
                topic.go_on(epoch, None);
                let data = data.get().as_bytes();
                if topic.kind == Kind::Book && (topic.needs_value || !topic.has(*seq)) {
                    topic.doubt = None;
                    topic.needs_value = false;
                    log.put(topic, *seq, *ts, Content::Whole(data));
                } else if topic.kind != Kind::Book && !topic.has(*seq) {
                    log.put(topic, *seq, *ts, Content::Data(data));
                }
            }
            ServerMessage::Control(control) => log.control(topics, control),
            ServerMessage::Unknown(_) => {}
        }
        if self.log.writer.gathered_bytes() >= ENTRY_BYTES {
            self.log.end_entry();
        }
        if self.log.block.len() < BLOCK_BYTES {
            return Ok(());
        }
        self.flush()
    }

    /// Writes what was gathered, as a block.
    ///
    /// # Errors
    /// As the file.
    pub fn flush(&mut self) -> io::Result<()> {
        self.log.end_entry();
        if self.log.block.is_empty() {
            return Ok(());
        }
        let mut packed = Vec::new();
        put_block(&mut packed, &self.log.block);
        self.file.write_all(&packed)?;
        self.file.flush()?;
        self.written += packed.len() as u64;
        self.log.block.clear();
        Ok(())
    }

    /// The number of bytes that were written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The file. What was gathered and not written is lost.
    #[must_use]
    pub fn into_inner(self) -> W {
        self.file
    }
}

impl Log {
    fn put(&mut self, topic: &mut LogTopic, seq: Seq, ts: Micros, content: Content<'_>) {
        let after = match content {
            Content::End(_) => seq,
            // A value stands for itself, whatever came before it.
            Content::Whole(_) => Seq(seq.0.saturating_sub(1)),
            Content::Data(_) | Content::Change(_) | Content::Gap(_) => topic.before(seq),
        };
        // No message has the number 0.
        if after == seq && !matches!(content, Content::End(_)) {
            return;
        }
        let keys = &mut self.keys;
        let key = *topic.key.get_or_insert_with(|| {
            *keys += 1;
            TopicKey(*keys)
        });
        let item = Item {
            topic: TopicNumber(0),
            after,
            seq,
            ts,
            doubt: topic.doubt,
            key: None,
            mark: None,
            content,
        };
        self.writer.gather(key, || topic.declaration(after), item);
        self.ts = ts;
        self.has_items = true;
        topic.head = Some(topic.head.map_or(seq, |head| head.max(seq)));
    }

    fn control(&mut self, topics: &mut HashMap<String, LogTopic>, control: &Control) {
        match control {
            Control::Joined { topic, epoch, seq } => {
                if let Some(topic) = topics.get_mut(topic) {
                    topic.go_on(epoch, Some(*seq));
                }
            }
            Control::Gap {
                topic,
                epoch,
                from,
                to,
                reason,
            } => {
                let Some(topic) = topics.get_mut(topic) else {
                    return;
                };
                topic.go_on(epoch, Some(Seq(from.0.saturating_sub(1))));
                topic.needs_value = true;
                if !topic.has(*to) {
                    let ts = self.ts;
                    self.put(topic, *to, ts, Content::Gap(*reason));
                }
            }
            Control::Status {
                topic, state, reason, ..
            } => {
                let Some(topic) = topics.get_mut(topic) else {
                    return;
                };
                match (state, reason) {
                    (TopicState::CaughtUp, _) | (TopicState::Stale, None | Some(StaleReason::Crossed)) => {}
                    (TopicState::Stale, reason) => {
                        topic.doubt = *reason;
                        topic.needs_value = true;
                    }
                    (TopicState::Live, _) => topic.doubt = None,
                }
            }
            Control::End {
                topic, seq, reason, ..
            } => {
                if let Some(mut topic) = topics.remove(topic) {
                    let (head, ts) = (topic.head.unwrap_or(*seq), self.ts);
                    self.put(&mut topic, head, ts, Content::End(*reason));
                }
            }
            _ => {}
        }
    }

    fn end_entry(&mut self) {
        if std::mem::take(&mut self.has_items) {
            let entry = self.writer.seal(EntryFlags::default());
            self.block.extend_from_slice(entry);
            self.writer.stored();
        }
    }
}

/// The bytes of a recording in the form of a journal up to the end of its last whole block. What follows them was not
/// written whole.
///
/// # Errors
/// As the source.
pub fn whole_blocks(source: impl Read) -> io::Result<u64> {
    let mut source = Counted { source, bytes: 0 };
    let mut blocks = BlockReader::new(&mut source);
    while let Some(part) = blocks.next_part()? {
        if let BlockPart::Torn { offset } = part {
            return Ok(offset);
        }
    }
    Ok(source.bytes)
}

/// Counts the bytes that are read.
struct Counted<R> {
    source: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buf)?;
        self.bytes += read as u64;
        Ok(read)
    }
}
