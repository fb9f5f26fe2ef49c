//! The program that uses the client of a case: it makes requests, keeps their answers, takes events and keeps books.

use std::collections::{HashMap, VecDeque};
use std::io::Write;

use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tickwire_client::book::L2Book;
use tickwire_client::promise::BrokenPromise;
use tickwire_client::{
    BackoffBounds, Client, ConnectError, Event, Events, PublishOptions, RequestError, Subscription,
};
use tickwire_wire::market::Level;
use tickwire_wire::message::{AckResult, Position, ServerMessage};
use tickwire_wire::{Codec, Control, Decimal, Epoch, Micros, Mode, Pattern, Payload, ReplaySpeed, Seq};
use tokio::task::JoinHandle;

use super::broker::within;
use super::cases::Made;
use super::event::{BACKOFF_MAX, canonical, connect_failed, failure};

type Connecting = JoinHandle<Result<(Client, Events), ConnectError>>;
type Answer = JoinHandle<Result<Value, RequestError>>;

/// A client and the program that uses it.
pub(super) struct Program {
    connecting: Option<Connecting>,
    client: Option<Client>,
    events: Option<Events>,
    /// Events that came and that no step has named.
    unnamed: VecDeque<Value>,
    answers: HashMap<String, Answer>,
    token_file: Option<NamedTempFile>,
    books: Option<Pattern>,
    kept: HashMap<String, L2Book>,
    is_closed: bool,
}

impl Program {
    /// Makes the client and begins to connect.
    pub(super) fn start(urls: &[String], codec: Codec, made: &Made) -> Self {
        let longest_ms = u64::try_from(BACKOFF_MAX.as_millis()).expect("a short time");
        let mut builder = Client::builder(&urls[0]).codec(codec).backoff(BackoffBounds {
            first_ms: longest_ms,
            max_ms: longest_ms,
        });
        for url in &urls[1..] {
            builder = builder.or_url(url);
        }
        let mut token_file = None;
        if let Some(token) = &made.token {
            builder = builder.token(token.as_str());
        }
        if let Some(token) = &made.token_function {
            let mut file = NamedTempFile::new().expect("a temporary file");
            file.write_all(token.as_bytes()).expect("room on the disk");
            builder = builder.token_file(file.path());
            token_file = Some(file);
        }
        let books: Option<Pattern> = made.books.as_ref().map(|books| books.parse().expect("a pattern"));
        if let Some(books) = &books {
            builder = builder.verify_books(books.clone());
        }
        if let Some(margin_ms) = made.quiet_margin_ms {
            builder = builder.quiet_margin_ms(margin_ms);
        }
        Self {
            connecting: Some(tokio::spawn(builder.connect())),
            client: None,
            events: None,
            unnamed: VecDeque::new(),
            answers: HashMap::new(),
            token_file,
            books,
            kept: HashMap::new(),
            is_closed: false,
        }
    }

    /// Waits until the first connection is welcomed or has failed.
    async fn connect(&mut self) -> Result<(), String> {
        let Some(connecting) = &mut self.connecting else {
            return Ok(());
        };
        let connected = within("the first connection", connecting).await?;
        self.connecting = None;
        match connected.map_err(|error| error.to_string())? {
            Ok((client, events)) => {
                self.client = Some(client);
                self.events = Some(events);
            }
            Err(error) => {
                self.is_closed = true;
                self.unnamed.push_back(connect_failed(&error, None));
                self.unnamed.push_back(json!({"event": "closed"}));
            }
        }
        Ok(())
    }

    /// Takes an event of the client, which may be one that has no canonical name.
    async fn take(&mut self) -> Result<Option<Event>, String> {
        self.connect().await?;
        let Some(events) = &mut self.events else {
            return Err("the client has stopped".to_owned());
        };
        let event = within("an event", events.next()).await?;
        match &event {
            Some(event) => self.unnamed.extend(canonical(event)),
            None => {
                self.events = None;
                self.is_closed = true;
                self.unnamed.push_back(json!({"event": "closed"}));
            }
        }
        match &event {
            Some(Event::Message(message)) => self.keep_book(message),
            Some(Event::Broken(BrokenPromise::Book { topic, .. })) => {
                self.act(&json!({"do": "resync", "topic": topic, "as": "resync"}))
                    .await?;
            }
            _ => {}
        }
        Ok(event)
    }

