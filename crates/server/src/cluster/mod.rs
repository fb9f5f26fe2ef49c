//! Several brokers with the same topics, numbers and epochs, by a log in NATS.
//!
//! Publishers of each broker put messages into its [`Outlet`]. A thread of its own, the link, sends them to the broker that
//! numbers the messages of all, and lets in what the log has. Readers are served as by a broker alone.

mod catching;
mod link;
mod nats;
mod plain;
mod state;
mod status;
mod topics;
mod transfer;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use async_nats::{ConnectOptions, Event};
use thiserror::Error;
use tickwire_lane::node::{LaneNode, LaneRules, LaneTiming, NodeId};
use tickwire_metrics::Catalogue;
use tickwire_router::{Directory, Outlet};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use self::link::{Command, Link};
use self::nats::{LogPlan, NatsLog};
pub(crate) use self::status::ClusterStatus;
use self::topics::BrokerTopics;
use crate::config::{ClusterSettings, NatsServers};
use crate::journal::EndProgram;
use crate::run::clock::Clock;

/// The one lane.
const LANE: &str = "all";
/// The time between two lines of the log about what a start waits for.
const TELL: Duration = Duration::from_secs(5);
/// The longest time between two attempts to connect.
const CONNECT_MS_MAX: u64 = 2_000;
/// Messages of a subscription that may wait in this process. What finds no room is read from the log.
const CAPACITY: usize = 16 * 1024;

