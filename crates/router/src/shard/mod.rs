//! A shard: the connections of one thread, and how publications reach them.
//!
//! Pure: requests, bytes written and time come in as arguments; frames to write, sessions to drop and the next deadline
//! are polled out. Single-threaded by construction (it holds `Rc`s); only its queue is shared. Publishing never writes:
//! it fills outboxes, and each session that has something waiting is handed out once by [`Shard::next_dirty`].

mod anew;
mod answers;
mod audit;
mod caps;
mod closing;
mod delivery;
mod drain;
mod echo;
mod joined;
mod lagging;
mod parting;
mod piecewise;
mod publishing;
mod pulled;
mod rate;
mod requests;
mod resume;
mod rights;
mod settings;
mod slot;
mod status;
mod subscribe;
mod subscriptions;
mod synced;
mod timers;
mod watching;
mod wide;

pub use caps::SessionLimits;
pub use drain::Drain;
pub use rights::AuthRequest;
pub use settings::ShardSettings;
pub use watching::SessionLag;

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use drain::Draining;
use parting::Parting;
use piecewise::Piece;
pub(crate) use piecewise::Unfinished;
use rate::RateTimers;
pub(crate) use resume::{LeftAt, Missed, Places};
use rustc_hash::FxHashMap;
use slab::Slab;
use slot::{First, Opening, Slot, Subscriber};
use tickwire_wire::deflate::Deflater;
use tickwire_wire::message::AckResult;
use tickwire_wire::{Control, Dialect, Micros, Pattern, Refusal, Seq};

use crate::bucket::Bucket;
use crate::counts::Counts;
use crate::directory::{Directory, ShardId};
use crate::index::PatternIndex;
use crate::item::Reach;
use crate::outbox::{Fanout, Outbox, Overrun};
use crate::pace::{ClassCounts, Pace};
use crate::planted::{Fault, is_planted};
use crate::publication::{Publication, TopicId};
use crate::pulls::Pulls;
use crate::queue::Batch;
use crate::rights::Rights;
use crate::session::{Phase, Session, SessionId, Transport, Writing};
use crate::syncs::Syncs;

/// A session whose pattern topics may join later.
#[derive(Debug, Clone, Copy)]
struct Expecting {
    session: SessionId,
    /// What the pattern asks for.
    pace: Pace,
}

/// The sessions with one pattern.
#[derive(Debug, Default)]
struct Expectations {
    /// What all of them hold, so that its text is there once.
    pattern: Option<Pattern>,
    sessions: Vec<Expecting>,
}

/// The sessions and subscriptions of one thread.
#[derive(Debug)]
pub struct Shard {
    id: ShardId,
    directory: Arc<Directory>,
    settings: ShardSettings,
    sessions: Slab<Session>,
    generation: u32,
    slots: Vec<Slot>,
    /// The sessions by those of their patterns that topics may join later.
    patterns: PatternIndex<Expectations>,
    /// What the piece of a request that is being done comes to; none in between.
    piece: Option<Piece>,
    inbox: Batch,
    /// Publications of the inbox that were delivered.
    delivered: usize,
    /// Topics of the inbox of which publications did not fit, whose subscribers are to go on from the histories.
    overflowed: VecDeque<TopicId>,
    /// Topics of the inbox that fell silent, with their newest number.
    silent: VecDeque<(TopicId, Seq)>,
    /// Sessions that have something to be written, or pulled in.
    dirty: VecDeque<SessionId>,
    /// How many of them this round of writing has left; none between two rounds.
    round: Option<usize>,
    gone: VecDeque<(SessionId, u32)>,
    /// Sessions that have ended and whose subscriptions are being taken out, the first of them now.
    partings: VecDeque<Parting>,
    /// How many of them have no connection any more.
    removed: usize,
    deadlines: BinaryHeap<Reverse<(Micros, SessionId, u32)>>,
    /// When tokens of open sessions expire.
    expiries: BTreeSet<(Micros, SessionId)>,
    /// Tokens that sessions showed and that nobody has looked at yet.
    auths: VecDeque<AuthRequest>,
    rate_timers: RateTimers,
    chunk: Vec<Arc<Publication>>,
    /// Compresses publications for those who take them compressed.
    deflater: Deflater,
    /// The last heartbeat that was sent, by form.
    heartbeats: [Option<(Micros, Rc<[u8]>)>; Dialect::FORMS],
    /// What became of the subscriptions of streams that have not been told yet.
    answered: FxHashMap<SessionId, Result<Vec<AckResult>, Refusal>>,
    /// Subscriptions, each topic of a session counted once.
    subscriptions: usize,
    /// Sessions that lag.
    lagging: BTreeSet<SessionId>,
    /// The last one of them that was looked at.
    lagging_seen: SessionId,
    /// Bytes that wait in all outboxes.
    waiting_bytes: Rc<Cell<usize>>,
    /// Sessions that the publication being handed out was too much for.
    overfull: Vec<SessionId>,
    /// A session has enough waiting that it should be written before more is handed out.
    pressed: bool,
    /// Set once the broker is about to leave.
    draining: Option<Draining>,
    counts: Counts,
}

