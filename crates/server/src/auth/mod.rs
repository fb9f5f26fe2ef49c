//! Decides which clients are admitted and what they may do: origins of web pages, static keys, JSON Web Tokens.
//!
//! [`Access::load`] reads every file that the settings name and builds all rules, or returns the fault. The result
//! never changes and reads nothing more. Verifying a token opens no file and no connection, whatever the token says
//! about the place of its key. Nothing that a client showed is logged or repeated in an answer.

mod admission;
mod claim;
mod claims;
mod denied;
mod error;
mod jwt;
mod key_files;
pub(crate) mod object;
mod origin;
mod publisher;
mod revocations;
pub(crate) mod sessions;
mod shown;
mod static_keys;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use hyper::header::HeaderMap;
use tickwire_router::{Grant, OwnLimits, PublishRate, RequestRate, Rights};
use tickwire_wire::{Micros, Pattern, Secret};

pub(crate) use self::admission::{Admission, Holder};
pub(crate) use self::claims::NAME_BYTES_MAX;
pub(crate) use self::denied::Denied;
use self::denied::TOKEN_BYTES_MAX;
pub use self::error::AccessError;
use self::jwt::Verifier;
pub(crate) use self::revocations::{Revocation, Revocations, RevocationsFull, Revoked};
pub(crate) use self::shown::{is_token_entry, shown_token};
pub(crate) use self::static_keys::find as find_static_key;
pub use self::static_keys::{KEY_BYTES_MIN, generate_key};
use crate::config::{AuthKey, Config, KeyHash, OriginRule};

/// The rules of access.
#[derive(Debug)]
pub struct Access {
    required: bool,
    anonymous: Rights,
    origins: Vec<OriginRule>,
    keys: Vec<AuthKey>,
    jwt: Option<Verifier>,
    /// The topics that nobody may publish to: the copies of views.
    copies: Vec<Pattern>,
    revocations: Arc<Revocations>,
}

impl Access {
    /// The rules of `config`, with the keys in its files.
    ///
    /// # Errors
    /// If a file cannot be read or holds no usable key.
    pub fn load(config: &Config) -> Result<Self, AccessError> {
        let auth = &config.auth;
        let copies: Vec<Pattern> = config.views.iter().filter_map(|view| view.prefix.all()).collect();
        let mut keys = auth.keys.clone();
        for key in &mut keys {
            key.rights.forbid_publishing(&copies);
        }
        let mut anonymous = Rights {
            subscribe: Grant::new(auth.anonymous_subscribe.clone(), []),
            publish: Grant::new(config.anonymous_publish.clone(), []),
            publish_rate: PublishRate::of(auth.anonymous_publishes_per_s.map(u64::from), None)
                .unwrap_or_default(),
            stamp: false,
            own: OwnLimits {
                connections: auth.anonymous_connections,
                subscriptions: auth.anonymous_subscriptions,
                requests: RequestRate::of(auth.anonymous_ops_per_s, None).unwrap_or_default(),
                bytes_per_s: auth.anonymous_bytes_per_s,
            },
        };
        anonymous.forbid_publishing(&copies);
        Ok(Self {
            required: auth.required,
            anonymous,
            origins: auth.allowed_origins.clone(),
            keys,
            copies,
            jwt: auth.jwt.as_ref().map(Verifier::load).transpose()?,
            revocations: Arc::default(),
        })
    }

    /// The same rules with these revocations, which outlive a reload.
    pub(crate) fn with_revocations(self, revocations: Arc<Revocations>) -> Self {
        Self { revocations, ..self }
    }

    /// What operators have revoked.
    pub(crate) fn revocations(&self) -> &Arc<Revocations> {
        &self.revocations
    }

    /// Whether the token of `admission`, its key or its subject is revoked at `now`.
    pub(crate) fn is_revoked(&self, admission: &Admission, now: Micros) -> bool {
        let token_id = admission.token_id.as_deref();
        self.revocations.cover(admission.holder.as_ref(), token_id, now)
    }

    /// The keys of `auth.jwt.jwks_file` that cannot be used and are ignored, one line each, for people.
    #[must_use]
    pub fn ignored_keys(&self) -> &[String] {
        self.jwt.as_ref().map_or(&[], Verifier::ignored)
    }

    /// The rights of clients without a token.
    pub(crate) fn anonymous(&self) -> &Rights {
        &self.anonymous
    }

    /// Whether the pages of any site are admitted.
    pub(crate) fn lets_any_page_in(&self) -> bool {
        self.origins.is_empty()
    }

    /// Checks that the web page behind a browser's request may connect. A request without an origin does not come from
    /// a page.
    pub(crate) fn check_origin(&self, headers: &HeaderMap) -> Result<(), Denied> {
        origin::check(&self.origins, headers)
    }