/// Why a cluster cannot be joined.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// The credentials cannot be read.
    #[error("cluster.credentials_file {file}: {source}")]
    Credentials {
        /// The file.
        file: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A thread or its runtime could not be made.
    #[error("cannot start the thread of the cluster: {0}")]
    Thread(#[from] io::Error),
    /// The thread has ended before it had joined.
    #[error("the cluster was not joined: {0}")]
    NotJoined(String),
}

/// What a start hears of the thread.
#[derive(Debug)]
enum JoinNews {
    /// The topics are what the log says.
    Joined,
    /// The thread has ended.
    Ended(String),
}

/// What a broker in a cluster publishes by, before the cluster is joined.
#[derive(Debug)]
pub(crate) struct Joining {
    pub(crate) outlet: Arc<Outlet>,
    submitted: Arc<Notify>,
    settings: ClusterSettings,
    servers: NatsServers,
}

impl Joining {
    /// For a broker with these settings. `None` if it is to be alone.
    pub(crate) fn of(settings: &ClusterSettings) -> Option<Self> {
        let servers = settings.nats.clone()?;
        let submitted = Arc::new(Notify::new());
        let wake = submitted.clone();
        Some(Self {
            outlet: Arc::new(Outlet::new(Box::new(move || wake.notify_one()))),
            submitted,
            settings: settings.clone(),
            servers,
        })
    }

    /// Joins the cluster with the topics of `directory`. Returns when these are what the log says. Waits for NATS as long as
    /// that takes.
    pub(crate) fn join(
        self,
        directory: &Arc<Directory>,
        clock: Clock,
        catalogue: &Arc<Catalogue>,
        ends: EndProgram,
    ) -> Result<RunningCluster, ClusterError> {
        let id = NodeId(RandomState::new().hash_one(clock.number_of_start()));
        let settings = &self.settings;
        let name = settings.name.0.clone();
        let status = Arc::new(ClusterStatus::new(
            &name,
            id.to_string(),
            self.servers.shown(),
            LANE,
        ));
        let options = connect_options(settings, id)?;
        let (commands, receive) = unbounded_channel();
        let (told, joined) = std::sync::mpsc::channel();
        let plan = LinkPlan {
            id,
            options,
            servers: self.servers,
            log: LogPlan {
                cluster: name,
                lane: LANE.to_owned(),
                replicas: settings.replicas,
                storage: settings.storage,
                log_bytes: settings.log_bytes,
            },
            rules: LaneRules {
                timing: LaneTiming::default(),
                may_write: settings.writer,
                log_is_synced: settings.nats_synced,
            },
            topics: BrokerTopics::new(directory.clone(), self.outlet),
            submitted: self.submitted,
            commands: receive,
            clock,
            catalogue: catalogue.clone(),
            status: status.clone(),
            ends,
            joined: told.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("cluster".to_owned())
            .spawn(move || {
                if let Err(why) = plan.run() {
                    // Only a start hears of it.
                    let _unheard = told.send(JoinNews::Ended(why));
                }
            })?;
        loop {
            match joined.recv_timeout(TELL) {
                Err(RecvTimeoutError::Timeout) => {
                    let report = status.report();
                    let state = report.lanes.first().map_or("", |lane| lane.state);
                    tracing::info!(
                        nats = report.nats,
                        connected = report.connected,
                        state,
                        "waiting for the cluster"
                    );
                }
                Ok(JoinNews::Joined) => break,
                Ok(JoinNews::Ended(why)) => return Err(ClusterError::NotJoined(why)),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(ClusterError::NotJoined("its thread has ended".to_owned()));
                }
            }
        }
        Ok(RunningCluster {
            commands,
            thread: Some(thread),
            status,
        })
    }
}

fn connect_options(settings: &ClusterSettings, id: NodeId) -> Result<ConnectOptions, ClusterError> {
    let mut options = ConnectOptions::new()
        .name(format!("tickwire {id}"))
        .retry_on_initial_connect()
        .max_reconnects(None)
        .subscription_capacity(CAPACITY)
        .ping_interval(Duration::from_secs(2))
        .connection_timeout(Duration::from_secs(2))
        .reconnect_delay_callback(|attempt| {
            // Nodes that have lost one server do not come to the next one all at once.
            let most = 50_u64.saturating_mul(1 << attempt.min(6)).min(CONNECT_MS_MAX);
            let random = RandomState::new().hash_one(attempt);
            Duration::from_millis(most / 2 + random % (most / 2 + 1))
        });
    if let Some(file) = &settings.credentials_file {
        let broken = |source| ClusterError::Credentials {
            file: file.clone(),
            source,
        };
        let text = std::fs::read_to_string(file).map_err(broken)?;
        options = options.credentials(&text).map_err(broken)?;
    }
    if let Some(file) = &settings.ca_file {
        options = options.add_root_certificates(file.clone());
    }
    Ok(options)
}

/// What the thread begins with.
struct LinkPlan {
    id: NodeId,
    options: ConnectOptions,
    servers: NatsServers,
    log: LogPlan,
    rules: LaneRules,
    topics: BrokerTopics,
    submitted: Arc<Notify>,
    commands: UnboundedReceiver<Command>,
    clock: Clock,
    catalogue: Arc<Catalogue>,
    status: Arc<ClusterStatus>,
    ends: EndProgram,
    joined: Sender<JoinNews>,
}

impl LinkPlan {
    /// Runs the link until it is told to leave. A fault of it ends the program: whatever is published would wait for ever.
    fn run(self) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let ended = runtime.block_on(self.work());
        if let Err(why) = &ended {
            tracing::error!(why, "the link to the cluster has ended");
        }
        ended
    }

    async fn work(self) -> Result<(), String> {
        let (tell, events) = unbounded_channel::<Event>();
        let options = self.options.event_callback(move |event| {
            // After the end nobody listens any more.
            let _unheard = tell.send(event);
            async {}
        });
        let client = options.connect(&self.servers.0[..]).await;
        let client = client.map_err(|error| error.to_string())?;
        let log = NatsLog::new(client, self.log);
        let seed = self.id.0 ^ self.clock.now().0;
        let link = Link {
            node: LaneNode::new(self.id, self.rules, self.topics, seed),
            id: self.id,
            log,
            events,
            commands: self.commands,
            submitted: self.submitted,
            clock: self.clock,
            metrics: self.catalogue.local(),
            status: self.status,
            ends: self.ends,
            joined: Some(self.joined),
        };
        link.run().await.map_err(|error| error.to_string())
    }
}

/// A cluster that is joined. Dropping it leaves without waiting.
#[derive(Debug)]
pub(crate) struct RunningCluster {
    commands: UnboundedSender<Command>,
    thread: Option<JoinHandle<()>>,
    status: Arc<ClusterStatus>,
}

impl RunningCluster {
    /// What the node says of itself.
    pub(crate) fn status(&self) -> Arc<ClusterStatus> {
        self.status.clone()
    }

    /// Waits until what publishers have handed in is decided, has another node number the messages, and leaves.
    pub(crate) fn leave(mut self) {
        self.ask();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the cluster's thread had panicked");
        }
    }

    fn ask(&self) {
        // The thread may have ended.
        let _gone = self.commands.send(Command::Leave);
    }
}

impl Drop for RunningCluster {
    fn drop(&mut self) {
        self.ask();
    }
}
