//! The check of a body before its first line is published.
//!
//! What is kept of a line lends from the body, except for the levels of a book. Bounded by [`KEPT_BYTES_MAX`], and by what
//! the broker allows of topics.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use rustc_hash::FxBuildHasher;
use tickwire_router::{BookTrial, TopicCell, ValueTrial, check_symbol, read_book};
use tickwire_wire::market::{Book, Level};
use tickwire_wire::{JsonSlice, Kind, Payload, Refusal, Topic};

use super::Bulk;
use crate::http::{BadLine, LineExtras, LineMessage, Lines, parse_line};

/// Most bytes that are kept of lines from the check to the publication, beside the body itself. What is kept of a short line
/// may need many times its bytes.
pub(super) const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The number of topics that are found without a look into the table of all.
const RECENT_TOPICS: usize = 1_024;

/// A line that was checked.
#[derive(Debug)]
pub(super) struct Ready<'b> {
    /// Its number.
    pub(super) line: usize,
    /// The place of its topic in [`BodyTopics`].
    pub(super) topic: usize,
    /// Its data.
    pub(super) text: JsonSlice<'b>,
    /// Its data, if the topic is a book.
    pub(super) book: Option<Box<Book>>,
    /// Its key or its time, if it has any.
    pub(super) extras: Option<Box<LineExtras>>,
}

impl Ready<'_> {
    /// A copy of the data that can be published.
    ///
    /// Books are copied, too, because those that are kept lie side by side in memory: once the topics dropped single ones, the
    /// holes would be too short for the frame of a message.
    pub(super) fn payload(&self) -> Payload {
        match &self.book {
            Some(book) => Payload::Book(book.clone()),
            None => Payload::Json(self.text.to_text()),
        }
    }

    /// About how many bytes of memory it holds.
    pub(super) fn memory_bytes(&self) -> usize {
        let book = self.book.as_ref().map_or(0, |book| {
            size_of::<Book>() + (book.bids.len() + book.asks.len()) * size_of::<Level>()
        });
        let extras = self.extras.as_ref().map_or(0, |extras| {
            let key = extras.key.as_ref().map_or(0, |key| key.as_str().len());
            size_of::<LineExtras>() + key
        });
        size_of::<Self>() + book + extras
    }
}

/// What a body says about one topic.
#[derive(Debug)]
pub(super) struct AboutTopic<'b> {
    pub(super) topic: Topic,
    /// The topic, if it was found.
    pub(super) cell: Option<Arc<TopicCell>>,
    content: Content<'b>,
}

#[derive(Debug)]
enum Content<'b> {
    /// The memory that the topic's value needs.
    Values(ValueTrial),
    /// The lines of a book, with their numbers.
    Book(Vec<(usize, &'b [u8])>),
}

impl<'b> AboutTopic<'b> {
    /// What is known of `topic` before its first line.
    pub(super) fn new(bulk: &Bulk, topic: Topic) -> Self {
        let directory = bulk.ingress.directory();
        let cell = directory.find(topic.as_str());
        let kind = match &cell {
            Some(cell) => cell.kind(),
            None => directory.kind_of(topic.as_str()),
        };
        let content = match kind {
            Kind::Book => Content::Book(Vec::new()),
            Kind::State | Kind::Event => Content::Values(ValueTrial::new(cell.as_deref())),
        };
        Self { topic, cell, content }
    }

    /// The data of one of its lines, if it is a book. The line's reader may have read it as that.
    fn book(&self, (text, read): (JsonSlice<'_>, Option<Box<Book>>)) -> Result<Option<Box<Book>>, Refusal> {
        if let Content::Values(_) = self.content {
            return Ok(None);
        }
        let topic = self.topic.as_str();
        match read {
            Some(book) => check_symbol(topic, &book).map(|()| Some(book)),
            None => read_book(topic, text.as_str()).map(Some),
        }
    }
}

/// The topics of a body, in the order of their first lines.
#[derive(Debug)]
pub(super) struct BodyTopics<'b> {
    pub(super) about: Vec<AboutTopic<'b>>,
    /// The places in `about`.
    by_name: HashMap<Topic, usize>,
    /// Places of some topics, each where the hash of its name says. It is not known whether another one has the same hash.
    recent: Box<[u32]>,
}

impl<'b> BodyTopics<'b> {
    pub(super) fn new() -> Self {
        Self {
            about: Vec::new(),
            by_name: HashMap::new(),
            recent: vec![0; RECENT_TOPICS].into(),
        }
    }

    /// The place of the topic `name`. If it is new, `make` says what is known of it.
    pub(super) fn place<E>(
        &mut self,
        name: &str,
        make: impl FnOnce() -> Result<AboutTopic<'b>, E>,
    ) -> Result<usize, E> {
        let recent = &mut self.recent[FxBuildHasher.hash_one(name) as usize % RECENT_TOPICS];
        if let Some(about) = self.about.get(*recent as usize)
            && about.topic.as_str() == name
        {
            return Ok(*recent as usize);
        }
        let place = match self.by_name.get(name) {
            Some(place) => *place,
            None => {
                let about = make()?;
                let place = self.about.len();
                self.by_name.insert(about.topic.clone(), place);
                self.about.push(about);
                place
            }
        };
        *recent = place as u32; // a body has fewer bytes than that
        Ok(place)
    }
}

/// A body that was checked.
#[derive(Debug)]
pub(super) struct Checked<'b> {
    /// The lines that are kept, in their order.
    pub(super) kept: Vec<Ready<'b>>,
    /// The lines after those.
    pub(super) rest: Lines<'b>,
    pub(super) topics: BodyTopics<'b>,
    kept_bytes: usize,
    new_topics: usize,
    /// The bytes that the values of all topics need more than before.
    growth: usize,
}

