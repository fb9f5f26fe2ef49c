//! `tickwire pub`: publishes the lines of standard input, to one topic or to those that they name.
//!
//! Several messages are under way at once, at most [`WINDOW`]. Their acks are awaited in order. A message is never sent
//! twice: if its ack was lost with the connection, it counts as failed, since it is unknown whether it arrived. Where lines have
//! keys, the program can be run again, and those that had arrived are counted as duplicates.

use std::borrow::Cow;
use std::collections::VecDeque;

use anyhow::anyhow;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tickwire_client::{Client, Event, Events, PublishOptions, PublishReceipt, Publishing, RequestError};
use tickwire_wire::message::PublishKey;
use tickwire_wire::{Micros, Payload};
use tokio::io::{BufReader, Stdin, stdin};

use crate::cli::PubArgs;
use crate::console::say;
use crate::failure::Failure;
use crate::lines::{Line, Lines};
use crate::logging;
use crate::signals::Signals;
use crate::sub::lost;

/// Most messages under way.
const WINDOW: usize = 256;
/// Longest line that is read. A broker usually takes less and then refuses the message itself.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes to read from standard input at once.
const READ_BYTES: usize = 64 * 1024;

/// Publishes until the input ends or a signal comes.
pub(crate) fn run(args: PubArgs) -> Result<(), Failure> {
    let _log = logging::start(logging::TOOL)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(publish(args));
    // An input that never ends must not keep the program running.
    runtime.shutdown_background();
    outcome
}

async fn publish(args: PubArgs) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let connecting = args.connection.client()?.connect();
    let (client, events) = tokio::select! {
        connected = connecting => connected?,
        _ = signals.next() => return Ok(()),
    };
    let mut publisher = Publisher {
        client,
        args,
        lines: Lines::new(BufReader::with_capacity(READ_BYTES, stdin()), LINE_BYTES_MAX),
        line: 0,
        window: VecDeque::with_capacity(WINDOW),
        published: 0,
        duplicates: 0,
        failed: 0,
    };
    let outcome = publisher.run(events, &mut signals).await;
    let (published, failed) = (publisher.published, publisher.failed);
    let before = match publisher.duplicates {
        0 => String::new(),
        duplicates => format!(", {duplicates} published before"),
    };
    match &publisher.args.topic {
        Some(topic) => say(format_args!(
            "{topic}: {published} published{before}, {failed} failed"
        )),
        None => say(format_args!("{published} published{before}, {failed} failed")),
    }
    publisher.client.close().await;
    outcome?;
    if failed == 0 {
        Ok(())
    } else {
        Err(Failure::Reported)
    }
}

struct Publisher {
    client: Client,
    args: PubArgs,
    lines: Lines<BufReader<Stdin>>,
    /// The number of the last line that was read, from 1.
    line: u64,
    /// The messages under way, with the numbers of their lines.
    window: VecDeque<(u64, Publishing)>,
    published: u64,
    /// The messages whose key the broker knew.
    duplicates: u64,
    failed: u64,
}

impl Publisher {
    async fn run(&mut self, mut events: Events, signals: &mut Signals) -> Result<(), Failure> {
        let (mut reading, mut listening) = (true, true);
        while reading || !self.window.is_empty() {
            tokio::select! {
                line = self.lines.next(), if reading && self.window.len() < WINDOW => match line? {
                    Some(line) => self.begin(line).await,
                    None => reading = false,
                },
                (line, result) = first_ack(&mut self.window) => {
                    self.window.pop_front();
                    self.count(line, result);
                }
                event = events.next(), if listening => match event {
                    Some(event) => told(event)?,
                    None => listening = false,
                },
                _ = signals.next() => {
                    if !reading {
                        return Err(Failure::Failed(anyhow!("ended by a signal with {} acks to come", self.window.len())));
                    }
                    // The messages under way are awaited. A second signal ends the wait.
                    reading = false;
                }
            }
        }
        Ok(())
    }

