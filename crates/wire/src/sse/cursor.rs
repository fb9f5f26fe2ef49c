//! The position of a stream of server-sent events: the id of each event, which a client sends back as `Last-Event-ID`.
//!
//! It has the form `EPOCH:SEQ,SEQ,…`, with one number for each `topic=` of the request, in its order; 0 where nothing
//! was sent yet. If the next topic has another epoch, a `;` and that epoch come before its number:
//! `EPOCH:SEQ,SEQ;EPOCH:SEQ`. There is only one way to write a cursor, so a cursor that was changed on its way is
//! refused and not misread.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::limits::SSE_TOPICS_MAX;
use crate::message::Position;
use crate::{Epoch, Seq};

/// The longest epoch in a cursor, in bytes. Those of the broker have at most 24.
const EPOCH_BYTES_MAX: usize = 32;

/// The positions of a stream in its topics: the last message that was sent of each, in the request's order. At least
/// one, at most [`SSE_TOPICS_MAX`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(pub Vec<Position>);

/// Why a `Last-Event-ID` is no position in the topics of its request.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CursorError {
    /// There is no `:`.
    #[error("Last-Event-ID has no ':' between epoch and numbers")]
    NoEpoch,
    /// No broker makes such an epoch.
    #[error("Last-Event-ID has an epoch that is not 1 to {EPOCH_BYTES_MAX} of a-z A-Z 0-9 _ -")]
    BadEpoch,
    /// The epoch is the same as that of the number before it.
    #[error("Last-Event-ID has the epoch {0} twice in a row")]
    EpochAgain(Epoch),
    /// An item between commas is not a number, or is not written as the broker writes it.
    #[error("Last-Event-ID has {0:?} where a number without sign or leading zeros is needed")]
    BadNumber(String),
    /// The number of topics differs from that of the request.
    #[error("Last-Event-ID has {found} numbers for the {topics} topics of the request")]
    OtherTopics {
        /// The number of positions in the cursor.
        found: usize,
        /// The number of topics in the request.
        topics: usize,
    },
    /// There are more positions than a request may have topics.
    #[error("Last-Event-ID has more than {SSE_TOPICS_MAX} numbers")]
    TooMany,
}

impl Cursor {
    /// Parses the cursor `text` for a request with `topics` topics.
    ///
    /// # Errors
    /// If it is not a cursor, or has another number of topics.
    pub fn parse_for(text: &str, topics: usize) -> Result<Self, CursorError> {
        let cursor: Self = text.parse()?;
        match cursor.0.len() {
            found if found == topics => Ok(cursor),
            found => Err(CursorError::OtherTopics { found, topics }),
        }
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let mut places: Vec<Position> = Vec::new();
        for lineage in text.split(';') {
            let (epoch, numbers) = lineage.split_once(':').ok_or(CursorError::NoEpoch)?;
            let epoch = parse_epoch(epoch)?;
            if places.last().is_some_and(|before| before.epoch == epoch) {
                return Err(CursorError::EpochAgain(epoch));
            }
            for number in numbers.split(',') {
                if places.len() == SSE_TOPICS_MAX {
                    return Err(CursorError::TooMany);
                }
                places.push(Position {
                    epoch: epoch.clone(),
                    seq: parse_seq(number)?,
                });
            }
        }
        Ok(Self(places))
    }
}

fn parse_epoch(text: &str) -> Result<Epoch, CursorError> {
    let is_epoch = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if !(1..=EPOCH_BYTES_MAX).contains(&text.len()) || !text.bytes().all(is_epoch) {
        return Err(CursorError::BadEpoch);
    }
    Ok(Epoch::from(text))
}

