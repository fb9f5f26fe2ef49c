//! The servers that are compared: how each is started, and how to talk to it.
//!
//! Every peer is its own process on the loopback, started here and bound to a core. Every peer uses WebSocket, except
//! NATS where it is talked to over a connection of its own; what is sent over it is its [`Protocol`]: pure functions over bytes that keep no state between calls. A refusal of the
//! server becomes [`Inbound::fault`]. Nothing that comes in is ignored silently, except what a protocol sends by itself
//! (greetings, heartbeats).
//!
//! The caller that runs a protocol over a connection has to follow these rules:
//! - Send [`Protocol::greet`] right after the handshake. If [`Protocol::awaits_greeting`] is true, send nothing else
//!   until a message comes in with [`Inbound::greeted`]. Socket.IO closes connections that are faster.
//! - Call [`Protocol::subscribe`] once per connection with all its topics, since NATS numbers subscriptions in it.
//! - One inbound message holds any number of deliveries, and never a part of one. NATS puts everything that waits for a
//!   connection into one frame. For a slow reader the frame may grow to `max_pending`, 64 MiB. NATS divides such frames
//!   only for browsers, which it recognises by a `User-Agent` that begins with `Mozilla/`. So send no such header.

mod floor;
mod naive;
mod nats;
mod packages;
mod plain;
mod records;
mod selection;
mod server;
mod socketio;
mod sockudo;
mod tickwire;

use tickwire_wire::frame::Opcode;
use tickwire_wire::message::Control;
use tickwire_wire::{Codec, Mode};

use self::packages::Script;
use self::tickwire::{Build, Tickwire};
use crate::swarm::bare::Cut;
use crate::swarm::{Certificates, Interrupt, on_cores, own_cores};

pub(crate) use floor::serve as serve_floor;
pub(crate) use naive::serve as serve_naive;
pub(crate) use selection::{NamedBinary, Selection};
pub(crate) use server::Server;

/// Most bytes of topics in one subscribing message. The lowest limit of a message is Tickwire's, 64 KiB.
const SUBSCRIBE_BYTES_MAX: usize = 32 * 1024;

/// A server to compare, and how to talk to it.
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) protocol: &'static dyn Protocol,
    /// Whether it takes part if no servers are named.
    pub(crate) by_default: bool,
    launch: Launch,
}

#[derive(Clone, Copy)]
enum Launch {
    Tickwire(Build),
    /// A script for a runtime that comes from npm, or that needs packages from there.
    Script(Script),
    /// NATS, from the system's packages, talked to without WebSocket if it is `bare`.
    Nats {
        bare: bool,
    },
    /// Sockudo, which cargo installs.
    Sockudo,
    /// A command of this program.
    Own(&'static str),
}

impl Peer {
    /// A peer that takes part if no servers are named.
    const fn usual(name: &'static str, protocol: &'static dyn Protocol, launch: Launch) -> Self {
        Self {
            name,
            protocol,
            by_default: true,
            launch,
        }
    }

    /// A peer that takes part only if it is named.
    const fn named(name: &'static str, protocol: &'static dyn Protocol, launch: Launch) -> Self {
        Self {
            by_default: false,
            ..Self::usual(name, protocol, launch)
        }
    }

    /// Why [`start`] cannot start the peer, even if it `installs` what is missing; `None` if it can.
    pub(crate) fn missing(&self, installs: bool) -> Option<String> {
        match self.launch {
            Launch::Tickwire(build) => build.missing(),
            Launch::Script(script) => script.missing(installs),
            Launch::Nats { .. } => nats::missing(),
            Launch::Sockudo => sockudo::missing(),
            Launch::Own(_) => None,
        }
    }

    /// Whether it can use TLS.
    pub(crate) fn secures(&self) -> bool {
        match self.launch {
            Launch::Tickwire(_) | Launch::Script(_) | Launch::Sockudo => true,
            Launch::Nats { bare } => !bare,
            Launch::Own(server) => server == FLOOR,
        }
    }