    /// The rights at `now` of a client that showed `token`, or no token.
    pub(crate) fn admit(&self, token: Option<&Secret>, now: Micros) -> Result<Admission, Denied> {
        match token {
            Some(token) => self.verify(token, now),
            None if self.required => Err(Denied::NoToken),
            None => Ok(Admission {
                holder: None,
                rights: self.anonymous.clone(),
                expires: None,
                token_id: None,
                place: None,
            }),
        }
    }

    /// The rights of the holder of `token` at `now`.
    pub(crate) fn verify(&self, token: &Secret, now: Micros) -> Result<Admission, Denied> {
        let admission = self.read(token, now)?;
        if self.is_revoked(&admission, now) {
            return Err(Denied::Revoked);
        }
        Ok(admission)
    }

    /// The rights of the holder of `token` at `now`, whether or not it is revoked.
    fn read(&self, token: &Secret, now: Micros) -> Result<Admission, Denied> {
        let token = token.expose();
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Denied::TooLong);
        }
        if let Some(key) = self.static_key(token) {
            return Ok(Admission {
                holder: Some(Holder::Key(key.hash)),
                rights: key.rights.clone(),
                expires: None,
                token_id: None,
                place: None,
            });
        }
        match &self.jwt {
            Some(jwt) if self.keys.is_empty() || token.contains('.') => {
                let mut admission = jwt.verify(token, now)?;
                admission.rights.forbid_publishing(&self.copies);
                Ok(admission)
            }
            None if self.keys.is_empty() => Err(Denied::NoTokens),
            _ => Err(Denied::UnknownKey),
        }
    }

    /// The rights at `now` of a client that was admitted with `admission`. Since then its token may have expired, or
    /// its key may be withdrawn or have other rights.
    pub(crate) fn still<'a>(&'a self, admission: &'a Admission, now: Micros) -> Result<&'a Rights, Denied> {
        if admission.expires.is_some_and(|at| at <= now) {
            return Err(Denied::Expired);
        }
        if self.is_revoked(admission, now) {
            return Err(Denied::Revoked);
        }
        match &admission.holder {
            Some(Holder::Key(key)) => self.rights_of_key(*key).ok_or(Denied::UnknownKey),
            Some(Holder::Subject { .. }) => Ok(&admission.rights),
            None => Ok(&self.anonymous),
        }
    }

    /// The name of the holder of the static key `token`, if it may close sessions at the operators' listener at `now`.
    pub(crate) fn closer(&self, token: &Secret, now: Micros) -> Option<&str> {
        let key = self.static_key(token.expose())?;
        let may = key.closes_sessions && !self.revocations.cover(Some(&Holder::Key(key.hash)), None, now);
        may.then_some(key.name.as_str())
    }

    fn static_key(&self, token: &str) -> Option<&AuthKey> {
        static_keys::find(&self.keys, |key| &key.hash, token)
    }

    /// The hash of the static key with this name, if there is such a key.
    pub(crate) fn key_named(&self, name: &str) -> Option<KeyHash> {
        let key = self.keys.iter().find(|key| key.name == name);
        key.map(|key| key.hash)
    }

    /// The name of a token's holder: that of its static key, or the subject of its JSON Web Token. `None` if the key is
    /// gone.
    pub(crate) fn name_of<'a>(&'a self, holder: &'a Holder) -> Option<&'a str> {
        match holder {
            Holder::Key(hash) => {
                let key = self.keys.iter().find(|key| key.hash == *hash);
                key.map(|key| key.name.as_str())
            }
            Holder::Subject { subject, .. } => Some(subject),
        }
    }

    /// The rights of the holder of the static key with this `hash`, if there is such a key.
    pub(crate) fn rights_of_key(&self, hash: KeyHash) -> Option<&Rights> {
        let key = self.keys.iter().find(|key| key.hash == hash);
        key.map(|key| &key.rights)
    }

    /// The static keys that `after` does not have, or has with other rights: the new rights, or `None` for a key that
    /// is gone.
    pub(crate) fn changed_keys<'a>(
        &'a self,
        after: &'a Self,
    ) -> impl Iterator<Item = (KeyHash, Option<&'a Rights>)> {
        let after: HashMap<KeyHash, &Rights> = after.keys.iter().map(|key| (key.hash, &key.rights)).collect();
        let now = self
            .keys
            .iter()
            .map(move |key| (key, after.get(&key.hash).copied()));
        let changed = now.filter(|(key, now)| *now != Some(&key.rights));
        changed.map(|(key, now)| (key.hash, now))
    }

    /// The rights of clients without a token, and whether a token is needed, for people.
    #[must_use]
    pub fn summary(&self) -> String {
        if self.required {
            return "a token is required".to_owned();
        }
        let list = |grant: &Grant| {
            let patterns: Vec<&str> = grant.allow().iter().map(Pattern::as_str).collect();
            match patterns[..] {
                [] => "nothing".to_owned(),
                [">"] => "everything".to_owned(),
                _ => patterns.join(", "),
            }
        };
        let (subscribe, publish) = (list(&self.anonymous.subscribe), list(&self.anonymous.publish));
        format!("anyone may subscribe to {subscribe} and publish to {publish}")
    }
}
