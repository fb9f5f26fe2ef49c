//! Turns a request into a WebSocket connection: the handshake, and the agreed extension.

pub(crate) mod extensions;
pub(crate) mod handshake;