    /// Whether `names` contains the peer or is empty. Every build of Tickwire also has the name `tickwire`.
    pub(crate) fn is_among(&self, names: &[String]) -> bool {
        let is_tickwire = matches!(self.launch, Launch::Tickwire(_));
        let is_it = |name: &String| name == self.name || (is_tickwire && name == TICKWIRE);
        names.is_empty() || names.iter().any(is_it)
    }
}

/// The command of the floor.
const FLOOR: &str = "floor-server";
/// The name of the default build of the broker. The names of other builds begin with it.
const TICKWIRE: &str = "tickwire";

/// The protocol for Tickwire, unless something else is measured.
const JSON: &Tickwire = &Tickwire {
    codec: Codec::Json,
    mode: Mode::Every,
};

/// The peers, Tickwire first. The last ones are servers that nobody would choose; they take part only if they are
/// named.
pub(crate) fn peers() -> &'static [Peer] {
    use nats::Nats;
    use packages::{SOCKET_IO, UWEBSOCKETS, WS};
    const DEFAULT: Build = Build {
        program: None,
        setting: None,
        shares_cores: false,
    };
    const PLAIN: Build = Build {
        setting: Some(("TICKWIRE_SOCKET__EGRESS", "plain")),
        ..DEFAULT
    };
    const TWO_SHARDS: Build = Build {
        setting: Some(("TICKWIRE_SHARDS", "2")),
        shares_cores: true,
        ..DEFAULT
    };
    const PEERS: &[Peer] = &[
        Peer::usual(TICKWIRE, JSON, Launch::Tickwire(DEFAULT)),
        Peer::usual("uwebsockets", &plain::Plain, Launch::Script(UWEBSOCKETS)),
        Peer::usual("nats", &Nats { bare: false }, Launch::Nats { bare: false }),
        Peer::usual("ws", &plain::Plain, Launch::Script(WS)),
        Peer::usual("socketio", &socketio::SocketIo, Launch::Script(SOCKET_IO)),
        Peer::usual("naive", &plain::Plain, Launch::Own("naive-server")),
        Peer::named(
            "uwebsockets-deflate",
            &plain::Plain,
            Launch::Script(UWEBSOCKETS.deflating()),
        ),
        Peer::named("ws-deflate", &plain::Plain, Launch::Script(WS.deflating())),
        Peer::named("uwebsockets-json", &plain::Json, Launch::Script(UWEBSOCKETS)),
        Peer::named("ws-json", &plain::Json, Launch::Script(WS)),
        Peer::named("nats-tcp", &Nats { bare: true }, Launch::Nats { bare: true }),
        Peer::named("sockudo", &sockudo::Sockudo, Launch::Sockudo),
        Peer::named("floor", &plain::Plain, Launch::Own(FLOOR)),
        Peer::named("tickwire-plain", JSON, Launch::Tickwire(PLAIN)),
        Peer::named("tickwire-2shards", JSON, Launch::Tickwire(TWO_SHARDS)),
    ];
    PEERS
}

/// The protocol for Tickwire in MessagePack.
pub(crate) fn packed() -> &'static dyn Protocol {
    &Tickwire {
        codec: Codec::MessagePack,
        mode: Mode::Every,
    }
}

/// What is said to Tickwire by who reads server-sent events.
pub(crate) fn events() -> &'static dyn Protocol {
    &tickwire::Events
}

/// The protocol for Tickwire in mode `conflate`.
pub(crate) fn newest() -> &'static dyn Protocol {
    &Tickwire {
        codec: Codec::Json,
        mode: Mode::Conflate,
    }
}

