//! Makes checkpoints, and removes files that are no longer needed.
//!
//! A checkpoint is made under another name, synced and then renamed, so a file with a checkpoint's name is whole. Two are
//! kept. Segments are kept from the older one on, and those before it as far as the rules of retention say.

use std::io;
use std::sync::Arc;

use tickwire_lane::{
    CheckpointHead, CheckpointWriter, Declaration, EndedCount, Item, Place, Position, SegmentReader,
    TopicNumber, TopicState,
};
use tickwire_router::{Directory, DumpedTopic, FeedMark, Publication, TopicId};
use tickwire_wire::{Epoch, Kind, Micros, Payload, Seq};

use super::Trimmed;
use super::disk::{Disk, DiskFile, write_all};
use super::items::{KEYS_AT_ONCE, content, item_mark, kept_key};
use super::planted::{JournalFault, is_planted};
use super::store::StoreError;
use crate::run::derived::DerivedSource;
use tickwire_lane::names::{self, CHECKPOINT_BEGUN, checkpoint_name, segment_name};

/// The bytes of a checkpoint that are written together.
const PIECE_BYTES: usize = 1024 * 1024;
/// The topics that are taken from the directory together.
const TOPICS_AT_ONCE: usize = 1_024;
/// Most bytes of one topic's messages in a checkpoint. The older ones are left out.
const TOPIC_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The number of checkpoints that are kept.
const KEPT: usize = 2;

/// Which segments are kept beyond those that a start needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retention {
    /// Most bytes of all segments.
    pub(crate) bytes_max: u64,
    /// The age from which on a segment goes, in microseconds.
    pub(crate) age_max_us: Option<u64>,
}

/// A checkpoint that is to be made.
#[derive(Debug)]
pub(crate) struct CheckpointPlan {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) directory: Arc<Directory>,
    /// Every entry before it has entered, and a segment begins there.
    pub(crate) place: Place,
    pub(crate) epoch: Epoch,
    /// The segments before it that are not synced.
    pub(crate) unsynced: Vec<Arc<dyn DiskFile>>,
    pub(crate) retention: Retention,
    pub(crate) now: Micros,
    pub(crate) beside: Beside,
}

/// What a checkpoint has beside the topics and their keys.
#[derive(Debug, Clone)]
pub(crate) struct Beside {
    /// The place of the newest message of the broker's own feed.
    pub(crate) fed: Option<FeedMark>,
    /// What is derived from messages.
    pub(crate) derived: DerivedSource,
}

/// A checkpoint that was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MadeCheckpoint {
    /// Its bytes.
    pub(crate) bytes: u64,
    /// The bytes of all files, if they could be counted.
    pub(crate) files_bytes: Option<u64>,
}

impl CheckpointPlan {
    /// Makes the checkpoint, and removes what it makes needless.
    pub(crate) fn make(&self) -> Result<MadeCheckpoint, StoreError> {
        let bytes = self.write().map_err(StoreError::NotWritten)?;
        for file in &self.unsynced {
            file.sync().map_err(StoreError::NotSynced)?;
        }
        let finished = self.disk.sync_names().and_then(|()| {
            self.disk
                .rename(CHECKPOINT_BEGUN, &checkpoint_name(self.place.position))?;
            self.disk.sync_names()
        });
        finished.map_err(StoreError::NotWritten)?;
        let tidied = tidy_up(&*self.disk, self.retention, self.now);
        let files_bytes = tidied
            .inspect_err(|error| tracing::warn!(%error, "old files of the journal could not be removed"))
            .ok()
            .map(|trimmed| trimmed.left);
        Ok(MadeCheckpoint { bytes, files_bytes })
    }

    fn write(&self) -> io::Result<u64> {
        let file = self.disk.open(CHECKPOINT_BEGUN)?;
        file.set_len(0)?;
        let (mut piece, mut written) = (Vec::new(), 0);
        let mut flush = |piece: &mut Vec<u8>, least: usize| {
            if piece.len() >= least {
                write_all(&*file, piece, written)?;
                written += piece.len() as u64;
                piece.clear();
            }
            Ok::<_, io::Error>(written)
        };
        let (hashing, ended) = self.directory.ended_counts();
        let head = CheckpointHead {
            place: self.place,
            epoch: self.epoch.clone(),
            made: self.now,
            hashing,
            ended: ended
                .into_iter()
                .map(|(slot, count)| EndedCount { slot, count })
                .collect(),
        };
        let mut writer = CheckpointWriter::begin(&mut piece, &head);
        put_topics_and_keys(&self.directory, &mut writer, &mut piece, |piece| {
            flush(piece, PIECE_BYTES).map(|_| ())
        })?;
        if let Some(fed) = self.beside.fed {
            writer.mark(&mut piece, item_mark(fed));
        }
        // It has read at least what the topics above have.
        for part in self.beside.derived.parts().map_err(io::Error::other)? {
            writer.derived(&mut piece, &part);
            flush(&mut piece, PIECE_BYTES)?;
        }
        writer.end(&mut piece);
        let bytes = flush(&mut piece, 0)?;
        if !is_planted(JournalFault::CheckpointNotSynced) {
            file.sync()?;
        }
        Ok(bytes)
    }
}

