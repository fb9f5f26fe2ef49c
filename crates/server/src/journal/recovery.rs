//! What a start makes of a journal's files: the newest checkpoint that is whole, and the entries behind it.
//!
//! The same epochs go on if everything that anybody has seen is there: if the machine runs since (`boot`), if each entry
//! was synced before it was seen, or if the last process has stopped in order. Then bytes that are no entry are cut off at
//! the end of the last segment and are an error anywhere else. If the machine was started in between and the entries were
//! not synced, the end of the log is wherever the first bytes are that are no entry, and the epochs are new.

use std::io;
use std::sync::Arc;

use thiserror::Error;
use tickwire_feed::DeriveRule;
use tickwire_lane::{
    Checkpoint, CheckpointError, CheckpointPart, Follower, Part, Place, Position, SegmentHead, SegmentReader,
    Start,
};
use tickwire_router::{Directory, FeedMark, Numbered, RestoredState, RestoredTopic};
use tickwire_wire::{Epoch, Micros, Payload, Refusal, Seq};

use super::disk::Disk;
use super::filling::NotFilled;
use super::items::{KEYS_AT_ONCE, feed_mark, known_key};
use super::planted::{JournalFault, is_planted};
use super::replay::Replay;
use super::store::Boot;
use crate::run::derived::DerivedStart;
use tickwire_lane::names::{self, CHECKPOINT_BEGUN, aside_name, checkpoint_name, segment_name};

/// Why a journal cannot be gone on with.
#[derive(Debug, Error)]
pub enum RecoveryError {
    /// A file cannot be read or changed.
    #[error("{name}: {source}")]
    File {
        /// The file.
        name: String,
        /// The system's error.
        source: io::Error,
    },
    /// A file is damaged.
    #[error("{name} is damaged at byte {offset}: {what}")]
    Damaged {
        /// The file.
        name: String,
        /// Where the damage begins.
        offset: usize,
        /// What is wrong there.
        what: String,
    },
    /// No checkpoint is whole, and the log does not begin at its beginning.
    #[error("no checkpoint can be used, and the first segment is not the beginning of the log{0}")]
    NoBeginning(String),
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) directory: Arc<Directory>,
    /// Where the log goes on.
    pub(crate) place: Place,
    pub(crate) epoch: Epoch,
    /// Why the epochs are new; `None` if they go on.
    pub(crate) begun_anew: Option<&'static str>,
    /// The entries behind the checkpoint.
    pub(crate) entries: u64,
    /// The messages in the checkpoint and behind it.
    pub(crate) messages: u64,
    /// The place of the newest message of the broker's own feed.
    pub(crate) fed: Option<FeedMark>,
    /// What was derived.
    pub(crate) derived: Option<DerivedStart>,
    /// Torn or unsynced bytes that were cut off, and the file.
    pub(crate) cut: Option<(String, u64)>,
}

/// What a start needs to know.
pub(crate) struct RecoveryPlan<'a> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) boot: Boot,
    /// The epoch to begin, if one must be begun.
    pub(crate) new_epoch: Epoch,
    pub(crate) now: Micros,
    /// What is derived of messages.
    pub(crate) derive: &'a [DeriveRule],
    /// Makes an empty directory.
    pub(crate) make: &'a dyn Fn(Epoch) -> Arc<Directory>,
}

fn file_error(name: &str) -> impl FnOnce(io::Error) -> RecoveryError {
    let name = name.to_owned();
    |source| RecoveryError::File { name, source }
}

/// Where the log stopped to be readable.
struct Stop {
    /// The number of the segment among those that are read.
    segment: usize,
    offset: usize,
    what: String,
    /// Whether something valid follows.
    is_damage: bool,
}

