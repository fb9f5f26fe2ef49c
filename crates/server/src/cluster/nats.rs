//! The log of a lane in NATS: a JetStream stream with a single subject, and the subjects beside it.
//!
//! An append says after which entry it goes, so the stream takes it only if it ends there. JetStream publishes what it has stored
//! again, with its number. What is lost on that way is read from the stream by its number.

use std::time::Duration;

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{
    Config, DirectGetErrorKind, DiscardPolicy, Republish, StorageType, Stream,
};
use async_nats::jetstream::{self, Context};
use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use thiserror::Error;
use tickwire_lane::Position;
use tickwire_lane::node::{Appended, LogPart, NodeId};

use crate::config::ClusterStorage;

/// How long an answer of NATS may take.
const ANSWER_WITHIN: Duration = Duration::from_millis(1_500);
/// Most entries and bytes that are read together.
const READ_ENTRIES: u64 = 512;
const READ_BYTES: usize = 16 * 1024 * 1024;
/// The number of entries that are asked for at once.
const READS_AT_ONCE: usize = 32;
/// Bytes that a message of NATS must be able to have.
const MESSAGE_BYTES: usize = 1024 * 1024;
/// The oldest version of NATS servers, and the oldest that should be used in production.
const OLDEST: (u32, u32) = (2, 9);
const RECOMMENDED: (u32, u32) = (2, 10);
/// Bytes of the stream with the mark.
const MARK_BYTES: i64 = 64 * 1024;

/// What was asked of NATS failed.
#[derive(Debug, Error)]
#[error("{what}: {why}")]
pub(super) struct NatsError {
    what: &'static str,
    why: String,
}

fn failed<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> NatsError {
    move |error| NatsError {
        what,
        why: error.to_string(),
    }
}

/// What the log's stream is to be like.
#[derive(Debug, Clone)]
pub(super) struct LogPlan {
    /// The name of the cluster and of the lane.
    pub(super) cluster: String,
    pub(super) lane: String,
    pub(super) replicas: usize,
    pub(super) storage: ClusterStorage,
    pub(super) log_bytes: u64,
}

/// The subjects of a lane.
#[derive(Debug, Clone)]
pub(super) struct Subjects {
    prefix: String,
    lane: String,
}

impl Subjects {
    pub(super) fn new(plan: &LogPlan) -> Self {
        Self {
            prefix: format!("tw.{}", plan.cluster),
            lane: plan.lane.clone(),
        }
    }

    fn of(&self, what: &str) -> String {
        format!("{}.{what}.{}", self.prefix, self.lane)
    }

    /// Where entries are appended.
    fn log(&self) -> String {
        self.of("log")
    }

    /// Where entries come that are stored.
    pub(super) fn live(&self) -> String {
        self.of("live")
    }

    /// Where nodes tell each other something.
    pub(super) fn notices(&self) -> String {
        self.of("notice")
    }

    /// Where a node takes submissions.
    pub(super) fn submissions(&self, node: NodeId) -> String {
        format!("{}.{node}", self.of("in"))
    }

    /// Where whole nodes are asked for the state.
    pub(super) fn state(&self) -> String {
        self.of("state")
    }

    /// Where a node gives further pieces of its state.
    pub(super) fn pieces(&self, node: NodeId) -> String {
        format!("{}.{node}", self.of("piece"))
    }

    /// Where plain clients of NATS publish.
    pub(super) fn published(&self) -> String {
        format!("{}.pub.>", self.prefix)
    }

    /// The topic of what came to a subject where plain clients publish.
    pub(super) fn topic_of<'s>(&self, subject: &'s str) -> Option<&'s str> {
        subject.strip_prefix(&self.prefix)?.strip_prefix(".pub.")
    }

    fn mark(&self) -> String {
        self.of("mark")
    }

    fn stream(&self) -> String {
        let prefix = self.prefix.replace("tw.", "TW_");
        format!("{prefix}_{}", self.lane)
    }
}

