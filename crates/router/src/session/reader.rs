//! How a session's reader keeps up. Its states are those in the diagram of docs/DELIVERY.md.
//!
//! Whether the reader takes a message live is asked once per delivery, so the answer is one comparison: each state has
//! its limit beside it. Never reads a clock.

use tickwire_wire::Micros;

/// Once this many live bytes wait for a session, they are written before more is delivered, if its socket takes them: a
/// burst from the queue must not fill the outbox of a reader that keeps up.
const PRESSING_BYTES: usize = 64 * 1024;

/// The state of a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReaderState {
    /// It gets messages as they are published.
    Live,
    /// Too much waited for it. Its data was taken back, and nothing has been pulled in since.
    Lagging { since: Micros },
    /// Its socket takes bytes again. Its messages are pulled in as there is room, and it gets nothing live.
    CatchingUp {
        /// When it began to lag.
        since: Micros,
        /// Whether newer messages may replace those that were pulled in.
        superseded: bool,
    },
    /// Its session has ended. It gets no more messages.
    Closed,
}

/// The reader of a session.
#[derive(Debug)]
pub(crate) struct Reader {
    state: ReaderState,
    /// The number of waiting live bytes from which on it gets nothing more live. 0 unless it is live.
    live_bytes_end: usize,
    /// Whether it has been reported as pressing since bytes were last taken.
    pressing: bool,
    /// When it was first noticed that something waits without a byte being taken.
    full_since: Option<Micros>,
}

impl Reader {
    /// A live reader. It gets nothing more live once `live_bytes_end` bytes wait.
    pub(crate) const fn new(live_bytes_end: usize) -> Self {
        Self {
            state: ReaderState::Live,
            live_bytes_end,
            pressing: false,
            full_since: None,
        }
    }

    /// Whether it gets one more message live while `live_bytes` wait. This is asked before the message is added, so
    /// that no single message is too large for a client that reads.
    #[inline]
    pub(crate) const fn takes(&self, live_bytes: usize) -> bool {
        live_bytes < self.live_bytes_end
    }

    /// The name of its state, for people.
    pub(crate) const fn state(&self) -> &'static str {
        match self.state {
            ReaderState::Live => "live",
            ReaderState::Lagging { .. } => "lagging",
            ReaderState::CatchingUp { .. } => "catching up",
            ReaderState::Closed => "closed",
        }
    }

    /// Since when something has waited for it without a byte being taken.
    pub(crate) const fn stalled_since(&self) -> Option<Micros> {
        self.full_since
    }

    pub(crate) fn is_live(&self) -> bool {
        self.state == ReaderState::Live
    }

    /// When it began to lag, if it lags or catches up.
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

    /// Sets another limit.
    pub(crate) fn limit(&mut self, live_bytes_end: usize) {
        if self.is_live() {
            self.live_bytes_end = live_bytes_end;
        }
    }

    /// Makes it lag, because too much waits for it.
    pub(crate) fn lag(&mut self, now: Micros) {
        debug_assert!(self.is_live(), "a reader that {:?} is handed nothing", self.state);
        self.state = ReaderState::Lagging { since: now };
        self.live_bytes_end = 0;
        self.full_since.get_or_insert(now);
    }

    /// Prepares for pulling messages in, because its socket takes bytes. Returns whether newer messages may replace
    /// those that were pulled in before.
    pub(crate) fn catch_up(&mut self) -> bool {
        match self.state {
            ReaderState::Lagging { since } => {
                let superseded = true; // may be true of the messages that are pulled in now
                self.state = ReaderState::CatchingUp { since, superseded };
                false
            }
            ReaderState::CatchingUp { superseded, .. } => superseded,
            ReaderState::Live | ReaderState::Closed => false,
        }
    }

    /// Records that a subscription to the newest message of a topic continues from the directory: newer messages may
    /// replace those that were pulled in.
    pub(crate) const fn supersede(&mut self) {
        self.set_superseded(true);
    }

    /// Sets whether newer messages may replace those that were pulled in.
    pub(crate) const fn set_superseded(&mut self, may_be: bool) {
        if let ReaderState::CatchingUp { superseded, .. } = &mut self.state {
            *superseded = may_be;
        }
    }

    /// Records that nothing is left to be pulled in. Returns whether it lagged; if so, it is live again.
    pub(crate) fn caught_up(&mut self, live_bytes_end: usize) -> bool {
        let lagged = self.lags();
        if lagged {
            self.state = ReaderState::Live;
            self.live_bytes_end = live_bytes_end;
        }
        lagged
    }

    /// Ends it with its session.
    pub(crate) const fn close(&mut self) {
        self.state = ReaderState::Closed;
        self.live_bytes_end = 0;
    }

    /// Records that it took bytes from its outbox.
    pub(crate) const fn took(&mut self) {
        self.pressing = false;
        self.full_since = None;
    }

    /// Records that its socket takes bytes, though none from its outbox.
    pub(crate) const fn progressed(&mut self) {
        self.full_since = None;
    }

    /// Whether `live_bytes` are so many that they must be written before more is delivered. Returns `true` once until
    /// bytes are taken.
    #[inline]
    pub(crate) const fn presses(&mut self, live_bytes: usize) -> bool {
        live_bytes > PRESSING_BYTES && !std::mem::replace(&mut self.pressing, true)
    }

    /// Records that something waits for it at `now`.
    pub(crate) fn waits(&mut self, now: Micros) {
        self.full_since.get_or_insert(now);
    }

    /// Whether something has waited for `stall_ms` without a byte being taken.
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
