//! server

pub mod config;
pub mod handshake;
pub mod http;
