//! The Rust client as a client program of the run: it writes a line for each event, as
//! `clients/conformance/README.md` says. It shows that the run can audit a program, whatever its language.

use std::collections::HashMap;
use std::io::{self, BufWriter, Read, StdoutLock, Write};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use tickwire_client::book::L2Book;
use tickwire_client::{Client, Event, Events, RequestError, Subscription};
use tickwire_wire::message::{AckResult, ServerMessage};
use tickwire_wire::{Codec, Control, Mode};
use tokio::sync::oneshot;

use super::follower::{BACKOFF, REQUEST_TIMEOUT_MS};

/// Write a line for each event of a client: the Rust client as a program for `chaos --client`
#[derive(Debug, clap::Args)]
pub(crate) struct ClientArgs {
    /// The broker's URL
    #[arg(long)]
    url: String,
    /// The codec: json or msgpack
    #[arg(long, value_parser = codec)]
    codec: Codec,
    /// The mode: every or conflate
    #[arg(long, value_parser = mode)]
    mode: Mode,
    /// Topics and patterns
    #[arg(required = true)]
    topics: Vec<String>,
}

fn codec(name: &str) -> Result<Codec, &'static str> {
    match name {
        "json" => Ok(Codec::Json),
        "msgpack" => Ok(Codec::MessagePack),
        _ => Err("a codec is json or msgpack"),
    }
}

fn mode(name: &str) -> Result<Mode, &'static str> {
    match name {
        "every" => Ok(Mode::Every),
        "conflate" => Ok(Mode::Conflate),
        _ => Err("a mode is every or conflate"),
    }
}

/// Runs until the standard input ends.
///
/// # Errors
/// When a line cannot be written, or the client cannot connect for a reason that does not pass.
pub(crate) fn run(args: ClientArgs) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let (ended, end) = oneshot::channel();
    std::thread::spawn(move || {
        // An input that cannot be read is at its end.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        let _ = ended.send(());
    });
    let mut lines = Lines {
        out: BufWriter::new(io::stdout().lock()),
        books: HashMap::new(),
    };
    runtime.block_on(follow(args, end, &mut lines))?;
    Ok(true)
}

async fn follow(args: ClientArgs, mut end: oneshot::Receiver<()>, lines: &mut Lines) -> anyhow::Result<()> {
    let connected = tokio::select! {
        connected = connect(&args, lines) => connected?,
        _ = &mut end => return Ok(()),
    };
    let (client, mut events) = connected;
    let subscription = Subscription::to(args.topics).mode(args.mode);
    let (acked, mut ack) = oneshot::channel();
    let subscribing = client.clone();
    tokio::spawn(async move {
        let result = subscribe(subscribing, subscription).await;
        // The receiver is gone if the program has ended.
        let _ = acked.send(result);
    });
    let mut subscribed = false;
    loop {
        tokio::select! {
            _ = &mut end => break,
            result = &mut ack, if !subscribed => {
                subscribed = true;
                if let Err(error) = result? {
                    lines.write(&json!({"kind": "error", "why": error.to_string()}))?;
                }
            }
            event = events.next() => match event {
                Some(event) => lines.event(event)?,
                None => break,
            },
        }
        while let Some(event) = events.next_now() {
            lines.event(event)?;
        }
        lines.out.flush()?;
    }
    client.close().await;
    Ok(())
}

