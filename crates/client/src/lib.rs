//! The Rust client of Tickwire: subscribe, publish, reconnect, resume, and checks of what the broker promises.
//!
//! [`promise`] and [`book`] are pure: usable by a simulator or a load harness that has sockets of its own.

pub mod book;
pub mod promise;
