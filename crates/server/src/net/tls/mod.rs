//! TLS on the clients' listener: the broker's identity, how it is replaced, and encrypted connections.
//!
//! The identity for handshakes is loaded as a whole or not at all ([`TlsIdentity`]), and is kept in one place
//! (`TlsStore`), from which each new handshake takes it. Open connections keep the identity that they began with. A
//! handshake has a time limit. After it hyper uses an `HttpStream`; an upgraded connection belongs to the hub, as a
//! `Secured`.

mod error;
mod fingerprint;
mod http_stream;
mod identity;
mod secured;
mod session;
mod store;
mod suites;
mod validity;
mod watch;
mod workers;

pub use self::error::TlsError;
pub(crate) use self::http_stream::HttpStream;
pub use self::identity::TlsIdentity;
pub(crate) use self::secured::{Decrypted, Flushed, Secured};
pub(crate) use self::session::RECORD_BYTES;
pub(crate) use self::store::TlsStore;
pub(crate) use self::watch::watch;
