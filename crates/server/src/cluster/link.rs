//! The thread that connects the broker with the other nodes of its cluster.
//!
//! It drives the node of the lane: what comes from NATS goes in, and what the node wants done is done. Messages enter the topics
//! here, as in a broker alone they do in the threads of their publishers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Event, Message, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tickwire_lane::Position;
use tickwire_lane::node::{Input, LaneNode, LanePhase, LaneState, NodeId, Notice, Output, SubmissionBatch};
use tickwire_metrics::{LocalMetrics, Metric};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::catching::CatchingUp;
use super::nats::{NatsError, NatsLog};
use super::plain::{self, PlainAnswer};
use super::status::{ClusterStatus, StatusWriter};
use super::topics::BrokerTopics;
use super::transfer::{self, Transfer};
use super::{JoinNews, state};
use crate::journal::EndProgram;
use crate::run::clock::Clock;

/// The header with the number of an entry that JetStream publishes again.
const SEQUENCE: &str = "Nats-Sequence";
/// The longest time without a look at what is due.
const LOOK: Duration = Duration::from_millis(250);
/// How long messages are taken while nobody numbers them.
const HELD: Duration = Duration::from_secs(5);
/// How long a node that leaves waits for the log.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);

/// What is asked of the thread.
#[derive(Debug)]
pub(super) enum Command {
    /// To hand the writing over, if this node writes, and to end.
    Leave,
}

/// What something that was done has brought.
enum Done {
    Input(Input),
    State(Result<Option<Bytes>, NatsError>),
    /// The end of the log, for those who want to have caught up with it.
    End(Result<Position, NatsError>),
    Nothing,
}

type Task = Pin<Box<dyn Future<Output = Done>>>;

/// What the thread works with.
pub(super) struct Link {
    pub(super) node: LaneNode<BrokerTopics>,
    pub(super) id: NodeId,
    pub(super) log: NatsLog,
    pub(super) events: UnboundedReceiver<Event>,
    pub(super) commands: UnboundedReceiver<Command>,
    /// Publishers have put something into the outlet.
    pub(super) submitted: Arc<Notify>,
    pub(super) clock: Clock,
    pub(super) metrics: LocalMetrics,
    pub(super) status: Arc<ClusterStatus>,
    pub(super) ends: EndProgram,
    /// Is told once when the topics are what the log says.
    pub(super) joined: Option<std::sync::mpsc::Sender<JoinNews>>,
}

/// What comes from other nodes.
struct Streams {
    live: Subscriber,
    notices: Subscriber,
    submissions: Subscriber,
    pieces: Subscriber,
    /// Only a node that has the state listens to those who want it, and to plain clients.
    whole: Option<WholeStreams>,
}

/// What comes only to a node that has the state.
struct WholeStreams {
    states: Subscriber,
    published: Subscriber,
}

/// What has come.
enum Came {
    Event(Event),
    Command(Command),
    Live(Message),
    Notice(Message),
    Batch(Message),
    AskedState(Message),
    AskedPiece(Message),
    Published(Message),
    Answer(PlainAnswer),
    Done(Done),
    Submitted,
    Time,
}

struct Work {
    link: Link,
    tasks: FuturesUnordered<Task>,
    transfer: Option<Transfer>,
    /// Those who wait until everything has entered that the log has.
    catching_up: CatchingUp,
    /// Answers to plain clients of NATS. They are bounded by what may wait in the outlet.
    plain: (UnboundedSender<PlainAnswer>, UnboundedReceiver<PlainAnswer>),
    writer: StatusWriter,
    /// Whether the topics have ever been those of the cluster.
    has_joined: bool,
    leaves: bool,
    /// Since when nobody is known who numbers messages.
    without_writer: Option<tokio::time::Instant>,
}

