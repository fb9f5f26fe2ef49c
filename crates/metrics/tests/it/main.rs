//! The catalogue, tested from outside: the content of a scrape, the naming conventions, and the documentation.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and says so"
)]

mod conventions;
mod documentation;
mod exposition;
mod render;
