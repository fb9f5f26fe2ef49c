//! The topics of three kinds, and messages that contain their own number.
//!
//! The number is the message's time. Besides, a message of a trade or ticker holds some filling. A change of a book sets
//! the sizes of one side to its number. So each change differs from all others, and the book stays small.

use serde_json::{Value, json};
use tickwire_wire::{Mode, Pattern, Payload};

/// What the subscriber of a topic gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Each message.
    Every,
    /// The newest message.
    Conflate,
    /// Each change of a book, or a snapshot.
    Book,
}

impl Way {
    pub(super) fn mode(self) -> Mode {
        match self {
            Self::Every | Self::Book => Mode::Every,
            Self::Conflate => Mode::Conflate,
        }
    }
}

pub(super) const EACH: usize = 8;
pub(super) const ALL: usize = 3 * EACH;
/// Bytes of filling in a message of a trade or ticker.
const FILLING_BYTES: usize = 300;
/// The number of prices of a book's side.
const PRICES: u64 = 12;

/// How the topics of each kind are subscribed.
pub(super) const WAYS: [Way; 3] = [Way::Every, Way::Conflate, Way::Book];

/// The broker's settings: histories so short that a client can be away for longer than they reach.
pub(super) const SETTINGS: &str = "\
[[kinds]]
pattern = \"trade.>\"
kind = \"event\"
history = 64

[[kinds]]
pattern = \"ticker.>\"
kind = \"state\"

[[kinds]]
pattern = \"book.>\"
kind = \"book\"
history = 64
";

/// How topic `number`, which is below [`ALL`], is subscribed.
pub(super) fn way(number: usize) -> Way {
    WAYS[number / EACH]
}

/// The first token of the topics of a kind.
fn channel(way: Way) -> &'static str {
    match way {
        Way::Every => "trade",
        Way::Conflate => "ticker",
        Way::Book => "book",
    }
}

pub(super) fn name(number: usize) -> String {
    format!("{}.C{}", channel(way(number)), number % EACH)
}

/// The pattern for the topics of a kind.
pub(super) fn pattern(way: Way) -> String {
    format!("{}.*", channel(way))
}

pub(super) fn books() -> Pattern {
    pattern(Way::Book).parse().expect("a pattern")
}

pub(super) fn number(name: &str) -> Option<usize> {
    let (channel, symbol) = name.split_once('.')?;
    let kind = WAYS.iter().position(|way| self::channel(*way) == channel)?;
    let within: usize = symbol.strip_prefix('C')?.parse().ok()?;
    (within < EACH).then_some(kind * EACH + within)
}

/// Message `seq` of topic `number`.
pub(super) fn message(number: usize, seq: u64) -> Payload {
    let message = match way(number) {
        Way::Every | Way::Conflate => json!({"time": seq, "fill": "x".repeat(FILLING_BYTES)}),
        Way::Book => {
            // Bids are below 200, asks above; the best is first.
            let is_bid = seq.is_multiple_of(2);
            let price = |step| if is_bid { 199 - step } else { 201 + step };
            let levels = (0..PRICES).map(|step| [price(step).to_string(), seq.to_string()]);
            let (bids, asks): (Vec<_>, Vec<_>) = levels.partition(|_| is_bid);
            json!({"symbol": format!("C{}", number % EACH), "bids": bids, "asks": asks, "time": seq})
        }
    };
    Payload::from_json(message.to_string().as_bytes()).expect("JSON")
}

/// Whether `data` is the content of message `seq`, which may not be the snapshot of a book.
pub(super) fn is_of(seq: u64, data: &str) -> bool {
    serde_json::from_str::<Value>(data).is_ok_and(|data| data["time"] == seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_tell_their_number() {
        for topic in 0..ALL {
            assert_eq!(number(&name(topic)), Some(topic));
            for seq in 1..50 {
                let Payload::Json(text) = message(topic, seq) else {
                    panic!("not text");
                };
                assert!(is_of(seq, text.as_str()), "{text:?}");
                assert!(!is_of(seq + 1, text.as_str()), "{text:?}");
            }
        }
        assert_eq!(number("trade.C8"), None);
        assert!(!is_of(1, "nonsense"));
    }
}
