//! The topics of three kinds, and messages that contain their own number.
//!
//! A message of a trade or ticker holds its number and some filling. A change of a book sets the sizes of
//! one side to its number. So each change differs from all others, and the book stays small.

use serde_json::Value;
use tickwire_wire::Payload;

use super::audit::Way;

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

[[kinds]]
pattern = \"flood.>\"
kind = \"event\"
history = 16
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

/// The number of the first topic of a kind.
pub(super) fn first(way: Way) -> usize {
    WAYS.iter().position(|one| *one == way).unwrap_or(0) * EACH
}

/// The names of the topics of a kind.
pub(super) fn names(way: Way) -> Vec<String> {
    (first(way)..first(way) + EACH).map(name).collect()
}

/// The pattern for the topics of a kind.
pub(super) fn pattern(way: Way) -> String {
    format!("{}.*", channel(way))
}

pub(super) fn number(name: &str) -> Option<usize> {
    let (channel, symbol) = name.split_once('.')?;
    let kind = WAYS.iter().position(|way| self::channel(*way) == channel)?;
    let within: usize = symbol.strip_prefix('C')?.parse().ok()?;
    (within < EACH).then_some(kind * EACH + within)
}

/// Message `seq` of topic `number`.
pub(super) fn message(number: usize, seq: u64) -> Payload {
    let text = match way(number) {
        Way::Every | Way::Conflate => format!("{{\"n\":{seq},\"fill\":\"{}\"}}", "x".repeat(FILLING_BYTES)),
        Way::Book => {
            let (bids, asks): (Vec<_>, Vec<_>) = levels(seq).into_iter().partition(|_| is_bid(seq));
            let symbol = format!("C{}", number % EACH);
            serde_json::json!({"symbol": symbol, "bids": bids, "asks": asks, "time": 1}).to_string()
        }
    };
    Payload::from_json(text.as_bytes()).expect("JSON")
}

fn is_bid(seq: u64) -> bool {
    seq.is_multiple_of(2)
}

/// The levels that message `seq` sets, best first. Bids are below 200, asks above.
fn levels(seq: u64) -> Vec<Value> {
    let price = |step| if is_bid(seq) { 199 - step } else { 201 + step };
    (0..PRICES)
        .map(|step| serde_json::json!([price(step).to_string(), seq.to_string()]))
        .collect()
}

/// Whether `data` is the content of message `seq` of such a topic. For the snapshot of a book its checksum proves this.
pub(super) fn is_of(way: Way, seq: u64, data: &str) -> bool {
    let Ok(data) = serde_json::from_str::<Value>(data) else {
        return false;
    };
    match way {
        Way::Every | Way::Conflate => data["n"] == seq,
        Way::Book => {
            let (side, other) = if is_bid(seq) {
                ("bids", "asks")
            } else {
                ("asks", "bids")
            };
            data[side] == Value::from(levels(seq)) && data[other] == serde_json::json!([])
        }
    }
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
                assert!(is_of(way(topic), seq, text.as_str()), "{text:?}");
                assert!(!is_of(way(topic), seq + 1, text.as_str()), "{text:?}");
            }
        }
        assert_eq!(number("trade.C8"), None);
        assert!(!is_of(Way::Every, 1, "nonsense"));
    }
}
