//! Reads a topic's messages from the segments, and finds where they begin.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use tickwire_lane::{BLOCK_BYTES, BlockRef, Content, EntryItems, Item, Position, TopicIndex, TopicNumber};
use tickwire_router::{
    ARCHIVED_PART_BYTES, ARCHIVED_PART_MESSAGES, ArchivedStart, Bookmark, Numbered, TopicCell, WantedPart,
};
use tickwire_wire::{Epoch, Micros, Seq};

use super::scan::{Found, Scanner};
use super::shelf::Shelf;
use crate::journal::disk::{Disk, ReadFile};
use crate::journal::items::written;
use crate::journal::store::StoredEnd;

/// The bytes that are read at a time: a block and, mostly, its last entry.
const PIECE_BYTES: usize = BLOCK_BYTES as usize + 32 * 1024;
/// A part ends with a block, unless it has so many messages.
const MESSAGES_MAX: usize = 4 * ARCHIVED_PART_MESSAGES;

/// Reads the segments of a journal.
#[derive(Debug)]
pub(crate) struct ArchiveReader {
    shelf: Shelf,
    scanner: Scanner,
}

/// The messages of a part, as they are read.
struct GatheredPart {
    after: Seq,
    last: Seq,
    messages: Vec<Numbered>,
    bytes: usize,
}

impl GatheredPart {
    /// The number up to which it has everything that was found.
    fn newest(&self) -> Seq {
        self.messages.last().map_or(self.after, |message| message.seq)
    }

    fn is_full(&self) -> bool {
        self.bytes >= ARCHIVED_PART_BYTES || self.messages.len() >= ARCHIVED_PART_MESSAGES
    }

    /// Takes an item. Returns whether more may follow.
    fn take(&mut self, item: &Item<'_>) -> ControlFlow<()> {
        if item.seq <= self.newest() {
            return ControlFlow::Continue(());
        }
        if item.seq > self.last || self.messages.len() >= MESSAGES_MAX {
            return ControlFlow::Break(());
        }
        let Some(message) = written(item) else {
            return ControlFlow::Continue(());
        };
        match message.read() {
            Ok(message) => {
                self.bytes += message.payload.heap_bytes();
                self.messages.push(message);
            }
            // Only another program writes what is no message, with a right checksum. It is missing, then.
            Err(error) => {
                tracing::error!(seq = %item.seq, error = error.reason, "a message of the journal cannot be read");
            }
        }
        ControlFlow::Continue(())
    }
}

impl ArchiveReader {
    /// A reader of the log on `disk`, which is stored up to `end`.
    pub(crate) fn new(disk: Arc<dyn Disk>, end: Arc<StoredEnd>) -> Self {
        Self {
            shelf: Shelf::new(disk, end),
            scanner: Scanner::default(),
        }
    }

    /// Makes the index of one full segment that has none. Returns whether there was one.
    pub(super) fn index_one(&mut self) -> io::Result<bool> {
        self.shelf.refresh()?;
        Ok(self.shelf.index_one())
    }

    /// Closes the files that it can open again.
    pub(super) fn close_files(&mut self) {
        self.shelf.close_all();
    }

    /// Finds where the messages of a topic begin that are from `moment` on.
    pub(crate) fn locate(&mut self, cell: &TopicCell, moment: Micros) -> io::Result<ArchivedStart> {
        self.shelf.refresh()?;
        let epoch = cell.position().epoch;
        let (mut oldest, mut found) = (None, None);
        for position in self.shelf.positions().into_iter().rev() {
            let Some(topic) = self.shelf.look_up(position, cell.topic(), &epoch) else {
                continue;
            };
            oldest = Some((topic.seqs.0, topic.times.0));
            let begins_here = topic.before == Seq::ZERO;
            if topic.times.1 >= moment {
                found = Some((position, topic));
            }
            if begins_here {
                break;
            }
        }
        let first = match found {
            None => None,
            Some((_, topic)) if topic.times.0 >= moment => Some(topic.seqs.0),
            Some((position, topic)) => self.first_from(position, &topic, moment)?,
        };
        Ok(ArchivedStart { first, oldest })
    }

    /// The first message of a topic in a segment that is from `moment` on.
    fn first_from(
        &mut self,
        position: Position,
        topic: &TopicIndex,
        moment: Micros,
    ) -> io::Result<Option<Seq>> {
        let Some(segment) = self.shelf.open(position) else {
            return Ok(None);
        };
        let mut first = None;
        for block in &topic.blocks[topic.block_from(moment)..] {
            let block = (*block, segment.length, topic.number);
            read_block(&mut self.scanner, &*segment.file, block, |item| {
                if item.ts < moment || matches!(item.content, Content::End(_)) {
                    return ControlFlow::Continue(());
                }
                first = Some(item.seq);
                ControlFlow::Break(())
            })?;
            if first.is_some() {
                break;
            }
        }
        Ok(first)
    }

