//! How a request becomes a WebSocket connection: the handshake, and the extension that is agreed on.

pub(crate) mod extensions;
pub(crate) mod handshake;
