//! The servers that are compared: how each is started, and how one talks to it.
//!
//! Every peer is a process of its own on the loopback, started here and bound to a core, and every peer speaks
//! WebSocket; what is said over it is its [`Protocol`], pure functions over bytes that keep no state between calls. A
//! server that refuses something says so in [`Inbound::fault`]; nothing that comes in is passed over silently, except
//! what a protocol sends by itself (greetings, heartbeats).
//!
//! For whoever drives a protocol over a connection:
//! - Send [`Protocol::greet`] right after the handshake. When [`Protocol::awaits_greeting`] is true, hold everything else
//!   back until a message comes in with [`Inbound::greeted`]; Socket.IO closes connections that are quicker.
//! - Call [`Protocol::subscribe`] once per connection, with all of its topics: NATS numbers subscriptions in it.
//! - One inbound message holds any number of deliveries, and never part of one. NATS puts everything that waits for a
//!   connection into one frame, which may grow to its `max_pending` of 64 MiB when the reader is slow; it cuts such
//!   frames up for browsers only, which it knows by a `User-Agent` that begins with `Mozilla/`. So offer none.

mod floor;
mod naive;
mod nats;
mod packages;
mod plain;
mod selection;
mod server;
mod socketio;
mod tickwire;

use tickwire_wire::frame::Opcode;
use tickwire_wire::message::Control;
use tickwire_wire::{Codec, Mode};

use self::packages::Script;
use self::tickwire::{Build, Tickwire};
use crate::swarm::interrupt::Interrupt;
use crate::swarm::process::{on_cores, own_cores};

pub(crate) use floor::serve as serve_floor;
pub(crate) use naive::serve as serve_naive;
pub(crate) use selection::{NamedBinary, Selection};
pub(crate) use server::Server;

/// Most bytes of topics in one subscribing message; the lowest limit on a message is Tickwire's, 64 KiB.
const SUBSCRIBE_BYTES_MAX: usize = 32 * 1024;

/// A server under test and how to talk to it.
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    /// Its name, of which there is one.
    pub(crate) name: &'static str,
    /// What is said over its WebSocket.
    pub(crate) protocol: &'static dyn Protocol,
    /// Whether it takes part where nobody names it.
    pub(crate) by_default: bool,
    launch: Launch,
}

/// How a peer is started.
#[derive(Clone, Copy)]
enum Launch {
    /// A build of the broker.
    Tickwire(Build),
    /// A script of a runtime that comes from npm, or needs packages from there.
    Script(Script),
    /// NATS, from the system's packages.
    Nats,
    /// A command of this program.
    Own(&'static str),
}

impl Peer {
    /// One that takes part where nobody names it.
    const fn usual(name: &'static str, protocol: &'static dyn Protocol, launch: Launch) -> Self {
        Self {
            name,
            protocol,
            by_default: true,
            launch,
        }
    }

    /// One that takes part only where it is named.
    const fn named(name: &'static str, protocol: &'static dyn Protocol, launch: Launch) -> Self {
        Self {
            by_default: false,
            ..Self::usual(name, protocol, launch)
        }
    }

    /// Why it cannot be started without installing anything, if it cannot.
    pub(crate) fn missing(&self) -> Option<String> {
        self.missing_after(Install::Never)
    }

    /// Why [`start`] cannot start it, if it cannot even install what is missing.
    pub(crate) fn unavailable(&self) -> Option<String> {
        self.missing_after(Install::IfPossible)
    }

    fn missing_after(&self, install: Install) -> Option<String> {
        match self.launch {
            Launch::Tickwire(build) => build.missing(),
            Launch::Script(script) => script.missing(install),
            Launch::Nats => nats::missing(),
            Launch::Own(_) => None,
        }
    }

    /// Whether it is one of these, or they are none. Every build of Tickwire is `tickwire`.
    pub(crate) fn is_among(&self, names: &[String]) -> bool {
        let is_tickwire = matches!(self.launch, Launch::Tickwire(_));
        let is_it = |name: &String| name == self.name || (is_tickwire && name == TICKWIRE);
        names.is_empty() || names.iter().any(is_it)
    }
}

/// Whether npm packages that are missing are installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Install {
    IfPossible,
    Never,
}

/// The name of the broker as it is by default, which the names of its other builds begin with.
const TICKWIRE: &str = "tickwire";

/// What is said to Tickwire, unless something else is measured.
const JSON: &Tickwire = &Tickwire {
    codec: Codec::Json,
    mode: Mode::Every,
};

/// The peers, Tickwire first. The last few are no servers that anyone would choose, and take part only where they are named.
pub(crate) fn peers() -> &'static [Peer] {
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
        Peer::usual("nats", &nats::Nats, Launch::Nats),
        Peer::usual("ws", &plain::Plain, Launch::Script(WS)),
        Peer::usual("socketio", &socketio::SocketIo, Launch::Script(SOCKET_IO)),
        Peer::usual("naive", &plain::Plain, Launch::Own("naive-server")),
        Peer::named(
            "uwebsockets-deflate",
            &plain::Plain,
            Launch::Script(UWEBSOCKETS.deflating()),
        ),
        Peer::named("ws-deflate", &plain::Plain, Launch::Script(WS.deflating())),
        Peer::named("floor", &plain::Plain, Launch::Own("floor-server")),
        Peer::named("tickwire-plain", JSON, Launch::Tickwire(PLAIN)),
        Peer::named("tickwire-2shards", JSON, Launch::Tickwire(TWO_SHARDS)),
    ];
    PEERS
}

