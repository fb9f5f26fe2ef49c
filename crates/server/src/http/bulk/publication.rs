//! The publication of a body that was checked.
//!
//! The shards are woken, and the messages counted, for a number of messages or bytes together. Waits for shards that have too
//! much to do.

use std::sync::{Arc, mpsc};

use hyper::StatusCode;
use tickwire_metrics::Metric;
use tickwire_router::{Arrival, Batch, Origin, OutletAnswer, PublishError, Published, Ticket};
use tickwire_wire::{ErrorCode, JsonSlice, Micros, Payload, Refusal};

use super::check::{AboutTopic, Checked};
use super::{Bulk, HandledLines};
use crate::http::{ErrorResponse, LineExtras, LineMessage, parse_line};

/// The number of messages after which shards are woken that have something to do, and it is seen whether they have too much.
const MESSAGES_PER_LOOK: usize = 256;
/// The bytes of messages after which that is done at the latest.
const BYTES_PER_LOOK: usize = 64 * 1024;
/// The number of messages that get the same time.
const MESSAGES_PER_TIME: usize = 16;
/// The kinds of topics.
const KINDS: usize = 3;

/// A publication that is under way.
struct UnderWay<'a> {
    bulk: &'a Bulk,
    batch: Batch<'a>,
    handled: HandledLines,
    now: Micros,
    /// The messages since the last look.
    since_look: Looked,
    /// What is known later of the messages, if they are numbered elsewhere.
    elsewhere: Option<Elsewhere>,
    /// The places of the first and of the newest message among those that are written before they enter.
    unwritten: Option<(Ticket, Ticket)>,
}

/// Messages that are numbered elsewhere.
struct Elsewhere {
    /// What became of each, in their order.
    settled: mpsc::Receiver<OutletAnswer>,
    /// Their lines.
    lines: Vec<usize>,
}

/// Messages that are counted together.
#[derive(Debug, Default)]
struct Looked {
    messages: usize,
    bytes: usize,
    by_kind: [u64; KINDS],
}

impl Bulk {
    /// Publishes every line. They have been checked. Returns as [`Self::run`].
    pub(super) fn publish(&self, checked: Checked<'_>) -> (HandledLines, Result<(), ErrorResponse>) {
        let (told, settled) = mpsc::channel();
        let teller = Arc::new(move |outcome: OutletAnswer| {
            // The thread that waits is there until it is told.
            let _heard = told.send(outcome);
        });
        let ingress = self.ingress.telling(teller);
        let elsewhere = ingress.is_some().then(|| Elsewhere {
            settled,
            lines: Vec::new(),
        });
        let mut under_way = UnderWay {
            bulk: self,
            elsewhere,
            batch: ingress
                .as_ref()
                .unwrap_or(&self.ingress)
                .batch(Origin::Bulk(self.publisher)),
            handled: HandledLines::default(),
            now: self.clock.now(),
            since_look: Looked::default(),
            unwritten: None,
        };
        let ended = under_way.publish(checked);
        // Also what was published before a line that was refused is in the answer.
        let written = under_way.written();
        (std::mem::take(&mut under_way.handled), ended.and(written))
    }
}

