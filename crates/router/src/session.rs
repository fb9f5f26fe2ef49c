//! One connection as a shard knows it: what it subscribed to, what waits for it, when it was last heard.
//!
//! Never touches a socket. Memory is bounded by the limits on subscriptions and on the outbox, and by the topics that
//! its patterns match.

use std::collections::BTreeMap;
use std::rc::Rc;

use rustc_hash::FxHashMap;
use tickwire_wire::{Dialect, Micros, Pattern};

use crate::bucket::{Bucket, SharedBucket};
use crate::outbox::Outbox;
use crate::pace::{ClassCounts, Pace, RateClass};
use crate::publication::TopicId;
use crate::pulls::Pulls;
use crate::replays::Replays;
use crate::rights::{Publisher, Rights};
use crate::shard::{Missed, Places, Unfinished};
use crate::syncs::{Awaited, Syncs};

/// A connection's number within its shard. Numbers of closed connections are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u32);

impl SessionId {
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// How a connection reaches its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// WebSocket: requests come in, pings are answered.
    WebSocket,
    /// Server-sent events: nothing comes in.
    Sse,
    /// WebSocket without the protocol: each message comes back as it came, for conformance suites.
    Echo,
}

/// What a session wants of a pattern or topic that it subscribed to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PatternSub {
    /// What was asked for.
    pub(crate) pace: Pace,
    /// Whether the shard's index holds it, so that topics which appear later join.
    pub(crate) indexed: bool,
}

/// Where a subscriber is among those of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which of the topic's lists.
    pub(crate) class: RateClass,
    /// Index in it.
    pub(crate) position: u32,
}

impl Place {
    pub(crate) const fn index(self) -> usize {
        self.position as usize
    }
}

/// A topic that a session is subscribed to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SubRef {
    /// Where the topic's subscriber entry of this session is.
    pub(crate) place: Place,
    /// How many of the session's patterns cover the topic.
    pub(crate) covers: u32,
    /// How many of them ask for every message.
    pub(crate) every: u32,
    /// Which request is told when what the subscription begins with is on its way.
    pub(crate) awaited: Awaited,
    /// How many acks the session had been sent when it began.
    pub(crate) begun: u32,
}

impl SubRef {
    /// Whether it was there when ack number `number` was sent, or began by it. Numbers start again after 2³².
    pub(crate) const fn is_of_ack(&self, number: u32) -> bool {
        number.wrapping_sub(self.begun) <= u32::MAX / 2
    }
}

/// How far a connection's end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// A close frame waits behind the data; from then on the data is not waited for.
    Leaving(Micros),
    /// A close frame is queued or sent; gone at the latest then.
    Closing(Micros),
    /// There is no connection any more: the session stays until its subscriptions are taken out.
    Gone,
}