impl Shard {
    /// A shard without sessions.
    #[must_use]
    pub fn new(id: ShardId, directory: Arc<Directory>, settings: ShardSettings) -> Self {
        Self {
            id,
            directory,
            settings,
            sessions: Slab::new(),
            generation: 0,
            slots: Vec::new(),
            patterns: PatternIndex::default(),
            piece: None,
            inbox: Batch::default(),
            delivered: 0,
            overflowed: VecDeque::new(),
            silent: VecDeque::new(),
            dirty: VecDeque::new(),
            round: None,
            gone: VecDeque::new(),
            partings: VecDeque::new(),
            removed: 0,
            deadlines: BinaryHeap::new(),
            expiries: BTreeSet::new(),
            auths: VecDeque::new(),
            rate_timers: RateTimers::default(),
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
            draining: None,
            counts: Counts::default(),
        }
    }

    /// The directory behind it.
    #[must_use]
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// What it has counted.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Number of sessions, closing ones included, those without a connection not.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.sessions.len() - self.removed
    }

    /// A new connection, which is spoken to in `dialect`. Its first message, the welcome, waits for it at once; one that echoes
    /// has none.
    ///
    /// # Panics
    /// With 2³² sessions.
    pub fn open(
        &mut self,
        dialect: impl Into<Dialect>,
        transport: Transport,
        rights: Rc<Rights>,
        now: Micros,
    ) -> SessionId {
        let dialect = dialect.into();
        self.generation = self.generation.wrapping_add(1);
        let (generation, live_bytes_end) = (self.generation, self.live_bytes_end());
        let entry = self.sessions.vacant_entry();
        let id = SessionId(u32::try_from(entry.key()).expect("fewer than 2^32 sessions"));
        entry.insert(Session {
            id,
            outbox: Outbox::counted(dialect, self.waiting_bytes.clone()),
            dialect,
            transport,
            phase: Phase::Open,
            writing: Writing::Idle,
            requested: transport != Transport::WebSocket,
            publishes: false,
            publisher: None,
            pressing: false,
            live_bytes_end,
            lagging_since: None,
            superseded: false,
            full_since: None,
            gone: false,
            generation,
            refusals: Bucket::default(),
            patience: Bucket::default(),
            pong_owed: false,
            opened: now,
            last_in: now,
            last_out: now,
            pinged: None,
            allowance: Bucket::default(),
            visits: None,
            publishing: Bucket::default(),
            publishing_patience: Bucket::default(),
            leaves_at: None,
            rights,
            expires: None,
            patterns: BTreeMap::new(),
            topics: FxHashMap::default(),
            pattern_tokens: 0,
            topics_full: false,
            reserved: 0,
            parting: false,
            classes: ClassCounts::default(),
            pulls: Pulls::default(),
            one_shots: FxHashMap::default(),
            one_shot_waits: false,
            replays: None,
            missed: None,
            syncs: Syncs::default(),
            positions: None,
            unfinished: None,
            acks: 0,
        });
        self.send_welcome(id, now);
        self.schedule(id);
        self.announce_to_late(id, now);
        id
    }

    /// Sends a session's first message, unless it echoes.
    fn send_welcome(&mut self, id: SessionId, now: Micros) {
        let Some(session) = self.sessions.get(id.index()) else {
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

    /// What a `welcome` calls a session.
    fn session_name(&self, generation: u32) -> String {
        format!("{}-{generation:x}", self.id.0)
    }

    fn session(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.get_mut(id.index())
    }

    /// The session `id` while it takes part: not closing, not gone.
    fn open_session(&mut self, id: SessionId) -> Option<&mut Session> {
        self.session(id).filter(|session| session.is_open())
    }

    fn send_control(&mut self, id: SessionId, message: &Control) {
        let reach = self.reach_of(message);
        if let Some(session) = self.open_session(id) {
            let bytes = session.dialect.control(message);
            self.send_bytes(id, reach, bytes);
        }
    }

    fn send_bytes(&mut self, id: SessionId, reach: Reach, bytes: Box<[u8]>) {
        if let Some(session) = self.open_session(id) {
            session.outbox.push_control(reach, bytes);
            self.mark_dirty(id);
        }
    }

    /// Something is to be written for a session, or pulled in first. One that was handed out is looked at again when it is
    /// known what its socket took.
    fn mark_dirty(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(id.index())
            && (session.writing == Writing::Idle
                || (is_planted(Fault::OfferedTwice) && session.writing == Writing::Offered))
        {
            session.writing = Writing::Dirty;
            self.dirty.push_back(id);
        }
    }

    /// Whether the session takes requests: it exists and is not closing.
    #[must_use]
    pub fn is_open(&self, id: SessionId) -> bool {
        self.sessions.get(id.index()).is_some_and(Session::is_open)
    }

    /// As which bytes the messages of a session go to its client.
    #[must_use]
    pub fn dialect(&self, id: SessionId) -> Option<Dialect> {
        self.sessions.get(id.index()).map(|session| session.dialect)
    }

    /// Whether the session has published anything: it can be made to wait when there is too much to hand out.
    #[must_use]
    pub fn publishes(&self, id: SessionId) -> bool {
        self.sessions
            .get(id.index())
            .is_some_and(|session| session.publishes)
    }

    /// Whether any session has subscribed to anything, and is done with it.
    #[must_use]
    pub fn has_subscriptions(&self) -> bool {
        let is_there = |session: &Session| !session.patterns.is_empty() && session.unfinished.is_none();
        self.sessions.iter().any(|(_, session)| is_there(session))
    }

    /// A session whose connection can be dropped.
    pub fn next_gone(&mut self) -> Option<SessionId> {
        while let Some((id, generation)) = self.gone.pop_front() {
            // A session that was removed meanwhile may have left its number to another.
            if self
                .session(id)
                .is_some_and(|session| session.generation == generation && session.phase != Phase::Gone)
            {
                return Some(id);
            }
        }
        None
    }

    /// Number of sessions that have frames to write.
    #[must_use]
    pub fn dirty_count(&self) -> usize {
        self.dirty.len()
    }

    /// The next session of this round that has frames to write; what it was waiting to pull in is in its outbox by then.
    /// `None` ends the round, and the next call begins another one, with the sessions that are dirty by then.
    ///
    /// A session that was handed out is not handed out again before [`Self::wrote`] emptied its outbox, or
    /// [`Self::writable`] or [`Self::refill`] said that it takes more. So whoever collects a batch has each session once.
    pub fn next_dirty(&mut self) -> Option<SessionId> {
        let mut left = self.round.take().unwrap_or(self.dirty.len());
        while left > 0
            && let Some(id) = self.dirty.pop_front()
        {
            left -= usize::from(!is_planted(Fault::OfferedTwice));
            if self.offer(id) {
                self.round = Some(left);
                return Some(id);
            }
        }
        None
    }

    /// Offers a dirty session what waits for it; returns whether anything does.
    fn offer(&mut self, id: SessionId) -> bool {
        let Some(session) = self.session(id) else {
            return false;
        };
        if session.writing != Writing::Dirty {
            return false; // entered by an earlier session with this number
        }
        // Before anything is pulled in: that must not enter it into the list again.
        session.writing = Writing::Offered;
        if session.lagging_since.is_some() || !session.pulls.is_empty() {
            self.bring_up_to_date(id);
        }
        let Some(session) = self.session(id) else {
            return false;
        };
        if !session.outbox.is_empty() {
            return true;
        }
        session.writing = Writing::Idle;
        self.pull_later(id);
        false
    }

    /// The session's socket takes bytes again, after it did not take all that waited.
    pub fn writable(&mut self, id: SessionId) {
        self.take_back_offer(id);
        self.mark_dirty(id);
    }

    fn take_back_offer(&mut self, id: SessionId) {
        if let Some(session) = self.session(id)
            && session.writing == Writing::Offered
        {
            session.writing = Writing::Idle;
        }
    }

    /// Fills a session's outbox with messages that it was waiting to pull in. It is [`Self::writable`] for a caller that reads the
    /// outbox itself and does not use [`Self::next_dirty`].
    pub fn refill(&mut self, id: SessionId) {
        self.take_back_offer(id);
        self.bring_up_to_date(id);
        self.pull_later(id);
    }

    /// What waits for a session.
    #[must_use]
    pub fn outbox(&self, id: SessionId) -> Option<&Outbox> {
        self.sessions.get(id.index()).map(|session| &session.outbox)
    }

    /// Takes note that `count` bytes were written for a session; `done` gets each publication that was finished.
    ///
    /// # Errors
    /// When fewer bytes waited. What the far end has is not what the shard knows of then: the connection cannot go on.
    pub fn wrote(
        &mut self,
        id: SessionId,
        count: usize,
        now: Micros,
        done: impl FnMut(&Fanout),
    ) -> Result<(), Overrun> {
        let Some(session) = self.session(id).filter(|_| count > 0) else {
            return Ok(());
        };
        let advance = session.outbox.advance(count, done);
        if advance.spoke {
            session.last_out = now;
        }
        session.pressing = false;
        session.full_since = None;
        let waiting = session.outbox.data_bytes();
        session.one_shot_waits &= waiting > 0;
        if session.writing == Writing::Offered && session.outbox.is_empty() {
            session.writing = Writing::Idle;
        }
        let pulls = !session.pulls.is_empty();
        self.counts.ledger.settle(advance.settled);
        if pulls {
            self.mark_dirty(id);
        }
        match advance.excess {
            0 => Ok(()),
            excess => Err(Overrun(excess)),
        }
    }
}
