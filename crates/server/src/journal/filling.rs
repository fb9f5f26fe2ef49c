//! Enters what a log says into topics: the messages of one topic together, and several topics at once.
//!
//! In a log the messages of all topics are mixed. Entered in that order, nearly each of them would wait for memory that
//! the processor has not touched lately, and one processor would do all. So the messages of a file are sorted by their topics
//! first. While they enter, the next file is read.

use std::hint::black_box;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use thiserror::Error;
use tickwire_lane::{Content, Item, LifeNumber, Position, TopicState};
use tickwire_router::{Directory, RestoredState, TopicCell, WrittenMessage, WrittenText, read_written_book};
use tickwire_wire::message::{EndReason, StaleReason};
use tickwire_wire::{Micros, Refusal, Seq};

use super::planted::{JournalFault, is_planted};

/// The number of messages from which on threads of their own enter them.
const MANY: usize = 4_096;
/// Most messages that are gathered before they enter, so that their places take a bounded number of bytes.
const GATHERED_MAX: usize = 1 << 20;
/// The number of messages whose text is fetched from memory at once.
const FETCHED_AT_ONCE: usize = 256;
/// The bytes of memory that a processor fetches at once.
const LINE_BYTES: usize = 64;
/// No topic.
const NONE: u32 = u32::MAX;

/// Why something of a log does not enter.
#[derive(Debug, Clone, Error)]
#[error("at byte {offset}: {what}")]
pub(super) struct NotFilled {
    /// The file: the place where it begins in the log.
    pub(super) file: Position,
    /// Where the entry begins in the file.
    pub(super) offset: usize,
    /// What is wrong there.
    pub(super) what: String,
}

/// What a gathered item is.
#[derive(Debug, Clone, Copy)]
enum Form {
    Data,
    Change,
    Whole,
    End(EndReason),
}

/// An item of a log, by its place in the file.
#[derive(Debug, Clone, Copy)]
struct Gathered {
    /// The topic among those that are gathered.
    topic: u32,
    form: Form,
    doubt: Option<StaleReason>,
    /// Where its entry begins.
    entry: usize,
    /// Where its text is.
    text: (usize, u32),
    after: Seq,
    seq: Seq,
    ts: Micros,
}

/// What a checkpoint has of a topic beside its messages.
#[derive(Debug)]
struct Checkpointed {
    head: Seq,
    /// Where the whole book is.
    book: Option<Range<usize>>,
    entry: usize,
}

/// The items of one topic.
#[derive(Debug)]
struct GatheredTopic {
    cell: Arc<TopicCell>,
    life: LifeNumber,
    /// For a topic of a checkpoint. Otherwise its items follow on what it has.
    checkpointed: Option<Checkpointed>,
    count: usize,
}

/// Items of a file, by their topics. Its memory is used again for others.
#[derive(Debug, Default)]
struct Sorted {
    items: Vec<Gathered>,
    topics: Vec<GatheredTopic>,
    /// The places of the items, those of each topic together and in their order.
    order: Vec<u32>,
    /// The places in `order` where the items of each topic begin.
    begins: Vec<usize>,
}

/// Items that enter together.
#[derive(Debug)]
struct Together {
    file: Position,
    bytes: Arc<Vec<u8>>,
    sorted: Sorted,
    directory: Arc<Directory>,
    now: Micros,
}

/// A thread that enters topics. A topic always has the same one, since memory is given back most quickly by the thread that took it.
#[derive(Debug)]
struct Helper {
    work: Sender<Arc<Together>>,
    done: Receiver<Result<(), NotFilled>>,
    handle: JoinHandle<()>,
}

impl Helper {
    fn start(number: usize, all: usize) -> io::Result<Self> {
        let (work, take) = channel::<Arc<Together>>();
        let (say, done) = channel();
        let builder = std::thread::Builder::new().name("recovery".to_owned());
        let handle = builder.spawn(move || {
            for together in take {
                let entered = together.enter_topics(number, all);
                drop(together);
                if say.send(entered).is_err() {
                    return; // nobody waits any more
                }
            }
        })?;
        Ok(Self { work, done, handle })
    }
}

