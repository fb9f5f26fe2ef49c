//! A journal as the source of a replay: a recording in the form of a journal, or the directory of a broker's journal.
//!
//! Files are only read. A directory may be one that a broker writes: it is replayed up to the end that it has when its last file is
//! read. If its oldest segment begins with a checkpoint, the order books are those of the checkpoint. Memory is a block, or
//! of a directory a segment.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use tickwire_lane::names::{checkpoint_name, positions, segment_name};
use tickwire_lane::{
    BlockPart, BlockReader, Chain, Checkpoint, CheckpointPart, Content, Declaration, Entry, Item, Part,
    Position, SegmentHead, SegmentReader,
};
use tickwire_wire::{Epoch, Micros, Payload, Seq, Topic};

use super::recorded::{Recorded, What};

/// What a log holds next.
pub(super) enum LogRead {
    /// The messages of an entry, with their times.
    Entry(Vec<(Micros, Recorded)>),
    /// Something is wrong with it.
    Fault(String),
    /// It has ended.
    End,
}

/// Reads a log.
#[derive(Debug)]
pub(super) struct LogSource {
    input: LogInput,
    /// The entries that are read: a block, or a segment.
    piece: Vec<u8>,
    /// How much of the piece was read.
    at: usize,
    /// Where the piece is in its file. Messages about the piece name this place.
    origin: Origin,
    declared: Vec<Declaration>,
    /// The hash of the last entry, unless entries behind it are missing.
    chain: Option<Chain>,
    /// The books of a checkpoint that the log begins with, and the newest message of each.
    books: VecDeque<(Micros, Recorded)>,
    known: HashMap<(Topic, Epoch), Seq>,
    /// The number of entries that were read.
    entries: u64,
    /// What is wrong with the entry that was read last.
    pending: Option<String>,
}

#[derive(Debug)]
enum LogInput {
    Blocks(BlockReader<File>),
    Segments { dir: PathBuf, names: VecDeque<String> },
}

/// Where a piece is.
#[derive(Debug, Default)]
struct Origin {
    /// The name of its file, if it is one of a directory.
    name: Option<String>,
    /// Where it begins. Offsets within a block are not those of the file.
    offset: u64,
    is_last: bool,
}

impl Origin {
    fn told(&self, at: usize, what: &str) -> String {
        match &self.name {
            Some(name) => format!("{name}, byte {at}: {what}"),
            None => format!("byte {}: {what}", self.offset),
        }
    }
}

impl LogSource {
    /// Reads the blocks of `file`.
    pub(super) fn of_file(file: File) -> Self {
        Self::new(LogInput::Blocks(BlockReader::new(file)))
    }

    /// Reads the journal in `dir`.
    pub(super) fn of_dir(dir: &Path) -> io::Result<Self> {
        let (first, segments, checkpoints) = files(dir)?;
        let names = segments.into_iter().map(segment_name).collect();
        let mut source = Self::new(LogInput::Segments {
            dir: dir.to_owned(),
            names,
        });
        if checkpoints.contains(&first) {
            let bytes = std::fs::read(dir.join(checkpoint_name(first)))?;
            source.take_books(&bytes);
        }
        Ok(source)
    }

    fn new(input: LogInput) -> Self {
        Self {
            input,
            piece: Vec::new(),
            at: 0,
            origin: Origin::default(),
            declared: Vec::new(),
            chain: None,
            books: VecDeque::new(),
            known: HashMap::new(),
            entries: 0,
            pending: None,
        }
    }

