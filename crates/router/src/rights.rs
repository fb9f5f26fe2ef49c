//! What a connection may subscribe to and publish to: patterns that allow, and patterns that deny and win.
//!
//! A subscription is allowed when every topic that it could ever bring is: its pattern must lie within the allowed ones
//! together and meet none of the denied ones. So topics that appear later need no look. Nothing is allowed by default,
//! and cloning is cheap: everyone with the same rights shares the patterns.

use std::sync::Arc;

use tickwire_wire::limits::PUBLISH_RATE_MAX;
use tickwire_wire::pattern_sets::{common, covers, overlap};
use tickwire_wire::{ErrorCode, Pattern, Refusal};

use crate::bucket::Rate;

/// Pairs of patterns that are looked at for one that would be allowed in place of one that is not.
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

    /// The patterns that allow.
    #[must_use]
    pub fn allow(&self) -> &[Pattern] {
        &self.allow
    }

    /// The patterns that deny.
    #[must_use]
    pub fn deny(&self) -> &[Pattern] {
        &self.deny
    }

    /// Whether it holds no topic because it allows none. One whose patterns deny all that they allow is not empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.allow.is_empty()
    }

    /// Whether it holds `topic`.
    #[must_use]
    pub fn has(&self, topic: &str) -> bool {
        self.allow.iter().any(|pattern| pattern.matches(topic))
            && !self.deny.iter().any(|pattern| pattern.matches(topic))
    }

    /// Whether it holds every topic that `pattern` matches.
    #[must_use]
    pub fn has_all(&self, pattern: &Pattern) -> bool {
        covers(&self.allow, pattern) && self.denied_by(pattern).is_none()
    }

    /// The first of the patterns that deny some topic of `pattern`.
    fn denied_by(&self, pattern: &Pattern) -> Option<&Pattern> {
        self.deny.iter().find(|denied| overlap(denied, pattern))
    }

    /// A pattern within `pattern` of which it holds every topic, if one is found: the part of `pattern` in one of the patterns
    /// that allow, or where that meets one that denies, the part with a single token for its last `>`.
    ///
    /// Of long lists only the beginning is looked at: a refusal must not cost more than a grant.
    #[must_use]
    pub fn narrower(&self, pattern: &Pattern) -> Option<Pattern> {
        let mut looks = NARROWER_LOOKS_MAX;
        self.narrower_within(pattern, &mut looks)
    }

    /// The same, with at most so many pairs of patterns looked at; what is left of them stays in `looks`.
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

    /// Whether it denies some topic of `part`; none if there are not so many `looks`.
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

/// How fast somebody may publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishRate {
    /// Publications per second that may be kept up.
    pub per_s: u32,
    /// Publications that may come at once after a quiet time.
    pub burst: u32,
}

impl PublishRate {
    /// The rate that two numbers of a grant mean, if there is one: twice its second's worth at once where nothing else is said.
    ///
    /// # Errors
    /// With what is wrong with the burst.
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

    /// The same as a bucket's.
    #[must_use]
    pub fn rate(self) -> Rate {
        Rate::new(self.per_s, self.burst)
    }
}

/// Whose a topic is that a client makes, as far as quotas tell publishers apart: all who have one grant are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Publisher(pub u128);

/// What a connection may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// Topics that it may subscribe to, ask the value and the history of, and see in listings.
    pub subscribe: Grant,
    /// Topics that it may publish to.
    pub publish: Grant,
    /// How fast it may; as the broker lets everybody if none.
    pub publish_rate: Option<PublishRate>,
}

impl Rights {
    /// The right to nothing.
    #[must_use]
    pub fn none() -> Self {
        Self {
            subscribe: Grant::none(),
            publish: Grant::none(),
            publish_rate: None,
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
        }
    }

    /// Whether every topic of `pattern` may be subscribed to.
    ///
    /// # Errors
    /// `forbidden`, with what is denied of it and a pattern that would be allowed, where these can be told.
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

    /// Whether `topic` may be published to.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn check_publish(&self, topic: &str) -> Result<(), Refusal> {
        if self.publish.has(topic) {
            return Ok(());
        }
        let reason = format!("this connection may not publish to {topic}");
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
        // Each part that is allowed is denied by the last of the patterns that deny.
        let allow = patterns(128, |n| format!("*.*.*.*.*.*.*.*.*.*.*.*.*.*.a.{n}"));
        let deny = patterns(128, |n| match n {
            127 => "*.*.*.*.*.*.*.*.*.*.*.*.*.*.a.*".to_owned(),
            n => format!("*.*.*.*.*.*.*.*.*.*.*.*.*.*.b{n}.*"),
        });
        let grant = Grant::new(allow, deny);
        let asked: Pattern = ">".parse().expect("a pattern");
        assert!(!grant.has_all(&asked));
        let mut looks = usize::MAX;
        assert_eq!(grant.narrower_within(&asked, &mut looks), None);
        let all = usize::MAX - looks;
        assert!(all > 10_000, "{all} looks without a bound");
        let mut looks = NARROWER_LOOKS_MAX;
        assert_eq!(grant.narrower_within(&asked, &mut looks), None);
        assert_eq!(looks, 0, "given up with the last look");
        // Short lists are gone through.
        let grant = Grant::new(
            patterns(2, |n| format!("a{n}.*")),
            patterns(1, |_| "a0.*".to_owned()),
        );
        assert_eq!(grant.narrower(&asked).as_ref().map(Pattern::as_str), Some("a1.*"));
    }
}
