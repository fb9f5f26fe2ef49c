//! `tickwire cluster`: what the nodes of a cluster do, who numbers the messages, and how far each is.

use anyhow::{Context as _, anyhow};
use serde::{Deserialize, Serialize};
use tickwire_client::Client;

use crate::cli::{ClusterArgs, ClusterFormat};
use crate::console;
use crate::failure::Failure;
use crate::http;

/// What a broker says.
#[derive(Debug, Deserialize, Serialize)]
struct NodeAnswer {
    cluster: String,
    node: String,
    nats: String,
    connected: bool,
    lanes: Vec<LaneAnswer>,
}

#[derive(Debug, Deserialize, Serialize)]
struct LaneAnswer {
    lane: String,
    state: String,
    ready: bool,
    writer: Option<String>,
    term: u32,
    epoch: String,
    position: u64,
    end: u64,
    lag_entries: u64,
    unsettled: u64,
    unsettled_bytes: u64,
}

/// Asks all nodes.
pub(crate) fn run(args: &ClusterArgs) -> Result<(), Failure> {
    http::run(async {
        if args.format == ClusterFormat::Text {
            let head = format!(
                "{:<28} {:<16} {:<11} {:<16} {:>6} {:<14} {:>12} {:>8} {:>9}\n",
                "broker", "node", "state", "writer", "term", "epoch", "position", "behind", "unsettled"
            );
            console::print(head.as_bytes())?;
        }
        let mut all_ready = true;
        for url in &args.nodes {
            match ask(url).await {
                Ok(node) => {
                    all_ready &= node.lanes.iter().all(|lane| lane.ready && lane.writer.is_some());
                    tell(url, &node, args.format)?;
                }
                Err(failure) => {
                    all_ready = false;
                    console::say(format_args!("{url}: {}", failure.text()));
                }
            }
        }
        if all_ready { Ok(()) } else { Err(Failure::Reported) }
    })
}

async fn ask(url: &str) -> Result<NodeAnswer, Failure> {
    let broker = Client::builder(url);
    let node = http::get(&broker, "/debug/cluster").await?;
    node.ok_or_else(|| anyhow!("the broker is alone: its settings have no cluster.nats").into())
}

fn tell(url: &str, node: &NodeAnswer, format: ClusterFormat) -> Result<(), Failure> {
    if format == ClusterFormat::Json {
        let line = serde_json::to_string(node).context("an answer has no other form")?;
        return Ok(console::print(format!("{line}\n").as_bytes())?);
    }
    // The client's form of an address is that of WebSocket.
    let url = url.replacen("ws", "http", 1);
    for lane in &node.lanes {
        let line = format!(
            "{url:<28} {:<16} {:<11} {:<16} {:>6} {:<14} {:>12} {:>8} {:>9}\n",
            node.node,
            lane.state,
            lane.writer.as_deref().unwrap_or("-"),
            lane.term,
            lane.epoch,
            lane.position,
            lane.lag_entries,
            lane.unsettled
        );
        console::print(line.as_bytes())?;
    }
    Ok(())
}
