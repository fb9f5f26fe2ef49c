//! `POST /v1/publish`: publishes all lines of the body or none.
//!
//! The whole body is checked before its first line is published: each line by itself, the changes of each book one
//! after the other on a copy of the book, and whether the topics and values have room for all of it. No topic is locked
//! meanwhile. So one thing can still go wrong afterwards: between the check and the publication another publisher fills a
//! book, or takes the room for topics or values. The answer then says at which line the publication stopped.
//!
//! A checked message is kept, and a copy of it is published. Above a number of bytes, further messages are not kept and
//! their lines are read a second time.
//!
//! Bounded: all bodies in memory together in their bytes, and the bodies that are being published in their number. A
//! whole body waits for its turn.
//!
//! Runs on a thread of its own, since a body may hold very many lines, and waits for shards that have too much to do. A
//! publication that has begun is finished, even if the client no longer waits for the answer.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::body::Incoming;
use serde::Serialize;
use tickwire_metrics::{Catalogue, Metric};
use tickwire_router::{BookTrial, Ingress, Origin, PublishError, Publisher, Rights, TopicCell};
use tickwire_wire::limits::BULK_BODY_BYTES_MAX;
use tickwire_wire::{ErrorCode, Payload, Refusal, Topic};

use super::coding::Coding;
use super::context::HttpContext;
use super::requester::Requester;
use super::{BadLine, ErrorResponse, LineMessage, Reply, body, parse_line, reply, split_lines};
use crate::auth::Admission;
use crate::run::clock::Clock;
use crate::run::lifecycle::Lifecycle;

/// The number of messages between two checks of the shards' queues.
const MESSAGES_PER_LOOK: usize = 256;
/// Most bytes of messages that are kept from the check to the publication. The message in a short line may need many
/// times the bytes of the line.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Time between two checks while it waits.
const LOOK_AGAIN: Duration = Duration::from_micros(500);

/// The answer.
#[derive(Serialize)]
struct Receipt {
    published: usize,
}

/// Publishes the lines of `body`.
pub(super) async fn lines(
    context: &HttpContext,
    (requester, admission): (&Requester, &Admission),
    (body, coding): (&mut Incoming, Coding),
) -> Result<Reply, ErrorResponse> {
    if admission.rights.publish.is_empty() {
        let reason = "this client may not publish to any topic";
        return Err(Refusal::new(ErrorCode::Forbidden, reason).into());
    }
    let is_coded = coding == Coding::Gzip;
    if is_coded {
        // A compressed body may be long, so it costs more than a publication.
        requester.ask(&context.connection_limits)?;
    }
    let charge = |bytes| {
        if is_coded {
            requester.charge_coding(&context.connection_limits, bytes);
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
        // The body and its turn took time, so the rights are checked again.
        rights: context.still(admission)?,
        publisher: admission.publisher(requester.client.ip()),
        ingress: context.ingress.clone(),
        clock: context.clock,
        lifecycle: context.lifecycle.clone(),
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
            requester.charge_publishes(&context.connection_limits, admission, more);
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
    ingress: Ingress,
    clock: Clock,
    lifecycle: Arc<Lifecycle>,
    metrics: Arc<Catalogue>,
}

/// A message that is ready to be published.
struct Ready {
    /// The number of its line.
    line: usize,
    topic: Topic,
    payload: Payload,
    /// The length of its data in the body.
    bytes: u64,
}

impl Ready {
    fn new(message: LineMessage) -> Self {
        let LineMessage { line, topic, payload } = message;
        let bytes = payload.heap_bytes() as u64;
        Self {
            line,
            topic,
            payload,
            bytes,
        }
    }

    /// About how many bytes of memory it holds.
    fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.topic.as_str().len() + self.payload.heap_bytes()
    }
}

/// What a body says about one topic.
#[derive(Default)]
struct AboutTopic<'b> {
    /// The topic, if it exists.
    cell: Option<Arc<TopicCell>>,
    /// The most bytes that the value of a topic that is no book needs more than before.
    growth: usize,
    /// The lines, with their numbers, if the topic is a book.
    book: Vec<(usize, &'b [u8])>,
}

/// The result of the check so far.
#[derive(Default)]
struct Checked<'b> {
    /// Messages that are kept, in their order.
    kept: Vec<Ready>,
    kept_bytes: usize,
    topics: HashMap<Topic, AboutTopic<'b>>,
    new_topics: usize,
    /// The bytes that the values of all topics need more than before.
    growth: usize,
}

