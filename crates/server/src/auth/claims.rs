//! The claims of a token with a good signature: its holder, its expiry, and its grants.
//!
//! The check is strict where leniency would grant something: a claim of the wrong type, one that is twice in a token,
//! or a misspelt grant makes the token invalid. An ignored `deny` would deny nothing.

use std::num::NonZeroU32;

use serde::Deserialize;
use tickwire_router::{Grant, OwnLimits, PublishRate, RequestRate, Rights};
use tickwire_wire::limits::{BYTES_PER_S_MIN, OPS_RATE_MAX, SUBSCRIPTIONS_SET_MAX};
use tickwire_wire::{Micros, Pattern};

use super::claim::Value;
use super::object::Object;
use super::{Admission, Denied, Holder};

/// Most patterns of one list.
const PATTERNS_MAX: usize = 128;
/// Longest name of a subject, an issuer or a token, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 512;
/// The latest time that makes a difference, in seconds since the Unix epoch. It is long after the end of any broker.
const SECONDS_MAX: f64 = 1e11;

/// The claims that a verified token must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) audience: Option<String>,
    pub(super) issuer: Option<String>,
    /// The tolerated difference between clocks, in microseconds.
    pub(super) leeway_us: u64,
}

/// The claims that are read (RFC 7519 §4.1). A claim that occurs twice is an error.
#[derive(Debug, Deserialize)]
struct Claims {
    sub: Option<Value>,
    exp: Option<Value>,
    nbf: Option<Value>,
    aud: Option<Value>,
    iss: Option<Value>,
    jti: Option<Value>,
    tickwire: Option<Object<Grants>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Grants {
    subscribe: Vec<String>,
    publish: Vec<String>,
    deny_subscribe: Vec<String>,
    deny_publish: Vec<String>,
    publishes_per_s: Option<NonZeroU32>,
    publishes_burst: Option<NonZeroU32>,
    connections: Option<NonZeroU32>,
    subscriptions: Option<NonZeroU32>,
    ops_per_s: Option<NonZeroU32>,
    ops_burst: Option<NonZeroU32>,
    bytes_per_s: Option<NonZeroU32>,
    stamp: bool,
}

impl Expected {
    /// The rights of the holder of a token with these claims, if they hold at `now`.
    pub(super) fn admit(&self, claims: &[u8], now: Micros) -> Result<Admission, Denied> {
        let Object(claims): Object<Claims> = serde_json::from_slice(claims).map_err(|_| {
            let rule = "they must be a JSON object, each claim once, and tickwire in it an object of the lists subscribe, \
                        publish, deny_subscribe and deny_publish, the whole numbers publishes_per_s, publishes_burst, connections, subscriptions, ops_per_s, ops_burst and bytes_per_s, and stamp: true \
                        or false";
            Denied::Claims(rule.to_owned())
        })?;
        let grants = claims.tickwire.map(|Object(grants)| grants);
        let expires = time(claims.exp.as_ref(), "exp")?.ok_or_else(|| missing("exp"))?;
        let expires = Micros(expires.0.saturating_add(self.leeway_us));
        let begins = time(claims.nbf.as_ref(), "nbf")?;
        let issuer = text(claims.iss, "iss")?;
        if self.issuer.is_some() && self.issuer != issuer {
            return Err(Denied::Issuer);
        }
        if !self.is_for_us(claims.aud.as_ref())? {
            return Err(Denied::Audience);
        }
        if expires <= now {
            return Err(Denied::Expired);
        }
        if begins.is_some_and(|begins| begins.0 > now.0.saturating_add(self.leeway_us)) {
            return Err(Denied::NotYet);
        }
        let subject = text(claims.sub, "sub")?.ok_or_else(|| missing("sub"))?;
        let token_id = text(claims.jti, "jti")?;
        Ok(Admission {
            holder: Some(Holder::Subject { issuer, subject }),
            rights: grants.unwrap_or_default().rights()?,
            expires: Some(expires),
            token_id: token_id.map(String::into_boxed_str),
            place: None,
        })
    }

