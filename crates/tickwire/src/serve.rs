//! `tickwire serve`: the broker, until a signal ends it.

use std::env;

use tickwire_server::Broker;
use tickwire_server::config::{Config, Overrides};
use tokio::sync::oneshot;

use crate::cli::ServeArgs;
use crate::failure::Failure;
use crate::logging;
use crate::signals::Signals;

/// Runs a broker. The first signal stops it in order; the second ends the program at once.
pub(crate) fn run(args: ServeArgs) -> Result<(), Failure> {
    let file = args.config.clone();
    // A variable that is not UTF-8 is no setting of ours: their names and values are.
    let environment = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let config = Config::load(file.as_deref(), environment, &overrides(args)).map_err(Failure::usage)?;
    logging::start(config.log)?;
    // Before the broker starts, so that a signal that comes meanwhile stops it in order too.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut signals = {
        let _context = runtime.enter();
        Signals::listen()?
    };
    let broker = tickwire_server::start(config)?;
    runtime.block_on(async {
        signals.next().await;
        tracing::info!("stopping; a further signal ends the program at once");
        tokio::select! {
            stopped = stop(broker) => stopped,
            () = signals.next() => Err(anyhow::anyhow!("ended at once by a second signal")),
        }
    })?;
    Ok(())
}

/// Stops the broker on a thread of its own, since that blocks.
async fn stop(broker: Broker) -> Result<(), anyhow::Error> {
    let (stopped, wait) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("stop".to_owned())
        .spawn(move || {
            broker.stop();
            // Nobody waits any more when a second signal came.
            stopped.send(()).unwrap_or_default();
        })?;
    if wait.await.is_err() && thread.join().is_err() {
        anyhow::bail!("the broker panicked while it stopped");
    }
    Ok(())
}

fn overrides(args: ServeArgs) -> Overrides {
    Overrides {
        listen: args.listen,
        ops: args.ops,
        feed: args.feed,
        symbols: args.symbols,
        rate: args.rate,
        seed: args.seed,
        speed: args.speed,
        start: args.start,
        shards: args.shards,
        anonymous_publish: args.anonymous_publish,
        log_format: args.log_format,
        log_level: args.log_level,
    }
}
