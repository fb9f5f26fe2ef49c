//! What requests to the admin API may hold, and its meaning. A body is a JSON object of known fields, each once.
//!
//! The texts that refuse a request repeat nothing of it: an operator may have put a key or a token in the wrong place.

use std::net::IpAddr;

use bytes::Bytes;
use ipnet::IpNet;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use tickwire_wire::{Micros, Moment, Topic};

use crate::auth::object::Object;
use crate::auth::{Access, NAME_BYTES_MAX, Revoked};
use crate::http::{ErrorResponse, Query};
use crate::run::command::SessionFilter;

/// Longest reason that a close frame has room for (RFC 6455 §5.5), in bytes.
const REASON_BYTES_MAX: usize = 123;

/// The conditions on sessions in a request.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Conditions {
    #[serde(default, deserialize_with = "present")]
    address: Option<String>,
    #[serde(default, deserialize_with = "present")]
    key: Option<String>,
    #[serde(default, deserialize_with = "present")]
    subject: Option<String>,
    #[serde(default, deserialize_with = "present")]
    topic: Option<String>,
    /// What clients are told. Only for closing.
    #[serde(default, deserialize_with = "present")]
    pub(super) reason: Option<String>,
}

/// The body of a revocation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Revocable {
    #[serde(default, deserialize_with = "present")]
    key: Option<String>,
    #[serde(default, deserialize_with = "present")]
    subject: Option<String>,
    #[serde(default, deserialize_with = "present")]
    jti: Option<String>,
    #[serde(default, deserialize_with = "present")]
    until: Option<Until>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Until {
    Micros(u64),
    Text(String),
}

/// A body without fields.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// A field that is there. `null` is no value: it would look like a condition and be none.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(field: D) -> Result<Option<T>, D::Error> {
    T::deserialize(field).map(Some)
}

/// Reads a body that must be a JSON object as `rule` says.
fn object<T: DeserializeOwned>(body: &Bytes, rule: &str) -> Result<T, ErrorResponse> {
    let read: Result<Object<T>, _> = serde_json::from_slice(body);
    let Object(read) = read.map_err(|_| ErrorResponse::bad_request(format!("the body must be {rule}")))?;
    Ok(read)
}

/// The sessions that a body wants to be closed, in words, and the reason that their clients are told, if it has one.
pub(super) fn closing(
    body: &Bytes,
    access: &Access,
) -> Result<(SessionFilter, String, Option<String>), ErrorResponse> {
    let rule =
        "a JSON object with one or more of the texts key, subject, address and topic, and perhaps reason";
    let mut conditions: Conditions = object(body, rule)?;
    let reason = conditions.reason.take().map(reason).transpose()?;
    let what = conditions.to_string();
    if what.is_empty() {
        // Closing everybody is draining.
        return Err(ErrorResponse::bad_request(format!("the body must be {rule}")));
    }
    Ok((conditions.filter(access)?, what, reason))
}

fn reason(text: String) -> Result<String, ErrorResponse> {
    if text.is_empty() || text.len() > REASON_BYTES_MAX || text.chars().any(char::is_control) {
        let rule =
            format!("reason must be a text of 1 to {REASON_BYTES_MAX} bytes without control characters");
        return Err(ErrorResponse::bad_request(rule));
    }
    Ok(text)
}

/// What a body revokes, what operators call that, and until when, at `now`.
pub(super) fn revocation(
    body: &Bytes,
    access: &Access,
    now: Micros,
) -> Result<(Revoked, String, Option<Micros>), ErrorResponse> {
    let rule = "a JSON object with exactly one of the texts key, subject and jti, and perhaps until";
    let Revocable {
        key,
        subject,
        jti,
        until,
    } = object(body, rule)?;
    let until = until.map(|until| moment(until, now)).transpose()?;
    let (revoked, name) = match (key, subject, jti) {
        (Some(key), None, None) => (Revoked::Key(key_named(access, &key)?), key),
        (None, Some(subject), None) => (Revoked::Subject(name(&subject, "subject")?), subject),
        (None, None, Some(jti)) => (Revoked::TokenId(name(&jti, "jti")?), jti),
        _ => return Err(ErrorResponse::bad_request(format!("the body must be {rule}"))),
    };
    Ok((revoked, name, until))
}

