//! A node's own submissions until it is known what became of them.

use std::collections::VecDeque;

use tickwire_wire::Micros;

use super::host::{LaneHost, Settlement};
use super::planted::{LaneFault, is_planted};
use super::stored::{Decided, LaneEntry, Unpublished};
use super::submission::{SubmissionBatch, SubmissionNumber};
use super::{LaneNode, NodeId, Output, Phase};

/// The bytes of submissions that are on the way to the writer together.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;

/// Most bytes of submissions that are sent together, unless a single batch has more.
const BATCH_BYTES: usize = 128 * 1024;

/// The submissions of a node that are not settled.
#[derive(Debug)]
pub(super) struct Sending {
    node: NodeId,
    batches: VecDeque<SubmissionBatch>,
    bytes: usize,
    /// The oldest that is not settled.
    oldest: SubmissionNumber,
    /// The number of the next one.
    next: SubmissionNumber,
    /// Up to which they are sent.
    sent: SubmissionNumber,
    /// When the last one was settled, or the first one sent.
    progressed: Micros,
}

impl Sending {
    pub(super) const fn new(node: NodeId) -> Self {
        Self {
            node,
            batches: VecDeque::new(),
            bytes: 0,
            oldest: SubmissionNumber(1),
            next: SubmissionNumber(1),
            sent: SubmissionNumber(1),
            progressed: Micros(0),
        }
    }

    pub(super) fn unsettled(&self) -> u64 {
        self.next.0 - self.oldest.0
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn add(&mut self, count: u32, body: Vec<u8>, now: Micros) {
        if count == 0 {
            return;
        }
        if self.batches.is_empty() {
            self.progressed = now;
        }
        self.bytes += body.len();
        self.batches.push_back(SubmissionBatch {
            node: self.node,
            first: self.next,
            oldest: self.oldest,
            count,
            body,
        });
        self.next = self.next.plus(u64::from(count));
    }

    /// Has everything that is not settled sent again.
    pub(super) fn again(&mut self) {
        self.sent = self.oldest;
    }

    /// When to send again what is not settled, if something is not.
    pub(super) fn due(&self, after_us: u64) -> Option<Micros> {
        (!self.batches.is_empty()).then(|| Micros(self.progressed.0 + after_us))
    }

    /// The next submissions to be sent, several batches together.
    fn next_batch(&mut self) -> Option<SubmissionBatch> {
        let sent = self.sent;
        let before = self.batches.iter().take_while(|batch| batch.end() <= sent);
        let (skipped, bytes) = before.fold((0, 0), |(count, bytes), batch| {
            (count + 1, bytes + batch.body.len())
        });
        if bytes > WINDOW_BYTES {
            return None;
        }
        let mut rest = self.batches.iter().skip(skipped);
        let mut next = rest.next()?.clone();
        for batch in rest {
            if next.body.len() + batch.body.len() > BATCH_BYTES {
                break;
            }
            next.count += batch.count;
            next.body.extend_from_slice(&batch.body);
        }
        next.oldest = self.oldest;
        self.sent = next.end();
        Some(next)
    }

    /// Forgets the submissions before `settled`.
    fn settled(&mut self, settled: SubmissionNumber, now: Micros) {
        self.oldest = self.oldest.max(settled);
        self.sent = self.sent.max(self.oldest);
        self.progressed = now;
        while self.batches.front().is_some_and(|batch| batch.end() <= settled) {
            let batch = self.batches.pop_front();
            self.bytes -= batch.map_or(0, |batch| batch.body.len());
        }
    }
}

impl<H: LaneHost> LaneNode<H> {
    /// Sends what is to be sent to the writer.
    pub(super) fn send(&mut self, now: Micros) {
        let again = self.rules.timing.send_again_us;
        if self.sending.due(again).is_some_and(|due| due <= now) && !is_planted(LaneFault::SentOnce) {
            self.sending.progressed = now;
            self.sending.again();
        }
        let is_writing = matches!(self.phase, Phase::Writing(_));
        let can_send = is_writing || matches!(self.phase, Phase::Following);
        let Some(writer) = self.writer.filter(|_| can_send && self.is_connected) else {
            return;
        };
        while let Some(batch) = self.sending.next_batch() {
            if is_writing {
                self.batch(batch);
            } else {
                self.outputs.push_back(Output::Forward(writer, batch));
            }
        }
        self.write(now);
    }

    /// Tells the publishers of this node what an entry decides.
    pub(super) fn settle(&mut self, entry: &LaneEntry<'_>, now: Micros) {
        let mut items = entry.entry.items.iter();
        for decided in &entry.head.decided {
            let published = decided.count as usize - decided.unpublished.len().min(decided.count as usize);
            if decided.node != self.id {
                items.by_ref().take(published).for_each(drop);
                continue;
            }
            self.settle_own(decided, &entry.entry.declared, &mut items);
            self.sending
                .settled(decided.first.plus(u64::from(decided.count)), now);
        }
    }

    /// Tells the publishers of this node of submissions that are decided by entries that the node has not seen.
    pub(super) fn settle_unseen(&mut self, now: Micros) {
        let Some(newest) = self.decisions.of(self.id) else {
            return self.sending.again();
        };
        for number in self.sending.oldest.0..=newest.0.min(self.sending.next.0 - 1) {
            let reason = "this node had lost track of the others: the message may be published; look before it is repeated";
            self.host.settle(Settlement {
                number: SubmissionNumber(number),
                outcome: Err(Unpublished::Refused {
                    code: tickwire_wire::ErrorCode::Internal,
                    reason: reason.into(),
                }),
            });
        }
        self.sending.settled(newest.plus(1).min(self.sending.next), now);
        self.sending.again();
    }

    fn settle_own<'a, 'e: 'a>(
        &mut self,
        decided: &'a Decided<'e>,
        declared: &'a [crate::Declaration],
        items: &mut std::slice::Iter<'a, crate::Item<'e>>,
    ) {
        let mut unpublished = decided.unpublished.iter().peekable();
        for place in 0..decided.count {
            let why = unpublished.next_if(|(at, _)| *at == place);
            let outcome = match why {
                Some((_, why)) => Err(why.clone()),
                None => {
                    let item = items.next();
                    let found = item.and_then(|item| {
                        let topic = declared.get(item.topic.0 as usize)?;
                        Some((&topic.topic, &topic.epoch, item.seq))
                    });
                    match found {
                        Some(found) => Ok(found),
                        None => continue,
                    }
                }
            };
            let number = decided.first.plus(u64::from(place));
            if number >= self.sending.oldest {
                self.host.settle(Settlement { number, outcome });
            }
        }
    }
}
