//! One view at work: the topics that it copies, what it holds of each, and when that is due.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use rustc_hash::FxHashMap;
use tickwire_wire::message::EndReason;
use tickwire_wire::{Kind, Micros, Payload, Seq, Topic};

use super::copy::{CopiedTopic, Held, HeldWhat, Outcome};
use super::{ViewPrefix, ViewRule, ViewTally};
use crate::cell::TopicCell;
use crate::directory::Directory;
use crate::ingress::Ingress;
use crate::observer::Observed;
use crate::publication::{Publication, TopicId};

/// When to try again what the journal did not take.
const RETRY_MS: u64 = 100;

/// One view at work.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) rule: ViewRule,
    /// The views' prefixes, whose topics are no sources.
    outputs: Arc<[ViewPrefix]>,
    /// The copies of the topics that exist. `None` for a topic that is none of this view.
    by_source: FxHashMap<TopicId, Option<CopyNo>>,
    copies: FxHashMap<CopyNo, CopiedTopic>,
    /// The newest copy of each name, and its source.
    by_name: FxHashMap<Topic, (TopicId, CopyNo)>,
    next: CopyNo,
    /// When the oldest message of each copy that holds any is due. Of equals, the copy that was made first comes first.
    pub(super) due: BinaryHeap<Reverse<(Micros, CopyNo)>>,
    is_full: bool,
    pub(super) tally: ViewTally,
}

/// The number of a copy in its view, in the order in which copies are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct CopyNo(u64);

impl Lane {
    pub(super) fn new(rule: ViewRule, outputs: &Arc<[ViewPrefix]>) -> Self {
        Self {
            rule,
            outputs: outputs.clone(),
            by_source: FxHashMap::default(),
            copies: FxHashMap::default(),
            by_name: FxHashMap::default(),
            next: CopyNo::default(),
            due: BinaryHeap::new(),
            is_full: false,
            tally: ViewTally::default(),
        }
    }

    /// The name of the copy of a topic; `None` if this view does not copy it.
    fn name_of(&self, source: &TopicCell) -> Option<Topic> {
        let name = source.topic().as_str();
        let is_output = self.outputs.iter().any(|output| output.heads(name));
        if is_output || !self.rule.pattern.matches(name) {
            return None;
        }
        self.rule.prefix.topic(name)
    }

    /// Behind which message to read a topic that exists: the newest of its copy, unless that is one of another life.
    pub(super) fn start_of(&self, source: &TopicCell, directory: &Directory) -> Option<Seq> {
        let name = self.name_of(source)?;
        if self.by_name.contains_key(&name) {
            return Some(Seq::ZERO); // it is about to end
        }
        Some(
            directory
                .find(name.as_str())
                .map_or(Seq::ZERO, |copy| copy.position().seq),
        )
    }

    /// Has the copies end that have no source, or one in another life: the delay after `now`, since it is not known when the
    /// source has ended.
    pub(super) fn end_orphans(&mut self, directory: &Directory, now: Micros) {
        let Some(copies) = self.rule.prefix.pattern(&self.rule.pattern) else {
            return;
        };
        for cell in directory.matching(&copies) {
            let head = cell.position().seq;
            let source = self.rule.prefix.source(cell.topic().as_str());
            let source = source.and_then(|source| directory.find(source));
            if source.is_some_and(|source| source.position().seq >= head) {
                continue;
            }
            let known = (Some(cell.clone()), head);
            let copy = self.add(
                (TopicId::default(), cell.kind()),
                cell.topic().clone(),
                known,
                now,
            );
            self.hold_end(copy, EndReason::Deleted, now);
        }
    }

