//! The archive in the simulation: it has what was published, in some worlds not all of it, and answers some rounds later.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tickwire_router::{
    Archive, ArchiveReply, ArchivedPart, ArchivedStart, Bookmark, Numbered, TopicCell, TopicId, WantedPart,
    WantedStart,
};
use tickwire_wire::{Micros, Payload, Seq};

/// The most messages of a part.
const PART: usize = 5;
/// A lossy archive loses a message of so many.
const LOST_OF: u64 = 11;
/// The most rounds of a shard for which an answer takes.
const ROUNDS: u64 = 4;

/// A message as it was published.
#[derive(Debug, Clone)]
struct Stored {
    ts: Micros,
    payload: Payload,
}

#[derive(Debug)]
enum Asked {
    Start(Vec<WantedStart>, ArchiveReply<Vec<ArchivedStart>>),
    Part(WantedPart, ArchiveReply<ArchivedPart>),
}

#[derive(Debug, Default)]
struct State {
    messages: BTreeMap<TopicId, BTreeMap<Seq, Stored>>,
    /// What it was asked for, with the round in which it answers.
    asked: VecDeque<(u64, Asked)>,
    round: u64,
    answered: u64,
}

/// Answers in the order in which it is asked.
#[derive(Debug)]
pub(crate) struct SimArchive {
    state: Mutex<State>,
    is_lossy: bool,
}

impl SimArchive {
    pub(crate) fn new(is_lossy: bool) -> Self {
        Self {
            state: Mutex::default(),
            is_lossy,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the messages of a topic that are new and that the history still has.
    pub(crate) fn keep(&self, cell: &TopicCell) {
        let mut state = self.lock();
        let messages = state.messages.entry(cell.id()).or_default();
        let last = messages.last_key_value().map_or(Seq::ZERO, |(seq, _)| *seq);
        let mut fresh = Vec::new();
        cell.read_after(last, usize::MAX, &mut fresh);
        for message in fresh {
            if self.is_lossy && message.seq.0 % LOST_OF == 3 {
                continue;
            }
            let (ts, payload) = (message.ts, message.payload.clone());
            messages.insert(message.seq, Stored { ts, payload });
        }
    }

    /// Whether it has a message of a topic.
    pub(crate) fn has(&self, topic: TopicId, seq: u64) -> bool {
        let state = self.lock();
        state
            .messages
            .get(&topic)
            .is_some_and(|messages| messages.contains_key(&Seq(seq)))
    }

    /// Lets a round pass. Returns whether something is still to be answered.
    pub(crate) fn pass(&self) -> bool {
        let due = {
            let mut state = self.lock();
            state.round += 1;
            let round = state.round;
            let due = state.asked.iter().take_while(|(at, _)| *at <= round).count();
            state
                .asked
                .drain(..due)
                .map(|(_, asked)| asked)
                .collect::<Vec<_>>()
        };
        for asked in due {
            match asked {
                Asked::Start(wanted, reply) => {
                    let starts = wanted
                        .iter()
                        .map(|start| self.start(start.cell.id(), start.moment));
                    reply.send(starts.collect());
                }
                Asked::Part(wanted, reply) => {
                    let messages = self.part(&wanted);
                    let through = if messages.len() == PART {
                        Seq::ZERO
                    } else {
                        wanted.last
                    };
                    reply.send(wanted.found(messages, through, Bookmark::default()));
                }
            }
        }
        !self.lock().asked.is_empty()
    }

    fn ask(&self, asked: Asked) {
        let mut state = self.lock();
        state.answered = state
            .answered
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let at = state.round + (state.answered >> 33) % (ROUNDS + 1);
        // The order stays.
        let at = state.asked.back().map_or(at, |(last, _)| at.max(*last));
        state.asked.push_back((at, asked));
    }

    fn start(&self, topic: TopicId, moment: Micros) -> ArchivedStart {
        let state = self.lock();
        let messages = state.messages.get(&topic).into_iter().flatten();
        let mut messages = messages.map(|(seq, stored)| (*seq, stored.ts));
        let oldest = messages.clone().next();
        let first = messages.find(|(_, ts)| *ts >= moment).map(|(seq, _)| seq);
        ArchivedStart { first, oldest }
    }

    fn part(&self, wanted: &WantedPart) -> Vec<Numbered> {
        let state = self.lock();
        let messages = state.messages.get(&wanted.cell.id());
        let behind = messages
            .into_iter()
            .flat_map(|all| all.range(wanted.after.next()..));
        let up_to = behind.take_while(|(seq, _)| **seq <= wanted.last).take(PART);
        up_to
            .map(|(seq, stored)| Numbered {
                after: Seq(seq.0 - 1),
                seq: *seq,
                ts: stored.ts,
                payload: stored.payload.clone(),
                doubt: None,
            })
            .collect()
    }
}

impl Archive for SimArchive {
    fn locate(&self, wanted: Vec<WantedStart>, reply: ArchiveReply<Vec<ArchivedStart>>) {
        self.ask(Asked::Start(wanted, reply));
    }

    fn read(&self, wanted: WantedPart, reply: ArchiveReply<ArchivedPart>) {
        self.ask(Asked::Part(wanted, reply));
    }
}