    /// Takes the books of a checkpoint. If it is damaged, books begin with their first whole value in the log.
    fn take_books(&mut self, bytes: &[u8]) {
        let Ok((head, mut parts)) = Checkpoint::new(bytes) else {
            return;
        };
        let mut books = VecDeque::new();
        loop {
            match parts.next_part() {
                Ok(Some(CheckpointPart::Topic(state))) => {
                    let value = state.book.map(Payload::from_json);
                    let (Some(Ok(data)), declared) = (value, state.topic) else {
                        continue;
                    };
                    let (topic, epoch, seq) = (declared.topic, declared.epoch, declared.head);
                    self.known.insert((topic.clone(), epoch.clone()), seq);
                    let what = What::Value { epoch, seq, data };
                    let ts = state.messages.last().map(|message| message.ts);
                    books.push_back((head.made, Recorded { topic, ts, what }));
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => {
                    self.known.clear();
                    return;
                }
            }
        }
        self.books = books;
    }

    /// The number of the entry that was read last. The first is 1.
    pub(super) fn entry_number(&self) -> u64 {
        self.entries.max(1)
    }

    /// What comes next.
    pub(super) fn read(&mut self) -> LogRead {
        if let Some(told) = self.pending.take() {
            return LogRead::Fault(told);
        }
        if !self.books.is_empty() {
            return LogRead::Entry(std::mem::take(&mut self.books).into());
        }
        loop {
            if self.at < self.piece.len() {
                match self.read_piece() {
                    Some(read) => return read,
                    None => continue,
                }
            }
            match self.next_piece() {
                Ok(true) => {}
                Ok(false) => return LogRead::End,
                Err(told) => return LogRead::Fault(told),
            }
        }
    }

    /// Goes on to the next piece. Returns whether there is one.
    fn next_piece(&mut self) -> Result<bool, String> {
        self.at = 0;
        self.piece.clear();
        match &mut self.input {
            LogInput::Blocks(blocks) => {
                let part = blocks.next_part();
                match part.map_err(|error| format!("it cannot be read on: {error}"))? {
                    None => return Ok(false),
                    Some(BlockPart::Block { offset, content }) => {
                        self.piece = content;
                        self.origin = Origin {
                            offset,
                            ..Origin::default()
                        };
                    }
                    Some(BlockPart::Torn { offset }) => {
                        return Err(format!("byte {offset}: the file ends in the middle of a block"));
                    }
                    Some(BlockPart::Damaged { offset, error, next }) => {
                        self.chain = None;
                        return Err(format!(
                            "byte {offset}: {error}; the next block is at byte {next}"
                        ));
                    }
                }
            }
            LogInput::Segments { dir, names } => {
                let Some(name) = names.pop_front() else {
                    return Ok(false);
                };
                self.piece = std::fs::read(dir.join(&name)).map_err(|error| format!("{name}: {error}"))?;
                self.origin = Origin {
                    name: Some(name),
                    offset: 0,
                    is_last: names.is_empty(),
                };
            }
        }
        let is_segment = self.origin.name.is_some() || SegmentReader::has_head(&self.piece);
        if is_segment {
            self.begin_segment()?;
        }
        Ok(true)
    }

    fn begin_segment(&mut self) -> Result<(), String> {
        let begun = SegmentReader::new(&self.piece);
        let told = |at, what: &str| self.origin.told(at, what);
        let (head, read) = match begun {
            Ok(Some((head, reader))) => (head, reader.read_bytes()),
            // It is just being made.
            Ok(None) if self.origin.is_last => {
                self.piece.clear();
                return Ok(());
            }
            Ok(None) => return Err(told(0, "its head is cut off")),
            Err((at, what)) => return Err(told(at, &what)),
        };
        let SegmentHead {
            place, begins_epoch, ..
        } = head;
        let follows = begins_epoch || self.chain.is_none_or(|chain| chain == place.chain);
        self.chain = Some(place.chain);
        self.declared.clear();
        self.at = read;
        match follows {
            true => Ok(()),
            false => Err(self.origin.told(0, "entries before it are missing")),
        }
    }

    /// Reads on in the piece. `None` if there is nothing to tell.
    fn read_piece(&mut self) -> Option<LogRead> {
        let mut reader = SegmentReader::behind_head(&self.piece[self.at..]);
        let begin = self.at;
        let part = reader.next()?;
        self.at += reader.read_bytes();
        match part {
            Part::Entry { frame, .. } => {
                self.entries += 1;
                let entry = match Entry::read(frame) {
                    Ok(entry) => entry,
                    Err(error) => return Some(LogRead::Fault(self.origin.told(begin, &error.to_string()))),
                };
                let follows = self.chain.is_none_or(|chain| chain == entry.prev);
                self.chain = Some(Chain::of(frame));
                self.declared.extend(entry.declared.iter().cloned());
                let (messages, wrong) = messages(&self.declared, &entry, &self.known);
                let wrong = match follows {
                    true => wrong,
                    false => Some("entries before it are missing".to_owned()),
                };
                self.pending = wrong.map(|what| self.origin.told(begin, &what));
                Some(LogRead::Entry(messages))
            }
            Part::Torn { .. } if self.origin.is_last => None,
            Part::Torn { .. } => {
                let what = "it ends in the middle of an entry";
                Some(LogRead::Fault(self.origin.told(begin, what)))
            }
            Part::Damaged { error, .. } => {
                self.chain = None;
                Some(LogRead::Fault(self.origin.told(begin, &error.to_string())))
            }
        }
    }
}

/// The oldest segment of a directory, all its segments, and its checkpoints.
fn files(dir: &Path) -> io::Result<(Position, Vec<Position>, Vec<Position>)> {
    let names = std::fs::read_dir(dir)?;
    // No file of a journal has a name that is not UTF-8.
    let names = names.map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default()));
    let names: Vec<String> = names.collect::<io::Result<_>>()?;
    let (segments, checkpoints) = positions(&names);
    match segments.first().copied() {
        Some(first) => Ok((first, segments, checkpoints)),
        None => Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the directory has no segment of a journal",
        )),
    }
}

