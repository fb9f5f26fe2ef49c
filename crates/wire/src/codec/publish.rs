//! Reads a `publish` of JSON in the form that nearly all clients send: in one pass and without a copy. A line of a bulk
//! body is read in the same way.
//!
//! That form is a map with the fields `op`, `topic`, `data` and perhaps `id`, once each and in any order. Names and the
//! topic have no escapes, and the id is an integer. Every other request is left to the reader of all requests, which
//! also says what is wrong with a bad one. What this reads, that one reads as the same.
//!
//! A message to a book is read as that, so that its text is not read again for its levels. The broker's rules may say
//! that the topic is no book. Then its text counts.

use super::book;
use crate::json_text::JsonSlice;
use crate::json_text::check::{digits_end, plain_string_end, skip_space, value_end, word_end};
use crate::market::Book;
use crate::message::{ClientMessage, Payload, RequestId};

/// The beginning of the topics that are books by the default rules (PROTOCOL.md, "Topics").
const BOOKS: &str = "book.";

/// A `publish` whose topic and data are lent from the bytes of the request.
#[derive(Debug, Clone, PartialEq)]
pub struct PlainPublish<'a> {
    /// The request's id, if it has one.
    pub id: Option<RequestId>,
    /// The topic, not validated.
    pub topic: &'a str,
    /// The data.
    pub data: JsonSlice<'a>,
    /// The same data as a book message, if it has the usual form of one and the topic is a book by the default rules.
    pub book: Option<Box<Book>>,
}

impl From<PlainPublish<'_>> for ClientMessage {
    fn from(publish: PlainPublish<'_>) -> Self {
        Self::Publish {
            id: publish.id,
            topic: publish.topic.to_owned(),
            data: Payload::Json(publish.data.to_text()),
            key: None,
            ts: None,
        }
    }
}

impl<'a> PlainPublish<'a> {
    /// The message in `line`, a line of a bulk body in the usual form: `{"topic","data"}`. `None` for every other line,
    /// which may be a message all the same.
    #[must_use]
    pub fn of_line(line: &'a [u8]) -> Option<Self> {
        Fields::read(line)?.publish(false)
    }
}

/// The publication in `bytes`, if they have the form that this reads.
pub(super) fn read(bytes: &[u8]) -> Option<PlainPublish<'_>> {
    Fields::read(bytes)?.publish(true)
}

/// The fields that were read.
#[derive(Default)]
struct Fields<'a> {
    /// Whether there is an `op`, which is that of a publication.
    has_op: bool,
    id: Option<RequestId>,
    topic: Option<&'a str>,
    data: Option<&'a str>,
    book: Option<Box<Book>>,
}

impl<'a> Fields<'a> {
    /// The fields of the map in `bytes`.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut fields = Self::default();
        let mut at = skip_space(bytes, 0);
        let mut separator = b'{';
        while *bytes.get(at)? == separator {
            separator = b',';
            let name = skip_space(bytes, at + 1);
            let name_end = plain_string_end(bytes, name)?;
            let colon_end = word_end(bytes, skip_space(bytes, name_end), b":")?;
            let value = skip_space(bytes, colon_end);
            at = skip_space(bytes, fields.fill(text, text.get(name..name_end)?, value)?);
        }
        let ends = *bytes.get(at)? == b'}' && skip_space(bytes, at + 1) == bytes.len();
        ends.then_some(fields)
    }

    /// Reads the value of the field `name` that begins at `at`. Returns its end.
    fn fill(&mut self, text: &'a str, name: &str, at: usize) -> Option<usize> {
        let bytes = text.as_bytes();
        match name {
            "\"op\"" if !self.has_op => {
                self.has_op = true;
                word_end(bytes, at, b"\"publish\"")
            }
            "\"topic\"" if self.topic.is_none() => {
                let end = plain_string_end(bytes, at)?;
                self.topic = Some(text.get(at + 1..end - 1)?);
                Some(end)
            }
            "\"data\"" if self.data.is_none() => {
                let is_book = self.topic.is_some_and(|topic| topic.starts_with(BOOKS));
                let end = match is_book.then(|| book::read(text, at)).flatten() {
                    Some((book, end)) => {
                        self.book = Some(book.into());
                        end
                    }
                    None => value_end(bytes, at)?,
                };
                self.data = Some(text.get(at..end)?);
                Some(end)
            }
            "\"id\"" if self.id.is_none() => {
                let end = digits_end(bytes, at);
                self.id = Some(integer(text.get(at..end)?)?);
                Some(end)
            }
            _ => None,
        }
    }

    /// The publication, a request with an `op` or a line without. A line has no id.
    fn publish(self, is_request: bool) -> Option<PlainPublish<'a>> {
        if self.has_op != is_request || self.id.is_some() && !is_request {
            return None;
        }
        Some(PlainPublish {
            id: self.id,
            topic: self.topic?,
            data: JsonSlice::checked(self.data?),
            book: self.book,
        })
    }
}

/// The number with these digits, if JSON allows them.
fn integer(digits: &str) -> Option<RequestId> {
    let has_extra_zero = digits.len() > 1 && digits.starts_with('0');
    (!has_extra_zero).then(|| digits.parse().ok())?.map(RequestId)
}