    /// Adds a copy. The one of an earlier life of its source ends before it, although that end may be told later.
    fn add(
        &mut self,
        (source, kind): (TopicId, Kind),
        name: Topic,
        (cell, sent): (Option<Arc<TopicCell>>, Seq),
        now: Micros,
    ) -> CopyNo {
        let no = self.next;
        self.next.0 += 1;
        let earlier = self.by_name.insert(name.clone(), (source, no));
        let due = earlier.map_or(Micros(0), |(_, earlier)| {
            self.hold_end(earlier, EndReason::Deleted, now);
            self.copies.get(&earlier).map_or(Micros(0), |earlier| earlier.due)
        });
        let copy = CopiedTopic {
            name,
            kind,
            cell,
            sent,
            held: VecDeque::new(),
            seen: sent,
            due,
            is_ending: false,
            is_broken: false,
        };
        self.copies.insert(no, copy);
        no
    }

    /// The copy of a topic, made if this is the first time that it is asked for.
    pub(super) fn copy_of(
        &mut self,
        source: &TopicCell,
        directory: &Directory,
        now: Micros,
    ) -> Option<CopyNo> {
        if let Some(known) = self.by_source.get(&source.id()) {
            return *known;
        }
        let copy = self.name_of(source).and_then(|name| {
            if self
                .by_name
                .get(&name)
                .is_some_and(|(newer, _)| source.id() < *newer)
            {
                // A whole life was read from its history, behind the beginning of the next one.
                self.tally.lost += source.position().seq.0;
                return None;
            }
            let sent = self.start_of(source, directory).unwrap_or_default();
            let cell = directory.find(name.as_str()).filter(|_| sent > Seq::ZERO);
            Some(self.add((source.id(), source.kind()), name, (cell, sent), now))
        });
        self.by_source.insert(source.id(), copy);
        copy
    }

    pub(super) fn take(&mut self, observed: &Observed<'_>, directory: &Directory, now: Micros) {
        match *observed {
            Observed::Message(source, publication) => {
                if let Some(copy) = self.copy_of(source, directory, now) {
                    self.take_message(copy, source, publication);
                }
            }
            Observed::Missed(source, from, to) => {
                if let Some(no) = self.copy_of(source, directory, now) {
                    let copy = self.copies.get_mut(&no).expect("a copy has a topic");
                    // What was there before the view is not lost. A view of the same topic that is further behind has
                    // read from there.
                    let missed = match copy.seen {
                        Seq::ZERO => 0,
                        seen => to.0.saturating_sub(from.0.saturating_sub(1).max(seen.0)),
                    };
                    self.lose(no, to, missed);
                    self.mend(no, source);
                }
            }
            Observed::Ended(source) => {
                if let Some(no) = self.by_source.remove(&source.id()).flatten() {
                    let reason = source.ended().unwrap_or(EndReason::Deleted);
                    self.hold_end(no, reason, now);
                }
            }
        }
    }

    fn take_message(&mut self, no: CopyNo, source: &TopicCell, publication: &Publication) {
        let copy = self.copies.get_mut(&no).expect("a copy has a topic");
        if publication.seq <= copy.seen {
            return;
        }
        if copy.is_broken {
            self.lose(no, publication.seq, 1);
            return self.mend(no, source);
        }
        let what = HeldWhat::Message(publication.payload.clone(), publication.doubt);
        let times = (publication.entered, publication.ts);
        if !self.hold(no, publication.seq, times, what) {
            self.lose(no, publication.seq, 1);
        }
    }

    /// Counts messages that are not held, up to number `seq`.
    fn lose(&mut self, no: CopyNo, seq: Seq, count: u64) {
        let copy = self.copies.get_mut(&no).expect("a copy has a topic");
        if seq <= copy.seen {
            return;
        }
        copy.seen = seq;
        copy.is_broken = copy.kind == Kind::Book;
        self.tally.lost += count;
    }

    /// Has a book of which changes are missing go on with the whole book.
    fn mend(&mut self, no: CopyNo, source: &TopicCell) {
        let is_broken = self.copies.get(&no).is_some_and(|copy| copy.is_broken);
        let Some(whole) = source.snapshot().filter(|_| is_broken) else {
            return;
        };
        let Payload::Book(book) = &whole.payload else {
            return;
        };
        let mut book = book.clone();
        book.replace = true;
        let what = HeldWhat::Message(Payload::Book(book), whole.doubt);
        if self.hold(no, whole.seq, (whole.entered, whole.ts), what) {
            let copy = self.copies.get_mut(&no).expect("a copy has a topic");
            copy.is_broken = false;
        }
    }

