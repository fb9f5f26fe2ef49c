//! The topics that a connection may subscribe and publish to: patterns that allow, and patterns that deny and take
//! precedence.
//!
//! A subscription is allowed if every topic that its pattern can match is: the pattern must lie within the allowed
//! patterns together and overlap no denied one. So topics that appear later need no check. Nothing is allowed by
//! default. Cloning is cheap: all copies of a grant share its patterns.

use std::sync::Arc;

use tickwire_wire::limits::PUBLISH_RATE_MAX;
use tickwire_wire::pattern_sets::{common, covers, overlap};
use tickwire_wire::{ErrorCode, Micros, Pattern, Refusal};

use crate::bucket::Rate;

/// The number of pairs of patterns that are compared to find an allowed pattern for a refusal.
const NARROWER_LOOKS_MAX: usize = 128;

/// The topics that one kind of request may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    allow: Arc<[Pattern]>,
    deny: Arc<[Pattern]>,
}

impl Grant {
    /// The topics of `allow` without those of `deny`.
    pub fn new(allow: impl Into<Arc<[Pattern]>>, deny: impl Into<Arc<[Pattern]>>) -> Self {
        Self {
            allow: allow.into(),
            deny: deny.into(),
        }
    }

    /// No topic.
    #[must_use]
    pub fn none() -> Self {
        Self::new([], [])
    }

    /// The patterns that it allows.
    #[must_use]
    pub fn allow(&self) -> &[Pattern] {
        &self.allow
    }

    /// The patterns that it denies.
    #[must_use]
    pub fn deny(&self) -> &[Pattern] {
        &self.deny
    }

    /// The same topics without those of `patterns`.
    #[must_use]
    pub fn without(self, patterns: &[Pattern]) -> Self {
        if patterns.is_empty() {
            return self;
        }
        let deny: Arc<[Pattern]> = self.deny.iter().chain(patterns).cloned().collect();
        Self { deny, ..self }
    }

    /// Whether it allows no pattern. A grant whose denied patterns cover all its allowed ones is not empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.allow.is_empty()
    }

    /// Whether it includes `topic`.
    #[must_use]
    pub fn has(&self, topic: &str) -> bool {
        self.allow.iter().any(|pattern| pattern.matches(topic))
            && !self.deny.iter().any(|pattern| pattern.matches(topic))
    }

    /// The first denied pattern that overlaps `pattern`.
    fn denied_by(&self, pattern: &Pattern) -> Option<&Pattern> {
        self.deny.iter().find(|denied| overlap(denied, pattern))
    }

    /// A pattern within `pattern` that is wholly included, if one is found. It is the part of `pattern` in an allowed
    /// pattern. Where that overlaps a denied one, it is the part with a single token in place of the last `>`.
    ///
    /// Only the beginning of a long list is searched: a refusal must not cost more than a grant.
    #[must_use]
    pub fn narrower(&self, pattern: &Pattern) -> Option<Pattern> {
        let mut looks = NARROWER_LOOKS_MAX;
        self.narrower_within(pattern, &mut looks)
    }

    /// Does the same, and compares at most `looks` pairs of patterns. Leaves the rest of that number in `looks`.
    fn narrower_within(&self, pattern: &Pattern, looks: &mut usize) -> Option<Pattern> {
        for allowed in &*self.allow {
            *looks = looks.checked_sub(1)?;
            let Some(part) = common(allowed, pattern) else {
                continue;
            };
            let shorter = part.as_str().strip_suffix('>').map(|head| format!("{head}*"));
            let shorter = shorter.and_then(|text| text.parse().ok());
            for part in std::iter::once(part).chain(shorter) {
                if !self.denies_of(&part, looks)? {
                    return Some(part);
                }
            }
        }
        None
    }

    /// Whether it denies some topic of `part`. `None` if `looks` are too few to tell.
    fn denies_of(&self, part: &Pattern, looks: &mut usize) -> Option<bool> {
        for denied in &*self.deny {
            *looks = looks.checked_sub(1)?;
            if overlap(denied, part) {
                return Some(true);
            }
        }
        Some(false)
    }
}

/// How fast a client may publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishRate {
    /// Publications per second in the long run.
    pub per_s: u32,
    /// Publications that may come at once after a quiet time.
    pub burst: u32,
}

impl PublishRate {
    /// The rate that the two numbers of a grant mean, if it has one. If `burst` is missing, it is twice `per_s`.
    ///
    /// # Errors
    /// What is wrong with `burst`.
    pub fn of(per_s: Option<u64>, burst: Option<u64>) -> Result<Option<Self>, &'static str> {
        let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).min(PUBLISH_RATE_MAX);
        match (per_s.map(number), burst.map(number)) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err("needs publishes_per_s beside it"),
            (Some(per_s), Some(burst)) if burst < per_s => Err("must be at least publishes_per_s"),
            (Some(per_s), burst) => Ok(Some(Self {
                per_s,
                burst: burst.unwrap_or(number(2 * u64::from(per_s))),
            })),
        }
    }

    /// The same rate for a bucket.
    #[must_use]
    pub fn rate(self) -> Rate {
        Rate::new(self.per_s, self.burst)
    }
}

/// A publisher, as far as quotas tell publishers apart: all clients with one grant are one publisher. The topics that
/// it makes count for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Publisher(pub u128);

/// What a connection may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// Topics that it may subscribe to, read the value and the history of, and see in listings.
    pub subscribe: Grant,
    /// Topics that it may publish to.
    pub publish: Grant,
    /// How fast it may publish. `None` stands for the broker's common rate.
    pub publish_rate: Option<PublishRate>,
    /// Whether it may set the time of the messages that it publishes.
    pub stamp: bool,
    /// Limits of its own.
    pub own: OwnLimits,
}

