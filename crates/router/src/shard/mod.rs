//! A shard: the connections of one thread, and how publications reach them.
//!
//! Pure: requests, bytes written and time come in as arguments; frames to write, sessions to drop and the next deadline
//! are polled out. Single-threaded by construction (it holds `Rc`s); only its queue is shared. Publishing never writes:
//! it fills outboxes, and each session that has something waiting is handed out once by [`Shard::next_dirty`].

mod accounting;
mod anew;
mod answers;
mod audit;
mod caps;
mod catching;
mod closing;
mod delivery;
mod drain;
mod echo;
mod ending;
mod joined;
mod lagging;
mod listing;
mod moment;
mod pacing;
mod parting;
mod piecewise;
mod publishing;
mod pulling;
mod rate;
mod reconfigure;
mod replaying;
mod requests;
mod resume;
mod rights;
mod searching;
mod sessions;
mod slot;
mod status;
mod subscribe;
mod subscriptions;
mod synced;
mod timers;
mod unwritten;
mod watching;
mod wide;
mod writing;

pub use drain::Drain;
pub use listing::SessionCard;
pub use rights::AuthRequest;
pub use watching::{SessionLag, Watched};

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use drain::Draining;
use ending::Lives;
use pacing::Paused;
use parting::Parting;
use piecewise::Piece;
pub(crate) use piecewise::Unfinished;
use publishing::RecentTopics;
use rate::RateTimers;
pub(crate) use replaying::ReplayPart;
use replaying::Replaying;
use rustc_hash::FxHashMap;
pub(crate) use searching::FoundStarts;
use sessions::Sessions;
use slot::{First, Prelude, Slot, Subscriber};
use tickwire_wire::deflate::Deflater;
use tickwire_wire::message::AckResult;
use tickwire_wire::{Control, Dialect, Micros, Pattern, Refusal, Seq, Topic};
use unwritten::{BehindWrites, Unwritten};
use writing::Rounds;

use crate::accounts::Accounts;
use crate::cell::TopicCell;
use crate::counts::Counts;
use crate::directory::Directory;
use crate::epochs::Life;
use crate::index::PatternIndex;
use crate::ingress::Ingress;
use crate::outbox::Outbox;
use crate::pace::Pace;
use crate::paged::Paged;
use crate::publication::{Publication, TopicId};
use crate::queue::{Inbox, ShardId};
use crate::rights::Rights;
use crate::session::{
    Allowance, Phase, Reader, Session, SessionId, Subscriptions, Timers, Transport, Writing,
};
use crate::settings::ShardSettings;

/// A session with a pattern that topics may join later.
#[derive(Debug, Clone, Copy)]
struct Expecting {
    session: SessionId,
    /// What the pattern asks for.
    pace: Pace,
    /// If the pattern is a name: the life of the topic whose lineage the client was told.
    told: Option<Life>,
}

/// The sessions with one pattern.
#[derive(Debug, Default)]
struct Expectations {
    /// The pattern, which all of them share so that its text is stored once.
    pattern: Option<Pattern>,
    sessions: Vec<Expecting>,
}

