//! Messages that plain clients of NATS publish: the subject has the topic, and the body is the data as JSON.
//!
//! Each message comes to one of the brokers. It is answered, if its sender wants that, when the log has decided it.

use std::sync::Arc;

use async_nats::{Message, Subject};
use serde::Serialize;
use tickwire_router::{Directory, Ingress, Origin, OutletAnswer, Placed};
use tickwire_wire::message::PublishKey;
use tickwire_wire::{Epoch, Micros, Payload, Refusal, Seq, Topic};
use tokio::sync::mpsc::UnboundedSender;

/// The header with the key of a message that may be repeated.
const KEY: &str = "Nats-Msg-Id";

/// An answer that is to be sent.
#[derive(Debug)]
pub(super) struct PlainAnswer {
    pub(super) to: Subject,
    pub(super) body: Vec<u8>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Body<'a> {
    Placed {
        topic: &'a str,
        epoch: &'a Epoch,
        seq: Seq,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        duplicate: bool,
    },
    Refused {
        error: &'a Refusal,
    },
}

/// Hands a message in, whose topic is `topic`. Its answer comes by `answers`.
pub(super) fn publish(
    directory: &Arc<Directory>,
    (topic, message): (&str, Message),
    answers: &UnboundedSender<PlainAnswer>,
    now: Micros,
) {
    let (to, name, told) = (message.reply.clone(), topic.to_owned(), answers.clone());
    let tell = move |outcome: Result<Placed, Refusal>| {
        let Some(to) = to.clone() else {
            return;
        };
        let body = match &outcome {
            Ok(Placed {
                epoch,
                seq,
                duplicate,
            }) => Body::Placed {
                topic: &name,
                epoch,
                seq: *seq,
                duplicate: *duplicate,
            },
            Err(error) => Body::Refused { error },
        };
        // All parts of it are text and numbers.
        let body = serde_json::to_vec(&body).unwrap_or_default();
        // The link may have ended.
        let _unheard = told.send(PlainAnswer { to, body });
    };
    let refused = tell.clone();
    let ingress =
        Ingress::new(directory.clone()).telling(Arc::new(move |answer: OutletAnswer| tell(answer.outcome)));
    let handed_in = ingress.map(|ingress| hand_in(&ingress, topic, &message, now));
    if let Some(Err(refusal)) = handed_in {
        refused(Err(refusal));
    }
}

fn hand_in(ingress: &Ingress, topic: &str, message: &Message, now: Micros) -> Result<(), Refusal> {
    let topic: Topic = topic.parse()?;
    let payload = Payload::from_json(&message.payload)?;
    let key = message.headers.as_ref().and_then(|headers| headers.get(KEY));
    let key = key.map(|key| key.as_str().parse::<PublishKey>()).transpose()?;
    match &key {
        Some(key) => drop(ingress.submit_once(Origin::Client(None), (&topic, key), payload, now)?),
        None => drop(ingress.submit(Origin::Client(None), &topic, payload, now)?),
    }
    Ok(())
}
