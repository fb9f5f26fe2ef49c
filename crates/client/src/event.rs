//! The events that a client reports to its user, in the order in which they happen.

use std::time::Duration;

use tickwire_wire::message::{AnnouncedLimits, Position, ServerMessage};
use tickwire_wire::{Refusal, Seq};

use crate::error::{ConnectError, Loss};
use crate::promise::BrokenPromise;

/// Something that happened on a connection. Every message of the broker is an event, including acks and heartbeats.
#[derive(Debug)]
pub enum Event {
    /// A connection was made and welcomed. The client is restoring its subscriptions.
    Connected {
        /// The URL of the node that the client is connected to.
        url: String,
        /// The session's name, for logs and support.
        session: String,
        /// The broker's name and version.
        server: String,
        /// The limits of the connection.
        limits: AnnouncedLimits,
        /// How many connections of this client came before it.
        reconnects: u64,
    },
    /// A message from the broker.
    Message(ServerMessage),
    /// Everything that a subscription begins with has come: each snapshot and each message of a replay. What follows is
    /// live. This event comes once for each request that was granted at least in part. After a reconnect it comes once
    /// for each request that restores subscriptions.
    Synced {
        /// The topics and patterns that were granted.
        topics: Vec<String>,
    },
    /// A subscription was restored after a reconnect. If messages could not be resumed, later events tell so: a `gap`,
    /// a snapshot that replaces what was missed, or an [`Event::Unresumed`].
    Restored {
        /// The topic or pattern.
        topic: String,
        /// How many topics go on where they were left, with nothing missing.
        resumed: usize,
        /// How many topics begin anew: the history does not reach back far enough, or a topic of a pattern is new.
        not_resumed: usize,
    },
    /// The connection was lost. Requests that had been sent have failed. The client will restore the subscriptions.
    Disconnected {
        /// How the connection ended.
        loss: Loss,
        /// The time until the next attempt; `None` if the client has stopped.
        retry_in: Option<Duration>,
    },
    /// An attempt to connect again failed.
    ConnectFailed {
        /// Why the attempt failed.
        error: ConnectError,
        /// The time until the next attempt; `None` if the client has stopped.
        retry_in: Option<Duration>,
    },
    /// The broker broke a promise of the protocol. The next event is the message that shows it.
    Broken(BrokenPromise),
    /// After a reconnect, a topic that needs every message does not go on where it was left. What was published between
    /// the two positions was not seen. Where the broker sends a `gap` for it, this event does not come.
    Unresumed {
        /// The topic.
        topic: String,
        /// The position of the last message that was seen.
        last: Position,
        /// The number of the message at which the topic goes on. In another lineage it does not tell how many messages
        /// are missing.
        now: Seq,
    },
    /// A subscription could not be restored after a reconnect. It has ended.
    SubscriptionLost {
        /// The topic or pattern.
        topic: String,
        /// Why the broker refused the subscription.
        refusal: Refusal,
    },
}