    /// Holds a message. Returns `false` if the view is full.
    fn hold(&mut self, no: CopyNo, seq: Seq, (entered, ts): (Micros, Micros), what: HeldWhat) -> bool {
        let delay_ms = self.rule.delay_ms;
        let held = Held {
            due: entered.plus_ms(delay_ms),
            ts: ts.plus_ms(delay_ms),
            seq,
            what,
        };
        let max = self.rule.bytes_max as u64;
        let after = self.tally.held_bytes + held.bytes() as u64;
        self.is_full = after > if self.is_full { max - max / 8 } else { max };
        if self.is_full {
            return false;
        }
        self.push(no, held);
        true
    }

    /// Holds the end of a source, unless it is held already. Ends are held by a view that is full, too: each is of a topic that
    /// exists.
    fn hold_end(&mut self, no: CopyNo, reason: EndReason, now: Micros) {
        let Some(copy) = self.copies.get_mut(&no) else {
            return; // it has ended
        };
        if std::mem::replace(&mut copy.is_ending, true) {
            return;
        }
        let due = now.plus_ms(self.rule.delay_ms);
        self.push(
            no,
            Held {
                due,
                ts: due,
                seq: Seq::ZERO,
                what: HeldWhat::End(reason),
            },
        );
    }

    fn push(&mut self, no: CopyNo, mut held: Held) {
        let copy = self.copies.get_mut(&no).expect("a copy has a topic");
        copy.seen = copy.seen.max(held.seq);
        self.tally.held += 1;
        self.tally.held_bytes += held.bytes() as u64;
        // What is read from a history may come behind the end of its topic.
        let end = copy.held.pop_back_if(|last| last.is_end());
        // Messages of one topic stay in their order.
        match &end {
            None => {
                held.due = held.due.max(copy.due);
                copy.due = held.due;
            }
            Some(_) => {
                let before = copy.held.back().map_or(Micros(0), |before| before.due);
                held.due = held.due.max(before).min(copy.due);
            }
        }
        if copy.held.is_empty() && end.is_none() {
            self.due.push(Reverse((held.due, no)));
        }
        copy.held.push_back(held);
        copy.held.extend(end);
    }

    pub(super) fn publish_due(&mut self, ingress: &Ingress, now: Micros, max: usize) -> bool {
        for _ in 0..max {
            let Some(Reverse((due, no))) = self.due.peek().copied() else {
                return false;
            };
            if due > now {
                return false;
            }
            self.due.pop();
            let copy = self.copies.get_mut(&no).expect("a copy has a topic");
            let held = copy.held.pop_front().expect("a copy that is due holds something");
            let bytes = held.bytes() as u64;
            let outcome = copy.publish(held, ingress, now);
            let next_due = match outcome {
                Outcome::Later(held) => {
                    copy.held.push_front(held);
                    self.due.push(Reverse((now.plus_ms(RETRY_MS), no)));
                    continue;
                }
                Outcome::Published => {
                    self.tally.published += 1;
                    copy.next_due()
                }
                Outcome::Known => copy.next_due(),
                Outcome::Refused => {
                    let (dropped, freed) = copy.drop_changes();
                    self.tally.refused += 1 + dropped;
                    self.tally.held -= dropped;
                    self.tally.held_bytes -= freed;
                    copy.next_due()
                }
                Outcome::Ended => {
                    if let Some(ended) = self.copies.remove(&no)
                        && self
                            .by_name
                            .get(&ended.name)
                            .is_some_and(|(_, newest)| *newest == no)
                    {
                        self.by_name.remove(&ended.name);
                    }
                    None
                }
            };
            self.tally.held -= 1;
            self.tally.held_bytes -= bytes;
            if let Some(due) = next_due {
                self.due.push(Reverse((due, no)));
            }
        }
        self.due.peek().is_some_and(|Reverse((due, _))| *due <= now)
    }
}
