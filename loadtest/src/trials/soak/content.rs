//! What a data message carries, decoded in full and held against what its topic promises.

use anyhow::{anyhow, bail};
use serde::de::DeserializeOwned;
use tickwire_client::book::L2Book;
use tickwire_wire::codec::DataOp;
use tickwire_wire::market::{Bbo, Book, Candle, Ticker, Trade};
use tickwire_wire::{Codec, ServerMessage};

use crate::swarm::head::Head;

/// Checks `message`, of which `head` was read, and applies it to `book` if its topic has one here.
///
/// # Errors
/// When anything in it is not as promised.
pub(super) fn check(head: Head<'_>, message: &[u8], book: Option<&mut L2Book>) -> anyhow::Result<()> {
    let decoded = Codec::Json.decode_server(message)?;
    let (op, topic, seq, ts, data) = match &decoded {
        ServerMessage::Update { topic, seq, ts, data } => (DataOp::Update, topic, seq, ts, data),
        ServerMessage::Snapshot {
            topic, seq, ts, data, ..
        } => (DataOp::Snapshot, topic, seq, ts, data),
        ServerMessage::Control(_) | ServerMessage::Unknown(_) => bail!(misread(head, &decoded)),
    };
    if (op, topic.as_bytes(), seq.0, ts.0) != (head.op, head.topic, head.seq, head.ts()) {
        bail!(misread(head, &decoded));
    }
    let symbol = match topic.split_once('.') {
        Some(("trade", _)) => data_of::<Trade>(topic, data.get())?.symbol,
        Some(("book", _)) => data_of::<Book>(topic, data.get())?.symbol,
        Some(("bbo", _)) => data_of::<Bbo>(topic, data.get())?.symbol,
        Some(("ticker", _)) => data_of::<Ticker>(topic, data.get())?.symbol,
        Some(("candle", _)) => data_of::<Candle>(topic, data.get())?.symbol,
        // Nothing is promised of other topics.
        _ => return Ok(()),
    };
    if topic.rsplit('.').next() != Some(symbol.as_str()) {
        bail!("its data is about {symbol}");
    }
    match (book, &decoded) {
        (Some(book), ServerMessage::Snapshot { epoch, seq, data, .. }) => {
            book.snapshot(epoch, *seq, data.get())?;
        }
        (Some(book), ServerMessage::Update { seq, data, .. }) => book.update(*seq, data.get())?,
        _ => {}
    }
    Ok(())
}

fn misread(head: Head<'_>, decoded: &ServerMessage) -> String {
    let (topic, seq, ts) = (String::from_utf8_lossy(head.topic), head.seq, head.ts());
    format!(
        "its head was read as {:?} {topic} {seq} at {ts}, the decoder sees {decoded:?}",
        head.op
    )
}

fn data_of<T: DeserializeOwned>(topic: &str, data: &str) -> anyhow::Result<T> {
    let channel = topic.split('.').next().unwrap_or_default();
    serde_json::from_str(data).map_err(|error| anyhow!("its data is no {channel}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_message(message: &str, book: Option<&mut L2Book>, expected: &str) {
        let head = Head::of(message.as_bytes()).expect("the broker's layout");
        let outcome = check(head, message.as_bytes(), book);
        let outcome = outcome.map_or_else(|fault| fault.to_string(), |()| "in order".to_owned());
        assert!(outcome.starts_with(expected), "{outcome}");
    }

    #[test]
    fn data_must_be_what_the_topic_promises() {
        let trade = |symbol: &str, size: &str| {
            format!(
                r#"{{"op":"update","topic":"trade.A","seq":1,"ts":2,"data":{{"symbol":"{symbol}","id":1,"price":"1.5","size":{size},"side":"buy","time":3}}}}"#
            )
        };
        let chat = |data: &str| format!(r#"{{"op":"update","topic":"chat.A","seq":1,"ts":2,"data":{data}}}"#);
        for (message, outcome) in [
            (trade("A", "\"2\""), "in order"),
            (trade("B", "\"2\""), "its data is about B"),
            (
                trade("A", "2"),
                "its data is no trade: invalid type: integer `2`, expected a decimal number",
            ),
            (chat("{\"any\":[\"thing\"]}"), "in order"),
            (
                chat("{{}"),
                "unreadable message from the broker: key must be a string",
            ),
        ] {
            check_message(&message, None, outcome);
        }
    }

    #[test]
    fn books_are_rebuilt() {
        let mut book = L2Book::default();
        let snapshot = r#"{"op":"snapshot","topic":"book.A","epoch":"e","seq":7,"ts":1,"data":{"symbol":"A","bids":[["9.9","1"]],"asks":[["10.1","2"]],"checksum":629245110,"time":1}}"#;
        check_message(snapshot, Some(&mut book), "in order");
        let change = r#"{"op":"update","topic":"book.A","seq":8,"ts":1,"data":{"symbol":"A","bids":[],"asks":[["10.1","3"]],"checksum":629245110,"time":1}}"#;
        let fault = "after message 8 the book's checksum is 0x9d3de3d3 and not 0x258184b6";
        check_message(change, Some(&mut book), fault);
    }
}
