//! Published data in MessagePack, kept as it came.
//!
//! A [`PackedValue`] is made only by reading MessagePack from the first byte to the last. It is one value that JSON has, too,
//! within the limits of published data. Text is made of it when a reader of JSON needs that, and then again for each frame: it
//! is not kept here.

use std::fmt;

use super::read::{Input, Malformed};
use super::walk::{IsMap, Piece, walk};
use crate::json_text::JsonText;

/// One value as MessagePack.
#[derive(Clone, PartialEq, Eq)]
pub struct PackedValue(Box<[u8]>);

/// A [`PackedValue`] that is not copied: its bytes are lent by the message that they came in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PackedSlice<'a>(&'a [u8]);

impl<'a> PackedSlice<'a> {
    /// Checks `bytes`.
    ///
    /// # Errors
    /// If they are not exactly one value, or hold something that JSON does not have: binary data, extension types, keys
    /// that are not strings, floats that are not finite, or deeper nesting than a [`JsonText`] may have.
    ///
    /// ```
    /// use tickwire_wire::PackedSlice;
    /// let value = PackedSlice::parse(b"\x81\xa1a\x93\x01\xc0\xa1\"").unwrap();
    /// assert_eq!(value.to_json().as_str(), r#"{"a":[1,null,"\""]}"#);
    /// assert!(PackedSlice::parse(b"\x81\x01\xc0").is_err());
    /// ```
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut input = Input::new(bytes);
        let value = Self::next_of(&mut input)?;
        input.finish()?;
        Ok(value)
    }

    /// Checks the next value of `input`.
    pub(crate) fn next_of(input: &mut Input<'a>) -> Result<Self, Malformed> {
        let start = input.at();
        walk(input, |_| {})?;
        Ok(Self(input.since(start)))
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// A copy of the bytes.
    #[must_use]
    pub fn to_value(self) -> PackedValue {
        PackedValue(self.0.into())
    }

    /// The value as JSON.
    #[must_use]
    pub fn to_json(self) -> JsonText {
        let mut text = Vec::with_capacity(self.0.len() * 2);
        self.write_json(&mut text);
        JsonText::made(text)
    }

    /// Appends the value as JSON.
    pub fn write_json(self, out: &mut Vec<u8>) {
        // All bytes were checked before, so there is no error.
        let written = walk(&mut Input::new(self.0), |piece| push(piece, out));
        debug_assert_eq!(written, Ok(()), "{:02x?}", self.0);
    }
}

impl PackedValue {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same value, lent.
    #[must_use]
    pub fn as_slice(&self) -> PackedSlice<'_> {
        PackedSlice(&self.0)
    }
}

impl fmt::Debug for PackedSlice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_json(), f)
    }
}

impl fmt::Debug for PackedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.as_slice(), f)
    }
}

/// Appends `piece` as JSON.
pub(crate) fn push(piece: Piece<'_>, out: &mut Vec<u8>) {
    match piece {
        Piece::Null => out.extend_from_slice(b"null"),
        Piece::Bool(true) => out.extend_from_slice(b"true"),
        Piece::Bool(false) => out.extend_from_slice(b"false"),
        Piece::Unsigned(number) => out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
        Piece::Signed(number) => out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
        Piece::Float(number) => {
            let mut buffer = zmij::Buffer::new();
            out.extend_from_slice(buffer.format_finite(number).as_bytes());
        }
        Piece::String(text) => push_string(text, out),
        Piece::Open(IsMap(is_map)) => out.push(if is_map { b'{' } else { b'[' }),
        Piece::Close(IsMap(is_map)) => out.push(if is_map { b'}' } else { b']' }),
        Piece::Comma => out.push(b','),
        Piece::Colon => out.push(b':'),
    }
}

/// Appends `text` in quotes, with only those escapes that JSON requires.
fn push_string(text: &str, out: &mut Vec<u8>) {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let text = text.as_bytes();
    out.push(b'"');
    let mut written = 0;
    for (at, &byte) in text.iter().enumerate() {
        let short = match byte {
            b'"' | b'\\' => byte,
            0x08 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            0x0c => b'f',
            b'\r' => b'r',
            0..0x20 => 0,
            _ => continue,
        };
        out.extend_from_slice(&text[written..at]);
        if short == 0 {
            let digits = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]];
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&digits);
        } else {
            out.extend_from_slice(&[b'\\', short]);
        }
        written = at + 1;
    }
    out.extend_from_slice(&text[written..]);
    out.push(b'"');
}
