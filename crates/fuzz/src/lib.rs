//! What must hold of any input: a function per parser that reads what others wrote.
//!
//! Each takes bytes and panics when something does not hold. `cargo xtask fuzz` feeds them with what libFuzzer thinks of; the
//! inputs below `seeds`, those that once found a fault among them, are run by this crate's tests, with every other test.

mod config;
mod deflate;
mod frames;
mod node;
mod payloads;
mod recording;
mod reference;
mod requests;
mod topics;

pub use config::config;
pub use deflate::deflate;
pub use frames::frames;
pub use payloads::payloads;
pub use recording::recording;
pub use requests::{json, msgpack};
pub use topics::topics;

/// What a target checks.
pub type Target = fn(&[u8]);

/// Every target by name: that of its function, of its libFuzzer program and of its folder of seeds.
pub const TARGETS: &[(&str, Target)] = &[
    ("config", config),
    ("deflate", deflate),
    ("frames", frames),
    ("json", json),
    ("msgpack", msgpack),
    ("payloads", payloads),
    ("recording", recording),
    ("topics", topics),
];