impl Link {
    /// Works until it is told to leave.
    pub(super) async fn run(self) -> Result<(), NatsError> {
        let subjects = self.log.subjects();
        let mut streams = Streams {
            live: self.log.listen(subjects.live(), None).await?,
            notices: self.log.listen(subjects.notices(), None).await?,
            submissions: self.log.listen(subjects.submissions(self.id), None).await?,
            pieces: self.log.listen(subjects.pieces(self.id), None).await?,
            whole: None,
        };
        let mut work = Work {
            writer: StatusWriter::new(self.status.clone()),
            link: self,
            tasks: FuturesUnordered::new(),
            transfer: None,
            catching_up: CatchingUp::default(),
            plain: unbounded_channel(),
            has_joined: false,
            leaves: false,
            without_writer: None,
        };
        let mut leave_until = None;
        loop {
            let came = work.next(&mut streams).await;
            work.take(came).await?;
            work.after(&mut streams).await?;
            if work.leaves {
                let until = *leave_until.get_or_insert_with(|| tokio::time::Instant::now() + LEAVE_WITHIN);
                let report = work.link.node.report(work.link.clock.now());
                let is_writing = report.phase == LanePhase::Writing;
                if !is_writing && report.unsettled == 0 || tokio::time::Instant::now() >= until {
                    return Ok(());
                }
            }
        }
    }
}

