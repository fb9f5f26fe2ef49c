//! The drain: every session is told that the broker stops, and each is closed at its own time.
//!
//! The times are a stratified draw. Each of `n` sessions gets one of `n` equal parts of the window, at random, and a
//! random time within that part. So each client's own time is uniform over the window, and still no part of the window
//! has many more closes than another; `n` independent draws would not ensure that. The owner of the shard gives the
//! seed.
//!
//! Until its time a session goes on as before. Then it ends behind the data that waits for it already: the close frame
//! is the last in its outbox. A reader that does not take all of that within a time, or before its token expires, loses
//! the waiting data but never the close frame. It gets the lost messages when it resumes.

use std::cmp::Reverse;

use rustc_hash::FxHashMap;
use tickwire_wire::message::AckResult;
use tickwire_wire::{CloseCode, Control, Micros, Topic};

use super::Shard;
use crate::cell::Attached;
use crate::outbox::Item;
use crate::planted::{Fault, is_planted};
use crate::session::{Phase, SessionId};

/// The reason in the close frames of a drain.
const REASON: &str = "the broker is draining; reconnect";

/// How a shard is drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// Time in milliseconds over which the closes are spread.
    pub window_ms: u64,
    /// Time in milliseconds after which the broker is gone; clients are told this time.
    pub deadline_ms: u64,
    /// Time in milliseconds, from its close, that a client has to take the data that waits for it.
    pub patience_ms: u64,
    /// The seed for the clients' own times.
    pub seed: u64,
}

/// A drain that has begun.
#[derive(Debug)]
pub(super) struct Draining {
    plan: Drain,
    began: Micros,
    random: SplitMix,
}

/// The generator `SplitMix64`: one word of state, any seed good.
#[derive(Debug)]
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `end`; 0 if that is 0.
    fn below(&mut self, end: u64) -> u64 {
        // The upper half of the product is as even as 64 bits can be for any `end` in use.
        let product = u128::from(self.next()) * u128::from(end);
        u64::try_from(product >> 64).expect("below `end`")
    }
}

/// `count` moments in a window of `window_us` microseconds, one in each of `count` equal parts of it, in random order.
fn spread(count: usize, window_us: u64, random: &mut SplitMix) -> Vec<u64> {
    let parts = count.max(1) as u128;
    let moment = |part: usize, within: u64| {
        let moment = (part as u128 * u128::from(window_us) + u128::from(within)) / parts;
        u64::try_from(moment).expect("within the window")
    };
    let mut moments: Vec<u64> = (0..count)
        .map(|part| moment(part, random.below(window_us)))
        .collect();
    // The shuffle of Fisher and Yates: every order is equally likely.
    for last in (1..count).rev() {
        let other = usize::try_from(random.below(last as u64 + 1)).expect("an index");
        moments.swap(last, other);
    }
    moments
}

