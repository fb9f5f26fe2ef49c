//! The thread of a shard: its runtime, its tasks and its loop.
//!
//! A connection has a task of its own only while it uses HTTP; an upgraded connection belongs to the hub. The loop
//! sleeps until the poller, the queue, a deadline or a command wakes it. Then it cycles until nothing is left to do,
//! and lets the thread's other tasks run in between. A panic ends the task that it happens in. A panic in the hub ends
//! all sessions of the shard, which then begins anew.

use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::FutureExt;
use tickwire_metrics::{Catalogue, LocalMetrics, Metric};
use tickwire_router::{Directory, Shard, ShardId, ShardSettings, Transport};
use tokio::sync::{Notify, mpsc};
use tokio::task::LocalSet;

use crate::accounting::Accounting;
use crate::auth::Access;
use crate::auth::sessions::AuthSessions;
use crate::config::{self, Config, EgressKind};
use crate::http::HttpContext;
use crate::http::service;
use crate::http::shutdown::HttpShutdown;
use crate::hub::{self, Anew, Hub, HubParts, SharedHub, Stream};
use crate::limits::ConnectionLimits;
use crate::net::acceptor::AcceptPlan;
use crate::net::egress::{self, BYTES_PER_WRITE};
use crate::net::permit::ConnectionPermit;
use crate::net::poller::Poller;
use crate::net::readiness::Readiness;
use crate::net::tls::TlsStore;
use crate::run::clock::Clock;
use crate::run::command::{Command, Leave, Viewer};
use crate::run::http_budget::HttpBudget;
use crate::run::leaving::Leaving;
use crate::run::lifecycle::Lifecycle;

/// The least number of bytes that a slow connection is offered at a time.
const SLOW_WRITE_BYTES_MIN: usize = 2 * 1024;

/// Everything that a shard's thread needs. It is made on another thread.
pub(crate) struct ShardPlan {
    pub(crate) id: ShardId,
    pub(crate) config: Arc<Config>,
    /// The most connections of all shards together.
    pub(crate) connections_max: usize,
    pub(crate) directory: Arc<Directory>,
    pub(crate) clock: Clock,
    pub(crate) access: Arc<Access>,
    pub(crate) settings: ShardSettings,
    pub(crate) metrics: LocalMetrics,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) wake: Arc<Notify>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) connection_limits: Arc<ConnectionLimits>,
    pub(crate) tls: Option<Arc<TlsStore>>,
    pub(crate) accounting: Option<Arc<Accounting>>,
    pub(crate) commands: mpsc::Receiver<Command>,
}

impl ShardPlan {
    /// Runs the shard on this thread until it is told to stop.
    ///
    /// # Errors
    /// If the runtime or the poller cannot be made.
    pub(crate) fn run(self) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        // However the thread ends, nothing may wait for its queue any more. This is dropped after the tasks, and before
        // the runtime, which waits for the bulk publications under way.
        let _forgotten = Forgotten(self.id, self.directory.clone());
        let local = LocalSet::new();
        let http_budget = HttpBudget::default();
        local.block_on(&runtime, http_budget.lead(self.serve(&http_budget)))
    }

    async fn serve(self, http_budget: &HttpBudget) -> io::Result<()> {
        let mut running = Running::new(self)?;
        loop {
            // A panic ends the sessions of this shard, and nothing else.
            match AssertUnwindSafe(running.turn(http_budget)).catch_unwind().await {
                Ok(Ok(ControlFlow::Continue(()))) => {}
                Ok(Ok(ControlFlow::Break(()))) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Err(_) => running.hub.break_off(),
            }
            if running.hub.is_broken() {
                running.begin_anew();
            }
        }
    }
}

/// Removes the interests of a shard and empties its queue when it is dropped.
struct Forgotten(ShardId, Arc<Directory>);

impl Drop for Forgotten {
    fn drop(&mut self) {
        self.1.forget_shard(self.0);
    }
}

/// The loop of a shard.
struct Running {
    hub: Rc<SharedHub>,
    context: Rc<HttpContext>,
    readiness: Readiness,
    commands: mpsc::Receiver<Command>,
    wake: Arc<Notify>,
    clock: Clock,
    /// The current configuration.
    config: Arc<Config>,
    access: Arc<Access>,
    connections_max: usize,
    leave: Option<Leave>,
    leaving: Option<Leaving>,
}

