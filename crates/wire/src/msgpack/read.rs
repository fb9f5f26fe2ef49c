//! Reads MessagePack front to back, an item at a time.
//!
//! A length is accepted only as far as there are bytes for it, so a reader may loop over the number of values in a
//! head. Every item of MessagePack is read. The caller decides which of them are allowed.

use rmp::Marker;
use thiserror::Error;

/// Why bytes are no MessagePack, or hold something that JSON does not have. Offsets are bytes from the start, beginning
/// with 0.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Malformed {
    /// The bytes end too early.
    #[error("the message ends at byte {0}, inside a value")]
    CutShort(usize),
    /// The one byte that may begin no item (0xc1).
    #[error("byte 0xc1 at {0} is not MessagePack")]
    Reserved(usize),
    /// Bytes follow after the value.
    #[error("the message ends at byte {0} but more bytes follow")]
    Trailing(usize),
    /// Arrays and maps are nested deeper than allowed.
    #[error("nested deeper than {0}")]
    TooDeep(usize),
    /// A container promises more values than there are bytes.
    #[error("{values} values are declared at byte {at} but {left} bytes follow")]
    Overdeclared {
        /// Where the container begins.
        at: usize,
        /// The number of values that it promises, including a map's keys.
        values: u64,
        /// The number of bytes that are left.
        left: usize,
    },
    /// A map has a key that is not a string, which JSON requires.
    #[error("the map key at byte {0} is not a string")]
    KeyNotString(usize),
    /// A string is not UTF-8.
    #[error("the string at byte {0} is not UTF-8")]
    NotUtf8(usize),
    /// A float is infinite or NaN, which JSON does not have.
    #[error("the float at byte {0} is not finite")]
    NotFinite(usize),
    /// The value is of a kind that JSON does not have.
    #[error("{kind} at byte {at}: only what JSON has can be sent")]
    NotJson {
        /// Where it begins.
        at: usize,
        /// What it is.
        kind: &'static str,
    },
}