/// Appends all topics, and all keys that are known. `flush` may take bytes away after each piece.
pub(crate) fn put_topics_and_keys<E>(
    directory: &Directory,
    writer: &mut CheckpointWriter,
    out: &mut Vec<u8>,
    mut flush: impl FnMut(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let mut from = Some(TopicId::default());
    while let Some(at) = from {
        let mut cells = Vec::new();
        from = directory.walk(at, TOPICS_AT_ONCE, |cell| cells.push(cell.clone()));
        for cell in cells {
            if let Some(dump) = cell.dump() {
                put_topic(writer, out, &dump);
                flush(out)?;
            }
        }
    }
    let mut from = Some(0);
    while let Some(at) = from {
        let (known, next) = directory.known_keys(at, KEYS_AT_ONCE);
        if !known.is_empty() {
            let keys: Vec<_> = known.iter().map(kept_key).collect();
            writer.keys(out, &keys);
            flush(out)?;
        }
        from = next;
    }
    Ok(())
}

/// What a log says of a topic.
pub(crate) fn declaration(dump: &DumpedTopic) -> Declaration {
    Declaration {
        topic: dump.topic.clone(),
        kind: dump.kind,
        history: u32::try_from(dump.history).unwrap_or(u32::MAX),
        epoch: dump.epoch.clone(),
        life: dump.life,
        head: dump.head,
    }
}

fn put_topic(writer: &mut CheckpointWriter, out: &mut Vec<u8>, dump: &DumpedTopic) {
    // The newest first, so that the oldest are left out if there are too many bytes.
    let (mut texts, mut bytes) = (Vec::new(), 0);
    for message in dump.messages.iter().rev() {
        let text = text(message);
        bytes += text.len();
        let most = if is_planted(JournalFault::CheckpointHistoryLost) {
            0
        } else {
            TOPIC_BYTES_MAX
        };
        if bytes > most && !texts.is_empty() {
            break;
        }
        texts.push(text);
    }
    let kept = &dump.messages[dump.messages.len() - texts.len()..];
    texts.reverse();
    let messages = items(dump.kind, kept, &texts);
    let candle_texts: Vec<_> = dump.candles.iter().map(|candle| text(candle)).collect();
    let candles = items(dump.kind, &dump.candles, &candle_texts);
    let mut book = Vec::new();
    if let Some(whole) = &dump.book {
        Payload::Book(Box::new(whole.clone())).write_json(&mut book);
    }
    let state = TopicState {
        topic: declaration(dump),
        book: dump.book.as_ref().map(|_| &book[..]),
        messages,
        candles,
    };
    writer.topic(out, &state);
}

/// The data of a message as JSON.
fn text(message: &Publication) -> Vec<u8> {
    let mut text = Vec::new();
    message.payload.write_json(&mut text);
    text
}

/// Messages of a topic of `kind` as items, whose texts these are.
fn items<'a>(kind: Kind, messages: &[Arc<Publication>], texts: &'a [Vec<u8>]) -> Vec<Item<'a>> {
    let items = messages.iter().zip(texts).map(|(message, text)| Item {
        topic: TopicNumber(0),
        after: Seq(message.seq.0 - 1),
        seq: message.seq,
        ts: message.ts,
        doubt: message.doubt(),
        key: None,
        mark: None,
        content: content(kind, text),
    });
    items.collect()
}

/// Removes the checkpoints but for the two newest, and the segments that are not needed and that `rules` do not keep.
pub(super) fn tidy_up(disk: &dyn Disk, rules: Retention, now: Micros) -> io::Result<Trimmed> {
    let (segments, checkpoints) = names::positions(&disk.names()?);
    let surplus = checkpoints.len().saturating_sub(KEPT);
    let mut trimmed = Trimmed::default();
    let mut remove = |name: &str, length: u64| {
        disk.remove(name)?;
        trimmed.files += 1;
        trimmed.bytes += length;
        Ok::<_, io::Error>(())
    };
    for position in &checkpoints[..surplus] {
        let name = checkpoint_name(*position);
        remove(&name, disk.len(&name)?)?;
    }
    let mut total = 0;
    for position in &checkpoints[surplus..] {
        total += disk.len(&checkpoint_name(*position))?;
    }
    // Without two checkpoints everything is needed.
    let needed = checkpoints.get(surplus).filter(|_| checkpoints.len() >= KEPT);
    let lengths = segments.iter().map(|position| disk.len(&segment_name(*position)));
    let lengths: Vec<u64> = lengths.collect::<Result<_, _>>()?;
    let mut bytes: u64 = lengths.iter().sum();
    for (at, (position, length)) in segments.iter().zip(&lengths).enumerate() {
        let is_needed = needed.is_none_or(|needed| position >= needed);
        // A segment is as old as its newest entry, which is from before the next one was begun.
        let is_old = |age_max| {
            let ended = segments.get(at + 1).and_then(|next| made(disk, *next));
            ended.is_some_and(|ended| now.since(ended) > age_max)
        };
        let is_kept = is_needed || bytes <= rules.bytes_max && !rules.age_max_us.is_some_and(is_old);
        if is_kept && !is_planted(JournalFault::NeededRemoved) {
            break;
        }
        remove(&segment_name(*position), *length)?;
        bytes -= length;
    }
    trimmed.left = total + bytes;
    Ok(trimmed)
}

/// When a segment was begun.
fn made(disk: &dyn Disk, position: Position) -> Option<Micros> {
    let bytes = disk.read(&segment_name(position)).ok()?;
    let (head, _) = SegmentReader::new(&bytes).ok()??;
    Some(head.made)
}
