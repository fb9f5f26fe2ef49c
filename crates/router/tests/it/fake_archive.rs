//! An archive in memory that answers when it is told to.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard};

use tickwire_router::{
    Archive, ArchiveReply, ArchivedPart, ArchivedStart, Bookmark, Numbered, Publication, TopicId, WantedPart,
    WantedStart,
};
use tickwire_wire::{Micros, Seq};

/// What it was asked for.
#[derive(Debug)]
enum Asked {
    Start(Vec<WantedStart>, ArchiveReply<Vec<ArchivedStart>>),
    Part(WantedPart, ArchiveReply<ArchivedPart>),
}

#[derive(Debug, Default)]
struct State {
    messages: BTreeMap<TopicId, BTreeMap<Seq, Arc<Publication>>>,
    asked: VecDeque<Asked>,
}

/// Has every message that it was shown, except those that it has lost.
#[derive(Debug)]
pub(crate) struct FakeArchive {
    state: Mutex<State>,
    /// The most messages of a part.
    part: usize,
}

impl FakeArchive {
    pub(crate) fn new(part: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            part,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with it")
    }

    /// Keeps a message.
    pub(crate) fn keep(&self, message: &Arc<Publication>) {
        let mut state = self.lock();
        let topic = state.messages.entry(message.lineage.id).or_default();
        topic.insert(message.seq, message.clone());
    }

    /// Loses messages of a topic.
    pub(crate) fn lose(&self, topic: TopicId, seqs: &RangeInclusive<u64>) {
        if let Some(messages) = self.lock().messages.get_mut(&topic) {
            messages.retain(|seq, _| !seqs.contains(&seq.0));
        }
    }

    /// The number of requests that are not answered.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().asked.len()
    }

    /// Answers the first request. Returns whether there was one.
    pub(crate) fn answer(&self) -> bool {
        let Some(asked) = self.lock().asked.pop_front() else {
            return false;
        };
        match asked {
            Asked::Start(wanted, reply) => {
                let starts = wanted
                    .iter()
                    .map(|start| self.start(start.cell.id(), start.moment));
                reply.send(starts.collect());
            }
            Asked::Part(wanted, reply) => {
                let messages = self.part(&wanted);
                let is_full = messages.len() == self.part;
                let through = if is_full { Seq::ZERO } else { wanted.last };
                reply.send(wanted.found(messages, through, Bookmark(7)));
            }
        }
        true
    }

    /// Fails to answer the first request.
    pub(crate) fn fail(&self) {
        let asked = self.lock().asked.pop_front();
        drop(asked.expect("it was asked for something"));
    }

    fn start(&self, topic: TopicId, moment: Micros) -> ArchivedStart {
        let state = self.lock();
        let messages = state.messages.get(&topic).into_iter().flatten();
        let mut messages = messages.map(|(seq, message)| (*seq, message.ts));
        let oldest = messages.clone().next();
        let first = messages.find(|(_, ts)| *ts >= moment).map(|(seq, _)| seq);
        ArchivedStart { first, oldest }
    }

    fn part(&self, wanted: &WantedPart) -> Vec<Numbered> {
        let state = self.lock();
        let Some(messages) = state.messages.get(&wanted.cell.id()) else {
            return Vec::new();
        };
        let numbered = |message: &Arc<Publication>| Numbered {
            after: Seq(message.seq.0 - 1),
            seq: message.seq,
            ts: message.ts,
            payload: message.payload.clone(),
            doubt: None,
        };
        let behind = messages.range(wanted.after.next()..).take(self.part);
        behind
            .take_while(|(seq, _)| **seq <= wanted.last)
            .map(|(_, message)| numbered(message))
            .collect()
    }
}

impl Archive for FakeArchive {
    fn locate(&self, wanted: Vec<WantedStart>, reply: ArchiveReply<Vec<ArchivedStart>>) {
        self.lock().asked.push_back(Asked::Start(wanted, reply));
    }

    fn read(&self, wanted: WantedPart, reply: ArchiveReply<ArchivedPart>) {
        self.lock().asked.push_back(Asked::Part(wanted, reply));
    }
}
