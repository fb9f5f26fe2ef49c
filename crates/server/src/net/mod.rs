//! Sockets: accepting connections, whose they are, TLS over them, when they are ready, and how bytes are handed to the kernel.

pub(crate) mod acceptor;
pub(crate) mod egress;
pub(crate) mod permit;
pub(crate) mod poller;
pub(crate) mod proxied;
pub mod tls;