fn moment(until: Until, now: Micros) -> Result<Micros, ErrorResponse> {
    let moment = match until {
        Until::Micros(micros) => Some(Micros(micros)),
        Until::Text(text) => text.parse().ok().map(|Moment(micros)| micros),
    };
    moment.filter(|moment| *moment > now).ok_or_else(|| {
        let rule = "until must be a moment to come: microseconds since 1970, such as 1723161253000000, or a text such as \"2024-08-08T23:54:13Z\"";
        ErrorResponse::bad_request(rule)
    })
}

/// Checks that a body is empty or an object without fields.
pub(super) fn nothing(body: &Bytes) -> Result<(), ErrorResponse> {
    if body.is_empty() {
        return Ok(());
    }
    object::<Nothing>(body, "empty, or {}").map(|Nothing {}| ())
}

/// Checks the name of a subject or of a token. A token itself is no name.
fn name(text: &str, field: &str) -> Result<String, ErrorResponse> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX {
        let rule = format!("{field} must be a text of 1 to {NAME_BYTES_MAX} bytes");
        return Err(ErrorResponse::bad_request(rule));
    }
    if text.starts_with("eyJ") && text.matches('.').count() == 2 {
        let rule =
            format!("{field} is a JSON Web Token itself: name its claim, and keep tokens out of requests");
        return Err(ErrorResponse::bad_request(rule));
    }
    Ok(text.to_owned())
}

fn key_named(access: &Access, name: &str) -> Result<crate::config::KeyHash, ErrorResponse> {
    access
        .key_named(name)
        .ok_or_else(|| ErrorResponse::bad_request("key must be the name of a static key in auth.keys"))
}

impl Conditions {
    /// The conditions in a query.
    pub(super) fn of_query(query: &Query) -> Result<Self, ErrorResponse> {
        let one = |name| Ok::<_, ErrorResponse>(query.one(name)?.map(str::to_owned));
        Ok(Self {
            address: one("address")?,
            key: one("key")?,
            subject: one("subject")?,
            topic: one("topic")?,
            reason: None,
        })
    }

    /// The sessions that fulfil all of them.
    pub(super) fn filter(&self, access: &Access) -> Result<SessionFilter, ErrorResponse> {
        let topic = self.topic.as_deref().map(|topic| {
            let rule = "topic must be the name of a topic, without wildcards";
            topic
                .parse::<Topic>()
                .map_err(|_| ErrorResponse::bad_request(rule))
        });
        Ok(SessionFilter {
            address: self.address.as_deref().map(network).transpose()?,
            key: self
                .key
                .as_deref()
                .map(|key| key_named(access, key))
                .transpose()?,
            subject: self
                .subject
                .as_deref()
                .map(|text| name(text, "subject"))
                .transpose()?,
            token_id: None,
            topic: topic.transpose()?,
        })
    }
}

/// Writes the conditions for the audit line.
impl std::fmt::Display for Conditions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fields = [
            ("address", &self.address),
            ("key", &self.key),
            ("subject", &self.subject),
            ("topic", &self.topic),
        ];
        let named = fields
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_ref()?)));
        for (index, (name, value)) in named.enumerate() {
            let between = if index == 0 { "" } else { " " };
            write!(f, "{between}{name}={value:?}")?;
        }
        Ok(())
    }
}

