//! `tickwire topics`: lists topics over HTTP, a page at a time.

use std::fmt::Write as _;

use anyhow::anyhow;
use serde::Deserialize;
use serde_json::Value;
use tickwire_client::ClientBuilder;
use tickwire_wire::{Epoch, Kind, Pattern};

use crate::cli::{ListFormat, TopicsArgs};
use crate::console;
use crate::failure::Failure;
use crate::http;

/// A page of the list.
#[derive(Deserialize)]
struct Listing {
    topics: Vec<Value>,
    next: Option<String>,
}

/// A topic as people see it.
#[derive(Deserialize)]
struct Listed {
    topic: String,
    kind: String,
    seq: u64,
    subscribers: u64,
}

/// What a recording needs to know of a topic.
#[derive(Deserialize)]
pub(crate) struct Described {
    pub(crate) topic: String,
    pub(crate) kind: Kind,
    pub(crate) epoch: Epoch,
}

/// Calls `visit` with each topic that matches `pattern`.
pub(crate) async fn each(
    broker: &ClientBuilder,
    pattern: &Pattern,
    mut visit: impl FnMut(Described),
) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let page = page(broker, pattern, after.as_deref()).await?;
        for topic in page.topics {
            visit(Described::deserialize(topic)?);
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Prints the list.
pub(crate) fn run(args: &TopicsArgs) -> Result<(), Failure> {
    http::run(async {
        let broker = args.broker.client()?;
        list(&broker, args).await
    })
}

async fn list(broker: &ClientBuilder, args: &TopicsArgs) -> Result<(), Failure> {
    let mut count = 0;
    let mut after = None;
    loop {
        let page = page(broker, &args.pattern, after.as_deref()).await?;
        let mut text = String::new();
        if args.format == ListFormat::Human && count == 0 && !page.topics.is_empty() {
            text += "kind          seq  subscribers  topic\n";
        }
        count += page.topics.len();
        for topic in page.topics {
            append(&mut text, topic, args.format)?;
        }
        console::print(text.as_bytes())?;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    match count {
        0 => Err(anyhow!("{}: no topic matches it", args.pattern).into()),
        _ => Ok(()),
    }
}

/// Appends the line of a topic.
fn append(text: &mut String, topic: Value, format: ListFormat) -> Result<(), Failure> {
    // Writing to a string cannot fail.
    let _ = match format {
        ListFormat::Json => writeln!(text, "{topic}"),
        ListFormat::Names => writeln!(text, "{}", Listed::deserialize(topic)?.topic),
        ListFormat::Human => {
            let listed = Listed::deserialize(topic)?;
            writeln!(
                text,
                "{:5} {:>11} {:>12}  {}",
                listed.kind, listed.seq, listed.subscribers, listed.topic
            )
        }
    };
    Ok(())
}

/// A page of the topics that match `pattern`.
async fn page(broker: &ClientBuilder, pattern: &Pattern, after: Option<&str>) -> Result<Listing, Failure> {
    // `>` is the only character of a pattern that a query may not contain (RFC 3986 §3.4).
    let pattern = pattern.as_str().replace('>', "%3E");
    let after = after.map_or_else(String::new, |after| format!("&after={after}"));
    let target = format!("/v1/topics?match={pattern}{after}");
    let page = http::get(broker, &target).await?;
    page.ok_or_else(|| anyhow!("the broker has no list of topics").into())
}
