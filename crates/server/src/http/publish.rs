//! `POST /v1/topics/{topic}`: publishes the body, with a key only once.

use hyper::HeaderMap;
use hyper::body::Incoming;
use serde::Serialize;
use tickwire_metrics::Metric;
use tickwire_router::Origin;
use tickwire_wire::message::PublishKey;
use tickwire_wire::{Epoch, Payload, Refusal, Seq};

use super::coding::Coding;
use super::context::{Answer, HttpContext};
use super::requester::Requester;
use super::{ErrorResponse, Reply, body, reply, topic_of_segment};
use crate::auth::Admission;

/// The header with the key of a publication that may be repeated.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The topic and position of a published message.
#[derive(Serialize)]
struct Receipt<'a> {
    topic: &'a str,
    epoch: &'a Epoch,
    seq: Seq,
    /// Whether a message with the same key was published before, and this is its position.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
}

/// The key in the headers, if there is one. It may be in quotation marks, as the draft of the header's specification has it.
fn key(headers: &HeaderMap) -> Result<Option<PublishKey>, Refusal> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = keys.next() else {
        return Ok(None);
    };
    if keys.next().is_some() {
        return Err(Refusal::bad_request("more than one header Idempotency-Key"));
    }
    let text = key.to_str().ok().map(str::trim).filter(|text| text.is_ascii());
    let text = text.ok_or_else(|| {
        Refusal::bad_request("the header Idempotency-Key has other characters than visible ASCII")
    })?;
    let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    quoted.unwrap_or(text).parse().map(Some)
}

/// Publishes `body` to the topic in the path.
pub(super) async fn message(
    context: &HttpContext,
    (requester, admission): (&Requester, &Admission),
    (segment, headers): (&str, &HeaderMap),
    (body, coding): (&mut Incoming, Coding),
) -> Result<Reply, ErrorResponse> {
    let topic = topic_of_segment(segment)?;
    admission.rights.check_publish(topic.as_str())?;
    let key = key(headers)?;
    let limits = &context.limits;
    let text = body::read((body, coding), limits.message_bytes, limits.message_within).await?;
    let payload = Payload::from_json(&text)?;
    // The body took its time, so the rights are checked again.
    context.still(admission)?.check_publish(topic.as_str())?;
    let origin = Origin::Client(Some(admission.publisher(requester.client.ip())));
    let (ingress, now) = (&context.ingress, context.clock.now());
    let (teller, settled) = Answer::new();
    let elsewhere = ingress.telling(teller);
    let ingress = elsewhere.as_ref().unwrap_or(ingress);
    let published = match &key {
        None => ingress
            .submit(origin, &topic, payload, now)
            .map(|published| (published, false)),
        Some(key) => ingress.submit_once(origin, (&topic, key), payload, now),
    };
    let refused = |error| ErrorResponse::not_published(Refusal::from(error), ingress);
    let (mut published, mut duplicate) = published.map_err(refused)?;
    if elsewhere.is_some() {
        let placed = context.settled(settled).await?;
        (published.epoch, published.seq, duplicate) = (placed.epoch, placed.seq, placed.duplicate);
    } else if let Some(ticket) = published.ticket {
        context.written(ticket).await?;
    }
    if !duplicate {
        let metrics = &context.metrics;
        metrics.add(Metric::Publications, &[published.kind as usize], 1);
        metrics.add(Metric::PublishedBytes, &[], text.len() as u64);
    }
    Ok(reply::json(&Receipt {
        topic: topic.as_str(),
        epoch: &published.epoch,
        seq: published.seq,
        duplicate,
    }))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn keys_in_headers() {
        let read = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                let value = HeaderValue::from_bytes(value).expect("a header");
                headers.append(IDEMPOTENCY_KEY, value);
            }
            match key(&headers) {
                Ok(key) => key.map_or("none".to_owned(), |key| key.to_string()),
                Err(refusal) => refusal.reason,
            }
        };
        let long = [b'k'; 65];
        for (values, expected) in [
            (&[][..], "none"),
            (&[&b"8e03978e-40d5"[..]], "8e03978e-40d5"),
            (&[b"\"8e03978e-40d5\""], "8e03978e-40d5"),
            (&[b"\"half"], "\"half"),
            (&[&long[1..]], std::str::from_utf8(&long[1..]).expect("ASCII")),
            (&[&long], "a key of 65 bytes; it has 1 to 64"),
            (&[b""], "a key of 0 bytes; it has 1 to 64"),
            (&[b"\"\""], "a key of 0 bytes; it has 1 to 64"),
            (&[b"a", b"a"], "more than one header Idempotency-Key"),
            (
                &[b"\xe9"],
                "the header Idempotency-Key has other characters than visible ASCII",
            ),
        ] {
            assert_eq!(read(values), expected, "{values:?}");
        }
    }
}
