//! Items of a log by their topics, and how they enter.

use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;

use tickwire_lane::{LifeNumber, Position};
use tickwire_router::{Directory, RestoredState, TopicCell, WrittenMessage, WrittenText, read_written_book};
use tickwire_wire::message::{EndReason, StaleReason};
use tickwire_wire::{Micros, Refusal, Seq};

use super::filling::NotFilled;
use super::planted::{JournalFault, is_planted};

/// The number of messages whose text is fetched from memory at once.
const FETCHED_AT_ONCE: usize = 256;
/// The bytes of memory that a processor fetches at once.
const LINE_BYTES: usize = 64;

/// What a gathered item is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    Data,
    Change,
    Whole,
    End(EndReason),
}

/// An item of a log, by its place in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gathered {
    /// The topic among those that are gathered.
    pub(super) topic: u32,
    pub(super) form: Form,
    pub(super) doubt: Option<StaleReason>,
    /// Where its entry begins.
    pub(super) entry: usize,
    /// Where its text is.
    pub(super) text: (usize, u32),
    pub(super) after: Seq,
    pub(super) seq: Seq,
    pub(super) ts: Micros,
}

/// What a checkpoint has of a topic beside its messages.
#[derive(Debug)]
pub(super) struct Checkpointed {
    pub(super) head: Seq,
    /// Where the whole book is.
    pub(super) book: Option<Range<usize>>,
    /// How many of its items, the first ones, are closed candles from before its messages.
    pub(super) candles: usize,
    pub(super) entry: usize,
}

/// The items of one topic.
#[derive(Debug)]
pub(super) struct GatheredTopic {
    pub(super) cell: Arc<TopicCell>,
    pub(super) life: LifeNumber,
    /// For a topic of a checkpoint. Otherwise its items follow on what it has.
    pub(super) checkpointed: Option<Checkpointed>,
    pub(super) count: usize,
}

/// Items of a file, by their topics. Its memory is used again for others.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    pub(super) items: Vec<Gathered>,
    pub(super) topics: Vec<GatheredTopic>,
    /// The places of the items, those of each topic together and in their order.
    pub(super) order: Vec<u32>,
    /// The places in `order` where the items of each topic begin.
    pub(super) begins: Vec<usize>,
}

/// Items that enter together.
#[derive(Debug)]
pub(super) struct Together {
    pub(super) file: Position,
    pub(super) bytes: Arc<Vec<u8>>,
    pub(super) sorted: Sorted,
    pub(super) directory: Arc<Directory>,
    pub(super) now: Micros,
}

impl Sorted {
    /// Sorts the places of the items by their topics.
    pub(super) fn sort(&mut self) {
        self.begins.clear();
        let mut at = 0;
        for topic in &self.topics {
            self.begins.push(at);
            at += topic.count;
        }
        // While items are put in, the place where those of a topic begin is the next free one.
        self.order.resize(at, 0);
        for (place, item) in (0_u32..).zip(&self.items) {
            let free = &mut self.begins[item.topic as usize];
            self.order[*free] = place;
            *free += 1;
        }
        for (begin, topic) in self.begins.iter_mut().zip(&self.topics) {
            *begin -= topic.count;
        }
        self.begins.push(at);
        if is_planted(JournalFault::OrderLost) {
            self.order.reverse();
        }
    }

    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.topics.clear();
    }

    /// The places of a topic's items.
    fn items_of(&self, topic: usize) -> &[u32] {
        &self.order[self.begins[topic]..self.begins[topic + 1]]
    }
}

