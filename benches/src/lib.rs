//! What the hot paths of the broker cost: one file per path, each case measured as wall time (`wall.rs`) and as a number of
//! instructions (`instructions.rs`), and run with small input as a test.
//!
//! All three run the very same functions: the [`every_case`] table is the only list of cases, and [`set_up`] makes what
//! they work on. Calls the project's public interfaces only. Nothing here reads a clock or a random number;
//! the hash maps of a directory do choose random keys, so searching one takes a percent or two more or fewer instructions
//! from run to run.

pub mod book;
pub mod case;
pub mod deflate;
pub mod encode;
pub mod fan_out;
pub mod frame_parse;
pub mod outbox_drain;
pub mod request_decode;
pub mod set_up;
pub mod subscribe;
pub mod topic_match;

mod table;

pub use case::{Case, HotPath, Scale, Work};
pub use table::{CASES, find};
