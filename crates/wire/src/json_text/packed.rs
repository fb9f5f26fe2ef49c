//! Converts JSON text to MessagePack, and MessagePack to JSON text.
//!
//! Both directions go value by value, without recursion and without a tree in between.

use super::number::{self, Equal, equal};
use super::scan::{Scanner, Token};
use super::{JsonText, Malformed};
use crate::limits::NESTING_MAX;
use crate::msgpack::read::{Input, PackedItem, utf8};
use crate::msgpack::write::{self, Head};

impl JsonText {
    /// Converts the MessagePack value in `bytes`.
    ///
    /// # Errors
    /// If they are not exactly one value, or hold something that JSON does not have: binary data, extension types, keys
    /// that are not strings, floats that are not finite, or deeper nesting than a [`JsonText`] may have.
    ///
    /// ```
    /// use tickwire_wire::JsonText;
    /// assert_eq!(JsonText::from_msgpack(b"\x81\xa1a\x93\x01\xc0\xa1\"").unwrap().as_str(), r#"{"a":[1,null,"\""]}"#);
    /// ```
    pub fn from_msgpack(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = Input::new(bytes);
        let mut text = String::with_capacity(bytes.len() * 2);
        let mut open: Vec<Unwritten> = Vec::new();
        loop {
            let mut is_key = false;
            if let Some(inner) = open.last_mut() {
                if inner.left == 0 {
                    text.push(if inner.is_map { '}' } else { ']' });
                    open.pop();
                    if open.is_empty() {
                        break;
                    }
                    continue;
                }
                is_key = inner.begin_next(&mut text);
            }
            let at = input.at();
            match input.item()? {
                PackedItem::String(bytes) => push_string(utf8(bytes, at)?, &mut text),
                _ if is_key => return Err(Malformed::KeyNotString(at)),
                PackedItem::Nil => text.push_str("null"),
                PackedItem::Bool(true) => text.push_str("true"),
                PackedItem::Bool(false) => text.push_str("false"),
                PackedItem::Unsigned(number) => text.push_str(itoa::Buffer::new().format(number)),
                PackedItem::Signed(number) => text.push_str(itoa::Buffer::new().format(number)),
                PackedItem::Float(number) => {
                    let mut buffer = zmij::Buffer::new();
                    let number = number::text_of(number, &mut buffer);
                    text.push_str(number.ok_or(Malformed::NotFinite(at))?);
                }
                PackedItem::Binary(_) => return Err(Malformed::NotJson { at, kind: "binary" }),
                PackedItem::Extension(_) => {
                    let kind = "extension type";
                    return Err(Malformed::NotJson { at, kind });
                }
                PackedItem::Array(_) | PackedItem::Map(_) if open.len() == NESTING_MAX => {
                    return Err(Malformed::TooDeep(NESTING_MAX));
                }
                PackedItem::Array(len) => {
                    text.push('[');
                    open.push(Unwritten::new(len.into(), false));
                }
                PackedItem::Map(pairs) => {
                    text.push('{');
                    open.push(Unwritten::new(u64::from(pairs) * 2, true));
                }
            }
            if open.is_empty() {
                break;
            }
        }
        input.finish()?;
        Ok(Self(text.into()))
    }

    /// Appends the value as MessagePack. A number that has no equal in MessagePack is appended as a string with its
    /// text.
    ///
    /// ```
    /// use tickwire_wire::JsonText;
    /// let mut bytes = Vec::new();
    /// JsonText::parse(b"[1.5, 18446744073709551616]").unwrap().write_msgpack(&mut bytes);
    /// assert_eq!(bytes, b"\x92\xcb\x3f\xf8\0\0\0\0\0\0\xb418446744073709551616");
    /// ```
    pub fn write_msgpack(&self, out: &mut Vec<u8>) {
        let mut scanner = Scanner::new(&self.0);
        let mut heads = Heads::default();
        let mut buffer = String::new();
        // The whole text was checked before, so there is no error.
        while let Ok(Some(token)) = scanner.next() {
            if token == Token::Close {
                heads.close(out);
                continue;
            }
            heads.count();
            match token {
                Token::Null => write::nil(out),
                Token::Bool(truth) => write::bool(truth, out),
                Token::Number(text) => match equal(text) {
                    Equal::Unsigned(number) => write::unsigned(number, out),
                    Equal::Signed(number) => write::signed(number, out),
                    Equal::Float(number) => write::float(number, out),
                    Equal::None => write::string(text, out),
                },
                Token::String(quoted) => write::string(quoted.text(&mut buffer), out),
                Token::OpenArray => heads.open(false, out),
                Token::OpenMap => heads.open(true, out),
                Token::Close => {}
            }
        }
        heads.widen(out);
    }
}