/// Where a session stands in the rounds of writing. Only a dirty one is handed out, so a batch holds a session once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writing {
    /// Nothing new is to be written.
    Idle,
    /// It is in the shard's list of dirty sessions.
    Dirty,
    /// It was handed out, and its socket has not taken all that waits since. Nothing is pulled in for it before its socket
    /// takes more, and it is not handed out again before it is known what became of the bytes.
    Offered,
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) outbox: Outbox,
    pub(crate) dialect: Dialect,
    pub(crate) transport: Transport,
    pub(crate) phase: Phase,
    pub(crate) writing: Writing,
    pub(crate) requested: bool,
    /// Whether it has published anything.
    pub(crate) publishes: bool,
    /// To whom the topics count that it makes, if there are quotas.
    pub(crate) publisher: Option<Publisher>,
    /// Whether much has been waiting for it since bytes were last taken.
    pub(crate) pressing: bool,
    /// Live bytes waiting from which on it is handed nothing more live: 0 while it lags.
    pub(crate) live_bytes_end: usize,
    /// Since when it lags, if it does: too much waited for it, and until it has caught up everything is pulled in.
    pub(crate) lagging_since: Option<Micros>,
    /// Something that waits for it has been superseded since it was offered what waits.
    pub(crate) superseded: bool,
    /// Since when something has waited for it, as far as was looked, without a byte being taken.
    pub(crate) full_since: Option<Micros>,
    /// Whether it was handed out as gone.
    pub(crate) gone: bool,
    /// Tells this connection from earlier ones with the same number.
    pub(crate) generation: u32,
    /// What is left of the requests in a row that may be refused for what they ask.
    pub(crate) refusals: Bucket,
    /// What is left of the requests that may be refused with `rate_limited`.
    pub(crate) patience: Bucket,
    /// A ping was sent, and no pong has come yet.
    pub(crate) pong_owed: bool,
    pub(crate) opened: Micros,
    pub(crate) last_in: Micros,
    pub(crate) last_out: Micros,
    /// When a ping was sent that nothing has followed yet.
    pub(crate) pinged: Option<Micros>,
    /// What is left of its requests, and of the work that they make.
    pub(crate) allowance: Bucket,
    /// What is left of its publications.
    pub(crate) publishing: Bucket,
    /// What is left of the publications that may be refused with `rate_limited`.
    pub(crate) publishing_patience: Bucket,
    /// What is left of the looks at topics that all sessions of its address may take, if these are counted.
    pub(crate) visits: Option<SharedBucket>,
    /// When it is closed because the broker leaves, if it does.
    pub(crate) leaves_at: Option<Micros>,
    pub(crate) rights: Rc<Rights>,
    /// When its token expires, if it has one that does.
    pub(crate) expires: Option<Micros>,
    // No map by hash: with the most patterns half of it would be empty, and clients choose them.
    pub(crate) patterns: BTreeMap<Pattern, PatternSub>,
    pub(crate) topics: FxHashMap<TopicId, SubRef>,
    /// Tokens of those of the patterns that the indexes hold.
    pub(crate) pattern_tokens: usize,
    /// A topic appeared that did not fit any more: until the indexes hold none of its patterns, none joins it.
    pub(crate) topics_full: bool,
    /// Topics that a wildcard of the request under way is still to bring.
    pub(crate) reserved: usize,
    /// It has ended, and not all of its subscriptions are taken out yet.
    pub(crate) parting: bool,
    /// The classes asked for of topics that more than one of the patterns cover.
    pub(crate) classes: ClassCounts,
    pub(crate) pulls: Pulls,
    /// The topics with a one-shot among the pulls, and which request waits for it.
    pub(crate) one_shots: FxHashMap<TopicId, Awaited>,
    /// Whether a one-shot snapshot may wait in the outbox.
    pub(crate) one_shot_waits: bool,
    /// Messages of resumed subscriptions, kept so that a replay promised is a replay sent.
    pub(crate) replays: Option<Box<Replays>>,
    /// The topics of patterns whose clients are still to be told that they were not resumed.
    pub(crate) missed: Option<Box<FxHashMap<TopicId, Missed>>>,
    /// The requests that are to be told when all that they brought is on its way.
    pub(crate) syncs: Syncs,
    /// Acks of requests about topics that it was sent.
    pub(crate) acks: u32,
    /// Positions that the client sent ahead of its next `subscribe`.
    pub(crate) positions: Option<Box<Places>>,
    /// A request that is done piece by piece: until it is answered nothing is pulled in.
    pub(crate) unfinished: Option<Box<Unfinished>>,
}

impl Session {
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether messages of a replay of the topic that was promised wait for their turn.
    pub(crate) fn replays(&self, topic: TopicId) -> bool {
        self.replays.as_ref().is_some_and(|replays| replays.has(topic))
    }

    /// Whether the client is still to be told that the topic was not resumed.
    pub(crate) fn misses(&self, topic: TopicId) -> bool {
        self.missed
            .as_ref()
            .is_some_and(|missed| missed.contains_key(&topic))
    }

    /// What the session was promised has another size: nothing is kept of what has come to its end.
    pub(crate) fn settle_replays(&mut self) {
        self.replays.take_if(|replays| replays.is_empty());
    }

    /// One more pattern covers a topic that this session has already, and asks for `pace`. A pattern that changes is
    /// entered as it is now before [`Self::uncover`] takes out what it was.
    pub(crate) fn cover(&mut self, topic: TopicId, pace: Pace) {
        let Some(subscription) = self.topics.get_mut(&topic) else {
            return;
        };
        if subscription.covers == 1 && subscription.every == 0 {
            // What the one pattern asks for is told by the list that its subscriber is in.
            self.classes.add(topic, subscription.place.class);
        }
        self.classes.add(topic, pace.class());
        subscription.covers += 1;
        subscription.every += u32::from(pace.is_every());
    }

    /// One pattern less covers a topic; it asked for `pace`.
    pub(crate) fn uncover(&mut self, topic: TopicId, pace: Pace) {
        if let Some(subscription) = self.topics.get_mut(&topic) {
            self.classes.remove(topic, pace.class());
            subscription.covers -= 1;
            subscription.every -= u32::from(pace.is_every());
        }
    }

    /// What the patterns that cover a topic come to after a change of them: every message beats the newest, a faster
    /// rate a slower one.
    pub(crate) fn settle_pace(&mut self, topic: TopicId) -> Option<Pace> {
        let subscription = self.topics.get(&topic)?;
        let (limited, fastest) = self.classes.fastest(topic);
        let newest = subscription.covers - subscription.every;
        if subscription.covers == 1 || limited == 0 {
            self.classes.forget(topic);
        }
        Some(match (subscription.every, newest > limited) {
            (1.., _) => Pace::Every,
            (0, true) => Pace::Newest(RateClass::UNLIMITED),
            (0, false) => Pace::Newest(fastest),
        })
    }
}
