//! The events of a simulated world.
//!
//! An operation that makes no sense at its place does nothing. So any operation can be left out of a failing run to
//! make it shorter.

use std::fmt;

use tickwire_wire::{Kind, Mode};

use crate::topics;

/// The position from which a subscription resumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// This many messages before the newest.
    Behind(u64),
    /// A number that does not exist yet.
    Ahead,
    /// A position of another lineage.
    OtherEpoch,
    /// The client's own position.
    Own,
    /// The stored messages from so many milliseconds ago on.
    Ago(u64),
}

/// How a client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// It reads everything.
    Eager,
    /// It reads this many bytes at a time.
    Trickle(usize),
    /// It reads nothing.
    Stalled,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// A client connects. With `resume`, it resumes its subscriptions.
    Connect {
        /// Which client.
        client: usize,
        /// Whether it resumes its subscriptions.
        resume: bool,
        /// Whether it sends the positions of its patterns' topics ahead.
        ahead: bool,
    },
    /// A connection breaks.
    Lose {
        /// Which client.
        client: usize,
        /// Whether the client still reads what was sent.
        drained: bool,
    },
    /// A client sends a close frame.
    Leave {
        /// Which client.
        client: usize,
    },
    /// A client sends a `subscribe`.
    Subscribe {
        /// Which client.
        client: usize,
        /// Numbers of patterns, with the position to resume from.
        topics: Vec<(usize, Option<Since>)>,
        /// The mode of the request.
        mode: Option<Mode>,
        /// The `conflate_ms` of the request.
        conflate_ms: Option<u32>,
        /// Whether a snapshot comes first.
        snapshot: bool,
    },
    /// A client sends a `positions`.
    Positions {
        /// Which client.
        client: usize,
        /// Topics, with the position to resume from.
        topics: Vec<(usize, Since)>,
    },
    /// A client sends an `unsubscribe`.
    Unsubscribe {
        /// Which client.
        client: usize,
        /// Numbers of patterns.
        patterns: Vec<usize>,
    },
    /// A client sends a `resync`.
    Resync {
        /// Which client.
        client: usize,
        /// Which topic.
        topic: usize,
    },
    /// A client sends a ping.
    Ping {
        /// Which client.
        client: usize,
        /// Whether it is a ping frame (RFC 6455) and not one of the protocol.
        frame: bool,
    },
    /// A client sends a message that is not a request.
    Junk {
        /// Which client.
        client: usize,
    },
    /// A client publishes.
    Say {
        /// Which client.
        client: usize,
        /// Which topic.
        topic: usize,
        /// The approximate size of the message in bytes.
        size: usize,
        /// The number of its key, if it has one.
        key: Option<u8>,
    },
    /// The feed publishes.
    Publish {
        /// Which topic.
        topic: usize,
        /// How many messages.
        times: usize,
        /// Selects the level that a book message changes.
        level: u8,
        /// The approximate size of a message in bytes.
        size: usize,
    },
    /// The feed publishes to a topic that ends.
    PublishMortal {
        /// Which one.
        mortal: usize,
        /// How many messages.
        times: usize,
    },
    /// A topic is deleted.
    End {
        /// Which one of those that end.
        mortal: usize,
    },
    /// A shard runs one cycle: read, timers, deliver, write.
    Cycle {
        /// Which shard.
        shard: usize,
        /// Most deliveries.
        budget: usize,
        /// Most bytes to read of each connection.
        read: usize,
    },
    /// A client reads once, whatever its pace.
    Read {
        /// Which client.
        client: usize,
        /// Most bytes to read.
        bytes: usize,
    },
    /// A client changes its pace.
    Pace {
        /// Which client.
        client: usize,
        /// How it reads from now on.
        pace: Pace,
    },
    /// A client stops answering pings, or starts again.
    Mute {
        /// Which client.
        client: usize,
        /// Whether it stops.
        on: bool,
    },
    /// Time passes.
    Wait {
        /// How long, in milliseconds.
        ms: u64,
    },
    /// A shard begins to leave: it closes its sessions one after another.
    Drain {
        /// Which shard.
        shard: usize,
        /// Over how many milliseconds.
        window_ms: u64,
        /// How many milliseconds a client has to take what waits for it.
        patience_ms: u64,
    },
    /// The broker takes other settings.
    Reload {
        /// Most bytes of market data that wait for one connection.
        outbox_bytes: usize,
        /// How many topics of a request are handled in one piece.
        topics_at_once: usize,
    },
    /// The broker dies and comes back with only its configuration.
    Restart,
    /// All clients read until nothing moves any more. What must be true then is checked.
    Settle,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect {
                client,
                resume,
                ahead,
            } => {
                let how = match (resume, ahead) {
                    (false, _) => "",
                    (true, false) => ", resuming",
                    (true, true) => ", resuming, with positions ahead",
                };
                write!(f, "client {client} connects{how}")
            }
            Self::Lose { client, drained } => {
                let how = if *drained { ", what was sent arrives" } else { "" };
                write!(f, "the connection of client {client} breaks{how}")
            }
            Self::Leave { client } => write!(f, "client {client} sends a close frame"),
            Self::Subscribe { .. } => self.describe_subscribe(f),
            Self::Positions { client, topics } => describe_positions(f, *client, topics),
            Self::Unsubscribe { client, patterns } => {
                write!(f, "client {client} unsubscribes")?;
                patterns
                    .iter()
                    .try_for_each(|p| write!(f, " {}", topics::pattern(*p)))
            }
            Self::Resync { client, topic } => write!(f, "client {client} resyncs {}", topics::name(*topic)),
            Self::Ping { client, frame } => {
                write!(
                    f,
                    "client {client} sends a ping{}",
                    if *frame { " frame" } else { "" }
                )
            }
            Self::Junk { client } => write!(f, "client {client} sends junk"),
            Self::Say {
                client,
                topic,
                size,
                key,
            } => {
                let topic = topics::name(*topic);
                write!(f, "client {client} publishes {size} B to {topic}")?;
                key.map_or(Ok(()), |key| write!(f, " with key {key}"))
            }
            Self::Publish { .. } => self.describe_publish(f),
            Self::PublishMortal { mortal, times } => {
                write!(f, "{times} × publish {}", topics::MORTALS[*mortal].0)
            }
            Self::End { mortal } => write!(f, "{} is deleted", topics::MORTALS[*mortal].0),
            Self::Cycle { shard, budget, read } => {
                write!(f, "shard {shard} cycles, budget {budget}, reads {read} B")
            }
            Self::Read { client, bytes } => write!(f, "client {client} reads {bytes} B"),
            Self::Pace { client, pace } => write!(f, "client {client} reads {pace:?} from now on"),
            Self::Mute { client, on } => {
                write!(
                    f,
                    "client {client} {} pings",
                    if *on { "ignores" } else { "answers" }
                )
            }
            Self::Wait { ms } => write!(f, "{ms} ms pass"),
            Self::Drain { .. } | Self::Reload { .. } => self.describe_operator(f),
            Self::Restart => f.write_str("the broker restarts"),
            Self::Settle => f.write_str("everything settles"),
        }
    }
}