    /// Whether the token is meant for this broker: if it names an audience, that must be ours (RFC 7519 §4.1.3).
    fn is_for_us(&self, claim: Option<&Value>) -> Result<bool, Denied> {
        let ours = |text: &Value| {
            text.as_str()
                .is_some_and(|text| self.audience.as_deref() == Some(text))
        };
        match claim {
            None => Ok(self.audience.is_none()),
            Some(text @ Value::String(_)) => Ok(ours(text)),
            Some(Value::Array(texts)) if texts.iter().all(Value::is_string) => Ok(texts.iter().any(ours)),
            Some(_) => Err(Denied::Claims("aud must be a text or a list of texts".to_owned())),
        }
    }
}

impl Grants {
    fn rights(self) -> Result<Rights, Denied> {
        Ok(Rights {
            subscribe: Grant::new(
                patterns(&self.subscribe, "subscribe")?,
                patterns(&self.deny_subscribe, "deny_subscribe")?,
            ),
            publish: Grant::new(
                patterns(&self.publish, "publish")?,
                patterns(&self.deny_publish, "deny_publish")?,
            ),
            publish_rate: self.publish_rate()?,
            stamp: self.stamp,
            own: self.own_limits()?,
        })
    }
}

impl Grants {
    /// A token cannot have more than a static key may be set to have.
    fn own_limits(&self) -> Result<OwnLimits, Denied> {
        let at_most = |number: Option<NonZeroU32>, most: u64| {
            number.map(|number| number.get().min(u32::try_from(most).unwrap_or(u32::MAX)))
        };
        let requests = RequestRate::of(
            at_most(self.ops_per_s, OPS_RATE_MAX),
            at_most(self.ops_burst, OPS_RATE_MAX),
        );
        if self
            .bytes_per_s
            .is_some_and(|rate| u64::from(rate.get()) < BYTES_PER_S_MIN)
        {
            let rule = format!("tickwire.bytes_per_s must be at least {BYTES_PER_S_MIN}");
            return Err(Denied::Claims(rule));
        }
        Ok(OwnLimits {
            connections: self.connections.map(NonZeroU32::get),
            subscriptions: at_most(self.subscriptions, SUBSCRIPTIONS_SET_MAX).map(|most| most as usize),
            requests: requests.map_err(|rule| Denied::Claims(format!("tickwire.ops_burst {rule}")))?,
            bytes_per_s: self.bytes_per_s.map(NonZeroU32::get),
        })
    }

    fn publish_rate(&self) -> Result<Option<PublishRate>, Denied> {
        let number = |number: Option<NonZeroU32>| number.map(|number| u64::from(number.get()));
        PublishRate::of(number(self.publishes_per_s), number(self.publishes_burst))
            .map_err(|rule| Denied::Claims(format!("tickwire.publishes_burst {rule}")))
    }
}

fn patterns(texts: &[String], name: &str) -> Result<Vec<Pattern>, Denied> {
    if texts.len() > PATTERNS_MAX {
        let rule = format!("tickwire.{name} must have at most {PATTERNS_MAX} patterns");
        return Err(Denied::Claims(rule));
    }
    let parsed = texts.iter().enumerate().map(|(at, text)| {
        text.parse()
            .map_err(|error| Denied::Claims(format!("tickwire.{name}[{at}]: {error}")))
    });
    parsed.collect()
}

/// A time in seconds since the Unix epoch, perhaps with a fraction (RFC 7519 §2, NumericDate).
fn time(claim: Option<&Value>, name: &str) -> Result<Option<Micros>, Denied> {
    let Some(claim) = claim else { return Ok(None) };
    let seconds = claim.as_f64().filter(|seconds| seconds.is_finite());
    let seconds = seconds.ok_or_else(|| Denied::Claims(format!("{name} must be a number")))?;
    // This is at most 10^17 µs, which fits in a u64. Times before 1970 count as 1970, which is in the past as well.
    Ok(Some(Micros((seconds.clamp(0.0, SECONDS_MAX) * 1e6) as u64)))
}

fn text(claim: Option<Value>, name: &str) -> Result<Option<String>, Denied> {
    match claim {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() && text.len() <= NAME_BYTES_MAX => Ok(Some(text)),
        Some(_) => {
            let rule = format!("{name} must be a text of at most {NAME_BYTES_MAX} bytes");
            Err(Denied::Claims(rule))
        }
    }
}

fn missing(name: &str) -> Denied {
    Denied::Claims(format!("{name} is missing"))
}