/// A network, or a single address.
fn network(text: &str) -> Result<IpNet, ErrorResponse> {
    let address = text
        .parse::<IpAddr>()
        .ok()
        .map(|ip| IpNet::from(ip.to_canonical()));
    let network = address.or_else(|| text.parse().ok());
    network.ok_or_else(|| {
        ErrorResponse::bad_request("address must be an IP address, or a network such as 192.0.2.0/24")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AdminKey, AuthKey, Config, KeyHash};

    fn access() -> Access {
        let mut config = Config::default();
        config.auth.keys.push(AuthKey {
            name: "desk".to_owned(),
            hash: KeyHash::of("tw_desk"),
            rights: tickwire_router::Rights::none(),
            closes_sessions: false,
        });
        config.admin.keys.push(AdminKey {
            name: "night-shift".to_owned(),
            hash: KeyHash::of("tw_night"),
        });
        Access::load(&config).expect("no file is read")
    }

    fn closed(body: &str) -> String {
        match closing(&Bytes::copy_from_slice(body.as_bytes()), &access()) {
            Ok((_, what, reason)) => format!("{what} {}", reason.unwrap_or_default()),
            Err(refused) => refused.refusal.reason,
        }
    }

    #[test]
    fn what_may_be_closed() {
        let rule = "the body must be a JSON object with one or more of the texts key, subject, address and topic, and perhaps reason";
        for (body, said) in [
            (r#"{"key":"desk"}"#, "key=\"desk\" "),
            (
                r#"{"address":"10.0.0.0/8","topic":"a.b","reason":"moved"}"#,
                "address=\"10.0.0.0/8\" topic=\"a.b\" moved",
            ),
            (r#"{"subject":"a\n"}"#, "subject=\"a\\n\" "),
            ("{}", rule),
            (r#"{"reason":"x"}"#, rule),
            ("", rule),
            ("[]", rule),
            ("[null,\"desk\"]", rule),
            (r#"{"key":"desk","keys":"desk"}"#, rule),
            (r#"{"key":"desk","key":"desk"}"#, rule),
            (r#"{"key":1}"#, rule),
            (r#"{"key":"desk","address":null}"#, rule),
            (r#"{"key":"desk"} x"#, rule),
            (
                r#"{"key":"tw_desk"}"#,
                "key must be the name of a static key in auth.keys",
            ),
            (
                r#"{"key":"night-shift"}"#,
                "key must be the name of a static key in auth.keys",
            ),
            (
                r#"{"address":"10.0.0.0/33"}"#,
                "address must be an IP address, or a network such as 192.0.2.0/24",
            ),
            (
                r#"{"topic":"a.*"}"#,
                "topic must be the name of a topic, without wildcards",
            ),
            (
                r#"{"key":"desk","reason":"a\u0007"}"#,
                "reason must be a text of 1 to 123 bytes without control characters",
            ),
        ] {
            assert_eq!(closed(body), said, "{body}");
        }
    }

    fn revoked(body: &str) -> String {
        match revocation(&Bytes::copy_from_slice(body.as_bytes()), &access(), Micros(1_000)) {
            Ok((revoked, name, until)) => format!("{revoked:?} {name} {:?}", until.map(|at| at.0)),
            Err(refused) => refused.refusal.reason.chars().take(60).collect(),
        }
    }

    #[test]
    fn what_may_be_revoked() {
        let rule = "the body must be a JSON object with exactly one of the texts";
        for (body, said) in [
            (r#"{"key":"desk"}"#, "Key([redacted]) desk None"),
            (r#"{"subject":"m","until":1001}"#, "Subject(\"m\") m Some(1001)"),
            (
                r#"{"jti":"t1","until":"1970-01-01T00:00:01Z"}"#,
                "TokenId(\"t1\") t1 Some(1000000)",
            ),
            (
                r#"{"subject":"m","until":1000}"#,
                "until must be a moment to come: microseconds since 1970, suc",
            ),
            (
                r#"{"subject":"m","until":"soon"}"#,
                "until must be a moment to come: microseconds since 1970, suc",
            ),
            (r#"{"subject":"m","jti":"t1"}"#, rule),
            (r#"{"until":2000}"#, rule),
            (r#"{"subject":"m","until":-1}"#, rule),
            (r#"{"sub":"m"}"#, rule),
            (r#"{"subject":""}"#, "subject must be a text of 1 to 512 bytes"),
            (
                r#"{"jti":"eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln"}"#,
                "jti is a JSON Web Token itself: name its claim, and keep tok",
            ),
        ] {
            let said: String = said.chars().take(60).collect();
            assert_eq!(revoked(body), said, "{body}");
        }
    }

    #[test]
    fn a_drain_takes_no_settings() {
        for (body, taken) in [
            ("", true),
            ("{}", true),
            ("{\"now\":true}", false),
            ("[]", false),
            ("null", false),
        ] {
            assert_eq!(
                nothing(&Bytes::copy_from_slice(body.as_bytes())).is_ok(),
                taken,
                "{body}"
            );
        }
    }
}
