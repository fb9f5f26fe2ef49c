//! A client of server-sent events: how it asks for its streams, and how it reads them.
//!
//! With each stream it asks for one subscription, and it can say nothing more. When a stream has ended it asks for it
//! again, with the id of the last event that came, as browsers do. The oracle checks that the id names the right
//! positions, and then that the stream which is resumed from them has no hole.

use std::fmt::Write as _;

use serde_json::Value;
use tickwire_client::promise::Checker;
use tickwire_wire::message::{Position, Since, Subscribe, TopicRequest};
use tickwire_wire::sse::{Cursor, Framing};
use tickwire_wire::{ClientMessage, CloseCode, Codec, Control, Mode, RequestId, ServerMessage};

use super::{Client, Reading};
use crate::broken::{Broken, Rule, ensure};
use crate::describe::describe;
use crate::oracle::{Asked, From, Wanted};
use crate::topics;

/// The longest head of a chunk in bytes, without the end of its line.
const CHUNK_HEAD_MAX: usize = 16;

/// A request for a stream.
#[derive(Debug, Clone)]
pub(crate) struct StreamRequest {
    /// The id of its subscription.
    pub(crate) id: RequestId,
    /// Numbers of patterns.
    pub(crate) topics: Vec<usize>,
    pub(crate) wanted: Wanted,
    /// The client's positions, if it had a stream before.
    pub(crate) last_event_id: Option<String>,
}

impl StreamRequest {
    /// Whether the events have ids from which the stream can be resumed.
    pub(crate) fn is_resumable(&self) -> bool {
        is_resumable(&self.topics, self.wanted)
    }

    /// The subscription that is asked for, from the positions in `resumed`.
    pub(crate) fn subscribe(&self, resumed: Option<&Cursor>) -> Subscribe {
        let topics = self.topics.iter().enumerate();
        let topics = topics.map(|(at, pattern)| TopicRequest::Since {
            topic: topics::pattern(*pattern).to_owned(),
            since: resumed.map(|cursor| Since::One(cursor.0[at].clone())),
        });
        Subscribe {
            id: self.id,
            topics: topics.collect(),
            mode: self.wanted.mode,
            conflate_ms: self.wanted.conflate_ms,
            snapshot: self.wanted.snapshot,
        }
    }
}

fn is_resumable(patterns: &[usize], wanted: Wanted) -> bool {
    let plain = !patterns.iter().any(|pattern| topics::is_wildcard(*pattern));
    plain && wanted.mode != Some(Mode::Snapshot)
}

/// What a client knows of its streams.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// The last stream that it asked for.
    asked: Option<StreamRequest>,
    /// The id of the last event that had one.
    last_id: Option<Cursor>,
    /// The part of the body that is not a whole event yet.
    body: Vec<u8>,
    /// Whether the last chunk of the body came.
    ended: bool,
}

impl Events {
    pub(super) fn begin_connection(&mut self) {
        self.body.clear();
        self.ended = false;
    }

    pub(super) fn has_part(&self) -> bool {
        !self.body.is_empty()
    }
}

impl Client {
    /// Asks for a new stream. With `positions`, one for each topic, the stream is resumed from them.
    pub(crate) fn ask_stream(
        &mut self,
        topics: Vec<usize>,
        positions: Option<Vec<Position>>,
        wanted: Wanted,
    ) -> StreamRequest {
        self.checker.reconnected();
        let resumed = positions.filter(|_| is_resumable(&topics, wanted)).map(Cursor);
        self.ask(topics, wanted, resumed)
    }

    /// Asks for the last stream again, if there was one. With `resume` it goes on where the last event was.
    pub(crate) fn ask_again(&mut self, resume: bool) -> Option<StreamRequest> {
        let StreamRequest { topics, wanted, .. } = self.events.asked.take()?;
        let last_id = self.events.last_id.take();
        if resume {
            self.checker.reconnected();
        } else {
            self.checker = Checker::new();
        }
        Some(self.ask(topics, wanted, last_id.filter(|_| resume)))
    }

    fn ask(&mut self, topics: Vec<usize>, wanted: Wanted, resumed: Option<Cursor>) -> StreamRequest {
        self.begin_connection();
        let request = StreamRequest {
            id: RequestId(self.next_id()),
            topics,
            wanted: Wanted {
                snapshot: true,
                ..wanted
            },
            last_event_id: resumed.as_ref().map(Cursor::to_string),
        };
        let subscribe = request.subscribe(resumed.as_ref());
        self.checker.sent(&ClientMessage::Subscribe(subscribe));
        let from = |at: usize| Some(From::Topic(resumed.as_ref()?.0[at].clone()));
        let topics = request.topics.iter().enumerate();
        let asked = Asked::Subscribe {
            topics: topics.map(|(at, pattern)| (*pattern, from(at))).collect(),
            wanted: request.wanted,
        };
        self.oracle.ask(request.id.0, asked);
        // An event without an id leaves the last one as it is.
        self.events.last_id = resumed;
        self.events.asked = Some(request.clone());
        request
    }

