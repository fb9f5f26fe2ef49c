//! `tickwire serve`: runs the broker until a signal ends it.
//!
//! One thread waits for signals, so that a second one ends the program whatever the broker is doing. The program's main
//! thread carries out the first ones, in their order.

use std::env;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvError, SyncSender, sync_channel};

use tickwire_server::config::{Config, ConfigError};
use tickwire_server::{Broker, PassedSockets, Program, StopRequest};
use tokio::sync::Notify;

use crate::cli::ServeArgs;
use crate::failure::Failure;
use crate::logging::{self, End, Log};
use crate::signals::{Hangup, Signals};
use crate::systemd;

/// Most signals that wait to be carried out. Another `SIGHUP` would ask for what a waiting one asks for.
const ASKED_MAX: usize = 8;
/// Added to the number of the signal that ended a program to give its exit code, by convention.
const ENDED_BY_SIGNAL: i32 = 128;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// Read the configuration again.
    Reload,
    /// Stop in an orderly way.
    Stop,
}

/// The source of the settings, at the start and for each reload.
struct Source {
    args: ServeArgs,
}

impl Source {
    fn load(&self) -> Result<Config, ConfigError> {
        // A variable that is not UTF-8 cannot be a setting: the names and values of settings are UTF-8.
        let environment = env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Config::load(self.args.config.as_deref(), environment, &self.args.settings.0)
    }
}

/// Runs a broker. The first signal to end stops it in an orderly way; the second ends the program at once.
pub(crate) fn run(args: ServeArgs) -> Result<(), Failure> {
    // This comes before anything is opened.
    let passed = PassedSockets::take().map_err(Failure::usage)?;
    // This comes before the log starts its thread.
    tickwire_server::share_heap();
    let source = Source { args };
    let config = source.load().map_err(Failure::usage)?;
    let log = logging::start(config.log)?;
    serve(config, passed, &source, &log).map_err(|failure| log.tell(&failure))
}

fn serve(config: Config, passed: PassedSockets, source: &Source, log: &Log) -> Result<(), Failure> {
    // This comes before the broker starts, so that a signal during the start counts too.
    let drains = Arc::new(Notify::new());
    let asked = watch_signals(log.end(), drains.clone())?;
    let end = log.end();
    let program = Program {
        sockets: passed,
        log_lines_lost: log.lost(),
        end: Box::new(move || {
            end.finish();
            process::exit(1);
        }),
        drain: StopRequest::new(move || drains.notify_one()),
    };
    let broker = tickwire_server::start(config, program)?;
    systemd::is_ready();
    systemd::watch(broker.vitals())?;
    let outcome = obey(&asked, &broker, source, log);
    systemd::stops();
    tracing::info!("stopping; a further signal ends the program at once");
    broker.stop();
    tracing::info!("stopped");
    outcome
}

/// Carries out what signals ask for until one asks to stop.
fn obey(asked: &Receiver<Asked>, broker: &Broker, source: &Source, log: &Log) -> Result<(), Failure> {
    loop {
        match asked.recv() {
            Ok(Asked::Reload) => {
                systemd::reloads();
                let done = reload(broker, source, log);
                systemd::is_ready();
                done?;
            }
            Ok(Asked::Stop) => return Ok(()),
            Err(RecvError) => return Err(anyhow::anyhow!("the thread that waits for signals ended").into()),
        }
    }
}

/// Reads the settings again. Wrong settings change nothing; the broker has logged them.
fn reload(broker: &Broker, source: &Source, log: &Log) -> Result<(), Failure> {
    // A panic here only ends the reload: everything is prepared before anything changes.
    let reloaded = catch_unwind(AssertUnwindSafe(|| {
        let settings = source.load();
        let level = settings.as_ref().ok().map(|config| config.log);
        broker.reload(settings).is_ok().then_some(level).flatten()
    }));
    match reloaded {
        Ok(Some(level)) => log.set(level),
        Ok(None) => Ok(()),
        Err(_) => {
            tracing::error!("the settings were not read again: reading them panicked");
            Ok(())
        }
    }
}

/// Starts to listen for signals, and for operators who want to drain, on a thread of its own.
fn watch_signals(log: End, drains: Arc<Notify>) -> io::Result<Receiver<Asked>> {
    let (asks, asked) = sync_channel(ASKED_MAX);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (signals, hangup) = {
        let _context = runtime.enter();
        (Signals::listen()?, Hangup::listen()?)
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || runtime.block_on(pass_on((signals, hangup, drains), asks, log)))?;
    Ok(asked)
}

/// Passes signals on until the program ends. An operator who wants to drain asks for what the first signal asks for.
async fn pass_on(
    (mut signals, mut hangup, drains): (Signals, Hangup, Arc<Notify>),
    asks: SyncSender<Asked>,
    log: End,
) {
    let mut stopping = false;
    loop {
        tokio::select! {
            () = hangup.next() => {
                if stopping || asks.try_send(Asked::Reload).is_err() {
                    tracing::warn!("SIGHUP is passed over: the broker is stopping, or has not read its settings yet");
                }
            }
            () = drains.notified(), if !stopping => {
                stopping = true;
                if asks.send(Asked::Stop).is_err() {
                    return;
                }
            }
            number = signals.next() => {
                if stopping {
                    tracing::warn!("ended at once by a second signal");
                    log.finish();
                    process::exit(ENDED_BY_SIGNAL + i32::from(number));
                }
                stopping = true;
                // Blocks at most until the current reload has ended.
                if asks.send(Asked::Stop).is_err() {
                    return;
                }
            }
        }
    }
}
