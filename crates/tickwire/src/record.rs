//! `tickwire record`: writes what is published to topics as a recording that `serve --feed replay:FILE` publishes again.
//!
//! Each line has the time at which it was received. A recording in the form of a journal has the times of the messages, and
//! their topics' kinds and epochs, for which the broker is asked. Messages are gathered and written once a second, or when a mebibyte
//! of them is there. While the file is being written nothing is received, so a slow disk makes a slow reader: what
//! the broker then leaves out is named by a gap, and the gap is recorded.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use tickwire_client::{ClientBuilder, Event, Events, Subscription};
use tickwire_feed::{LogRecorder, Recorder, RecordingForm, whole_blocks};
use tickwire_wire::message::AckResult;
use tickwire_wire::{Control, Epoch, Kind, Micros, Pattern, ServerMessage, Topic, market};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::cli::{RecordArgs, RecordFormat};
use crate::console::say;
use crate::failure::Failure;
use crate::logging;
use crate::signals::Signals;
use crate::sub::{append_json, lost, subscribe, subscribed};
use crate::topics::{self, Described};

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
    let file = options.open(&args.output).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::usage(anyhow!(
            "{name} exists: --append goes on with it, --force begins it anew"
        )),
        _ => Failure::Failed(anyhow::Error::new(error).context(format!("cannot write {name}"))),
    })?;
    if args.append && args.format() == RecordFormat::Twj {
        cut_torn_end(args, &file).with_context(|| format!("cannot go on with {name}"))?;
    }
    Ok(file)
}

/// Cuts off what a killed recorder did not write whole, so that it does not look like damage before what follows.
fn cut_torn_end(args: &RecordArgs, file: &File) -> io::Result<()> {
    let whole = whole_blocks(File::open(&args.output)?)?;
    let cut = file.metadata()?.len() - whole;
    if cut > 0 {
        file.set_len(whole)?;
        let name = args.output.display();
        say(format_args!(
            "{name}: the last {cut} bytes were not written whole and are cut off"
        ));
    }
    Ok(())
}

/// What is written: lines, or a journal.
enum Sink {
    Lines(Recorder<File>),
    Log(Box<LogRecorder<File>>),
}

impl Sink {
    fn new(file: File, format: RecordFormat) -> Result<Self, Failure> {
        Ok(match format {
            RecordFormat::Jsonl => Self::Lines(Recorder::new(file, RecordingForm::Plain)),
            RecordFormat::JsonlZst => Self::Lines(Recorder::new(file, RecordingForm::Zstd)),
            RecordFormat::Twj => {
                let now = now()?;
                let recorder = LogRecorder::new(file, Epoch::from_number(now.0), now);
                Self::Log(Box::new(recorder))
            }
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Lines(recorder) => recorder.flush(),
            Self::Log(recorder) => recorder.flush(),
        }
    }

    fn written(&self) -> u64 {
        match self {
            Self::Lines(recorder) => recorder.written(),
            Self::Log(recorder) => recorder.written(),
        }
    }
}

fn now() -> Result<Micros, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.context("the clock is before 1970")?;
    Ok(Micros(
        u64::try_from(now.as_micros()).context("the clock is too far ahead")?,
    ))
}

async fn record(args: RecordArgs) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let broker = args.connection.client()?;
    let connecting = broker.clone().connect();
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
    let mut recorder = Sink::new(file, args.format())?;
    if let Sink::Log(log) = &mut recorder {
        for pattern in &args.topics {
            learn(log, &broker, pattern).await?;
        }
    }
    let mut flushes = interval(FLUSH_EVERY);
    flushes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut recording = Recording {
        recorder,
        broker,
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

/// Tells the recorder of the topics that match `pattern`.
async fn learn(
    log: &mut LogRecorder<File>,
    broker: &ClientBuilder,
    pattern: &Pattern,
) -> Result<(), Failure> {
    let mut listed = Vec::new();
    topics::each(broker, pattern, |described| listed.push(described)).await?;
    for Described { topic, kind, epoch } in listed {
        let topic = topic.parse().context("the broker listed a topic that is none")?;
        log.learn(&topic, kind, Some(epoch));
    }
    Ok(())
}

struct Recording {
    recorder: Sink,
    /// Where to ask for what the messages do not say.
    broker: ClientBuilder,
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
                    Some(event) => self.take(event).await?,
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

    async fn take(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Message(message) => self.write(&message).await,
            Event::Connected {
                reconnects,
                url,
                server,
                ..
            } => {
                if reconnects > 0 {
                    say(format_args!("connected again, to {url} ({server})"));
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

    async fn write(&mut self, message: &ServerMessage) -> Result<(), Failure> {
        let Some(topic) = topic_of(message) else {
            return Ok(());
        };
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
        let added = match &mut self.recorder {
            Sink::Lines(recorder) => {
                self.line.clear();
                append_json(&mut self.line, message, |_| true);
                recorder.add(now()?, &self.line)
            }
            Sink::Log(log) => {
                if !log.knows(topic) {
                    describe(log, &self.broker, topic, message).await?;
                }
                log.add(message)
            }
        };
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

/// The topic of a message that is recorded.
fn topic_of(message: &ServerMessage) -> Option<&String> {
    match message {
        ServerMessage::Update { topic, .. }
        | ServerMessage::Snapshot { topic, .. }
        | ServerMessage::Control(
            Control::Joined { topic, .. }
            | Control::Gap { topic, .. }
            | Control::Status { topic, .. }
            | Control::End { topic, .. },
        ) => Some(topic),
        ServerMessage::Control(_) | ServerMessage::Unknown(_) => None,
    }
}

/// Tells the recorder of a topic that was made after the recording had begun.
async fn describe(
    log: &mut LogRecorder<File>,
    broker: &ClientBuilder,
    topic: &str,
    message: &ServerMessage,
) -> Result<(), Failure> {
    let pattern: Pattern = topic.parse().context("the broker sent a topic that is none")?;
    match learn(log, broker, &pattern).await {
        Err(Failure::Usage(error) | Failure::Failed(error)) => {
            say(format_args!(
                "{topic}: the broker did not say its kind: {error:#}"
            ));
        }
        Ok(()) | Err(Failure::Reported) => {}
    }
    if log.knows(topic) {
        return Ok(());
    }
    // It has ended meanwhile, or the broker could not be asked: its message tells.
    let is_book = match message {
        ServerMessage::Update { data, .. } | ServerMessage::Snapshot { data, .. } => {
            market::Book::from_json(data.get()).is_ok()
        }
        ServerMessage::Control(_) | ServerMessage::Unknown(_) => false,
    };
    let kind = if is_book { Kind::Book } else { Kind::Event };
    let name: Topic = topic.parse().context("the broker sent a topic that is none")?;
    log.learn(&name, kind, None);
    Ok(())
}
