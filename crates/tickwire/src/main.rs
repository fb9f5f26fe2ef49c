//! The program `tickwire`: the broker (`serve`) and its tools (`sub`, `pub`, `check-config`, `check-recording`,
//! `hash-key`, `completions`).
//!
//! It is thin: it reads the command line, calls the module of the command, and turns the outcome into an exit code: 0
//! for success, 1 for failure, 2 for wrong use. Data goes to standard output, everything else to standard error. Memory
//! comes from the system's allocator.

mod check_config;
mod check_recording;
mod cli;
mod completions;
mod console;
mod failure;
mod hash_key;
mod lines;
mod logging;
mod publish;
mod serve;
mod signals;
mod sub;
mod token;

use std::process::ExitCode;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let outcome = match Cli::read().command {
        Command::Serve(args) => serve::run(args),
        Command::Sub(args) => sub::run(args),
        Command::Pub(args) => publish::run(args),
        Command::CheckConfig(args) => check_config::run(&args),
        Command::CheckRecording(args) => check_recording::run(&args),
        Command::HashKey(args) => hash_key::run(&args),
        Command::Completions(args) => completions::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
