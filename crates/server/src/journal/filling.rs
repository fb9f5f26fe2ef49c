//! Enters what a log says into topics: the messages of one topic together, and several topics at once.
//!
//! In a log the messages of all topics are mixed. Entered in that order, nearly each of them would wait for memory that
//! the processor has not touched lately, and one processor would do all. So the messages of a file are sorted by their topics
//! first. While they enter, the next file is read.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use thiserror::Error;
use tickwire_lane::{Content, Item, LifeNumber, Position, TopicState};
use tickwire_router::{Directory, TopicCell};
use tickwire_wire::Micros;

use super::gathered::{Checkpointed, Form, Gathered, GatheredTopic, Sorted, Together};

/// The number of messages from which on threads of their own enter them.
const MANY: usize = 4_096;
/// Most messages that are gathered before they enter, so that their places take a bounded number of bytes.
const GATHERED_MAX: usize = 1 << 20;
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
    pub(super) fn wrong(&self, offset: usize, what: impl Into<String>) -> NotFilled {
        NotFilled {
            file: self.file,
            offset,
            what: what.into(),
        }
    }

    /// Returns where `part` begins in the file. It must be a slice of the file's bytes.
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
            candles: state.candles.len(),
            entry,
        });
        for item in state.candles.iter().chain(&state.messages) {
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
