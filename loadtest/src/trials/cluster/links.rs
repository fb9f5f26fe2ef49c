//! The way of one broker to NATS, which can be cut: nothing goes through, and no connection ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// The time between two looks at whether a cut way is whole again.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A way to NATS.
#[derive(Debug, Clone)]
pub(super) struct Way {
    pub(super) address: SocketAddr,
    /// Whether nothing goes to NATS, and nothing comes from it.
    cut: [Arc<AtomicBool>; 2],
}

impl Way {
    /// Opens a way to the server at `to`.
    pub(super) async fn open(to: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let way = Self {
            address: listener.local_addr()?,
            cut: Default::default(),
        };
        let cut = way.cut.clone();
        tokio::spawn(async move {
            while let Ok((inner, _)) = listener.accept().await {
                let cut = cut.clone();
                tokio::spawn(async move {
                    // Without the server the connection ends at once, as it would without a way.
                    if let Ok(outer) = TcpStream::connect(to).await {
                        let ((read, write), (from, onto)) = (inner.into_split(), outer.into_split());
                        let [out, back] = cut;
                        tokio::join!(carry(read, onto, out), carry(from, write, back));
                    }
                });
            }
        });
        Ok(way)
    }

    /// Cuts the way to NATS, or from it, or makes it whole.
    pub(super) fn cut(&self, to: bool, from: bool) {
        self.cut[0].store(to, Ordering::Relaxed);
        self.cut[1].store(from, Ordering::Relaxed);
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, is_cut: Arc<AtomicBool>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        while is_cut.load(Ordering::Relaxed) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
