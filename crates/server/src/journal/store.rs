//! The log on the disk: segments that are written, one entry after the other, and the bytes that are synced.
//!
//! Single-threaded. What it says is stored was taken by the disk whole. A write that failed leaves nothing behind: the file
//! is cut off at the last entry before anything else is written, and until that succeeds nothing is.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;
use tickwire_lane::{EntryFlags, Place, Position, SegmentHead, Writer};
use tickwire_wire::{Epoch, Micros};

use super::disk::{Disk, DiskFile, write_all};
use super::planted::{JournalFault, is_planted};
use crate::config::JournalSync;
use tickwire_lane::names::segment_name;

/// What tells the machine's starts apart.
pub(crate) type Boot = [u8; 16];

/// Why an entry was not stored.
#[derive(Debug, Error)]
pub(crate) enum StoreError {
    /// It was not written. This may pass.
    #[error("{0}")]
    NotWritten(#[source] io::Error),
    /// A sync has failed. What the system holds of the files is not to be trusted any more.
    #[error("a sync has failed: {0}")]
    NotSynced(#[source] io::Error),
}

/// How a log is stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoreRules {
    pub(crate) sync: JournalSync,
    /// The length from which on another segment is begun.
    pub(crate) segment_bytes: u64,
    pub(crate) boot: Boot,
}

/// The segment that is written.
#[derive(Debug)]
struct Segment {
    file: Arc<dyn DiskFile>,
    /// The place of its first entry.
    begins: Place,
    /// The bytes up to the end of the last entry that is stored.
    length: u64,
}

/// Up to where a log is stored, for those that read it while it is written.
#[derive(Debug, Default)]
pub(crate) struct StoredEnd(Mutex<Option<(Position, u64)>>);

impl StoredEnd {
    /// The segment that is written, and its bytes up to the end of the last entry that is stored. `None` before the first
    /// segment.
    pub(crate) fn get(&self) -> Option<(Position, u64)> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, segment: Position, length: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((segment, length));
    }
}

/// A log on a disk.
#[derive(Debug)]
pub(crate) struct Store {
    disk: Arc<dyn Disk>,
    rules: StoreRules,
    pub(crate) writer: Writer,
    segment: Option<Segment>,
    /// Segments that are full and not synced.
    unsynced: Vec<Arc<dyn DiskFile>>,
    /// Whether something of the segment is not synced.
    dirty: bool,
    /// Whether the file may have bytes behind the last entry.
    torn: bool,
    /// A segment that could not be begun. Its file must not stay between others.
    misbegun: Option<String>,
    begins_epoch: bool,
    /// The bytes that were written since the start.
    written: u64,
    end: Arc<StoredEnd>,
}