    /// Reads the events that have come whole.
    pub(super) fn read_events(&mut self, framing: Framing, at: &mut Reading<'_>) -> Result<(), Broken> {
        match framing {
            Framing::Bare => self.events.body.append(&mut self.bytes),
            Framing::Chunked => self.read_chunks()?,
        }
        while let Some(end) = self.events.body.windows(2).position(|two| two == b"\n\n") {
            let event: Vec<u8> = self.events.body.drain(..end + 2).collect();
            let event = str::from_utf8(&event[..end]);
            let event = event.map_err(|error| Broken::new(Rule::Framing, error.to_string()))?;
            self.event(event, at)?;
        }
        ensure(!self.events.ended || self.closed.is_some(), Rule::Framing, || {
            "a stream ended without a close".to_owned()
        })
    }

    /// Takes the chunks that have come whole (RFC 9112 §7.1).
    fn read_chunks(&mut self) -> Result<(), Broken> {
        let broken = |what: &str| Broken::new(Rule::Framing, what);
        loop {
            let head = self.bytes.windows(2).position(|two| two == b"\r\n");
            let head_max = head.unwrap_or(self.bytes.len());
            ensure(head_max <= CHUNK_HEAD_MAX, Rule::Framing, || {
                "the head of a chunk is too long".to_owned()
            })?;
            let Some(head) = head else { return Ok(()) };
            let size = str::from_utf8(&self.bytes[..head]).ok();
            let size = size.and_then(|size| usize::from_str_radix(size, 16).ok());
            let begin = head + 2;
            let end = begin + size.ok_or_else(|| broken("a chunk begins with no size"))?;
            if self.bytes.len() < end + 2 {
                return Ok(());
            }
            if &self.bytes[end..end + 2] != b"\r\n" {
                return Err(broken("a chunk is longer than it says"));
            }
            if std::mem::replace(&mut self.events.ended, begin == end) {
                return Err(broken("a chunk came after the last"));
            }
            self.events.body.extend_from_slice(&self.bytes[begin..end]);
            self.bytes.drain(..end + 2);
        }
    }

    /// Reads an event (HTML Living Standard, "Server-sent events", §9.2.6).
    fn event(&mut self, event: &str, at: &mut Reading<'_>) -> Result<(), Broken> {
        let broken = |what: String| Broken::new(Rule::Framing, what);
        if let Some(code) = self.closed {
            return Err(broken(format!("{event:.60} came after the close with {code}")));
        }
        let (mut id, mut name, mut data) = (None, None, None::<String>);
        for line in event.split('\n') {
            match line.split_once(": ") {
                Some(("id", text)) => {
                    let cursor = text.parse::<Cursor>();
                    id = Some(cursor.map_err(|error| broken(format!("id {text:?}: {error}")))?);
                }
                Some(("event", text)) => name = Some(text),
                Some(("data", text)) => match &mut data {
                    Some(before) => *before += &format!("\n{text}"),
                    None => data = Some(text.to_owned()),
                },
                Some(("retry", text)) if text.parse::<u64>().is_ok() => {}
                _ => return Err(broken(format!("{line:?} is no line of an event"))),
            }
        }
        at.trace.number(event.len() as u64);
        let (Some(name), Some(data)) = (name, data) else {
            let is_setting = name.is_none() && id.is_none();
            return ensure(is_setting, Rule::Framing, || format!("{event:.60} is no event"));
        };
        let value: Value = serde_json::from_str(&data).map_err(|error| broken(error.to_string()))?;
        if name == "close" {
            let code = value["code"].as_u64().and_then(|code| u16::try_from(code).ok());
            let code = code.ok_or_else(|| broken(format!("a close with {data}")))?;
            return self.closed(CloseCode(code), value["reason"].as_str().unwrap_or_default(), at);
        }
        ensure(value["op"] == name, Rule::Framing, || {
            format!("{data:.60} has the name {name}")
        })?;
        let message = Codec::Json.decode_server(data.as_bytes());
        let message = message.map_err(|error| broken(error.to_string()))?;
        at.trace.line(|line| {
            write!(line, "    client {} gets {}", self.index, describe(&message))?;
            id.as_ref().map_or(Ok(()), |id| write!(line, " id {id}"))
        });
        self.message(&message, at)?;
        self.has_id(&message, id, at)
    }

    /// Checks that an event has an id if it has to, and that this is the right one.
    fn has_id(
        &mut self,
        message: &ServerMessage,
        id: Option<Cursor>,
        at: &mut Reading<'_>,
    ) -> Result<(), Broken> {
        let Some(asked) = &self.events.asked else {
            return Ok(());
        };
        let tells = match message {
            ServerMessage::Update { .. } | ServerMessage::Snapshot { .. } => true,
            ServerMessage::Control(Control::Ack { .. } | Control::Gap { .. }) => true,
            ServerMessage::Control(_) | ServerMessage::Unknown(_) => false,
        };
        let has = id.is_some();
        ensure(has == (tells && asked.is_resumable()), Rule::Ids, || {
            let what = describe(message);
            format!("{what} has {} id", if has { "an" } else { "no" })
        })?;
        if let Some(id) = id {
            self.oracle.told_id(&asked.topics, &id, at.truth)?;
            self.events.last_id = Some(id);
        }
        Ok(())
    }
}
