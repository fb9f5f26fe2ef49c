//! Reads JSON text token by token (RFC 8259), without recursion and without heap memory.
//!
//! Each open container has one bit that says whether it is a map. So their number has a limit.

use super::JsonError;
use crate::limits::NESTING_MAX;

const _: () = assert!(NESTING_MAX <= 64, "a bit for each open container");

/// The parts of a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Null,
    Bool(bool),
    /// The number's text.
    Number(&'a str),
    /// A value, or the key of a pair, whose value is the next token.
    String(Quoted<'a>),
    OpenArray,
    OpenMap,
    /// The end of the innermost container.
    Close,
}

/// The text between the quotes of a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quoted<'a> {
    raw: &'a str,
    has_escapes: bool,
}

/// The tokens that may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Value,
    /// An array has just begun.
    ValueOrClose,
    Key,
    /// A map has just begun.
    KeyOrClose,
    CommaOrClose,
    End,
}

impl Expected {
    const fn name(self) -> &'static str {
        match self {
            Self::Value => "a value",
            Self::ValueOrClose => "a value or ]",
            Self::Key => "a key in quotes",
            Self::KeyOrClose => "a key in quotes or }",
            Self::CommaOrClose => "a comma or the end of the array or map",
            Self::End => "the end of the text",
        }
    }
}

/// A text that is being read.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    expected: Expected,
    depth: usize,
    /// One bit for each open container, the innermost one lowest. It is set if the container is a map.
    maps: u64,
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// `text` without the white space around it.
pub(super) fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\r'])
}

impl<'a> Scanner<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            expected: Expected::Value,
            depth: 0,
            maps: 0,
        }
    }

    /// The next token. `None` at the end of the text.
    pub(super) fn next(&mut self) -> Result<Option<Token<'a>>, JsonError> {
        loop {
            let Some(byte) = self.skip_space() else {
                return match self.expected {
                    Expected::End => Ok(None),
                    expected => Err(JsonError::CutShort(self.at, expected.name())),
                };
            };
            match (self.expected, byte) {
                (Expected::CommaOrClose, b',') => {
                    self.at += 1;
                    self.expected = if self.is_in_map() {
                        Expected::Key
                    } else {
                        Expected::Value
                    };
                }
                (Expected::CommaOrClose | Expected::KeyOrClose, b'}') if self.is_in_map() => {
                    return Ok(Some(self.close()));
                }
                (Expected::CommaOrClose | Expected::ValueOrClose, b']') if !self.is_in_map() => {
                    return Ok(Some(self.close()));
                }
                (Expected::Key | Expected::KeyOrClose, b'"') => {
                    let key = self.string()?;
                    match self.skip_space() {
                        Some(b':') => self.at += 1,
                        Some(_) => return Err(self.unexpected("a colon")),
                        None => return Err(JsonError::CutShort(self.at, "a colon")),
                    }
                    self.expected = Expected::Value;
                    return Ok(Some(Token::String(key)));
                }
                (Expected::Value | Expected::ValueOrClose, _) => return self.value(byte).map(Some),
                (expected, _) => return Err(self.unexpected(expected.name())),
            }
        }
    }

    fn value(&mut self, first: u8) -> Result<Token<'a>, JsonError> {
        let token = match first {
            b'{' => return self.open(true),
            b'[' => return self.open(false),
            b'"' => Token::String(self.string()?),
            b'-' | b'0'..=b'9' => Token::Number(self.number()?),
            b'n' => self.word("null", Token::Null)?,
            b't' => self.word("true", Token::Bool(true))?,
            b'f' => self.word("false", Token::Bool(false))?,
            _ => return Err(self.unexpected(self.expected.name())),
        };
        self.value_ended();
        Ok(token)
    }

    fn open(&mut self, map: bool) -> Result<Token<'a>, JsonError> {
        if self.depth == NESTING_MAX {
            return Err(JsonError::TooDeep);
        }
        self.at += 1;
        self.depth += 1;
        self.maps = self.maps << 1 | u64::from(map);
        let (expected, token) = if map {
            (Expected::KeyOrClose, Token::OpenMap)
        } else {
            (Expected::ValueOrClose, Token::OpenArray)
        };
        self.expected = expected;
        Ok(token)
    }

    fn close(&mut self) -> Token<'a> {
        self.at += 1;
        self.depth -= 1;
        self.maps >>= 1;
        self.value_ended();
        Token::Close
    }

    const fn value_ended(&mut self) {
        self.expected = if self.depth == 0 {
            Expected::End
        } else {
            Expected::CommaOrClose
        };
    }

    const fn is_in_map(&self) -> bool {
        self.maps & 1 == 1
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Skips white space and returns the next byte.
    fn skip_space(&mut self) -> Option<u8> {
        while let Some(byte) = self.peek() {
            if !is_space(byte) {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    const fn unexpected(&self, expected: &'static str) -> JsonError {
        JsonError::Unexpected {
            at: self.at,
            expected,
        }
    }

    /// The text that was read from `start` on.
    fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn word(&mut self, word: &'static str, token: Token<'a>) -> Result<Token<'a>, JsonError> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return Err(self.unexpected(word));
        }
        self.at += word.len();
        Ok(token)
    }

    /// Reads a number (RFC 8259 §6).
    fn number(&mut self) -> Result<&'a str, JsonError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
            if matches!(self.peek(), Some(b'0'..=b'9')) {
                return Err(self.unexpected("a number without leading zeros"));
            }
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        let mut has_exponent = false;
        if matches!(self.peek(), Some(b'e' | b'E')) {
            has_exponent = true;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let number = self.since(start);
        // Floats reach beyond 10^308.
        let may_be_too_large = has_exponent || number.len() > 300;
        if may_be_too_large && !number.parse::<f64>().is_ok_and(f64::is_finite) {
            return Err(JsonError::OutOfRange(start));
        }
        Ok(number)
    }

    /// Reads one or more digits.
    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        match self.peek() {
            _ if self.at > start => Ok(()),
            Some(_) => Err(self.unexpected("a digit")),
            None => Err(JsonError::CutShort(self.at, "a digit")),
        }
    }

    /// Reads a string (RFC 8259 §7).
    fn string(&mut self) -> Result<Quoted<'a>, JsonError> {
        self.at += 1;
        let start = self.at;
        let mut has_escapes = false;
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            let plain = rest
                .iter()
                .position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
            let Some(plain) = plain else {
                return Err(JsonError::CutShort(self.text.len(), "the end of a string"));
            };
            self.at += plain;
            match rest[plain] {
                b'"' => break,
                b'\\' => {
                    has_escapes = true;
                    self.escape()?;
                }
                _ => return Err(JsonError::ControlCharacter(self.at)),
            }
        }
        let raw = self.since(start);
        self.at += 1;
        Ok(Quoted { raw, has_escapes })
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        let rest = self.text.get(start..).unwrap_or_default();
        let bad = JsonError::BadEscape(start);
        match rest.as_bytes().get(1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let unit = unit(rest).ok_or(bad)?;
                self.at += UNIT_BYTES;
                if let 0xd800..=0xdbff = unit {
                    let low = rest.get(UNIT_BYTES..).and_then(self::unit);
                    if !matches!(low, Some(0xdc00..=0xdfff)) {
                        return Err(JsonError::LoneSurrogate(start));
                    }
                    self.at += UNIT_BYTES;
                } else if let 0xdc00..=0xdfff = unit {
                    return Err(JsonError::LoneSurrogate(start));
                }
            }
            Some(_) => return Err(bad),
            None => return Err(JsonError::CutShort(self.text.len(), "the end of a string")),
        }
        Ok(())
    }
}

