//! The program `tickwire`: the broker (`serve`) and its tools (`sub`, `pub`, `end`, `topics`, `get`, `history`, `export`, `top`, `admin`, `cluster`, `bench`, `journal`,
//! `check-config`, `check-recording`, `hash-key`, `completions`, `man`).
//!
//! It is thin: it reads the command line, calls the module of the command, and turns the outcome into an exit code: 0
//! for success, 1 for failure, 2 for wrong use. Data goes to standard output, everything else to standard error. Memory
//! comes from the system's allocator.

mod admin;
mod bench;
mod check_config;
mod check_recording;
mod cli;
mod cluster;
mod colour;
mod completions;
mod console;
mod end;
mod export;
mod failure;
mod get;
mod hash_key;
mod history;
mod http;
mod journal;
mod lines;
mod logging;
mod man;
mod publish;
mod record;
mod serve;
mod signals;
mod sub;
mod systemd;
mod token;
mod top;
mod topics;

use std::process::ExitCode;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    completions::answer();
    let outcome = match Cli::read().command {
        Command::Serve(args) => serve::run(args),
        Command::Sub(args) => sub::run(args),
        Command::Pub(args) => publish::run(args),
        Command::Record(args) => record::run(args),
        Command::End(args) => end::run(&args),
        Command::Topics(args) => topics::run(&args),
        Command::Get(args) => get::run(&args),
        Command::History(args) => history::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Admin(args) => admin::run(&args),
        Command::Cluster(args) => cluster::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Journal(args) => journal::run(&args),
        Command::CheckConfig(args) => check_config::run(&args),
        Command::CheckRecording(args) => check_recording::run(&args),
        Command::HashKey(args) => hash_key::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