impl Shard {
    /// Begins a drain: tells each session, and closes it with 4000 at its own time. Does nothing if a drain has begun
    /// already.
    pub fn begin_drain(&mut self, plan: Drain, now: Micros) {
        if self.draining.is_some() {
            return;
        }
        let mut random = SplitMix(plan.seed);
        let open: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|session| session.is_open())
            .map(|session| session.id)
            .collect();
        let moments = spread(open.len(), plan.window_ms * 1_000, &mut random);
        for (id, after_us) in open.into_iter().zip(moments) {
            self.announce_leave(id, after_us, plan.deadline_ms, now);
        }
        self.draining = Some(Draining {
            plan,
            began: now,
            random,
        });
    }

    /// Whether a drain was begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    /// Tells a session that is opened during a drain that the broker stops, and closes it within the rest of the
    /// window.
    pub(super) fn announce_to_late(&mut self, id: SessionId, now: Micros) {
        let Some(draining) = &mut self.draining else {
            return;
        };
        let passed_us = now.since(draining.began);
        let left_us = (draining.plan.window_ms * 1_000).saturating_sub(passed_us);
        let after_us = draining.random.below(left_us);
        let deadline_ms = draining.plan.deadline_ms.saturating_sub(passed_us / 1_000);
        self.announce_leave(id, after_us, deadline_ms, now);
    }

    fn announce_leave(&mut self, id: SessionId, after_us: u64, deadline_ms: u64, now: Micros) {
        let message = Control::Drain {
            reconnect_after_ms: after_us / 1_000,
            deadline_ms,
        };
        self.send_control(id, &message);
        let at = Micros(now.0.saturating_add(after_us));
        if let Some(session) = self.sessions.get_mut(id) {
            session.timers.leave_at(at);
            let entry = Reverse((at, id, session.generation));
            self.deadlines.push(entry);
        }
    }

    /// Ends a session with 4000 behind the data that waits for it.
    pub(super) fn depart(&mut self, id: SessionId, now: Micros) {
        if self.sessions.open(id).is_none() {
            return;
        }
        self.counts.closed(CloseCode::DRAIN);
        self.refuse_unanswered(id, CloseCode::DRAIN, REASON);
        self.unsubscribe_all(id);
        let patience_ms = self
            .draining
            .as_ref()
            .map_or(0, |draining| draining.plan.patience_ms);
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let until = now.plus_ms(patience_ms);
        session.phase = Phase::Leaving(until);
        session.end_pause();
        let bytes = session.dialect.close(CloseCode::DRAIN, REASON);
        session.outbox.push_close_behind(CloseCode::DRAIN, bytes);
        let entry = Reverse((until, id, session.generation));
        self.deadlines.push(entry);
        self.rounds.mark(session);
    }

    /// Ends the wait for a client that did not take its data, or that may no longer have it. Only the answers and the
    /// close frame stay. The client then has as much time to answer the close as any other.
    pub(super) fn end_patience(&mut self, id: SessionId, now: Micros) {
        self.clear_expiry(id);
        let deadline = now.plus_ms(self.settings.close_timeout_ms);
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.phase = Phase::Closing(deadline);
        let mut stood = FxHashMap::default();
        let dropped = session.outbox.purge(|item| {
            if let Some((topic, epoch, seq)) = item.stood_before() {
                let epoch = epoch.clone();
                stood.entry(topic.clone()).or_insert(Attached { epoch, seq });
            }
            !matches!(item, Item::Answer(_))
        });
        // An ack that stood behind them must not tell its client that it has them.
        if !is_planted(Fault::AckOfDropped) {
            session
                .outbox
                .correct_answers(|_, results| put_all_back(results, &stood));
        }
        let entry = Reverse((deadline, id, session.generation));
        self.counts.ledger.dropped += dropped;
        self.deadlines.push(entry);
        self.rounds.mark(session);
    }
}

/// Does [`put_back`] for each of `results`. Returns whether any has changed.
fn put_all_back(results: &mut [AckResult], stood: &FxHashMap<Topic, Attached>) -> bool {
    let mut changed = false;
    for result in results {
        changed |= put_back(result, stood);
    }
    changed
}

/// Puts the result of an ack back to where its client stands, if what came before the ack was dropped. Returns whether it has
/// changed.
fn put_back(result: &mut AckResult, stood: &FxHashMap<Topic, Attached>) -> bool {
    let Some(at) = stood.get(result.topic.as_str()) else {
        return false;
    };
    let (Some(epoch), Some(seq)) = (&result.epoch, result.seq) else {
        return false;
    };
    if *epoch == at.epoch {
        // The start of a resume comes from the request and stays.
        if result.recovered.is_some() || seq <= at.seq {
            return false;
        }
    } else {
        // It is of the topic's next life, whose client was not told the end of the one before.
        result.epoch = Some(at.epoch.clone());
        result.recovered = None;
    }
    result.seq = Some(at.seq);
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND_US: u64 = 1_000_000;

    proptest! {
        /// A second may have one close more than its share at either edge, because of rounding.
        #[test]
        fn no_second_sees_more_than_twice_the_mean(
            count in 0_usize..5_000,
            window_ms in 1_000_u64..120_000,
            seed: u64,
        ) {
            let window_us = window_ms * 1_000;
            let mut moments = spread(count, window_us, &mut SplitMix(seed));
            prop_assert_eq!(moments.len(), count);
            prop_assert!(moments.iter().all(|moment| *moment < window_us));
            moments.sort_unstable();
            let mean = count as f64 * SECOND_US as f64 / window_us as f64;
            let mut first = 0;
            for (last, moment) in moments.iter().enumerate() {
                while moment - moments[first] >= SECOND_US {
                    first += 1;
                }
                let within = (last + 1 - first) as f64;
                prop_assert!(within <= mean + 2.0, "{within} in a second, {mean} in the mean");
                prop_assert!(within <= (2.0 * mean).max(mean + 2.0));
            }
        }

        #[test]
        fn a_window_of_nothing_is_now(count in 0_usize..50, seed: u64) {
            prop_assert_eq!(spread(count, 0, &mut SplitMix(seed)), vec![0; count]);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_times_and_another_one_others() {
        let draw = |seed| spread(100, 30 * SECOND_US, &mut SplitMix(seed));
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    /// A session that came first does not leave first.
    #[test]
    fn the_order_of_leaving_is_not_that_of_coming() {
        let moments = spread(1_000, 30 * SECOND_US, &mut SplitMix(7));
        let in_order = moments.windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!((400..600).contains(&in_order), "{in_order} of 999 in order");
    }
}
