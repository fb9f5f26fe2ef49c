//! The program `tickwire`: the broker (`serve`) and the tools beside it (`sub`, `pub`, `check-config`, `completions`).
//!
//! Thin: reads the command line, hands over to a module per command, and turns its outcome into an exit code: 0 done,
//! 1 failed, 2 used wrongly. Data goes to standard output, everything else to standard error.

mod check_config;
mod cli;
mod completions;
mod console;
mod failure;
mod lines;
mod logging;
mod publish;
mod serve;
mod signals;
mod sub;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(args) => serve::run(args),
        Command::Sub(args) => sub::run(args),
        Command::Pub(args) => publish::run(args),
        Command::CheckConfig(args) => check_config::run(&args),
        Command::Completions(args) => completions::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
