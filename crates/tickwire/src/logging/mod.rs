//! The program's log: its destination and its content.
//!
//! The log always goes to standard error. `TICKWIRE_LOG` holds filter directives (`info,tickwire_server=debug`) and
//! refines the level of the configuration. Logging never waits: lines go through a bounded [queue](queue::Queue) to a
//! thread of their own. Lines that find no room or cannot be written are lost and counted. Each [kind](flood::Flood) of
//! line is limited per second. A panic is logged like any other line.

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
use tickwire_server::config::{LogFormat, LogLevel, LogSettings};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::failure::Failure;
use flood::Flood;
use queue::Queue;

/// The variable with the filter directives.
const VARIABLE: &str = "TICKWIRE_LOG";
/// How long the program waits at its end for the last lines to be written.
const LAST_LINES_WITHIN: Duration = Duration::from_millis(400);
/// The time between two reports of lines that were left out.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// The log of a command that is not the server: only what may have gone wrong, as text.
pub(crate) const TOOL: LogSettings = LogSettings {
    format: LogFormat::Text,
    level: LogLevel::Warn,
};

type Reload = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error>>;

/// The log of the running program. When it is dropped, it waits a moment for its last lines.
pub(crate) struct Log {
    reload: Reload,
    end: End,
}

/// The handle with which a thread that ends the program ends the log.
#[derive(Clone)]
pub(crate) struct End {
    queue: Queue,
    flood: Flood,
}

impl Log {
    /// Sets the level that `log` has. The format stays.
    pub(crate) fn set(&self, log: LogSettings) -> Result<(), Failure> {
        let filter = filter(log)?;
        let set = (self.reload)(filter);
        set.map_err(|error| Failure::Failed(anyhow!("cannot change the log: {error}")))
    }

    /// The number of lines that were lost since the start.
    pub(crate) fn lost(&self) -> Arc<AtomicU64> {
        self.end.queue.lost()
    }

    /// A handle to end the log with.
    pub(crate) fn end(&self) -> End {
        self.end.clone()
    }

    /// Logs why the program fails, after everything else that it has logged.
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
    /// Waits until the lines are written, but only for a short time: standard error may be a pipe that nobody reads.
    pub(crate) fn finish(&self) {
        self.flood.tell();
        self.queue.wait_empty(LAST_LINES_WITHIN);
    }
}

/// Starts the log with the settings `log`.
pub(crate) fn start(log: LogSettings) -> Result<Log, Failure> {
    // The log has its own descriptor, so that this thread and others that write to standard error do not wait for each
    // other.
    let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let (queue, flood) = (Queue::default(), Flood::default());
    let told = flood.clone();
    queue.write_to(stderr, TELL_EVERY, move || told.tell())?;
    let log_lines = tracing_subscriber::fmt()
        .with_env_filter(filter(log)?)
        .with_writer(queue.clone())
        // The subscriber would report its errors on standard error, and so wait for it or panic.
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

/// Logs a panic. The hook of the standard library would write to standard error itself, and so wait for it.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let what = panic.payload_as_str().unwrap_or("no words");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = Backtrace::capture();
    // There is a backtrace if RUST_BACKTRACE asks for one.
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(thread = thread.name(), place, backtrace, "panicked: {what}");
}

/// The filter of the log: the level of `log`, refined by the variable.
fn filter(log: LogSettings) -> Result<EnvFilter, Failure> {
    let level: LevelFilter = log.level.as_str().parse()?;
    let directives = match env::var(VARIABLE) {
        Ok(directives) => directives,
        // The library says each attempt to connect as an error. The broker says when the connection is lost, and when it is back.
        Err(VarError::NotPresent) if level <= LevelFilter::INFO => format!("{level},async_nats=off"),
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