/// The length of an escape such as `\u0041`, in bytes.
const UNIT_BYTES: usize = 6;

/// The UTF-16 code unit of an escape such as `\u0041` at the start of `text`.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    hexadecimal.then(|| u16::from_str_radix(digits, 16).ok())?
}

impl<'a> Quoted<'a> {
    /// The string's text. It is written into `buffer` if the string has escapes.
    pub(super) fn text<'b>(self, buffer: &'b mut String) -> &'b str
    where
        'a: 'b,
    {
        if !self.has_escapes {
            return self.raw;
        }
        buffer.clear();
        let mut rest = self.raw;
        while let Some((plain, escaped)) = rest.split_once('\\') {
            buffer.push_str(plain);
            rest = match escaped.as_bytes().first() {
                Some(b'u') => {
                    let escape = &rest[plain.len()..];
                    let units = [unit(escape), escape.get(UNIT_BYTES..).and_then(unit)];
                    let units = units.into_iter().flatten();
                    // If the character has one unit, the second unit is read in the next turn.
                    let character = char::decode_utf16(units).next();
                    let character = character
                        .and_then(Result::ok)
                        .unwrap_or(char::REPLACEMENT_CHARACTER);
                    buffer.push(character);
                    escape
                        .get(UNIT_BYTES * character.len_utf16()..)
                        .unwrap_or_default()
                }
                letter => {
                    buffer.push(match letter {
                        Some(b'b') => '\u{8}',
                        Some(b'f') => '\u{c}',
                        Some(b'n') => '\n',
                        Some(b'r') => '\r',
                        Some(b't') => '\t',
                        Some(other) => char::from(*other),
                        None => char::REPLACEMENT_CHARACTER,
                    });
                    escaped.get(1..).unwrap_or_default()
                }
            };
        }
        buffer.push_str(rest);
        buffer
    }
}
