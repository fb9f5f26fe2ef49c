//! The requests of clients, and what the broker's side notes while the cycle handles them.
//!
//! Each request leaves a note on its [`Link`] of what its answer must be like, so that the client can check it.

use std::collections::BTreeMap;

use tickwire_router::{SessionId, Shard};
use tickwire_wire::frame::Event;
use tickwire_wire::message::{Position, Positions};
use tickwire_wire::{ClientMessage, Codec, Micros};

use crate::link::{Due, Handled, Link, Said, Wide};
use crate::topics::{self, NAMES};
use crate::truth::Truth;

/// A frame or message of a client is about to be handled: records what its answer must be like.
pub(crate) fn hears(shard: &Shard, link: &mut Link, id: SessionId, event: &Event<'_>, now: Micros) {
    match event {
        Event::Message { payload, .. } => {
            let request = link.codec.decode_request(payload);
            link.requested |= shard.is_open(id);
            link.under_way = None;
            link.said = None;
            match &request {
                Ok(message @ ClientMessage::Publish { topic, data, key, .. }) => {
                    let mut text = Vec::new();
                    data.write_json(&mut text);
                    link.said = topics::find(topic).map(|topic| Said {
                        request: id_of(message),
                        topic,
                        text,
                        key: key.clone(),
                        at: now,
                    });
                }
                Ok(message) => {
                    let request = id_of(message);
                    // An answer that comes after one which keeps its place keeps its own.
                    let waits = shard.outbox(id).is_some_and(|outbox| outbox.answer_bytes() > 0);
                    if matches!(message, ClientMessage::Ping { .. }) {
                        link.pings.push((request, now));
                        if !waits {
                            due(shard, link, id, request);
                        }
                    }
                    if matches!(message, ClientMessage::Unsubscribe { .. }) {
                        link.owed = 0;
                        link.full_since = None;
                    }
                    link.under_way = Some(request);
                }
                Err(_) => {}
            }
        }
        Event::Ping(payload) => {
            let payload: &[u8] = payload;
            let number = payload.try_into().map_or(0, u64::from_be_bytes);
            due(shard, link, id, number);
        }
        Event::Pong(_) | Event::Close { .. } => {}
    }
}

/// Records the newest numbers when the broker handled a request, or a piece of it.
pub(crate) fn handled(shard: &Shard, link: &mut Link, truth: &mut Truth, id: SessionId) {
    let (done, heads) = (shard.unfinished(id), truth.heads());
    if let Some(request) = link.under_way {
        let topics = done.unwrap_or(usize::MAX);
        let before = link.handled_topics.replace(topics).unwrap_or(0);
        let first = link
            .wide
            .take_if(|_| topics > before)
            .map(|wide| wide.heads(&heads));
        link.handled.push(Handled {
            id: request,
            topics,
            heads,
            first,
            duplicate_of: None,
        });
        if let Some(from) = shard.seen_to(id) {
            let wide = link.wide.get_or_insert(Wide {
                decided: heads,
                seen: [None; NAMES.len()],
            });
            for (topic, seen) in wide.seen.iter_mut().enumerate() {
                let cell = shard.directory().find(topics::name(topic));
                if cell.is_some_and(|cell| cell.id() < from) {
                    seen.get_or_insert(heads[topic]);
                }
            }
        }
    }
    if done.is_none() {
        link.under_way = None;
        link.wide = None;
        link.handled_topics = None;
    }
    if let Some(said) = link.said.take() {
        let duplicate_of = truth.first_with_key(&said);
        let is_published = truth.broker_head(said.topic) > truth.head(said.topic);
        if is_published {
            truth.said(&said);
        }
        if is_published || duplicate_of.is_some() {
            link.handled.push(Handled {
                id: said.request,
                topics: usize::MAX,
                heads: truth.heads(),
                first: None,
                duplicate_of,
            });
        }
    }
}

/// The next answer may come after a begun frame and other answers, but not after market data.
fn due(shard: &Shard, link: &mut Link, id: SessionId, number: u64) {
    let Some(outbox) = shard.outbox(id) else { return };
    let begun = outbox.waiting().next().map_or(0, |first| first.bytes.len());
    let begins_by = link.sent + (begun + outbox.control_bytes()) as u64;
    link.due.push(Due {
        id: number,
        begins_by,
    });
}

fn id_of(message: &ClientMessage) -> u64 {
    match message {
        ClientMessage::Subscribe(subscribe) => subscribe.id.0,
        ClientMessage::Unsubscribe { id, .. }
        | ClientMessage::Positions { id, .. }
        | ClientMessage::Resync { id, .. }
        | ClientMessage::Auth { id, .. } => id.0,
        ClientMessage::Publish { id, .. } | ClientMessage::Ping { id } => id.map_or(0, |id| id.0),
    }
}

/// Encodes a request for a text or binary message.
pub(crate) fn encode(codec: Codec, message: &ClientMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec.encode_request(message, &mut bytes);
    bytes
}

/// The positions grouped by lineage, as they are sent.
pub(crate) fn by_lineage(positions: &[(usize, Position)]) -> Vec<Positions> {
    let mut lineages: Vec<Positions> = Vec::new();
    for (topic, Position { epoch, seq }) in positions {
        let known = lineages.iter().position(|lineage| lineage.epoch == *epoch);
        let index = known.unwrap_or_else(|| {
            lineages.push(Positions {
                epoch: epoch.clone(),
                seqs: BTreeMap::new(),
            });
            lineages.len() - 1
        });
        lineages[index].seqs.insert(topics::name(*topic).to_owned(), *seq);
    }
    lineages
}