impl Running {
    fn new(plan: ShardPlan) -> io::Result<Self> {
        let (poller, readiness) = Poller::new()?;
        let (egress, name) = egress::open(plan.config.socket.egress, plan.connections_max)?;
        tracing::debug!(shard = plan.id.0, egress = name, "writing to connections");
        let hub = Hub::new(HubParts {
            shard: Shard::new(plan.id, plan.directory, plan.settings)
                .with_compression(plan.config.compression.settings()),
            clock: plan.clock,
            poller,
            egress,
            metrics: plan.metrics,
            frame_limits: hub::frame_limits(&plan.config),
            slow_write_bytes: slow_write_bytes(&plan.config.socket),
            auth: AuthSessions::new(plan.access.clone(), plan.clock, plan.catalogue.clone())
                .with_accounting(plan.accounting.clone())
                .with_holder_connections(plan.connection_limits.holder_connections().clone()),
            wake: plan.wake.clone(),
            lifecycle: plan.lifecycle,
            may_panic: plan.config.test.panic,
            accounting: plan.accounting,
        });
        let hub = Rc::new(SharedHub::new(hub));
        let shutdown = Rc::new(HttpShutdown::new(plan.wake.clone()));
        let context = HttpContext::new(
            hub.clone(),
            &plan.config,
            plan.catalogue,
            plan.connection_limits,
            shutdown,
        );
        Ok(Self {
            hub,
            context: Rc::new(context.with_tls(plan.tls)),
            readiness,
            commands: plan.commands,
            wake: plan.wake,
            clock: plan.clock,
            config: plan.config,
            access: plan.access,
            connections_max: plan.connections_max,
            leave: None,
            leaving: None,
        })
    }

