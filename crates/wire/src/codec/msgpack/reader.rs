//! Reads a message in MessagePack for serde, in one pass. It is strict about values that are read, not about skipped
//! ones.
//!
//! A field that is skipped may hold any MessagePack, nested as deep as it likes. A value that is read recurses no
//! deeper than [`DEPTH_MAX`]. Nothing is reserved for the length that a head promises.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use thiserror::Error;

use crate::limits::NESTING_MAX;
use crate::msgpack::read::{Input, Malformed, PackedItem, utf8};

/// The deepest nesting of values that are read. Data has no such limit here, because it is taken as bytes.
const DEPTH_MAX: usize = NESTING_MAX;

/// Why a message cannot be read.
#[derive(Debug, Error)]
pub(super) enum Unreadable {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("{0}")]
    Wrong(String),
}

impl serde::de::Error for Unreadable {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self::Wrong(reason.to_string())
    }
}

/// The single value that `bytes` hold.
pub(super) fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Unreadable> {
    let mut reader = Reader::new(bytes);
    let value = T::deserialize(&mut reader)?;
    reader.input.finish()?;
    Ok(value)
}

/// Does the same as [`read`], but anything may follow the value.
pub(super) fn read_first<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Unreadable> {
    T::deserialize(&mut Reader::new(bytes))
}

/// A value as its bytes in the message, unread.
pub(super) struct Packed<'de>(pub(super) &'de [u8]);

/// The name of a newtype that tells the reader to return the bytes of a value.
const PACKED: &str = "tickwire packed value";

impl<'de> Deserialize<'de> for Packed<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Packed<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value of MessagePack")
            }
            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Packed<'de>, E> {
                Ok(Packed(bytes))
            }
        }
        deserializer.deserialize_newtype_struct(PACKED, Bytes)
    }
}

struct Reader<'de> {
    input: Input<'de>,
    depth: usize,
}

impl<'de> Reader<'de> {
    const fn new(bytes: &'de [u8]) -> Self {
        let input = Input::new(bytes);
        Self { input, depth: 0 }
    }

    /// Lets `visit` read the `len` values, or pairs, of a container.
    fn container<T>(
        &mut self,
        len: u32,
        visit: impl FnOnce(&mut Values<'_, 'de>) -> Result<T, Unreadable>,
    ) -> Result<T, Unreadable> {
        if self.depth == DEPTH_MAX {
            return Err(Malformed::TooDeep(DEPTH_MAX).into());
        }
        self.depth += 1;
        let mut values = Values {
            reader: self,
            left: len,
        };
        let value = visit(&mut values)?;
        let left = values.left;
        self.depth -= 1;
        if left > 0 {
            return Err(Unreadable::custom(format_args!("{left} values too many")));
        }
        Ok(value)
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Unreadable;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        let at = self.input.at();
        match self.input.item()? {
            PackedItem::Nil => visitor.visit_unit(),
            PackedItem::Bool(truth) => visitor.visit_bool(truth),
            PackedItem::Unsigned(number) => visitor.visit_u64(number),
            PackedItem::Signed(number) => visitor.visit_i64(number),
            PackedItem::Float(number) => visitor.visit_f64(number),
            PackedItem::String(bytes) => visitor.visit_borrowed_str(utf8(bytes, at)?),
            // No field takes bytes, so the visitor of either kind answers with what it expected.
            PackedItem::Binary(bytes) | PackedItem::Extension(bytes) => visitor.visit_borrowed_bytes(bytes),
            PackedItem::Array(len) => self.container(len, |values| visitor.visit_seq(values)),
            PackedItem::Map(pairs) => self.container(pairs, |values| visitor.visit_map(values)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        if self.input.is_at_nil() {
            self.input.skip()?;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        self.input.skip()?;
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        if name == PACKED {
            let start = self.input.at();
            self.input.skip()?;
            return visitor.visit_borrowed_bytes(self.input.since(start));
        }
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier
    }
}

/// The values of an array, or the pairs of a map.
struct Values<'r, 'de> {
    reader: &'r mut Reader<'de>,
    left: u32,
}

impl<'de> SeqAccess<'de> for Values<'_, 'de> {
    type Error = Unreadable;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Unreadable> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

impl<'de> MapAccess<'de> for Values<'_, 'de> {
    type Error = Unreadable;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Unreadable> {
        self.next_element_seed(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Unreadable> {
        seed.deserialize(&mut *self.reader)
    }
}
