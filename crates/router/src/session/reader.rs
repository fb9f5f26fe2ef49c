//! How a session's reader keeps up. Its states are those that docs/DELIVERY.md draws.
//!
//! Whether a message is handed out live is asked once per delivery, so the answer is one comparison: the limit of the state
//! is kept beside it. Never reads a clock.

use tickwire_wire::Micros;

/// Live bytes of one session that are to be written before more is handed out, if its socket takes them: a burst that
/// waited in the queue must not fill the outbox of a reader that keeps up.
const PRESSING_BYTES: usize = 64 * 1024;

/// Where a reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReaderState {
    /// It gets what is published as it comes.
    Live,
    /// Too much waited for it: that was taken back, and nothing has been pulled in since.
    Lagging { since: Micros },
    /// Its socket takes bytes again: what it has yet to get is pulled in as there is room, and nothing is handed to it live.
    CatchingUp {
        /// Since when it lags.
        since: Micros,
        /// Whether something newer may replace what was pulled in.
        superseded: bool,
    },
    /// Its session has ended: it gets no more messages.
    Closed,
}

/// The reader of a session.
#[derive(Debug)]
pub(crate) struct Reader {
    state: ReaderState,
    /// Live bytes waiting from which on it is handed nothing more live: 0 unless it is live.
    live_bytes_end: usize,
    /// Whether much has been waiting for it since bytes were last taken.
    pressing: bool,
    /// Since when something has waited for it, as far as was looked, without a byte being taken.
    full_since: Option<Micros>,
}

impl Reader {
    /// A reader that is live. With `live_bytes_end` bytes waiting, it is handed no more.
    pub(crate) const fn new(live_bytes_end: usize) -> Self {
        Self {
            state: ReaderState::Live,
            live_bytes_end,
            pressing: false,
            full_since: None,
        }
    }

    /// Whether one more message is handed to it live while `live_bytes` wait. Asked before the message is added, so that no
    /// single one is too large for a client that reads.
    #[inline]
    pub(crate) const fn takes(&self, live_bytes: usize) -> bool {
        live_bytes < self.live_bytes_end
    }

    pub(crate) fn is_live(&self) -> bool {
        self.state == ReaderState::Live
    }

    /// Since when it lags or catches up, if it does.
    pub(crate) const fn lagging_since(&self) -> Option<Micros> {
        match self.state {
            ReaderState::Lagging { since } | ReaderState::CatchingUp { since, .. } => Some(since),
            ReaderState::Live | ReaderState::Closed => None,
        }
    }

    /// Whether it lags or catches up.
    pub(crate) const fn lags(&self) -> bool {
        self.lagging_since().is_some()
    }

    /// The limit is another one from now on.
    pub(crate) fn limit(&mut self, live_bytes_end: usize) {
        if self.is_live() {
            self.live_bytes_end = live_bytes_end;
        }
    }

    /// Too much waits for it: it lags.
    pub(crate) fn lag(&mut self, now: Micros) {
        debug_assert!(self.is_live(), "a reader that {:?} is handed nothing", self.state);
        self.state = ReaderState::Lagging { since: now };
        self.live_bytes_end = 0;
        self.full_since.get_or_insert(now);
    }

    /// Its socket takes bytes: messages are about to be pulled in. Returns whether something newer may replace those that were
    /// pulled in before.
    pub(crate) fn catch_up(&mut self) -> bool {
        match self.state {
            ReaderState::Lagging { since } => {
                let superseded = true; // as far as is known of what is pulled in now
                self.state = ReaderState::CatchingUp { since, superseded };
                false
            }
            ReaderState::CatchingUp { superseded, .. } => superseded,
            ReaderState::Live | ReaderState::Closed => false,
        }
    }

    /// A subscription to the newest of a topic goes on from the directory: something newer may replace what was pulled in.
    pub(crate) const fn supersede(&mut self) {
        self.set_superseded(true);
    }

