//! Converts JSON text to MessagePack, and MessagePack to JSON text.
//!
//! Both directions go value by value, without recursion and without a tree in between.

use super::number::{Equal, equal};
use super::scan::{Scanner, Token};
use super::{JsonText, Malformed};
use crate::msgpack::read::Input;
use crate::msgpack::value::push;
use crate::msgpack::walk::walk;
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
        let mut text = Vec::with_capacity(bytes.len() * 2);
        walk(&mut input, |piece| push(piece, &mut text))?;
        input.finish()?;
        Ok(Self::made(text))
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