impl Store {
    /// A log that goes on at `place`. If the epoch begins there, what is before belongs to another.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        rules: StoreRules,
        place: Place,
        epoch: Epoch,
        begins_epoch: bool,
    ) -> Self {
        Self {
            disk,
            rules,
            writer: Writer::new(place, epoch),
            segment: None,
            unsynced: Vec::new(),
            dirty: false,
            torn: false,
            misbegun: None,
            begins_epoch,
            written: 0,
            end: Arc::default(),
        }
    }

    /// Up to where it is stored.
    pub(crate) fn end(&self) -> &Arc<StoredEnd> {
        &self.end
    }

    /// The bytes that were written since the start.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.written
    }

    /// Whether something was written that is not synced.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty || !self.unsynced.is_empty()
    }

    /// Removes what a failure has left behind.
    fn repair(&mut self) -> Result<(), StoreError> {
        if let Some(Segment { file, length, .. }) = self.segment.as_ref().filter(|_| self.torn) {
            file.set_len(*length).map_err(StoreError::NotWritten)?;
            // Otherwise the bytes may come back with a loss of power, and stand between two segments.
            if self.rules.sync == JournalSync::Each {
                file.sync().map_err(StoreError::NotSynced)?;
            } else {
                self.dirty = true;
            }
            self.torn = false;
        }
        if let Some(name) = &self.misbegun
            && !is_planted(JournalFault::MisbegunKept)
        {
            match self.disk.remove(name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::NotWritten(error));
                }
                Ok(()) | Err(_) => self.misbegun = None,
            }
        }
        Ok(())
    }

    /// Prepares for the next entry. Nothing may be gathered yet.
    pub(crate) fn prepare(&mut self, now: Micros) -> Result<(), StoreError> {
        self.repair()?;
        match &self.segment {
            Some(segment) if segment.length < self.rules.segment_bytes => Ok(()),
            _ => self.begin_segment(now),
        }
    }

    /// Begins another segment at the place of the next entry. The one before stays to be synced.
    pub(crate) fn begin_segment(&mut self, now: Micros) -> Result<(), StoreError> {
        let place = self.writer.place();
        if self
            .segment
            .as_ref()
            .is_some_and(|segment| segment.begins == place)
        {
            return Ok(()); // it has no entry yet
        }
        self.repair()?;
        let head = SegmentHead {
            place,
            epoch: self.writer.epoch().clone(),
            begins_epoch: self.begins_epoch,
            synced: self.rules.sync == JournalSync::Each,
            boot: self.rules.boot,
            made: now,
        };
        let mut bytes = Vec::new();
        head.put(&mut bytes);
        let name = segment_name(place.position);
        self.misbegun = Some(name.clone());
        let file = self.disk.open(&name).map_err(StoreError::NotWritten)?;
        // A file of this name has no entry: it was begun and not gone on with.
        file.set_len(0).map_err(StoreError::NotWritten)?;
        write_all(&*file, &bytes, 0).map_err(StoreError::NotWritten)?;
        // From its first segment on everybody can see that this process has written to the log, even if what it writes is
        // lost with the machine's power.
        let begins = self.segment.is_none() && !is_planted(JournalFault::StartNotSynced);
        if self.rules.sync == JournalSync::Each || begins {
            file.sync().map_err(StoreError::NotSynced)?;
            self.disk.sync_names().map_err(StoreError::NotSynced)?;
        }
        self.misbegun = None;
        self.end.set(place.position, bytes.len() as u64);
        let before = self.segment.replace(Segment {
            file,
            begins: place,
            length: bytes.len() as u64,
        });
        // With a sync for each entry the file before has nothing that is not synced.
        self.unsynced
            .extend(before.filter(|_| self.dirty).map(|before| before.file));
        self.dirty = self.rules.sync != JournalSync::Each;
        self.begins_epoch = false;
        self.writer.begin_segment();
        Ok(())
    }

    /// Stores what was gathered as an entry. If that fails, nothing of it is stored, and it is dropped. Returns its bytes.
    pub(crate) fn store(&mut self, flags: EntryFlags) -> Result<u64, StoreError> {
        let Some(segment) = &mut self.segment else {
            self.writer.dropped();
            return Err(StoreError::NotWritten(io::Error::other("no segment is open")));
        };
        let bytes = self.writer.seal(flags);
        let count = bytes.len() as u64;
        if let Err(error) = write_all(&*segment.file, bytes, segment.length) {
            self.torn = !is_planted(JournalFault::TornNotCutOff);
            self.writer.dropped();
            return Err(StoreError::NotWritten(error));
        }
        if self.rules.sync == JournalSync::Each && !is_planted(JournalFault::EntryNotSynced) {
            segment.file.sync().map_err(StoreError::NotSynced)?;
        } else {
            self.dirty = true;
        }
        segment.length += count;
        self.written += count;
        self.end.set(segment.begins.position, segment.length);
        self.writer.stored();
        Ok(count)
    }

    /// Takes the full segments that are not synced. Whoever takes them syncs them.
    pub(crate) fn take_unsynced(&mut self) -> Vec<Arc<dyn DiskFile>> {
        std::mem::take(&mut self.unsynced)
    }

    /// Waits until everything that is stored is on the disk.
    pub(crate) fn sync(&mut self) -> Result<(), StoreError> {
        if !self.is_dirty() {
            return Ok(());
        }
        let files = self
            .unsynced
            .iter()
            .chain(self.segment.as_ref().map(|segment| &segment.file));
        for file in files {
            file.sync().map_err(StoreError::NotSynced)?;
        }
        self.disk.sync_names().map_err(StoreError::NotSynced)?;
        self.unsynced.clear();
        self.dirty = false;
        Ok(())
    }
}