/// How fast a connection may send requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestRate {
    /// Requests per second in the long run.
    pub per_s: u32,
    /// Requests that may come at once after a quiet time.
    pub burst: u32,
}

impl RequestRate {
    /// The rate that the two numbers of a grant mean, if it has one. If `burst` is missing, it is twice `per_s`.
    ///
    /// # Errors
    /// What is wrong with `burst`.
    pub fn of(per_s: Option<u32>, burst: Option<u32>) -> Result<Option<Self>, &'static str> {
        match (per_s, burst) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err("needs ops_per_s beside it"),
            (Some(per_s), Some(burst)) if burst < per_s => Err("must be at least ops_per_s"),
            (Some(per_s), burst) => Ok(Some(Self {
                per_s,
                burst: burst.unwrap_or(per_s.saturating_mul(2)),
            })),
        }
    }
}

/// Limits of one holder in place of the broker's common ones. `None` stands for the common limit, or for none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnLimits {
    /// Most connections of the holder at the same time, on all shards. The server keeps it, not a shard.
    pub connections: Option<u32>,
    /// Most subscriptions of one connection.
    pub subscriptions: Option<usize>,
    /// How fast one connection may send requests.
    pub requests: Option<RequestRate>,
    /// Bytes per second that one connection is written. Beyond that it is written later, as if its socket took no more.
    pub bytes_per_s: Option<u32>,
}

impl Rights {
    /// Takes the right to publish to the topics of `patterns` away.
    pub fn forbid_publishing(&mut self, patterns: &[Pattern]) {
        self.publish = self.publish.clone().without(patterns);
    }

    /// No rights.
    #[must_use]
    pub fn none() -> Self {
        Self {
            subscribe: Grant::none(),
            publish: Grant::none(),
            publish_rate: None,
            stamp: false,
            own: OwnLimits::default(),
        }
    }

    /// The right to subscribe to everything and to publish to the topics of `publish`.
    ///
    /// # Panics
    /// Never: `>` is a pattern.
    #[must_use]
    pub fn open(publish: impl Into<Arc<[Pattern]>>) -> Self {
        let everything: Pattern = ">".parse().expect("a valid pattern");
        Self {
            subscribe: Grant::new([everything], []),
            publish: Grant::new(publish, []),
            publish_rate: None,
            stamp: false,
            own: OwnLimits::default(),
        }
    }

    /// Checks that every topic of `pattern` may be subscribed to.
    ///
    /// # Errors
    /// `forbidden`. If possible, it names the denied part and a pattern that would be allowed.
    pub fn check_subscribe(&self, pattern: &Pattern) -> Result<(), Refusal> {
        let covered = covers(&self.subscribe.allow, pattern);
        let denied = covered.then(|| self.subscribe.denied_by(pattern)).flatten();
        if covered && denied.is_none() {
            return Ok(());
        }
        let mut reason = if pattern.is_wildcard() {
            format!("{pattern} holds topics that this connection may not subscribe to")
        } else {
            format!("this connection may not subscribe to {pattern}")
        };
        if pattern.is_wildcard()
            && let Some(denied) = denied.and_then(|denied| common(denied, pattern))
        {
            reason += &format!(": {denied}");
        }
        if let Some(narrower) = self.subscribe.narrower(pattern) {
            reason += &format!("; it may subscribe to {narrower}");
        }
        Err(Refusal::new(ErrorCode::Forbidden, reason))
    }

    /// Checks that `topic` may be published to.
    ///
    /// # Errors
    /// `forbidden` if it may not.
    pub fn check_publish(&self, topic: &str) -> Result<(), Refusal> {
        if self.publish.has(topic) {
            return Ok(());
        }
        let reason = format!("this connection may not publish to {topic}");
        Err(Refusal::new(ErrorCode::Forbidden, reason))
    }

    /// Checks that the time `ts` of a message may be set, if it is.
    ///
    /// # Errors
    /// `forbidden` if it may not.
    pub fn check_stamp(&self, ts: Option<Micros>) -> Result<(), Refusal> {
        if ts.is_none() || self.stamp {
            return Ok(());
        }
        let reason = "this connection may not set the time of a message: its rights need \"stamp\":true";
        Err(Refusal::new(ErrorCode::Forbidden, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(count: usize, text: impl Fn(usize) -> String) -> Vec<Pattern> {
        (0..count).map(|n| text(n).parse().expect("a pattern")).collect()
    }

    #[test]
    fn a_refusal_by_the_longest_lists_is_bounded_work() {
        // The last denied pattern denies each allowed part.
        let allow = patterns(128, |n| format!("*.*.*.*.*.*.*.*.*.*.*.*.*.*.a.{n}"));
        let deny = patterns(128, |n| match n {
            127 => "*.*.*.*.*.*.*.*.*.*.*.*.*.*.a.*".to_owned(),
            n => format!("*.*.*.*.*.*.*.*.*.*.*.*.*.*.b{n}.*"),
        });
        let grant = Grant::new(allow, deny);
        let asked: Pattern = ">".parse().expect("a pattern");
        let mut looks = usize::MAX;
        assert_eq!(grant.narrower_within(&asked, &mut looks), None);
        let all = usize::MAX - looks;
        assert!(all > 10_000, "{all} looks without a bound");
        let mut looks = NARROWER_LOOKS_MAX;
        assert_eq!(grant.narrower_within(&asked, &mut looks), None);
        assert_eq!(looks, 0, "given up with the last look");
        // Short lists are searched to the end.
        let grant = Grant::new(
            patterns(2, |n| format!("a{n}.*")),
            patterns(1, |_| "a0.*".to_owned()),
        );
        assert_eq!(grant.narrower(&asked).as_ref().map(Pattern::as_str), Some("a1.*"));
    }
}
