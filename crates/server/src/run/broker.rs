//! Starts a broker's threads and stops them in order.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tickwire_metrics::{Catalogue, Metric, Reload};
use tickwire_router::{Directory, Families, FeedMark, ShardQueue};
use tickwire_wire::Epoch;
use tickwire_wire::limits::SHARD_QUEUE_MAX;
use tokio::sync::{Notify, oneshot};

use crate::VERSION;
use crate::accounting::Accounting;
use crate::auth::{Access, Revocations};
use crate::cluster::{ClusterStatus, Joining, RunningCluster};
use crate::config::{Config, ConfigError, FeedStart};
use crate::journal::{self, EndProgram, OpenJournal, RunningJournal};
use crate::limits::{ConnectionLimits, LimitRules};
use crate::net::acceptor::{AcceptPlan, Accepting, Acceptor, ShardHandle};
use crate::net::egress;
use crate::net::tls::{TlsIdentity, TlsStore};
use crate::ops::labels::LABELS;
use crate::run::announce::{Room, announce};
use crate::run::clock::Clock;
use crate::run::command::{Command, Leave};
use crate::run::derive_thread::{self};
use crate::run::derived::DeriveDesk;
use crate::run::lifecycle::Lifecycle;
use crate::run::live_settings::LiveSettings;
use crate::run::opening::{listeners, open_feed, raise_open_files};
use crate::run::program::{Program, StopRequest};
use crate::run::pulse::Pulse;
use crate::run::reload::{self, Parts, ReloadError, Reloaded, Running};
use crate::run::start_error::StartError;
use crate::run::view_thread;
use crate::run::vitals::Vitals;

/// The number of new connections that may wait for a shard.
const COMMANDS: usize = 1_024;

/// A running broker. Dropping it stops it without waiting for its clients.
#[derive(Debug)]
pub struct Broker {
    listen: SocketAddr,
    ops: SocketAddr,
    handles: Vec<ShardHandle>,
    clock: Clock,
    directory: Arc<Directory>,
    catalogue: Arc<Catalogue>,
    connection_limits: Arc<ConnectionLimits>,
    live_settings: Arc<LiveSettings>,
    open_files: u64,
    /// The configuration that it was started with. `config` is the current one.
    started: Arc<Config>,
    config: Mutex<Arc<Config>>,
    lifecycle: Arc<Lifecycle>,
    tls: Option<Arc<TlsStore>>,
    accepting: Option<Accepting>,
    /// Dropping it ends the operators' listener.
    stop_operating: Option<oneshot::Sender<()>>,
    shards: Vec<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
    /// It ends after everybody who publishes.
    journal: Option<RunningJournal>,
    accounting: Option<Arc<Accounting>>,
    /// So does this.
    cluster: Option<RunningCluster>,
}

/// The data that all parts of a broker share.
struct Common {
    config: Arc<Config>,
    connections_max: usize,
    live_settings: Arc<LiveSettings>,
    clock: Clock,
    access: Arc<Access>,
    directory: Arc<Directory>,
    catalogue: Arc<Catalogue>,
    lifecycle: Arc<Lifecycle>,
    connection_limits: Arc<ConnectionLimits>,
    pulse: Arc<Pulse>,
    wakes: Vec<Arc<Notify>>,
    tls: Option<Arc<TlsStore>>,
    log_lines_lost: Arc<AtomicU64>,
    /// The place of the newest message of a feed that the journal has.
    fed: Option<FeedMark>,
    /// Where checkpoints of the journal ask for what is derived.
    desk: Arc<DeriveDesk>,
    accounting: Option<Arc<Accounting>>,
    /// What the node of a cluster says of itself, if the broker is one.
    cluster: Option<Arc<ClusterStatus>>,
}

/// What the operators' listener is started with.
struct Operating {
    listener: std::net::TcpListener,
    /// Told when operators get no more answers.
    ended: oneshot::Receiver<()>,
    stop_request: StopRequest,
}

