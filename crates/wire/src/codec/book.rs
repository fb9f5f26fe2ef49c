//! Reads a book message of JSON in the form that nearly all publishers send: in one pass over its text, straight into its
//! levels.
//!
//! That form is a map with the fields of a [`Book`], once each and in any order. Names, the symbol and the numbers have no
//! escapes. Every other text is left to the reader of all books, which also says what is wrong with a bad one. What this
//! reads, that one reads as the same.

use crate::decimal::Decimal;
use crate::ids::Micros;
use crate::json_text::check::{digits_end, plain_string_end, skip_space, word_end};
use crate::market::{Book, Level, Symbol};

/// The book message that begins at `at` in `text`, and its end, if it has the form that this reads.
pub(crate) fn read(text: &str, at: usize) -> Option<(Book, usize)> {
    let bytes = text.as_bytes();
    let mut fields = Fields::default();
    let mut at = word_end(bytes, at, b"{")?;
    loop {
        let name = skip_space(bytes, at);
        let name_end = plain_string_end(bytes, name)?;
        let colon_end = word_end(bytes, skip_space(bytes, name_end), b":")?;
        let value = skip_space(bytes, colon_end);
        at = skip_space(bytes, fields.fill(text, text.get(name..name_end)?, value)?);
        match *bytes.get(at)? {
            b',' => at += 1,
            b'}' => return Some((fields.book()?, at + 1)),
            _ => return None,
        }
    }
}

/// The fields that were read.
#[derive(Default)]
struct Fields<'a> {
    symbol: Option<&'a str>,
    bids: Option<Vec<Level>>,
    asks: Option<Vec<Level>>,
    checksum: Option<u32>,
    time: Option<u64>,
    replace: Option<bool>,
}

impl<'a> Fields<'a> {
    /// Reads the value of the field `name` that begins at `at`. Returns its end.
    fn fill(&mut self, text: &'a str, name: &str, at: usize) -> Option<usize> {
        let bytes = text.as_bytes();
        match name {
            "\"symbol\"" if self.symbol.is_none() => {
                let end = plain_string_end(bytes, at)?;
                self.symbol = Some(text.get(at + 1..end - 1)?);
                Some(end)
            }
            "\"bids\"" if self.bids.is_none() => {
                let (levels, end) = levels(text, at)?;
                self.bids = Some(levels);
                Some(end)
            }
            "\"asks\"" if self.asks.is_none() => {
                let (levels, end) = levels(text, at)?;
                self.asks = Some(levels);
                Some(end)
            }
            "\"checksum\"" if self.checksum.is_none() => {
                let (number, end) = whole(text, at)?;
                self.checksum = Some(number.try_into().ok()?);
                Some(end)
            }
            "\"time\"" if self.time.is_none() => {
                let (number, end) = whole(text, at)?;
                self.time = Some(number);
                Some(end)
            }
            "\"replace\"" if self.replace.is_none() => {
                let (whole, word): (_, &[u8]) = match *bytes.get(at)? {
                    b't' => (true, b"true"),
                    _ => (false, b"false"),
                };
                self.replace = Some(whole);
                word_end(bytes, at, word)
            }
            _ => None,
        }
    }

    fn book(self) -> Option<Book> {
        Some(Book {
            symbol: Symbol::from(self.symbol?),
            bids: self.bids.unwrap_or_default(),
            asks: self.asks.unwrap_or_default(),
            checksum: self.checksum.unwrap_or_default(),
            time: Micros(self.time?),
            replace: self.replace.unwrap_or_default(),
        })
    }
}

/// The whole number at `at`, and its end. JSON allows no further zero before it.
fn whole(text: &str, at: usize) -> Option<(u64, usize)> {
    let end = digits_end(text.as_bytes(), at);
    let digits = text.get(at..end)?;
    // What ends it is seen by whoever goes on there: a fraction or an exponent is not what comes next in a map.
    let has_extra_zero = digits.len() > 1 && digits.starts_with('0');
    (!has_extra_zero)
        .then(|| digits.parse().ok())?
        .map(|number| (number, end))
}

/// The levels of the array at `at`, and its end. They hold no more memory than they need.
fn levels(text: &str, at: usize) -> Option<(Vec<Level>, usize)> {
    let bytes = text.as_bytes();
    let mut at = skip_space(bytes, word_end(bytes, at, b"[")?);
    if *bytes.get(at)? == b']' {
        return Some((Vec::new(), at + 1));
    }
    let (first, end) = level(text, at)?;
    at = skip_space(bytes, end);
    // Most changes are of one level, and have no room for more then.
    let mut levels = vec![first];
    loop {
        match *bytes.get(at)? {
            b',' => at = skip_space(bytes, at + 1),
            b']' => break,
            _ => return None,
        }
        let (level, end) = level(text, at)?;
        levels.push(level);
        at = skip_space(bytes, end);
    }
    levels.shrink_to_fit();
    Some((levels, at + 1))
}

/// The level at `at`, `["61838","1.5"]`, and its end.
fn level(text: &str, at: usize) -> Option<(Level, usize)> {
    let bytes = text.as_bytes();
    let (price, end) = decimal(text, skip_space(bytes, word_end(bytes, at, b"[")?))?;
    let comma_end = word_end(bytes, skip_space(bytes, end), b",")?;
    let (size, end) = decimal(text, skip_space(bytes, comma_end))?;
    let end = word_end(bytes, skip_space(bytes, end), b"]")?;
    Some((Level { price, size }, end))
}

/// The decimal number in quotes at `at`, and its end.
fn decimal(text: &str, at: usize) -> Option<(Decimal, usize)> {
    let bytes = text.as_bytes();
    let start = word_end(bytes, at, b"\"")?;
    let rest = bytes.get(start..)?;
    let end = start
        + rest
            .iter()
            .position(|byte| !matches!(byte, b'0'..=b'9' | b'.' | b'-'))?;
    let number = text.get(start..end)?.parse().ok()?;
    Some((number, word_end(bytes, end, b"\"")?))
}
