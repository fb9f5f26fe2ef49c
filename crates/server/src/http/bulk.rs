//! `POST /v1/publish`: publishes all lines of the body or none.
//!
//! The whole body is checked before its first line is published: each line by itself, the changes of each book one
//! after the other on a copy of the book, and whether the topics and values have room for all of it. No topic is locked
//! meanwhile. So one thing can still go wrong afterwards: between the check and the publication another publisher fills a
//! book, or takes the room for topics or values. The answer then says at which line the publication stopped.
//!
//! A line is read once, in one pass. What is kept of it until it is published is where its topic and its data are; the data
//! is copied when it is published. Above a number of bytes, nothing more is kept, and further lines are read a second time.
//! A topic is looked up and its rights are checked with the first of its lines.
//!
//! The shards, the clock and the metrics are looked at for many messages together.
//!
//! Bounded: all bodies in memory together in their bytes, and the bodies that are being published in their number. A
//! whole body waits for its turn.
//!
//! Runs on a thread of its own, since a body may hold very many lines, and waits for shards that have too much to do. A
//! publication that has begun is finished, even if the client no longer waits for the answer.

mod check;
mod publication;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use serde::Serialize;
use tickwire_metrics::Catalogue;
use tickwire_router::{Ingress, Origin, Publisher, Rights};
use tickwire_wire::limits::BULK_BODY_BYTES_MAX;
use tickwire_wire::{ErrorCode, Refusal};

use super::coding::Coding;
use super::context::HttpContext;
use super::requester::Requester;
use super::{ErrorResponse, Reply, body, reply};
use crate::auth::Admission;
use crate::run::clock::Clock;
use crate::run::lifecycle::Lifecycle;

/// Time between two checks while it waits.
const LOOK_AGAIN: Duration = Duration::from_micros(500);

/// The answer.
#[derive(Serialize)]
struct Receipt {
    published: usize,
    /// The lines that were not published because their key was known.
    #[serde(skip_serializing_if = "is_zero")]
    duplicates: usize,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// The lines of a body that were handled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct HandledLines {
    published: usize,
    /// Lines whose key was known.
    duplicates: usize,
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
        Ok((
            HandledLines {
                published,
                duplicates,
            },
            stopped,
        )) => {
            // The first was paid for with the request. Those before a line that was refused are published, too.
            let more = (published + duplicates).saturating_sub(1);
            requester.charge_publishes(&context.connection_limits, admission, more);
            let receipt = Receipt {
                published,
                duplicates,
            };
            stopped.map(|()| reply::json(&receipt))
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

impl Bulk {
    /// Publishes everything. Returns the numbers of lines that were handled, and what ended it before the last.
    fn run(&self) -> (HandledLines, Result<(), ErrorResponse>) {
        match self.check() {
            Ok(checked) => self.publish(checked),
            Err(bad) => (HandledLines::default(), Err(bad.into())),
        }
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

#[cfg(test)]
mod tests;