impl UnderWay<'_> {
    fn publish(&mut self, checked: Checked<'_>) -> Result<(), ErrorResponse> {
        let Checked {
            kept,
            rest,
            mut topics,
            ..
        } = checked;
        // A publisher of many short bodies waits, too.
        self.bulk.wait_for_shards();
        for ready in &kept {
            let about = &mut topics.about[ready.topic];
            let extras = ready.extras.as_deref();
            self.message((ready.line, ready.text), about, (ready.payload(), extras))?;
        }
        let bulk = self.bulk;
        for (line, text) in rest {
            let message = parse_line(line, text, bulk.message_bytes)?;
            let LineMessage {
                topic, data, extras, ..
            } = message;
            let place = topics.place(&topic, || topic.parse().map(|topic| AboutTopic::new(bulk, topic)));
            let place = place.map_err(|error| self.stopped_at(line, Refusal::from(error).into()))?;
            let payload = Payload::Json(data.to_text());
            self.message(
                (line, data),
                &mut topics.about[place],
                (payload, extras.as_deref()),
            )?;
        }
        Ok(())
    }

    /// Publishes the message of a line with the data `text`.
    fn message(
        &mut self,
        (line, text): (usize, JsonSlice<'_>),
        about: &mut AboutTopic<'_>,
        (payload, extras): (Payload, Option<&LineExtras>),
    ) -> Result<(), ErrorResponse> {
        let Looked { messages, bytes, .. } = self.since_look;
        if messages >= MESSAGES_PER_LOOK || bytes >= BYTES_PER_LOOK || self.bulk.ingress.has_much_unwritten()
        {
            self.look();
            self.bulk.wait_for_shards();
            self.now = self.bulk.clock.now();
        } else if messages.is_multiple_of(MESSAGES_PER_TIME) {
            self.now = self.bulk.clock.now();
        }
        self.since_look.messages += 1;
        let submitted = match extras {
            None => self
                .batch
                .submit(&about.topic, &mut about.cell, payload, self.now)
                .map(|place| (place, false)),
            Some(extras) => self.submit_with(about, payload, extras),
        };
        let submitted = submitted.map_err(|error| self.stopped_at(line, error))?;
        let (place, is_duplicate) = submitted;
        if let Some(elsewhere) = &mut self.elsewhere {
            elsewhere.lines.push(line);
        } else if let Some(ticket) = place.ticket {
            let (first, _) = *self.unwritten.get_or_insert((ticket, ticket));
            self.unwritten = Some((first, ticket));
        }
        if is_duplicate {
            self.handled.duplicates += 1;
            return Ok(());
        }
        self.handled.published += 1;
        self.since_look.bytes += text.as_str().len();
        self.since_look.by_kind[place.kind as usize] += 1;
        Ok(())
    }

    /// Publishes a message with a key or a time. Also returns whether its key is known, so that nothing was published.
    fn submit_with(
        &self,
        about: &mut AboutTopic<'_>,
        payload: Payload,
        extras: &LineExtras,
    ) -> Result<(Published, bool), PublishError> {
        let (batch, AboutTopic { topic, cell, .. }) = (&self.batch, about);
        let arrival = Arrival {
            copied: None,
            now: self.now,
            stamp: extras.ts,
            key: None,
            mark: None,
        };
        match &extras.key {
            None => Ok((batch.submit(topic, cell, payload, arrival)?, false)),
            Some(key) => batch.submit_once((topic, key), cell, payload, arrival),
        }
    }

    /// Waits until the messages that are written first can be seen by everybody.
    fn written(&mut self) -> Result<(), ErrorResponse> {
        // The shards have the messages meanwhile.
        self.look();
        if let Some(elsewhere) = self.elsewhere.take() {
            return self.settled(&elsewhere);
        }
        let Some((first, last)) = self.unwritten else {
            return Ok(());
        };
        let (told, written) = mpsc::channel();
        let tell = Box::new(move |outcome: Result<(), Refusal>| {
            // The thread that waits is there until it is told.
            let _heard = told.send(outcome);
        });
        self.bulk.ingress.when_written(last, tell);
        match written.recv() {
            Ok(Ok(())) if last.is_of_one_life(first) => Ok(()),
            _ => {
                let reason = "the journal could not be written; some of the lines may be published";
                let refusal = Refusal::new(ErrorCode::Internal, reason);
                Err(ErrorResponse::not_published(refusal, &self.bulk.ingress))
            }
        }
    }

    /// Waits until it is known what became of the messages that are numbered elsewhere.
    fn settled(&mut self, elsewhere: &Elsewhere) -> Result<(), ErrorResponse> {
        let mut refused = None;
        for line in &elsewhere.lines {
            let lost = |_| {
                Err(Refusal::new(
                    ErrorCode::Internal,
                    "the link to the cluster has ended",
                ))
            };
            let outcome = elsewhere.settled.recv().map(|settled| settled.outcome);
            match outcome.unwrap_or_else(lost) {
                Ok(placed) if placed.duplicate => {
                    self.handled.duplicates += 1;
                    self.handled.published -= 1;
                }
                Ok(_) => {}
                Err(refusal) => {
                    self.handled.published -= 1;
                    refused.get_or_insert((*line, refusal));
                }
            }
        }
        let Some((line, Refusal { code, reason })) = refused else {
            return Ok(());
        };
        let published = self.handled.published;
        let reason = format!("line {line}: {reason}; of all lines {published} are published");
        let refusal = Refusal::new(code, reason);
        Err(match code {
            ErrorCode::Internal => ErrorResponse::not_published(refusal, &self.bulk.ingress),
            _ => ErrorResponse::new(StatusCode::CONFLICT, refusal),
        })
    }

    /// The answer if a line was refused although it had passed the check.
    fn stopped_at(&self, line: usize, error: PublishError) -> ErrorResponse {
        let (refusal, published) = (Refusal::from(error), self.handled.published);
        let why = match refusal.code {
            ErrorCode::Internal => "",
            _ => "another publisher was faster; ",
        };
        let reason = format!(
            "line {line}: {}; {why}the {published} messages before it are published, it and what follows are not",
            refusal.reason
        );
        let refusal = Refusal::new(refusal.code, reason);
        match refusal.code {
            ErrorCode::Internal => ErrorResponse::not_published(refusal, &self.bulk.ingress),
            _ => ErrorResponse::new(StatusCode::CONFLICT, refusal),
        }
    }

    /// Wakes the shards that have something to do, and counts the messages.
    fn look(&mut self) {
        self.batch.wake();
        let Looked { bytes, by_kind, .. } = std::mem::take(&mut self.since_look);
        let metrics = &self.bulk.metrics;
        for (kind, count) in by_kind.into_iter().enumerate().filter(|(_, count)| *count > 0) {
            metrics.add(Metric::Publications, &[kind], count);
        }
        metrics.add(Metric::PublishedBytes, &[], bytes as u64);
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.look();
    }
}