/// The log.
#[derive(Debug, Clone)]
pub(super) struct NatsLog {
    client: Client,
    context: Context,
    plan: LogPlan,
    subjects: Subjects,
}

impl NatsLog {
    pub(super) fn new(client: Client, plan: LogPlan) -> Self {
        let mut context = jetstream::new(client.clone());
        context.set_timeout(ANSWER_WITHIN);
        Self {
            client,
            context,
            subjects: Subjects::new(&plan),
            plan,
        }
    }

    pub(super) fn subjects(&self) -> &Subjects {
        &self.subjects
    }

    fn config(&self) -> Config {
        Config {
            name: self.subjects.stream(),
            subjects: vec![self.subjects.log()],
            max_bytes: i64::try_from(self.plan.log_bytes).unwrap_or(i64::MAX),
            discard: DiscardPolicy::Old,
            storage: match self.plan.storage {
                ClusterStorage::File => StorageType::File,
                ClusterStorage::Memory => StorageType::Memory,
            },
            num_replicas: self.plan.replicas,
            deny_delete: true,
            deny_purge: true,
            allow_direct: true,
            duplicate_window: Duration::from_millis(100),
            republish: Some(Republish {
                source: self.subjects.log(),
                destination: self.subjects.live(),
                headers_only: false,
            }),
            ..Config::default()
        }
    }

    fn mark_config(&self) -> Config {
        Config {
            name: format!("{}_MARK", self.subjects.stream()),
            subjects: vec![self.subjects.mark()],
            max_bytes: MARK_BYTES,
            max_messages: 1,
            discard: DiscardPolicy::Old,
            storage: StorageType::Memory,
            num_replicas: self.plan.replicas,
            ..Config::default()
        }
    }

    /// The stream of the log. It is made if it does not exist.
    async fn stream(&self) -> Result<Stream, NatsError> {
        let stream = self.context.get_or_create_stream(self.config()).await;
        stream.map_err(failed("the stream of the log"))
    }

    /// Appends an entry behind `expected`.
    pub(super) async fn append(&self, bytes: Vec<u8>, expected: Position) -> Appended {
        let message = PublishMessage::build()
            .payload(bytes.into())
            .expected_last_sequence(expected.0);
        let sent = async {
            let answer = self.context.send_publish(self.subjects.log(), message).await?;
            answer.await
        };
        match tokio::time::timeout(ANSWER_WITHIN, sent).await {
            Ok(Ok(stored)) => Appended::Stored(Position(stored.sequence)),
            Ok(Err(error)) => match error.kind() {
                PublishErrorKind::WrongLastSequence => Appended::Refused,
                _ => {
                    tracing::warn!(%error, "an entry may not be stored");
                    Appended::Unknown
                }
            },
            Err(_) => Appended::Unknown,
        }
    }

    /// Reads the log from an entry on.
    pub(super) async fn read(&self, from: Position) -> Result<LogPart, NatsError> {
        let stream = self.stream().await?;
        let info = stream.get_info().await.map_err(failed("the state of the log"))?;
        let (first, last) = (info.state.first_sequence, info.state.last_sequence);
        // An empty stream may say that its first entry is number 0.
        let first = first.max(u64::from(info.state.messages > 0)).max(1);
        let begin = from.0.max(first);
        let end = last.min(begin.saturating_add(READ_ENTRIES - 1));
        let mut entries = Vec::new();
        let (mut next, mut bytes) = (begin, 0);
        let mut asked = FuturesOrdered::new();
        loop {
            while next <= end && asked.len() < READS_AT_ONCE && bytes < READ_BYTES {
                let position = next;
                let stream = &stream;
                asked.push_back(async move { (position, stream.direct_get(position).await) });
                next += 1;
            }
            let Some((position, message)) = asked.next().await else {
                break;
            };
            match message {
                Ok(message) => {
                    bytes += message.payload.len();
                    entries.push((Position(position), message.payload.to_vec()));
                }
                // It was let go of in the meantime, or a replica does not have it yet.
                Err(error) if error.kind() == DirectGetErrorKind::NotFound && entries.is_empty() => {
                    return Err(failed("an entry of the log")(error));
                }
                Err(error) if error.kind() == DirectGetErrorKind::NotFound => break,
                Err(error) => return Err(failed("an entry of the log")(error)),
            }
        }
        Ok(LogPart {
            first: Position(first),
            last: Position(last),
            entries,
        })
    }

