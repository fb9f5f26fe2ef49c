//! What is looked at of the messages of a soak, besides their numbers: how late they are, and what some of them carry.

use hdrhistogram::Histogram;
use rustc_hash::FxHashMap;
use tickwire_client::book::L2Book;
use tickwire_wire::codec::DataOp;
use tickwire_wire::message::GapReason;

use super::content;
use crate::swarm::readers::{Layout, latencies};
use crate::swarm::report::Faults;
use crate::swarm::watch::{Came, Watch};

/// Checks of contents, and latencies.
#[derive(Debug)]
pub(super) struct Checks {
    /// Data messages between two that are decoded in full.
    decode_every: u64,
    decode_in: u64,
    /// Books that are rebuilt, by reader and place; each of their messages is decoded.
    books: FxHashMap<(usize, usize), L2Book>,
    /// Messages that were decoded in full.
    pub(super) decoded: u64,
    /// Changes and snapshots of books that were applied and whose checksum was right.
    pub(super) books_verified: u64,
    /// Latencies of updates.
    pub(super) latency_us: Histogram<u64>,
    /// Updates of each reader.
    updates: Vec<u64>,
}

impl Checks {
    /// Of the first `books` readers one book each is rebuilt.
    pub(super) fn new(layout: &Layout, decode_every: u64, books: usize) -> anyhow::Result<Self> {
        let book_of = |reader: usize| {
            let is_book = |place: &usize| layout.topics[layout.topic(reader, *place)].starts_with("book.");
            let place = (0..layout.topics_each).find(is_book)?;
            Some(((reader, place), L2Book::default()))
        };
        Ok(Self {
            decode_every,
            decode_in: decode_every,
            books: (0..books.min(layout.readers)).filter_map(book_of).collect(),
            decoded: 0,
            books_verified: 0,
            latency_us: latencies()?,
            updates: vec![0; layout.readers],
        })
    }

    /// Counts anew from now on.
    pub(super) fn begin(&mut self) {
        self.latency_us.reset();
        self.updates.fill(0);
        (self.decoded, self.books_verified) = (0, 0);
    }

    /// Fewest and most updates of a reader.
    pub(super) fn updates_range(&self) -> [u64; 2] {
        [self.updates.iter().min(), self.updates.iter().max()].map(|updates| updates.copied().unwrap_or(0))
    }
}

impl Watch for Checks {
    #[inline]
    fn came(&mut self, came: Came<'_>, faults: &mut Faults) {
        if came.head.op == DataOp::Update {
            self.latency_us.saturating_record(came.late_us);
            self.updates[came.reader] += 1;
        }
        let book = self.books.get_mut(&(came.reader, came.place));
        self.decode_in -= 1;
        if self.decode_in > 0 && book.is_none() {
            return;
        }
        if self.decode_in == 0 {
            self.decode_in = self.decode_every;
        }
        self.decoded += 1;
        let is_book = book.is_some();
        match content::check(came.head, came.message, book) {
            Ok(()) => self.books_verified += u64::from(is_book),
            Err(fault) => {
                let topic = String::from_utf8_lossy(came.head.topic);
                faults.add(
                    "content",
                    format_args!("reader {}: {topic}: {fault}", came.reader),
                );
            }
        }
    }

    fn gap(&mut self, reader: usize, place: usize, _: GapReason) -> bool {
        if let Some(book) = self.books.get_mut(&(reader, place)) {
            book.make_stale();
        }
        false
    }
}
