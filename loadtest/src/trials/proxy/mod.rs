//! A TCP proxy that misbehaves as networks do: it stalls, trickles, delays, and cuts connections in the middle of a
//! frame.
//!
//! It knows nothing about the protocol that it carries. The faults of a connection follow from a seed and the
//! connection's number ([`plan`]). It holds one small buffer per direction and makes the kernel hold little, so that a
//! stall reaches the other end. It takes at most [`CONNECTIONS_MAX`] connections at a time; the others wait to be
//! accepted.
//!
//! It runs on its own thread: as a command, for tests and for people who want to see how a client copes with a bad
//! network, or within a scenario.

mod pipe;
mod plan;

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, oneshot};

use crate::swarm::{Interrupt, say};
pub(crate) use plan::Rules;
use plan::{Direction, Fault, Plan};

const CONNECTIONS_MAX: usize = 5_000;
/// The size of the kernel's buffers on both sides, in bytes. Linux doubles it.
const SOCKET_BUFFER_BYTES: u32 = 16 * 1024;
const BACKLOG: u32 = 1_024;
/// How long the server may take to accept.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// The pause after a failed accept, for example when no files are left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);
/// The time between two checks for a signal to end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The arguments of `proxy`.
#[derive(Debug, clap::Args)]
pub(crate) struct ProxyArgs {
    /// The address to listen at; port 0 takes any free port
    #[arg(long, default_value = "127.0.0.1:0", value_name = "HOST:PORT")]
    listen: SocketAddr,
    /// The address of the server
    #[arg(long, value_name = "HOST:PORT")]
    to: SocketAddr,
    /// The seed of the faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    rules: Rules,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Happened {
    pub(crate) connections: u64,
    /// Connections for which the server could not be reached.
    pub(crate) unreachable: u64,
    #[serde(flatten)]
    pub(crate) faults: BTreeMap<Fault, u64>,
}

/// The faults as text: `12 × stall, 9 × reset`.
impl Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<String> = self
            .faults
            .iter()
            .map(|(fault, count)| format!("{count} × {fault:?}"))
            .collect();
        f.write_str(&faults.join(", "))
    }
}

#[derive(Debug, Default)]
struct Shared {
    happened: Mutex<Happened>,
    calm: AtomicBool,
}

impl Shared {
    /// What happened so far. Nothing that panics is done while it is locked.
    fn happened(&self) -> MutexGuard<'_, Happened> {
        self.happened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A proxy that runs until it is dropped. Its connections end with it.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    /// Dropping it ends the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts a proxy at `listen` for the server at `to`.
    pub(crate) fn start(
        listen: SocketAddr,
        to: SocketAddr,
        seed: u64,
        rules: &Rules,
    ) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the proxy's runtime")?;
        let listener = runtime
            .block_on(async { bind(listen) })
            .with_context(|| format!("the proxy cannot listen at {listen}"))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let (rules, for_thread) = (rules.clone(), shared.clone());
        let thread = std::thread::Builder::new()
            .name("proxy".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        // It does not matter whether the thread was told or its owner is gone.
                        _ = stopped => {}
                        () = accept(listener, to, seed, &rules, &for_thread) => {}
                    }
                });
            })
            .context("cannot start the proxy's thread")?;
        Ok(Self {
            address,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub(crate) fn calm_down(&self) {
        self.shared.calm.store(true, Ordering::Relaxed);
    }

    pub(crate) fn happened(&self) -> Happened {
        self.shared.happened().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed when it happened.
            let _ = thread.join();
        }
    }
}

/// A listener whose connections have small buffers.
fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = small_socket(address)?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn small_socket(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    Ok(socket)
}

