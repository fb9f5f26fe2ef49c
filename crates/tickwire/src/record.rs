//! `tickwire record`: writes what is published to topics as a recording that `serve --feed replay:FILE` publishes again.
//!
//! Each line has the time at which it was received. Messages are gathered and written once a second, or when a mebibyte
//! of them is there. While the file is being written nothing is received, so a slow disk makes a slow reader: what
//! the broker then leaves out is named by a gap, and the gap is recorded.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use tickwire_client::{Event, Events, Subscription};
use tickwire_feed::{Recorder, RecordingForm};
use tickwire_wire::message::AckResult;
use tickwire_wire::{Control, Micros, ServerMessage};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::cli::RecordArgs;
use crate::console::say;
use crate::failure::Failure;
use crate::logging;
use crate::signals::Signals;
use crate::sub::{append_json, lost, subscribe, subscribed};

/// Time between two writes.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// The number of writes between two lines about the progress.
const FLUSHES_PER_REPORT: u32 = 10;

/// Records until a signal or `--count` ends it.
pub(crate) fn run(args: RecordArgs) -> Result<(), Failure> {
    let _log = logging::start(logging::TOOL)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(record(args))
}

/// Opens the file for a new recording, or to go on with one.
fn open(args: &RecordArgs) -> Result<File, Failure> {
    let name = args.output.display();
    let mut options = OpenOptions::new();
    if args.append {
        options.append(true).create(true);
    } else if args.force {
        options.write(true).create(true).truncate(true);
    } else {
        options.write(true).create_new(true);
    }
    options.open(&args.output).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::usage(anyhow!(
            "{name} exists: --append goes on with it, --force begins it anew"
        )),
        _ => Failure::Failed(anyhow::Error::new(error).context(format!("cannot write {name}"))),
    })
}

async fn record(args: RecordArgs) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let connecting = args.connection.client()?.connect();
    let (client, events) = tokio::select! {
        connected = connecting => connected?,
        _ = signals.next() => return Ok(()),
    };
    // The file is made when there is something to record.
    let file = open(&args)?;
    let mut subscription = Subscription::to(args.topics.iter().map(ToString::to_string));
    if let Some(mode) = args.mode {
        subscription = subscription.mode(mode.into());
    }
    let form = if args.plain {
        RecordingForm::Plain
    } else {
        RecordingForm::Zstd
    };
    let mut flushes = interval(FLUSH_EVERY);
    flushes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut recording = Recording {
        recorder: Recorder::new(file, form),
        events,
        signals,
        flushes,
        subscriptions: args.topics.len(),
        wanted: args.count,
        line: Vec::new(),
        topics: HashSet::new(),
        messages: 0,
        gaps: 0,
        missing: 0,
    };
    let mut subscribing = Some(tokio::spawn(subscribe(client.clone(), subscription, false)));
    let outcome = recording.run(&mut subscribing).await;
    let flushed = recording.flush(&args);
    say(format_args!("{}: {}", args.output.display(), recording.told()));
    client.close().await;
    outcome.and(flushed)
}

type Subscribing = Option<tokio::task::JoinHandle<Result<Vec<AckResult>, tickwire_client::RequestError>>>;

struct Recording {
    recorder: Recorder<File>,
    events: Events,
    signals: Signals,
    flushes: Interval,
    /// The number of subscriptions that are neither refused nor lost.
    subscriptions: usize,
    /// How many messages are still wanted, if there is a limit.
    wanted: Option<u64>,
    line: Vec<u8>,
    /// The topics of the messages.
    topics: HashSet<String>,
    messages: u64,
    gaps: u64,
    /// The messages that the gaps name.
    missing: u64,
}

impl Recording {
    async fn run(&mut self, subscribing: &mut Subscribing) -> Result<(), Failure> {
        let mut flushes = 0;
        loop {
            tokio::select! {
                event = self.events.next() => match event {
                    Some(event) => self.take(event)?,
                    None => return Ok(()),
                },
                results = subscribed(subscribing) => {
                    *subscribing = None;
                    self.subscribed(&results?)?;
                }
                _ = self.flushes.tick() => {
                    self.recorder.flush().context("cannot write the recording")?;
                    flushes += 1;
                    if flushes % FLUSHES_PER_REPORT == 0 {
                        say(format_args!("{}", self.told()));
                    }
                }
                _ = self.signals.next() => return Ok(()),
            }
            if self.wanted == Some(0) {
                return Ok(());
            }
        }
    }

    fn subscribed(&mut self, results: &[AckResult]) -> Result<(), Failure> {
        for result in results {
            if let Some(refusal) = &result.error {
                say(format_args!("{}: {refusal}", result.topic));
                self.lose()?;
            }
        }
        Ok(())
    }

    /// Counts a subscription that was refused or lost. Fails if it was the last.
    fn lose(&mut self) -> Result<(), Failure> {
        self.subscriptions = self.subscriptions.saturating_sub(1);
        if self.subscriptions == 0 {
            return Err(Failure::Reported);
        }
        Ok(())
    }

    fn take(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Message(message) => self.write(&message),
            Event::Connected {
                reconnects, server, ..
            } => {
                if reconnects > 0 {
                    say(format_args!("connected again, to {server}"));
                }
                Ok(())
            }
            Event::Disconnected { loss, retry_in } => lost(&loss, retry_in),
            Event::ConnectFailed { error, retry_in } => lost(&error, retry_in),
            Event::Broken(broken) => {
                say(format_args!("the broker broke a promise: {broken}"));
                Ok(())
            }
            Event::SubscriptionLost { topic, refusal } => {
                say(format_args!("{topic}: {refusal}"));
                self.lose()
            }
            // A gap, or a value of another epoch, says the same in the recording.
            Event::Unresumed { .. } | Event::Restored { .. } | Event::Synced { .. } => Ok(()),
        }
    }

    fn write(&mut self, message: &ServerMessage) -> Result<(), Failure> {
        self.line.clear();
        append_json(&mut self.line, message, |control| {
            matches!(
                control,
                Control::Joined { .. } | Control::Gap { .. } | Control::Status { .. } | Control::End { .. }
            )
        });
        if self.line.is_empty() {
            return Ok(());
        }
        match message {
            ServerMessage::Update { topic, .. } | ServerMessage::Snapshot { topic, .. } => {
                self.messages += 1;
                if let Some(wanted) = &mut self.wanted {
                    *wanted = wanted.saturating_sub(1);
                }
                if !self.topics.contains(topic) {
                    self.topics.insert(topic.clone());
                }
            }
            ServerMessage::Control(Control::Gap { from, to, .. }) => {
                self.gaps += 1;
                self.missing += (to.0 + 1).saturating_sub(from.0);
            }
            ServerMessage::Control(_) | ServerMessage::Unknown(_) => {}
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.context("the clock is before 1970")?;
        let now = Micros(u64::try_from(now.as_micros()).context("the clock is too far ahead")?);
        let added = self.recorder.add(now, &self.line);
        Ok(added.context("cannot write the recording")?)
    }

    fn flush(&mut self, args: &RecordArgs) -> Result<(), Failure> {
        let flushed = self.recorder.flush();
        Ok(flushed.with_context(|| format!("cannot write {}", args.output.display()))?)
    }

    /// What was recorded so far, for the user.
    fn told(&self) -> String {
        let (messages, topics, bytes) = (self.messages, self.topics.len(), self.recorder.written());
        let gaps = match self.gaps {
            0 => String::new(),
            gaps => format!("; {gaps} gaps, which name {} missing messages", self.missing),
        };
        format!("{messages} messages of {topics} topics, {bytes} bytes{gaps}")
    }
}
