//! `POST /v1/publish`: publishes the lines of the body, all of them or none.
//!
//! The body is checked whole before its first line is published: each line by itself, and the changes of each book one after the other on
//! a copy of it. No topic is locked meanwhile. So one thing can still go wrong afterwards: another publisher fills a book, or
//! makes the broker's last topics, between check and publication. The answer then says at which line it stopped.
//!
//! Bounded: the bodies that are there at a time in their bytes, and those that are published in their number; one that is whole
//! waits for its turn.
//!
//! Runs on a thread of its own, since a body may hold very many lines, and waits for shards that have too much to do. Once
//! publication has begun it ends, also when the client does not wait for the answer.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::body::Incoming;
use serde::Serialize;
use tickwire_metrics::{Catalogue, Metric};
use tickwire_router::{Directory, PublishError, Publisher, Rights};
use tickwire_wire::limits::{BULK_BODY_BYTES_MAX, SHARD_QUEUE_MAX};
use tickwire_wire::{ErrorCode, Kind, Payload, Refusal, Topic};

use super::coding::Coding;
use super::context::HttpContext;
use super::requester::Requester;
use super::{BadLine, ErrorResponse, Reply, body, parse_line, parse_lines, reply};
use crate::auth::Admission;
use crate::run::clock::Clock;
use crate::run::lifecycle::Lifecycle;

/// Messages between two looks at the shards' queues.
const MESSAGES_PER_LOOK: usize = 256;
/// Publications waiting for a shard above which publication waits for it.
const QUEUE_HIGH: usize = SHARD_QUEUE_MAX / 2;
/// Time between two looks while it waits.
const LOOK_AGAIN: Duration = Duration::from_micros(500);

/// The answer.
#[derive(Serialize)]
struct Receipt {
    published: usize,
}

/// Publishes the lines of `body`.
pub(super) async fn lines(
    context: &HttpContext,
    (arrival, admission): (&Requester, &Admission),
    (body, coding): (&mut Incoming, Coding),
) -> Result<Reply, ErrorResponse> {
    if admission.rights.publish.is_empty() {
        let reason = "this client may not publish to any topic";
        return Err(Refusal::new(ErrorCode::Forbidden, reason).into());
    }
    let is_coded = coding == Coding::Gzip;
    if is_coded {
        // Few bytes may make a long body, so it is not only a publication.
        arrival.ask(&context.address_limits)?;
    }
    let charge = |bytes| {
        if is_coded {
            arrival.charge_coding(&context.address_limits, bytes);
        }
    };
    let (room, within) = (&context.bulk.room, context.limits.bulk_within);
    let read = body::read_into(
        room,
        (body, coding),
        BULK_BODY_BYTES_MAX,
        within,
        &context.metrics,
        charge,
    );
    let (text, taken) = read.await?;
    let turn = context.bulk.turns.clone().acquire_owned().await;
    let turn = turn.map_err(|closed| ErrorResponse::fault(&closed.to_string()))?;
    let bulk = Bulk {
        text,
        message_bytes: context.limits.message_bytes,
        // The body, and its turn, took their time: what holds is what may be done now.
        rights: context.still(admission)?,
        publisher: admission.publisher(arrival.client.ip()),
        directory: context.directory.clone(),
        clock: context.clock,
        gate: context.gate.clone(),
        metrics: context.metrics.clone(),
    };
    let ran = tokio::task::spawn_blocking(move || {
        let _places = (turn, taken);
        bulk.run()
    });
    match ran.await {
        Ok((published, stopped)) => {
            // The first was paid for with the request. Those before a line that was refused are published, too.
            let more = published.saturating_sub(1);
            arrival.charge_publishes(&context.address_limits, admission, more);
            stopped.map(|()| reply::json(&Receipt { published }))
        }
        Err(error) => {
            tracing::error!(%error, "a bulk publication failed");
            let reason = "the publication failed; some of its lines may be published";
            Err(Refusal::new(ErrorCode::Internal, reason).into())
        }
    }
}

/// A body and everything that is needed to publish it.
struct Bulk {
    text: Bytes,
    message_bytes: usize,
    rights: Rights,
    publisher: Publisher,
    directory: Arc<Directory>,
    clock: Clock,
    gate: Arc<Lifecycle>,
    metrics: Arc<Catalogue>,
}

/// The lines about one book, with their numbers.
type BookLines<'b> = Vec<(usize, &'b [u8])>;

impl Bulk {
    /// Publishes everything. Returns the number of messages that were published, and what ended it before the last.
    fn run(&self) -> (usize, Result<(), ErrorResponse>) {
        match self.check() {
            Ok(()) => self.publish(),
            Err(bad) => (0, Err(bad.into())),
        }
    }