fn parse_seq(text: &str) -> Result<Seq, CursorError> {
    let bad = || CursorError::BadNumber(text.chars().take(24).collect());
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if !canonical {
        return Err(bad());
    }
    text.parse().map(Seq).map_err(|_| bad())
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before: Option<&Epoch> = None;
        for Position { epoch, seq } in &self.0 {
            match before.replace(epoch) {
                None => write!(f, "{epoch}:{seq}")?,
                Some(before) if before == epoch => write!(f, ",{seq}")?,
                Some(_) => write!(f, ";{epoch}:{seq}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The cursor with positions `(epoch, seq)`.
    fn cursor(places: impl IntoIterator<Item = (Epoch, u64)>) -> Cursor {
        let places = places.into_iter();
        Cursor(
            places
                .map(|(epoch, seq)| Position { epoch, seq: Seq(seq) })
                .collect(),
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            numbers: [u64; 3],
            places in prop::collection::vec((0..3_usize, any::<u64>()), 1..=SSE_TOPICS_MAX),
        ) {
            let written = cursor(places.iter().map(|(epoch, seq)| (Epoch::from_number(numbers[*epoch]), *seq)));
            let text = written.to_string();
            prop_assert_eq!(Cursor::parse_for(&text, places.len()), Ok(written));
        }

        #[test]
        fn what_is_read_is_written_the_same(text in "[a-c:;,0-9 +-]{0,24}") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }

    /// The first row is a cursor from before topics had epochs of their own.
    #[test]
    fn topics_that_follow_each_other_share_the_epoch() {
        let place = |epoch: &str, seq| (Epoch::from(epoch), seq);
        for (places, text) in [
            (
                vec![place("k3v9", 5), place("k3v9", 0), place("k3v9", 7)],
                "k3v9:5,0,7",
            ),
            (
                vec![place("k3v9", 5), place("k3v9", 7), place("h41q", 9)],
                "k3v9:5,7;h41q:9",
            ),
            (
                vec![place("k3v9", 5), place("h41q", 7), place("k3v9", 9)],
                "k3v9:5;h41q:7;k3v9:9",
            ),
        ] {
            let written = cursor(places);
            assert_eq!(written.to_string(), text);
            assert_eq!(text.parse(), Ok(written));
        }
    }

    #[test]
    fn what_is_no_cursor() {
        let bad = |text: &str| Err::<Cursor, _>(CursorError::BadNumber(text.to_owned()));
        for (text, result) in [
            ("", Err(CursorError::NoEpoch)),
            ("k3v9", Err(CursorError::NoEpoch)),
            (":1", Err(CursorError::BadEpoch)),
            ("k 3:1", Err(CursorError::BadEpoch)),
            ("k3v9:", bad("")),
            ("k3v9:1,", bad("")),
            ("k3v9:1,,2", bad("")),
            ("k3v9:01", bad("01")),
            ("k3v9:+1", bad("+1")),
            ("k3v9:-1", bad("-1")),
            ("k3v9: 1", bad(" 1")),
            ("k3v9:1:2", bad("1:2")),
            ("k3v9:1;", Err(CursorError::NoEpoch)),
            (";k3v9:1", Err(CursorError::NoEpoch)),
            ("k3v9:1;2", Err(CursorError::NoEpoch)),
            ("k3v9:1;:2", Err(CursorError::BadEpoch)),
            ("k3v9:;h41q:1", bad("")),
            ("k3v9:1;h41q:", bad("")),
            ("k3v9:1;k3v9:2", Err(CursorError::EpochAgain(Epoch::from("k3v9")))),
            ("k3v9:18446744073709551616", bad("18446744073709551616")),
        ] {
            assert_eq!(text.parse::<Cursor>(), result, "{text}");
        }
        let long = format!("{}:1", "a".repeat(33));
        assert_eq!(long.parse::<Cursor>(), Err(CursorError::BadEpoch));
        let many = format!("a:{}", ["1"; SSE_TOPICS_MAX + 1].join(","));
        assert_eq!(many.parse::<Cursor>(), Err(CursorError::TooMany));
        let many = format!("a:{};b:1", ["1"; SSE_TOPICS_MAX].join(","));
        assert_eq!(many.parse::<Cursor>(), Err(CursorError::TooMany));
        let other = CursorError::OtherTopics { found: 2, topics: 3 };
        for two in ["k3v9:1,0", "k3v9:1;h41q:0"] {
            assert_eq!(Cursor::parse_for(two, 3), Err(other.clone()), "{two}");
        }
    }
}