/// The file of the oldest segment in a directory.
pub(super) fn first_segment(dir: &Path) -> io::Result<PathBuf> {
    let (first, ..) = files(dir)?;
    Ok(dir.join(segment_name(first)))
}

/// The messages of an entry, and what is wrong with those that cannot be read. `known` has what a checkpoint has of books.
fn messages(
    declared: &[Declaration],
    entry: &Entry<'_>,
    known: &HashMap<(Topic, Epoch), Seq>,
) -> (Vec<(Micros, Recorded)>, Option<String>) {
    let (mut messages, mut wrong) = (Vec::with_capacity(entry.items.len()), None);
    for item in &entry.items {
        let Some(Declaration { topic, epoch, .. }) = declared.get(item.topic.0 as usize) else {
            wrong = Some("a topic was declared in an entry that is missing".to_owned());
            continue;
        };
        let has = |head: &Seq| item.seq <= *head && !matches!(item.content, Content::End(_));
        if !known.is_empty() && known.get(&(topic.clone(), epoch.clone())).is_some_and(has) {
            continue;
        }
        let is_message = !matches!(item.content, Content::End(_) | Content::Gap(_));
        match what(item, epoch) {
            Ok(what) => messages.push((
                item.ts,
                Recorded {
                    topic: topic.clone(),
                    ts: is_message.then_some(item.ts),
                    what,
                },
            )),
            Err(error) => wrong = Some(format!("message {} of {topic}: {error}", item.seq)),
        }
    }
    (messages, wrong)
}

fn what(item: &Item<'_>, epoch: &Epoch) -> Result<What, String> {
    let (epoch, after, seq) = (epoch.clone(), item.after, item.seq);
    let data = |text: &[u8]| Payload::from_json(text).map_err(|refusal| refusal.to_string());
    Ok(match item.content {
        Content::Data(text) | Content::Change(text) => What::Numbered {
            epoch,
            after,
            seq,
            data: data(text)?,
            doubt: item.doubt,
        },
        Content::Whole(text) => What::Value {
            epoch,
            seq,
            data: data(text)?,
        },
        Content::End(_) => What::End,
        Content::Gap(_) => What::Gap {
            epoch,
            from: after.next(),
            to: seq,
        },
    })
}