impl Bulk {
    /// Publishes everything. Returns the number of messages that were published, and what ended it before the last.
    fn run(&self) -> (usize, Result<(), ErrorResponse>) {
        match self.check() {
            Ok(kept) => self.publish(&kept),
            Err(bad) => (0, Err(bad.into())),
        }
    }

    /// Checks that every line can be published. Returns the messages that are kept.
    fn check(&self) -> Result<Vec<Ready>, BadLine> {
        let mut checked = Checked::default();
        let each =
            split_lines(&self.text).try_for_each(|(line, text)| self.check_line(line, text, &mut checked));
        // A line that a book refuses may come before the first line that is bad by itself.
        let Checked {
            kept,
            topics,
            mut growth,
            ..
        } = checked;
        let books = topics
            .iter()
            .filter_map(|(topic, about)| self.check_book(topic, &about.book, &kept, &mut growth).err());
        let first_bad = books.chain(each.err()).min_by_key(|bad| bad.line);
        first_bad.map_or(Ok(kept), Err)
    }

    /// Checks a line by itself.
    fn check_line<'b>(&self, line: usize, text: &'b [u8], checked: &mut Checked<'b>) -> Result<(), BadLine> {
        let bad = |refusal| BadLine::new(line, refusal);
        let mut ready = Ready::new(parse_line(line, text, self.message_bytes)?);
        let name = ready.topic.as_str();
        self.rights.check_publish(name).map_err(bad)?;
        let payload = self.ingress.check(name, ready.payload);
        ready.payload = payload.map_err(|error| bad(error.into()))?;
        let directory = self.ingress.directory();
        let about = match checked.topics.entry(ready.topic.clone()) {
            Entry::Occupied(about) => about.into_mut(),
            Entry::Vacant(about) => {
                let cell = directory.find(name);
                if cell.is_none() {
                    checked.new_topics += 1;
                    let room = directory.check_room(Some(self.publisher), checked.new_topics);
                    room.map_err(|error| bad(error.into()))?;
                }
                about.insert(AboutTopic {
                    cell,
                    ..AboutTopic::default()
                })
            }
        };
        if matches!(ready.payload, Payload::Book(_)) {
            about.book.push((line, text));
        } else {
            let growth = TopicCell::growth_bytes(about.cell.as_deref(), &ready.payload);
            checked.growth += growth.saturating_sub(about.growth);
            about.growth = about.growth.max(growth);
            directory.check_value_room(checked.growth).map_err(bad)?;
        }
        let bytes = checked.kept_bytes + ready.memory_bytes();
        if bytes <= KEPT_BYTES_MAX {
            checked.kept_bytes = bytes;
            checked.kept.push(ready);
        }
        Ok(())
    }

    /// Checks on a copy that the book of `topic` accepts the changes in `lines`, and that the values have room for it beside
    /// those that need `growth` bytes more than before. Adds to these what the book needs.
    fn check_book(
        &self,
        topic: &Topic,
        lines: &[(usize, &[u8])],
        kept: &[Ready],
        growth: &mut usize,
    ) -> Result<(), BadLine> {
        if lines.is_empty() {
            return Ok(());
        }
        let directory = self.ingress.directory();
        let mut trial = match directory.find(topic.as_str()) {
            Some(cell) => cell.trial(),
            None => BookTrial::new(topic.clone()),
        };
        let before = *growth;
        for (line, text) in lines {
            let bad = |refusal| BadLine::new(*line, refusal);
            let payload = match kept.binary_search_by_key(line, |ready| ready.line) {
                Ok(at) => kept[at].payload.clone(),
                Err(_) => {
                    let message = parse_line(*line, text, self.message_bytes)?;
                    let checked = self.ingress.check(topic.as_str(), message.payload);
                    checked.map_err(|error| bad(error.into()))?
                }
            };
            *growth = before + trial.publish(payload).map_err(bad)?;
            directory.check_value_room(*growth).map_err(bad)?;
        }
        Ok(())
    }

    /// Publishes every line. They have been checked, and the messages of some are `kept`. Returns as [`Self::run`].
    ///
    /// Copies are published, because kept messages lie side by side in memory: once the topics dropped single ones, the
    /// holes would be too short for the frame of a message.
    fn publish(&self, kept: &[Ready]) -> (usize, Result<(), ErrorResponse>) {
        let (mut published, mut kept) = (0, kept.iter().peekable());
        for (line, text) in split_lines(&self.text) {
            if published % MESSAGES_PER_LOOK == 0 {
                self.wait_for_shards();
            }
            let (topic, payload, bytes) = match kept.next_if(|ready| ready.line == line) {
                Some(ready) => (Cow::Borrowed(&ready.topic), ready.payload.clone(), ready.bytes),
                None => match parse_line(line, text, self.message_bytes) {
                    Ok(message) => {
                        let ready = Ready::new(message);
                        (Cow::Owned(ready.topic), ready.payload, ready.bytes)
                    }
                    Err(bad) => return (published, Err(bad.into())),
                },
            };
            let (origin, now) = (Origin::Bulk(self.publisher), self.clock.now());
            match self.ingress.submit(origin, &topic, payload, now) {
                Ok(place) => {
                    self.metrics.add(Metric::Publications, &[place.kind as usize], 1);
                    self.metrics.add(Metric::PublishedBytes, &[], bytes);
                }
                Err(error) => return (published, Err(stopped_at(line, published, error))),
            }
            published += 1;
        }
        (published, Ok(()))
    }

    /// Waits while a shard has too much to do. A queue that overflows would make its subscribers read from the history.
    fn wait_for_shards(&self) {
        while self.ingress.is_congested(Origin::Bulk(self.publisher)) {
            // A broker that stops does not wait.
            if !self.lifecycle.wait(LOOK_AGAIN) {
                return;
            }
        }
    }
}