impl Work {
    /// Waits for the next thing.
    async fn next(&mut self, streams: &mut Streams) -> Came {
        let now = self.link.clock.now();
        let due = self.link.node.next_timeout();
        let wait = due.map_or(LOOK, |due| Duration::from_micros(due.since(now)).min(LOOK));
        let only_whole = async {
            match &mut streams.whole {
                Some(WholeStreams { states, published }) => tokio::select! {
                    Some(message) = states.next() => Came::AskedState(message),
                    Some(message) = published.next() => Came::Published(message),
                    else => std::future::pending().await,
                },
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(event) = self.link.events.recv() => Came::Event(event),
            Some(command) = self.link.commands.recv() => Came::Command(command),
            Some(message) = streams.live.next() => Came::Live(message),
            Some(message) = streams.notices.next() => Came::Notice(message),
            Some(message) = streams.submissions.next() => Came::Batch(message),
            came = only_whole => came,
            Some(answer) = self.plain.1.recv() => Came::Answer(answer),
            Some(message) = streams.pieces.next() => Came::AskedPiece(message),
            Some(done) = self.tasks.next(), if !self.tasks.is_empty() => Came::Done(done),
            () = self.link.submitted.notified() => Came::Submitted,
            () = tokio::time::sleep(wait) => Came::Time,
        }
    }

    async fn take(&mut self, came: Came) -> Result<(), NatsError> {
        let input = match came {
            Came::Event(event) => self.event(&event),
            Came::Command(Command::Leave) => {
                self.leaves = true;
                Some(Input::Leave)
            }
            Came::Live(message) => live(&message),
            Came::Notice(message) => {
                understood("a notice", Notice::read(&message.payload)).map(Input::Notice)
            }
            Came::Batch(message) => {
                understood("submissions", SubmissionBatch::read(&message.payload)).map(Input::Batch)
            }
            Came::AskedState(message) => {
                self.give_state(message).await?;
                None
            }
            Came::Published(message) => {
                self.publish_plain(message);
                None
            }
            Came::Answer(PlainAnswer { to, body }) => {
                let log = self.link.log.clone();
                self.tasks
                    .push(Box::pin(async move { sent(log.answer(to, body).await) }));
                None
            }
            Came::AskedPiece(message) => {
                self.give_piece(message).await?;
                None
            }
            Came::Done(done) => self.done(done),
            Came::Submitted => {
                let waiting = self.link.node.host_mut().take_catching_up();
                self.catching_up.add(waiting, tokio::time::Instant::now());
                let (count, body) = self.link.node.host_mut().take_submitted();
                Some(Input::Submitted(count, body))
            }
            Came::Time => Some(Input::Tick),
        };
        if let Some(input) = input {
            self.input(input);
        }
        Ok(())
    }

    /// Hands something to the node, and does what it wants done.
    fn input(&mut self, input: Input) {
        self.link.node.handle(input, self.link.clock.now());
        while let Some(output) = self.link.node.poll_output() {
            self.output(output);
        }
        self.link.node.host_mut().flush();
    }

    fn event(&self, event: &Event) -> Option<Input> {
        match event {
            Event::Connected => {
                self.link.log.tell_version();
                Some(Input::Connected)
            }
            Event::Disconnected => {
                tracing::warn!("the connection to NATS is lost; messages wait until it is back");
                Some(Input::Disconnected)
            }
            Event::SlowConsumer(_) => None, // what is lost is read from the log
            Event::LameDuckMode => {
                tracing::info!("the NATS server will stop");
                None
            }
            // An attempt to connect has failed. It is made again.
            Event::ClientError(error) => {
                tracing::debug!(%error, "not connected to NATS");
                None
            }
            other => {
                tracing::warn!(event = %other, "NATS says something");
                None
            }
        }
    }

    fn done(&mut self, done: Done) -> Option<Input> {
        match done {
            Done::Nothing => None,
            Done::Input(input) => Some(input),
            Done::End(end) => {
                self.catching_up.end_is(end.ok());
                None
            }
            Done::State(Ok(None)) => Some(Input::State(None)),
            Done::State(Ok(Some(bytes))) => self.got_state(&bytes),
            Done::State(Err(error)) => {
                tracing::warn!(%error, "the state of the cluster could not be got; it is asked for again");
                self.ask_state();
                None
            }
        }
    }

    fn got_state(&mut self, bytes: &[u8]) -> Option<Input> {
        let (now, is_first) = (self.link.clock.now(), !self.has_joined);
        let directory = self.link.node.host().directory().clone();
        match state::take_over(bytes, &directory, is_first, now) {
            Ok(lane) => Some(Input::State(Some(lane))),
            Err(error) if is_first => {
                tracing::error!(%error, "the state that another node gave does not fit: the broker ends");
                (self.link.ends)();
                None
            }
            Err(error) => {
                tracing::error!(%error, "the state that another node gave does not fit; it is asked for again");
                self.ask_state();
                None
            }
        }
    }

    fn ask_state(&mut self) {
        let log = self.link.log.clone();
        self.tasks
            .push(Box::pin(async move { Done::State(transfer::get(&log).await) }));
    }

    fn output(&mut self, output: Output) {
        let log = self.link.log.clone();
        let task: Task = match output {
            Output::Read(number, from) => Box::pin(async move {
                Done::Input(match log.read(from).await {
                    Ok(part) => Input::Read(number, part),
                    Err(error) => {
                        tracing::debug!(%error, "the log was not read");
                        Input::NotRead(number)
                    }
                })
            }),
            Output::Append {
                number,
                bytes,
                expected,
            } => {
                self.link.metrics.add(Metric::LaneAppends, &[], 1);
                Box::pin(
                    async move { Done::Input(Input::Appended(number, log.append(bytes, expected).await)) },
                )
            }
            Output::Tell(notice) => {
                let subject = log.subjects().notices();
                Box::pin(async move { sent(log.tell(subject, notice.bytes()).await) })
            }
            Output::Forward(to, batch) => {
                let subject = log.subjects().submissions(to);
                Box::pin(async move { sent(log.tell(subject, batch.bytes()).await) })
            }
            Output::AskState => return self.ask_state(),
            Output::MakeMark => Box::pin(async move { sent(log.make_mark().await) }),
            Output::LookForMark => Box::pin(async move {
                match log.has_mark().await {
                    Ok(has) => Done::Input(Input::Mark(has)),
                    // The takeover is given up after a while, and begun again.
                    Err(error) => sent(Err(error)),
                }
            }),
            Output::EpochBegun(reason) => {
                tracing::warn!(reason = reason.as_str(), "the numbers of all topics begin anew");
                self.link.metrics.add(Metric::LaneEpochs, &[reason as usize], 1);
                return;
            }
        };
        self.tasks.push(task);
    }

    /// Gives another node the first piece of the state.
    async fn give_state(&mut self, message: Message) -> Result<(), NatsError> {
        let (Some(reply), Some(lane)) = (message.reply, self.link.node.state()) else {
            return Ok(());
        };
        let now = self.link.clock.now();
        let make =
            |lane: &LaneState, node: &LaneNode<BrokerTopics>| state::dump(lane, node.host().directory(), now);
        let transfer = match self.transfer.take() {
            Some(transfer) if transfer.is_fresh() => transfer,
            _ => Transfer::new(self.link.id, make(&lane, &self.link.node)),
        };
        let first = transfer.first();
        self.transfer = Some(transfer);
        self.link.log.answer(reply, first).await
    }

    /// Hands in what a plain client of NATS publishes.
    fn publish_plain(&self, message: Message) {
        let subject = message.subject.clone();
        if let Some(topic) = self.link.log.subjects().topic_of(&subject) {
            let directory = self.link.node.host().directory();
            plain::publish(directory, (topic, message), &self.plain.0, self.link.clock.now());
        }
    }

    async fn give_piece(&mut self, message: Message) -> Result<(), NatsError> {
        let Some(reply) = message.reply else {
            return Ok(());
        };
        let piece = self
            .transfer
            .as_mut()
            .and_then(|transfer| transfer.piece(&message.payload));
        self.link.log.answer(reply, piece.unwrap_or_default()).await
    }

    /// What follows on anything that has happened.
    async fn after(&mut self, streams: &mut Streams) -> Result<(), NatsError> {
        let node = &self.link.node;
        let now = self.link.clock.now();
        let is_current = node.is_caught_up();
        self.has_joined |= is_current;
        let has_state = node.is_whole();
        if has_state && streams.whole.is_none() {
            let (log, subjects) = (&self.link.log, self.link.log.subjects());
            streams.whole = Some(WholeStreams {
                states: log.listen(subjects.state(), Some("s")).await?,
                published: log.listen(subjects.published(), Some("p")).await?,
            });
        } else if !has_state && let Some(mut whole) = streams.whole.take() {
            // The connection may be lost, and its subscriptions with it.
            let _gone = whole.states.unsubscribe().await;
            let _gone = whole.published.unsubscribe().await;
        }
        let report = node.report(now);
        let serves = matches!(report.phase, LanePhase::Following | LanePhase::Writing);
        if is_current
            && serves
            && let Some(joined) = self.link.joined.take()
        {
            // Only a start hears of it.
            let _unheard = joined.send(JoinNews::Joined);
        }
        let entered = has_state.then_some(report.standing.place.position);
        self.catching_up.let_go(entered, tokio::time::Instant::now());
        if self.catching_up.must_ask() {
            let log = self.link.log.clone();
            self.tasks.push(Box::pin(async move {
                // From far behind the end nothing is read.
                Done::End(log.read(Position(u64::MAX)).await.map(|part| part.last))
            }));
        }
        self.transfer.take_if(|transfer| transfer.is_over());
        let has_writer = serves && report.writer.is_some();
        let host = node.host();
        self.writer.write(&report, is_current, host.entered);
        self.writer.export(&mut self.link.metrics, now);
        self.refuse_without_writer(has_writer);
        Ok(())
    }

    /// Has publications refused while nobody numbers them for long. Those that were taken before wait.
    fn refuse_without_writer(&mut self, has_writer: bool) {
        if has_writer {
            if self
                .without_writer
                .take()
                .is_some_and(|since| since.elapsed() >= HELD)
            {
                self.link.node.host().refuse(None);
            }
            return;
        }
        let now = tokio::time::Instant::now();
        let since = *self.without_writer.get_or_insert(now);
        if now.duration_since(since) >= HELD {
            let reason = "no broker numbers messages now, or this one is not connected to it";
            self.link.node.host().refuse(Some(reason));
        }
    }
}

/// An entry that JetStream has published again.
fn live(message: &Message) -> Option<Input> {
    let number = message.headers.as_ref()?.get(SEQUENCE)?.as_str().parse();
    Some(Input::Live(Position(number.ok()?), message.payload.to_vec()))
}

/// What another node says, if it is understood.
fn understood<T, E: std::fmt::Display>(what: &str, read: Result<T, E>) -> Option<T> {
    read.inspect_err(
        |error| tracing::warn!(%error, what, "another program writes to the subjects of this cluster"),
    )
    .ok()
}

fn sent(sent: Result<(), NatsError>) -> Done {
    if let Err(error) = sent {
        // Everything that is told to other nodes is told again.
        tracing::debug!(%error, "a message to NATS was not sent");
    }
    Done::Nothing
}
