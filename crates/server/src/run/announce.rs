//! The lines that a starting broker writes to its log.

use std::net::SocketAddr;

use tickwire_router::{ViewRule, held_message_bytes};

use crate::VERSION;
use crate::config::{Config, FeedSource};

/// The resources and access rules that the log lines name.
pub(crate) struct Room {
    pub(crate) shards: usize,
    pub(crate) connections_max: usize,
    pub(crate) egress: &'static str,
    /// The rights of clients without a token, as text.
    pub(crate) access: String,
}

/// Writes the lines that a starting broker writes to its log: where it listens, what it feeds, how much room there is.
pub(crate) fn announce(config: &Config, listen: SocketAddr, ops: SocketAddr, room: &Room) {
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
    let scheme = if config.tls.is_some() { "wss" } else { "ws" };
    tracing::info!(
        url = %format!("{scheme}://{listen}/v1/ws"),
        console = %format!("http://{ops}/"),
        metrics = %format!("http://{ops}/metrics"),
        feed,
        shards = room.shards,
        connections_max = room.connections_max,
        egress = room.egress,
        "tickwire {VERSION} is ready; {}",
        room.access,
    );
    for view in &config.views {
        announce_view(view);
    }
    config.test.warn();
}

/// The length of the messages that the room of a view is told for, in bytes.
const USUAL_MESSAGE_BYTES: usize = 200;

/// Writes how much a view holds, and for which rate that is enough.
fn announce_view(view: &ViewRule) {
    let messages = view.bytes_max / held_message_bytes(USUAL_MESSAGE_BYTES);
    let per_s = messages as u64 * 1_000 / view.delay_ms;
    tracing::info!(
        pattern = %view.pattern,
        prefix = %view.prefix,
        delay_ms = view.delay_ms,
        bytes_max = view.bytes_max,
        messages,
        per_s,
        "a view copies topics later; it has room for so many messages of {USUAL_MESSAGE_BYTES} bytes, so many a second",
    );
}
