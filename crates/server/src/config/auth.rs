//! The origins, the static keys and `[auth.jwt]` of the key table `[auth]`.
//!
//! It holds no secret: only the hashes of static keys, and the names of files, which [`crate::auth::Access::load`]
//! reads.

use std::collections::HashSet;
use std::path::PathBuf;

use figment::value::{Dict, Value};
use tickwire_router::{Grant, OwnLimits, PublishRate, RequestRate, Rights};
use tickwire_wire::limits::{BYTES_PER_S_MIN, OPS_RATE_MAX, PUBLISH_RATE_MAX, SUBSCRIPTIONS_SET_MAX};

use super::error::ConfigError;
use super::fields::{Fields, Form};
use super::key::{Setting, Shape};
use super::key_hash::KeyHash;
use super::origin::OriginRule;
use super::settings::Settings;

/// The field of `auth.keys` with a key's publications per second.
const KEY_PER_S: &str = "publishes_per_s";
/// The field of `auth.keys` with a key's publications at once.
const KEY_BURST: &str = "publishes_burst";
/// The fields of `auth.keys` with a key's other limits.
const KEY_CONNECTIONS: &str = "connections";
const KEY_SUBSCRIPTIONS: &str = "subscriptions";
const KEY_OPS_PER_S: &str = "ops_per_s";
const KEY_OPS_BURST: &str = "ops_burst";
const KEY_BYTES_PER_S: &str = "bytes_per_s";
/// The field of `auth.keys` with a key's right to close sessions.
const CLOSE_SESSIONS: &str = "close_sessions";
/// The field of `auth.keys` with a key's right to set the time of messages.
const STAMP: &str = "stamp";
const KEY: Form = Form {
    known: &[
        "name",
        "sha256",
        "subscribe",
        "publish",
        "deny_subscribe",
        "deny_publish",
        KEY_PER_S,
        KEY_BURST,
        KEY_CONNECTIONS,
        KEY_SUBSCRIPTIONS,
        KEY_OPS_PER_S,
        KEY_OPS_BURST,
        KEY_BYTES_PER_S,
        STAMP,
        CLOSE_SESSIONS,
    ],
    list: "must be a list of tables, each headed [[auth.keys]]",
    entry: None,
    hidden: Some("sha256"),
};
const JWT: Form = Form {
    known: &[
        "algorithms",
        "secret_file",
        "public_key_files",
        "jwks_file",
        "audience",
        "issuer",
        "leeway_s",
    ],
    list: "",
    entry: None,
    hidden: None,
};
/// The largest difference between clocks that can be tolerated, in seconds.
const LEEWAY_S_MAX: u64 = 300;

/// An entry of `auth.keys`.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthKey {
    /// The name of the key's holder in logs.
    pub name: String,
    /// The hash of the key.
    pub hash: KeyHash,
    /// The rights of its holder.
    pub rights: Rights,
    /// Whether its holder may close sessions of others at the operators' listener.
    pub closes_sessions: bool,
}

/// An algorithm that signs tokens (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JwtAlgorithm {
    /// HMAC with SHA-256: the signer's secret is also the verifier's.
    Hs256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl JwtAlgorithm {
    /// Every algorithm that can be set.
    pub const ALL: [Self; 4] = [Self::Hs256, Self::Rs256, Self::Es256, Self::EdDsa];

    /// The algorithm's name in a token's header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// The table `[auth.jwt]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Jwt {
    /// The accepted algorithms.
    pub algorithms: Vec<JwtAlgorithm>,
    /// The file with the secret of HS256.
    pub secret_file: Option<PathBuf>,
    /// The files with public keys in PEM.
    pub public_key_files: Vec<PathBuf>,
    /// The file with a JSON Web Key Set.
    pub jwks_file: Option<PathBuf>,
    /// The audience that a token's `aud` must name.
    pub audience: Option<String>,
    /// The issuer that a token's `iss` must be.
    pub issuer: Option<String>,
    /// The tolerated difference between clocks, in seconds.
    pub leeway_s: u64,
}

impl Setting for Vec<OriginRule> {
    const SHAPE: Shape = Shape::Texts("origins of web pages");

    fn read(settings: &Settings, path: &'static str) -> Result<Self, ConfigError> {
        settings.list(path, |text| {
            let rule = "is no origin: write scheme, host and perhaps a port, as https://example.com:8443";
            OriginRule::parse(text).ok_or_else(|| rule.to_owned())
        })
    }
}

impl Setting for Vec<AuthKey> {
    const SHAPE: Shape = Shape::Tables(
        "list of tables",
        "`name`, `sha256`, and perhaps `subscribe`, `publish`, `deny_subscribe`, `deny_publish`, `publishes_per_s`, `publishes_burst`, `connections`, `subscriptions`, `ops_per_s`, `ops_burst`, `bytes_per_s`, `stamp`, `close_sessions`",
    );