async fn accept(listener: TcpListener, to: SocketAddr, seed: u64, rules: &Rules, shared: &Arc<Shared>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut number = 0;
    // The semaphore is never closed.
    while let Ok(place) = places.clone().acquire_owned().await {
        let accepted = listener.accept().await;
        let Ok(client) = accepted.and_then(|(client, _)| client.set_nodelay(true).map(|()| client)) else {
            tokio::time::sleep(ACCEPT_AGAIN).await;
            continue;
        };
        let down = Plan::new(seed, number, Direction::Down, rules);
        let up = Plan::new(seed, number, Direction::Up, rules);
        number += 1;
        let shared = shared.clone();
        tokio::spawn(async move {
            shared.happened().connections += 1;
            match reach(to).await {
                Ok(server) => pipe::connect(client, server, down, up, &shared).await,
                // The client's connection ends, as behind a load balancer without a server.
                Err(_) => shared.happened().unreachable += 1,
            }
            drop(place);
        });
    }
}

async fn reach(to: SocketAddr) -> std::io::Result<TcpStream> {
    let connecting = async {
        let stream = small_socket(to)?.connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    tokio::time::timeout(CONNECT_WITHIN, connecting)
        .await
        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

/// Runs a proxy until a signal asks for its end.
pub(crate) fn run(args: &ProxyArgs, interrupt: &Interrupt) -> anyhow::Result<bool> {
    let proxy = Proxy::start(args.listen, args.to, args.seed, &args.rules)?;
    say(&format!("{}\n", json!({ "listen": proxy.address })))?;
    while interrupt.check().is_ok() {
        std::thread::sleep(LOOK_EVERY);
    }
    say(&format!("{}\n", serde_json::to_string(&proxy.happened())?))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::*;

    /// What a client reads until its connection through a proxy ends, if the server writes `bytes` bytes and closes.
    fn read_through(rules: &Rules, bytes: usize) -> (Vec<u8>, Happened) {
        let server = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let to = server.local_addr().expect("a port");
        let writes = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().expect("the proxy connects");
            let sent: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
            // The proxy may cut the connection.
            let _ = stream
                .write_all(&sent)
                .and_then(|()| stream.shutdown(Shutdown::Write));
            let _ = stream.read(&mut [0]);
        });
        let proxy =
            Proxy::start("127.0.0.1:0".parse().expect("an address"), to, 1, rules).expect("it starts");
        let mut client = TcpStream::connect(proxy.address).expect("it listens");
        client
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("a timeout");
        let mut got = Vec::new();
        match client.read_to_end(&mut got) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
        drop(client);
        writes.join().expect("the server's thread");
        (got, proxy.happened())
    }

    fn rules(faults: &[Fault], every_bytes: u64) -> Rules {
        Rules {
            faults: faults.to_vec(),
            every_bytes,
            every_bytes_up: 1 << 30,
            pause_ms: 5,
        }
    }

    #[test]
    fn bytes_come_through_unharmed_by_faults_that_end_nothing() {
        let all: Vec<u8> = (0..300_000).map(|at| at as u8).collect();
        let harmless = [Fault::Stall, Fault::Trickle, Fault::Delay];
        for (faults, every_bytes, least) in [(&harmless[..], 30_000, 5), (&[], 1, 0)] {
            let (got, happened) = read_through(&rules(faults, every_bytes), all.len());
            assert!(got == all, "{} bytes of {}", got.len(), all.len());
            assert!(happened.faults.values().sum::<u64>() >= least, "{happened:?}");
            assert_eq!((happened.connections, happened.unreachable), (1, 0));
        }
    }

    #[test]
    fn a_cut_comes_at_its_byte() {
        for fault in [Fault::Close, Fault::HalfClose] {
            let rules = rules(&[fault], 50_000);
            let mut plan = Plan::new(1, 0, Direction::Down, &rules);
            let at = plan.room(usize::MAX);
            let (got, happened) = read_through(&rules, 300_000);
            assert_eq!(got.len(), at, "{fault:?}");
            assert_eq!(happened.faults, [(fault, 1)].into());
        }
        let (got, happened) = read_through(&rules(&[Fault::Reset], 50_000), 300_000);
        assert!(got.len() <= 100_000, "what was under way may be lost");
        assert_eq!(happened.faults, [(Fault::Reset, 1)].into());
    }
}
