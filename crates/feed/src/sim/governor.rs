//! Keeps the mean number of ticks at the configured rate.
//!
//! How many ticks an event makes is not known beforehand (a trade of three levels makes nine), so two loops share the
//! work. The number of events per second follows the mean number of ticks per event. The pace of virtual time corrects
//! the rest, in proportion to how far the market is ahead or behind. Bursts much shorter than [`RELAXATION_S`] are not
//! slowed. Over a longer time the error is bounded by how far the market is ahead or behind.

/// In what time the market corrects being ahead or behind, in seconds.
const RELAXATION_S: f64 = 0.5;
/// The same in ticks, for rates so low that one event takes a long time.
const RELAXATION_TICKS: f64 = 20.0;
/// Fastest pace.
const PACE_MAX: f64 = 4.0;
/// The assumed ticks per event before the first event.
const TICKS_PER_EVENT: f64 = 2.0;
/// The number of events over which the mean is taken.
const MEAN_EVENTS: f64 = 4_096.0;

/// The two control loops.
#[derive(Debug)]
pub(super) struct Governor {
    rate: f64,
    published: u64,
    unassigned: usize,
    ticks_per_event: f64,
}

impl Governor {
    /// A governor for `rate` ticks per second.
    pub(super) fn new(rate: u32) -> Self {
        Self {
            rate: f64::from(rate),
            published: 0,
            unassigned: 0,
            ticks_per_event: TICKS_PER_EVENT,
        }
    }

    /// Counts derived messages, which belong to earlier events.
    pub(super) fn published(&mut self, ticks: usize) {
        self.published += ticks as u64;
        self.unassigned += ticks;
    }

    /// Counts an event and the ticks that it made.
    pub(super) fn acted(&mut self, ticks: usize) {
        self.published += ticks as u64;
        let made = (std::mem::take(&mut self.unassigned) + ticks) as f64;
        self.ticks_per_event += (made - self.ticks_per_event) / MEAN_EVENTS;
    }

    /// How many events per second there should be.
    pub(super) fn events_per_s(&self) -> f64 {
        self.rate / self.ticks_per_event.max(0.5)
    }

    /// How fast virtual time should bring events, `elapsed_ns` after the first could come. 1 is as planned.
    pub(super) fn pace(&self, elapsed_ns: u64) -> f64 {
        let planned = elapsed_ns as f64 * 1e-9 * self.rate;
        let behind = planned - self.published as f64;
        let late = behind / (RELAXATION_S * self.rate + RELAXATION_TICKS);
        if late >= 0.0 {
            (1.0 + late).min(PACE_MAX)
        } else {
            // Never 0, but slow enough to wait until a burst of any size is made good.
            1.0 / ((1.0 - late) * (1.0 - late))
        }
    }
}
