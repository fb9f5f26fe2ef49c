//! `tickwire sub`: prints what is published to topics, one JSON message per line.
//!
//! Lines are gathered and written when nothing more is waiting. So a quiet topic shows at once, and a busy one costs no
//! system call per line. If nobody reads the output, the printing stops and then the receiving; nothing is dropped
//! here.

mod missing;
mod output;
mod pretty;
mod report;

use std::time::Duration;

use anyhow::anyhow;
use tickwire_client::{Client, ClientBuilder, Event, Events, RequestError, Subscription};
use tickwire_wire::message::AckResult;
use tickwire_wire::{Control, Mode, Moment, ServerMessage};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::cli::{ModeName, SubArgs};
use crate::colour::Painter;
use crate::console::{self, say};
use crate::failure::Failure;
use crate::logging;
use crate::signals::Signals;
use output::{Flow, Output};
use report::Report;

pub(crate) use missing::tell as tell_missing;
pub(crate) use output::append_json;

/// How long closing the connection may take.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// Prints until a signal, the reader of the output or `--count` ends it.
pub(crate) fn run(args: SubArgs) -> Result<(), Failure> {
    check(&args)?;
    let _log = logging::start(logging::TOOL)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(follow(args));
    // A reader that takes nothing must not keep the program running.
    runtime.shutdown_background();
    outcome
}

fn check(args: &SubArgs) -> Result<(), Failure> {
    let option = match args.from {
        None if args.since.is_empty() => return Ok(()),
        None => "--since resumes",
        Some(_) => "--from replays",
    };
    if let Some(mode @ (ModeName::Conflate | ModeName::Snapshot)) = args.mode.filter(|_| args.from.is_some())
    {
        let mode = Mode::from(mode).as_str();
        return Err(Failure::usage(anyhow!(
            "--mode {mode}: --from asks for every message; leave the mode out"
        )));
    }
    if args.from.is_none() && args.since.len() != args.topics.len() {
        let (positions, topics) = (args.since.len(), args.topics.len());
        return Err(Failure::usage(anyhow!(
            "--since is given {positions} times for {topics} topics: give it once per topic, or not at all"
        )));
    }
    match args.topics.iter().find(|topic| topic.is_wildcard()) {
        Some(pattern) => Err(Failure::usage(anyhow!(
            "{pattern} has a wildcard: {option} single topics only"
        ))),
        None => Ok(()),
    }
}

fn subscription(args: &SubArgs) -> Subscription {
    let topics = args.topics.iter().map(ToString::to_string);
    let mut subscription = if let Some(from) = args.from {
        topics.fold(Subscription::to([""; 0]), |subscription, topic| {
            match args.speed {
                None => subscription.from_moment(topic, from),
                Some(speed) => subscription.from_moment_at(topic, from, speed),
            }
        })
    } else if args.since.is_empty() {
        Subscription::to(topics)
    } else {
        let resumed = args.topics.iter().zip(&args.since);
        resumed.fold(Subscription::to([""; 0]), |subscription, (topic, since)| {
            subscription.resume(topic.as_str(), since.clone())
        })
    };
    if let Some(mode) = args.mode {
        subscription = subscription.mode(mode.into());
    }
    if let Some(conflate_ms) = args.conflate_ms {
        subscription = subscription.conflate_ms(conflate_ms);
    }
    subscription.snapshot(!args.no_snapshot)
}

async fn follow(args: SubArgs) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let broker = args.connection.client()?;
    let connecting = broker.clone().connect();
    let (client, events) = tokio::select! {
        connected = connecting => connected?,
        _ = signals.next() => return Ok(()),
    };
    let once = args.mode == Some(ModeName::Snapshot);
    let report = match args.report {
        // Without an answer, the report tells no ages.
        true => Some(Report::new(client.ping().await.ok())),
        false => None,
    };
    let subscribing = subscribe(client.clone(), subscription(&args), once);
    let mut follower = Follower {
        subscribing: Some(tokio::spawn(subscribing)),
        subscriptions: args.topics.len(),
        once,
        synced: false,
        output: Output::new(args.all, args.count, args.pretty.then(Painter::of_stdout)),
        report,
        broker,
        events,
        signals,
    };
    let outcome = follower.run().await;
    let farewell = async {
        let flushed = follower.output.flush(&mut follower.signals).await;
        client.close().await;
        flushed
    };
    let farewell = timeout(CLOSE_WAIT, farewell).await;
    if let Some(report) = &follower.report {
        console::tell(&report.text());
    }
    match farewell {
        Ok(Err(error)) => outcome.and(Err(error.into())),
        Ok(Ok(Flow::Continue | Flow::End)) | Err(_) => outcome,
    }
}

/// Subscribes and, with `once`, subscribes again after a reconnect until everything has come. The client does not
/// restore one-shots.
pub(crate) async fn subscribe(
    client: Client,
    subscription: Subscription,
    once: bool,
) -> Result<Vec<AckResult>, RequestError> {
    let subscribed = async || {
        let mut subscribing = client.begin_subscribe(subscription.clone()).await?;
        let results = subscribing.ack().await?;
        if once {
            subscribing.synced().await?;
        }
        Ok(results)
    };
    loop {
        match subscribed().await {
            Err(error @ (RequestError::Disconnected | RequestError::TimedOut { .. })) => {
                say(format_args!("subscribing: {error}; trying again"));
            }
            result => return result,
        }
    }
}