    /// Waits for something to do, and does it. Returns whether to continue.
    async fn turn(&mut self, http_budget: &HttpBudget) -> io::Result<ControlFlow<()>> {
        if let Some(leaving) = &self.leaving
            && leaving.is_over(&self.hub, &self.context)
        {
            end(&self.hub);
            return Ok(ControlFlow::Break(()));
        }
        let due = self.hub.borrow().next_timeout().map(|at| self.clock.instant(at));
        let ends = self.leaving.as_ref().map(|leaving| leaving.deadline().into_std());
        tokio::select! {
            command = self.commands.recv() => match command {
                Some(Command::Serve(stream, peer, permit)) => {
                    accept(&self.context, http_budget, (stream, peer), permit);
                    // The connection's own task must run first.
                    return Ok(ControlFlow::Continue(()));
                }
                Some(Command::Accept(plan)) => accept_all(*plan, http_budget),
                Some(command) => self.obey(command),
                None => return Ok(ControlFlow::Break(())),
            },
            ready = self.readiness.wait() => ready?,
            () = self.wake.notified() => {}
            () = until(due.into_iter().chain(ends).min()) => {}
        }
        while !self.hub.is_broken() && self.hub.borrow_mut().cycle() {
            tokio::task::yield_now().await;
            // A flood of data must not keep commands waiting.
            if !self.commands.is_empty() {
                break;
            }
        }
        if !self.commands.is_empty() {
            self.wake.notify_one();
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Executes a command. The new state is stored first, so that it stays even if a panic follows.
    fn obey(&mut self, command: Command) {
        match command {
            Command::Serve(..) | Command::Accept(_) => {}
            Command::Answer(question) => self.hub.borrow().answer(question),
            Command::GiveSign(sign) => {
                if sign.try_send(()).is_err() {
                    tracing::warn!("a sign of life came too late");
                }
            }
            Command::Book(booked) => {
                self.hub.borrow_mut().book();
                if booked.send(()).is_err() {
                    tracing::debug!("an operator did not wait for this shard's books");
                }
            }
            Command::View(viewer) => view(&self.hub, *viewer),
            Command::Close(name, closed) => {
                if closed.send(self.hub.borrow_mut().close_named(&name)).is_err() {
                    tracing::debug!(
                        session = name,
                        "an operator did not wait until a session was closed"
                    );
                }
            }
            Command::CloseAll(order, closed) => {
                if closed.send(self.hub.borrow_mut().close_all_of(&order)).is_err() {
                    tracing::debug!("an operator did not wait until sessions were closed");
                }
            }
            Command::Reconfigure(config, access) => {
                (self.config, self.access) = (config, access);
                // Connections that use HTTP keep the old settings, and end with their next answer.
                self.context = Rc::new(self.context.reconfigured(&self.config));
                self.context.shutdown.close_after_answer();
                self.hub
                    .borrow_mut()
                    .reconfigure(&self.config, self.access.clone());
            }
            Command::Drain(leave) => {
                if self.leave.is_none() {
                    self.leave = Some(leave);
                    self.leaving = Some(Leaving::begin(leave, &self.hub, &self.context));
                }
            }
        }
    }

    /// Ends all sessions and continues with a new hub.
    fn begin_anew(&mut self) {
        let kind = self.config.socket.egress;
        let opened = egress::open(kind, self.connections_max).or_else(|error| {
            tracing::error!(%error, "io_uring is not to be had any more; writing plainly");
            egress::open(EgressKind::Plain, self.connections_max)
        });
        match opened {
            Ok((egress, _)) => self.hub.begin_anew(Anew {
                config: &self.config,
                access: self.access.clone(),
                egress,
            }),
            // The plain egress cannot fail here. For another one, the hub stays broken and this is tried again.
            Err(error) => tracing::error!(%error, "nothing can be written to connections"),
        }
        if let Some(leave) = self.leave {
            let again = Leaving::begin(leave, &self.hub, &self.context);
            self.leaving = Some(again.no_later_than(self.leaving.take()));
        }
        self.wake.notify_one();
    }
}

/// The most bytes that a slow connection is written at a time: about as many as the kernel then takes before it has
/// enough.
fn slow_write_bytes(socket: &config::SocketSettings) -> usize {
    let half = usize::try_from(socket.notsent_lowat_bytes / 2).unwrap_or(BYTES_PER_WRITE);
    half.clamp(SLOW_WRITE_BYTES_MIN, BYTES_PER_WRITE)
}

async fn until(due: Option<std::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// Accepts the connections of the broker in a task. It has its part of the time for connections that use HTTP.
fn accept_all(plan: AcceptPlan, http_budget: &HttpBudget) {
    let http_budget = http_budget.clone();
    tokio::task::spawn_local(async move {
        if let Err(error) = http_budget.take(plan.run()).await {
            tracing::error!(%error, "no connections are accepted");
        }
    });
}

fn accept(
    context: &Rc<HttpContext>,
    http_budget: &HttpBudget,
    (stream, peer): (std::net::TcpStream, SocketAddr),
    permit: ConnectionPermit,
) {
    match tokio::net::TcpStream::from_std(stream) {
        Ok(stream) => {
            // It is counted before its task runs, so that a drain that begins meanwhile waits for it.
            let answering = context.shutdown.answer();
            let serving = service::serve(context.clone(), stream, peer, permit, answering);
            let (context, serving) = (context.clone(), http_budget.take(serving));
            tokio::task::spawn_local(async move {
                // A panic ends this connection, and all sessions of the shard if it happened in the hub.
                if AssertUnwindSafe(serving).catch_unwind().await.is_err() {
                    context.metrics.add(Metric::SessionsFailed, &[], 1);
                    tracing::error!(%peer, "an HTTP connection ended by a panic");
                }
            });
        }
        Err(error) => tracing::warn!(%peer, %error, "cannot watch a new connection; it is dropped"),
    }
}

/// Opens the session of a connection that was made at the operators' listener.
fn view(hub: &SharedHub, viewer: Viewer) {
    let mut hub = hub.borrow_mut();
    let (variant, admission) = (viewer.variant, viewer.admission);
    let adopted = Stream::plain(viewer.stream).and_then(|stream| {
        hub.adopt(
            stream,
            viewer.permit,
            Transport::WebSocket,
            variant,
            admission,
            viewer.early,
        )
    });
    match adopted {
        Ok(id) => hub.shard.only_reads(id),
        Err(error) => tracing::warn!(%error, "a connection of the console could not be taken over"),
    }
}

/// Closes all remaining connections.
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