impl Together {
    /// Enters the part of the topics that is thread `number`'s, of `all` threads.
    pub(super) fn enter_topics(&self, number: usize, all: usize) -> Result<(), NotFilled> {
        let mine = |at: &usize| self.sorted.topics[*at].life.0 % all == number;
        let (mut ahead, mut fetched) = ((0..self.sorted.topics.len()).filter(mine), 0);
        for at in (0..self.sorted.topics.len()).filter(mine) {
            let items = self.sorted.items_of(at);
            while fetched < items.len().max(FETCHED_AT_ONCE / 2) {
                let Some(next) = ahead.next() else { break };
                fetched += self.fetch(self.sorted.items_of(next));
            }
            fetched = fetched.saturating_sub(items.len());
            let topic = &self.sorted.topics[at];
            match &topic.checkpointed {
                Some(checkpointed) => self
                    .restore(&topic.cell, checkpointed, items)
                    .map_err(|refusal| self.wrong(checkpointed.entry, topic, &refusal.reason))?,
                None => self.go_on(topic, items)?,
            }
        }
        Ok(())
    }

    /// Looks at the texts of these items, and returns how many there are. None of these looks needs the outcome of another, so the
    /// processor waits for all of them together, and not for each when it is read.
    fn fetch(&self, items: &[u32]) -> usize {
        let mut looked = 0;
        for place in items.iter().take(FETCHED_AT_ONCE) {
            let (at, length) = self.sorted.items[*place as usize].text;
            let text = &self.bytes[at..at + length as usize];
            looked ^= text.iter().step_by(LINE_BYTES).fold(0, |all, byte| all ^ byte);
        }
        black_box(looked);
        items.len()
    }

    fn wrong(&self, offset: usize, topic: &GatheredTopic, what: &str) -> NotFilled {
        NotFilled {
            file: self.file,
            offset,
            what: format!("{}: {what}", topic.cell.topic()),
        }
    }

    /// The messages at these places of the items.
    fn messages<'a>(&'a self, places: &'a [u32]) -> impl ExactSizeIterator<Item = WrittenMessage<'a>> {
        places.iter().map(|place| {
            let item = &self.sorted.items[*place as usize];
            let (at, length) = item.text;
            let text = &self.bytes[at..at + length as usize];
            WrittenMessage {
                after: item.after,
                seq: item.seq,
                ts: item.ts,
                doubt: item.doubt,
                text: match item.form {
                    Form::Data | Form::End(_) => WrittenText::Data(text),
                    Form::Change => WrittenText::Change(text),
                    Form::Whole => WrittenText::Whole(text),
                },
            }
        })
    }

    /// Gives a topic what a checkpoint has of it.
    fn restore(&self, cell: &TopicCell, checkpointed: &Checkpointed, items: &[u32]) -> Result<(), Refusal> {
        let (candles, messages) = items.split_at(checkpointed.candles);
        let read = |items| {
            self.messages(items)
                .map(|message| message.read())
                .collect::<Result<_, _>>()
        };
        let book = checkpointed
            .book
            .clone()
            .map(|at| read_written_book(&self.bytes[at]));
        let state = RestoredState {
            head: checkpointed.head,
            book: book.transpose()?.map(|book| *book),
            candles: read(candles)?,
            messages: read(messages)?,
        };
        cell.restore(state, self.now)
    }

    /// Enters the messages of a topic, and ends it if its end follows.
    fn go_on(&self, topic: &GatheredTopic, items: &[u32]) -> Result<(), NotFilled> {
        let (messages, end) = match items.split_last() {
            Some((last, before)) => match self.sorted.items[*last as usize].form {
                Form::End(reason) => (before, Some(reason)),
                Form::Data | Form::Change | Form::Whole => (items, None),
            },
            None => (items, None),
        };
        let left_out = is_planted(JournalFault::LastLeftOut) && messages.len() > 1;
        let messages = &messages[..messages.len() - usize::from(left_out)];
        if !messages.is_empty() {
            let entered = self
                .directory
                .enter_written(&topic.cell, self.messages(messages), self.now);
            entered.map_err(|(at, error)| {
                let item = &self.sorted.items[messages[at] as usize];
                self.wrong(item.entry, topic, &format!("message {}: {error}", item.seq))
            })?;
        }
        if let Some(reason) = end.filter(|_| !is_planted(JournalFault::EndLost)) {
            self.directory.end_written(&topic.cell, reason);
        }
        Ok(())
    }
}
