//! Requests that wait until this node has entered what the log has.

use std::time::Duration;

use tickwire_lane::Position;
use tickwire_router::TellCaughtUp;
use tokio::time::Instant;

/// How long a request waits at most. Then it is answered by what is here.
const WITHIN: Duration = Duration::from_secs(2);

/// Those who wait. The end of the log is asked for once for all that have come before the question.
#[derive(Default)]
pub(super) struct CatchingUp {
    /// They have come after the question that is under way.
    fresh: Vec<(Instant, TellCaughtUp)>,
    /// The question under way is for them.
    asked: Vec<(Instant, TellCaughtUp)>,
    is_asking: bool,
    /// They wait for this entry.
    known: Vec<(Position, Instant, TellCaughtUp)>,
}

impl CatchingUp {
    pub(super) fn add(&mut self, waiting: Vec<TellCaughtUp>, now: Instant) {
        self.fresh.extend(waiting.into_iter().map(|told| (now, told)));
    }

    /// Whether the end of the log must be asked for. Then the question is under way.
    pub(super) fn must_ask(&mut self) -> bool {
        if self.is_asking || self.fresh.is_empty() {
            return false;
        }
        self.asked = std::mem::take(&mut self.fresh);
        self.is_asking = true;
        true
    }

    /// The end of the log is known, or could not be found out.
    pub(super) fn end_is(&mut self, end: Option<Position>) {
        self.is_asking = false;
        let asked = std::mem::take(&mut self.asked);
        match end {
            Some(end) => self
                .known
                .extend(asked.into_iter().map(|(since, told)| (end, since, told))),
            None => self.fresh.extend(asked),
        }
    }

    /// Calls those back whose entry has entered, or who have waited for too long.
    pub(super) fn let_go(&mut self, entered: Option<Position>, now: Instant) {
        let is_late = |since: Instant| now.duration_since(since) >= WITHIN;
        for (end, since, told) in std::mem::take(&mut self.known) {
            if entered.is_some_and(|entered| end <= entered) || is_late(since) {
                told();
            } else {
                self.known.push((end, since, told));
            }
        }
        for list in [&mut self.fresh, &mut self.asked] {
            for (since, told) in std::mem::take(list) {
                if is_late(since) {
                    told();
                } else {
                    list.push((since, told));
                }
            }
        }
    }
}
