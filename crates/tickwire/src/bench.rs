//! `tickwire bench`: a small load, and how much of it arrived how late.
//!
//! Everything runs on one thread of this process, with the client library that programs use. The publisher puts the time of this
//! process's own clock into each message, so no clocks are compared. A delay reaches from the moment at which a message was handed to
//! the client to the moment at which a subscriber got it from its own.
//!
//! Bounded: the messages that are under way, and the time that is waited for the last of them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;
use serde_json::json;
use tickwire_client::{Client, Event, Events, Publishing, Subscription};
use tickwire_wire::{Control, Mode, Payload, ServerMessage};
use tokio::task::LocalSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::cli::BenchArgs;
use crate::console::{self, say};
use crate::failure::Failure;
use crate::http;

/// Most messages whose acks have not come.
const WINDOW: usize = 256;
/// The longest delay that is told exactly, in microseconds: an hour.
const DELAY_US_MAX: u64 = 3_600_000_000;
/// Time for which nothing may arrive at the end before the rest counts as missing.
const QUIET: Duration = Duration::from_secs(5);

/// The data of a message.
#[derive(Deserialize)]
struct Sent {
    /// When it was handed to the client, in microseconds since the start.
    sent_us: u64,
}

/// What the subscribers got.
#[derive(Debug)]
struct Got {
    begun: Instant,
    delays_us: Histogram<u64>,
    /// Messages that the broker said will not come.
    gapped: u64,
    lost_connections: u64,
}

/// What the publisher did.
#[derive(Debug, Default)]
struct Published {
    acked: u64,
    failed: u64,
    /// How far the publisher was behind its rate at most.
    late: Duration,
}

/// Measures, and prints the outcome.
pub(crate) fn run(args: &BenchArgs) -> Result<(), Failure> {
    http::run(LocalSet::new().run_until(measure(args)))
}

async fn measure(args: &BenchArgs) -> Result<(), Failure> {
    if args.connection.broker.url.len() > 1 {
        return Err(Failure::usage(anyhow!("bench measures one broker: name one URL")));
    }
    let got = Rc::new(RefCell::new(Got {
        begun: Instant::now(),
        delays_us: Histogram::new_with_bounds(1, DELAY_US_MAX, 3).context("these are good bounds")?,
        gapped: 0,
        lost_connections: 0,
    }));
    let builder = args.connection.client()?;
    let mut subscribers = Vec::new();
    for _ in 0..args.subscribers {
        let (client, events) = builder.clone().connect().await?;
        let subscription = Subscription::to([args.topic.as_str()])
            .mode(Mode::Every)
            .snapshot(false);
        if let Some(refusal) = client
            .subscribe(subscription)
            .await?
            .into_iter()
            .find_map(|result| result.error)
        {
            return Err(anyhow!("{}: {refusal}", args.topic).into());
        }
        tokio::task::spawn_local(receive(events, got.clone()));
        subscribers.push(client);
    }
    let (publisher, _events) = builder.connect().await?;
    let used = cpu();
    let begun = Instant::now();
    let published = publish(&publisher, args, &got).await?;
    wait(&got, published.acked * args.subscribers).await;
    let share = cpu().saturating_sub(used).as_secs_f64() / begun.elapsed().as_secs_f64().max(0.001);
    let (text, is_whole) = Outcome {
        args,
        published,
        got: &got.borrow(),
        share,
    }
    .told();
    console::print(text.as_bytes())?;
    for client in subscribers.iter().chain([&publisher]) {
        client.close().await;
    }
    if is_whole { Ok(()) } else { Err(Failure::Reported) }
}

/// Counts what a subscriber gets, until its client ends.
async fn receive(mut events: Events, got: Rc<RefCell<Got>>) {
    while let Some(event) = events.next().await {
        let mut got = got.borrow_mut();
        match event {
            Event::Message(ServerMessage::Update { data, .. }) => {
                // Others may publish to the topic, too.
                if let Ok(Sent { sent_us }) = serde_json::from_str(data.get()) {
                    let now_us = us(got.begun.elapsed());
                    got.delays_us.saturating_record(now_us.saturating_sub(sent_us));
                }
            }
            Event::Message(ServerMessage::Control(Control::Gap { from, to, .. })) => {
                got.gapped += to.0.saturating_sub(from.0) + 1;
            }
            Event::Disconnected { .. } => got.lost_connections += 1,
            _ => {}
        }
    }
}