/// Starts `peer` on a free port of the loopback, bound to `core`, and waits until it accepts connections. `newest`
/// makes only the newest message of Tickwire's topics count; otherwise every message counts. It uses TLS if there are
/// `certificates`.
///
/// # Errors
/// When something that the peer needs is not installed, which the error names, or the peer does not start.
pub(crate) fn start(
    peer: &Peer,
    core: usize,
    newest: bool,
    certificates: Option<&Certificates>,
    interrupt: &Interrupt,
) -> anyhow::Result<Server> {
    let mut cores = vec![core];
    if let Launch::Tickwire(Build {
        shares_cores: true, ..
    }) = peer.launch
    {
        cores.extend(own_cores()?);
    }
    on_cores(&cores, || match peer.launch {
        Launch::Tickwire(build) => build.launch(newest, certificates, interrupt),
        Launch::Script(script) => script.launch(certificates),
        Launch::Nats { bare } => nats::launch(bare, certificates),
        Launch::Sockudo => sockudo::launch(certificates),
        Launch::Own(server) => Server::own(server, certificates),
    })
}

/// The topic and number of a delivery, if the protocol has them.
pub(crate) type Numbered<'m> = Option<(&'m [u8], u64)>;

/// Takes each delivered payload exactly as published.
pub(crate) type Delivered<'d> = &'d mut dyn FnMut(&[u8], Numbered<'_>);

/// What differs between the servers on the wire. All functions are pure and work on bytes.
pub(crate) trait Protocol: Sync {
    /// The path of the WebSocket endpoint, and the subprotocol to offer if there is one.
    fn endpoint(&self) -> (&'static str, Option<&'static str>);

    /// The path, with query, of a stream of events of these topics, by which subscribers get them instead of over a WebSocket.
    fn events(&self, _topics: &[String]) -> Option<String> {
        None
    }

    /// How the stream is cut into messages, if the server is talked to without WebSocket.
    fn bare(&self) -> Option<Cut> {
        None
    }

    /// The messages that a client sends right after the handshake, if any.
    fn greet(&self) -> Vec<Message> {
        Vec::new()
    }

    /// Whether the server must have answered the greeting, with [`Inbound::greeted`], before anything else is sent.
    fn awaits_greeting(&self) -> bool {
        false
    }

    /// The messages that subscribe a connection to these topics, whose names are like `bench.t17`. The server confirms
    /// each topic, see [`Inbound::confirmed`]. `connection` is what the server calls the connection in its greeting, see
    /// [`Inbound::connection`].
    fn subscribe(&self, topics: &[String], connection: &str) -> Vec<Message>;

    /// Whether only subscribers of a topic may publish to it. The publisher then subscribes to all topics, and the server
    /// does not send it what it has published itself.
    fn publishers_subscribe(&self) -> bool {
        false
    }

    /// Appends to `out` the message that publishes `payload` to `topic`. The payload is one JSON string in ASCII, with
    /// its quotes and without escapes, or a JSON object in ASCII.
    fn publish(&self, topic: &str, payload: &[u8], out: &mut Vec<u8>) -> Opcode;

    /// Whether numbers may be skipped, since only the newest message was asked for.
    fn skips(&self) -> bool {
        false
    }

    /// The payload of a message that is one delivery, if that can be read in a short way.
    fn delivery<'m>(&self, _message: &'m [u8]) -> Option<(&'m [u8], Numbered<'m>)> {
        None
    }

    /// Reads one whole inbound message, unless it is a [`Self::delivery`], and hands out its deliveries.
    fn inbound(&self, message: &[u8], delivered: Delivered<'_>) -> Inbound;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) opcode: Opcode,
    pub(crate) payload: Vec<u8>,
}

impl Message {
    fn text(payload: impl Into<Vec<u8>>) -> Self {
        Self {
            opcode: Opcode::Text,
            payload: payload.into(),
        }
    }
}

/// What an inbound message holds besides deliveries.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    pub(crate) confirmed: usize,
    /// Whether it is the server's answer to the greeting.
    pub(crate) greeted: bool,
    /// What the server calls the connection, if its greeting says so and subscriptions need it.
    pub(crate) connection: Option<String>,
    /// What must be sent back, such as the answer to a ping.
    pub(crate) answer: Option<Message>,
    /// Tickwire's `ack` without refusals, or its `gap`.
    pub(crate) told: Option<Control>,
    /// What the server refused, or why the message is not understood. The run is then invalid.
    pub(crate) fault: Option<String>,
}