    /// Leaves a mark in the memory of the servers.
    pub(super) async fn make_mark(&self) -> Result<(), NatsError> {
        let stream = self.context.get_or_create_stream(self.mark_config()).await;
        stream.map_err(failed("the stream of the mark"))?;
        let stored = self
            .context
            .publish(self.subjects.mark(), Bytes::from_static(b"1"))
            .await;
        let stored = stored.map_err(failed("the mark"))?;
        stored.await.map(|_| ()).map_err(failed("the mark"))
    }

    /// Whether the mark is there.
    pub(super) async fn has_mark(&self) -> Result<bool, NatsError> {
        let name = self.mark_config().name;
        match self.context.get_stream(&name).await {
            Ok(stream) => Ok(stream.cached_info().state.messages > 0),
            Err(error) => {
                let text = error.to_string();
                let is_gone = text.contains("not found") || text.contains("10059");
                if is_gone {
                    Ok(false)
                } else {
                    Err(failed("the mark")(text))
                }
            }
        }
    }

    /// Tells all nodes something.
    pub(super) async fn tell(&self, subject: String, bytes: Vec<u8>) -> Result<(), NatsError> {
        let sent = self.client.publish(subject, bytes.into()).await;
        sent.map_err(failed("a message to other nodes"))
    }

    /// Asks for something, of whoever answers first.
    pub(super) async fn ask(
        &self,
        subject: String,
        bytes: Vec<u8>,
        within: Duration,
    ) -> Result<Bytes, NatsError> {
        let request = async_nats::Request::new()
            .payload(bytes.into())
            .timeout(Some(within));
        let answer = self.client.send_request(subject, request).await;
        Ok(answer.map_err(failed("an answer of other nodes"))?.payload)
    }

    /// Answers somebody.
    pub(super) async fn answer(&self, to: async_nats::Subject, bytes: Vec<u8>) -> Result<(), NatsError> {
        let sent = self.client.publish(to, bytes.into()).await;
        sent.map_err(failed("an answer to another node"))
    }

    /// Takes what comes to a subject. In a `group`, each message comes to one of its members.
    pub(super) async fn listen(&self, subject: String, group: Option<&str>) -> Result<Subscriber, NatsError> {
        let listening = match group {
            Some(group) => self.client.queue_subscribe(subject, group.to_owned()).await,
            None => self.client.subscribe(subject).await,
        };
        listening.map_err(failed("a subject"))
    }

    /// Says in the log which version of NATS this is, and whether that is too old.
    pub(super) fn tell_version(&self) {
        let info = self.client.server_info();
        if info.max_payload < MESSAGE_BYTES {
            tracing::error!(
                max_payload = info.max_payload,
                "NATS takes too short messages for the log of a cluster: set its max_payload to at least {MESSAGE_BYTES}"
            );
        }
        let version = info.version;
        let mut parts = version.split('.').map_while(|part| part.parse::<u32>().ok());
        let known = parts.next().zip(parts.next());
        match known {
            Some(known) if known < OLDEST => tracing::error!(
                version,
                "connected to NATS, whose version is too old for a log: at least {}.{} is needed",
                OLDEST.0,
                OLDEST.1
            ),
            Some(known) if known < RECOMMENDED => tracing::warn!(
                version,
                "connected to NATS; in production its version should be {}.{} or newer",
                RECOMMENDED.0,
                RECOMMENDED.1
            ),
            _ => tracing::info!(version, "connected to NATS"),
        }
    }
}
