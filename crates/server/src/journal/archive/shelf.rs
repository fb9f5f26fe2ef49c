//! The segments of a journal with their indexes: those that are full, and the one that is written.
//!
//! The index of a full segment is a file beside it. It is made when the segment is full, and made again if it is missing or is
//! that of another file. The index of the segment that is written is in memory, and follows the file up to what is stored. The
//! rules of retention remove segments at any time; what was opened before stays readable until the next look at the directory.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tickwire_lane::names::{INDEX_BEGUN, index_name, index_positions, positions, segment_name};
use tickwire_lane::{
    Chain, INDEX_HEAD_BYTES_MAX, IndexBuilder, IndexHead, IndexPart, Malformed, Position, SegmentHead,
    SegmentIdentity, TopicIndex, first_frame, frame_length, read_topic,
};
use tickwire_wire::{Epoch, Topic};

use super::scan::{Found, Scanner};
use crate::journal::disk::{Disk, ReadFile, read_all, write_all};
use crate::journal::store::StoredEnd;

/// The bytes that are read at a time while an index is made.
const PIECE_BYTES: usize = 1024 * 1024;
/// The bytes in which the head of a segment is.
const HEAD_BYTES: usize = 4096;
/// The most full segments that are open at a time.
const OPEN_MAX: usize = 32;
/// The shortest time between two looks at the directory.
const LIST_EVERY: Duration = Duration::from_secs(1);

/// A full segment.
#[derive(Debug, Default)]
struct Sealed {
    file: Option<Arc<dyn ReadFile>>,
    index: Option<SealedIndex>,
}

/// The index of a full segment.
#[derive(Debug)]
struct SealedIndex {
    /// `None` while it is closed.
    file: Option<Arc<dyn ReadFile>>,
    head: IndexHead,
}

/// The segment that is written.
#[derive(Debug)]
struct Current {
    position: Position,
    file: Arc<dyn ReadFile>,
    builder: IndexBuilder,
    /// The bytes that are in the index.
    indexed: u64,
    /// The bytes that are stored.
    stored: u64,
}

/// A segment that can be read.
#[derive(Debug, Clone)]
pub(super) struct OpenSegment {
    pub(super) file: Arc<dyn ReadFile>,
    /// The bytes of it that may be read.
    pub(super) length: u64,
}

/// The segments of a journal.
#[derive(Debug)]
pub(super) struct Shelf {
    disk: Arc<dyn Disk>,
    end: Arc<StoredEnd>,
    sealed: BTreeMap<Position, Sealed>,
    current: Option<Current>,
    listed: Option<Instant>,
    scanner: Scanner,
    /// Segments of which damage was told.
    damaged: BTreeSet<Position>,
}