    /// Reads a part of a topic's messages: whole blocks, until it is full or there are no more.
    pub(crate) fn read(&mut self, wanted: &WantedPart) -> io::Result<(Vec<Numbered>, Seq, Bookmark)> {
        self.shelf.refresh()?;
        let epoch = wanted.cell.position().epoch;
        let mut gathered = GatheredPart {
            after: wanted.after,
            last: wanted.last,
            messages: Vec::new(),
            bytes: 0,
        };
        let mut next = self.segment_behind(wanted, &epoch);
        let mut bookmark = Bookmark::default();
        while let Some((position, topic)) = next.take() {
            bookmark = bookmark_of(position);
            if !self.read_segment(position, &topic, &mut gathered)? {
                return Ok((gathered.messages, Seq::ZERO, bookmark));
            }
            next = self.later_segment(position, wanted, &epoch, gathered.newest());
        }
        // There is nothing more up to the last one.
        Ok((gathered.messages, wanted.last, bookmark))
    }

    /// Reads what is wanted of a segment. Returns whether the part may go on in the next one.
    fn read_segment(
        &mut self,
        position: Position,
        topic: &TopicIndex,
        gathered: &mut GatheredPart,
    ) -> io::Result<bool> {
        let Some(segment) = self.shelf.open(position) else {
            return Ok(true);
        };
        for block in &topic.blocks[topic.block_of(gathered.newest().next())..] {
            if block.first > gathered.last {
                return Ok(true);
            }
            if gathered.is_full() {
                return Ok(false);
            }
            let block = (*block, segment.length, topic.number);
            let mut goes_on = true;
            read_block(&mut self.scanner, &*segment.file, block, |item| {
                let flow = gathered.take(item);
                goes_on = flow.is_continue();
                flow
            })?;
            if !goes_on {
                return Ok(gathered.messages.len() < MESSAGES_MAX);
            }
        }
        Ok(!gathered.is_full())
    }

    /// The oldest segment with messages that are wanted.
    fn segment_behind(&mut self, wanted: &WantedPart, epoch: &Epoch) -> Option<(Position, TopicIndex)> {
        let Bookmark(bookmark) = wanted.bookmark;
        if let Some(position) = bookmark.checked_sub(1).map(Position)
            && let Some(topic) = self.shelf.look_up(position, wanted.cell.topic(), epoch)
            && topic.seqs.0 <= wanted.after.next()
        {
            if wanted.after < topic.seqs.1 {
                return Some((position, topic));
            }
            return self.later_segment(position, wanted, epoch, wanted.after);
        }
        let mut found = None;
        for position in self.shelf.positions().into_iter().rev() {
            let Some(topic) = self.shelf.look_up(position, wanted.cell.topic(), epoch) else {
                continue;
            };
            if topic.seqs.1 <= wanted.after {
                break;
            }
            let is_oldest = topic.before <= wanted.after;
            found = Some((position, topic));
            if is_oldest {
                break;
            }
        }
        found
    }

    /// The first segment behind `position` with messages that are wanted and newer than `after`.
    fn later_segment(
        &mut self,
        position: Position,
        wanted: &WantedPart,
        epoch: &Epoch,
        after: Seq,
    ) -> Option<(Position, TopicIndex)> {
        if after >= wanted.last {
            return None;
        }
        let later = self
            .shelf
            .positions()
            .into_iter()
            .filter(|later| *later > position);
        for position in later {
            if let Some(topic) = self.shelf.look_up(position, wanted.cell.topic(), epoch)
                && topic.seqs.1 > after
            {
                return Some((position, topic)).filter(|(_, topic)| topic.seqs.0 <= wanted.last);
            }
        }
        None
    }
}

fn bookmark_of(Position(position): Position) -> Bookmark {
    Bookmark(position + 1)
}

/// Calls `visit` with each item of a topic in a block, until it breaks. Damage is passed over: what was there is missing.
fn read_block(
    scanner: &mut Scanner,
    file: &dyn ReadFile,
    (block, length, number): (BlockRef, u64, TopicNumber),
    mut visit: impl FnMut(&Item<'_>) -> ControlFlow<()>,
) -> io::Result<()> {
    let end = block.offset.saturating_add(BLOCK_BYTES);
    scanner.run(file, (block.offset, length), PIECE_BYTES, |found| {
        let (offset, frame) = match found {
            Found::Frame { offset, frame } => (offset, frame),
            Found::Damage { offset } if offset < end => return ControlFlow::Continue(()),
            Found::Damage { .. } => return ControlFlow::Break(()),
        };
        if offset >= end {
            return ControlFlow::Break(());
        }
        if let Ok(items) = EntryItems::read(frame) {
            for item in items.map_while(Result::ok) {
                if item.topic == number {
                    visit(&item)?;
                }
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(())
}
