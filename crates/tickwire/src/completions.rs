//! `tickwire completions`: the script with which a shell completes the command line.

use crate::cli::{self, CompletionsArgs};
use crate::console;
use crate::failure::Failure;

/// Prints the completions.
pub(crate) fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut cli::command(), "tickwire", &mut script);
    console::print(&script)?;
    Ok(())
}
