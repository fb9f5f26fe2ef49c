//! The costs of the broker's hot paths, one file per path. Each case is measured as wall time (`wall.rs`) and as a
//! number of instructions (`instructions.rs`), and runs with small input as a test.
//!
//! All three run the same functions: the [`every_case`] table is the only list of cases, and [`set_up`] makes their
//! input. The crate calls only the project's public interfaces. It reads no clock and no random number. But a
//! directory's hash maps choose random keys, so the instructions of searching one vary by a percent or two from run to
//! run.

pub mod book;
pub mod case;
pub mod deflate;
pub mod encode;
pub mod fan_out;
pub mod frame_parse;
pub mod outbox_drain;
pub mod publish;
pub mod request_decode;
pub mod set_up;
pub mod subscribe;
pub mod topic_match;

mod table;

pub use case::{Case, HotPath, Scale, Work};
pub use table::{CASES, find};
