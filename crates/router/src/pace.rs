//! How often a subscription gets a topic's messages: each one, or the newest one at most once in a fixed time.
//!
//! There are only a few fixed times ([`CONFLATE_MS_CLASSES`]), so that clients that ask for about the same time share
//! one timer and one pass. A class is never shorter than the time asked for. Never reads a clock.

use rustc_hash::FxHashMap;
use tickwire_wire::limits::CONFLATE_MS_CLASSES;
use tickwire_wire::{Kind, Mode, Refusal};

use crate::publication::TopicId;

/// One of the fixed times that subscribers are grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RateClass(u8);

impl RateClass {
    /// Number of classes.
    pub(crate) const COUNT: usize = CONFLATE_MS_CLASSES.len();
    /// Messages are skipped only when the client is behind.
    pub(crate) const UNLIMITED: Self = Self(0);

    /// The shortest class that is not below `asked_ms`.
    fn granting(asked_ms: u32) -> Result<Self, Refusal> {
        let class = CONFLATE_MS_CLASSES.partition_point(|ms| *ms < asked_ms);
        match u8::try_from(class) {
            Ok(index) if class < Self::COUNT => Ok(Self(index)),
            _ => {
                let most = CONFLATE_MS_CLASSES[Self::COUNT - 1];
                Err(Refusal::bad_request(format!(
                    "conflate_ms {asked_ms} is above the most that can be had, {most}"
                )))
            }
        }
    }

    /// All classes that limit a rate, the fastest first.
    pub(crate) fn limiting() -> impl Iterator<Item = Self> {
        (1_u8..).take(Self::COUNT - 1).map(Self)
    }

    /// Whether there is a least time between two updates.
    pub(crate) fn is_limited(self) -> bool {
        self != Self::UNLIMITED
    }

    /// The least time between two updates, in milliseconds.
    pub(crate) fn ms(self) -> u32 {
        CONFLATE_MS_CLASSES[self.index()]
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Which messages of its topic a subscription gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Each message.
    Every,
    /// The newest message, within the class's rate.
    Newest(RateClass),
}

impl Pace {
    /// The pace that a request asks for. Topics whose every message counts ignore it ([`Self::on`]).
    pub(crate) fn asked(mode: Option<Mode>, conflate_ms: Option<u32>) -> Result<Self, Refusal> {
        let asked_ms = conflate_ms.unwrap_or(0);
        match mode {
            Some(mode @ (Mode::Every | Mode::Snapshot)) if asked_ms > 0 => {
                let mode = mode.as_str();
                Err(Refusal::bad_request(format!(
                    "conflate_ms {asked_ms} goes with mode conflate, not with mode {mode}"
                )))
            }
            Some(Mode::Every) => Ok(Self::Every),
            Some(Mode::Conflate | Mode::Snapshot) | None => Ok(Self::Newest(RateClass::granting(asked_ms)?)),
        }
    }

    /// The pace that results on a topic of `kind`.
    pub(crate) fn on(self, kind: Kind) -> Self {
        match kind {
            Kind::State => self,
            Kind::Book | Kind::Event => Self::Every,
        }
    }

    /// Whether the subscription gets each message.
    pub(crate) fn is_every(self) -> bool {
        self == Self::Every
    }

    /// Its name on the wire.
    pub(crate) fn mode(self) -> Mode {
        match self {
            Self::Every => Mode::Every,
            Self::Newest(_) => Mode::Conflate,
        }
    }

    /// The class that the subscriber belongs to.
    pub(crate) fn class(self) -> RateClass {
        match self {
            Self::Every => RateClass::UNLIMITED,
            Self::Newest(class) => class,
        }
    }
}

/// For topics that several patterns of one session cover, if one pattern has a limited rate: how many patterns ask for
/// each class.
#[derive(Debug, Default)]
pub(crate) struct ClassCounts(Option<Box<FxHashMap<TopicId, [u32; RateClass::COUNT]>>>);

impl ClassCounts {
    /// Adds a pattern that asks for `class`.
    pub(crate) fn add(&mut self, topic: TopicId, class: RateClass) {
        if class.is_limited() {
            let counts = self.0.get_or_insert_default();
            counts.entry(topic).or_default()[class.index()] += 1;
        }
    }

    /// Removes a pattern that asks for `class`.
    pub(crate) fn remove(&mut self, topic: TopicId, class: RateClass) {
        if class.is_limited()
            && let Some(counts) = self.0.as_mut().and_then(|counts| counts.get_mut(&topic))
        {
            counts[class.index()] -= 1;
        }
    }

    /// The number of patterns that ask for a limited rate, and the fastest class among theirs.
    pub(crate) fn fastest(&self, topic: TopicId) -> (u32, RateClass) {
        let Some(counts) = self.0.as_ref().and_then(|counts| counts.get(&topic)) else {
            return (0, RateClass::UNLIMITED);
        };
        let fastest = RateClass::limiting().find(|class| counts[class.index()] > 0);
        (counts.iter().sum(), fastest.unwrap_or(RateClass::UNLIMITED))
    }

    /// Drops the counts of a topic.
    pub(crate) fn forget(&mut self, topic: TopicId) {
        if let Some(counts) = &mut self.0 {
            counts.remove(&topic);
            if counts.is_empty() {
                self.0 = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_raised_to_a_class() {
        for (asked, granted) in [
            (0, Some(0)),
            (1, Some(10)),
            (10, Some(10)),
            (11, Some(20)),
            (201, Some(250)),
            (10_001, Some(60_000)),
            (60_000, Some(60_000)),
            (60_001, None),
            (u32::MAX, None),
        ] {
            let class = RateClass::granting(asked);
            assert_eq!(class.ok().map(RateClass::ms), granted, "{asked}");
        }
    }

    #[test]
    fn the_classes_of_a_topic_are_counted_and_forgotten() {
        let (mut counts, topic) = (ClassCounts::default(), TopicId(7));
        let [slow, fast] = [500, 50].map(|ms| RateClass::granting(ms).expect("a class"));
        counts.add(topic, RateClass::UNLIMITED);
        assert!(counts.0.is_none(), "no limit needs no memory");
        for class in [slow, fast, slow] {
            counts.add(topic, class);
        }
        assert_eq!(counts.fastest(topic), (3, fast));
        counts.remove(topic, fast);
        assert_eq!(counts.fastest(topic), (2, slow));
        assert_eq!(counts.fastest(TopicId(8)), (0, RateClass::UNLIMITED));
        counts.forget(topic);
        assert!(counts.0.is_none());
    }
}
