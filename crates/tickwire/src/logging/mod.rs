//! The program's log: where it goes and what is in it.
//!
//! Always standard error. `TICKWIRE_LOG` holds filter directives (`info,tickwire_server=debug`) and refines the level that
//! the configuration gives.

use std::env::{self, VarError};
use std::io::{self, IsTerminal};

use anyhow::anyhow;
use tickwire_server::config::{Log, LogFormat, LogLevel};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::reload;

use crate::failure::Failure;

/// The variable with the filter directives.
const VARIABLE: &str = "TICKWIRE_LOG";

/// The log of a command that is no server: what may have gone wrong, for people.
pub(crate) const TOOL: Log = Log {
    format: LogFormat::Text,
    level: LogLevel::Warn,
};

/// Changes what is logged while the program runs.
pub(crate) struct Control(Box<dyn Fn(EnvFilter) -> Result<(), reload::Error>>);

impl Control {
    /// Logs at the level that `log` has from now on. The format stays.
    pub(crate) fn set(&self, log: Log) -> Result<(), Failure> {
        let filter = filter(log)?;
        let set = (self.0)(filter);
        set.map_err(|error| Failure::Failed(anyhow!("cannot change the log: {error}")))
    }
}

/// Starts the log as `log` has it.
pub(crate) fn start(log: Log) -> Result<Control, Failure> {
    let log_lines = tracing_subscriber::fmt()
        .with_env_filter(filter(log)?)
        .with_writer(io::stderr);
    let (started, control) = match log.format {
        LogFormat::Text => {
            let colours = io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none();
            let log_lines = log_lines.with_ansi(colours).with_filter_reloading();
            let handle = log_lines.reload_handle();
            let control = Control(Box::new(move |filter| handle.reload(filter)));
            (log_lines.try_init(), control)
        }
        LogFormat::Json => {
            let log_lines = log_lines
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_filter_reloading();
            let handle = log_lines.reload_handle();
            let control = Control(Box::new(move |filter| handle.reload(filter)));
            (log_lines.try_init(), control)
        }
    };
    started.map_err(|error| Failure::Failed(anyhow!("cannot start the log: {error}")))?;
    Ok(control)
}

/// What is logged: from the level that `log` has on, refined by the variable.
fn filter(log: Log) -> Result<EnvFilter, Failure> {
    let level: LevelFilter = log.level.as_str().parse()?;
    let directives = match env::var(VARIABLE) {
        Ok(directives) => directives,
        Err(VarError::NotPresent) => String::new(),
        Err(VarError::NotUnicode(_)) => return Err(Failure::usage(anyhow!("{VARIABLE} is not UTF-8"))),
    };
    EnvFilter::builder()
        .with_default_directive(level.into())
        .parse(&directives)
        .map_err(|error| {
            Failure::usage(anyhow!(
                "{VARIABLE}={directives:?} holds no filter directives: {error}"
            ))
        })
}