    fn read(settings: &Settings, path: &'static str) -> Result<Self, ConfigError> {
        let (mut names, mut hashes) = (HashSet::new(), HashSet::new());
        KEY.list(settings, path, |fields, _| {
            let key = key(fields)?;
            if !names.insert(key.name.clone()) {
                return Err(fields.refuse("name", "is the name of an earlier key as well"));
            }
            if !hashes.insert(key.hash) {
                return Err(fields.refuse("sha256", "is the hash of an earlier key as well"));
            }
            Ok(key)
        })
    }
}

fn key(fields: &Fields<'_>) -> Result<AuthKey, ConfigError> {
    let rule = "must be the 64 hexadecimal digits that tickwire hash-key prints, never the key itself";
    let hash = fields.needed("sha256", rule)?;
    Ok(AuthKey {
        name: fields
            .needed("name", "must be a text by which logs may call the key's holder")?
            .to_owned(),
        hash: KeyHash::parse(hash).ok_or_else(|| fields.refuse("sha256", rule))?,
        rights: Rights {
            subscribe: Grant::new(fields.patterns("subscribe")?, fields.patterns("deny_subscribe")?),
            publish: Grant::new(fields.patterns("publish")?, fields.patterns("deny_publish")?),
            publish_rate: own_rate(fields)?,
            stamp: fields.truth(STAMP)?.unwrap_or(false),
            own: own_limits(fields)?,
        },
        closes_sessions: fields.truth(CLOSE_SESSIONS)?.unwrap_or(false),
    })
}

/// A static key's own rate, if it has one.
fn own_rate(fields: &Fields<'_>) -> Result<Option<PublishRate>, ConfigError> {
    let read = |name| fields.integer(name, 1, u64::from(PUBLISH_RATE_MAX));
    let rate = PublishRate::of(read(KEY_PER_S)?, read(KEY_BURST)?);
    rate.map_err(|rule| fields.refuse(KEY_BURST, rule))
}

/// A static key's other limits of its own.
fn own_limits(fields: &Fields<'_>) -> Result<OwnLimits, ConfigError> {
    let small = |name, min, max: u64| Ok::<_, ConfigError>(fields.integer(name, min, max)?.map(saturated));
    let requests = RequestRate::of(
        small(KEY_OPS_PER_S, 1, OPS_RATE_MAX)?,
        small(KEY_OPS_BURST, 1, OPS_RATE_MAX)?,
    );
    let subscriptions = fields.integer(KEY_SUBSCRIPTIONS, 1, SUBSCRIPTIONS_SET_MAX)?;
    Ok(OwnLimits {
        connections: small(KEY_CONNECTIONS, 1, u64::from(u32::MAX))?,
        subscriptions: subscriptions.and_then(|most| usize::try_from(most).ok()),
        requests: requests.map_err(|rule| fields.refuse(KEY_OPS_BURST, rule))?,
        bytes_per_s: small(KEY_BYTES_PER_S, BYTES_PER_S_MIN, u64::from(u32::MAX))?,
    })
}

fn saturated(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Setting for Jwt {
    const SHAPE: Shape = Shape::Tables(
        "table",
        "`algorithms`, one or more of `secret_file`, `public_key_files`, `jwks_file`, and perhaps `audience`, `issuer`, `leeway_s`",
    );

    fn read(settings: &Settings, path: &'static str) -> Result<Self, ConfigError> {
        let unset = Value::from(Dict::new());
        let item = settings.value(path).unwrap_or(&unset);
        let fields = JWT.fields(path.to_owned(), settings.origin(path), item)?;
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let jwt = Self {
            algorithms: algorithms(&fields)?,
            secret_file: fields.file("secret_file", settings.credentials())?,
            public_key_files: fields.files("public_key_files", settings.credentials())?,
            jwks_file: fields.file("jwks_file", settings.credentials())?,
            audience: owned(fields.text("audience")?),
            issuer: owned(fields.text("issuer")?),
            leeway_s: fields.integer("leeway_s", 0, LEEWAY_S_MAX)?.unwrap_or(0),
        };
        let named = jwt.secret_file.is_some() || !jwt.public_key_files.is_empty() || jwt.jwks_file.is_some();
        if !named {
            let rule = "names no key: set secret_file (HS256), public_key_files or jwks_file";
            return Err(settings.refuse(path, rule));
        }
        Ok(jwt)
    }
}

fn algorithms(fields: &Fields<'_>) -> Result<Vec<JwtAlgorithm>, ConfigError> {
    let known = JwtAlgorithm::ALL.map(JwtAlgorithm::as_str).join(", ");
    let rule = format!("must be a list of one or more of {known}");
    let find = |name: &str| JwtAlgorithm::ALL.into_iter().find(|known| known.as_str() == name);
    let names = fields.texts("algorithms")?;
    let found: Option<Vec<JwtAlgorithm>> = names.into_iter().map(find).collect();
    found
        .filter(|found| !found.is_empty())
        .ok_or_else(|| fields.refuse("algorithms", rule))
}
