//! What the writer does: it gives submissions their numbers, and appends entries, one at a time.
//!
//! While an entry is under way, submissions wait for the next one. Nothing that it numbers is visible before the log has it. If
//! an append is refused, or its outcome not known, the node is no longer the writer, and forgets what it has numbered.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use tickwire_wire::Micros;

use super::host::LaneHost;
use super::notice::{Notice, Standing};
use super::planted::{LaneFault, is_planted};
use super::stored::{Decided, LaneEntry, LaneFlags, LaneHead};
use super::submission::{SubmissionBatch, SubmissionNumber};
use super::{Appended, EpochReason, LaneNode, NodeId, Output, Phase, Term};
use crate::Position;
use crate::entry::EntryFlags;
use crate::writer::Writer;

/// The bytes from which on an entry takes no further item.
const ENTRY_BYTES: usize = 128 * 1024;
/// Most bytes of submissions that wait at the writer. Their nodes send again what finds no room.
const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The state of a writer.
#[derive(Debug)]
pub(super) struct Writing {
    writer: Writer,
    queue: VecDeque<SubmissionBatch>,
    queued_bytes: usize,
    /// The newest submission of each node that is queued or numbered in this term.
    taken: FxHashMap<NodeId, SubmissionNumber>,
    /// Whether an entry is under way.
    in_flight: bool,
    /// The term and reason of an epoch that the entry under way begins.
    begins: Option<(Term, EpochReason)>,
    /// The next entry must begin a new epoch, with a higher term than this.
    must_begin: Option<Term>,
    /// Whether the entry under way ends the term.
    ends: bool,
}

impl Writing {
    pub(super) fn new(writer: Writer) -> Self {
        Self {
            writer,
            queue: VecDeque::new(),
            queued_bytes: 0,
            taken: FxHashMap::default(),
            in_flight: false,
            begins: None,
            must_begin: None,
            ends: false,
        }
    }

    /// The entry under way is stored.
    pub(super) fn stored(&mut self) {
        self.writer.stored();
        self.in_flight = false;
    }
}

impl<H: LaneHost> LaneNode<H> {
    /// Submissions have come for the writer.
    pub(super) fn batch(&mut self, batch: SubmissionBatch) {
        let decided = self.decisions.of(batch.node);
        let Phase::Writing(writing) = &mut self.phase else {
            return;
        };
        let newest = writing.taken.get(&batch.node).copied().max(decided);
        let next = newest.map_or(batch.oldest, |newest| newest.plus(1));
        let next = if is_planted(LaneFault::RepeatedTaken) {
            batch.first
        } else {
            next
        };
        let is_next = batch.first <= next && next < batch.end();
        let bytes = batch.body.len();
        // Submissions of a node are taken in their order. Those behind missing ones come again.
        if is_next && writing.queued_bytes + bytes <= QUEUE_BYTES_MAX {
            writing
                .taken
                .insert(batch.node, SubmissionNumber(batch.end().0 - 1));
            writing.queued_bytes += bytes;
            // What is known of it already is passed over when it is numbered.
            writing.queue.push_back(SubmissionBatch {
                oldest: next,
                ..batch
            });
        }
    }

    /// Appends an entry, if there is something to append and none is under way; and beats.
    pub(super) fn write(&mut self, now: Micros) {
        if !matches!(self.phase, Phase::Writing(_)) {
            return;
        }
        if self.is_connected && now.since(self.beaten) >= self.rules.timing.beat_us {
            self.beat(now);
        }
        let Phase::Writing(writing) = &self.phase else {
            return;
        };
        if writing.in_flight || !self.is_connected {
            return;
        }
        if let Some(above) = writing.must_begin {
            return self.begin_epoch_anew(above, now);
        }
        let is_idle = writing.queue.is_empty() && self.is_whole;
        if is_idle && !self.is_leaving {
            return;
        }
        let (flags, decided) = self.gather(now);
        let Phase::Writing(writing) = &mut self.phase else {
            return;
        };
        if decided.is_empty() && writing.writer.gathered_items() == 0 && flags == LaneFlags::default() {
            return;
        }
        self.append(flags, decided, self.term);
    }

    fn append(&mut self, flags: LaneFlags, decided: Vec<Decided<'static>>, term: Term) {
        let Phase::Writing(writing) = &mut self.phase else {
            return;
        };
        let head = LaneHead {
            flags,
            term,
            writer: self.id,
            decided,
        };
        let expected = writing.writer.place().position;
        let entry_flags = EntryFlags {
            clean_end: flags.clean_end,
        };
        writing.writer.seal_behind(|out| head.put(out), entry_flags);
        writing.in_flight = true;
        writing.ends = flags.clean_end;
        let bytes = writing.writer.sealed().to_vec();
        self.append_bytes(bytes, expected);
        if is_planted(LaneFault::EnteredUnstored)
            && let Phase::Writing(writing) = &self.phase
            && let bytes = writing.writer.sealed().to_vec()
            && let Ok(entry) = LaneEntry::read(&bytes)
        {
            // The mutation: what is not stored yet becomes visible.
            let _lost = self.host.enter(&entry.entry, Micros(0));
        }
    }

