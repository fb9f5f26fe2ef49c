//! Sockets: accepting connections, finding their clients, TLS, readiness, and handing bytes to the kernel.

pub(crate) mod acceptor;
pub(crate) mod egress;
pub(crate) mod listener;
pub(crate) mod passed;
pub(crate) mod permit;
pub(crate) mod poller;
pub(crate) mod proxied;
pub(crate) mod readiness;
pub mod tls;
