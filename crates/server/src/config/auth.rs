//! Who may do what: the key table `[auth]`, its keys and `[auth.jwt]`.
//!
//! Holds no secret: of a static key its hash, of the rest the names of files, which [`crate::auth::Access::load`] reads.

use std::collections::HashSet;
use std::path::PathBuf;

use figment::value::Value;
use tickwire_router::{Grant, Rights};
use tickwire_wire::Pattern;

use super::error::ConfigError;
use super::fields::Fields;
use super::keys::{Key, Preset, Shape};
use super::publishing;
use super::settings::Settings;
use crate::auth::{KeyHash, OriginRule};

/// Fields of an entry of `auth.keys`.
const KEY_FIELDS: [&str; 8] = [
    "name",
    "sha256",
    "subscribe",
    "publish",
    "deny_subscribe",
    "deny_publish",
    publishing::KEY_PER_S,
    publishing::KEY_BURST,
];
/// Fields of `auth.jwt`.
const JWT_FIELDS: [&str; 7] = [
    "algorithms",
    "secret_file",
    "public_key_files",
    "jwks_file",
    "audience",
    "issuer",
    "leeway_s",
];
/// Longest time that clocks may differ.
const LEEWAY_S_MAX: u64 = 300;

pub(super) const REQUIRED: Key = Key::new(
    "auth.required",
    Shape::Bool,
    Preset::Bool(false),
    "Whether a token is needed at all: without one, every request is refused with 401",
);
pub(super) const ANONYMOUS_SUBSCRIBE: Key = Key::new(
    "auth.anonymous_subscribe",
    Shape::Patterns,
    Preset::List(&[">"]),
    "Topics that anyone may subscribe to and read. What anyone may publish to is anonymous_publish",
);
pub(super) const ALLOWED_ORIGINS: Key = Key::new(
    "auth.allowed_origins",
    Shape::Origins,
    Preset::Empty,
    "Web pages that may connect, subscribe and publish, as https://example.com, or https://*.example.com for all hosts below it; empty: those of any site. Clients that are no browsers name none and are let in",
);
pub(super) const KEYS: Key = Key::new(
    "auth.keys",
    Shape::AuthKeys,
    Preset::Empty,
    "Static keys and what their holders may do; `tickwire hash-key` makes them",
)
.file_only();
pub(super) const JWT: Key = Key::new(
    "auth.jwt",
    Shape::Jwt,
    Preset::Unset("no JSON Web Token is taken", 0),
    "How JSON Web Tokens are verified: with keys of local files only",
)
.file_only();

/// The key table `[auth]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Auth {
    /// Whether a token is needed at all.
    pub required: bool,
    /// Topics that anyone may subscribe to.
    pub anonymous_subscribe: Vec<Pattern>,
    /// Web pages that may connect; those of any site if empty.
    pub allowed_origins: Vec<OriginRule>,
    /// Static keys.
    pub keys: Vec<AuthKey>,
    /// How JSON Web Tokens are verified; none is taken if none.
    pub jwt: Option<Jwt>,
}

/// One of `auth.keys`.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthKey {
    /// What logs and renewals know its holder by.
    pub name: String,
    /// The hash of the key.
    pub hash: KeyHash,
    /// What its holder may do.
    pub rights: Rights,
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
    /// The algorithms that are taken.
    pub algorithms: Vec<JwtAlgorithm>,
    /// The secret of HS256, a file's bytes.
    pub secret_file: Option<PathBuf>,
    /// Public keys in PEM.
    pub public_key_files: Vec<PathBuf>,
    /// A JSON Web Key Set.
    pub jwks_file: Option<PathBuf>,
    /// What a token's `aud` must name.
    pub audience: Option<String>,
    /// What a token's `iss` must be.
    pub issuer: Option<String>,
    /// Seconds that clocks may differ.
    pub leeway_s: u64,
}

impl Auth {
    pub(super) fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let auth = Self {
            required: settings.boolean("auth.required")?,
            anonymous_subscribe: settings.patterns("auth.anonymous_subscribe")?,
            allowed_origins: origins(settings, "auth.allowed_origins")?,
            keys: keys(settings, "auth.keys")?,
            jwt: Jwt::read(settings, "auth.jwt")?,
        };
        if auth.required && auth.keys.is_empty() && auth.jwt.is_none() {
            let rule = "nobody could connect: set auth.keys or auth.jwt, so that there are tokens to show";
            return Err(settings.refuse("auth.required", rule));
        }
        Ok(auth)
    }
}

fn origins(settings: &Settings, path: &str) -> Result<Vec<OriginRule>, ConfigError> {
    let parse = |text: String| {
        OriginRule::parse(&text).ok_or_else(|| {
            let rule = "is no origin: write scheme, host and perhaps a port, as https://example.com:8443";
            settings.refuse(path, format!("{text:?} {rule}"))
        })
    };
    settings.texts(path)?.into_iter().map(parse).collect()
}

fn keys(settings: &Settings, path: &str) -> Result<Vec<AuthKey>, ConfigError> {
    let Some(Value::Array(_, items)) = settings.value(path) else {
        return Err(settings.refuse_unseen(path, "must be a list of tables, each headed [[auth.keys]]"));
    };
    let (mut names, mut hashes) = (HashSet::new(), HashSet::new());
    let mut keys = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let place = format!("{path}[{at}]");
        let fields = Fields::of(place, settings.origin(path), item, &KEY_FIELDS, Some("sha256"))?;
        let key = key(&fields)?;
        if !names.insert(key.name.clone()) {
            return Err(fields.refuse("name", "is the name of an earlier key as well"));
        }
        if !hashes.insert(key.hash) {
            return Err(fields.refuse("sha256", "is the hash of an earlier key as well"));
        }
        keys.push(key);
    }
    Ok(keys)
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
            publish_rate: publishing::read_of_key(fields)?,
        },
    })
}

impl Jwt {
    fn read(settings: &Settings, path: &str) -> Result<Option<Self>, ConfigError> {
        let Some(item) = settings.value(path) else {
            return Ok(None);
        };
        let fields = Fields::of(path.to_owned(), settings.origin(path), &item, &JWT_FIELDS, None)?;
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
        Ok(Some(jwt))
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