/// Connects, again until it succeeds.
async fn connect(args: &ClientArgs, lines: &mut Lines) -> anyhow::Result<(Client, Events)> {
    loop {
        let connecting = Client::builder(&args.url)
            .codec(args.codec)
            .backoff(BACKOFF)
            .request_timeout_ms(REQUEST_TIMEOUT_MS)
            .connect();
        match connecting.await {
            Ok(connected) => return Ok(connected),
            Err(error) if error.is_retryable() => {
                lines.write(
                    &json!({"kind": "connect_failed", "retry": "backoff", "why": error.to_string()}),
                )?;
                tokio::time::sleep(Duration::from_millis(BACKOFF.first_ms)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Subscribes, again on the next connection if necessary.
async fn subscribe(client: Client, subscription: Subscription) -> Result<(), RequestError> {
    loop {
        match client.subscribe(subscription.clone()).await {
            Err(RequestError::Disconnected) => {}
            result => return result.map(drop),
        }
    }
}

struct Lines {
    out: BufWriter<StdoutLock<'static>>,
    books: HashMap<String, L2Book>,
}

impl Lines {
    fn write(&mut self, line: &Value) -> io::Result<()> {
        writeln!(self.out, "{line}")
    }

    fn event(&mut self, event: Event) -> io::Result<()> {
        let retry = |retry_in: Option<Duration>| retry_in.map_or("never", |_| "backoff");
        let line = match event {
            Event::Connected { .. } => json!({"kind": "connected"}),
            Event::Message(message) => return self.message(message),
            Event::Disconnected { loss, retry_in } => {
                json!({"kind": "disconnected", "retry": retry(retry_in), "why": loss.to_string()})
            }
            Event::ConnectFailed { error, retry_in } => {
                json!({"kind": "connect_failed", "retry": retry(retry_in), "why": error.to_string()})
            }
            Event::Broken(broken) => {
                json!({"kind": "violation", "violation": format!("{broken:?}"), "why": broken.to_string()})
            }
            Event::Unresumed { topic, now, .. } => json!({"kind": "unresumed", "topic": topic, "now": now}),
            Event::SubscriptionLost { topic, refusal } => {
                json!({"kind": "error", "why": format!("{topic} is lost: {refusal}")})
            }
            // The ack has told both.
            Event::Restored { .. } | Event::Synced { .. } => return Ok(()),
        };
        self.write(&line)
    }

    fn message(&mut self, message: ServerMessage) -> io::Result<()> {
        let line = match message {
            ServerMessage::Update { topic, seq, data, .. } => {
                let n = if is_book(&topic) {
                    let book = self.books.entry(topic.clone()).or_default();
                    // A book that does not fit is not usable, and has no number.
                    let _ = book.update(seq, data.get());
                    number_of(book)
                } else {
                    number_in(data.get())
                };
                json!({"kind": "update", "topic": topic, "seq": seq, "n": n})
            }
            ServerMessage::Snapshot {
                topic,
                epoch,
                seq,
                data,
                ..
            } => {
                let n = if is_book(&topic) {
                    let book = self.books.entry(topic.clone()).or_default();
                    let _ = book.snapshot(&epoch, seq, data.get());
                    number_of(book)
                } else {
                    number_in(data.get())
                };
                json!({"kind": "snapshot", "topic": topic, "epoch": epoch, "seq": seq, "n": n})
            }
            ServerMessage::Control(Control::Ack { results, .. }) => {
                return results.iter().try_for_each(|result| self.write(&acked(result)));
            }
            ServerMessage::Control(Control::Gap {
                topic,
                epoch,
                from,
                to,
                reason,
            }) => {
                if let Some(book) = self.books.get_mut(&topic) {
                    book.make_stale();
                }
                json!({"kind": "gap", "topic": topic, "epoch": epoch, "from": from, "to": to, "reason": reason})
            }
            ServerMessage::Control(Control::Joined { topic, epoch, seq }) => {
                json!({"kind": "joined", "topic": topic, "epoch": epoch, "seq": seq})
            }
            ServerMessage::Control(Control::Error { reason, .. }) => json!({"kind": "error", "why": reason}),
            ServerMessage::Control(_) | ServerMessage::Unknown(_) => return Ok(()),
        };
        self.write(&line)
    }
}

/// The line for a result of an ack: the first one of a subscription, or the one by which it was restored.
fn acked(result: &AckResult) -> Value {
    let topic = &result.topic;
    if let Some(refusal) = &result.error {
        return json!({"kind": "ack", "topic": topic, "error": refusal.code});
    }
    if result.matched.is_some() {
        return json!({"kind": "ack", "topic": topic, "matched": result.matched});
    }
    match result.recovered {
        Some(resumed) => {
            json!({"kind": "recovered", "topic": topic, "resumed": u8::from(resumed), "not_resumed": u8::from(!resumed)})
        }
        None => json!({"kind": "ack", "topic": topic, "epoch": result.epoch, "seq": result.seq}),
    }
}

fn is_book(topic: &str) -> bool {
    topic.starts_with("book.")
}

/// The number in the data of a trade or ticker.
fn number_in(data: &str) -> Option<u64> {
    serde_json::from_str::<Value>(data).ok()?["n"].as_u64()
}

/// The number of the last message of a book: the larger of the sizes of its best levels.
fn number_of(book: &L2Book) -> Option<u64> {
    book.position()?;
    let sizes = [book.bids().next(), book.asks().next()].into_iter().flatten();
    sizes
        .filter_map(|level| level.size.to_string().parse().ok())
        .max()
}
