//! A node of a lane: several brokers that share one log, of which one at a time writes.
//!
//! The log is elsewhere. It takes an entry only if it ends where its writer says, so it decides who the writer is. Each node,
//! the writer too, lets the messages of an entry enter only when the log has it. An entry that does not follow on the one before
//! it, by position, hash and term, is never entered: then the log has changed behind the node's back, and the node *doubts*.
//! It stays so until a writer begins a new *epoch*.
//!
//! What publishers hand in at any node are *submissions*. The node numbers them and sends them to the writer, again and again,
//! until it sees in the log what became of each.
//!
//! Nothing here uses a network, a thread or a clock. What happens comes in by [`LaneNode::handle`], and what is to be done is
//! taken out by [`LaneNode::poll_output`]. The node's [`LaneHost`] has the topics.

mod events;
mod following;
mod host;
mod known;
mod notice;
mod planted;
mod sending;
mod state;
mod stored;
mod submission;
mod takeover;
#[cfg(test)]
mod tests;
mod writing;

use std::collections::VecDeque;

use tickwire_wire::{Epoch, Micros};

pub use self::events::{Appended, EpochReason, Input, LanePhase, LogPart, Output};
pub use self::host::{LaneHost, LostTrack, Settlement};
use self::known::{Decisions, RecentEntries};
pub use self::notice::{Notice, Standing};
use self::sending::Sending;
pub use self::state::{LaneState, NodeStanding};
pub use self::stored::{Decided, LaneEntry, LaneFlags, LaneHead, Unpublished};
pub use self::submission::{Submission, SubmissionBatch, SubmissionNumber, Wish, put_submission};
use self::takeover::Takeover;
use self::writing::Writing;
use crate::{Chain, Place, Position};

/// A process that takes part in a lane. A process that is started again is another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The number of a writer's time as the writer. A later one is higher.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u32);

/// The times of a node, in microseconds.
#[derive(Debug, Clone, Copy)]
pub struct LaneTiming {
    /// Between two beats of a writer.
    pub beat_us: u64,
    /// Without a word of a writer until a node wants to become it: at least this, and at most half of it more.
    pub takeover_us: u64,
    /// In which others may object to a takeover.
    pub objection_us: u64,
    /// Until a submission of which nothing is seen is sent again.
    pub send_again_us: u64,
    /// Without a word of a writer until the node says that it is cut off.
    pub cut_off_us: u64,
    /// Between two attempts at anything that has failed.
    pub retry_us: u64,
}

impl Default for LaneTiming {
    fn default() -> Self {
        Self {
            beat_us: 250_000,
            takeover_us: 1_200_000,
            objection_us: 150_000,
            send_again_us: 500_000,
            cut_off_us: 3_000_000,
            retry_us: 200_000,
        }
    }
}

/// What a node may do.
#[derive(Debug, Clone, Copy)]
pub struct LaneRules {
    /// Its times.
    pub timing: LaneTiming,
    /// Whether it may become the writer.
    pub may_write: bool,
    /// Whether what the log has acknowledged survives a restart of all its servers, whatever has happened to them.
    pub log_is_synced: bool,
}

/// What a node is doing.
#[derive(Debug)]
enum Phase {
    /// It waits for the state of the lane.
    Joining,
    /// It follows the log.
    Following,
    /// It tries to become the writer.
    TakingOver(Takeover),
    /// It is the writer.
    Writing(Box<Writing>),
    /// The log has another past than the one that it has entered.
    Doubting,
}