/// A value, or the head of a container, whose values follow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum PackedItem<'a> {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    /// A string, which is not known to be UTF-8: see [`utf8`].
    String(&'a [u8]),
    Binary(&'a [u8]),
    /// The bytes of an extension type without its number.
    Extension(&'a [u8]),
    /// The head of an array. This number of values follows.
    Array(u32),
    /// The head of a map. This number of pairs follows.
    Map(u32),
}

/// Bytes that are read as MessagePack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The number of bytes that were read.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    /// The bytes that were read from `start` on.
    pub(crate) fn since(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start..self.at).unwrap_or_default()
    }

    /// Whether `nil` comes next.
    pub(crate) fn is_at_nil(&self) -> bool {
        self.bytes.get(self.at) == Some(&Marker::Null.to_u8())
    }

    /// Checks that nothing is left.
    pub(crate) fn finish(&self) -> Result<(), Malformed> {
        match self.left() {
            0 => Ok(()),
            _ => Err(Malformed::Trailing(self.at)),
        }
    }

    /// Skips the next value, whatever it holds. It is only known to have the right length.
    pub(crate) fn skip(&mut self) -> Result<(), Malformed> {
        let mut values = 1_u64;
        while values > 0 {
            values -= 1;
            // This cannot overflow: a head promises no more values than there are bytes left.
            values += match self.item()? {
                PackedItem::Array(len) => len.into(),
                PackedItem::Map(pairs) => u64::from(pairs) * 2,
                _ => 0,
            };
        }
        Ok(())
    }

    /// The next value, or the head of a container.
    pub(crate) fn item(&mut self) -> Result<PackedItem<'a>, Malformed> {
        let at = self.at;
        let [first] = self.array()?;
        Ok(match Marker::from_u8(first) {
            Marker::Null => PackedItem::Nil,
            Marker::True => PackedItem::Bool(true),
            Marker::False => PackedItem::Bool(false),
            Marker::FixPos(number) => PackedItem::Unsigned(number.into()),
            Marker::FixNeg(number) => PackedItem::Signed(number.into()),
            Marker::U8 => PackedItem::Unsigned(u8::from_be_bytes(self.array()?).into()),
            Marker::U16 => PackedItem::Unsigned(u16::from_be_bytes(self.array()?).into()),
            Marker::U32 => PackedItem::Unsigned(u32::from_be_bytes(self.array()?).into()),
            Marker::U64 => PackedItem::Unsigned(u64::from_be_bytes(self.array()?)),
            Marker::I8 => PackedItem::Signed(i8::from_be_bytes(self.array()?).into()),
            Marker::I16 => PackedItem::Signed(i16::from_be_bytes(self.array()?).into()),
            Marker::I32 => PackedItem::Signed(i32::from_be_bytes(self.array()?).into()),
            Marker::I64 => PackedItem::Signed(i64::from_be_bytes(self.array()?)),
            Marker::F32 => PackedItem::Float(f32::from_be_bytes(self.array()?).into()),
            Marker::F64 => PackedItem::Float(f64::from_be_bytes(self.array()?)),
            Marker::FixStr(len) => PackedItem::String(self.take(len.into())?),
            Marker::Str8 => PackedItem::String(self.sized(1)?),
            Marker::Str16 => PackedItem::String(self.sized(2)?),
            Marker::Str32 => PackedItem::String(self.sized(4)?),
            Marker::Bin8 => PackedItem::Binary(self.sized(1)?),
            Marker::Bin16 => PackedItem::Binary(self.sized(2)?),
            Marker::Bin32 => PackedItem::Binary(self.sized(4)?),
            Marker::FixExt1 => self.extension(1)?,
            Marker::FixExt2 => self.extension(2)?,
            Marker::FixExt4 => self.extension(4)?,
            Marker::FixExt8 => self.extension(8)?,
            Marker::FixExt16 => self.extension(16)?,
            Marker::Ext8 => self.sized_extension(1)?,
            Marker::Ext16 => self.sized_extension(2)?,
            Marker::Ext32 => self.sized_extension(4)?,
            Marker::FixArray(len) => self.container(at, PackedItem::Array(len.into()))?,
            Marker::Array16 => self.sized_container(at, 2, PackedItem::Array)?,
            Marker::Array32 => self.sized_container(at, 4, PackedItem::Array)?,
            Marker::FixMap(pairs) => self.container(at, PackedItem::Map(pairs.into()))?,
            Marker::Map16 => self.sized_container(at, 2, PackedItem::Map)?,
            Marker::Map32 => self.sized_container(at, 4, PackedItem::Map)?,
            Marker::Reserved => return Err(Malformed::Reserved(at)),
        })
    }

    const fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, len: u32) -> Result<&'a [u8], Malformed> {
        let len = len as usize;
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.get(..len));
        let taken = taken.ok_or(Malformed::CutShort(self.bytes.len()))?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let taken = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk);
        let taken = *taken.ok_or(Malformed::CutShort(self.bytes.len()))?;
        self.at += N;
        Ok(taken)
    }

    /// An unsigned integer of `size` bytes, at most four.
    fn number(&mut self, size: u32) -> Result<u32, Malformed> {
        let bytes = self.take(size)?;
        Ok(bytes
            .iter()
            .fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    fn sized(&mut self, size: u32) -> Result<&'a [u8], Malformed> {
        let len = self.number(size)?;
        self.take(len)
    }

    fn extension(&mut self, len: u32) -> Result<PackedItem<'a>, Malformed> {
        self.take(1)?; // its type
        self.take(len).map(PackedItem::Extension)
    }

    fn sized_extension(&mut self, size: u32) -> Result<PackedItem<'a>, Malformed> {
        let len = self.number(size)?;
        self.extension(len)
    }

    fn sized_container(
        &mut self,
        at: usize,
        size: u32,
        of: impl FnOnce(u32) -> PackedItem<'a>,
    ) -> Result<PackedItem<'a>, Malformed> {
        let len = self.number(size)?;
        self.container(at, of(len))
    }

    /// Checks that there is a byte for each value that `head` promises, and returns `head`.
    fn container(&self, at: usize, head: PackedItem<'a>) -> Result<PackedItem<'a>, Malformed> {
        let values = match head {
            PackedItem::Array(len) => u64::from(len),
            PackedItem::Map(pairs) => u64::from(pairs) * 2,
            _ => 0,
        };
        let left = self.left();
        if values > left as u64 {
            return Err(Malformed::Overdeclared { at, values, left });
        }
        Ok(head)
    }
}

