//! `POST /v1/topics/{topic}`: publishes the body.

use hyper::body::Incoming;
use serde::Serialize;
use tickwire_metrics::Metric;
use tickwire_router::Origin;
use tickwire_wire::{Epoch, Payload, Refusal, Seq};

use super::coding::Coding;
use super::context::HttpContext;
use super::requester::Requester;
use super::{ErrorResponse, Reply, body, reply, topic_of_segment};
use crate::auth::Admission;

/// The topic and position of a published message.
#[derive(Serialize)]
struct Receipt<'a> {
    topic: &'a str,
    epoch: &'a Epoch,
    seq: Seq,
}

/// Publishes `body` to the topic in the path.
pub(super) async fn message(
    context: &HttpContext,
    (requester, admission): (&Requester, &Admission),
    segment: &str,
    (body, coding): (&mut Incoming, Coding),
) -> Result<Reply, ErrorResponse> {
    let topic = topic_of_segment(segment)?;
    admission.rights.check_publish(topic.as_str())?;
    let limits = &context.limits;
    let text = body::read((body, coding), limits.message_bytes, limits.message_within).await?;
    let payload = Payload::from_json(&text)?;
    // The body took its time, so the rights are checked again.
    context.still(admission)?.check_publish(topic.as_str())?;
    let origin = Origin::Client(Some(admission.publisher(requester.client.ip())));
    let published = context
        .ingress
        .submit(origin, &topic, payload, context.clock.now())
        .map_err(Refusal::from)?;
    if let Some(ticket) = published.ticket {
        context.written(ticket).await?;
    }
    let metrics = &context.metrics;
    metrics.add(Metric::Publications, &[published.kind as usize], 1);
    metrics.add(Metric::PublishedBytes, &[], text.len() as u64);
    Ok(reply::json(&Receipt {
        topic: topic.as_str(),
        epoch: &published.epoch,
        seq: published.seq,
    }))
}
