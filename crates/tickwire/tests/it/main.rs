//! The program as its users run it. No test sleeps; a program that does not end is killed and its test fails.

mod broker;
mod program;
mod usage;
