//! The program's log: where it goes and what is in it.
//!
//! Always standard error. `TICKWIRE_LOG` holds filter directives (`info,tickwire_server=debug`) and refines the level that
//! the configuration gives. Nobody who logs waits: lines go through a bounded [queue](queue::Queue) to a thread of their own, and
//! those that find no room, or cannot be written, are lost and counted. Of each [kind](flood::Flood) of line there are only so many a
//! second. A panic is a line of the log like any other.

mod flood;
mod queue;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::env::{self, VarError};
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::panic::{self, PanicHookInfo};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::anyhow;
use tickwire_server::config::{Log as LogSettings, LogFormat, LogLevel};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::failure::Failure;
use flood::Flood;
use queue::Queue;

/// The variable with the filter directives.
const VARIABLE: &str = "TICKWIRE_LOG";
/// Time that the last lines have to be written when the program ends.
const LAST_LINES_WITHIN: Duration = Duration::from_millis(400);
/// Time between two looks for lines that were left out.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// The log of a command that is no server: what may have gone wrong, for people.
pub(crate) const TOOL: LogSettings = LogSettings {
    format: LogFormat::Text,
    level: LogLevel::Warn,
};

type Reload = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error>>;

/// The log of the running program. Dropped, it waits for its last lines for a moment.
pub(crate) struct Log {
    reload: Reload,
    end: End,
}

/// What ends the log, for whoever ends the program.
#[derive(Clone)]
pub(crate) struct End {
    queue: Queue,
    flood: Flood,
}

impl Log {
    /// Logs at the level that `log` has from now on. The format stays.
    pub(crate) fn set(&self, log: LogSettings) -> Result<(), Failure> {
        let filter = filter(log)?;
        let set = (self.reload)(filter);
        set.map_err(|error| Failure::Failed(anyhow!("cannot change the log: {error}")))
    }

    /// Lines that were lost, ever.
    pub(crate) fn lost(&self) -> Arc<AtomicU64> {
        self.end.queue.lost()
    }

    /// What ends the log.
    pub(crate) fn end(&self) -> End {
        self.end.clone()
    }

    /// Says why the program fails, behind everything that it has logged.
    pub(crate) fn tell(&self, failure: &Failure) -> Failure {
        self.end
            .queue
            .push(format!("tickwire: {}\n", failure.text()).as_bytes());
        Failure::Reported
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.end.finish();
    }
}

impl End {
    /// Waits until what was logged is written; not for long, since standard error may be a pipe that nobody reads.
    pub(crate) fn finish(&self) {
        self.flood.tell();
        self.queue.wait_empty(LAST_LINES_WITHIN);
    }
}

/// Starts the log as `log` has it.
pub(crate) fn start(log: LogSettings) -> Result<Log, Failure> {
    // A descriptor of its own: whoever else writes to standard error does not wait for this thread, nor it for them.
    let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let (queue, flood) = (Queue::default(), Flood::default());
    let told = flood.clone();
    queue.write_to(stderr, TELL_EVERY, move || told.tell())?;
    let log_lines = tracing_subscriber::fmt()
        .with_env_filter(filter(log)?)
        .with_writer(queue.clone())
        // It would say what went wrong on standard error, and wait for it or panic.
        .log_internal_errors(false);
    let (started, reload): (_, Reload) = match log.format {
        LogFormat::Text => {
            let colours = io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none();
            let log_lines = log_lines.with_ansi(colours).with_filter_reloading();
            let handle = log_lines.reload_handle();
            let started = log_lines.finish().with(flood.clone()).try_init();
            (started, Box::new(move |filter| handle.reload(filter)))
        }
        LogFormat::Json => {
            let log_lines = log_lines
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_filter_reloading();
            let handle = log_lines.reload_handle();
            let started = log_lines.finish().with(flood.clone()).try_init();
            (started, Box::new(move |filter| handle.reload(filter)))
        }
    };
    started.map_err(|error| Failure::Failed(anyhow!("cannot start the log: {error}")))?;
    panic::set_hook(Box::new(log_panic));
    Ok(Log {
        reload,
        end: End { queue, flood },
    })
}

/// The standard library's hook writes to standard error itself, and so waits for it.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let what = panic.payload_as_str().unwrap_or("no words");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = Backtrace::capture();
    // It is there if RUST_BACKTRACE asks for it.
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(thread = thread.name(), place, backtrace, "panicked: {what}");
}

/// What is logged: from the level that `log` has on, refined by the variable.
fn filter(log: LogSettings) -> Result<EnvFilter, Failure> {
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