/// A node of a lane.
#[derive(Debug)]
pub struct LaneNode<H> {
    id: NodeId,
    rules: LaneRules,
    host: H,
    /// Makes times random.
    chance: u64,
    phase: Phase,
    is_connected: bool,
    /// Whether it has the state of all topics at `place`.
    has_state: bool,
    epoch: Option<Epoch>,
    /// Whether everything that was kept from the epoch before is published again.
    is_whole: bool,
    term: Term,
    writer: Option<NodeId>,
    place: Place,
    recent: RecentEntries,
    decisions: Decisions,
    sending: Sending,
    /// When something was last heard of the writer.
    heard: Micros,
    /// When to try to become the writer, if nothing is heard of one.
    takes_over_at: Micros,
    /// Whether a part of the log is being read.
    is_reading: bool,
    /// The number of the newest read, and where the node was when it was asked for.
    reads: u64,
    read_at: Position,
    /// Whether the log is to be read again, since the part that is being read may end too early.
    reads_again: bool,
    /// Entries that came before those in front of them.
    early: std::collections::BTreeMap<Position, Vec<u8>>,
    early_bytes: usize,
    /// The newest entry of the log that is known.
    log_end: Position,
    /// When to try again what has failed.
    retry_at: Option<Micros>,
    beaten: Micros,
    is_leaving: bool,
    /// Whether the writer must leave its mark again, as the log's servers may have been restarted. It does so once it has seen
    /// that the log is as it was.
    must_mark: bool,
    /// The number of the newest append.
    appends: u64,
    outputs: VecDeque<Output>,
}

/// Most bytes of entries that wait for those in front of them.
const EARLY_BYTES_MAX: usize = 4 * 1024 * 1024;

impl<H: LaneHost> LaneNode<H> {
    /// A node that knows nothing yet. `seed` makes its times other than those of others.
    #[must_use]
    pub fn new(id: NodeId, rules: LaneRules, host: H, seed: u64) -> Self {
        Self {
            id,
            rules,
            host,
            chance: seed | 1,
            phase: Phase::Joining,
            is_connected: false,
            has_state: false,
            epoch: None,
            is_whole: true,
            term: Term(0),
            writer: None,
            place: Place::default(),
            recent: RecentEntries::default(),
            decisions: Decisions::default(),
            sending: Sending::new(id),
            heard: Micros(0),
            takes_over_at: Micros(0),
            is_reading: false,
            reads: 0,
            read_at: Position(0),
            reads_again: false,
            early: std::collections::BTreeMap::new(),
            early_bytes: 0,
            log_end: Position(0),
            retry_at: None,
            beaten: Micros(0),
            is_leaving: false,
            must_mark: false,
            appends: 0,
            outputs: VecDeque::new(),
        }
    }

    /// The topics.
    #[must_use]
    pub fn host(&self) -> &H {
        &self.host
    }

