//! Endpoints for reading: the value of a topic, and the list of topics.
//!
//! Bounded: lists come in pages, and a large answer needs a place among the waiting answers. A list looks
//! at every topic of the broker, in steps between which the shard does its other work.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

use hyper::header::{CACHE_CONTROL, ETAG, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use tickwire_router::{Directory, Grant, TopicCell, TopicId};
use tickwire_wire::codec::DataOp;
use tickwire_wire::limits::{TOPICS_PAGE, TOPICS_PAGE_MAX};
use tickwire_wire::{Epoch, ErrorCode, Kind, Pattern, Refusal, Seq, Topic};

use super::context::Call;
use super::{ErrorResponse, Etag, Reply, UnreadQuery, reply, topic_of_segment};

/// The number of topics that a list looks at before other work has its turn.
const WALK_STEP: usize = 4_096;

/// `GET /v1/topics/{topic}`
pub(super) fn value(call: Call<'_>) -> Result<Reply, ErrorResponse> {
    let (context, headers) = (call.context, &call.head.headers);
    let (topic, cell) = existing(call)?;
    let publication = cell.snapshot().ok_or_else(|| no_such_topic(&topic))?;
    let etag = Etag::new(publication.lineage.epoch.clone(), publication.seq);
    let (mut response, tag) = if etag.is_named_by(headers) {
        let mut response = reply::whole(Response::default());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        let revalidate = HeaderValue::from_static("no-cache");
        response.headers_mut().insert(CACHE_CONTROL, revalidate);
        (response, etag.header_as_named(headers))
    } else {
        let value = publication.json(DataOp::Snapshot).to_vec();
        let value = call.requester.hold(&context.connection_limits, value)?;
        (reply::json_text(value), etag.header())
    };
    if let Some(tag) = tag {
        response.headers_mut().insert(ETAG, tag);
    }
    Ok(response)
}

/// `GET /v1/topics`
///
/// Lists only topics that the client may subscribe to; it does not reveal that others exist. The search costs the
/// client as much as subscribing to a wildcard.
pub(super) async fn list(call: Call<'_>) -> Result<Reply, ErrorResponse> {
    let (context, requester) = (call.context, call.requester);
    let wanted = WantedTopics::read(call.query)?;
    if wanted.pattern.as_topic().is_none() {
        requester.charge_visits(&context.connection_limits, context.directory.topic_count());
    }
    let visible = &call.admission.rights.subscribe;
    let listing = wanted.list(&context.directory, visible).await;
    let listing = requester.hold(&context.connection_limits, listing)?;
    Ok(reply::json_text(listing))
}

/// The topics that a request for a list asks for.
#[derive(Debug)]
pub(crate) struct WantedTopics {
    pattern: Pattern,
    after: Option<Topic>,
    limit: usize,
}

impl WantedTopics {
    /// The parameters of such a request.
    pub(crate) const PARAMETERS: &[&str] = &["match", "limit", "after"];

    /// Reads the query of a request.
    ///
    /// # Errors
    /// 400 if a parameter is wrong.
    pub(crate) fn read(query: UnreadQuery<'_>) -> Result<Self, ErrorResponse> {
        let query = query.read()?;
        let pattern = query.one("match")?.unwrap_or(">");
        let after = query.one("after")?.map(str::parse::<Topic>);
        Ok(Self {
            pattern: pattern.parse().map_err(Refusal::from)?,
            after: after.transpose().map_err(Refusal::from)?,
            limit: query.count("limit", TOPICS_PAGE, TOPICS_PAGE_MAX)?,
        })
    }

    /// The list as JSON, with topics in `visible` only.
    pub(crate) async fn list(&self, directory: &Directory, visible: &Grant) -> Vec<u8> {
        let limit = self.limit;
        let after = self.after.as_ref();
        let cells = first_by_name(directory, visible, &self.pattern, after, limit + 1).await;
        let next = (cells.len() > limit).then(|| cells[limit - 1].topic().as_str());
        let listed: Vec<_> = cells
            .iter()
            .take(limit)
            .map(|cell| (cell, cell.position()))
            .collect();
        let topics = listed
            .iter()
            .filter(|(_, at)| at.seq > Seq::ZERO)
            .map(|(cell, at)| Listed {
                topic: cell.topic(),
                kind: cell.kind(),
                epoch: &at.epoch,
                seq: at.seq,
                subscribers: cell.subscribers(),
            });
        reply::text_of(&Listing {
            topics: topics.collect(),
            next,
        })
    }
}

#[derive(Serialize)]
struct Listing<'a> {
    topics: Vec<Listed<'a>>,
    /// The last topic of this page, if more topics follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'a str>,
}

#[derive(Serialize)]
struct Listed<'a> {
    topic: &'a Topic,
    kind: Kind,
    epoch: &'a Epoch,
    seq: Seq,
    subscribers: u32,
}

/// A topic, ordered by its name.
struct ByName(Arc<TopicCell>);

impl Ord for ByName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.topic().cmp(other.0.topic())
    }
}

impl PartialOrd for ByName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for ByName {}

/// The first `count` topics after `after` that match `pattern`, by name.
async fn first_by_name(
    directory: &Directory,
    visible: &Grant,
    pattern: &Pattern,
    after: Option<&Topic>,
    count: usize,
) -> Vec<Arc<TopicCell>> {
    let wanted = |topic: &Topic| after.is_none_or(|after| topic > after) && visible.has(topic.as_str());
    if let Some(topic) = pattern.as_topic() {
        let found = directory.find(topic.as_str());
        return found.into_iter().filter(|cell| wanted(cell.topic())).collect();
    }
    // The largest name is on top, so that it is the first to be removed.
    let mut kept: BinaryHeap<ByName> = BinaryHeap::new();
    let mut from = Some(TopicId::default());
    while let Some(start) = from {
        from = directory.walk(start, WALK_STEP, |cell| {
            let topic = cell.topic();
            let fits = kept.len() < count || kept.peek().is_some_and(|top| topic < top.0.topic());
            if fits && pattern.matches(topic.as_str()) && wanted(topic) {
                kept.push(ByName(cell.clone()));
                if kept.len() > count {
                    kept.pop();
                }
            }
        });
        tokio::task::yield_now().await;
    }
    kept.into_sorted_vec()
        .into_iter()
        .map(|ByName(cell)| cell)
        .collect()
}

/// The topic in the path. It must exist, and the client must be allowed to subscribe to it.
pub(super) fn existing(call: Call<'_>) -> Result<(Topic, Arc<TopicCell>), ErrorResponse> {
    let topic = topic_of_segment(call.topic)?;
    call.admission.rights.check_subscribe(&topic.clone().into())?;
    let directory = &call.context.directory;
    let cell = directory
        .find(topic.as_str())
        .ok_or_else(|| no_such_topic(&topic))?;
    Ok((topic, cell))
}

/// The answer to a request for a topic that does not exist.
pub(crate) fn no_such_topic(topic: &Topic) -> ErrorResponse {
    let reason = format!("no such topic: nothing was published to {topic} yet, or it has ended");
    ErrorResponse::new(StatusCode::NOT_FOUND, Refusal::new(ErrorCode::BadTopic, reason))
}
