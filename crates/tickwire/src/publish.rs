//! `tickwire pub`: publishes the lines of standard input.
//!
//! Several messages are under way at once, at most [`WINDOW`]. Their acks are awaited in order. A message is never sent
//! twice: if its ack was lost with the connection, it counts as failed, since it is unknown whether it arrived.

use std::collections::VecDeque;

use anyhow::anyhow;
use tickwire_client::{Client, Event, Events, Publishing, RequestError};
use tickwire_wire::Payload;
use tickwire_wire::message::Position;
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
        failed: 0,
    };
    let outcome = publisher.run(events, &mut signals).await;
    let (published, failed, topic) = (publisher.published, publisher.failed, &publisher.args.topic);
    say(format_args!("{topic}: {published} published, {failed} failed"));
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
        let payload = match payload(line, self.args.text) {
            Ok(Some(payload)) => payload,
            Ok(None) => return,
            Err(error) => return self.fail(self.line, &error),
        };
        match self.client.begin_publish(self.args.topic.as_str(), payload).await {
            Ok(publishing) => self.window.push_back((self.line, publishing)),
            Err(error) => self.fail(self.line, &error),
        }
    }

    fn count(&mut self, line: u64, result: Result<Position, RequestError>) {
        match result {
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
async fn first_ack(window: &mut VecDeque<(u64, Publishing)>) -> (u64, Result<Position, RequestError>) {
    match window.front_mut() {
        Some((line, publishing)) => (*line, publishing.ack().await),
        None => std::future::pending().await,
    }
}

/// The payload of a line; `None` for a blank line, except with `text`.
fn payload(line: Line, text: bool) -> Result<Option<Payload>, anyhow::Error> {
    let Line::Text(line) = line else {
        return Err(anyhow!("longer than {LINE_BYTES_MAX} bytes"));
    };
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
            reconnects, server, ..
        } if reconnects > 0 => {
            say(format_args!("connected again, to {server}"));
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
