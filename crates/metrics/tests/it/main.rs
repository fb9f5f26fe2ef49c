//! The catalogue from outside: what a scrape holds, what the conventions ask for, what the documentation says.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and says so"
)]

mod conventions;
mod documentation;
mod exposition;
mod render;