impl RecoveryPlan<'_> {
    /// Reads everything, cuts off what is torn, and gives the directory with all topics.
    pub(crate) fn run(&self) -> Result<Recovered, RecoveryError> {
        let (segments, checkpoints) = self.positions()?;
        let (mut replay, from, epoch) = self.beginning(&segments, &checkpoints)?;
        let read: Vec<Position> = segments
            .into_iter()
            .filter(|position| *position >= from)
            .collect();
        let stop = self.segments(&mut replay, &read)?;
        let last = self.last_head(&read)?;
        let covered = last
            .as_ref()
            .is_some_and(|head| head.synced || head.boot == self.boot)
            || is_planted(JournalFault::EpochsGoOn);
        let stopped = stop.is_none() && replay.ended_cleanly;
        let is_covered = covered || stopped || read.is_empty() && checkpoints.is_empty();
        if let Some(stop) = &stop {
            let torn_end = !stop.is_damage && stop.segment + 1 == read.len();
            if is_covered && !torn_end {
                return Err(RecoveryError::Damaged {
                    name: segment_name(read[stop.segment]),
                    offset: stop.offset,
                    what: stop.what.clone(),
                });
            }
        }
        if let Err(error) = replay.follower.finish()
            && is_covered
        {
            let name = read
                .last()
                .map_or_else(String::new, |position| segment_name(*position));
            return Err(RecoveryError::Damaged {
                name,
                offset: 0,
                what: error.to_string(),
            });
        }
        let cut = stop.filter(|_| !is_planted(JournalFault::TornEndKept));
        let cut = cut.map(|stop| self.cut(&read, &stop)).transpose()?;
        let place = replay.follower.place();
        let Replay {
            directory,
            entries,
            messages,
            fed,
            derived,
            ..
        } = replay;
        let mut recovered = Recovered {
            directory,
            place,
            epoch,
            begun_anew: None,
            entries,
            messages,
            fed,
            derived: None,
            cut,
        };
        if !is_covered {
            self.begin_anew(&mut recovered);
        }
        recovered.derived = Some(derived.finish(&recovered.directory, !is_covered));
        Ok(recovered)
    }

    /// The positions of the segments and of the checkpoints. What was left of a checkpoint that was being made is removed.
    fn positions(&self) -> Result<(Vec<Position>, Vec<Position>), RecoveryError> {
        let names = self.disk.names().map_err(file_error("the directory"))?;
        if names.iter().any(|name| name == CHECKPOINT_BEGUN) {
            self.disk
                .remove(CHECKPOINT_BEGUN)
                .map_err(file_error(CHECKPOINT_BEGUN))?;
        }
        Ok(names::positions(&names))
    }

    /// The directory with the topics of the newest checkpoint that is whole, and the first segment that is to be read.
    fn beginning(
        &self,
        segments: &[Position],
        checkpoints: &[Position],
    ) -> Result<(Replay, Position, Epoch), RecoveryError> {
        let mut broken = String::new();
        for position in checkpoints.iter().rev() {
            let name = checkpoint_name(*position);
            let bytes = self.disk.read(&name).map_err(file_error(&name))?;
            match self.checkpoint(*position, &Arc::new(bytes)) {
                Ok((replay, epoch)) => return Ok((replay, *position, epoch)),
                Err(error) => {
                    tracing::error!(name, %error, "a checkpoint of the journal is damaged; an earlier one is used");
                    broken = format!("{broken}; {name} is damaged {error}");
                }
            }
        }
        let Some(first) = segments.first() else {
            return match broken.is_empty() {
                true => {
                    let epoch = self.new_epoch.clone();
                    let follower = Follower::new(Start::Checkpoint, Place::default(), Some(epoch.clone()));
                    Ok((self.replay(&epoch, follower), Position(0), epoch))
                }
                false => Err(RecoveryError::NoBeginning(broken)),
            };
        };
        let name = segment_name(*first);
        let bytes = self.disk.read(&name).map_err(file_error(&name))?;
        let head = SegmentReader::new(&bytes).map_err(|(offset, what)| RecoveryError::Damaged {
            name,
            offset,
            what,
        })?;
        match head {
            Some((head, _)) if head.begins_epoch => {
                let follower = Follower::new(Start::Checkpoint, head.place, Some(head.epoch.clone()));
                Ok((self.replay(&head.epoch, follower), *first, head.epoch))
            }
            // The first segment was just being made.
            None if segments.len() == 1 && broken.is_empty() => {
                let epoch = self.new_epoch.clone();
                let follower = Follower::new(Start::Checkpoint, Place::default(), Some(epoch.clone()));
                Ok((self.replay(&epoch, follower), *first, epoch))
            }
            _ => Err(RecoveryError::NoBeginning(broken)),
        }
    }

    fn replay(&self, epoch: &Epoch, follower: Follower) -> Replay {
        Replay::new((self.make)(epoch.clone()), follower, self.now, self.derive)
    }

    fn checkpoint(&self, position: Position, bytes: &Arc<Vec<u8>>) -> Result<(Replay, Epoch), NotRestored> {
        let (head, mut topics) = Checkpoint::new(bytes)?;
        let follower = Follower::new(Start::Checkpoint, head.place, Some(head.epoch.clone()));
        let mut replay = self.replay(&head.epoch, follower);
        replay.filling.begin_file(position, bytes)?;
        let directory = replay.directory.clone();
        if !is_planted(JournalFault::EpochComesAgain) {
            let ended = head.ended.iter().map(|ended| (ended.slot, ended.count));
            directory.restore_ended_counts(head.hashing, ended);
        }
        loop {
            let offset = topics.offset();
            match topics.next_part()? {
                Some(CheckpointPart::Topic(state)) => replay.checkpointed(offset, &state)?,
                Some(CheckpointPart::Keys(_)) if is_planted(JournalFault::KeysLost) => {}
                Some(CheckpointPart::Keys(keys)) => {
                    for kept in keys {
                        directory.restore_key(known_key(&kept)?, self.now);
                    }
                }
                Some(CheckpointPart::Mark(mark)) => replay.fed = Some(feed_mark(mark)),
                Some(CheckpointPart::Derived(part)) => {
                    replay.derived.restore(part).map_err(Refusal::bad_request)?;
                }
                None => break,
            }
        }
        replay.filling.finish()?;
        Ok((replay, head.epoch))
    }

    /// Reads segments, one after the other. Returns where the log is not readable any more.
    fn segments(&self, replay: &mut Replay, read: &[Position]) -> Result<Option<Stop>, RecoveryError> {
        let mut stop = None;
        for segment in 0..read.len() {
            stop = self.segment(replay, read, segment)?;
            if stop.is_some() {
                break;
            }
        }
        // What was read before may turn out not to fit only now.
        let not_filled = replay.filling.finish().err();
        Ok(not_filled.map(|wrong| wrong.stop(read)).or(stop))
    }

    /// Reads a segment of `all`. Returns where it is not readable any more.
    fn segment(
        &self,
        replay: &mut Replay,
        all: &[Position],
        segment: usize,
    ) -> Result<Option<Stop>, RecoveryError> {
        let position = all[segment];
        let name = segment_name(position);
        let mut bytes = replay.filling.memory();
        let read = self.disk.read_into(&name, &mut bytes);
        read.map_err(file_error(&name))?;
        let bytes = Arc::new(bytes);
        let stop = |offset, what: String, is_damage| {
            Some(Stop {
                segment,
                offset,
                what,
                is_damage,
            })
        };
        let (head, parts) = match SegmentReader::new(&bytes) {
            Ok(Some(begun)) => begun,
            Ok(None) => return Ok(stop(0, "its head is cut off".to_owned(), false)),
            Err((offset, what)) => return Ok(stop(offset, what, true)),
        };
        if let Err(error) = replay.follower.begin_segment(&head) {
            return Ok(stop(0, error.to_string(), true));
        }
        replay.ended_cleanly = false;
        let read = replay.filling.begin_file(position, &bytes);
        if let Err(wrong) = read {
            return Ok(Some(wrong.stop(all)));
        }
        for part in parts {
            match part {
                Part::Entry { offset, frame } => {
                    if let Err(wrong) = replay.entry(offset, frame) {
                        return Ok(Some(wrong.stop(all)));
                    }
                }
                Part::Torn { offset } => {
                    return Ok(stop(
                        offset,
                        "the file ends in the middle of an entry".to_owned(),
                        false,
                    ));
                }
                Part::Damaged { offset, error, next } => {
                    return Ok(stop(
                        offset,
                        format!("{error}, and a valid entry follows at byte {next}"),
                        true,
                    ));
                }
            }
        }
        Ok(None)
    }

    /// The head of the last segment that has one.
    fn last_head(&self, read: &[Position]) -> Result<Option<SegmentHead>, RecoveryError> {
        for position in read.iter().rev() {
            let name = segment_name(*position);
            let bytes = self.disk.read(&name).map_err(file_error(&name))?;
            if let Ok(Some((head, _))) = SegmentReader::new(&bytes) {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }

    /// Cuts the log off where it stopped to be readable. Segments behind it are put aside.
    fn cut(&self, read: &[Position], stop: &Stop) -> Result<(String, u64), RecoveryError> {
        let name = segment_name(read[stop.segment]);
        let error = || file_error(&name);
        let length = self.disk.len(&name).map_err(error())?;
        if stop.offset == 0 {
            // Not even its head is there. Left empty, it would be damage once others follow.
            self.disk.remove(&name).map_err(error())?;
        } else {
            let file = self.disk.open(&name).map_err(error())?;
            file.set_len(stop.offset as u64).map_err(error())?;
            file.sync().map_err(error())?;
        }
        for position in &read[stop.segment + 1..] {
            let name = segment_name(*position);
            self.disk
                .rename(&name, &aside_name(&name))
                .map_err(file_error(&name))?;
        }
        self.disk.sync_names().map_err(error())?;
        Ok((name, length - stop.offset as u64))
    }

    /// Gives all topics new epochs. Their values stay, as the first message of each.
    fn begin_anew(&self, recovered: &mut Recovered) {
        let (before, after) = (&recovered.directory, (self.make)(self.new_epoch.clone()));
        let (hashing, ended) = before.ended_counts();
        after.restore_ended_counts(hashing, ended.into_iter());
        let mut from = Some(0);
        while let Some(place) = from {
            let (keys, next) = before.known_keys(place, KEYS_AT_ONCE);
            keys.into_iter().for_each(|key| after.restore_key(key, self.now));
            from = next;
        }
        for info in before.list(&">".parse().expect("a pattern")) {
            let Some(cell) = before.find(info.topic.as_str()) else {
                continue;
            };
            let Some(dump) = cell.dump() else { continue };
            let Some(value) = dump.messages.last() else {
                continue;
            };
            let whole = dump
                .book
                .clone()
                .map_or_else(|| value.payload.clone(), |book| Payload::Book(Box::new(book)));
            let first = Numbered {
                after: Seq::ZERO,
                seq: Seq(1),
                ts: value.ts,
                payload: whole,
                doubt: value.doubt(),
            };
            let topic = RestoredTopic {
                topic: dump.topic.clone(),
                kind: dump.kind,
                epoch: None,
            };
            let state = RestoredState {
                head: Seq(1),
                book: dump.book,
                candles: Vec::new(),
                messages: vec![first],
            };
            let made = after.restore(&topic);
            if let Err(error) = made.and_then(|cell| cell.restore(state, self.now)) {
                tracing::error!(topic = %info.topic, %error, "the value of a topic could not be kept");
            }
        }
        recovered.directory = after;
        recovered.epoch = self.new_epoch.clone();
        recovered.place.chain = tickwire_lane::Chain::default();
        recovered.begun_anew =
            Some("the machine was started since, and what was published last need not be on the disk");
    }
}

impl NotFilled {
    /// Where the log of these segments stops.
    fn stop(self, segments: &[Position]) -> Stop {
        let segment = segments.iter().position(|position| *position == self.file);
        Stop {
            segment: segment.unwrap_or_default(),
            offset: self.offset,
            what: self.what,
            is_damage: true,
        }
    }
}

/// Why a checkpoint cannot be used.
#[derive(Debug, Error)]
enum NotRestored {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Topic(#[from] NotFilled),
    #[error("{}", .0.reason)]
    Key(Refusal),
}

impl From<Refusal> for NotRestored {
    fn from(refusal: Refusal) -> Self {
        Self::Key(refusal)
    }
}