/// Publishes at the rate, and awaits every ack.
async fn publish(client: &Client, args: &BenchArgs, got: &RefCell<Got>) -> Result<Published, Failure> {
    let mut published = Published::default();
    let begun = got.borrow().begun;
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(args.rate)?);
    // A publisher that was held up sends what it owes, so that the rate is kept on average.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut window: VecDeque<Publishing> = VecDeque::with_capacity(WINDOW);
    let mut left = args.rate * args.seconds;
    let padding = "x".repeat(usize::try_from(args.bytes)?);
    while left > 0 || !window.is_empty() {
        tokio::select! {
            due = ticks.tick(), if left > 0 && window.len() < WINDOW => {
                left -= 1;
                published.late = published.late.max(due.elapsed());
                let data = data(us(begun.elapsed()), &padding);
                let payload = Payload::from_json(data.as_bytes())?;
                window.push_back(client.begin_publish(args.topic.as_str(), payload).await?);
            }
            acked = first_ack(&mut window) => {
                window.pop_front();
                match acked {
                    Ok(()) => published.acked += 1,
                    Err(error) => {
                        if published.failed == 0 {
                            say(format_args!("{}: {error}", args.topic));
                        }
                        published.failed += 1;
                        // What is refused once is refused again, and refusals in a row are abuse.
                        left = 0;
                    }
                }
            }
        }
    }
    Ok(published)
}

/// The data of a message that was handed over at `sent_us`, as long as `padding`.
fn data(sent_us: u64, padding: &str) -> String {
    let mut data = format!(r#"{{"sent_us":{sent_us},"pad":""#);
    let room = padding.len().saturating_sub(data.len() + 2);
    data += &padding[..room];
    data += "\"}";
    data
}

/// Waits for the ack of the oldest message under way. If there is none, it waits forever.
async fn first_ack(window: &mut VecDeque<Publishing>) -> Result<(), tickwire_client::RequestError> {
    match window.front_mut() {
        Some(publishing) => publishing.ack().await.map(drop),
        None => std::future::pending().await,
    }
}

/// Waits until `expected` messages have come, or nothing has come for a while.
async fn wait(got: &RefCell<Got>, expected: u64) {
    let count = || {
        let got = got.borrow();
        got.delays_us.len() + got.gapped
    };
    let (mut last, mut since) = (count(), Instant::now());
    while last < expected && since.elapsed() < QUIET {
        // Time passes for the other tasks of this thread.
        let _elapsed = timeout(Duration::from_millis(10), std::future::pending::<()>()).await;
        if count() > last {
            (last, since) = (count(), Instant::now());
        }
    }
}

/// The time that this process has computed.
fn cpu() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(used.tv_sec).unwrap_or(0),
        u32::try_from(used.tv_nsec).unwrap_or(0),
    )
}

fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// What is told at the end.
struct Outcome<'b> {
    args: &'b BenchArgs,
    published: Published,
    got: &'b Got,
    /// The share of a core that this process used.
    share: f64,
}

impl Outcome<'_> {
    /// The messages that should have come and did not.
    fn missing(&self) -> u64 {
        (self.published.acked * self.args.subscribers).saturating_sub(self.got.delays_us.len())
    }

    /// The outcome as text, and whether everything arrived.
    fn told(&self) -> (String, bool) {
        let text = if self.args.json { self.json() } else { self.human() };
        (text, self.missing() == 0 && self.published.failed == 0)
    }

    fn json(&self) -> String {
        let (args, got) = (self.args, self.got);
        let at = |quantile| got.delays_us.value_at_quantile(quantile);
        let outcome = json!({
            "subscribers": args.subscribers,
            "published": self.published.acked,
            "failed": self.published.failed,
            "deliveries": got.delays_us.len(),
            "missing": self.missing(),
            "lost_connections": got.lost_connections,
            "delay_us": {"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "max": got.delays_us.max()},
            "publisher_late_us": us(self.published.late),
            "own_cpu_share": (self.share * 100.0).round() / 100.0,
        });
        format!("{outcome}\n")
    }

    fn human(&self) -> String {
        let (args, got) = (self.args, self.got);
        let at = |quantile| got.delays_us.value_at_quantile(quantile);
        let ms = |us: u64| us as f64 / 1e3;
        let mut text = format!(
            "{} subscribers, {} messages of {} bytes: {} deliveries, {} missing\n",
            args.subscribers,
            self.published.acked,
            args.bytes,
            got.delays_us.len(),
            self.missing()
        );
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "delay in ms: median {:.1}, 90% {:.1}, 99% {:.1}, 99.9% {:.1}, longest {:.1}",
            ms(at(0.5)),
            ms(at(0.9)),
            ms(at(0.99)),
            ms(at(0.999)),
            ms(got.delays_us.max())
        );
        let _ = writeln!(
            text,
            "published at most {:.1} ms late; this process used {:.0}% of a core",
            ms(us(self.published.late)),
            self.share * 100.0
        );
        if self.share > 0.8 {
            text += "the delays are those of this process, which had too much to do: ask for less\n";
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_has_the_length_that_was_asked_for() {
        for bytes in [40, 41, 100, 60_000] {
            let data = data(u64::MAX / 1_000_000, &"x".repeat(bytes));
            assert_eq!(data.len(), bytes, "{data}");
            assert!(serde_json::from_str::<Sent>(&data).is_ok(), "{data}");
        }
    }
}