impl Operating {
    /// Also returns what ends the listener when it is dropped.
    fn new(listener: std::net::TcpListener, stop_request: StopRequest) -> (oneshot::Sender<()>, Self) {
        let (stop, ended) = oneshot::channel();
        let operating = Self {
            listener,
            ended,
            stop_request,
        };
        (stop, operating)
    }
}

/// Starts a broker with `config` and returns once it listens, on the sockets that were passed to the program if there are any.
///
/// # Errors
/// If an address is taken, the feed or the journal cannot be opened or a thread cannot be made. Then nothing runs.
pub fn start(config: Config, program: Program) -> Result<Broker, StartError> {
    let open_files = raise_open_files();
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let shard_count = config.shard_count(cores);
    let egress = egress::probe(config.socket.egress).map_err(StartError::Egress)?;
    let identity = config.tls.as_ref().map(TlsIdentity::load).transpose()?;
    let revocations = Revocations::open(config.admin.dir.as_ref())?;
    let access = reload::load_access(&config, &revocations.into())?;
    let feed = open_feed(&config)?;
    let (listener, ops_listener) = listeners(&config, program.sockets)?;
    let (listen, ops) = (listener.local_addr()?, ops_listener.local_addr()?);
    let connections_max = config.limits.connections_max(open_files);

    let joining = Joining::of(&config.cluster);
    let (mut common, mut journal) = Common::new(
        config,
        access.clone(),
        shard_count,
        (connections_max, joining.as_ref()),
    )?;
    common.tls = identity.map(|identity| Arc::new(TlsStore::new(identity, common.catalogue.clone())));
    common.log_lines_lost = program.log_lines_lost;
    reload::settings_hold(&common.catalogue);
    let derived = journal.as_mut().and_then(OpenJournal::take_derived);
    let (journal, cluster) = common.keep_messages(journal, joining, program.end)?;
    common.cluster = cluster.as_ref().map(RunningCluster::status);
    let (handles, shards) = common.start_shards()?;
    let mut others = Vec::new();
    let (stop, stop_accepting) = oneshot::channel();
    let (accepting, stopped) = oneshot::channel();
    let (stop_operating, operating) = Operating::new(ops_listener, program.drain);
    let plan = AcceptPlan {
        acceptor: common.acceptor(&handles),
        listener,
        stop: stop_accepting,
        stopped: accepting,
    };
    others.push(common.start_acceptor(&handles, plan, operating)?);
    let room = Room {
        shards: shard_count,
        connections_max,
        egress,
        access: access.summary(),
    };
    announce(&common.config, listen, ops, &room);
    if let Some((feed, speed)) = feed {
        others.push(common.start_feed(feed, speed)?);
    }
    others.extend(common.start_derive(derived)?);
    others.extend(common.start_views()?);
    Ok(Broker {
        listen,
        ops,
        handles,
        clock: common.clock,
        directory: common.directory.clone(),
        catalogue: common.catalogue.clone(),
        connection_limits: common.connection_limits.clone(),
        live_settings: common.live_settings.clone(),
        open_files,
        started: common.config.clone(),
        config: Mutex::new(common.config.clone()),
        lifecycle: common.lifecycle.clone(),
        tls: common.tls.clone(),
        accepting: Some(Accepting { stop, stopped }),
        stop_operating: Some(stop_operating),
        shards,
        others,
        journal,
        accounting: common.accounting.clone(),
        cluster,
    })
}

impl Broker {
    /// The address of the clients' listener.
    #[must_use]
    pub fn listen_addr(&self) -> SocketAddr {
        self.listen
    }

    /// The address of the operators' listener.
    #[must_use]
    pub fn ops_addr(&self) -> SocketAddr {
        self.ops
    }

    /// What tells whether the broker works. It may outlive the broker.
    #[must_use]
    pub fn vitals(&self) -> Vitals {
        Vitals::new(&self.handles, self.lifecycle.clone())
    }