    /// The topics.
    pub fn host_mut(&mut self) -> &mut H {
        &mut self.host
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Takes note of what has happened.
    pub fn handle(&mut self, input: Input, now: Micros) {
        match input {
            Input::Connected => self.connected(now),
            Input::Disconnected => self.disconnected(now),
            Input::Live(position, bytes) => self.live(position, bytes, now),
            Input::Read(number, part) if number == self.reads => self.read(part, now),
            Input::NotRead(number) if number == self.reads => {
                self.is_reading = false;
                self.retry_at = Some(self.later(now));
            }
            Input::Read(..) | Input::NotRead(_) => {}
            Input::Appended(number, appended) if number == self.appends => self.appended(appended, now),
            Input::Appended(..) => {}
            Input::Notice(notice) => self.noticed(notice, now),
            Input::Batch(batch) => self.batch(batch),
            Input::Submitted(count, body) => self.sending.add(count, body, now),
            Input::Mark(is_there) => self.mark_is(is_there, now),
            Input::State(state) => self.got_state(state, now),
            Input::Leave => self.is_leaving = true,
            Input::Tick => {}
        }
        self.go_on(now);
    }

    /// Does what is due.
    fn go_on(&mut self, now: Micros) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            match self.phase {
                Phase::Joining if !self.has_state => self.ask_state(),
                _ => self.want_read(),
            }
        }
        self.consider_takeover(now);
        self.write(now);
        self.send(now);
    }

    fn later(&self, now: Micros) -> Micros {
        Micros(now.0 + self.rules.timing.retry_us)
    }

    /// When [`Input::Tick`] is due at the latest.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Micros> {
        let beat = matches!(self.phase, Phase::Writing(_));
        let beat = beat.then(|| Micros(self.beaten.0 + self.rules.timing.beat_us));
        let takeover = match &self.phase {
            Phase::TakingOver(takeover) => takeover.due(),
            Phase::Following | Phase::Doubting if self.may_take_over() => Some(self.takes_over_at),
            _ => None,
        };
        let again = self.sending.due(self.rules.timing.send_again_us);
        [beat, takeover, again, self.retry_at].into_iter().flatten().min()
    }

    /// Where the node stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            node: self.id,
            term: self.term,
            epoch: self.epoch.clone().unwrap_or_else(|| Epoch::from("none")),
            place: self.place,
        }
    }

    /// What the node does and knows at `now`.
    #[must_use]
    pub fn report(&self, now: Micros) -> NodeStanding {
        let cut_off = !self.is_connected || now.since(self.heard) >= self.rules.timing.cut_off_us;
        let phase = match &self.phase {
            Phase::Joining => LanePhase::Joining,
            Phase::Doubting => LanePhase::Doubting,
            _ if cut_off => LanePhase::CutOff,
            Phase::Writing(_) => LanePhase::Writing,
            Phase::Following if !self.has_state => LanePhase::Joining,
            Phase::Following => LanePhase::Following,
            Phase::TakingOver(_) => LanePhase::TakingOver,
        };
        NodeStanding {
            phase,
            standing: self.standing(),
            writer: self.writer,
            log_end: self.log_end.max(self.place.position),
            unsettled: self.sending.unsettled(),
            unsettled_bytes: self.sending.bytes(),
            is_connected: self.is_connected,
        }
    }

    /// The writer has seen that the log ends where it should.
    fn log_is_whole(&mut self) {
        if matches!(self.phase, Phase::Writing(_)) && std::mem::take(&mut self.must_mark) {
            self.outputs.push_back(Output::MakeMark);
        }
    }

    /// A number that looks random.
    fn random(&mut self, below: u64) -> u64 {
        // xorshift64*, by Vigna.
        self.chance ^= self.chance >> 12;
        self.chance ^= self.chance << 25;
        self.chance ^= self.chance >> 27;
        (self.chance.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) % below.max(1)
    }

    /// Something was heard of a writer.
    fn heard(&mut self, now: Micros) {
        self.heard = now;
        let least = self.rules.timing.takeover_us;
        self.takes_over_at = Micros(now.0 + least + self.random(least / 2));
    }

    fn connected(&mut self, now: Micros) {
        self.is_connected = true;
        self.is_reading = false;
        self.heard(now);
        self.must_mark = matches!(self.phase, Phase::Writing(_));
        if self.has_state {
            self.want_read();
        } else {
            self.ask_state();
        }
        self.sending.again();
    }

    fn disconnected(&mut self, now: Micros) {
        self.is_connected = false;
        self.is_reading = false;
        self.retry_at = None;
        if matches!(self.phase, Phase::TakingOver(_)) {
            self.follow(now);
        }
        if !self.has_state {
            self.phase = Phase::Joining;
        }
    }

    fn ask_state(&mut self) {
        self.phase = Phase::Joining;
        if self.is_connected {
            self.outputs.push_back(Output::AskState);
        }
    }

    /// Has an entry appended.
    fn append_bytes(&mut self, bytes: Vec<u8>, expected: Position) {
        self.appends += 1;
        self.outputs.push_back(Output::Append {
            number: self.appends,
            bytes,
            expected,
        });
    }

    /// The place and hash of an entry.
    fn place_of(position: Position, bytes: &[u8]) -> Place {
        Place {
            position,
            chain: Chain::of(bytes),
        }
    }
}
