//! `tickwire top`: the hottest topics and the slowest readers, from the operators' listener, again and again.
//!
//! The broker tells how many updates it has handed out of each topic since its start. What is shown is their growth between two
//! looks, so the first screen comes after the second look. Only the topics with the most updates since the start are asked for.

mod screen;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use serde::Deserialize;
use tickwire_client::{Client, ClientBuilder};

use self::screen::{Keys, Screen};
use crate::cli::TopArgs;
use crate::colour::{Colour, Painter};
use crate::console;
use crate::failure::Failure;
use crate::http;
use crate::signals::Signals;

/// Topics that are asked for, the most that the broker gives.
const TOPICS: usize = 1_000;

#[derive(Debug, Deserialize)]
struct Topics {
    topics: u64,
    hottest: Vec<Topic>,
}

#[derive(Debug, Deserialize)]
struct Topic {
    topic: String,
    kind: String,
    updates: u64,
    subscribers: u64,
    seq: u64,
    stale: bool,
}

#[derive(Debug, Deserialize)]
struct Sessions {
    sessions: u64,
    lagging: u64,
    slowest: Vec<Session>,
}

#[derive(Debug, Deserialize)]
struct Session {
    session: String,
    peer: Option<String>,
    codec: String,
    transport: String,
    owed_messages: u64,
    waiting_bytes: u64,
    subscriptions: u64,
    subscriptions_behind: u64,
    oldest_owed_us: u64,
    lagging_since: Option<u64>,
}

/// What the broker said at one moment.
#[derive(Debug)]
struct Look {
    at: Instant,
    topics: Topics,
    sessions: Sessions,
}

/// Draws until the user, a signal or `--count` ends it.
pub(crate) fn run(args: &TopArgs) -> Result<(), Failure> {
    http::run(watch(args))
}

async fn watch(args: &TopArgs) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let broker = Client::builder(&args.ops);
    let mut before = look(&broker, args.rows).await?;
    // The first look may fail, and a message about it belongs on the user's own screen.
    let is_screen = io::stdout().is_terminal() && args.count.is_none();
    let mut screen = is_screen.then(Screen::open).transpose()?;
    let mut keys = is_screen.then(Keys::listen);
    let paint = Painter::of_stdout();
    let count = args.count.or((!is_screen).then_some(1));
    let mut shown = 0;
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(args.interval)) => {}
            () = ended(keys.as_mut()) => return Ok(()),
            _ = signals.next() => return Ok(()),
        }
        let now = look(&broker, args.rows).await?;
        let text = text(args, &before, &now, paint);
        match &mut screen {
            Some(screen) => screen.draw(&text)?,
            None => console::print(text.as_bytes())?,
        }
        shown += 1;
        if count == Some(shown) {
            return Ok(());
        }
        before = now;
    }
}

/// Waits until the user ends it by a key.
async fn ended(keys: Option<&mut Keys>) {
    match keys {
        Some(keys) => keys.quit().await,
        None => std::future::pending().await,
    }
}

async fn look(broker: &ClientBuilder, rows: u64) -> Result<Look, Failure> {
    let missing = || anyhow!("this is no operators' listener: it has no /debug pages; name it with --ops");
    let topics = http::get(broker, &format!("/debug/topics?top={TOPICS}")).await?;
    let sessions = http::get(broker, &format!("/debug/sessions?top={rows}")).await?;
    Ok(Look {
        at: Instant::now(),
        topics: topics.ok_or_else(missing)?,
        sessions: sessions.ok_or_else(missing)?,
    })
}