    /// Checks that every line can be published.
    fn check(&self) -> Result<(), BadLine> {
        let mut books: HashMap<Topic, BookLines<'_>> = HashMap::new();
        let mut new_topics: HashSet<Topic> = HashSet::new();
        for message in parse_lines(&self.text, self.message_bytes) {
            let message = message?;
            let bad = |refusal| BadLine::new(message.line, refusal);
            self.rights.check_publish(message.topic.as_str()).map_err(bad)?;
            let name = message.topic.as_str();
            self.directory
                .check(name, message.payload)
                .map_err(|error| bad(error.into()))?;
            if self.directory.find(name).is_none() && new_topics.insert(message.topic.clone()) {
                let room = self.directory.check_room(Some(self.publisher), new_topics.len());
                room.map_err(|error| bad(error.into()))?;
            }
            if self.directory.kind_of(name) == Kind::Book {
                let lines = books.entry(message.topic).or_default();
                lines.push((message.line, message.text));
            }
        }
        let first_bad = books
            .iter()
            .filter_map(|(topic, lines)| self.check_book(topic, lines).err())
            .min_by_key(|bad| bad.line);
        first_bad.map_or(Ok(()), Err)
    }

    /// Checks that the book of `topic` takes the changes of `lines`, on a copy.
    fn check_book(&self, topic: &Topic, lines: &BookLines<'_>) -> Result<(), BadLine> {
        let cell = self.directory.find(topic.as_str());
        let mut book = cell.and_then(|cell| cell.book()).unwrap_or_default();
        for (line, text) in lines {
            let bad = |refusal| BadLine::new(*line, refusal);
            let message = parse_line(*line, text, self.message_bytes)?;
            let checked = self.directory.check(topic.as_str(), message.payload);
            if let Payload::Book(change) = checked.map_err(|error| bad(error.into()))? {
                book.apply(*change).map_err(bad)?;
            }
        }
        Ok(())
    }

    /// Publishes every line. They have been checked. Returns as [`Self::run`].
    fn publish(&self) -> (usize, Result<(), ErrorResponse>) {
        let mut published = 0;
        for message in parse_lines(&self.text, self.message_bytes) {
            if published % MESSAGES_PER_LOOK == 0 {
                self.wait_for_shards();
            }
            let message = match message {
                Ok(message) => message,
                Err(bad) => return (published, Err(bad.into())),
            };
            let bytes = message.payload.heap_bytes() as u64;
            let (publisher, now) = (Some(self.publisher), self.clock.now());
            let outcome = self
                .directory
                .publish_by(publisher, &message.topic, message.payload, now);
            match outcome {
                Ok(place) => {
                    self.metrics.add(Metric::Publications, &[place.kind as usize], 1);
                    self.metrics.add(Metric::PublishedBytes, &[], bytes);
                }
                Err(error) => return (published, Err(stopped_at(message.line, published, error))),
            }
            published += 1;
        }
        (published, Ok(()))
    }

    /// Waits while a shard has too much to do; a queue that overflows would cost its subscribers a look into the history.
    fn wait_for_shards(&self) {
        while self.directory.queue_depth_max() > QUEUE_HIGH {
            // A broker that stops is not waited for.
            if !self.gate.wait(LOOK_AGAIN) {
                return;
            }
        }
    }
}

/// The answer when a line that had passed the check was refused all the same.
fn stopped_at(line: usize, published: usize, error: PublishError) -> ErrorResponse {
    let refusal = Refusal::from(error);
    let reason = format!(
        "line {line}: {}; another publisher was faster; the {published} messages before it are published, it and \
         what follows are not",
        refusal.reason
    );
    ErrorResponse::new(StatusCode::CONFLICT, Refusal::new(refusal.code, reason))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use tickwire_metrics::Catalogue;
    use tickwire_router::{DirectoryLimits, Kinds};

    use super::*;
    use crate::ops::labels::LABELS;

    #[test]
    fn a_line_that_another_publisher_forestalled_ends_the_publication() {
        let limits = DirectoryLimits {
            topics_max: 1,
            topics_per_key_max: 0,
            history_bytes_max: 1_000,
            ..DirectoryLimits::default()
        };
        let catalogue = Catalogue::new(1, "test", &LABELS).unwrap();
        let bulk = Bulk {
            text: Bytes::from_static(
                b"{\"topic\":\"a\",\"data\":1}\n\n{\"topic\":\"b\",\"data\":1}\n{\"topic\":\"a\",\"data\":2}",
            ),
            message_bytes: 100,
            rights: Rights::open([">".parse().unwrap()]),
            publisher: Publisher(1),
            directory: Arc::new(Directory::new("e".into(), Kinds::default(), limits, Vec::new())),
            clock: Clock::start(),
            gate: Arc::new(Lifecycle::new(true)),
            metrics: catalogue.clone(),
        };
        // As it is when the broker's last topic is made between check and publication.
        assert!(bulk.check().is_err());
        let (published, stopped) = bulk.publish();
        assert_eq!(published, 1, "it is charged for");
        let answer = stopped.unwrap_err();
        expect![[r#"409 Conflict: limit_exceeded: line 3: the broker holds its most topics (1); publish to an existing one or raise limits.topics; another publisher was faster; the 1 messages before it are published, it and what follows are not"#]]
        .assert_eq(&answer.to_string());
        assert_eq!(
            bulk.directory.find("a").map(|cell| cell.position().seq.0),
            Some(1)
        );
    }
}
