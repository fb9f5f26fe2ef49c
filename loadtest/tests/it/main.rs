//! The load-test program as it is run.

mod compare;
mod peers;