    /// Hands a line over to be published.
    async fn begin(&mut self, line: Line) {
        self.line += 1;
        let message = match &self.args.topic {
            Some(topic) => payload(line, self.args.text).map(|payload| {
                Some(NamedMessage {
                    topic: topic.to_string(),
                    payload: payload?,
                    ts: None,
                })
            }),
            None => message(line),
        };
        let NamedMessage { topic, payload, ts } = match message {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(error) => return self.fail(self.line, &error),
        };
        let prefix = self.args.publish_key.as_ref();
        let key = prefix.map(|prefix| format!("{prefix}-{}", self.line).parse::<PublishKey>());
        let key = match key.transpose() {
            Ok(key) => key,
            Err(refusal) => return self.fail(self.line, &refusal),
        };
        let ts = ts.filter(|_| self.args.stamp);
        let options = PublishOptions { key, ts };
        match self.client.begin_publish_with(topic, payload, options).await {
            Ok(publishing) => self.window.push_back((self.line, publishing)),
            Err(error) => self.fail(self.line, &error),
        }
    }

    fn count(&mut self, line: u64, result: Result<PublishReceipt, RequestError>) {
        match result {
            Ok(receipt) if receipt.is_duplicate => self.duplicates += 1,
            Ok(_) => self.published += 1,
            Err(error) => self.fail(line, &error),
        }
    }

    fn fail(&mut self, line: u64, error: &dyn std::fmt::Display) {
        self.failed += 1;
        say(format_args!("line {line}: {error}"));
    }
}

/// Waits for the ack of the oldest message under way. If there is none, it waits forever.
async fn first_ack(window: &mut VecDeque<(u64, Publishing)>) -> (u64, Result<PublishReceipt, RequestError>) {
    match window.front_mut() {
        Some((line, publishing)) => (*line, publishing.receipt().await),
        None => std::future::pending().await,
    }
}

/// A line that names its topic, as `sub` and `record --plain` write it. Unknown fields are ignored.
#[derive(Deserialize)]
struct MessageLine<'a> {
    #[serde(borrow)]
    op: Option<Cow<'a, str>>,
    topic: Option<String>,
    ts: Option<Micros>,
    #[serde(borrow, default, deserialize_with = "value")]
    data: Option<&'a RawValue>,
}

/// A message of a line.
struct NamedMessage {
    topic: String,
    payload: Payload,
    /// The time that the line gives it.
    ts: Option<Micros>,
}

/// Any value, `null` too.
fn value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The fields by which the data of a `book` topic are known.
#[derive(Deserialize)]
#[expect(dead_code, reason = "they only have to be there")]
struct BookFields {
    symbol: IgnoredAny,
    bids: Vec<IgnoredAny>,
    asks: Vec<IgnoredAny>,
    checksum: IgnoredAny,
}

/// The topic and the payload of a line that is a message; `None` for a blank line, and for messages of the broker that
/// are not data.
fn message(line: Line) -> Result<Option<NamedMessage>, anyhow::Error> {
    let line = bytes(line)?;
    let line = without_time(line.trim_ascii());
    if line.is_empty() {
        return Ok(None);
    }
    let MessageLine { op, topic, ts, data } = serde_json::from_slice(line)
        .map_err(|error| anyhow!("not a message with a topic, as sub prints them: {error}"))?;
    let op = op.as_deref().unwrap_or("update");
    if !matches!(op, "update" | "snapshot") {
        return Ok(None);
    }
    let topic = topic.ok_or_else(|| anyhow!("a message without \"topic\""))?;
    let data = data.ok_or_else(|| anyhow!("a message without \"data\""))?;
    let data = data.get();
    let whole_book = (op == "snapshot" && serde_json::from_str::<BookFields>(data).is_ok())
        .then(|| data.trim_start().strip_prefix('{'))
        .flatten()
        .map(|fields| format!("{{\"replace\":true,{fields}"));
    let data = whole_book.as_deref().unwrap_or(data);
    let payload = Payload::from_json(data.as_bytes())?;
    Ok(Some(NamedMessage { topic, payload, ts }))
}

/// The line of a recording without the time at its beginning.
fn without_time(line: &[u8]) -> &[u8] {
    let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match &line[digits..] {
        [b' ', rest @ ..] if digits > 0 => rest,
        _ => line,
    }
}

fn bytes(line: Line) -> Result<Vec<u8>, anyhow::Error> {
    match line {
        Line::Text(line) => Ok(line),
        Line::TooLong => Err(anyhow!("longer than {LINE_BYTES_MAX} bytes")),
    }
}

/// The payload of a line; `None` for a blank line, except with `text`.
fn payload(line: Line, text: bool) -> Result<Option<Payload>, anyhow::Error> {
    let line = bytes(line)?;
    if text {
        let string = String::from_utf8(line).map_err(|error| anyhow!("not UTF-8: {error}"))?;
        return Ok(Some(Payload::from_json(&serde_json::to_vec(&string)?)?));
    }
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    Ok(Some(Payload::from_json(&line)?))
}