impl Inbound {
    fn confirmed(confirmed: usize) -> Self {
        Self {
            confirmed,
            ..Self::default()
        }
    }

    fn greeted() -> Self {
        Self {
            greeted: true,
            ..Self::default()
        }
    }

    fn fault(why: impl Into<String>) -> Self {
        Self {
            fault: Some(why.into()),
            ..Self::default()
        }
    }

    fn not_understood(message: &[u8]) -> Self {
        const SHOWN_BYTES_MAX: usize = 200;
        let shown = String::from_utf8_lossy(&message[..message.len().min(SHOWN_BYTES_MAX)]);
        Self::fault(format!(
            "a message of {} bytes is not understood: {shown:?}",
            message.len()
        ))
    }
}

/// `topics` in groups of at most [`SUBSCRIBE_BYTES_MAX`], each with at least one topic.
fn runs(topics: &[String]) -> impl Iterator<Item = &[String]> {
    let mut rest = topics;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fitting = rest
            .iter()
            .take_while(|topic| {
                bytes += topic.len();
                bytes <= SUBSCRIBE_BYTES_MAX
            })
            .count();
        let (run, after) = rest.split_at(fitting.max(1).min(rest.len()));
        rest = after;
        (!run.is_empty()).then_some(run)
    })
}

/// The number that `digits` spell, if all of them are digits.
fn whole_number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn topics(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("bench.t{number}")).collect()
    }

    /// Messages in the form that a test compares, one per line.
    pub(super) fn sent(messages: &[Message]) -> String {
        let lines: Vec<String> = messages
            .iter()
            .map(|message| line(message.opcode, &message.payload))
            .collect();
        lines.join("\n")
    }

    fn line(opcode: Opcode, payload: &[u8]) -> String {
        format!("{opcode} {:?}", String::from_utf8_lossy(payload))
    }

    /// A publication in the form that a test compares. What is in the buffer before must stay.
    pub(super) fn published(protocol: &dyn Protocol, topic: &str, payload: &str) -> String {
        let mut out = b"kept".to_vec();
        let opcode = protocol.publish(topic, payload.as_bytes(), &mut out);
        line(opcode, out.strip_prefix(b"kept").expect("what was there stays"))
    }

    /// The content of an inbound message, one item per line.
    pub(super) fn inbound(protocol: &dyn Protocol, message: &[u8]) -> String {
        let mut lines = Vec::new();
        let mut delivered = |payload: &[u8], number: Numbered<'_>| {
            let number =
                number.map(|(topic, seq)| format!(" as {seq} of {}", String::from_utf8_lossy(topic)));
            let payload = String::from_utf8_lossy(payload);
            lines.push(format!("delivered {payload:?}{}", number.unwrap_or_default()));
        };
        let found = match protocol.delivery(message) {
            Some((payload, number)) => {
                delivered(payload, number);
                Inbound::default()
            }
            None => protocol.inbound(message, &mut delivered),
        };
        if found.greeted {
            lines.push("greeted".to_owned());
        }
        if found.confirmed > 0 {
            lines.push(format!("confirmed {}", found.confirmed));
        }
        lines.extend(found.connection.map(|name| format!("called {name}")));
        lines.extend(found.answer.map(|answer| format!("answer {}", sent(&[answer]))));
        lines.extend(found.fault.map(|fault| format!("fault {fault}")));
        lines.join("\n")
    }

    #[test]
    fn topics_in_runs() {
        let long = |count| vec!["x".repeat(SUBSCRIBE_BYTES_MAX / 4); count];
        for (count, lengths) in [(0, &[][..]), (1, &[1]), (4, &[4]), (5, &[4, 1]), (9, &[4, 4, 1])] {
            let topics = long(count);
            assert_eq!(
                runs(&topics).map(<[String]>::len).collect::<Vec<_>>(),
                lengths,
                "{count} topics"
            );
        }
        let longest = vec!["x".repeat(SUBSCRIBE_BYTES_MAX + 1); 2];
        assert_eq!(runs(&longest).count(), 2);
    }
}
