//! Publishers and readers of the cluster. Each knows the addresses of all brokers, and goes to another one when its own is gone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tickwire_client::{BackoffBounds, Client, Event, Events, RequestError, Subscription};
use tickwire_wire::message::{AckResult, Position, ServerMessage};
use tickwire_wire::{Codec, Control, Mode, Payload};

use super::truth::{MessageId, Truth};
use crate::swarm::Faults;

/// The number of topics.
pub(super) const TOPICS: u64 = 40;
const BACKOFF: BackoffBounds = BackoffBounds {
    first_ms: 20,
    max_ms: 1_000,
};
/// The wait before a refused message is handed in again.
const AGAIN: Duration = Duration::from_millis(100);
/// How often the first connection is tried.
const ATTEMPTS: u32 = 300;
/// Longer than any fault.
const REQUEST_TIMEOUT_MS: u64 = 60_000;

/// What the clients share.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) truth: Truth,
    /// Whether nothing more is to be published.
    pub(super) is_enough: AtomicBool,
    /// Whether readers are to end.
    pub(super) is_over: AtomicBool,
    /// The newest message of all publishers.
    made: AtomicU64,
    /// Messages with an answer.
    pub(super) acked: AtomicU64,
    /// Messages that readers have got.
    pub(super) received: AtomicU64,
    /// Messages that readers were told not to get.
    pub(super) gapped: AtomicU64,
}

/// The name of a topic.
fn topic(number: u64) -> String {
    format!("cluster.{}", number % TOPICS)
}