    /// Sets whether something newer may replace what was pulled in.
    pub(crate) const fn set_superseded(&mut self, may_be: bool) {
        if let ReaderState::CatchingUp { superseded, .. } = &mut self.state {
            *superseded = may_be;
        }
    }

    /// Nothing is left to be pulled in. Returns whether it lagged: then it is live again.
    pub(crate) fn caught_up(&mut self, live_bytes_end: usize) -> bool {
        let lagged = self.lags();
        if lagged {
            self.state = ReaderState::Live;
            self.live_bytes_end = live_bytes_end;
        }
        lagged
    }

    /// Its session ends.
    pub(crate) const fn close(&mut self) {
        self.state = ReaderState::Closed;
        self.live_bytes_end = 0;
    }

    /// It took bytes of what waited in its outbox.
    pub(crate) const fn took(&mut self) {
        self.pressing = false;
        self.full_since = None;
    }

    /// Its socket takes bytes, though none of those that wait in its outbox.
    pub(crate) const fn progressed(&mut self) {
        self.full_since = None;
    }

    /// Whether `live_bytes` are so many that they are to be written before more is handed out. Said once until bytes are taken.
    #[inline]
    pub(crate) const fn presses(&mut self, live_bytes: usize) -> bool {
        live_bytes > PRESSING_BYTES && !std::mem::replace(&mut self.pressing, true)
    }

    /// Something waits for it `now`.
    pub(crate) fn waits(&mut self, now: Micros) {
        self.full_since.get_or_insert(now);
    }

    /// Whether it has taken nothing of what waits for `stall_ms`.
    pub(crate) fn is_stalled(&self, stall_ms: u64, now: Micros) -> bool {
        self.full_since
            .is_some_and(|since| since.plus_ms(stall_ms) <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_goes_down_the_ladder_and_up_again() {
        let mut reader = Reader::new(100);
        assert!(reader.takes(99) && !reader.takes(100));
        assert!(!reader.catch_up() && !reader.caught_up(100), "it does not lag");
        reader.lag(Micros(5));
        assert!(!reader.takes(0), "nothing is handed to it live");
        assert_eq!(reader.lagging_since(), Some(Micros(5)));
        reader.limit(200);
        assert!(!reader.takes(0), "another limit is no reason to");
        assert!(
            !reader.catch_up(),
            "what waited was taken back: nothing can be replaced"
        );
        assert!(reader.catch_up());
        reader.set_superseded(false);
        assert!(!reader.catch_up());
        reader.supersede();
        assert!(reader.catch_up() && !reader.takes(0));
        assert_eq!(reader.lagging_since(), Some(Micros(5)));
        assert!(reader.caught_up(200) && reader.is_live());
        assert!(reader.takes(199) && !reader.takes(200));
    }

    #[test]
    fn a_reader_whose_session_ends_gets_nothing_more() {
        let mut reader = Reader::new(100);
        reader.lag(Micros(5));
        reader.close();
        assert_eq!((reader.lagging_since(), reader.is_live()), (None, false));
        assert!(!reader.caught_up(100) && !reader.takes(0));
    }

    #[test]
    fn a_stall_is_the_time_since_bytes_were_taken_last() {
        let mut reader = Reader::new(100);
        assert!(!reader.is_stalled(1, Micros(1_000_000)), "nothing waits");
        reader.waits(Micros(1_000));
        reader.waits(Micros(2_000));
        assert!(!reader.is_stalled(5, Micros(5_999)) && reader.is_stalled(5, Micros(6_000)));
        reader.took();
        assert!(!reader.is_stalled(5, Micros(6_000)));
    }

    #[test]
    fn much_that_waits_presses_once_until_bytes_are_taken() {
        let mut reader = Reader::new(usize::MAX);
        assert!(!reader.presses(PRESSING_BYTES) && reader.presses(PRESSING_BYTES + 1));
        assert!(!reader.presses(PRESSING_BYTES + 1));
        reader.took();
        assert!(reader.presses(PRESSING_BYTES + 1));
    }
}
