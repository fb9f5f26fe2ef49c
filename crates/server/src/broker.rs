//! Starts a broker's threads, says what they serve, and stops them in order.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use thiserror::Error;
use tickwire_feed::{Feed, Replay, ReplayError, Sim, SimConfig, SimError};
use tickwire_metrics::{Catalogue, CatalogueError, ShardMetrics};
use tickwire_router::{Directory, DirectoryLimits, Kinds, ShardId, ShardQueue, ShardSettings};
use tickwire_wire::Epoch;
use tickwire_wire::limits::SHARD_QUEUE_MAX;
use tickwire_wire::message::AnnouncedLimits;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::LocalSet;

use crate::acceptor::{self, Acceptor, ShardDoor};
use crate::clock::Clock;
use crate::config::{Config, FeedSource, FeedStart};
use crate::egress;
use crate::feed_thread::FeedPlan;
use crate::inspector::{ANSWER_WITHIN, Inspector};
use crate::labels::LABELS;
use crate::ops::Ops;
use crate::pulse::Pulse;
use crate::shard_thread::{Command, ShardPlan};
use crate::stale_watch;
use crate::start_gate::StartGate;
use crate::tls::{self, TlsError, TlsIdentity, TlsStore};

/// The version that the broker tells its clients.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// New connections that may wait for a shard.
const COMMANDS: usize = 1_024;
/// Time for clients to answer a close frame.
const CLOSE_TIMEOUT_MS: u64 = 2_000;