    /// The next event that no step has named.
    pub(super) async fn next_event(&mut self) -> Result<Value, String> {
        loop {
            self.connect().await?;
            if let Some(event) = self.unnamed.pop_front() {
                return Ok(event);
            }
            self.take().await?;
        }
    }

    /// Takes events until the client has handled the `pong` with this id.
    pub(super) async fn take_until_pong(&mut self, id: &Value) -> Result<(), String> {
        loop {
            if let Some(Event::Message(ServerMessage::Control(Control::Pong { id: got, .. }))) =
                self.take().await?
                && json!(got) == *id
            {
                return Ok(());
            }
        }
    }

    /// The events that no step has named.
    pub(super) fn unnamed(&self) -> &VecDeque<Value> {
        &self.unnamed
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Applies a message to the book of its topic, as a program does.
    fn keep_book(&mut self, message: &ServerMessage) {
        let is_book = |topic: &str| self.books.as_ref().is_some_and(|books| books.matches(topic));
        // A book that does not fit is stale, which the cases look at.
        match message {
            ServerMessage::Snapshot {
                topic,
                epoch,
                seq,
                data,
                ..
            } if is_book(topic) => {
                let _ = self
                    .kept
                    .entry(topic.clone())
                    .or_default()
                    .snapshot(epoch, *seq, data.get());
            }
            ServerMessage::Update { topic, seq, data, .. } if is_book(topic) => {
                let _ = self
                    .kept
                    .entry(topic.clone())
                    .or_default()
                    .update(*seq, data.get());
            }
            ServerMessage::Control(Control::Gap { topic, .. }) if is_book(topic) => {
                self.kept.entry(topic.clone()).or_default().make_stale();
            }
            ServerMessage::Control(Control::Joined { topic, epoch, seq }) if is_book(topic) => {
                self.begin_book(topic, epoch, *seq);
            }
            ServerMessage::Control(Control::Ack { results, .. }) => {
                for result in results {
                    if let (Some(epoch), Some(seq)) = (&result.epoch, result.seq)
                        && self
                            .books
                            .as_ref()
                            .is_some_and(|books| books.matches(&result.topic))
                    {
                        self.begin_book(&result.topic, epoch, seq);
                    }
                }
            }
            _ => {}
        }
    }

    fn begin_book(&mut self, topic: &str, epoch: &Epoch, seq: Seq) {
        if seq == Seq::ZERO {
            self.kept.entry(topic.to_owned()).or_default().begin(epoch);
        }
    }

    /// Compares the book of a topic with what the case says.
    pub(super) fn check_book(&mut self, expected: &Value) -> Result<(), String> {
        let topic = expected["topic"].as_str().ok_or("a book has a topic")?;
        let book = self.kept.entry(topic.to_owned()).or_default();
        let is_usable = book.position().is_some();
        if expected["usable"] != json!(is_usable) {
            return Err(format!("whether the book of {topic} is usable: {is_usable}"));
        }
        if let Some(seq) = expected.get("seq")
            && book.position().map(|at| json!(at.seq.0)).as_ref() != Some(seq)
        {
            return Err(format!("the book of {topic} is at {:?}", book.position()));
        }
        let sides = [
            ("bids", book.bids().collect::<Vec<_>>()),
            ("asks", book.asks().collect()),
        ];
        for (side, found) in sides {
            if let Some(expected) = expected.get(side)
                && levels(expected)? != found
            {
                return Err(format!("the {side} of {topic} are {found:?}"));
            }
        }
        Ok(())
    }

    /// Does what a step of the user says.
    pub(super) async fn act(&mut self, step: &Value) -> Result<(), String> {
        if step["do"] == "set_token" {
            let path = self
                .token_file
                .as_ref()
                .ok_or("the client has no source of tokens")?
                .path();
            let token = step["token"].as_str().unwrap_or_default();
            return std::fs::write(path, token).map_err(|error| error.to_string());
        }
        self.connect().await?;
        let client = self.client.clone().ok_or("the client has stopped")?;
        let step = step.clone();
        let name = step["as"].as_str().unwrap_or_default().to_owned();
        // A test's own clone would keep the client alive: the task drops it with its answer.
        let answer = tokio::spawn(async move { request(client, &step).await });
        self.answers.insert(name, answer);
        Ok(())
    }

    /// The answer to the request that was kept as `name`: what it gave, or why it failed.
    pub(super) async fn answer(&mut self, name: &str) -> Result<Result<Value, Value>, String> {
        let answer = self
            .answers
            .remove(name)
            .ok_or_else(|| format!("nothing is kept as {name}"))?;
        let result = within("an answer", answer)
            .await?
            .map_err(|error| error.to_string())?;
        Ok(result.map_err(|error| failure(&error)))
    }

    /// Closes the client.
    pub(super) async fn close(&mut self) -> Result<(), String> {
        self.connect().await?;
        if let Some(client) = &self.client {
            within("the client's close", client.close()).await?;
        }
        Ok(())
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn levels(levels: &Value) -> Result<Vec<Level>, String> {
    let decimal = |value: &Value| text(value).parse::<Decimal>().map_err(|error| error.to_string());
    let level = |level: &Value| {
        Ok(Level {
            price: decimal(&level[0])?,
            size: decimal(&level[1])?,
        })
    };
    levels.as_array().into_iter().flatten().map(level).collect()
}

async fn request(client: Client, step: &Value) -> Result<Value, RequestError> {
    let topic = text(&step["topic"]);
    let names = || step["topics"].as_array().into_iter().flatten();
    let done = json!({});
    match step["do"].as_str() {
        Some("subscribe") => client
            .subscribe(subscription(step))
            .await
            .map(|results| shown(&results)),
        Some("unsubscribe") => client
            .unsubscribe(names().map(text))
            .await
            .map(|results| shown(&results)),
        Some("publish") => {
            let data = Payload::from_json(step["data"].to_string().as_bytes()).expect("JSON");
            let options = PublishOptions {
                key: step["key"].as_str().map(|key| key.parse().expect("a key")),
                ts: step["ts"].as_u64().map(Micros),
            };
            let receipt = client
                .begin_publish_with(topic, data, options)
                .await?
                .receipt()
                .await?;
            let at = receipt.position;
            Ok(json!({"epoch": at.epoch, "seq": at.seq, "duplicate": receipt.is_duplicate}))
        }
        Some("resync") => client.resync(topic).await.map(|()| done),
        Some("auth") => client.auth(text(&step["token"])).await.map(|()| done),
        Some("ping") => client.ping().await.map(|_| done),
        Some("close") => {
            client.close().await;
            Ok(done)
        }
        other => panic!("{other:?} is nothing that a user does"),
    }
}

fn shown(results: &[AckResult]) -> Value {
    serde_json::to_value(results).expect("results are JSON")
}

fn subscription(step: &Value) -> Subscription {
    let entries = || step["topics"].as_array().into_iter().flatten();
    let mut subscription = Subscription::to(entries().filter_map(Value::as_str));
    for entry in entries().filter(|entry| entry.is_object()) {
        let topic = text(&entry["topic"]);
        let (since, from) = (&entry["since"], &entry["from"]);
        if !from.is_null() {
            let from = from.as_str().map_or_else(|| from.to_string(), str::to_owned);
            let from = from.parse().expect("a moment");
            subscription = match entry["speed"].as_f64() {
                None => subscription.from_moment(topic, from),
                Some(speed) => {
                    subscription.from_moment_at(topic, from, ReplaySpeed::new(speed).expect("a speed"))
                }
            };
            continue;
        }
        subscription = match since.as_array() {
            Some(lineages) => subscription.resume_each(topic, lineages.iter().flat_map(positions)),
            None => subscription.resume(topic, position(&since["epoch"], &since["seq"])),
        };
    }
    if let Some(mode) = step.get("mode") {
        subscription = subscription.mode(serde_json::from_value::<Mode>(mode.clone()).expect("a mode"));
    }
    if let Some(conflate_ms) = step["conflate_ms"].as_u64() {
        subscription = subscription.conflate_ms(u32::try_from(conflate_ms).expect("a short time"));
    }
    match step["snapshot"].as_bool() {
        Some(snapshot) => subscription.snapshot(snapshot),
        None => subscription,
    }
}

fn position(epoch: &Value, seq: &Value) -> Position {
    Position {
        epoch: Epoch::from(text(epoch).as_str()),
        seq: Seq(seq.as_u64().expect("a number")),
    }
}

fn positions(lineage: &Value) -> impl Iterator<Item = (String, Position)> + '_ {
    let seqs = lineage["seqs"].as_object().into_iter().flatten();
    seqs.map(|(topic, seq)| (topic.clone(), position(&lineage["epoch"], seq)))
}
