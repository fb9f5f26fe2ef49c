//! `GET /v1/topics/{topic}/history`: what a topic's history holds, from a number or a moment on.
//!
//! Messages that have left the histories in memory come from the archive, if there is one.
//!
//! As JSON it is a page, which is bounded. In the other formats it is an [`Export`]: the messages up to the newest one of
//! that moment, in chunks as the client takes them.

mod export;
mod older;
mod rows;

use std::num::NonZeroUsize;
use std::sync::Arc;

use hyper::Version;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use tickwire_router::{ArchivedNext, Publication, TopicCell};
use tickwire_wire::codec::DataOp;
use tickwire_wire::limits::{HISTORY_ANSWER_BYTES_MAX, HISTORY_PAGE_MAX};
use tickwire_wire::{Micros, Moment, Seq, Topic};

pub(crate) use self::export::Export;
use self::older::{OlderParts, Reach, unreadable};
use self::rows::Format;
use super::context::Call;
use super::topics::{existing, no_such_topic};
use super::{ErrorResponse, Query, Reply, reply};

/// The parameters of a request.
pub(super) const PARAMETERS: &[&str] = &["since", "from", "to", "limit", "format"];
/// The headers with the epoch of the numbers, the oldest number that the history holds, and the topic's newest one. A page
/// has them in its text, too.
pub(super) const HEADERS: [&str; 3] = ["tickwire-epoch", "tickwire-oldest", "tickwire-newest"];

/// The messages that a request asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    /// Only messages after this number.
    since: Option<Seq>,
    /// Only messages from this moment on.
    from: Option<Micros>,
    /// The moment at which they end; its own messages are not among them.
    to: Option<Micros>,
    limit: Option<usize>,
    format: Format,
}

impl Wanted {
    fn read(query: &Query) -> Result<Self, ErrorResponse> {
        let since = query.one_as::<u64>("since", "the number of a message, a whole number")?;
        let format = query.one_as::<Format>("format", Format::NAMES)?;
        let limit = query.one_as::<NonZeroUsize>("limit", "a whole number, at least 1")?;
        Ok(Self {
            since: since.map(Seq),
            from: moment(query, "from")?,
            to: moment(query, "to")?,
            limit: limit.map(NonZeroUsize::get),
            format: format.unwrap_or(Format::Json),
        })
    }

    /// The number before the first message that is wanted of `cell`.
    fn after(&self, cell: &TopicCell) -> Seq {
        let from = self
            .from
            .map(|moment| Seq(cell.first_at(moment).0.saturating_sub(1)));
        self.since.max(from).unwrap_or(Seq::ZERO)
    }
}

/// The moment in the parameter `name`, if there is one.
fn moment(query: &Query, name: &str) -> Result<Option<Micros>, ErrorResponse> {
    let Some(text) = query.one(name)? else {
        return Ok(None);
    };
    match text.parse() {
        Ok(Moment(moment)) => Ok(Some(moment)),
        Err(wrong) => Err(ErrorResponse::bad_request(format!(
            "{name} in the query: {wrong} (in a query a + is written %2B)"
        ))),
    }
}

/// Answers a request for a topic's history.
pub(super) async fn history(call: Call<'_>) -> Result<Reply, ErrorResponse> {
    let wanted = Wanted::read(&call.query.read()?)?;
    let (topic, cell) = existing(call)?;
    let reach = Reach::find(call.context.directory.archive(), &cell, &wanted).await?;
    match wanted.format {
        Format::Json => page(call, &wanted, (&topic, &cell), reach).await,
        Format::Ndjson | Format::Csv | Format::Arrow => export(call, &wanted, (&topic, cell), reach),
    }
}

/// Takes messages of `cell` from the archive, up to `limit`, and those that follow them in memory. They end about where a page
/// does.
async fn older_first(
    mut parts: OlderParts,
    cell: &Arc<TopicCell>,
    mut after: Seq,
    limit: usize,
) -> Result<Vec<Arc<Publication>>, ErrorResponse> {
    let (mut messages, mut bytes) = (Vec::new(), 0);
    while messages.len() < limit && bytes < HISTORY_ANSWER_BYTES_MAX {
        let last = Seq(after.0.saturating_add(limit as u64));
        let Some(part) = parts.next(cell, (after, last)).await else {
            let had = messages.len();
            if cell.read_after(after, limit - had, &mut messages).gap.is_none() {
                break;
            }
            messages.truncate(had); // the history has let go of some meanwhile
            continue;
        };
        let mut part = part.map_err(|error| unreadable(&error))?;
        loop {
            match part.take() {
                ArchivedNext::Message(message) => {
                    bytes += message.json(DataOp::Update).len();
                    messages.push(message);
                }
                ArchivedNext::Missing(_) => {}
                ArchivedNext::End => break,
            }
        }
        after = part.through();
    }
    messages.truncate(limit);
    Ok(messages)
}

