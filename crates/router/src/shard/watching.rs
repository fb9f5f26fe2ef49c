//! What an operator may ask of a shard: which sessions are furthest behind, by how much, and which topics are hottest.
//!
//! The answers are found on demand: nothing here is updated as messages pass, except one number per topic.

use std::cmp::Reverse;
use std::ops::Bound;

use tickwire_wire::{Codec, Micros};

use super::Shard;
use crate::publication::TopicId;
use crate::queue::ShardId;
use crate::session::{Session, SessionId, Transport};

/// The number of lagging sessions that are observed for one export of their ages.
const LAGGING_AT_ONCE: usize = 256;

/// The number of subscriptions of each lane whose oldest owed message is looked up.
const SAMPLED: usize = 8;

/// How far a session is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionLag {
    /// The session.
    pub session: SessionId,
    /// Its name in its `welcome`.
    pub name: String,
    /// The codec of its messages.
    pub codec: Codec,
    /// How it reaches its client.
    pub transport: Transport,
    /// The name of its reader's state, as docs/DELIVERY.md draws them, or `closing`.
    pub state: &'static str,
    /// Messages that its subscriptions are owed.
    pub messages: u64,
    /// Encoded bytes that wait for it, including answers and other control messages.
    pub bytes: usize,
    /// Topics that it is subscribed to.
    pub subscriptions: usize,
    /// The number of its topics that are behind.
    pub behind: usize,
    /// The age in microseconds of the oldest message that it is owed, as far as it is known: only a few subscriptions
    /// that are behind are asked, and messages that the histories have dropped do not count.
    pub oldest_us: u64,
    /// When it began to lag, if it lags.
    pub lagging_since: Option<Micros>,
    /// Since when something waits for it without a byte being taken, if so.
    pub stalled_since: Option<Micros>,
    /// Messages that it was not sent because newer ones had replaced them.
    pub conflated: u64,
    /// Messages that it missed and that a gap named.
    pub gapped: u64,
}

/// The sessions that an operator asks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// Those that are owed something.
    Behind,
    /// All.
    All,
}

impl Shard {
    /// The shard's number.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// The number of publications that wait for this shard: queued, or taken and not delivered yet.
    #[must_use]
    pub fn queue_depth(&self) -> usize {
        self.directory.queue(self.id).depth() + self.inbox.publications.len()
    }

    /// The number of subscriptions, with each topic of a session counted once.
    #[must_use]
    pub fn subscription_count(&self) -> usize {
        self.subscriptions
    }

    /// The number of lagging sessions.
    #[must_use]
    pub fn lagging_count(&self) -> usize {
        self.lagging.len()
    }

    /// The bytes that wait in all outboxes.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes.get()
    }

    /// The bytes of memory that a session's queues hold, used or not, without the publications that it shares with
    /// others. `None` if there is no such session.
    #[must_use]
    pub fn session_memory_bytes(&self, id: SessionId) -> Option<usize> {
        let session = self.sessions.get(id)?;
        Some(session.outbox.memory_bytes() + session.subscriptions.memory_bytes())
    }

    /// The open session with this name, as its `welcome` gave it.
    #[must_use]
    pub fn session_named(&self, name: &str) -> Option<SessionId> {
        let mut open = self.sessions.iter().filter(|session| session.is_open());
        let named = open.find(|session| self.session_name(session.generation) == name);
        named.map(|session| session.id)
    }

    /// The `top_k` of the `watched` sessions that are owed the most messages, the worst first. Looks at everything that
    /// waits.
    #[must_use]
    pub fn sessions_debug(&self, top_k: usize, watched: Watched, now: Micros) -> Vec<SessionLag> {
        let owed = |session: &Session| {
            let behind = session.subscriptions.topics.iter().map(|(topic, subscription)| {
                let slot = &self.slots[topic];
                slot.head.0 - slot.at(subscription.place).after.0
            });
            session.outbox.stands_for() + behind.sum::<u64>()
        };
        let stays = self
            .sessions
            .iter()
            .filter(|session| !session.subscriptions.parting);
        let sessions = stays.map(|session| (owed(session), session));
        let mut worst: Vec<(u64, &Session)> = sessions
            .filter(|(messages, _)| *messages > 0 || watched == Watched::All)
            .collect();
        worst.sort_unstable_by_key(|(messages, session)| Reverse((*messages, session.id)));
        worst.truncate(top_k);
        let lag = |(messages, session): (u64, &Session)| SessionLag {
            session: session.id,
            name: self.session_name(session.generation),
            codec: session.dialect.codec(),
            transport: session.transport,
            state: match session.is_open() {
                true => session.reader.state(),
                false => "closing",
            },
            messages,
            bytes: session.outbox.data_bytes() + session.outbox.control_bytes(),
            subscriptions: session.subscriptions.topics.len(),
            behind: session.subscriptions.pulls.follows(usize::MAX).count()
                + session.subscriptions.beginnings.parked().count(),
            oldest_us: self.oldest_us(session, now),
            lagging_since: session.reader.lagging_since(),
            stalled_since: session.reader.stalled_since(),
            conflated: session.losses().conflated,
            gapped: session.losses().gapped,
        };
        worst.into_iter().map(lag).collect()
    }

    /// Calls `seen` for a limited number of lagging sessions, which take turns. Its arguments are the bytes that wait
    /// for the session, and the age in microseconds of the oldest message that it is owed, as in [`SessionLag`].
    pub fn each_lagging(&mut self, now: Micros, mut seen: impl FnMut(usize, u64)) {
        let last = self.lagging_seen;
        let after = self.lagging.range((Bound::Excluded(last), Bound::Unbounded));
        let turn = after.chain(self.lagging.range(..=last)).take(LAGGING_AT_ONCE);
        for id in turn {
            if let Some(session) = self.sessions.get(*id) {
                seen(session.outbox.data_bytes(), self.oldest_us(session, now));
            }
            self.lagging_seen = *id;
        }
    }

    /// The topics that the shard has delivered live updates of, with their number: one for each subscriber. Looks at
    /// every topic.
    #[must_use]
    pub fn handed_out(&self) -> Vec<(TopicId, u64)> {
        let topics = self.slots.iter().filter(|(_, slot)| slot.handed > 0);
        topics.map(|(topic, slot)| (topic, slot.handed)).collect()
    }

    fn oldest_us(&self, session: &Session, now: Micros) -> u64 {
        let waiting = session.outbox.oldest().map(|publication| publication.entered);
        let behind = session.subscriptions.pulls.follows(SAMPLED).filter_map(|topic| {
            let slot = &self.slots[topic];
            let subscription = session.subscriptions.topics.get(topic)?;
            let after = slot.at(subscription.place).after;
            slot.cell.first_after(after)
        });
        let oldest = behind.chain(waiting).min();
        oldest.map_or(0, |ts| now.since(ts))
    }
}