impl Bulk {
    /// Checks that every line can be published.
    pub(super) fn check(&self) -> Result<Checked<'_>, BadLine> {
        let mut lines = Lines::new(&self.text);
        let mut checked = Checked {
            kept: Vec::new(),
            rest: lines.clone(),
            topics: BodyTopics::new(),
            kept_bytes: 0,
            new_topics: 0,
            growth: 0,
        };
        let mut keeps = true;
        let mut bad = None;
        while let Some((line, text)) = lines.next() {
            match self.check_line(line, text, &mut checked) {
                Ok(ready) if keeps => {
                    checked.kept_bytes += ready.memory_bytes();
                    keeps = checked.kept_bytes <= KEPT_BYTES_MAX;
                    if keeps {
                        checked.kept.push(ready);
                        checked.rest = lines.clone();
                    }
                }
                Ok(_) => {}
                Err(refused) => {
                    bad = Some(refused);
                    break;
                }
            }
        }
        // A line that a book refuses may come before the first line that is bad by itself.
        let mut growth = checked.growth;
        let about = checked.topics.about.iter();
        let books = about.filter_map(|about| self.check_book(about, &checked.kept, &mut growth).err());
        let first_bad = books.chain(bad).min_by_key(|bad| bad.line);
        first_bad.map_or(Ok(checked), Err)
    }

    /// Checks a line by itself.
    fn check_line<'b>(
        &self,
        line: usize,
        text: &'b [u8],
        checked: &mut Checked<'b>,
    ) -> Result<Ready<'b>, BadLine> {
        let bad = |refusal| BadLine::new(line, refusal);
        let LineMessage {
            topic: name,
            data,
            book,
            extras,
        } = parse_line(line, text, self.message_bytes)?;
        let new_topics = &mut checked.new_topics;
        let topic = checked.topics.place(&name, || self.new_topic(&name, new_topics));
        let topic = topic.map_err(bad)?;
        let about = &mut checked.topics.about[topic];
        let book = about.book((data, book)).map_err(bad)?;
        let is_duplicate = match &extras {
            None => false,
            Some(extras) => self.is_duplicate(about, extras).map_err(bad)?,
        };
        match &mut about.content {
            _ if is_duplicate => {} // it changes nothing
            Content::Values(trial) => {
                let more = trial.publish(data.as_str().len());
                if more > 0 {
                    checked.growth += more;
                    let room = self.ingress.directory().check_value_room(checked.growth);
                    room.map_err(bad)?;
                }
            }
            Content::Book(lines) => lines.push((line, text)),
        }
        Ok(Ready {
            line,
            topic,
            text: data,
            book,
            extras,
        })
    }

    /// Whether the key of a line is known. Checks that the line may have the time that it has.
    fn is_duplicate(&self, about: &AboutTopic<'_>, extras: &LineExtras) -> Result<bool, Refusal> {
        self.rights.check_stamp(extras.ts)?;
        let (directory, now) = (self.ingress.directory(), self.clock.now());
        let key = extras.key.as_ref();
        Ok(key.is_some_and(|key| directory.knows_key(&about.topic, key, now)))
    }

    /// Checks that there may be messages to the topic `name`. No line before named it.
    fn new_topic<'b>(&self, name: &str, new_topics: &mut usize) -> Result<AboutTopic<'b>, Refusal> {
        let topic = name.parse()?;
        self.rights.check_publish(name)?;
        let about = AboutTopic::new(self, topic);
        if about.cell.is_none() {
            *new_topics += 1;
            let directory = self.ingress.directory();
            directory.check_room(Some(self.publisher), *new_topics)?;
        }
        Ok(about)
    }

    /// Checks on a copy that a book accepts the changes in its lines, and that the values have room for it beside those that
    /// need `growth` bytes more than before. Adds to these what the book needs.
    fn check_book(
        &self,
        about: &AboutTopic<'_>,
        kept: &[Ready<'_>],
        growth: &mut usize,
    ) -> Result<(), BadLine> {
        let lines = match &about.content {
            Content::Book(lines) if !lines.is_empty() => lines,
            _ => return Ok(()),
        };
        let directory = self.ingress.directory();
        // It may have been made since its first line was read.
        let mut trial = match directory.find(about.topic.as_str()) {
            Some(cell) => cell.trial(),
            None => BookTrial::new(about.topic.clone()),
        };
        let before = *growth;
        for (line, text) in lines {
            let bad = |refusal| BadLine::new(*line, refusal);
            let payload = match kept.binary_search_by_key(line, |ready| ready.line) {
                Ok(at) => kept[at].payload(),
                Err(_) => {
                    let LineMessage { data, book, .. } = parse_line(*line, text, self.message_bytes)?;
                    let book = about.book((data, book)).map_err(bad)?;
                    book.map_or_else(|| Payload::Json(data.to_text()), Payload::Book)
                }
            };
            *growth = before + trial.publish(payload).map_err(bad)?;
            directory.check_value_room(*growth).map_err(bad)?;
        }
        Ok(())
    }
}
