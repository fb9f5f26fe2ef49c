//! Who was let in, and what it may do.

use tickwire_router::Rights;
use tickwire_wire::Micros;

use crate::config::KeyHash;

/// Whom a token belongs to: a connection may renew its rights with a token of the same holder only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Of the static key with this hash.
    Key(KeyHash),
    /// The subject of a JSON Web Token, which is one only together with who issued it (RFC 7519 §4.1.2).
    Subject { issuer: Option<String>, subject: String },
}

/// What a client that was let in may do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Admission {
    /// Whose token it showed, if it showed one.
    pub(crate) holder: Option<Holder>,
    pub(crate) rights: Rights,
    /// When the token expires.
    pub(crate) expires: Option<Micros>,
}
