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
use std::time::Duration;

use tickwire_metrics::{HttpMetrics, ShardMetrics};
use tickwire_router::{Directory, Rights, Shard, ShardId, ShardSettings};
use tickwire_wire::CloseCode;
use tickwire_wire::frame::Limits as FrameLimits;
use tokio::sync::{Notify, mpsc};
use tokio::task::LocalSet;

use crate::clock::Clock;
use crate::config::{self, Config};
use crate::egress::{self, BYTES_PER_WRITE};
use crate::http::HttpContext;
use crate::hub::{Hub, HubParts, SharedHub};
use crate::inspector::Question;
use crate::permit::Permit;
use crate::poller::{Poller, Readiness};
use crate::service;
use crate::start_gate::StartGate;
use crate::tls::TlsStore;

/// Least bytes that a slow connection is offered at a time.
const PIECE_BYTES_MIN: usize = 2 * 1024;

/// What a shard is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// A new connection, to be served by this shard.
    Serve(std::net::TcpStream, SocketAddr, Permit),
    /// An operator wants to know something.
    Answer(Question),
    /// Close everything within this time, then end.
    Stop(Duration),
}

/// Everything that a shard's thread needs; made on another thread.
pub(crate) struct ShardPlan {
    pub(crate) id: ShardId,
    pub(crate) config: Arc<Config>,
    /// Most connections of all shards together.
    pub(crate) connections_max: usize,
    pub(crate) directory: Arc<Directory>,
    pub(crate) clock: Clock,
    pub(crate) settings: ShardSettings,
    pub(crate) metrics: ShardMetrics,
    pub(crate) http: HttpMetrics,
    pub(crate) wake: Arc<Notify>,
    pub(crate) gate: Arc<StartGate>,
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
        local.block_on(&runtime, self.serve())
    }

    async fn serve(self) -> io::Result<()> {
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
            frame_limits: FrameLimits {
                message_bytes: self.config.limits.message_bytes,
                fragments: self.config.limits.fragments,
            },
            piece_bytes: piece_bytes(&self.config.socket),
            rights: Rights {
                publish: self.config.anonymous_publish.clone(),
            },
            wake: self.wake.clone(),
            gate: self.gate,
        });
        let hub: SharedHub = Rc::new(RefCell::new(hub));
        let context = Rc::new(HttpContext::new(hub.clone(), &self.config, self.http).with_tls(self.tls));
        let mut commands = self.commands;
        loop {
            let due = hub.borrow().next_timeout().map(|at| self.clock.instant(at));
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Serve(stream, peer, permit)) => {
                        accept(&context, stream, peer, permit);
                        continue; // the connection's own task goes first
                    }
                    Some(Command::Answer(question)) => hub.borrow().answer(question),
                    Some(Command::Stop(within)) => return stop(&hub, &readiness, &self.wake, within).await,
                    None => return Ok(()),
                },
                ready = readiness.wait() => ready?,
                () = self.wake.notified() => {}
                () = until(due) => {}
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

fn accept(context: &Rc<HttpContext>, stream: std::net::TcpStream, peer: SocketAddr, permit: Permit) {
    match tokio::net::TcpStream::from_std(stream) {
        Ok(stream) => {
            tokio::task::spawn_local(service::serve(context.clone(), stream, peer, permit));
        }
        Err(error) => tracing::warn!(%peer, %error, "cannot watch a new connection; it is dropped"),
    }
}

/// Closes every session and waits until they are gone, at most `within`.
async fn stop(hub: &SharedHub, readiness: &Readiness, wake: &Notify, within: Duration) -> io::Result<()> {
    {
        let mut hub = hub.borrow_mut();
        let now = hub.clock.now();
        hub.shard
            .close_all(CloseCode::GOING_AWAY, "the broker is shutting down", now);
    }
    let deadline = tokio::time::Instant::now() + within;
    loop {
        while hub.borrow_mut().cycle() {
            tokio::task::yield_now().await;
        }
        let due = {
            let hub = hub.borrow();
            if hub.session_count() == 0 {
                break;
            }
            hub.next_timeout().map(|at| hub.clock.instant(at))
        };
        tokio::select! {
            ready = readiness.wait() => ready?,
            () = wake.notified() => {}
            // Whoever does not answer the close in time is dropped then.
            () = until(due) => {}
            () = tokio::time::sleep_until(deadline) => break,
        }
    }
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
    Ok(())
}