fn describe_positions(f: &mut fmt::Formatter<'_>, client: usize, topics: &[(usize, Since)]) -> fmt::Result {
    write!(f, "client {client} sends positions of")?;
    topics
        .iter()
        .try_for_each(|(topic, since)| write!(f, " {}@{since:?}", topics::name(*topic)))
}

impl Op {
    fn describe_publish(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Publish {
            topic,
            times,
            level,
            size,
        } = self
        else {
            return Ok(());
        };
        let name = topics::name(*topic);
        match topics::kind(*topic) {
            Kind::Book => write!(f, "{times} × publish {name} from level {level}"),
            Kind::State | Kind::Event => write!(f, "{times} × publish {size} B to {name}"),
        }
    }

    /// Describes what an operator does.
    fn describe_operator(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drain {
                shard,
                window_ms,
                patience_ms,
            } => write!(
                f,
                "shard {shard} drains for {window_ms} ms, patient for {patience_ms} ms"
            ),
            Self::Reload {
                outbox_bytes,
                topics_at_once,
            } => write!(
                f,
                "the settings are now {outbox_bytes} B, {topics_at_once} topics at once"
            ),
            _ => Ok(()),
        }
    }

    fn describe_subscribe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Subscribe {
            client,
            topics,
            mode,
            conflate_ms,
            snapshot,
        } = self
        else {
            return Ok(());
        };
        write!(f, "client {client} subscribes")?;
        for (pattern, since) in topics {
            write!(f, " {}", topics::pattern(*pattern))?;
            if let Some(since) = since {
                write!(f, "@{since:?}")?;
            }
        }
        if let Some(mode) = mode {
            write!(f, " mode={mode:?}")?;
        }
        if let Some(ms) = conflate_ms {
            write!(f, " conflate_ms={ms}")?;
        }
        f.write_str(if *snapshot { "" } else { " without snapshot" })
    }
}