/// Gathers the items of files, and enters them.
#[derive(Debug)]
pub(super) struct Filling {
    directory: Arc<Directory>,
    now: Micros,
    file: Position,
    bytes: Arc<Vec<u8>>,
    gathered: Sorted,
    /// The places of lives among the topics that are gathered; [`NONE`] for those that have nothing there.
    by_life: Vec<u32>,
    /// How many threads are to help.
    threads: usize,
    helpers: Vec<Helper>,
    /// What the helpers enter.
    entering: Option<Arc<Together>>,
    /// Memory that is used again.
    spare: Sorted,
    spare_bytes: Vec<u8>,
}

impl Filling {
    pub(super) fn new(directory: Arc<Directory>, now: Micros) -> Self {
        Self {
            directory,
            now,
            file: Position(0),
            bytes: Arc::default(),
            gathered: Sorted::default(),
            by_life: Vec::new(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            helpers: Vec::new(),
            entering: None,
            spare: Sorted::default(),
            spare_bytes: Vec::new(),
        }
    }

    /// Goes on with the items of another file.
    ///
    /// # Errors
    /// If something of the files before does not enter.
    pub(super) fn begin_file(&mut self, file: Position, bytes: &Arc<Vec<u8>>) -> Result<(), NotFilled> {
        self.enter()?;
        (self.file, self.bytes) = (file, bytes.clone());
        Ok(())
    }

    /// Memory for the bytes of another file.
    pub(super) fn memory(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.spare_bytes)
    }

    /// What is wrong at `offset` of the file.
    pub(super) fn wrong(&self, offset: usize, what: impl ToString) -> NotFilled {
        NotFilled {
            file: self.file,
            offset,
            what: what.to_string(),
        }
    }

    /// Where `part` is in the file's bytes, of which it is a part.
    fn place(&self, part: &[u8]) -> usize {
        part.as_ptr().addr() - self.bytes.as_ptr().addr()
    }

    /// The place of a topic among those that are gathered.
    fn topic(&mut self, life: LifeNumber, cell: &Arc<TopicCell>) -> u32 {
        if self.by_life.len() <= life.0 {
            self.by_life.resize(life.0 + 1, NONE);
        }
        let place = &mut self.by_life[life.0];
        if *place == NONE {
            // There are at most as many topics as items, and these are bounded.
            *place = u32::try_from(self.gathered.topics.len()).unwrap_or(NONE);
            self.gathered.topics.push(GatheredTopic {
                cell: cell.clone(),
                life,
                checkpointed: None,
                count: 0,
            });
        }
        *place
    }

    fn push(&mut self, topic: u32, entry: usize, item: &Item<'_>) -> Result<(), NotFilled> {
        let (form, text): (_, &[u8]) = match item.content {
            Content::Data(text) => (Form::Data, text),
            Content::Change(text) => (Form::Change, text),
            Content::Whole(text) => (Form::Whole, text),
            Content::End(reason) => (Form::End(reason), &[]),
            Content::Gap(_) => return Err(self.wrong(entry, "a gap is no message of a broker's log")),
        };
        let place = if text.is_empty() { 0 } else { self.place(text) };
        self.gathered.topics[topic as usize].count += 1;
        self.gathered.items.push(Gathered {
            topic,
            form,
            doubt: item.doubt,
            entry,
            // A frame has fewer bytes than 4 GiB.
            text: (place, u32::try_from(text.len()).unwrap_or(u32::MAX)),
            after: item.after,
            seq: item.seq,
            ts: item.ts,
        });
        Ok(())
    }

    /// Gathers an item of the entry at `entry` that is the next of its topic.
    ///
    /// # Errors
    /// If something before it does not enter.
    pub(super) fn item(
        &mut self,
        (life, cell): (LifeNumber, &Arc<TopicCell>),
        entry: usize,
        item: &Item<'_>,
    ) -> Result<(), NotFilled> {
        let topic = self.topic(life, cell);
        self.push(topic, entry, item)?;
        self.enter_if_many()
    }