/// Why a broker did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address could not be listened on.
    #[error("cannot listen on {address} (from {key}): {source}")]
    Listen {
        /// The setting.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The recordings cannot be replayed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The simulated market cannot be made.
    #[error(transparent)]
    Sim(#[from] SimError),
    /// The metrics cannot be registered.
    #[error(transparent)]
    Metrics(#[from] CatalogueError),
    /// The egress that was asked for is not to be had.
    #[error("socket.egress = io_uring: this kernel does not offer it ({0}); set it to auto or plain")]
    Egress(#[source] io::Error),
    /// There is no certificate to show clients.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A thread or its runtime could not be made.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

/// A running broker. Dropping it stops it without waiting for its clients.
#[derive(Debug)]
pub struct Broker {
    listen: SocketAddr,
    ops: SocketAddr,
    doors: Vec<mpsc::Sender<Command>>,
    gate: Arc<StartGate>,
    tls: Option<Arc<TlsStore>>,
    /// Dropped, they end accepting and, after it, the operators' listener.
    stop_accepting: Option<oneshot::Sender<()>>,
    stop_operating: Option<oneshot::Sender<()>>,
    shards: Vec<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
    within: Duration,
}

/// What all parts of a broker share.
struct Common {
    config: Arc<Config>,
    connections_max: usize,
    clock: Clock,
    directory: Arc<Directory>,
    catalogue: Arc<Catalogue>,
    gate: Arc<StartGate>,
    pulse: Arc<Pulse>,
    wakes: Vec<Arc<Notify>>,
    tls: Option<Arc<TlsStore>>,
}

/// Starts a broker with `config` and returns once it listens.
///
/// # Errors
/// When an address is taken, the feed cannot be opened or a thread cannot be made; nothing runs then.
pub fn start(config: Config) -> Result<Broker, StartError> {
    let open_files = raise_open_files();
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let shard_count = config.shard_count(cores);
    let egress = egress::probe(config.socket.egress).map_err(StartError::Egress)?;
    let identity = config.tls.as_ref().map(TlsIdentity::load).transpose()?;
    let feed = open_feed(&config)?;
    let listener = bind("listen", config.listen, config.socket.backlog)?;
    let ops_listener = bind("ops", config.ops, 128)?;
    let listen = listener.local_addr()?;
    let ops = ops_listener.local_addr()?;
    let within = Duration::from_millis(config.shutdown_ms);
    let connections_max = config.limits.connections_max(open_files);

    let mut common = Common::new(config, shard_count, connections_max)?;
    common.tls = identity.map(|identity| Arc::new(TlsStore::new(identity, common.catalogue.tls_metrics())));
    let (doors, shards) = common.start_shards()?;
    let senders = doors.iter().map(|door| door.commands.clone()).collect();
    let mut others = Vec::new();
    let (stop_accepting, stopped) = oneshot::channel();
    let (stop_operating, ended) = oneshot::channel();
    let acceptor = Acceptor {
        doors,
        connections_max,
        socket: common.config.socket,
    };
    others.push(common.start_acceptor(acceptor, listener, ops_listener, (stopped, ended))?);
    let room = Room {
        shards: shard_count,
        connections_max,
        egress,
    };
    announce(&common.config, listen, ops, &room);
    if let Some((feed, speed)) = feed {
        others.push(common.start_feed(feed, speed, shard_count)?);
    }
    let (gate, tls) = (common.gate, common.tls);
    Ok(Broker {
        listen,
        ops,
        doors: senders,
        gate,
        tls,
        stop_accepting: Some(stop_accepting),
        stop_operating: Some(stop_operating),
        shards,
        others,
        within,
    })
}

impl Broker {
    /// Where clients connect.
    #[must_use]
    pub fn listen_addr(&self) -> SocketAddr {
        self.listen
    }

    /// Where operators connect.
    #[must_use]
    pub fn ops_addr(&self) -> SocketAddr {
        self.ops
    }

    /// Reads the files of `[tls]` anew; new connections are shown what they hold from now on. Does nothing without TLS.
    ///
    /// # Errors
    /// When they cannot be used; what was shown before still is.
    pub fn reload_tls(&self) -> Result<(), TlsError> {
        self.tls.as_ref().map_or(Ok(()), |tls| tls.reload())
    }

    /// Stops accepting, closes every connection with 1001 and waits until they are gone, but not longer than
    /// `shutdown_ms`.
    pub fn stop(mut self) {
        self.gate.stop();
        self.stop_accepting.take();
        // A shard that still has time to answer its clients must not be waited for longer than the setting says.
        let within = self
            .within
            .saturating_sub(Duration::from_millis(500))
            .max(self.within / 2);
        for door in &self.doors {
            if door.blocking_send(Command::Stop(within)).is_err() {
                tracing::error!("a shard had stopped before it was told to");
            }
        }
        join(self.shards.drain(..));
        self.stop_operating.take();
        join(self.others.drain(..));
    }
}

fn join(threads: impl Iterator<Item = JoinHandle<()>>) {
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a thread of the broker had panicked");
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.gate.stop();
    }
}

impl Common {
    fn new(config: Config, shard_count: usize, connections_max: usize) -> Result<Self, StartError> {
        let clock = Clock::start();
        let wakes: Vec<Arc<Notify>> = (0..shard_count).map(|_| Arc::default()).collect();
        let queues = wakes.iter().cloned().map(|wake: Arc<Notify>| {
            Arc::new(ShardQueue::new(
                SHARD_QUEUE_MAX,
                Box::new(move || wake.notify_one()),
            ))
        });
        let limits = DirectoryLimits {
            topics_max: config.limits.topics,
            history_bytes_max: config.limits.history_bytes,
        };
        // Two starts within a microsecond of each other on one machine cannot both have listened.
        let epoch = Epoch::from_number(clock.now().0);
        let kinds = Kinds::with_rules(config.kinds.clone());
        let directory =
            Directory::new(epoch, kinds, limits, queues.collect()).with_stale_rules(config.staleness.clone());
        let catalogue = Catalogue::new(shard_count, VERSION, &LABELS)?;
        let gate = Arc::new(StartGate::new(config.feed.start == FeedStart::Now));
        Ok(Self {
            config: Arc::new(config),
            connections_max,
            clock,
            directory: Arc::new(directory),
            catalogue,
            gate,
            pulse: Arc::new(Pulse::new()),
            wakes,
            tls: None,
        })
    }

    fn settings(&self) -> ShardSettings {
        let limits = &self.config.limits;
        ShardSettings {
            server: format!("tickwire/{VERSION}"),
            limits: AnnouncedLimits {
                subscriptions: limits.subscriptions,
                message_bytes: limits.message_bytes,
                ops_per_s: limits.ops_per_s,
                ops_burst: limits.ops_burst,
            },
            outbox_bytes_max: limits.outbox_bytes,
            stall_ms: limits.stall_ms,
            heartbeat_ms: self.config.heartbeat.heartbeat_ms,
            ping_after_ms: self.config.heartbeat.ping_after_ms,
            pong_timeout_ms: self.config.heartbeat.pong_timeout_ms,
            first_request_ms: limits.first_request_ms,
            close_timeout_ms: CLOSE_TIMEOUT_MS,
        }
    }

    fn start_shards(&self) -> Result<(Vec<ShardDoor>, Vec<JoinHandle<()>>), StartError> {
        let (mut doors, mut threads) = (Vec::new(), Vec::new());
        for (metrics, wake) in self.catalogue.shard_metrics().into_iter().zip(&self.wakes) {
            let (door, thread) = self.start_shard(metrics, wake.clone())?;
            doors.push(door);
            threads.push(thread);
        }
        Ok((doors, threads))
    }

    fn start_shard(
        &self,
        metrics: ShardMetrics,
        wake: Arc<Notify>,
    ) -> Result<(ShardDoor, JoinHandle<()>), StartError> {
        let (sender, commands) = mpsc::channel(COMMANDS);
        let number = metrics.shard();
        let plan = ShardPlan {
            id: ShardId(u8::try_from(number).map_err(io::Error::other)?),
            config: self.config.clone(),
            connections_max: self.connections_max,
            directory: self.directory.clone(),
            clock: self.clock,
            settings: self.settings(),
            metrics,
            http: self.catalogue.http_metrics(),
            wake,
            gate: self.gate.clone(),
            tls: self.tls.clone(),
            commands,
        };
        let thread = std::thread::Builder::new()
            .name(format!("shard-{number}"))
            .spawn(move || {
                if let Err(error) = plan.run() {
                    tracing::error!(shard = number, %error, "a shard ended");
                }
            })?;
        Ok((
            ShardDoor {
                commands: sender,
                connections: Arc::default(),
            },
            thread,
        ))
    }

    fn start_acceptor(
        &self,
        acceptor: Acceptor,
        listener: std::net::TcpListener,
        ops_listener: std::net::TcpListener,
        (stopped, ended): (oneshot::Receiver<()>, oneshot::Receiver<()>),
    ) -> Result<JoinHandle<()>, StartError> {
        let commands = acceptor.doors.iter().map(|door| door.commands.clone());
        let ops = Arc::new(Ops {
            inspector: Inspector::new(commands.collect(), ANSWER_WITHIN),
            catalogue: self.catalogue.clone(),
            directory: self.directory.clone(),
            gate: self.gate.clone(),
            clock: self.clock,
            pulse: self.pulse.clone(),
            silent_ms: self.config.feed.silent_ms,
        });
        let stale_rules = !self.config.staleness.is_empty();
        let (directory, clock, tls) = (self.directory.clone(), self.clock, self.tls.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let serve = async move {
            let listener = TcpListener::from_std(listener)?;
            let ops_listener = TcpListener::from_std(ops_listener)?;
            tokio::task::spawn_local(ops.run(ops_listener));
            if stale_rules {
                tokio::task::spawn_local(stale_watch::run(directory, clock));
            }
            if let Some(tls) = tls {
                tokio::task::spawn_local(tls::watch(tls));
            }
            tokio::select! {
                () = acceptor.run(listener) => {}
                // The sender says that it is time by being dropped.
                _ = stopped => {}
            }
            // Operators are answered until the last client is gone.
            ended.await.unwrap_or_default();
            Ok::<_, io::Error>(())
        };
        let thread = std::thread::Builder::new()
            .name("acceptor".to_owned())
            .spawn(move || {
                if let Err(error) = LocalSet::new().block_on(&runtime, serve) {
                    tracing::error!(%error, "the acceptor ended");
                }
            })?;
        Ok(thread)
    }

    fn start_feed(&self, feed: Feed, speed: f64, shards: usize) -> Result<JoinHandle<()>, StartError> {
        let plan = FeedPlan {
            feed,
            speed,
            directory: self.directory.clone(),
            shards: u8::try_from(shards).map_err(io::Error::other)?,
            clock: self.clock,
            metrics: self.catalogue.feed_metrics(),
            gate: self.gate.clone(),
            pulse: self.pulse.clone(),
        };
        Ok(std::thread::Builder::new()
            .name("feed".to_owned())
            .spawn(move || plan.run())?)
    }
}

fn bind(key: &'static str, address: SocketAddr, backlog: u32) -> Result<std::net::TcpListener, StartError> {
    acceptor::listen(address, backlog).map_err(|source| StartError::Listen { key, address, source })
}

fn open_feed(config: &Config) -> Result<Option<(Feed, f64)>, StartError> {
    let feed = &config.feed;
    Ok(match &feed.source {
        FeedSource::None => None,
        FeedSource::Sim => {
            let sim = SimConfig {
                symbols: feed.symbols,
                rate: feed.rate,
                seed: feed.seed,
                start: Clock::start().now(),
            };
            Some((Feed::Sim(Sim::new(sim)?), 1.0))
        }
        FeedSource::Replay(files) => Some((Feed::Replay(Replay::open(files)?), feed.speed)),
    })
}

/// Raises the limit on open files as far as it goes and returns it.
fn raise_open_files() -> u64 {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => limit,
        Err(error) => {
            tracing::warn!(%error, "the limit on open files could not be raised");
            rlimit::getrlimit(rlimit::Resource::NOFILE).map_or(1_024, |(soft, _)| soft)
        }
    }
}

/// What the machine gives the broker.
struct Room {
    shards: usize,
    connections_max: usize,
    egress: &'static str,
}

/// The start-up line: what is served, and where.
fn announce(config: &Config, listen: SocketAddr, ops: SocketAddr, room: &Room) {
    let feed = match &config.feed.source {
        FeedSource::None => "none; ticks come from publishers".to_owned(),
        FeedSource::Sim => {
            let feed = &config.feed;
            format!(
                "simulated market, {} symbols, {} ticks/s, seed {}",
                feed.symbols, feed.rate, feed.seed
            )
        }
        FeedSource::Replay(files) => {
            let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
            format!("replay of {} at {}x", names.join(", "), config.feed.speed)
        }
    };
    let publish: Vec<&str> = config
        .anonymous_publish
        .iter()
        .map(tickwire_wire::Pattern::as_str)
        .collect();
    let publish = if publish.is_empty() {
        "nothing".to_owned()
    } else {
        publish.join(", ")
    };
    let scheme = if config.tls.is_some() { "wss" } else { "ws" };
    tracing::info!(
        url = %format!("{scheme}://{listen}/v1/ws"),
        metrics = %format!("http://{ops}/metrics"),
        feed,
        shards = room.shards,
        connections_max = room.connections_max,
        egress = room.egress,
        "tickwire {VERSION} is ready; anyone may subscribe to everything and publish to {publish}",
    );
    config.test.warn();
}