/// The answer if a line was refused although it had passed the check.
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
    use tickwire_router::{Directory, DirectoryLimits, Kinds};

    use super::*;
    use crate::ops::labels::LABELS;

    /// A body from a client that may publish everything, for a broker with room for `topics_max` topics.
    fn bulk(text: Bytes, topics_max: usize) -> Bulk {
        let limits = DirectoryLimits {
            topics_max,
            ..DirectoryLimits::default()
        };
        bulk_within(text, limits)
    }

    fn bulk_within(text: Bytes, limits: DirectoryLimits) -> Bulk {
        let limits = DirectoryLimits {
            topics_per_key_max: 0,
            history_bytes_max: 1_000,
            ..limits
        };
        let directory = Directory::new("e".into(), Kinds::default(), limits, Vec::new());
        Bulk {
            text,
            message_bytes: 2 << 20,
            rights: Rights::open([">".parse().unwrap()]),
            publisher: Publisher(1),
            ingress: Ingress::new(Arc::new(directory)),
            clock: Clock::start(),
            lifecycle: Arc::new(Lifecycle::new(true)),
            metrics: Catalogue::new(1, "test", &LABELS).unwrap(),
        }
    }

    fn newest(bulk: &Bulk, topic: &str) -> Option<u64> {
        let cell = bulk.ingress.directory().find(topic);
        cell.map(|cell| cell.position().seq.0)
    }

    #[test]
    fn a_line_that_another_publisher_forestalled_ends_the_publication() {
        let text =
            b"{\"topic\":\"a\",\"data\":1}\n\n{\"topic\":\"b\",\"data\":1}\n{\"topic\":\"a\",\"data\":2}";
        let bulk = bulk(Bytes::from_static(text), 1);
        // This happens if the broker's last topic is made between the check and the publication.
        assert!(bulk.check().is_err());
        let (published, stopped) = bulk.publish(&[]);
        assert_eq!(published, 1, "it is charged for");
        let answer = stopped.unwrap_err();
        expect![[r#"409 Conflict: limit_exceeded: line 3: the broker holds its most topics (1); publish to an existing one or raise limits.topics; another publisher was faster; the 1 messages before it are published, it and what follows are not"#]]
        .assert_eq(&answer.to_string());
        assert_eq!(newest(&bulk, "a"), Some(1));
    }

    /// A line that publishes `levels` bids to the book `book.SYMBOL`.
    fn book_line(symbol: &str, levels: usize) -> String {
        let bids: Vec<String> = (1..=levels).map(|at| format!("[\"{at}\",\"1\"]")).collect();
        let bids = bids.join(",");
        format!(
            "{{\"topic\":\"book.{symbol}\",\"data\":{{\"symbol\":\"{symbol}\",\"bids\":[{bids}],\"time\":0}}}}\n"
        )
    }

    /// The body was published up to the line that did not fit, and the answer blamed another publisher.
    #[test]
    fn a_body_was_published_in_part_when_the_values_had_no_room_for_all() {
        let value = "x".repeat(1_000);
        let to = |topic: &str| format!("{{\"topic\":\"{topic}\",\"data\":\"{value}\"}}\n");
        let topics = |count: usize| (0..count).map(|at| to(&format!("t.{at}"))).collect::<String>();
        for (body, refused) in [
            (topics(8), None),
            (topics(9), Some("line 9: ")),
            // One value takes the place of another.
            (to("t.0").repeat(30), None),
            (topics(7) + &book_line("A", 10), None),
            (
                topics(7) + &book_line("A", 20) + &book_line("A", 90),
                Some("line 9: "),
            ),
            (book_line("A", 40) + &book_line("B", 40), None),
            (
                book_line("A", 80) + &book_line("B", 80) + &topics(1),
                Some("line "),
            ),
        ] {
            let limits = DirectoryLimits {
                value_bytes_max: 10_500,
                ..DirectoryLimits::default()
            };
            let bulk = bulk_within(body.into(), limits);
            let (published, ended) = bulk.run();
            match (ended, refused) {
                (Ok(()), None) => assert_eq!(published, split_lines(&bulk.text).count()),
                (Err(answer), Some(line)) => {
                    assert_eq!((published, bulk.ingress.directory().topic_count()), (0, 0));
                    let answer = answer.to_string();
                    assert!(
                        answer.contains(line) && answer.contains("limits.value_bytes"),
                        "{answer}"
                    );
                }
                (ended, refused) => panic!(
                    "{published} published, {ended:?} in place of {refused:?}, {} bytes are held",
                    bulk.ingress.directory().value_bytes()
                ),
            }
        }
    }

    /// Alternating lines of topic `trade.A` and changes of `book.B`, each at least `bytes` long.
    fn body(count: usize, bytes: usize) -> Bytes {
        let line = |at: usize| match at % 2 {
            0 => format!("{{\"topic\":\"trade.A\",\"data\":\"{}\"}}\n", "x".repeat(bytes)),
            _ => format!(
                "{{\"topic\":\"book.B\",\"data\":{{\"symbol\":\"B\",\"bids\":[[\"1\",\"{at}\"]],\"time\":0}}{}}}\n",
                " ".repeat(bytes)
            ),
        };
        (0..count).map(line).collect::<String>().into()
    }

    #[test]
    fn a_line_was_read_again_for_its_publication() {
        let mut bulk = bulk(body(8, 1), 10);
        let kept = bulk.check().expect("all is well");
        // A second read of the lines would find no message.
        bulk.text = "nonsense\n".repeat(8).into();
        let (published, stopped) = bulk.publish(&kept);
        assert!(stopped.is_ok() && published == 8, "{published} {stopped:?}");
        assert_eq!(
            (newest(&bulk, "trade.A"), newest(&bulk, "book.B")),
            (Some(4), Some(4))
        );
    }

    #[test]
    fn what_is_kept_of_a_long_body_is_bounded() {
        let bulk = bulk(body(16, 1 << 20), 10);
        let kept = bulk.check().expect("all is well");
        let bytes: usize = kept.iter().map(Ready::memory_bytes).sum();
        assert!(bytes <= KEPT_BYTES_MAX, "{bytes}");
        let lines: Vec<usize> = kept.iter().map(|ready| ready.line).collect();
        // All changes of the book are kept, and the other lines as long as there is room.
        assert_eq!(lines, [1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16]);
        let (published, stopped) = bulk.publish(&kept);
        assert!(stopped.is_ok() && published == 16, "{published} {stopped:?}");
        assert_eq!(
            (newest(&bulk, "trade.A"), newest(&bulk, "book.B")),
            (Some(8), Some(8))
        );
    }
}
