//! A made-up world: some nodes, the log, the network between them, and faults.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

use tickwire_wire::Micros;

use super::host::{TestHost, Truth};
use crate::Position;
use crate::node::{
    Appended, EpochReason, Input, LaneNode, LanePhase, LaneRules, LaneState, LaneTiming, LogPart, NodeId,
    Notice, Output, SubmissionBatch, Wish, put_submission,
};

const NODES: usize = 3;
/// How long faults happen, and how long afterwards everything has to be right again.
const FAULTS_US: u64 = 12_000_000;
const QUIET_US: u64 = 15_000_000;
/// Entries that one read gives.
const READ: usize = 16;

/// What has happened.
#[derive(Debug, Default)]
pub(super) struct Tally {
    submitted: u64,
    refused: u64,
    takeovers: u64,
    deaths: u64,
    pauses: u64,
    cuts: u64,
    set_back: u64,
    shortened: u64,
    wiped: u64,
    trimmed: u64,
    states: u64,
    epochs: [u64; 4],
}

impl Tally {
    pub(super) fn add(&mut self, more: &Self) {
        let sums = [
            (&mut self.submitted, more.submitted),
            (&mut self.refused, more.refused),
            (&mut self.takeovers, more.takeovers),
            (&mut self.deaths, more.deaths),
            (&mut self.pauses, more.pauses),
            (&mut self.cuts, more.cuts),
            (&mut self.set_back, more.set_back),
            (&mut self.shortened, more.shortened),
            (&mut self.wiped, more.wiped),
            (&mut self.trimmed, more.trimmed),
            (&mut self.states, more.states),
        ];
        for (sum, count) in sums {
            *sum += count;
        }
        for (sum, count) in self.epochs.iter_mut().zip(more.epochs) {
            *sum += count;
        }
    }

    pub(super) fn counts(&self) -> Vec<(&'static str, u64)> {
        let mut counts = vec![
            ("a submission", self.submitted),
            ("a refusal", self.refused),
            ("a takeover", self.takeovers),
            ("a death", self.deaths),
            ("a pause", self.pauses),
            ("a cut", self.cuts),
            ("a log set back", self.set_back),
            ("a log shortened behind its servers' backs", self.shortened),
            ("a log wiped", self.wiped),
            ("a trimmed log", self.trimmed),
            ("a copied state", self.states),
        ];
        let reasons = EpochReason::ALL.iter().map(|reason| reason.as_str());
        counts.extend(reasons.zip(self.epochs));
        counts
    }
}

#[derive(Debug)]
enum Event {
    /// Something reaches a node, which must still be this one.
    ToNode(usize, NodeId, Input),
    /// An append of a node reaches the log.
    Append(usize, NodeId, u64, Vec<u8>, Position),
    Read(usize, NodeId, u64, Position),
    Tell(Vec<u8>),
    Forward(NodeId, Vec<u8>),
    State(usize, NodeId),
    Mark(usize, NodeId, bool),
    Tick(usize),
    Submit,
    Fault,
    Heal(usize),
}

struct Slot {
    node: LaneNode<TestHost>,
    id: NodeId,
    is_connected: bool,
    is_paused: bool,
    /// When the last submissions that it has sent arrive.
    forwarded_at: u64,
    /// What comes while it is paused.
    waiting: Vec<Input>,
    ticks_at: Option<u64>,
}

struct World {
    now: u64,
    chance: u64,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    contents: std::collections::BTreeMap<u64, Event>,
    made: u64,
    slots: Vec<Slot>,
    log: Vec<Vec<u8>>,
    /// The position of the first entry in `log`, less one.
    base: u64,
    mark: bool,
    /// Until when no other fault happens.
    calm_until: u64,
    truth: Rc<RefCell<Truth>>,
    tally: Tally,
    next_id: u64,
    texts: u64,
}

