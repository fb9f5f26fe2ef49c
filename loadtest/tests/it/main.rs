//! The load-test program as it is run.

mod peers;
//! The load tests themselves, run for real on a small scale: they end well, and say what they found.
//!
//! They need the broker beside their own program, as a build of the whole workspace puts it, and two cores. Where either is
//! absent they say so in a line and test nothing.
mod compare;