    /// Gathers what a checkpoint has of a topic, which begins at `entry`.
    ///
    /// # Errors
    /// If something before it does not enter.
    pub(super) fn checkpointed(
        &mut self,
        (life, cell): (LifeNumber, &Arc<TopicCell>),
        entry: usize,
        state: &TopicState<'_>,
    ) -> Result<(), NotFilled> {
        let topic = self.topic(life, cell);
        let book = state.book.map(|book| {
            let place = self.place(book);
            place..place + book.len()
        });
        self.gathered.topics[topic as usize].checkpointed = Some(Checkpointed {
            head: state.topic.head,
            book,
            entry,
        });
        for item in &state.messages {
            self.push(topic, entry, item)?;
        }
        self.enter_if_many()
    }

    fn enter_if_many(&mut self) -> Result<(), NotFilled> {
        if self.gathered.items.len() >= GATHERED_MAX {
            self.enter()?;
        }
        Ok(())
    }

    /// Begins to enter what was gathered, once everything before it has entered.
    fn enter(&mut self) -> Result<(), NotFilled> {
        for topic in &self.gathered.topics {
            self.by_life[topic.life.0] = NONE;
        }
        self.gathered.sort();
        self.wait()?;
        if self.gathered.topics.is_empty() {
            return Ok(());
        }
        let together = Arc::new(Together {
            file: self.file,
            bytes: self.bytes.clone(),
            sorted: std::mem::replace(&mut self.gathered, std::mem::take(&mut self.spare)),
            directory: self.directory.clone(),
            now: self.now,
        });
        if together.sorted.items.len() < MANY || !self.has_helpers() {
            let entered = together.enter_topics(0, 1);
            self.use_again(together);
            return entered;
        }
        for helper in &self.helpers {
            // Its channel is closed only if it has panicked, which shows when it is waited for.
            let _closed = helper.work.send(together.clone());
        }
        self.entering = Some(together);
        Ok(())
    }

    /// Keeps the memory of what has entered.
    fn use_again(&mut self, together: Arc<Together>) {
        // No helper has it any more.
        if let Some(Together { sorted, bytes, .. }) = Arc::into_inner(together) {
            self.spare = sorted;
            self.spare.clear();
            self.spare_bytes = Arc::into_inner(bytes).unwrap_or_default();
        }
    }

    /// Starts the helpers, if there are none. Without any, the caller does their work.
    fn has_helpers(&mut self) -> bool {
        let all = self.threads;
        if all > 1 && self.helpers.is_empty() {
            let helpers = (0..all).map(|number| Helper::start(number, all));
            match helpers.collect() {
                Ok(helpers) => self.helpers = helpers,
                Err(error) => {
                    tracing::warn!(%error, "threads to read the journal could not be started; one reads it");
                    self.threads = 1;
                }
            }
        }
        !self.helpers.is_empty()
    }

    /// Waits for the helpers.
    fn wait(&mut self) -> Result<(), NotFilled> {
        let mut first: Result<(), NotFilled> = Ok(());
        let Some(together) = self.entering.take() else {
            return first;
        };
        for at in 0..self.helpers.len() {
            let Ok(entered) = self.helpers[at].done.recv() else {
                let helper = self.helpers.swap_remove(at);
                match helper.handle.join() {
                    Err(panic) => std::panic::resume_unwind(panic),
                    Ok(()) => return Err(self.wrong(0, "a thread that reads the journal has ended")),
                }
            };
            first = match (first, entered) {
                (Err(one), Err(other)) if other.offset < one.offset => Err(other),
                (Err(one), _) => Err(one),
                (Ok(()), entered) => entered,
            };
        }
        self.use_again(together);
        first
    }

    /// Enters everything that was gathered, and waits for that.
    ///
    /// # Errors
    /// If something of it does not enter.
    pub(super) fn finish(&mut self) -> Result<(), NotFilled> {
        self.enter()?;
        self.wait()
    }
}

impl Sorted {
    /// Sorts the places of the items by their topics.
    fn sort(&mut self) {
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

    fn clear(&mut self) {
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
    fn enter_topics(&self, number: usize, all: usize) -> Result<(), NotFilled> {
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
        let messages = self.messages(items).map(|message| message.read());
        let book = checkpointed
            .book
            .clone()
            .map(|at| read_written_book(&self.bytes[at]));
        let state = RestoredState {
            head: checkpointed.head,
            book: book.transpose()?.map(|book| *book),
            messages: messages.collect::<Result<_, _>>()?,
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