/// The text of a string that begins at byte `at`.
pub(crate) fn utf8(bytes: &[u8], at: usize) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed::NotUtf8(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_item_is_read_and_skipped_by_the_same_bytes() {
        let cases: [(&[u8], PackedItem<'_>); 22] = [
            (b"\xc0", PackedItem::Nil),
            (b"\xc2", PackedItem::Bool(false)),
            (b"\xc3", PackedItem::Bool(true)),
            (b"\x7f", PackedItem::Unsigned(127)),
            (b"\xe0", PackedItem::Signed(-32)),
            (b"\xcc\xff", PackedItem::Unsigned(255)),
            (b"\xcd\x01\x00", PackedItem::Unsigned(256)),
            (b"\xce\x00\x01\x00\x00", PackedItem::Unsigned(65_536)),
            (
                b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
                PackedItem::Unsigned(u64::MAX),
            ),
            (b"\xd0\x80", PackedItem::Signed(-128)),
            (b"\xd1\x80\x00", PackedItem::Signed(-32_768)),
            (b"\xd2\x80\x00\x00\x00", PackedItem::Signed(i32::MIN.into())),
            (b"\xd3\x80\0\0\0\0\0\0\0", PackedItem::Signed(i64::MIN)),
            (b"\xca\x3f\x80\x00\x00", PackedItem::Float(1.0)),
            (b"\xcb\x3f\xf8\0\0\0\0\0\0", PackedItem::Float(1.5)),
            (b"\xa2hi", PackedItem::String(b"hi")),
            (b"\xda\x00\x02hi", PackedItem::String(b"hi")),
            (b"\xc5\x00\x01\xff", PackedItem::Binary(b"\xff")),
            (b"\xd4\x00\x00", PackedItem::Extension(b"\0")),
            (b"\xd7\xff\0\0\0\0\0\0\0\0", PackedItem::Extension(&[0; 8])),
            (b"\xc7\x00\x05", PackedItem::Extension(b"")),
            (b"\xc8\x00\x01\x05\x07", PackedItem::Extension(b"\x07")),
        ];
        for (bytes, expected) in cases {
            let mut input = Input::new(bytes);
            assert_eq!(input.item(), Ok(expected), "{bytes:02x?}");
            assert_eq!(input.finish(), Ok(()), "{bytes:02x?}");
            let mut input = Input::new(bytes);
            assert_eq!((input.skip(), input.finish()), (Ok(()), Ok(())), "{bytes:02x?}");
            // No part of it is taken for the whole.
            for end in 0..bytes.len() {
                let cut = Input::new(&bytes[..end]).skip();
                assert!(
                    matches!(cut, Err(Malformed::CutShort(at)) if at == end),
                    "{bytes:02x?}"
                );
            }
        }
    }

    #[test]
    fn what_is_skipped_may_be_nested_as_deep_as_it_likes() {
        let deep = [&[0x91; 100_000][..], b"\x81\xd4\x00\x00\xc4\x00\xc0"].concat();
        let mut input = Input::new(&deep);
        assert_eq!(input.skip(), Ok(()));
        assert_eq!(input.at(), deep.len() - 1);
        assert_eq!(input.finish(), Err(Malformed::Trailing(deep.len() - 1)));
    }
}
