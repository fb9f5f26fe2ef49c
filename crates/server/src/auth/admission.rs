//! The result of admitting a client: its rights, until when, and the holder of its token.

use tickwire_router::Rights;
use tickwire_wire::Micros;

use crate::config::KeyHash;
use crate::limits::{ANONYMOUS, HolderConnections, HolderSlot, TurnedAway};

/// The holder of a token. A connection may renew its rights only with a token of the same holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    /// The holder of the static key with this hash.
    Key(KeyHash),
    /// The subject of a JSON Web Token. A subject is unique only together with its issuer (RFC 7519 §4.1.2).
    Subject { issuer: Option<String>, subject: String },
}

/// The rights of a client that was admitted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Admission {
    /// The holder of the token that it showed, if it showed one.
    pub(crate) holder: Option<Holder>,
    pub(crate) rights: Rights,
    /// When the token expires.
    pub(crate) expires: Option<Micros>,
    /// The name of the token itself, if it has one: its claim `jti`.
    pub(crate) token_id: Option<Box<str>>,
    /// The place of the client's connection among those of the holder, once it has one.
    pub(crate) place: Option<HolderSlot>,
}

impl Admission {
    /// Takes a place for one more connection among those of the holder, as far as the rights allow.
    ///
    /// # Errors
    /// If the holder has as many connections as it may have.
    pub(crate) fn connect(&self, connections: &HolderConnections) -> Result<HolderSlot, TurnedAway> {
        let most = self.rights.own.connections;
        match &self.holder {
            Some(holder) => connections
                .connect(holder.publisher(), most)
                .map_err(TurnedAway::HolderConnections),
            None => connections
                .connect(ANONYMOUS, most)
                .map_err(TurnedAway::AnonymousConnections),
        }
    }
}