/// A page as JSON.
async fn page(
    call: Call<'_>,
    wanted: &Wanted,
    (topic, cell): (&Topic, &Arc<TopicCell>),
    reach: Reach,
) -> Result<Reply, ErrorResponse> {
    let context = call.context;
    let usual = context.limits.history_page.min(HISTORY_PAGE_MAX);
    let limit = wanted.limit.unwrap_or(usual).min(HISTORY_PAGE_MAX);
    let mut page = cell.history(reach.after, limit);
    let oldest = reach.oldest.ok_or_else(|| no_such_topic(topic))?;
    if let Some(archive) = reach.archive {
        page.messages = older_first(OlderParts::new(archive), cell, reach.after, limit).await?;
    }
    let mut body = format!(
        "{{\"topic\":\"{topic}\",\"epoch\":\"{}\",\"oldest\":{oldest},\"newest\":{},\"messages\":[",
        page.epoch, page.newest
    )
    .into_bytes();
    let ends_before = |ts: Micros| wanted.to.is_none_or(|to| ts < to);
    let messages = page.messages.iter().take_while(|message| ends_before(message.ts));
    for (index, publication) in messages.enumerate() {
        let update = publication.json(DataOp::Update);
        // At least one message is returned, whatever its size, so that a reader makes progress.
        if index > 0 && body.len() + update.len() > HISTORY_ANSWER_BYTES_MAX {
            break;
        }
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(update);
    }
    body.extend_from_slice(b"]}");
    let body = call.requester.hold(&context.connection_limits, body)?;
    let mut answer = reply::json_text(body);
    tell_ends(answer.headers_mut(), &[&page.epoch, &oldest, &page.newest]);
    Ok(answer)
}

/// The messages in another format, in chunks.
fn export(
    call: Call<'_>,
    wanted: &Wanted,
    (topic, cell): (&Topic, Arc<TopicCell>),
    Reach {
        after,
        oldest,
        archive,
    }: Reach,
) -> Result<Reply, ErrorResponse> {
    if call.head.version == Version::HTTP_10 && wanted.format != Format::Ndjson {
        let reason =
            "format: a table needs HTTP/1.1, by which a client sees whether it is whole; ask for ndjson";
        return Err(ErrorResponse::bad_request(reason));
    }
    let mut ends = cell.history(after, export::BATCH);
    let oldest = oldest.ok_or_else(|| no_such_topic(topic))?;
    let bytes = match &archive {
        None => export::EXPORT_BYTES,
        Some(_) => {
            ends.messages.clear(); // older ones may come before them
            export::OLDER_EXPORT_BYTES
        }
    };
    // The export names a gap if messages were asked for by their number and the format can name it. Otherwise it
    // begins with the oldest message, whose number is in the head.
    let tells = wanted.since.is_some() && wanted.from.is_none() && wanted.format == Format::Ndjson;
    let after = if tells {
        after
    } else {
        after.max(Seq(oldest.0.saturating_sub(1)))
    };
    let held = call
        .requester
        .hold_export(&call.context.connection_limits, bytes)?;
    let export = Export::new(export::Plan {
        cell,
        after,
        first: ends.messages,
        older: archive.map(OlderParts::new),
        last: ends.newest,
        to: wanted.to,
        limit: wanted.limit.unwrap_or(usize::MAX),
        format: wanted.format,
        held,
    })
    .map_err(|error| ErrorResponse::fault(&error.to_string()))?;
    let mut answer = reply::export(export, wanted.format.media_type());
    tell_ends(answer.headers_mut(), &[&ends.epoch, &oldest, &ends.newest]);
    Ok(answer)
}

/// Puts the values of [`HEADERS`] into the head of an answer.
fn tell_ends(headers: &mut HeaderMap, values: &[&dyn std::fmt::Display; 3]) {
    for (name, value) in HEADERS.into_iter().zip(values) {
        // Epochs are letters and digits.
        if let Ok(value) = HeaderValue::from_str(&value.to_string()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}