/// The sessions and subscriptions of one thread.
///
/// # The order of calls
///
/// A shard does nothing by itself. Its owner opens a session for each connection ([`open`](Self::open)) and goes through rounds:
///
/// 1. It says what clients sent: [`heard`](Self::heard) for bytes, then [`request`](Self::request), [`ping`](Self::ping),
///    [`pong`](Self::pong) or [`close_received`](Self::close_received) for each message, in the order in which they came. Tokens
///    that [`next_auth`](Self::next_auth) hands out are answered by [`renew`](Self::renew) or [`refuse`](Self::refuse) before the
///    session's next message. While a request is [`unfinished`](Self::unfinished), [`go_on`](Self::go_on) comes before anything else
///    of its session.
/// 2. [`on_timeout`](Self::on_timeout) does what is due, in each round or when [`next_timeout`](Self::next_timeout) says.
/// 3. [`hand_out`](Self::hand_out) hands out what was published.
/// 4. [`next_dirty`](Self::next_dirty) names each session that has something to be written, once. The owner writes of its
///    [`outbox`](Self::outbox) what the socket takes and says with [`wrote`](Self::wrote) how much that was, before it asks for the
///    outbox again. If the socket took all that it was offered and more waits, [`writable`](Self::writable) is called at once, and
///    else when the socket takes bytes again. When the session [`is_finished`](Self::is_finished), the sending side is shut.
/// 5. [`next_gone`](Self::next_gone) names the sessions whose connections are to be dropped. The owner calls
///    [`remove`](Self::remove) for each, as for one whose connection has ended by itself, and does not use the number again until
///    `open` returns it. [`part`](Self::part) takes out subscriptions of sessions that have ended until it returns `false`.
///
/// There is more to do at once if `hand_out` or `part` say so, or if [`dirty_count`](Self::dirty_count) is not 0.
///
/// ```
/// use tickwire_router::{SessionId, Shard};
/// use tickwire_wire::Micros;
///
/// /// A round, in which clients sent nothing. `write` returns how many bytes of those it is given a socket took.
/// fn round(shard: &mut Shard, write: &mut impl FnMut(SessionId, &[u8]) -> usize, now: Micros) -> bool {
///     shard.on_timeout(now);
///     let more = shard.hand_out(1_000, now);
///     while let Some(id) = shard.next_dirty() {
///         let Some(outbox) = shard.outbox(id) else { continue };
///         let bytes: Vec<u8> = outbox.waiting().flat_map(|it| it.bytes).copied().collect();
///         let count = write(id, &bytes);
///         if shard.wrote(id, count, now, |_| {}).is_err() {
///             shard.remove(id);
///         }
///     }
///     while let Some(id) = shard.next_gone() {
///         shard.remove(id);
///     }
///     shard.part() || more || shard.dirty_count() > 0
/// }
/// ```
#[derive(Debug)]
pub struct Shard {
    id: ShardId,
    directory: Arc<Directory>,
    ingress: Ingress,
    settings: ShardSettings,
    sessions: Sessions,
    generation: u32,
    slots: Paged<Slot>,
    /// Topics that have ended, as long as sessions are behind in them.
    lives: Lives,
    /// The sessions by their patterns that topics may join later.
    patterns: PatternIndex<Expectations>,
    /// The counts of the piece of a request that is being done.
    piece: Piece,
    /// What was taken from its queue. The publications are in reverse order, and those that were delivered are gone.
    inbox: Inbox,
    /// Topics of the inbox with publications that did not fit. Their subscribers continue from the histories.
    overflowed: VecDeque<TopicId>,
    /// Topics of the inbox that became stale, with their newest number.
    silent: VecDeque<(TopicId, Seq)>,
    /// Topics that have ended and whose subscribers are still to be told, by name, in their order.
    ended: BTreeMap<Topic, Vec<Arc<TopicCell>>>,
    /// The number of ends that were handled.
    ends: u64,
    rounds: Rounds,
    paused: Paused,
    gone: VecDeque<(SessionId, u32)>,
    /// Sessions that have ended and whose subscriptions are being taken out, beginning with the first.
    partings: VecDeque<Parting>,
    /// The number of these that have no connection any more.
    removed: usize,
    deadlines: BinaryHeap<Reverse<(Micros, SessionId, u32)>>,
    /// When tokens of open sessions expire.
    expiries: BTreeSet<(Micros, SessionId)>,
    /// Tokens that sessions showed and that were not handed out yet.
    auths: VecDeque<AuthRequest>,
    rate_timers: RateTimers,
    replaying: Replaying,
    chunk: Vec<Arc<Publication>>,
    /// Compresses publications for the sessions with a compressed variant.
    deflater: Deflater,
    /// The last heartbeat that was sent, by form.
    heartbeats: [Option<(Micros, Rc<[u8]>)>; Dialect::FORMS],
    /// The results of the subscriptions of streams that were not taken yet.
    answered: FxHashMap<SessionId, Result<Vec<AckResult>, Refusal>>,
    /// The number of subscriptions, with each topic of a session counted once.
    subscriptions: usize,
    /// Sessions that lag.
    lagging: BTreeSet<SessionId>,
    /// The last of these that was observed for the export.
    lagging_seen: SessionId,
    /// Bytes that wait in all outboxes.
    waiting_bytes: Rc<Cell<usize>>,
    /// Sessions whose outboxes the current publication has overfilled.
    overfull: Vec<SessionId>,
    /// Whether a session has so much waiting that it should be written before more is delivered.
    pressed: bool,
    recent_topics: RecentTopics,
    /// Publications of sessions whose answers wait until these are written, in the order of their numbers.
    unwritten: VecDeque<Unwritten>,
    /// The sessions of these.
    writing: FxHashMap<SessionId, BehindWrites>,
    /// Set once a drain has begun.
    draining: Option<Draining>,
    counts: Counts,
    accounts: Accounts,
}

