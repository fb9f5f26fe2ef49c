//! `tickwire history`: prints the messages that a topic's history holds, read over HTTP a page at a time.

use anyhow::anyhow;
use serde::Deserialize;
use serde_json::value::RawValue;
use tickwire_client::ClientBuilder;
use tickwire_wire::{Epoch, Seq};

use crate::cli::{HistoryArgs, Since};
use crate::console::{self, say};
use crate::failure::Failure;
use crate::get::line;
use crate::{http, sub};

/// Most messages of a page, the most that a broker gives.
const PAGE: u64 = 1_024;

#[derive(Deserialize)]
struct Page {
    epoch: Epoch,
    oldest: Seq,
    newest: Seq,
    messages: Vec<Box<RawValue>>,
}

/// The number of a message.
#[derive(Deserialize)]
struct Numbered {
    seq: Seq,
}

/// Prints the history.
pub(crate) fn run(args: &HistoryArgs) -> Result<(), Failure> {
    http::run(async {
        let broker = args.broker.client()?;
        print(&broker, args).await
    })
}

async fn print(broker: &ClientBuilder, args: &HistoryArgs) -> Result<(), Failure> {
    let Some(first) = page(broker, args, Seq::ZERO, 1).await? else {
        sub::tell_missing(broker.clone(), vec![args.topic.to_string()]).await;
        return Err(Failure::Reported);
    };
    let mut after = begin(args, &first)?;
    let epoch = first.epoch;
    let mut left = args.count.unwrap_or(u64::MAX);
    if after.next() < first.oldest && (args.since.is_some() || args.last.is_some()) {
        let (from, to) = (after.next(), first.oldest.0 - 1);
        say(format_args!(
            "{}: the history no longer has {from} to {to}",
            args.topic
        ));
    }
    while left > 0 {
        let Some(page) = page(broker, args, after, left.min(PAGE)).await? else {
            break;
        };
        if page.epoch != epoch {
            return Err(anyhow!(
                "{}: its lineage changed from {epoch} to {}",
                args.topic,
                page.epoch
            )
            .into());
        }
        let Some(last) = page.messages.last() else {
            break;
        };
        after = serde_json::from_str::<Numbered>(last.get())?.seq;
        left -= page.messages.len() as u64;
        let lines = page.messages.iter().map(|message| line(message, args.data));
        console::print(lines.collect::<Result<String, Failure>>()?.as_bytes())?;
        if after >= page.newest {
            break;
        }
    }
    Ok(())
}

/// The number after which the history is printed.
fn begin(args: &HistoryArgs, first: &Page) -> Result<Seq, Failure> {
    match (&args.since, args.last) {
        (Some(Since::Seq(seq)), _) => Ok(*seq),
        (Some(Since::Position(position)), _) if position.epoch == first.epoch => Ok(position.seq),
        (Some(Since::Position(position)), _) => Err(anyhow!(
            "{}: its lineage is {} and not {}",
            args.topic,
            first.epoch,
            position.epoch
        )
        .into()),
        (None, Some(last)) => Ok(Seq(first.newest.0.saturating_sub(last))),
        (None, None) => Ok(Seq::ZERO),
    }
}

async fn page(
    broker: &ClientBuilder,
    args: &HistoryArgs,
    since: Seq,
    limit: u64,
) -> Result<Option<Page>, Failure> {
    let target = format!("/v1/topics/{}/history?since={since}&limit={limit}", args.topic);
    http::get(broker, &target).await
}