    /// Applies new `settings`: everything that can change while the broker runs changes or, if anything is wrong,
    /// nothing does. Changes that need a restart are not applied, and are named. Logs what it did. Must not be called
    /// in a runtime, as it may wait for a shard that has much to do.
    ///
    /// Existing sessions get new limits at their next check. Existing topics keep their kind and the length of their
    /// history.
    ///
    /// # Errors
    /// What is wrong. Then the old settings stay.
    pub fn reload(&self, settings: Result<Config, ConfigError>) -> Result<Reloaded, ReloadError> {
        let reloaded = settings
            .map_err(ReloadError::from)
            .and_then(|config| self.reconfigure(Arc::new(config)));
        match &reloaded {
            Ok(Reloaded { needs_restart }) => {
                self.catalogue
                    .add(Metric::ConfigReloads, &[Reload::Ok as usize], 1);
                reload::settings_hold(&self.catalogue);
                tracing::info!("the settings were read again and hold");
                for key in needs_restart {
                    tracing::warn!(key, "a setting has changed that needs a restart");
                }
            }
            Err(error) => {
                self.catalogue
                    .add(Metric::ConfigReloads, &[Reload::Refused as usize], 1);
                tracing::error!(%error, "the settings were read again and are refused; those before hold on");
            }
        }
        reloaded
    }

    fn reconfigure(&self, config: Arc<Config>) -> Result<Reloaded, ReloadError> {
        let (_, access) = self.live_settings.rules();
        // The views that are at work stay so until a restart, and nobody publishes to their topics.
        let views = self.started.views.clone();
        let effective = Config {
            views,
            ..(*config).clone()
        };
        let parts = Parts::build(Arc::new(effective), self.open_files, access.revocations())?;
        // Reloads are done one at a time, so that all shards see them in one order.
        let mut current = self.config();
        parts.apply(&Running {
            directory: &self.directory,
            handles: &self.handles,
            connection_limits: &self.connection_limits,
            live_settings: &self.live_settings,
            tls: self.tls.as_deref(),
        });
        let needs_restart = self.started.needs_restart(&config);
        *current = config;
        Ok(Reloaded { needs_restart })
    }

    fn config(&self) -> MutexGuard<'_, Arc<Config>> {
        // It holds a whole configuration at any time.
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drains and ends the broker. `/readyz` says that it drains, and for `drain.delay_ms` it still accepts
    /// connections. Then every client is told, and each is closed with 4000 at its own time within `drain.window_ms`.
    /// Returns when all are gone, at the latest `drain.deadline_ms` after the delay. Messages that are published
    /// meanwhile still reach the remaining clients.
    pub fn stop(mut self) {
        let delay_ms = self.config().drain.delay_ms;
        self.lifecycle.drain();
        if delay_ms > 0 {
            tracing::info!(delay_ms, "no longer ready; clients are still taken");
            self.lifecycle.wait(Duration::from_millis(delay_ms));
        }
        // This comes first, so that no shard ends before the last connection has reached it.
        if let Some(accepting) = self.accepting.take() {
            accepting.end();
        }
        let connections = self.handles.iter().map(ShardHandle::connections).sum();
        let leave = Leave::new(self.config().drain, connections, self.clock.now().0);
        tracing::info!(
            connections,
            window_ms = leave.drain.window_ms,
            deadline_ms = leave.drain.deadline_ms,
            "draining"
        );
        for (index, handle) in self.handles.iter().enumerate() {
            let command = Command::Drain(leave.of_shard(index));
            if handle.commands.blocking_send(command).is_err() {
                tracing::error!("a shard had stopped before it was told to");
            }
        }
        join(self.shards.drain(..));
        self.lifecycle.stop();
        self.stop_operating.take();
        join(self.others.drain(..));
        if let Some(journal) = self.journal.take() {
            journal.stop();
        }
        if let Some(accounting) = &self.accounting
            && let Err(error) = accounting.save()
        {
            tracing::error!(%error, "the last accounts were not saved");
        }
        if let Some(cluster) = self.cluster.take() {
            cluster.leave();
        }
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
        self.lifecycle.stop();
    }
}