/// What is said to Tickwire in MessagePack.
pub(crate) fn packed() -> &'static dyn Protocol {
    &Tickwire {
        codec: Codec::MessagePack,
        mode: Mode::Every,
    }
}

/// What is said to Tickwire by who wants the newest of each topic.
pub(crate) fn newest() -> &'static dyn Protocol {
    &Tickwire {
        codec: Codec::Json,
        mode: Mode::Conflate,
    }
}

/// Starts `peer` on a free port of the loopback, bound to `core`, and waits until it accepts connections. Tickwire's
/// topics are such that only the newest message counts where `newest` says so, else such that all do.
///
/// # Errors
/// When something that it needs is not installed, naming it, or when it does not start.
pub(crate) fn start(peer: &Peer, core: usize, newest: bool, interrupt: &Interrupt) -> anyhow::Result<Server> {
    let mut cores = vec![core];
    if let Launch::Tickwire(Build {
        shares_cores: true, ..
    }) = peer.launch
    {
        cores.extend(own_cores()?);
    }
    on_cores(&cores, || match peer.launch {
        Launch::Tickwire(build) => build.launch(newest, interrupt),
        Launch::Script(script) => script.launch(),
        Launch::Nats => nats::launch(),
        Launch::Own(server) => Server::own(server),
    })
}

/// What takes each delivered payload, exactly as published, with its topic and number where the protocol carries them.
pub(crate) type Delivered<'d> = &'d mut dyn FnMut(&[u8], Option<(&[u8], u64)>);

/// What differs between the servers on the wire. All are pure functions over bytes.
pub(crate) trait Protocol: Sync {
    /// Path of the WebSocket endpoint, and the subprotocol to offer if any.
    fn endpoint(&self) -> (&'static str, Option<&'static str>);

    /// What a client sends right after the handshake; may be nothing.
    fn greet(&self) -> Vec<Message> {
        Vec::new()
    }

    /// Whether the server must have answered the greeting, with [`Inbound::greeted`], before anything else is sent.
    fn awaits_greeting(&self) -> bool {
        false
    }

    /// What subscribes a connection to these topics, whose names are like `bench.t17`. Each is confirmed, see
    /// [`Inbound::confirmed`].
    fn subscribe(&self, topics: &[String]) -> Vec<Message>;

    /// Appends to `out` the message that publishes `payload` to `topic`. The payload is ASCII and one JSON string with its
    /// quotes and no escapes.
    fn publish(&self, topic: &str, payload: &[u8], out: &mut Vec<u8>) -> Opcode;

    /// Whether numbers may be skipped, since only the newest was asked for.
    fn skips(&self) -> bool {
        false
    }

    /// Looks through one whole inbound message and hands on what it delivers.
    fn inbound(&self, message: &[u8], delivered: Delivered<'_>) -> Inbound;
}

/// A WebSocket message to send.
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
    /// Subscriptions that it confirms.
    pub(crate) confirmed: usize,
    /// Whether it is the server's answer to the greeting.
    pub(crate) greeted: bool,
    /// What must be sent back, like the answer to a ping.
    pub(crate) answer: Option<Message>,
    /// Tickwire's `ack` without refusals, or its `gap`.
    pub(crate) told: Option<Control>,
    /// What the server refused, or why the message is not understood. The run is not valid then.
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

    fn answer(answer: Message) -> Self {
        Self {
            answer: Some(answer),
            ..Self::default()
        }
    }

    fn fault(why: impl Into<String>) -> Self {
        Self {
            fault: Some(why.into()),
            ..Self::default()
        }
    }

    /// The fault of a message that is none of its protocol.
    fn not_understood(message: &[u8]) -> Self {
        const SHOWN_BYTES_MAX: usize = 200;
        let shown = String::from_utf8_lossy(&message[..message.len().min(SHOWN_BYTES_MAX)]);
        Self::fault(format!(
            "a message of {} bytes is not understood: {shown:?}",
            message.len()
        ))
    }
}

/// `topics` in runs of at most [`SUBSCRIBE_BYTES_MAX`], each of at least one topic.
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

/// The number that `digits` are, all of them.
fn whole_number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many topics as the benchmarks name them.
    pub(super) fn topics(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("bench.t{number}")).collect()
    }

    /// Messages as a test compares them, one a line.
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

    /// A publication as a test compares it; what is in the buffer already must stay.
    pub(super) fn published(protocol: &dyn Protocol, topic: &str, payload: &str) -> String {
        let mut out = b"kept".to_vec();
        let opcode = protocol.publish(topic, payload.as_bytes(), &mut out);
        line(opcode, out.strip_prefix(b"kept").expect("what was there stays"))
    }

    /// What is found in an inbound message, one thing a line.
    pub(super) fn inbound(protocol: &dyn Protocol, message: &[u8]) -> String {
        let mut lines = Vec::new();
        let found = protocol.inbound(message, &mut |payload, number| {
            let number =
                number.map(|(topic, seq)| format!(" as {seq} of {}", String::from_utf8_lossy(topic)));
            let payload = String::from_utf8_lossy(payload);
            lines.push(format!("delivered {payload:?}{}", number.unwrap_or_default()));
        });
        if found.greeted {
            lines.push("greeted".to_owned());
        }
        if found.confirmed > 0 {
            lines.push(format!("confirmed {}", found.confirmed));
        }
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
