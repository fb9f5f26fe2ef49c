//! One connection through the proxy: two directions, each copied through one small buffer, with the faults of its plan.
//!
//! At most [`PIECE_BYTES`] are held in a direction. A sender of more has to wait, as on a slow network. A connection
//! ends when both directions have ended, at a fault that ends it, or [`OTHER_HALF_WITHIN`] after its first direction
//! ended.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::{sleep, timeout};

use super::Shared;
use super::plan::{Fault, Plan};

/// Most bytes that are held in one direction.
const PIECE_BYTES: usize = 16 * 1024;
/// The time between two pieces of a few bytes.
const TRICKLE_EVERY: Duration = Duration::from_millis(1);
/// How long the other direction goes on after one has ended.
const OTHER_HALF_WITHIN: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Its sender has no more, or a fault closed it. The other direction may go on.
    Half,
    Close,
    Reset,
}

/// Passes bytes between `client` and `server` until both have ended or a fault ends the connection.
pub(super) async fn connect(
    mut client: TcpStream,
    mut server: TcpStream,
    mut down: Plan,
    mut up: Plan,
    shared: &Shared,
) {
    let end = {
        let (client_read, client_write) = client.split();
        let (server_read, server_write) = server.split();
        let down = pass(server_read, client_write, &mut down, shared);
        let up = pass(client_read, server_write, &mut up, shared);
        tokio::pin!(down, up);
        // The future of a direction that has ended must not be polled again.
        let (first, is_down) = tokio::select! {
            end = &mut down => (end, true),
            end = &mut up => (end, false),
        };
        match first {
            End::Half if is_down => timeout(OTHER_HALF_WITHIN, up).await.unwrap_or(End::Close),
            End::Half => timeout(OTHER_HALF_WITHIN, down).await.unwrap_or(End::Close),
            whole => whole,
        }
    };
    if end == End::Reset {
        for stream in [&client, &server] {
            // RFC 9293 §3.9.1.6 ABORT: closing without lingering sends RST. A socket that has already gone needs none.
            let _ = stream.set_zero_linger();
        }
    }
}

async fn pass(from: ReadHalf<'_>, to: WriteHalf<'_>, plan: &mut Plan, shared: &Shared) -> End {
    // If either side is gone, both end: the rest of the connection is of no use to the other.
    copy(from, to, plan, shared).await.unwrap_or(End::Reset)
}

async fn copy(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    plan: &mut Plan,
    shared: &Shared,
) -> io::Result<End> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut trickles = false;
    loop {
        let calm = shared.calm.load(Ordering::Relaxed);
        let room = if calm { PIECE_BYTES } else { plan.room(PIECE_BYTES) };
        let count = from.read(&mut piece[..room]).await?;
        if count == 0 {
            to.shutdown().await?;
            return Ok(End::Half);
        }
        if !calm && let Some(late) = plan.lateness() {
            sleep(late).await;
        }
        to.write_all(&piece[..count]).await?;
        if calm {
            continue;
        }
        if trickles {
            sleep(TRICKLE_EVERY).await;
        }
        let strike = plan.passed(count);
        trickles = plan.trickle > 0;
        let Some((fault, pause)) = strike else { continue };
        *shared.happened().faults.entry(fault).or_default() += 1;
        match fault {
            Fault::Stall => sleep(pause).await,
            Fault::Trickle | Fault::Delay => {}
            Fault::Reset => return Ok(End::Reset),
            Fault::Close => return Ok(End::Close),
            Fault::HalfClose => {
                to.shutdown().await?;
                return Ok(End::Half);
            }
        }
    }
}