impl Common {
    fn acceptor(&self, handles: &[ShardHandle]) -> Acceptor {
        Acceptor {
            handles: handles.to_vec(),
            connection_limits: self.connection_limits.clone(),
            socket: self.config.socket,
            secured: self.tls.is_some(),
        }
    }

    /// Starts what keeps messages beyond this process: the journal, or the log of a cluster.
    fn keep_messages(
        &self,
        journal: Option<OpenJournal>,
        joining: Option<Joining>,
        end: EndProgram,
    ) -> Result<(Option<RunningJournal>, Option<RunningCluster>), StartError> {
        match (journal, joining) {
            (Some(journal), _) => {
                let journal = journal.start(self.clock, &self.catalogue, end)?;
                Ok((Some(journal), None))
            }
            (None, Some(joining)) => {
                let cluster = joining.join(&self.directory, self.clock, &self.catalogue, end)?;
                Ok((None, Some(cluster)))
            }
            (None, None) => Ok((None, None)),
        }
    }

    fn new(
        config: Config,
        access: Arc<Access>,
        shard_count: usize,
        (connections_max, joining): (usize, Option<&Joining>),
    ) -> Result<(Self, Option<OpenJournal>), StartError> {
        let clock = Clock::start();
        let wakes: Vec<Arc<Notify>> = (0..shard_count).map(|_| Arc::default()).collect();
        let queues = wakes.iter().cloned().map(|wake: Arc<Notify>| {
            Arc::new(ShardQueue::new(
                SHARD_QUEUE_MAX,
                Box::new(move || wake.notify_one()),
            ))
        });
        let queues: Vec<Arc<ShardQueue>> = queues.collect();
        let lifecycle = Arc::new(Lifecycle::new(config.feed.start == FeedStart::Now));
        let settings = &config.accounting;
        let accounting = settings.enabled.then(|| Accounting::open_books(settings, clock));
        let accounting = accounting.transpose()?;
        let families = accounting.as_ref().map_or_else(
            || Arc::new(Families::none()),
            |accounting| accounting.families().clone(),
        );
        let make = |epoch| {
            let directory = Directory::new(
                epoch,
                config.topic_kinds(),
                config.directory_limits(),
                queues.clone(),
            )
            .with_stale_rules(config.staleness.clone())
            .with_expiry_rules(config.expiry.clone())
            .with_families(families.clone());
            // What derives comes first among the observers.
            let directory = derive_thread::with_queue(directory, &config.derive, &lifecycle);
            view_thread::with_queue(directory, &config.views, &lifecycle)
        };
        let desk = Arc::new(DeriveDesk::new(lifecycle.clone()));
        let derive = (&config.derive[..], desk.clone());
        let journal = journal::open(&config.journal, clock, derive, |epoch, queue| {
            make(epoch).with_write_queue(queue)
        })?;
        let directory = match &journal {
            Some(journal) => journal.directory.clone(),
            None => {
                let directory = make(Epoch::from_number(clock.number_of_start()));
                Arc::new(match joining {
                    Some(joining) => directory.with_outlet(joining.outlet.clone()),
                    None => directory,
                })
            }
        };
        let catalogue = Catalogue::new(shard_count, VERSION, &LABELS)?;
        let rules = LimitRules::of(&config, connections_max);
        let connection_limits = Arc::new(ConnectionLimits::new(rules, clock, catalogue.clone()));
        let config = Arc::new(config);
        let common = Self {
            live_settings: Arc::new(LiveSettings::new(&config, &access)),
            config,
            connections_max,
            clock,
            access,
            directory,
            catalogue,
            lifecycle,
            connection_limits,
            pulse: Arc::new(Pulse::new()),
            wakes,
            tls: None,
            log_lines_lost: Arc::default(),
            fed: journal.as_ref().and_then(|journal| journal.fed),
            desk,
            accounting,
            cluster: None,
        };
        Ok((common, journal))
    }
}

#[cfg(test)]
mod tests;
mod threads;
