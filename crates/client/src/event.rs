//! What a client tells its user, in the order in which it happened.

use std::time::Duration;

use tickwire_wire::message::{AnnouncedLimits, Position, ServerMessage};
use tickwire_wire::{Refusal, Seq};

use crate::error::{ConnectError, Loss};
use crate::promise::BrokenPromise;

/// Something that happened. Every message of the broker is an event, acks and heartbeats too.
#[derive(Debug)]
pub enum Event {
    /// A connection was made and welcomed; what was subscribed is being restored.
    Connected {
        /// The session's name, for logs and support.
        session: String,
        /// The broker's name and version.
        server: String,
        /// What the connection may do.
        limits: AnnouncedLimits,
        /// How many connections of this client came before it.
        reconnects: u64,
    },
    /// A message from the broker.
    Message(ServerMessage),
    /// All that subscriptions begin with has come: each snapshot, and each message of a replay. What follows is live. Comes once
    /// for each request of which anything was granted, and behind a reconnect for each that restores subscriptions.
    Synced {
        /// The topics and patterns that were granted.
        topics: Vec<String>,
    },
    /// A subscription was restored after a reconnect. What could not be resumed is told by what follows: a `gap`, a snapshot in
    /// place of what was missed, or an [`Event::Unresumed`].
    Restored {
        /// The topic or pattern.
        topic: String,
        /// Topics that go on where they were left, with nothing missing.
        resumed: usize,
        /// Topics that begin anew: those whose history does not reach, and those of a pattern that were not there before.
        not_resumed: usize,
    },
    /// The connection was lost. Requests that had been sent have failed; subscriptions will be restored.
    Disconnected {
        /// How it ended.
        loss: Loss,
        /// How long until the next attempt; none if there is none: the client has stopped.
        retry_in: Option<Duration>,
    },
    /// An attempt to connect again failed.
    ConnectFailed {
        /// Why it failed.
        error: ConnectError,
        /// How long until the next attempt; none if there is none: the client has stopped.
        retry_in: Option<Duration>,
    },
    /// The broker broke a promise of the protocol; the message that shows it follows.
    Broken(BrokenPromise),
    /// A topic of which every message has to come could not be resumed after a reconnect: what came between the two positions
    /// was not seen. Where the broker sends a `gap`, that tells it instead.
    Unresumed {
        /// The topic.
        topic: String,
        /// The last message that was seen.
        last: Position,
        /// The message at which the topic goes on; in another lineage its number says nothing about how many are missing.
        now: Seq,
    },
    /// A subscription could not be restored after a reconnect and is gone.
    SubscriptionLost {
        /// The topic or pattern.
        topic: String,
        /// Why the broker refused it.
        refusal: Refusal,
    },
}
