//! What a soak checks in messages besides their numbers: their latency, and the content of some.

use anyhow::{bail, ensure};
use hdrhistogram::Histogram;
use rustc_hash::FxHashMap;
use serde::Deserialize;
use tickwire_client::book::L2Book;
use tickwire_wire::codec::DataOp;
use tickwire_wire::message::GapReason;
use tickwire_wire::{Codec, ServerMessage};

use crate::swarm::{Came, Faults, Head, Layout, Watch, latencies};

#[derive(Debug)]
pub(super) struct Checks {
    /// How many data messages there are between two that are decoded in full.
    decode_every: u64,
    decode_in: u64,
    /// The books that are rebuilt, by reader and place. Each of their messages is decoded.
    books: FxHashMap<(usize, usize), L2Book>,
    pub(super) decoded: u64,
    /// How many changes and snapshots of books were applied with the right checksum.
    pub(super) books_verified: u64,
    pub(super) latency_us: Histogram<u64>,
}

impl Checks {
    /// Rebuilds one book for each of the first `books` readers.
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
        })
    }

    pub(super) fn begin(&mut self) {
        self.latency_us.reset();
        (self.decoded, self.books_verified) = (0, 0);
    }
}

impl Watch for Checks {
    #[inline]
    fn came(&mut self, came: Came<'_>, faults: &mut Faults) {
        if came.head.op == DataOp::Update {
            self.latency_us.saturating_record(came.late_us);
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
        match check(came.head, came.message, book) {
            Ok(()) => self.books_verified += u64::from(is_book),
            Err(fault) => {
                let topic = String::from_utf8_lossy(came.head.topic);
                let text = format_args!("reader {}: {topic}: {fault}", came.reader);
                faults.add("content", text);
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

/// Checks that `message` decodes to its `head` and is about its topic's symbol. Applies it to `book` if there is one.
fn check(head: Head<'_>, message: &[u8], book: Option<&mut L2Book>) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Data {
        symbol: String,
    }
    let decoded = Codec::Json.decode_server(message)?;
    let (ServerMessage::Update { topic, seq, ts, data }
    | ServerMessage::Snapshot {
        topic, seq, ts, data, ..
    }) = &decoded
    else {
        bail!("its head was read as that of a message with data, the decoder sees {decoded:?}");
    };
    ensure!(
        (topic.as_bytes(), seq.0, ts.0) == (head.topic, head.seq, head.ts()),
        "its head was read as {head:?}, the decoder sees {decoded:?}"
    );
    let Data { symbol } = serde_json::from_str(data.get())?;
    ensure!(
        topic.ends_with(&format!(".{symbol}")),
        "its data is about {symbol}"
    );
    match (book, &decoded) {
        (Some(book), ServerMessage::Snapshot { epoch, .. }) => book.snapshot(epoch, *seq, data.get())?,
        (Some(book), _) => book.update(*seq, data.get())?,
        (None, _) => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_those_of_their_topic_and_books_are_rebuilt() {
        let data = |symbol: &str, ask: u32, checksum: u32| {
            format!(
                r#"{{"symbol":"{symbol}","bids":[["9.9","1"]],"asks":[["10.1","{ask}"]],"checksum":{checksum},"time":1}}"#
            )
        };
        let snapshot = |data: &str| {
            format!(r#"{{"op":"snapshot","topic":"book.A","epoch":"e","seq":7,"ts":1,"data":{data}}}"#)
        };
        let update =
            |data: &str| format!(r#"{{"op":"update","topic":"book.A","seq":8,"ts":1,"data":{data}}}"#);
        let mut book = L2Book::default();
        for (message, fault) in [
            (snapshot(&data("A", 2, 629_245_110)), ""),
            (update(&data("B", 2, 629_245_110)), "its data is about B"),
            (
                update(&data("A", 3, 629_245_110)),
                "after message 8 the book's checksum is ",
            ),
            (update("{{}"), "unreadable message from the broker: "),
        ] {
            let head = Head::of(message.as_bytes()).expect("the broker's layout");
            let checked = check(head, message.as_bytes(), Some(&mut book));
            let found = checked.map_or_else(|fault| fault.to_string(), |()| String::new());
            assert!(
                found.starts_with(fault) && found.is_empty() == fault.is_empty(),
                "{found}"
            );
        }
    }
}