/// Tells the user what happened to the connection.
fn told(event: Event) -> Result<(), Failure> {
    match event {
        Event::Disconnected { loss, retry_in } => lost(&loss, retry_in),
        Event::ConnectFailed { error, retry_in } => lost(&error, retry_in),
        Event::Connected {
            reconnects,
            url,
            server,
            ..
        } if reconnects > 0 => {
            say(format_args!("connected again, to {url} ({server})"));
            Ok(())
        }
        Event::Broken(broken) => {
            say(format_args!("the broker broke a promise: {broken}"));
            Ok(())
        }
        Event::Connected { .. }
        | Event::Message(_)
        | Event::Synced { .. }
        | Event::Restored { .. }
        | Event::Unresumed { .. }
        | Event::SubscriptionLost { .. } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(line: &str, text: bool) -> Option<String> {
        let payload = payload(Line::Text(line.as_bytes().to_vec()), text).expect(line)?;
        let mut json = Vec::new();
        payload.write_json(&mut json);
        Some(String::from_utf8(json).expect("JSON"))
    }

    #[test]
    fn a_line_is_a_value_or_a_text() {
        assert_eq!(
            published(r#" {"a":[1, 2.50]} "#, false).as_deref(),
            Some(r#"{"a":[1, 2.50]}"#)
        );
        assert_eq!(published(" ", false), None);
        assert_eq!(published(r#"say "hi""#, true).as_deref(), Some(r#""say \"hi\"""#));
        assert_eq!(published("", true).as_deref(), Some(r#""""#));
    }

    #[test]
    fn a_line_of_sub_is_published_to_its_topic() {
        let read = |line: &str| {
            let message = message(Line::Text(line.as_bytes().to_vec())).expect(line)?;
            let NamedMessage { topic, payload, ts } = message;
            let mut json = Vec::new();
            payload.write_json(&mut json);
            let topic = ts.map_or_else(|| topic.clone(), |ts| format!("{topic}@{ts}"));
            Some(format!("{topic} {}", String::from_utf8(json).expect("JSON")))
        };
        let book = r#"{"symbol":"A","bids":[["9","1"]],"asks":[],"checksum":0,"time":1}"#;
        for (line, expected) in [
            (
                r#"{"op":"update","topic":"a.b","seq":2,"ts":3,"data":{"x": 1.50}}"#,
                r#"a.b@3 {"x": 1.50}"#,
            ),
            (
                r#"{"op":"snapshot","topic":"a","epoch":"k","seq":2,"ts":3,"data":null}"#,
                "a@3 null",
            ),
            (r#"1723161254087896000 {"topic":"a","data":1}"#, "a 1"),
            (
                &format!(r#"{{"op":"update","topic":"book.A","data":{book}}}"#),
                &format!("book.A {book}"),
            ),
            (
                &format!(r#"{{"op":"snapshot","topic":"book.A","data":{book}}}"#),
                r#"book.A {"replace":true,"symbol":"A","bids":[["9","1"]],"asks":[],"checksum":0,"time":1}"#,
            ),
        ] {
            assert_eq!(read(line).as_deref(), Some(expected));
        }
        for line in [
            "",
            " ",
            r#"{"op":"gap","topic":"a","epoch":"k","from":3,"to":4,"reason":"slow"}"#,
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }

    #[test]
    fn lines_without_a_topic_or_data_are_refused() {
        for line in [
            "1",
            "{",
            r#"{"data":1}"#,
            r#"{"topic":"a"}"#,
            r#"{"topic":1,"data":1}"#,
            "12 ",
        ] {
            assert!(message(Line::Text(line.as_bytes().to_vec())).is_err(), "{line}");
        }
        assert!(message(Line::TooLong).is_err());
    }

    #[test]
    fn lines_that_cannot_be_published() {
        for (line, text) in [("{", false), ("1 2", false), ("hello", false)] {
            assert!(
                payload(Line::Text(line.as_bytes().to_vec()), text).is_err(),
                "{line}"
            );
        }
        assert!(payload(Line::Text(b"\xff".to_vec()), true).is_err());
        assert!(payload(Line::TooLong, true).is_err());
    }
}
