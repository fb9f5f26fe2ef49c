//! `tickwire man`: the manual pages, made from the definition of the command line.

use std::fs;

use anyhow::{Context as _, anyhow};
use clap_mangen::Man;

use crate::cli::{self, ManArgs};
use crate::console;
use crate::failure::Failure;

/// Prints one page, or writes all of them.
pub(crate) fn run(args: &ManArgs) -> Result<(), Failure> {
    let mut command = cli::command();
    if let Some(folder) = &args.dir {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let written = clap_mangen::generate_to(command, folder);
        written.with_context(|| format!("cannot write to {}", folder.display()))?;
        return Ok(());
    }
    command.build();
    let page = match &args.command {
        None => command,
        Some(name) => {
            let found = command.find_subcommand(name).cloned();
            found.ok_or_else(|| {
                Failure::usage(anyhow!("there is no command {name}; tickwire help lists them"))
            })?
        }
    };
    let mut text = Vec::new();
    Man::new(page).render(&mut text)?;
    console::print(&text)?;
    Ok(())
}
