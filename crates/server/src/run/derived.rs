//! What was derived from published messages before a restart, and how it is kept.
//!
//! A journal's checkpoint has the state of all markets, with the message up to which each topic was read for it
//! ([`DerivedParts`]). A start reads the messages behind that from the log, in their order, as if they were published again
//! ([`Derived`]). So it needs no history, and the markets are as they would be without the restart. What was published of
//! them before is not published again; what was not is published first.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tickwire_feed::{DeriveRule, Deriver, KeptMarket, SourceNo};
use tickwire_router::{Directory, TopicCell, TopicId, WrittenMessage};
use tickwire_wire::limits::SHARD_QUEUE_MAX;
use tickwire_wire::market::Candle;
use tickwire_wire::{Epoch, Kind, Micros, Payload, Refusal, Seq, Topic};

use crate::run::lifecycle::Lifecycle;

/// The markets, and the topics, in one part of what is kept.
const AT_ONCE: usize = 1_024;
/// How long a checkpoint waits for what is derived.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A part of what is derived, as a checkpoint has it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct DerivedPart {
    /// Topics with their epochs, and the last message that was read of each.
    topics: Vec<(String, Epoch, Seq)>,
    markets: Vec<KeptMarket>,
}

/// What is derived, in parts that a checkpoint takes.
pub(crate) type DerivedParts = Vec<Vec<u8>>;

/// The parts of what `deriver` has derived from these topics, each read up to a message.
pub(crate) fn parts<'t>(
    topics: impl Iterator<Item = (&'t Arc<TopicCell>, Seq)>,
    deriver: &Deriver,
) -> serde_json::Result<DerivedParts> {
    let mut parts = Vec::new();
    let topics = topics.map(|(cell, seq)| (cell.topic().to_string(), cell.described(seq).epoch, seq));
    let topics: Vec<_> = topics.collect();
    for some in topics.chunks(AT_ONCE) {
        parts.push(DerivedPart {
            topics: some.to_vec(),
            markets: Vec::new(),
        });
    }
    // A market is restored into its topics, so these come first.
    let markets: Vec<KeptMarket> = deriver.kept().collect();
    for some in markets.chunks(AT_ONCE) {
        parts.push(DerivedPart {
            topics: Vec::new(),
            markets: some.to_vec(),
        });
    }
    parts.iter().map(serde_json::to_vec).collect()
}

/// A topic that is read.
#[derive(Debug, Clone, Copy)]
struct ReadTopic {
    /// Its market. `None` if nothing is made of it.
    source: Option<SourceNo>,
    /// The last message that was read. `None` if the log does not have all of it that nothing was made of: its history is read
    /// then.
    seq: Option<Seq>,
}

/// What is derived while a journal is read.
#[derive(Debug)]
pub(crate) struct Derived {
    rules: Vec<DeriveRule>,
    deriver: Deriver,
    topics: HashMap<TopicId, ReadTopic>,
    /// Topics of the checkpoint that did not come yet.
    expected: HashMap<(String, Epoch), ReadTopic>,
    /// Closed candles, and the newest ticker of each market, that may not be published yet.
    candles: HashMap<Topic, VecDeque<Box<Candle>>>,
    values: HashMap<Topic, Payload>,
}

/// What a start goes on from.
#[derive(Debug)]
pub(crate) struct DerivedStart {
    pub(crate) deriver: Deriver,
    /// The topics that exist, each with its market and the last message that was read of it.
    pub(crate) topics: Vec<(Arc<TopicCell>, Option<SourceNo>, Seq)>,
    /// What is still to be published, in this order.
    pub(crate) unpublished: Vec<(Topic, Payload)>,
}

impl DerivedStart {
    /// The same in parts that a checkpoint takes.
    pub(crate) fn parts(&self) -> serde_json::Result<DerivedParts> {
        let topics = self.topics.iter().filter(|(_, source, _)| source.is_some());
        parts(topics.map(|(cell, _, seq)| (cell, *seq)), &self.deriver)
    }
}

/// Where a checkpoint has from what is derived.
#[derive(Debug, Clone)]
pub(crate) enum DerivedSource {
    /// Nothing is derived.
    Nothing,
    /// It is known already.
    Known(DerivedParts),
    /// The deriving thread is asked.
    Ask(Arc<DeriveDesk>),
}

impl DerivedSource {
    /// What is derived from everything that was published so far.
    ///
    /// # Errors
    /// As [`DeriveDesk::ask`].
    pub(crate) fn parts(&self) -> Result<DerivedParts, &'static str> {
        match self {
            Self::Nothing => Ok(Vec::new()),
            Self::Known(parts) => Ok(parts.clone()),
            Self::Ask(desk) => desk.ask(),
        }
    }
}