impl Shard {
    /// A shard without sessions.
    #[must_use]
    pub fn new(id: ShardId, directory: Arc<Directory>, settings: ShardSettings) -> Self {
        Self {
            id,
            ingress: Ingress::new(directory.clone()).of_shard(id),
            directory,
            settings,
            sessions: Sessions::default(),
            generation: 0,
            slots: Paged::default(),
            lives: Lives::default(),
            patterns: PatternIndex::default(),
            piece: Piece::default(),
            inbox: Inbox::default(),
            overflowed: VecDeque::new(),
            silent: VecDeque::new(),
            ended: BTreeMap::new(),
            ends: 0,
            rounds: Rounds::default(),
            paused: Paused::default(),
            gone: VecDeque::new(),
            partings: VecDeque::new(),
            removed: 0,
            deadlines: BinaryHeap::new(),
            expiries: BTreeSet::new(),
            auths: VecDeque::new(),
            rate_timers: RateTimers::default(),
            replaying: Replaying::default(),
            chunk: Vec::new(),
            deflater: Deflater::default(),
            heartbeats: [const { None }; Dialect::FORMS],
            answered: FxHashMap::default(),
            subscriptions: 0,
            lagging: BTreeSet::new(),
            lagging_seen: SessionId(0),
            waiting_bytes: Rc::default(),
            overfull: Vec::new(),
            pressed: false,
            recent_topics: RecentTopics::default(),
            unwritten: VecDeque::new(),
            writing: FxHashMap::default(),
            draining: None,
            counts: Counts::default(),
            accounts: Accounts::default(),
        }
    }

    /// The directory of its topics.
    #[must_use]
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Its counters.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The number of sessions, including closing ones, without those whose connection has ended.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.sessions.len() - self.removed
    }

    /// Opens a session for a new connection, which speaks `dialect`. Its first message, the welcome, waits for it at
    /// once; an echo session has none.
    ///
    /// # Panics
    /// If there are 2³² sessions.
    pub fn open(
        &mut self,
        dialect: impl Into<Dialect>,
        transport: Transport,
        rights: Rc<Rights>,
        now: Micros,
    ) -> SessionId {
        let dialect = dialect.into();
        self.generation = self.generation.wrapping_add(1);
        let outbox = Outbox::counted(dialect, self.waiting_bytes.clone());
        let session = self.sessions.insert(|id| Session {
            id,
            outbox,
            dialect,
            transport,
            phase: Phase::Open,
            writing: Writing::Idle,
            reader: Reader::new(self.settings.live_bytes_end()),
            timers: Timers::new(transport, now),
            publishes: false,
            only_reads: false,
            counted: None,
            publisher: None,
            generation: self.generation,
            allowance: Allowance::default(),
            rights,
            subscriptions: Subscriptions::default(),
            unfinished: None,
        });
        let id = session.id;
        self.send_welcome(id, now);
        self.schedule_after(id, Micros(0));
        self.announce_to_late(id, now);
        id
    }

    /// Sends a session's first message, unless it is an echo session.
    fn send_welcome(&mut self, id: SessionId, now: Micros) {
        let Some(session) = self.sessions.get(id) else {
            return;
        };
        let (transport, generation) = (session.transport, session.generation);
        if transport != Transport::Echo {
            let limits = self.announced_to(&session.rights);
            let welcome = Control::Welcome {
                session: self.session_name(generation),
                server: self.settings.server.clone(),
                ts: now,
                heartbeat_ms: self.settings.heartbeat_ms,
                limits,
            };
            self.send_control(id, &welcome);
        }
    }

    /// The session's name in its `welcome`.
    fn session_name(&self, generation: u32) -> String {
        format!("{}-{generation:x}", self.id.0)
    }

    fn send_control(&mut self, id: SessionId, message: &Control) {
        let reach = self.reach_of(message);
        if let Some(session) = self.sessions.open(id) {
            let bytes = session.dialect.control(message);
            session.outbox.push_control(reach, bytes);
            self.rounds.mark(session);
        }
    }

    /// Whether the session takes requests: it exists and is not closing.
    #[must_use]
    pub fn is_open(&self, id: SessionId) -> bool {
        self.sessions.get(id).is_some_and(Session::is_open)
    }

    /// The dialect of a session's messages.
    #[must_use]
    pub fn dialect(&self, id: SessionId) -> Option<Dialect> {
        self.sessions.get(id).map(|session| session.dialect)
    }

    /// Whether the session has published anything, so that it can be made to wait when there is too much to deliver.
    #[must_use]
    pub fn publishes(&self, id: SessionId) -> bool {
        self.sessions.get(id).is_some_and(|session| session.publishes)
    }

    /// Whether any session has a subscription and no request under way.
    #[must_use]
    pub fn has_subscriptions(&self) -> bool {
        let is_there =
            |session: &Session| !session.subscriptions.patterns.is_empty() && session.unfinished.is_none();
        self.sessions.iter().any(is_there)
    }

    /// The next session whose connection can be dropped.
    pub fn next_gone(&mut self) -> Option<SessionId> {
        while let Some((id, generation)) = self.gone.pop_front() {
            // The number of a session that was removed meanwhile may belong to another session now.
            if self
                .sessions
                .get_mut(id)
                .is_some_and(|session| session.generation == generation && session.phase == Phase::GivenUp)
            {
                return Some(id);
            }
        }
        None
    }
}
