//! TLS on the clients' listener: the identity that is shown, how it is replaced, and encrypted connections.
//!
//! What a handshake is done with is loaded as a whole or not at all ([`TlsIdentity`]) and held in one place (`TlsStore`),
//! from which each new handshake takes it; connections that are open keep what they began with. A handshake has a limit in time. Behind it
//! hyper speaks over a `HttpStream`; an upgraded connection is the hub's, as a `Secured`.

mod error;
mod fingerprint;
mod http_stream;
mod identity;
mod secured;
mod store;
mod validity;
mod watch;

pub use self::error::TlsError;
pub(crate) use self::http_stream::HttpStream;
pub use self::identity::TlsIdentity;
pub(crate) use self::secured::{Flushed, Heard, RECORD_BYTES, Secured};
pub(crate) use self::store::TlsStore;
pub(crate) use self::watch::watch;
