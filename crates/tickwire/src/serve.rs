//! `tickwire serve`: the broker, until a signal ends it.
//!
//! One thread waits for signals, so that a second one ends the program whatever the broker is doing; the program's own
//! thread does what the first ones ask for, in their order.

use std::env;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::sync::mpsc::{Receiver, RecvError, SyncSender, sync_channel};

use tickwire_server::Broker;
use tickwire_server::config::{Config, ConfigError};

use crate::cli::ServeArgs;
use crate::failure::Failure;
use crate::logging::{self, End, Log};
use crate::signals::{Hangup, Signals};

/// Signals that may wait to be obeyed. A further `SIGHUP` would ask for what a waiting one asks for.
const ASKED_MAX: usize = 8;
/// What is added to the number of the signal that ended a program, by custom.
const ENDED_BY_SIGNAL: i32 = 128;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// To read the configuration again.
    Reload,
    /// To leave in order.
    Stop,
}

/// Where settings come from, at the start and again later.
struct Source {
    args: ServeArgs,
}

impl Source {
    fn load(&self) -> Result<Config, ConfigError> {
        // A variable that is not UTF-8 is no setting of ours: their names and values are.
        let environment = env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Config::load(self.args.config.as_deref(), environment, &self.args.settings.0)
    }
}

/// Runs a broker. The first signal to end stops it in order; the second ends the program at once.
pub(crate) fn run(args: ServeArgs) -> Result<(), Failure> {
    // Before the log has its thread.
    tickwire_server::share_heap();
    let source = Source { args };
    let config = source.load().map_err(Failure::usage)?;
    let log = logging::start(config.log)?;
    serve(config, &source, &log).map_err(|failure| log.tell(&failure))
}

fn serve(config: Config, source: &Source, log: &Log) -> Result<(), Failure> {
    // Before the broker starts, so that a signal that comes meanwhile is obeyed too.
    let asked = watch_signals(log.end())?;
    let broker = tickwire_server::start(config, log.lost())?;
    let outcome = obey(&asked, &broker, source, log);
    tracing::info!("stopping; a further signal ends the program at once");
    broker.stop();
    tracing::info!("stopped");
    outcome
}

/// Does what signals ask for until one asks to stop.
fn obey(asked: &Receiver<Asked>, broker: &Broker, source: &Source, log: &Log) -> Result<(), Failure> {
    loop {
        match asked.recv() {
            Ok(Asked::Reload) => reload(broker, source, log)?,
            Ok(Asked::Stop) => return Ok(()),
            Err(RecvError) => return Err(anyhow::anyhow!("the thread that waits for signals ended").into()),
        }
    }
}

/// Reads the settings again. Settings that are wrong change nothing, and the broker has said so.
fn reload(broker: &Broker, source: &Source, log: &Log) -> Result<(), Failure> {
    // A panic in it costs the reload; what changes is made ready before anything does.
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

/// Listens for signals from now on, on a thread of its own.
fn watch_signals(log: End) -> io::Result<Receiver<Asked>> {
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
        .spawn(move || runtime.block_on(pass_on(signals, hangup, asks, log)))?;
    Ok(asked)
}

/// Passes signals on until the program ends.
async fn pass_on(mut signals: Signals, mut hangup: Hangup, asks: SyncSender<Asked>, log: End) {
    let mut stopping = false;
    loop {
        tokio::select! {
            () = hangup.next() => {
                if stopping || asks.try_send(Asked::Reload).is_err() {
                    tracing::warn!("SIGHUP is passed over: the broker is stopping, or has not read its settings yet");
                }
            }
            number = signals.next() => {
                if stopping {
                    tracing::warn!("ended at once by a second signal");
                    log.finish();
                    process::exit(ENDED_BY_SIGNAL + i32::from(number));
                }
                stopping = true;
                // Blocks at most until a reload that is under way has ended.
                if asks.send(Asked::Stop).is_err() {
                    return;
                }
            }
        }
    }
}