    /// Gathers what the next entry has.
    fn gather(&mut self, now: Micros) -> (LaneFlags, Vec<Decided<'static>>) {
        let (mut flags, mut decided) = (LaneFlags::default(), Vec::new());
        let Phase::Writing(writing) = &mut self.phase else {
            return (flags, decided);
        };
        // Each entry declares its topics, so that it can be read alone.
        writing.writer.begin_segment();
        while writing.writer.gathered_bytes() < ENTRY_BYTES {
            let Some(mut batch) = writing.queue.pop_front() else {
                break;
            };
            let (done, rest) = number_batch(&mut self.host, &mut writing.writer, &batch, now);
            if done.count > 0 {
                decided.push(done);
            }
            match rest {
                Some(from) => {
                    batch.oldest = from;
                    writing.queue.push_front(batch);
                }
                None => writing.queued_bytes -= batch.body.len(),
            }
        }
        if !self.is_whole && writing.writer.gathered_bytes() < ENTRY_BYTES {
            let left = ENTRY_BYTES - writing.writer.gathered_bytes();
            flags.is_whole = self.host.number_kept(&mut writing.writer, left, now);
        }
        flags.clean_end = self.is_leaving && writing.queue.is_empty() && self.is_whole;
        (flags, decided)
    }

    /// What became of an append.
    pub(super) fn appended(&mut self, appended: Appended, now: Micros) {
        if self.term_appended(appended, now) {
            return;
        }
        let Phase::Writing(writing) = &mut self.phase else {
            return;
        };
        if !writing.in_flight {
            return;
        }
        let expected = writing.writer.place().position.next();
        match appended {
            Appended::Stored(position) if position == expected => self.stored(position, now),
            Appended::Stored(_) | Appended::Refused | Appended::Unknown => {
                writing.writer.dropped();
                self.follow(now);
            }
        }
    }

    /// The entry under way is stored.
    fn stored(&mut self, position: Position, now: Micros) {
        let Phase::Writing(writing) = &mut self.phase else {
            return;
        };
        let bytes = writing.writer.sealed().to_vec();
        let (begins, ends) = (writing.begins.take(), writing.ends);
        if begins.is_some() {
            writing.taken.clear();
            writing.queue.clear();
            writing.queued_bytes = 0;
        }
        writing.stored();
        let Ok(entry) = LaneEntry::read(&bytes) else {
            return; // it was made here
        };
        self.take(Self::place_of(position, &bytes), &entry, now);
        self.log_is_whole();
        if let Some((_, reason)) = begins {
            self.outputs.push_back(Output::EpochBegun(reason));
            self.sending.again();
        }
        if ends {
            self.beat(now);
            self.follow(now);
        }
    }

    /// Tells all that the writer is there.
    pub(super) fn beat(&mut self, now: Micros) {
        self.beaten = now;
        self.outputs
            .push_back(Output::Tell(Notice::Beat(self.standing())));
    }

    /// A node has entered something that is not in the log.
    pub(super) fn doubted(&mut self, doubter: &Standing) {
        let is_same_epoch = self.epoch.as_ref() == Some(&doubter.epoch);
        let is_beyond = doubter.place.position > self.place.position;
        let differs = self.recent.agrees(doubter.place) == Some(false);
        let Phase::Writing(writing) = &mut self.phase else {
            return;
        };
        if is_same_epoch && !is_beyond && !differs {
            // The doubt may be about the log, which may have lost what both have entered.
            return self.want_read();
        }
        if is_same_epoch || doubter.term >= self.term {
            writing.must_begin = Some(doubter.term.max(self.term));
        }
    }

    /// Begins a new epoch in the place of the next entry.
    fn begin_epoch_anew(&mut self, above: Term, now: Micros) {
        self.host.drop_numbered();
        let term = Term(above.0.max(self.term.0) + 1);
        let writer = self.first_writer(true, self.place.position, now);
        let Phase::Writing(writing) = &mut self.phase else {
            return;
        };
        writing.must_begin = None;
        writing.writer = writer;
        writing.begins = Some((term, EpochReason::Changed));
        let flags = LaneFlags {
            begins_term: true,
            begins_epoch: true,
            ..LaneFlags::default()
        };
        self.append(flags, Vec::new(), term);
    }
}

/// Numbers the submissions of a batch, from the number `oldest` on, until the entry is full. Returns what is decided, and the
/// number to go on from, if some are left.
fn number_batch<H: LaneHost>(
    host: &mut H,
    writer: &mut Writer,
    batch: &SubmissionBatch,
    now: Micros,
) -> (Decided<'static>, Option<SubmissionNumber>) {
    let from = batch.oldest;
    let mut decided = Decided {
        node: batch.node,
        first: from,
        count: 0,
        unpublished: Vec::new(),
    };
    let mut number = batch.first;
    for submission in batch.submissions() {
        let this = number;
        number = number.plus(1);
        if this < from {
            continue;
        }
        if writer.gathered_bytes() >= ENTRY_BYTES {
            return (decided, Some(this));
        }
        let Ok(submission) = submission else {
            continue; // it was read once before
        };
        if let Err(why) = host.number(&submission, writer, now) {
            decided.unpublished.push((decided.count, why));
        }
        decided.count += 1;
    }
    (decided, None)
}