/// A container with values that are still to be read. A map's keys count as values.
struct Unwritten {
    left: u64,
    is_map: bool,
    is_empty: bool,
}

impl Unwritten {
    const fn new(left: u64, is_map: bool) -> Self {
        Self {
            left,
            is_map,
            is_empty: true,
        }
    }

    /// Appends the separator before the next value. Returns whether that value is a key.
    fn begin_next(&mut self, text: &mut String) -> bool {
        let is_key = self.is_map && self.left.is_multiple_of(2);
        if self.is_map && !is_key {
            text.push(':');
        } else if !self.is_empty {
            text.push(',');
        }
        self.is_empty = false;
        self.left -= 1;
        is_key
    }
}

/// Appends `text` in quotes, with only those escapes that JSON requires.
fn push_string(text: &str, out: &mut String) {
    out.push('"');
    let mut written = 0;
    for (at, byte) in text.bytes().enumerate() {
        let short = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            0x08 => "\\b",
            b'\t' => "\\t",
            b'\n' => "\\n",
            0x0c => "\\f",
            b'\r' => "\\r",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&text[written..at]);
        if short.is_empty() {
            const DIGITS: [char; 16] = [
                '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
            ];
            out.push_str("\\u00");
            out.push(DIGITS[usize::from(byte >> 4)]);
            out.push(DIGITS[usize::from(byte & 0xf)]);
        } else {
            out.push_str(short);
        }
        written = at + 1;
    }
    out.push_str(&text[written..]);
    out.push('"');
}

/// The heads of containers. They say how many values follow, and are before these values.
///
/// A head is first written as one byte, which is enough for nearly all. The others are widened at the end, all in one
/// pass, so that no values are moved once for each container around them.
#[derive(Default)]
struct Heads {
    open: Vec<Begun>,
    long: Vec<(usize, Head)>,
}

/// A container that is being written.
struct Begun {
    /// The position of its head.
    at: usize,
    is_map: bool,
    /// The number of its values so far. A map's keys count as values.
    values: u32,
}

impl Heads {
    /// Counts one more value in the innermost container.
    fn count(&mut self) {
        if let Some(inner) = self.open.last_mut() {
            inner.values += 1;
        }
    }

    fn open(&mut self, is_map: bool, out: &mut Vec<u8>) {
        self.open.push(Begun {
            at: out.len(),
            is_map,
            values: 0,
        });
        out.push(0);
    }

    fn close(&mut self, out: &mut [u8]) {
        let Some(Begun { at, is_map, values }) = self.open.pop() else {
            return;
        };
        let head = if is_map {
            Head::Map(values / 2)
        } else {
            Head::Array(values)
        };
        head.bytes(|bytes| match bytes {
            [byte] => out[at] = *byte,
            _ => self.long.push((at, head)),
        });
    }

    /// Widens each head that is longer than a byte, from the last to the first.
    fn widen(mut self, out: &mut Vec<u8>) {
        self.long.sort_unstable_by_key(|(at, _)| *at);
        let more = self.long.iter().map(|(_, head)| head.bytes(<[u8]>::len) - 1);
        let (mut end, mut to) = (out.len(), out.len() + more.sum::<usize>());
        out.resize(to, 0);
        for (at, head) in self.long.into_iter().rev() {
            to -= end - (at + 1);
            out.copy_within(at + 1..end, to);
            head.bytes(|bytes| {
                to -= bytes.len();
                out[to..to + bytes.len()].copy_from_slice(bytes);
            });
            end = at;
        }
    }
}
