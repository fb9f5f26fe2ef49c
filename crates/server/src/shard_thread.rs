//! The thread of a shard: its runtime, its tasks, its loop.
//!
//! One task per connection exists only while it speaks HTTP; an upgraded connection is the hub's. The loop sleeps until
//! the poller, the queue, a deadline or a command wakes it, and then cycles until nothing is left to do, letting the
//! thread's other tasks run in between.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tickwire_metrics::{HttpMetrics, ShardMetrics};
use tickwire_router::{Directory, Shard, ShardId, ShardSettings};
use tokio::sync::{Notify, mpsc};
use tokio::task::LocalSet;

use crate::access::Access;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::curfew::Curfew;
use crate::egress::{self, BYTES_PER_WRITE};
use crate::gatekeeper::Gatekeeper;
use crate::http::HttpContext;
use crate::hub::{self, Guard, Hub, HubParts, SharedHub};
use crate::inspector::Question;
use crate::leaving::{Leave, Leaving};
use crate::permit::Permit;
use crate::poller::Poller;
use crate::service;
use crate::start_gate::StartGate;
use crate::tls::TlsStore;
use crate::turns::Turns;

/// Least bytes that a slow connection is offered at a time.
const PIECE_BYTES_MIN: usize = 2 * 1024;

/// What a shard is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// A new connection, to be served by this shard.
    Serve(std::net::TcpStream, SocketAddr, Permit),
    /// An operator wants to know something.
    Answer(Question),
    /// Other settings and rules of access hold from now on.
    Reconfigure(Arc<Config>, Arc<Access>),
    /// Say so to every client, close each at its own moment, then end.
    Drain(Leave),
}

/// Everything that a shard's thread needs; made on another thread.
pub(crate) struct ShardPlan {
    pub(crate) id: ShardId,
    pub(crate) config: Arc<Config>,
    /// Most connections of all shards together.
    pub(crate) connections_max: usize,
    pub(crate) directory: Arc<Directory>,
    pub(crate) clock: Clock,
    pub(crate) access: Arc<Access>,
    pub(crate) settings: ShardSettings,
    pub(crate) metrics: ShardMetrics,
    pub(crate) http: HttpMetrics,
    pub(crate) wake: Arc<Notify>,
    pub(crate) gate: Arc<StartGate>,
    pub(crate) gatekeeper: Arc<Gatekeeper>,
    pub(crate) tls: Option<Arc<TlsStore>>,
    pub(crate) commands: mpsc::Receiver<Command>,
}

impl ShardPlan {
    /// Runs the shard on this thread until it is told to stop.
    ///
    /// # Errors
    /// When the runtime or the poller cannot be made.
    pub(crate) fn run(self) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let local = LocalSet::new();
        let turns = Turns::default();
        local.block_on(&runtime, turns.lead(self.serve(&turns)))
    }

    async fn serve(self, turns: &Turns) -> io::Result<()> {
        let (poller, readiness) = Poller::new()?;
        let (egress, name) = egress::open(self.config.socket.egress, self.connections_max)?;
        tracing::debug!(shard = self.id.0, egress = name, "writing to connections");
        let hub = Hub::new(HubParts {
            shard: Shard::new(self.id, self.directory, self.settings)
                .with_compression(self.config.compression.settings()),
            clock: self.clock,
            poller,
            egress,
            metrics: self.metrics,
            frame_limits: hub::frame_limits(&self.config),
            piece_bytes: piece_bytes(&self.config.socket),
            guard: Guard::new(self.access, self.clock, self.http.clone()),
            wake: self.wake.clone(),
            gate: self.gate,
        });
        let hub: SharedHub = Rc::new(RefCell::new(hub));
        let curfew = Rc::new(Curfew::new(self.wake.clone()));
        let context = HttpContext::new(hub.clone(), &self.config, self.http, self.gatekeeper, curfew);
        let mut context = Rc::new(context.with_tls(self.tls));
        let mut commands = self.commands;
        let mut leaving: Option<Leaving> = None;
        loop {
            if leaving
                .as_ref()
                .is_some_and(|leaving| leaving.is_over(&hub, &context))
            {
                end(&hub);
                return Ok(());
            }
            let due = hub.borrow().next_timeout().map(|at| self.clock.instant(at));
            let ends = leaving.as_ref().map(|leaving| leaving.deadline().into_std());
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Serve(stream, peer, permit)) => {
                        accept(&context, turns, (stream, peer), permit);
                        continue; // the connection's own task goes first
                    }
                    Some(Command::Answer(question)) => hub.borrow().answer(question),
                    Some(Command::Reconfigure(config, access)) => {
                        hub.borrow_mut().reconfigure(&config, access);
                        // Connections that speak HTTP have what they began with, and end with their next answer.
                        context = Rc::new(context.reconfigured(&config));
                        context.curfew.renew();
                    }
                    Some(Command::Drain(leave)) => {
                        leaving.get_or_insert_with(|| Leaving::begin(leave, &hub, &context));
                    }
                    None => return Ok(()),
                },
                ready = readiness.wait() => ready?,
                () = self.wake.notified() => {}
                () = until(due.into_iter().chain(ends).min()) => {}
            }
            while hub.borrow_mut().cycle() {
                tokio::task::yield_now().await;
                // A flood of data must not keep commands waiting.
                if !commands.is_empty() {
                    break;
                }
            }
            if !commands.is_empty() {
                self.wake.notify_one();
            }
        }
    }
}

/// Most bytes that a slow connection is written at a time: about what the kernel then takes before it has enough.
fn piece_bytes(socket: &config::Socket) -> usize {
    let half = usize::try_from(socket.notsent_lowat_bytes / 2).unwrap_or(BYTES_PER_WRITE);
    half.clamp(PIECE_BYTES_MIN, BYTES_PER_WRITE)
}

async fn until(due: Option<std::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

fn accept(
    context: &Rc<HttpContext>,
    turns: &Turns,
    (stream, peer): (std::net::TcpStream, SocketAddr),
    permit: Permit,
) {
    match tokio::net::TcpStream::from_std(stream) {
        Ok(stream) => {
            let (context, turns) = (context.clone(), turns.clone());
            // Counted before its task runs, so that a drain that begins meanwhile waits for it.
            let answering = context.curfew.answer();
            tokio::task::spawn_local(async move {
                turns
                    .take(service::serve(context, stream, peer, permit, answering))
                    .await;
            });
        }
        Err(error) => tracing::warn!(%peer, %error, "cannot watch a new connection; it is dropped"),
    }
}

/// Lets go of whoever is left.
fn end(hub: &SharedHub) {
    let mut hub = hub.borrow_mut();
    let now = hub.clock.now();
    hub.flush(now);
    let left = hub.session_count();
    if left > 0 {
        tracing::warn!(
            connections = left,
            "connections did not answer the close in time and are dropped"
        );
    }
}