/// A client that begins with the broker at `first` of `urls`.
async fn connect(urls: &[String], first: usize, codec: Codec) -> anyhow::Result<(Client, Events)> {
    let mut order = urls.iter().cycle().skip(first % urls.len()).take(urls.len());
    let mut builder = Client::builder(order.next().cloned().unwrap_or_default());
    for url in order {
        builder = builder.or_url(url.clone());
    }
    let builder = builder
        .codec(codec)
        .backoff(BACKOFF)
        .request_timeout_ms(REQUEST_TIMEOUT_MS);
    for _ in 1..ATTEMPTS {
        match builder.clone().connect().await {
            Ok(connected) => return Ok(connected),
            Err(error) if error.is_retryable() => tokio::time::sleep(AGAIN).await,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(builder.connect().await?)
}

/// Publishes `rate` messages a second by `workers` at once until there are enough. Each message is repeated with its key until
/// it has an answer.
pub(super) async fn publish(
    run: Arc<Run>,
    urls: Vec<String>,
    home: usize,
    (rate, workers): (u32, u32),
) -> anyhow::Result<()> {
    let (client, mut events) = connect(&urls, home, Codec::Json).await?;
    // The events end with the client.
    tokio::spawn(async move { while events.next().await.is_some() {} });
    let every = Duration::from_secs_f64(f64::from(workers) / f64::from(rate.max(1)));
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..workers {
        let (run, client) = (run.clone(), client.clone());
        all.spawn(async move {
            let mut due = tokio::time::interval(every);
            while !run.is_enough.load(Ordering::Relaxed) {
                due.tick().await;
                let id = run.made.fetch_add(1, Ordering::Relaxed) + 1;
                publish_one(&run, &client, id).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = all.join_next().await {
        ended??;
    }
    client.close().await;
    Ok(())
}

async fn publish_one(run: &Run, client: &Client, id: MessageId) -> anyhow::Result<()> {
    let (topic, text) = (topic(id), id.to_string());
    loop {
        let data = Payload::from_json(text.as_bytes())?;
        let key = format!("m{id}").parse()?;
        match client.publish_once(topic.clone(), key, data).await {
            Ok(receipt) => {
                let Position { epoch, seq } = receipt.position;
                run.truth.saw(&topic, epoch.as_str(), seq.0, id);
                run.acked.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            Err(RequestError::Refused(refusal)) if !refusal.code.is_retryable() => {
                anyhow::bail!("message {id} was refused: {refusal}");
            }
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// Where a reader is in a topic.
#[derive(Debug)]
struct Place {
    epoch: String,
    /// The newest message that it has got or was told not to get.
    seq: u64,
}

/// A reader of all topics, by a pattern or by their names.
pub(super) struct Reader {
    number: usize,
    run: Arc<Run>,
    places: HashMap<String, Place>,
    pub(super) faults: Faults,
}

impl Reader {
    /// Reads until the run is over. Returns what was wrong.
    pub(super) async fn read(run: Arc<Run>, urls: Vec<String>, number: usize) -> Faults {
        let mut reader = Self {
            number,
            run,
            places: HashMap::new(),
            faults: Faults::default(),
        };
        let codec = [Codec::Json, Codec::MessagePack][number % 2];
        let (client, mut events) = match connect(&urls, number, codec).await {
            Ok(connected) => connected,
            Err(error) => {
                reader.faults.add("not connected", error);
                return reader.faults;
            }
        };
        let names: Vec<String> = match number % 4 {
            0 | 1 => vec!["cluster.*".to_owned()],
            _ => (0..TOPICS).map(topic).collect(),
        };
        let subscribing = client.clone();
        let subscribe = tokio::spawn(async move {
            let wanted = Subscription::to(names).mode(Mode::Every);
            while let Err(RequestError::Disconnected) = subscribing.subscribe(wanted.clone()).await {}
        });
        loop {
            let event = tokio::time::timeout(AGAIN, events.next()).await;
            match event {
                Ok(Some(event)) => reader.take(event),
                Ok(None) => {
                    reader.faults.add("client stopped", reader.number);
                    break;
                }
                Err(_) if reader.run.is_over.load(Ordering::Relaxed) => break,
                Err(_) => {}
            }
        }
        subscribe.abort();
        client.close().await;
        reader.check_end();
        reader.faults
    }

    fn fault(&mut self, kind: &'static str, text: impl std::fmt::Display) {
        self.faults
            .add(kind, format_args!("client {}: {text}", self.number));
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Message(message) => self.message(message),
            Event::Broken(broken) => self.fault("broken promise", broken),
            Event::Unresumed { topic, last, now } => {
                // Of another lineage nothing is owed; of the same it is said how far it goes.
                if let Some(place) = self.places.get_mut(&topic)
                    && place.epoch == last.epoch.as_str()
                {
                    place.seq = place.seq.max(now.0.saturating_sub(1));
                }
            }
            Event::SubscriptionLost { topic, refusal } => {
                self.fault("subscription lost", format_args!("{topic}: {refusal}"));
            }
            Event::Disconnected { retry_in: None, loss } => self.fault("client stopped", loss),
            _ => {}
        }
    }

    fn message(&mut self, message: ServerMessage) {
        match message {
            ServerMessage::Update { topic, seq, data, .. } => self.update(&topic, seq.0, data.get()),
            ServerMessage::Snapshot {
                topic,
                epoch,
                seq,
                data,
                ..
            } => {
                self.is_at(&topic, epoch.as_str(), seq.0);
                self.saw(&topic, seq.0, data.get());
            }
            ServerMessage::Control(Control::Gap {
                topic,
                epoch,
                from,
                to,
                ..
            }) => {
                self.gap(&topic, epoch.as_str(), (from.0, to.0));
            }
            ServerMessage::Control(Control::Joined { topic, epoch, seq }) => {
                self.is_at(&topic, epoch.as_str(), seq.0);
            }
            ServerMessage::Control(Control::Ack { results, .. }) => {
                results.iter().for_each(|result| self.acked(result));
            }
            ServerMessage::Control(Control::Error { reason, .. }) => self.fault("error", reason),
            ServerMessage::Control(_) | ServerMessage::Unknown(_) => {}
        }
    }

    fn acked(&mut self, result: &AckResult) {
        if let Some(refusal) = &result.error {
            return self.fault("refused", format_args!("{}: {refusal}", result.topic));
        }
        let (Some(epoch), Some(seq)) = (&result.epoch, result.seq) else {
            return;
        };
        if result.recovered == Some(true) {
            let known = self.places.get(&result.topic);
            if known.is_none_or(|place| place.epoch != epoch.as_str() || place.seq > seq.0) {
                let text = format!("{} to {epoch}:{seq} from {known:?}", result.topic);
                self.fault("false recovered", text);
            }
        } else if self
            .places
            .get(&result.topic)
            .is_none_or(|place| place.epoch != epoch.as_str())
        {
            // In the same epoch a gap follows for what is missing.
            self.is_at(&result.topic, epoch.as_str(), seq.0);
        }
    }

    /// The reader goes on behind this message.
    fn is_at(&mut self, topic: &str, epoch: &str, seq: u64) {
        let place = Place {
            epoch: epoch.to_owned(),
            seq,
        };
        if let Some(known) = self.places.get(topic)
            && known.epoch == epoch
            && known.seq < seq
        {
            let text = format!("{topic} {epoch}: from {} to {seq}", known.seq);
            self.fault("silent gap", text);
        }
        self.places.insert(topic.to_owned(), place);
    }

    fn gap(&mut self, topic: &str, epoch: &str, (from, to): (u64, u64)) {
        self.run.gapped.fetch_add(to + 1 - from, Ordering::Relaxed);
        match self.places.get_mut(topic) {
            Some(place) if place.epoch == epoch => {
                let begins = place.seq + 1;
                place.seq = place.seq.max(to);
                if from > begins {
                    self.fault("silent gap", format_args!("{topic} {epoch}: {begins} to {from}"));
                }
            }
            _ => {
                let place = Place {
                    epoch: epoch.to_owned(),
                    seq: to,
                };
                self.places.insert(topic.to_owned(), place);
            }
        }
    }

    fn update(&mut self, topic: &str, seq: u64, data: &str) {
        self.run.received.fetch_add(1, Ordering::Relaxed);
        let Some(place) = self.places.get_mut(topic) else {
            return self.fault("unknown topic", format_args!("{topic} {seq}"));
        };
        let before = place.seq;
        place.seq = place.seq.max(seq);
        if seq <= before {
            self.fault("duplicate", format_args!("{topic} {seq} after {before}"));
        } else if seq != before + 1 {
            self.fault("silent gap", format_args!("{topic}: {seq} after {before}"));
        }
        self.saw(topic, seq, data);
    }

    fn saw(&mut self, topic: &str, seq: u64, data: &str) {
        match (data.parse(), self.places.get(topic)) {
            (Ok(id), Some(place)) => self.run.truth.saw(topic, &place.epoch, seq, id),
            _ => self.fault("wrong content", format_args!("{topic} {seq}: {data}")),
        }
    }

    /// A reader has everything of the epochs that it is in.
    fn check_end(&mut self) {
        let run = self.run.clone();
        let behind: Vec<String> = self
            .places
            .iter()
            .filter_map(|(topic, place)| {
                let newest = run.truth.newest(topic, &place.epoch);
                (place.seq != newest).then(|| format!("{topic} {}: {} of {newest}", place.epoch, place.seq))
            })
            .collect();
        for text in behind {
            self.fault("not at the end", text);
        }
    }
}
