//! What must hold for any input: one function for each parser that reads foreign data.
//!
//! Each function takes bytes and panics when something does not hold. `cargo xtask fuzz` gives them the inputs that
//! libFuzzer creates. The inputs below `seeds`, which include those that once found a fault, are run by the tests of
//! this crate.

mod config;
mod deflate;
mod frames;
mod journal;
mod node;
mod payloads;
mod recording;
mod reference;
mod requests;
mod topics;

pub use config::config;
pub use deflate::deflate;
pub use frames::frames;
pub use journal::journal;
pub use payloads::payloads;
pub use recording::recording;
pub use requests::{json, msgpack};
pub use topics::topics;

/// The check of one parser.
pub type Target = fn(&[u8]);

/// Every target by name: the name of its function, of its libFuzzer program and of its folder of seeds.
pub const TARGETS: &[(&str, Target)] = &[
    ("config", config),
    ("deflate", deflate),
    ("frames", frames),
    ("journal", journal),
    ("json", json),
    ("msgpack", msgpack),
    ("payloads", payloads),
    ("recording", recording),
    ("topics", topics),
];
