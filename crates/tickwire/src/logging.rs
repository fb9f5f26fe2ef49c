//! The program's log: where it goes and what is in it.
//!
//! Always standard error. `TICKWIRE_LOG` holds filter directives (`info,tickwire_server=debug`) and refines the level that
//! the configuration gives.

use std::env::{self, VarError};
use std::io::{self, IsTerminal};

use anyhow::anyhow;
use tickwire_server::config::{Log, LogFormat, LogLevel};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

use crate::failure::Failure;

/// The variable with the filter directives.
const VARIABLE: &str = "TICKWIRE_LOG";

/// The log of a command that is no server: what may have gone wrong, for people.
pub(crate) const TOOL: Log = Log {
    format: LogFormat::Text,
    level: LogLevel::Warn,
};

/// Starts the log as `log` has it.
pub(crate) fn start(log: Log) -> Result<(), Failure> {
    let level: LevelFilter = log.level.as_str().parse()?;
    let directives = match env::var(VARIABLE) {
        Ok(directives) => directives,
        Err(VarError::NotPresent) => String::new(),
        Err(VarError::NotUnicode(_)) => return Err(Failure::usage(anyhow!("{VARIABLE} is not UTF-8"))),
    };
    let filter = EnvFilter::builder()
        .with_default_directive(level.into())
        .parse(&directives);
    let filter = filter.map_err(|error| {
        Failure::usage(anyhow!(
            "{VARIABLE}={directives:?} holds no filter directives: {error}"
        ))
    })?;
    let log_lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    let started = match log.format {
        LogFormat::Text => {
            let colours = io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none();
            log_lines.with_ansi(colours).try_init()
        }
        LogFormat::Json => log_lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .try_init(),
    };
    started.map_err(|error| Failure::Failed(anyhow!("cannot start the log: {error}")))
}