/// What went wrong with a full segment.
#[derive(Debug, thiserror::Error)]
enum SealedError {
    #[error(transparent)]
    File(#[from] io::Error),
    #[error("{0}")]
    Malformed(#[from] Malformed),
}

impl Shelf {
    pub(super) fn new(disk: Arc<dyn Disk>, end: Arc<StoredEnd>) -> Self {
        Self {
            disk,
            end,
            sealed: BTreeMap::new(),
            current: None,
            listed: None,
            scanner: Scanner::default(),
            damaged: BTreeSet::new(),
        }
    }

    /// The positions of all segments, in order.
    pub(super) fn positions(&self) -> Vec<Position> {
        let current = self.current.as_ref().map(|current| current.position);
        self.sealed.keys().copied().chain(current).collect()
    }

    /// Finds out which segments there are, and adds what was written to the index of the last one.
    pub(super) fn refresh(&mut self) -> io::Result<()> {
        let Some((position, stored)) = self.end.get() else {
            return Ok(());
        };
        let is_other = self
            .current
            .as_ref()
            .is_none_or(|current| current.position != position);
        if is_other && let Some(full) = self.current.take() {
            self.seal(full);
        }
        if is_other || self.listed.is_none_or(|at| at.elapsed() >= LIST_EVERY) {
            self.list(position)?;
        }
        if is_other {
            self.current = Some(self.begin(position)?);
        }
        if let Some(current) = &mut self.current {
            current.stored = stored;
            let (from, builder) = (current.indexed, &mut current.builder);
            current.indexed = add_entries(&mut self.scanner, &*current.file, (from, stored), builder)?;
        }
        self.tell_damage();
        Ok(())
    }

    /// Lists the directory. `current` is the segment that is written.
    fn list(&mut self, current: Position) -> io::Result<()> {
        let names = self.disk.names()?;
        let (segments, _) = positions(&names);
        let full: BTreeSet<Position> = segments.into_iter().filter(|at| *at < current).collect();
        self.sealed.retain(|position, _| full.contains(position));
        self.damaged.retain(|position| full.contains(position));
        for position in &full {
            self.sealed.entry(*position).or_default();
        }
        if let Err(error) = remove_indexes(&*self.disk, &names, &full) {
            tracing::warn!(%error, "an index without a segment cannot be removed"); // it does no harm
        }
        self.listed = Some(Instant::now());
        Ok(())
    }

    /// Begins the index of the segment that is written.
    fn begin(&self, position: Position) -> io::Result<Current> {
        let file = self.disk.open_read(&segment_name(position))?;
        let (head, frame) = read_head(&*file)?;
        Ok(Current {
            position,
            builder: IndexBuilder::new(&head, &frame),
            file,
            indexed: frame.len() as u64,
            stored: frame.len() as u64,
        })
    }

    /// Makes the index of a segment that is full now a file.
    fn seal(&mut self, mut full: Current) {
        let sealed = full.file.len().and_then(|length| {
            let (from, builder) = (full.indexed, &mut full.builder);
            add_entries(&mut self.scanner, &*full.file, (from, length), builder)?;
            self.write_index(full.position, &full.builder, length)
        });
        match sealed {
            Ok(index) => {
                let entry = self.sealed.entry(full.position).or_default();
                entry.index = Some(index);
            }
            Err(error) => tracing::warn!(%error, segment = %full.position, "a segment has no index yet"),
        }
    }

    /// Writes the index of a full segment. If it cannot be written, it is kept in memory.
    fn write_index(
        &self,
        position: Position,
        builder: &IndexBuilder,
        length: u64,
    ) -> io::Result<SealedIndex> {
        let bytes = builder.seal(length);
        let head = IndexHead::read(&bytes).map_err(io::Error::other)?;
        let written = self.disk.open(INDEX_BEGUN).and_then(|file| {
            file.set_len(0)?;
            write_all(&*file, &bytes, 0)?;
            self.disk.rename(INDEX_BEGUN, &index_name(position))
        });
        let file: Option<Arc<dyn ReadFile>> = match written {
            Ok(()) => None,
            Err(error) => {
                tracing::warn!(%error, segment = %position, "the index of a segment cannot be written");
                Some(Arc::new(bytes))
            }
        };
        Ok(SealedIndex { file, head })
    }

    /// Makes the index of one full segment that has none. Returns whether there was one.
    pub(super) fn index_one(&mut self) -> bool {
        let without = self
            .sealed
            .iter()
            .rev()
            .find(|(_, sealed)| sealed.index.is_none());
        let Some(position) = without.map(|(position, _)| *position) else {
            return false;
        };
        if let Err(error) = self.index_of(position) {
            self.lost(position, &error);
        }
        true
    }

    /// Closes all full segments, so that removed ones are gone from the disk.
    pub(super) fn close_all(&mut self) {
        let names = &self.disk;
        for (position, sealed) in &mut self.sealed {
            sealed.file = None;
            if let Some(index) = &mut sealed.index
                && names.len(&index_name(*position)).is_ok()
            {
                index.file = None;
            }
        }
    }

    /// Says once in the log that a segment is damaged.
    fn tell_damage(&mut self) {
        if let Some(current) = &self.current
            && !current.builder.is_whole()
            && self.damaged.insert(current.position)
        {
            tracing::error!(segment = %current.position, "the journal is damaged: replays have gaps there");
        }
    }

    /// Forgets a segment that cannot be read, until the next look at the directory.
    fn lost(&mut self, position: Position, error: &SealedError) {
        self.sealed.remove(&position);
        let is_gone = matches!(error, SealedError::File(error) if error.kind() == ErrorKind::NotFound);
        if !is_gone && self.damaged.insert(position) {
            tracing::error!(%error, segment = %position, "a segment of the journal cannot be read: replays have gaps there");
        }
    }

    /// A segment, to be read. `None` if it is gone.
    pub(super) fn open(&mut self, position: Position) -> Option<OpenSegment> {
        if let Some(current) = self
            .current
            .as_ref()
            .filter(|current| current.position == position)
        {
            return Some(OpenSegment {
                file: current.file.clone(),
                length: current.indexed,
            });
        }
        match self.file_of(position) {
            Ok((file, length)) => Some(OpenSegment { file, length }),
            Err(error) => {
                self.lost(position, &error);
                None
            }
        }
    }

    fn file_of(&mut self, position: Position) -> Result<(Arc<dyn ReadFile>, u64), SealedError> {
        let opened = self
            .sealed
            .values()
            .filter(|sealed| sealed.file.is_some())
            .count();
        if opened >= OPEN_MAX {
            self.close_all();
        }
        let sealed = self
            .sealed
            .get_mut(&position)
            .ok_or(ErrorKind::NotFound)
            .map_err(io::Error::from)?;
        let file = match &sealed.file {
            Some(file) => file.clone(),
            None => {
                let file = self.disk.open_read(&segment_name(position))?;
                sealed.file.insert(file).clone()
            }
        };
        let length = file.len()?;
        Ok((file, length))
    }

    /// What a segment has of a topic's life; `None` if it has nothing of it, or is gone.
    pub(super) fn look_up(&mut self, position: Position, topic: &Topic, epoch: &Epoch) -> Option<TopicIndex> {
        let name = topic.as_str();
        if let Some(current) = self
            .current
            .as_ref()
            .filter(|current| current.position == position)
        {
            return current.builder.find(name, epoch).ok().flatten();
        }
        for attempt in 0..2 {
            match self.look_up_sealed(position, name, epoch) {
                Ok(found) => return found,
                Err(SealedError::Malformed(error)) if attempt == 0 => {
                    tracing::warn!(%error, segment = %position, "the index of a segment is damaged and is made again");
                    if let Some(sealed) = self.sealed.get_mut(&position) {
                        sealed.index = None;
                    }
                    if let Err(error) = remove(&*self.disk, &index_name(position)) {
                        self.lost(position, &error.into());
                        return None;
                    }
                }
                Err(error) => {
                    self.lost(position, &error);
                    return None;
                }
            }
        }
        None
    }

    fn look_up_sealed(
        &mut self,
        position: Position,
        topic: &str,
        epoch: &Epoch,
    ) -> Result<Option<TopicIndex>, SealedError> {
        self.index_of(position)?;
        let index = self
            .sealed
            .get_mut(&position)
            .and_then(|sealed| sealed.index.as_mut());
        let index = index.ok_or(ErrorKind::NotFound).map_err(io::Error::from)?;
        let Some(page) = index.head.page_of(topic, epoch) else {
            return Ok(None);
        };
        let file = match &index.file {
            Some(file) => file.clone(),
            None => index
                .file
                .insert(self.disk.open_read(&index_name(position))?)
                .clone(),
        };
        let page = read_part(&*file, page)?;
        for place in index.head.places_of(&page, topic, epoch)? {
            let bytes = read_part(&*file, place)?;
            if let Some(found) = read_topic(&bytes, topic, epoch)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Makes sure that a full segment has its index.
    fn index_of(&mut self, position: Position) -> Result<(), SealedError> {
        let sealed = self.sealed.get(&position);
        if sealed
            .ok_or(ErrorKind::NotFound)
            .map_err(io::Error::from)?
            .index
            .is_some()
        {
            return Ok(());
        }
        let (file, length) = self.file_of(position)?;
        let (head, frame) = read_head(&*file)?;
        let identity = SegmentIdentity {
            position,
            head: Chain::of(&frame),
            length,
        };
        let index = match self.read_index(position, identity)? {
            Some(index) => index,
            None => {
                let mut builder = IndexBuilder::new(&head, &frame);
                add_entries(
                    &mut self.scanner,
                    &*file,
                    (frame.len() as u64, length),
                    &mut builder,
                )?;
                if !builder.is_whole() && self.damaged.insert(position) {
                    tracing::error!(segment = %position, "the journal is damaged: replays have gaps there");
                }
                self.write_index(position, &builder, length)?
            }
        };
        if let Some(sealed) = self.sealed.get_mut(&position) {
            sealed.index = Some(index);
        }
        Ok(())
    }

    /// The index that lies beside a segment, if it is that of the segment.
    fn read_index(&self, position: Position, segment: SegmentIdentity) -> io::Result<Option<SealedIndex>> {
        let file = match self.disk.open_read(&index_name(position)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = vec![0; HEAD_BYTES];
        let count = read_all(&*file, &mut bytes, 0)?;
        bytes.truncate(count);
        let whole = frame_length(&bytes).filter(|length| *length <= INDEX_HEAD_BYTES_MAX);
        if let Some(length) = whole.filter(|length| *length > count) {
            bytes.resize(length, 0);
            let count = read_all(&*file, &mut bytes, 0)?;
            bytes.truncate(count);
        }
        let head = IndexHead::read(&bytes)
            .ok()
            .filter(|head| head.segment == segment);
        let file = Some(file);
        Ok(head.map(|head| SealedIndex { file, head }))
    }
}

/// Reads the head of a segment, with its frame.
fn read_head(file: &dyn ReadFile) -> io::Result<(SegmentHead, Vec<u8>)> {
    let mut bytes = vec![0; HEAD_BYTES];
    let count = read_all(file, &mut bytes, 0)?;
    bytes.truncate(count);
    let frame = first_frame(&bytes).map_err(io::Error::other)?;
    let head = SegmentHead::read(frame).map_err(io::Error::other)?;
    Ok((head, frame.to_vec()))
}

/// Adds the entries in a part of a segment to its index. Returns where the last whole one ends.
fn add_entries(
    scanner: &mut Scanner,
    file: &dyn ReadFile,
    part: (u64, u64),
    builder: &mut IndexBuilder,
) -> io::Result<u64> {
    let end = part.1;
    scanner.run(file, part, PIECE_BYTES, |found| {
        let is_entry = match found {
            Found::Frame { offset, frame } => builder.entry(offset, frame).is_ok(),
            Found::Damage { .. } => false,
        };
        if !is_entry {
            builder.damaged();
        }
        ControlFlow::Continue(())
    })?;
    Ok(end)
}

fn read_part(file: &dyn ReadFile, part: IndexPart) -> Result<Vec<u8>, SealedError> {
    let mut bytes = vec![0; part.bytes];
    let count = read_all(file, &mut bytes, part.offset)?;
    bytes.truncate(count);
    Ok(bytes)
}

/// Removes the indexes whose segments were removed.
pub(crate) fn remove_orphans(disk: &dyn Disk) -> io::Result<()> {
    let names = disk.names()?;
    let segments = positions(&names).0.into_iter().collect();
    remove_indexes(disk, &names, &segments)
}

/// Removes the indexes of other segments than these.
fn remove_indexes(disk: &dyn Disk, names: &[String], segments: &BTreeSet<Position>) -> io::Result<()> {
    let orphans = index_positions(names)
        .into_iter()
        .filter(|position| !segments.contains(position));
    for position in orphans {
        remove(disk, &index_name(position))?;
    }
    Ok(())
}

/// Removes a file, which may be gone already.
fn remove(disk: &dyn Disk, name: &str) -> io::Result<()> {
    match disk.remove(name) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
