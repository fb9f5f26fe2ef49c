//! Where a stream of server-sent events stands: the id of each event, which comes back as `Last-Event-ID`.
//!
//! `EPOCH:SEQ,SEQ,…`, one number for each `topic=` of the request, in its order; 0 where nothing was sent yet. It is
//! written and read in one way only, so that a cursor that was changed on its way is refused and not misread.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use tickwire_wire::limits::SSE_TOPICS_MAX;
use tickwire_wire::{Epoch, Seq};

/// Longest epoch of a cursor, in bytes. Those that the broker makes have at most 13.
const EPOCH_BYTES_MAX: usize = 32;

/// The position of a stream in each of its topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The lineage of all the numbers.
    pub epoch: Epoch,
    /// The last message that was sent of each topic, in the request's order. At least one, at most [`SSE_TOPICS_MAX`].
    pub seqs: Vec<Seq>,
}

/// Why a `Last-Event-ID` is no position of this request.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CursorError {
    /// No `:`.
    #[error("Last-Event-ID has no ':' between epoch and numbers")]
    NoEpoch,
    /// An epoch that no broker makes.
    #[error("Last-Event-ID has an epoch that is not 1 to {EPOCH_BYTES_MAX} of a-z A-Z 0-9 _ -")]
    BadEpoch,
    /// Something between the commas that is no number, or written otherwise than the broker does.
    #[error("Last-Event-ID has {0:?} where a number without sign or leading zeros is needed")]
    BadNumber(String),
    /// Another number of topics than the request has.
    #[error("Last-Event-ID has {found} numbers for the {topics} topics of the request")]
    OtherTopics {
        /// Numbers of the cursor.
        found: usize,
        /// Topics of the request.
        topics: usize,
    },
    /// More numbers than a request may have topics.
    #[error("Last-Event-ID has more than {SSE_TOPICS_MAX} numbers")]
    TooMany,
}

impl Cursor {
    /// The position that `text` is, of a request with `topics` topics.
    ///
    /// # Errors
    /// When it is no cursor, or one of another number of topics.
    pub fn parse_for(text: &str, topics: usize) -> Result<Self, CursorError> {
        let cursor: Self = text.parse()?;
        match cursor.seqs.len() {
            found if found == topics => Ok(cursor),
            found => Err(CursorError::OtherTopics { found, topics }),
        }
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (epoch, numbers) = text.split_once(':').ok_or(CursorError::NoEpoch)?;
        let is_epoch = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        if !(1..=EPOCH_BYTES_MAX).contains(&epoch.len()) || !epoch.bytes().all(is_epoch) {
            return Err(CursorError::BadEpoch);
        }
        let mut seqs = Vec::new();
        for number in numbers.split(',') {
            if seqs.len() == SSE_TOPICS_MAX {
                return Err(CursorError::TooMany);
            }
            seqs.push(parse_seq(number)?);
        }
        Ok(Self {
            epoch: Epoch::from(epoch),
            seqs,
        })
    }
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
        write!(f, "{}:", self.epoch)?;
        for (at, seq) in self.seqs.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            write!(f, "{seq}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(number: u64, seqs in prop::collection::vec(any::<u64>(), 1..=SSE_TOPICS_MAX)) {
            let cursor = Cursor {
                epoch: Epoch::from_number(number),
                seqs: seqs.into_iter().map(Seq).collect(),
            };
            let text = cursor.to_string();
            prop_assert_eq!(Cursor::parse_for(&text, cursor.seqs.len()), Ok(cursor));
        }

        #[test]
        fn what_is_read_is_written_the_same(text in "[a-c:,0-9 +-]{0,24}") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
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
            ("k3v9:18446744073709551616", bad("18446744073709551616")),
        ] {
            assert_eq!(text.parse::<Cursor>(), result, "{text}");
        }
        let long = format!("{}:1", "a".repeat(33));
        assert_eq!(long.parse::<Cursor>(), Err(CursorError::BadEpoch));
        let many = format!("a:{}", ["1"; SSE_TOPICS_MAX + 1].join(","));
        assert_eq!(many.parse::<Cursor>(), Err(CursorError::TooMany));
        let other = CursorError::OtherTopics { found: 2, topics: 3 };
        assert_eq!(Cursor::parse_for("k3v9:1,0", 3), Err(other));
    }
}