struct Follower {
    /// The settings for further connections to the broker.
    broker: ClientBuilder,
    events: Events,
    signals: Signals,
    output: Output,
    report: Option<Report>,
    subscribing: Option<JoinHandle<Result<Vec<AckResult>, RequestError>>>,
    /// The number of subscriptions that are neither refused nor lost.
    subscriptions: usize,
    /// Whether only snapshots are wanted. The command then ends by itself.
    once: bool,
    /// Whether everything that the subscription begins with has come.
    synced: bool,
}

impl Follower {
    async fn run(&mut self) -> Result<(), Failure> {
        loop {
            let event = match self.events.next_now() {
                Some(event) => event,
                None => {
                    if self.output.flush(&mut self.signals).await? == Flow::End || self.is_done() {
                        return Ok(());
                    }
                    match self.wait().await? {
                        Woken::Event(event) => event,
                        Woken::Subscribed => continue,
                        Woken::End => return Ok(()),
                    }
                }
            };
            if self.take(event)? == Flow::End {
                return Ok(());
            }
            if self.output.is_full() && self.output.flush(&mut self.signals).await? == Flow::End {
                return Ok(());
            }
        }
    }

    /// Waits for the next thing to happen.
    async fn wait(&mut self) -> Result<Woken, Failure> {
        tokio::select! {
            event = self.events.next() => Ok(event.map_or(Woken::End, Woken::Event)),
            results = subscribed(&mut self.subscribing) => {
                self.subscribing = None;
                self.subscribed(&results?).await?;
                Ok(Woken::Subscribed)
            }
            _ = self.signals.next() => Ok(Woken::End),
        }
    }

    async fn subscribed(&mut self, results: &[AckResult]) -> Result<(), Failure> {
        for result in results {
            if let Some(refusal) = &result.error {
                say(format_args!("{}: {refusal}", result.topic));
                self.subscriptions = self.subscriptions.saturating_sub(1);
            }
        }
        if self.subscriptions == 0 {
            return Err(Failure::Reported);
        }
        let mut missing = missing::missing(results);
        let granted = results.iter().filter(|result| result.error.is_none());
        if self.once && missing.len() == granted.count() {
            missing::tell(self.broker.clone(), missing).await;
            return Err(Failure::Reported);
        }
        // A pattern may exist before its topics do.
        missing.retain(|topic| !topic.contains(['*', '>']));
        if !missing.is_empty() {
            // The look-up runs beside the messages, which do not wait for it.
            tokio::spawn(missing::tell(self.broker.clone(), missing));
        }
        Ok(())
    }

    /// Whether only snapshots were wanted and all have come, and it is known which topics were refused.
    fn is_done(&self) -> bool {
        self.once && self.synced && self.subscribing.is_none()
    }

    fn take(&mut self, event: Event) -> Result<Flow, Failure> {
        if let Some(report) = &mut self.report {
            report.count(&event);
        }
        match event {
            Event::Message(message) => {
                if let ServerMessage::Control(Control::Drain {
                    reconnect_after_ms, ..
                }) = &message
                {
                    say(format_args!(
                        "the broker is draining; connecting again in {reconnect_after_ms} ms"
                    ));
                }
                if let ServerMessage::Control(Control::Ack { results, .. }) = &message {
                    tell_not_stored(results);
                }
                return Ok(self.output.print(&message));
            }
            Event::Connected {
                reconnects,
                url,
                server,
                ..
            } if reconnects > 0 => {
                say(format_args!("connected again, to {url} ({server})"));
            }
            // Where a topic could not be resumed, another event tells so.
            Event::Connected { .. } | Event::Restored { .. } => {}
            Event::Synced { .. } => self.synced = true,
            Event::Disconnected { loss, retry_in } => lost(&loss, retry_in)?,
            Event::ConnectFailed { error, retry_in } => lost(&error, retry_in)?,
            Event::Broken(broken) => say(format_args!("the broker broke a promise: {broken}")),
            Event::Unresumed { topic, last, now } => say(format_args!(
                "{topic}: what came between {}:{} and {now} was missed while the connection was lost",
                last.epoch, last.seq
            )),
            Event::SubscriptionLost { topic, refusal } => {
                say(format_args!("{topic}: {refusal}"));
                self.subscriptions = self.subscriptions.saturating_sub(1);
                if self.subscriptions == 0 {
                    return Err(Failure::Reported);
                }
            }
        }
        Ok(Flow::Continue)
    }
}

/// Tells which topics do not begin with the moment that was asked for.
fn tell_not_stored(results: &[AckResult]) {
    for AckResult {
        topic, not_stored, ..
    } in results
    {
        if let Some(oldest) = not_stored.map(Moment) {
            say(format_args!(
                "{topic}: messages before {oldest} are no longer stored"
            ));
        }
    }
}

/// Why [`Follower::wait`] returned.
enum Woken {
    Event(Event),
    Subscribed,
    End,
}

/// Waits for the result of subscribing. The result comes once.
pub(crate) async fn subscribed(
    task: &mut Option<JoinHandle<Result<Vec<AckResult>, RequestError>>>,
) -> Result<Vec<AckResult>, anyhow::Error> {
    match task {
        Some(task) => Ok(task.await??),
        None => std::future::pending().await,
    }
}

/// Reports that the connection is lost. Fails if there will be no other.
pub(crate) fn lost(why: &dyn std::fmt::Display, retry_in: Option<Duration>) -> Result<(), Failure> {
    match retry_in {
        Some(wait) => {
            say(format_args!("{why}; trying again in {} ms", wait.as_millis()));
            Ok(())
        }
        None => Err(Failure::Failed(anyhow!("{why}"))),
    }
}
