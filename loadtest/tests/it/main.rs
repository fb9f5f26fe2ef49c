//! The load-test program, run for real on a small scale: it ends well, and says what it found.
//!
//! Its tests need the broker beside their own program, as a build of the whole workspace puts it, and two cores; those of
//! the other servers need these installed. Where something is absent they say so in a line and test nothing.
//! The load-test program as it is run.

mod compare;
mod faults;
mod peers;