impl Derived {
    /// Derives by `rules`, from nothing.
    pub(crate) fn new(rules: &[DeriveRule]) -> Self {
        Self {
            rules: rules.to_vec(),
            deriver: Deriver::new(rules.to_vec()),
            topics: HashMap::new(),
            expected: HashMap::new(),
            candles: HashMap::new(),
            values: HashMap::new(),
        }
    }

    /// Goes on from a part of what a checkpoint has.
    ///
    /// # Errors
    /// If it is no such part.
    pub(crate) fn restore(&mut self, part: &[u8]) -> Result<(), String> {
        let part: DerivedPart = serde_json::from_slice(part).map_err(|error| error.to_string())?;
        for (name, epoch, seq) in part.topics {
            let topic: Topic = name.parse().map_err(|_| format!("{name} is no topic"))?;
            // Rules may have changed: what nothing is made of any more has no market.
            let source = self.deriver.open(&topic).unwrap_or_default();
            let seq = Some(seq);
            self.expected.insert((name, epoch), ReadTopic { source, seq });
        }
        for market in &part.markets {
            self.deriver.restore(market).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Takes a message that the log has of a topic.
    ///
    /// # Errors
    /// If its text is not what a log has.
    pub(crate) fn take(&mut self, cell: &TopicCell, message: &WrittenMessage<'_>) -> Result<(), Refusal> {
        if self.rules.is_empty() {
            return Ok(());
        }
        let read = self.topic(cell, message.after);
        if read.seq.is_none_or(|seq| message.seq <= seq) {
            return Ok(());
        }
        read.seq = Some(message.seq);
        let Some(source) = read.source else { return Ok(()) };
        // The quotes of a book are those that it has at the end.
        if cell.kind() == Kind::Book {
            return Ok(());
        }
        let payload = message.read()?.payload;
        let Self {
            deriver,
            candles,
            values,
            ..
        } = self;
        let times = (message.ts, message.ts);
        // What nothing can be derived from was counted when it came first.
        let _skipped = deriver.take(source, &payload, times, |topic, payload| {
            remember(candles, values, topic, payload);
        });
        Ok(())
    }

    /// Learns that a topic has ended.
    pub(crate) fn ended(&mut self, cell: &TopicCell) {
        if self.rules.is_empty() {
            return;
        }
        let source = self.topic(cell, Seq::ZERO).source;
        self.topics.remove(&cell.id());
        self.close(source);
    }

    fn close(&mut self, source: Option<SourceNo>) {
        let Some(source) = source else { return };
        let Self {
            deriver,
            candles,
            values,
            ..
        } = self;
        deriver.end(source, |topic, payload| {
            remember(candles, values, topic, payload);
        });
    }

    /// A topic whose messages up to `before` came before this part of the log.
    fn topic(&mut self, cell: &TopicCell, before: Seq) -> &mut ReadTopic {
        let Self {
            topics,
            expected,
            deriver,
            ..
        } = self;
        topics.entry(cell.id()).or_insert_with(|| {
            let epoch = cell.described(Seq::ZERO).epoch;
            let known = expected.remove(&(cell.topic().to_string(), epoch));
            known.unwrap_or_else(|| ReadTopic {
                source: deriver.open(cell.topic()).unwrap_or_default(),
                seq: (before == Seq::ZERO).then_some(Seq::ZERO),
            })
        })
    }

    /// What the start goes on from, in the directory that was read. If its numbers have begun anew (`is_anew`), everything in it
    /// counts as read.
    pub(crate) fn finish(mut self, directory: &Directory, is_anew: bool) -> DerivedStart {
        let patterns: Vec<_> = self.rules.iter().map(|rule| rule.from.clone()).collect();
        // The topics are other cells then; each goes on with the market that its name had.
        let before = match is_anew {
            true => std::mem::take(&mut self.topics),
            false => HashMap::new(),
        };
        let mut cells = HashMap::new();
        for cell in patterns.iter().flat_map(|pattern| directory.matching(pattern)) {
            cells.insert(cell.id(), cell);
        }
        let mut topics = Vec::new();
        for cell in cells.into_values() {
            let head = cell.newest().map_or(Seq::ZERO, |newest| newest.seq);
            let read = self.topic(&cell, head);
            let seq = match read.seq {
                _ if is_anew => head,
                Some(seq) => seq,
                // As far as its history reaches.
                None => cell.dump().map_or(Seq::ZERO, |dump| {
                    let oldest = dump.messages.first();
                    oldest.map_or(head, |oldest| Seq(oldest.seq.0.saturating_sub(1)))
                }),
            };
            topics.push((cell, read.source, seq));
        }
        // The others have ended.
        let expected = std::mem::take(&mut self.expected);
        let gone = before.into_values().chain(expected.into_values());
        for source in gone.map(|topic| topic.source).collect::<Vec<_>>() {
            self.close(source);
        }
        let unpublished = self.unpublished(directory);
        DerivedStart {
            deriver: self.deriver,
            topics,
            unpublished,
        }
    }

    /// What was not published before the restart. Candles that were published as closed stay so.
    fn unpublished(&mut self, directory: &Directory) -> Vec<(Topic, Payload)> {
        let mut all = Vec::new();
        let newest = |topic: &Topic| directory.find(topic.as_str())?.newest();
        for (topic, candles) in self.candles.drain() {
            let published = newest(&topic).and_then(|newest| PublishedCandle::of(&newest.payload));
            let is_new =
                |candle: &Candle| published.is_none_or(|published| published.is_before(candle.start));
            let unpublished = candles.into_iter().filter(|candle| is_new(candle));
            all.extend(unpublished.map(|candle| (topic.clone(), Payload::Candle(candle))));
        }
        for (topic, payload) in self.values.drain() {
            if newest(&topic).is_none_or(|newest| json(&newest.payload) != json(&payload)) {
                all.push((topic, payload));
            }
        }
        let topics = self.deriver.candle_topics();
        let closed = topics.filter_map(|(source, interval, topic)| {
            let published = PublishedCandle::of(&newest(topic)?.payload)?;
            published.closed.then_some((source, interval, published.start))
        });
        for (source, interval, began) in closed.collect::<Vec<_>>() {
            self.deriver.was_closed(source, interval, began);
        }
        all
    }
}

/// Remembers what is to be published if it was not.
fn remember(
    candles: &mut HashMap<Topic, VecDeque<Box<Candle>>>,
    values: &mut HashMap<Topic, Payload>,
    topic: &Topic,
    payload: Payload,
) {
    match payload {
        Payload::Candle(candle) if candle.closed => {
            let of_topic = candles.entry(topic.clone()).or_default();
            of_topic.push_back(candle);
            // No more trades than that can have waited to be read.
            if of_topic.len() > SHARD_QUEUE_MAX {
                of_topic.pop_front();
            }
        }
        Payload::Candle(_) => {}
        value => {
            values.insert(topic.clone(), value);
        }
    }
}

/// What is looked at of a candle that was published.
#[derive(Debug, Clone, Copy, Deserialize)]
struct PublishedCandle {
    start: Micros,
    closed: bool,
}

impl PublishedCandle {
    fn of(payload: &Payload) -> Option<Self> {
        serde_json::from_slice(&json(payload)).ok()
    }

    /// Whether a closed candle that began at `start` comes behind this one.
    fn is_before(self, start: Micros) -> bool {
        (self.start, self.closed) < (start, true)
    }
}

fn json(payload: &Payload) -> Vec<u8> {
    let mut json = Vec::new();
    payload.write_json(&mut json);
    json
}

/// Where a checkpoint asks the deriving thread for what is derived. The answer has read everything that was published
/// before the question.
#[derive(Debug)]
pub(crate) struct DeriveDesk {
    question: Mutex<Question>,
    answered: Condvar,
    lifecycle: Arc<Lifecycle>,
}

#[derive(Debug, Default)]
enum Question {
    #[default]
    None,
    Asked,
    Answered(DerivedParts),
    /// The thread has ended.
    Closed,
}

impl DeriveDesk {
    pub(crate) fn new(lifecycle: Arc<Lifecycle>) -> Self {
        Self {
            question: Mutex::default(),
            answered: Condvar::new(),
            lifecycle,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Question> {
        self.question.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// If the thread has ended, or does not answer in time.
    pub(crate) fn ask(&self) -> Result<DerivedParts, &'static str> {
        let mut question = self.lock();
        match *question {
            Question::Closed => return Err("the thread that derives has ended"),
            Question::None | Question::Asked | Question::Answered(_) => *question = Question::Asked,
        }
        drop(question);
        self.lifecycle.alarm().ring();
        let waited = self
            .answered
            .wait_timeout_while(self.lock(), ANSWER_WITHIN, |question| {
                matches!(question, Question::Asked)
            });
        let (mut question, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *question, Question::None) {
            Question::Answered(parts) => Ok(parts),
            Question::Closed => {
                *question = Question::Closed;
                Err("the thread that derives has ended")
            }
            Question::None | Question::Asked => Err("the thread that derives has not answered"),
        }
    }

    /// Whether there is a question. The thread reads everything that waits before it answers.
    pub(crate) fn is_asked(&self) -> bool {
        matches!(*self.lock(), Question::Asked)
    }

    pub(crate) fn answer(&self, parts: DerivedParts) {
        let mut question = self.lock();
        if matches!(*question, Question::Asked) {
            *question = Question::Answered(parts);
            self.answered.notify_all();
        }
    }

    /// Takes no more questions.
    pub(crate) fn close(&self) {
        *self.lock() = Question::Closed;
        self.answered.notify_all();
    }
}

#[cfg(test)]
mod tests;