/// What is shown about two looks.
fn text(args: &TopArgs, before: &Look, now: &Look, paint: Painter) -> String {
    let seconds = now.at.duration_since(before.at).as_secs_f64().max(0.001);
    let earlier: HashMap<&str, u64> = before
        .topics
        .hottest
        .iter()
        .map(|topic| (topic.topic.as_str(), topic.updates))
        .collect();
    let grown = |topic: &Topic| match earlier.get(topic.topic.as_str()) {
        // A broker that began anew counts from 0 again.
        Some(earlier) => topic.updates.checked_sub(*earlier).unwrap_or(topic.updates),
        None => topic.updates,
    };
    let mut topics: Vec<(u64, &Topic)> = now
        .topics
        .hottest
        .iter()
        .map(|topic| (grown(topic), topic))
        .collect();
    topics.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.topic.cmp(&other.1.topic)));
    let per_s = |updates: u64| updates as f64 / seconds;
    let sum: u64 = topics.iter().map(|(updates, _)| updates).sum();
    let (sessions, lagging) = (&now.sessions, now.sessions.lagging);
    let colour = if lagging > 0 { Colour::Red } else { Colour::Green };
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{} topics, {} sessions, {}, {:.0} updates/s\n",
        now.topics.topics,
        sessions.sessions,
        paint.with(colour, format!("{lagging} lagging")),
        per_s(sum)
    );
    let head = "   updates/s  subscribers          seq  kind   topic";
    let _ = writeln!(text, "{}", paint.with(Colour::Bold, head));
    if topics.is_empty() {
        let _ = writeln!(
            text,
            "{}",
            paint.with(Colour::Dim, "no update was handed out yet")
        );
    }
    for (updates, topic) in topics
        .iter()
        .take(usize::try_from(args.rows).unwrap_or(usize::MAX))
    {
        let stale = if topic.stale { " stale" } else { "" };
        let _ = writeln!(
            text,
            "{:>12.1} {:>12} {:>12}  {:5}  {}{}",
            per_s(*updates),
            topic.subscribers,
            topic.seq,
            topic.kind,
            paint.with(Colour::Cyan, &topic.topic),
            paint.with(Colour::Yellow, stale)
        );
    }
    let head = "\n        owed      waiting      behind    oldest  session      client";
    let _ = writeln!(text, "{}", paint.with(Colour::Bold, head));
    if sessions.slowest.is_empty() {
        let _ = writeln!(text, "{}", paint.with(Colour::Dim, "no session is owed anything"));
    }
    for session in &sessions.slowest {
        let _ = writeln!(text, "{}", reader(session, paint));
    }
    text
}

/// The line of a slow reader.
fn reader(session: &Session, paint: Painter) -> String {
    let name = match session.lagging_since {
        Some(_) => paint.with(Colour::Red, format!("{:11}", session.session)),
        None => paint.with(Colour::Dim, format!("{:11}", session.session)),
    };
    format!(
        "{:>12} {:>10} B {:>5}/{:<5} {:>7.1} s  {name}  {} {}, {}",
        session.owed_messages,
        session.waiting_bytes,
        session.subscriptions_behind,
        session.subscriptions,
        session.oldest_owed_us as f64 / 1e6,
        session.peer.as_deref().unwrap_or("-"),
        session.transport,
        session.codec
    )
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn at(updates: &[(&str, u64)], begun: Instant, after_s: u64) -> Look {
        let topic = |(name, updates): &(&str, u64)| Topic {
            topic: (*name).to_owned(),
            kind: "state".to_owned(),
            updates: *updates,
            subscribers: 3,
            seq: 57,
            stale: *name == "b",
        };
        let session = Session {
            session: "1-2f07".to_owned(),
            peer: Some("203.0.113.9:51234".to_owned()),
            codec: "json".to_owned(),
            transport: "websocket".to_owned(),
            owed_messages: 48_211,
            waiting_bytes: 1_380,
            subscriptions: 24,
            subscriptions_behind: 23,
            oldest_owed_us: 9_417_002,
            lagging_since: Some(1),
        };
        Look {
            at: begun + Duration::from_secs(after_s),
            topics: Topics {
                topics: 420,
                hottest: updates.iter().map(topic).collect(),
            },
            sessions: Sessions {
                sessions: 12,
                lagging: 1,
                slowest: vec![session],
            },
        }
    }

    #[test]
    fn the_hottest_are_those_that_grew_most() {
        let begun = Instant::now();
        let args = TopArgs {
            ops: String::new(),
            interval: 1,
            count: None,
            rows: 2,
        };
        let before = at(&[("a", 1_000), ("b", 100), ("c", 5)], begun, 0);
        let now = at(&[("a", 1_010), ("b", 300), ("c", 5)], begun, 2);
        expect![[r#"
            420 topics, 12 sessions, 1 lagging, 105 updates/s

               updates/s  subscribers          seq  kind   topic
                   100.0            3           57  state  b stale
                     5.0            3           57  state  a

                    owed      waiting      behind    oldest  session      client
                   48211       1380 B    23/24        9.4 s  1-2f07       203.0.113.9:51234 websocket, json
        "#]]
        .assert_eq(&text(&args, &before, &now, Painter::PLAIN));
    }
}