/// Looks at one world.
pub(super) fn run(seed: u64) -> Result<Tally, String> {
    let mut world = World::new(seed);
    world.at(0, Event::Submit);
    let first = world.random(2_000_000);
    world.at(first, Event::Fault);
    for at in 0..NODES {
        world.start(at);
    }
    world.until(FAULTS_US)?;
    for at in 0..NODES {
        world.heal(at);
    }
    world.until(FAULTS_US + QUIET_US)?;
    world.check_end()?;
    Ok(world.tally)
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            now: 1_000_000,
            chance: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            events: BinaryHeap::new(),
            contents: std::collections::BTreeMap::new(),
            made: 0,
            slots: Vec::new(),
            log: Vec::new(),
            base: 0,
            mark: false,
            calm_until: 0,
            truth: Rc::default(),
            tally: Tally::default(),
            next_id: 1,
            texts: 0,
        };
        for _ in 0..NODES {
            let slot = world.new_slot();
            world.slots.push(slot);
        }
        world
    }

    fn random(&mut self, below: u64) -> u64 {
        self.chance ^= self.chance >> 12;
        self.chance ^= self.chance << 25;
        self.chance ^= self.chance >> 27;
        (self.chance.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) % below.max(1)
    }

    fn new_slot(&mut self) -> Slot {
        let id = NodeId(self.next_id);
        self.next_id += 1;
        let rules = LaneRules {
            timing: LaneTiming::default(),
            may_write: true,
            log_is_synced: false,
        };
        let seed = self.random(u64::from(u32::MAX));
        Slot {
            node: LaneNode::new(id, rules, TestHost::new(self.truth.clone()), seed),
            id,
            is_connected: false,
            is_paused: false,
            forwarded_at: 0,
            waiting: Vec::new(),
            ticks_at: None,
        }
    }

    fn at(&mut self, after: u64, event: Event) {
        self.made += 1;
        self.events.push(Reverse((self.now + after, self.made)));
        self.contents.insert(self.made, event);
    }

    fn start(&mut self, at: usize) {
        self.slots[at].is_connected = true;
        self.input(at, Input::Connected);
    }

    fn until(&mut self, end: u64) -> Result<(), String> {
        let end = 1_000_000 + end;
        while let Some(Reverse((at, number))) = self.events.peek().copied() {
            if at > end {
                break;
            }
            self.events.pop();
            self.now = at;
            let event = self.contents.remove(&number);
            if let Some(event) = event {
                self.happens(event);
            }
            if let Some(broken) = &self.truth.borrow().broken {
                return Err(format!("at {}: {broken}", self.now));
            }
        }
        self.now = end;
        Ok(())
    }

    fn input(&mut self, at: usize, input: Input) {
        let now = Micros(self.now);
        let slot = &mut self.slots[at];
        if slot.is_paused {
            slot.waiting.push(input);
            return;
        }
        slot.node.handle(input, now);
        while let Some(output) = self.slots[at].node.poll_output() {
            self.output(at, output);
        }
        let slot = &mut self.slots[at];
        let due = slot.node.next_timeout().map(|due| due.0.max(self.now + 1));
        let is_sooner = |due: &u64| slot.ticks_at.is_none_or(|at| at > *due || at <= self.now);
        if let Some(due) = due.filter(is_sooner) {
            slot.ticks_at = Some(due);
            let after = due - self.now;
            self.at(after, Event::Tick(at));
        }
    }

    fn output(&mut self, at: usize, output: Output) {
        let (id, is_connected) = (self.slots[at].id, self.slots[at].is_connected);
        let delay = 200 + self.random(2_000);
        match output {
            Output::Append {
                number,
                bytes,
                expected,
            } => {
                self.at(
                    1_500_000,
                    Event::ToNode(at, id, Input::Appended(number, Appended::Unknown)),
                );
                // What was sent before a cut may still arrive.
                if is_connected || self.random(2) == 0 {
                    let late = if self.random(40) == 0 { 2_000_000 } else { 0 };
                    self.at(delay + late, Event::Append(at, id, number, bytes, expected));
                }
            }
            Output::EpochBegun(reason) => self.tally.epochs[reason as usize] += 1,
            Output::MakeMark => {
                self.tally.takeovers += 1;
                self.mark |= is_connected;
            }
            _ if !is_connected => {}
            Output::Read(number, from) => self.at(delay, Event::Read(at, id, number, from)),
            Output::Tell(notice) => self.at(delay, Event::Tell(notice.bytes())),
            Output::Forward(to, batch) => {
                // Messages of one connection come in their order, if they come.
                let arrives = (self.now + delay).max(self.slots[at].forwarded_at);
                self.slots[at].forwarded_at = arrives;
                if self.random(50) > 0 {
                    self.at(arrives - self.now, Event::Forward(to, batch.bytes()));
                }
            }
            Output::AskState => self.at(delay, Event::State(at, id)),
            Output::LookForMark => {
                let mark = self.mark;
                self.at(delay, Event::Mark(at, id, mark));
            }
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::ToNode(at, id, input) => {
                if self.slots[at].id == id {
                    self.input(at, input);
                }
            }
            Event::Append(at, id, number, bytes, expected) => self.append(at, id, number, &bytes, expected),
            Event::Read(at, id, number, from) => self.read(at, id, (number, from)),
            Event::Tell(bytes) => self.tell(&bytes),
            Event::Forward(to, bytes) => self.forward(to, &bytes),
            Event::State(at, id) => self.copy_state(at, id),
            Event::Mark(at, id, mark) => self.reach(at, id, Input::Mark(mark)),
            Event::Tick(at) => {
                if self.slots[at].ticks_at == Some(self.now) {
                    self.slots[at].ticks_at = None;
                }
                self.input(at, Input::Tick);
            }
            Event::Submit => self.submit(),
            Event::Fault => self.fault(),
            Event::Heal(at) => self.heal(at),
        }
    }

    fn reach(&mut self, at: usize, id: NodeId, input: Input) {
        if self.slots[at].is_connected {
            let delay = 100 + self.random(1_500);
            self.at(delay, Event::ToNode(at, id, input));
        }
    }

    fn last(&self) -> u64 {
        self.base + self.log.len() as u64
    }

    fn append(&mut self, at: usize, id: NodeId, number: u64, bytes: &[u8], expected: Position) {
        if expected.0 != self.last() {
            return self.reach(at, id, Input::Appended(number, Appended::Refused));
        }
        self.log.push(bytes.to_vec());
        let position = Position(self.last());
        for other in 0..NODES {
            let id = self.slots[other].id;
            if self.random(30) > 0 {
                self.reach(other, id, Input::Live(position, bytes.to_vec()));
            }
        }
        self.reach(at, id, Input::Appended(number, Appended::Stored(position)));
    }

    fn read(&mut self, at: usize, id: NodeId, (number, from): (u64, Position)) {
        let (first, last) = (self.base + 1, self.last());
        let skip = from.0.max(first) - first;
        let entries = self.log.iter().enumerate().skip(skip as usize).take(READ);
        let entries = entries.map(|(index, bytes)| (Position(first + index as u64), bytes.clone()));
        let part = LogPart {
            first: Position(first),
            last: Position(last),
            entries: entries.collect(),
        };
        let input = if self.random(50) == 0 {
            Input::NotRead(number)
        } else {
            Input::Read(number, part)
        };
        self.reach(at, id, input);
    }

    fn tell(&mut self, bytes: &[u8]) {
        for other in 0..NODES {
            let notice = Notice::read(bytes).expect("a notice");
            let id = self.slots[other].id;
            self.reach(other, id, Input::Notice(notice));
        }
    }

    fn forward(&mut self, to: NodeId, bytes: &[u8]) {
        if let Some(at) = (0..NODES).find(|at| self.slots[*at].id == to) {
            let batch = SubmissionBatch::read(bytes).expect("a batch");
            if self.slots[at].is_connected {
                self.at(0, Event::ToNode(at, to, Input::Batch(batch)));
            }
        }
    }

    fn copy_state(&mut self, at: usize, id: NodeId) {
        let has_it = |other: &usize| {
            let slot = &self.slots[*other];
            *other != at && slot.is_connected && !slot.is_paused && slot.node.is_whole()
        };
        let state = (0..NODES).find(has_it).map(|other| {
            let state = self.slots[other].node.state().expect("it has it");
            let mut bytes = Vec::new();
            state.put(&mut bytes);
            (other, LaneState::read(&bytes).expect("a state").0)
        });
        if self.slots[at].id != id || !self.slots[at].is_connected {
            return;
        }
        if self.slots[at].is_paused {
            // It goes on with the question when it goes on.
            return self.at(500_000, Event::State(at, id));
        }
        let state = state.map(|(other, state)| {
            self.tally.states += 1;
            let copied = std::mem::replace(
                self.slots[other].node.host_mut(),
                TestHost::new(self.truth.clone()),
            );
            self.slots[at].node.host_mut().copy(&copied);
            *self.slots[other].node.host_mut() = copied;
            state
        });
        self.input(at, Input::State(state));
    }

    fn submit(&mut self) {
        let at = self.random(NODES as u64) as usize;
        if self.now < 1_000_000 + FAULTS_US {
            let after = 500 + self.random(40_000);
            self.at(after, Event::Submit);
        }
        if self.slots[at].is_paused {
            return;
        }
        let count = 1 + self.random(4) as u32;
        let mut body = Vec::new();
        for _ in 0..count {
            self.texts += 1;
            let (topic, text) = (format!("t.{}", self.random(5)), self.texts.to_string());
            let wish = Wish::Publish {
                text: text.as_bytes(),
                key: None,
                stamp: None,
            };
            put_submission(&mut body, &topic, &wish);
            self.slots[at].node.host_mut().own.push((topic, text, false));
            self.tally.submitted += 1;
        }
        self.input(at, Input::Submitted(count, body));
    }

    fn fault(&mut self) {
        if self.now < 1_000_000 + FAULTS_US {
            let after = 300_000 + self.random(2_500_000);
            self.at(after, Event::Fault);
        }
        if self.now < self.calm_until || self.random(6) == 0 && self.shorten() {
            return;
        }
        let at = self.random(NODES as u64) as usize;
        let heals = 200_000 + self.random(4_000_000);
        match self.random(10) {
            0..=2 => self.die(at),
            3 | 4 if self.slots[at].is_connected => {
                self.tally.cuts += 1;
                self.slots[at].is_connected = false;
                // The node may notice at once, or only when it gets no answer.
                if self.random(2) == 0 {
                    self.input(at, Input::Disconnected);
                }
                self.at(heals, Event::Heal(at));
            }
            5 | 6 => {
                self.tally.pauses += 1;
                self.slots[at].is_paused = true;
                self.at(heals, Event::Heal(at));
            }
            7 => {
                self.tally.set_back += 1;
                let lost = 1 + self.random(20) as usize;
                let left = self.log.len().saturating_sub(lost);
                self.log.truncate(left);
                self.restart_log();
            }
            8 => {
                self.tally.wiped += 1;
                self.log.clear();
                self.base = 0;
                self.restart_log();
            }
            _ => {
                self.tally.trimmed += 1;
                let kept = self.random(30) as usize;
                let gone = self.log.len().saturating_sub(kept);
                self.log.drain(..gone);
                self.base += gone as u64;
            }
        }
    }

    /// The log's servers are started again: what was on the way to them is lost, and what they had in memory.
    fn restart_log(&mut self) {
        self.mark = false;
        self.contents
            .retain(|_, event| !matches!(event, Event::Append(..)));
    }

    /// The log loses its end although its servers run on, and the writer dies. Somebody who lives has entered what is lost, so it
    /// must be noticed. Returns false if the world is not in such a state.
    fn shorten(&mut self) -> bool {
        let now = Micros(self.now);
        let last = Position(self.last());
        let is_well = |slot: &Slot| slot.is_connected && !slot.is_paused && slot.node.is_whole();
        let phase = |slot: &Slot| slot.node.report(now).phase;
        let writer = self
            .slots
            .iter()
            .position(|slot| phase(slot) == LanePhase::Writing);
        let (true, Some(writer)) = (self.slots.iter().all(is_well), writer) else {
            return false;
        };
        let others = (0..NODES).filter(|at| *at != writer);
        let seen = others
            .map(|at| self.slots[at].node.standing().place.position)
            .max();
        if seen != Some(last) || self.log.len() < 4 {
            return false;
        }
        let lost = 1 + self.random(3) as usize;
        let left = self.log.len() - lost;
        self.log.truncate(left);
        self.contents
            .retain(|_, event| !matches!(event, Event::Append(..)));
        self.tally.shortened += 1;
        self.calm_until = self.now + 5_000_000;
        self.die(writer);
        true
    }

    /// A node is killed, and started again.
    fn die(&mut self, at: usize) {
        self.tally.deaths += 1;
        self.tally.refused += self.slots[at].node.host().refused;
        let slot = self.new_slot();
        self.slots[at] = slot;
        let after = 100_000 + self.random(3_000_000);
        self.at(after, Event::Heal(at));
    }

    /// Everything that is wrong with a node is over.
    fn heal(&mut self, at: usize) {
        let was_connected = std::mem::replace(&mut self.slots[at].is_connected, true);
        if std::mem::replace(&mut self.slots[at].is_paused, false) {
            for input in std::mem::take(&mut self.slots[at].waiting) {
                self.input(at, input);
            }
            self.input(at, Input::Tick);
        }
        if !was_connected {
            self.input(at, Input::Disconnected);
            self.input(at, Input::Connected);
        }
    }

    fn check_end(&mut self) -> Result<(), String> {
        let now = Micros(self.now);
        let mut writers = 0;
        let mut all = None;
        for slot in &self.slots {
            let report = slot.node.report(now);
            writers += usize::from(report.phase == LanePhase::Writing);
            if !matches!(report.phase, LanePhase::Writing | LanePhase::Following) {
                return Err(format!(
                    "node {} is {:?} at the end: {report:?}",
                    slot.id, report.phase
                ));
            }
            if report.unsettled > 0 {
                return Err(format!(
                    "node {} has {} submissions left",
                    slot.id, report.unsettled
                ));
            }
            let host = slot.node.host();
            self.tally.refused += host.refused;
            if let Some((_, text, _)) = host.own.iter().find(|(_, _, is_settled)| !is_settled) {
                return Err(format!("{text} of node {} was never settled", slot.id));
            }
            let state = (report.standing.place, report.standing.epoch.clone(), host.all());
            match &all {
                None => all = Some(state),
                Some(first) if *first != state => {
                    return Err(format!("two nodes differ at the end: {first:?} and {state:?}"));
                }
                Some(_) => {}
            }
        }
        if writers == 1 {
            return Ok(());
        }
        Err(format!("there are {writers} writers at the end"))
    }
}
