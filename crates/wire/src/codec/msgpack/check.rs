//! The gate before every MessagePack decoder: bytes that pass are one whole value of the kinds that JSON has.
//!
//! Reads front to back without recursion; what it allocates is bounded by the nesting allowed. After it a decoder may
//! trust declared lengths, since each declared value was seen.

use rmp::Marker;
use thiserror::Error;

/// Why bytes are no message in MessagePack. Offsets are bytes from the start, the first is 0.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Malformed {
    #[error("the message ends at byte {0}, inside a value")]
    CutShort(usize),
    #[error("byte 0xc1 at {0} is not MessagePack")]
    Reserved(usize),
    #[error("the message ends at byte {0} but more bytes follow")]
    Trailing(usize),
    #[error("the message is nested deeper than {0}")]
    TooDeep(usize),
    #[error("{values} values are declared at byte {at} but {left} bytes follow")]
    Overdeclared { at: usize, values: u64, left: usize },
    #[error("the map key at byte {0} is not a string")]
    KeyNotString(usize),
    #[error("the string at byte {0} is not UTF-8")]
    NotUtf8(usize),
    #[error("the float at byte {0} is not finite")]
    NotFinite(usize),
    #[error("{kind} at byte {at}: only what JSON has can be sent")]
    NotJson { at: usize, kind: &'static str },
}

/// Checks that `bytes` are exactly one value, with containers nested at most `nesting_max` deep.
pub(super) fn check(bytes: &[u8], nesting_max: usize) -> Result<(), Malformed> {
    let mut input = Input { bytes, at: 0 };
    let mut outer = Vec::new();
    let mut open = Open { left: 1, map: false };
    loop {
        if open.left == 0 {
            match outer.pop() {
                Some(container) => open = container,
                None => break,
            }
            continue;
        }
        let at = input.at;
        let is_key = open.map && open.left.is_multiple_of(2);
        open.left -= 1;
        match input.item()? {
            Item::String => {}
            _ if is_key => return Err(Malformed::KeyNotString(at)),
            Item::Scalar => {}
            Item::Container(inner) => {
                let left = input.left();
                if inner.left > left as u64 {
                    let values = inner.left;
                    return Err(Malformed::Overdeclared { at, values, left });
                }
                if outer.len() == nesting_max {
                    return Err(Malformed::TooDeep(nesting_max));
                }
                outer.push(std::mem::replace(&mut open, inner));
            }
        }
    }
    match input.left() {
        0 => Ok(()),
        _ => Err(Malformed::Trailing(input.at)),
    }
}

/// A container of which values are still to come, a map's keys counted among them.
struct Open {
    left: u64,
    map: bool,
}

enum Item {
    Scalar,
    String,
    Container(Open),
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Input<'_> {
    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, len: usize) -> Result<&[u8], Malformed> {
        let taken = self.bytes[self.at..].get(..len);
        let taken = taken.ok_or(Malformed::CutShort(self.bytes.len()))?;
        self.at += len;
        Ok(taken)
    }

    /// An unsigned integer of `size` bytes.
    fn number(&mut self, size: usize) -> Result<u32, Malformed> {
        let bytes = self.take(size)?;
        Ok(bytes
            .iter()
            .fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    /// The next value, or a container's head.
    fn item(&mut self) -> Result<Item, Malformed> {
        let at = self.at;
        let marker = Marker::from_u8(self.take(1)?[0]);
        let not_json = |kind| Err(Malformed::NotJson { at, kind });
        match marker {
            Marker::FixPos(_) | Marker::FixNeg(_) | Marker::Null | Marker::True | Marker::False => {
                Ok(Item::Scalar)
            }
            Marker::U8 | Marker::I8 => self.scalar(1),
            Marker::U16 | Marker::I16 => self.scalar(2),
            Marker::U32 | Marker::I32 => self.scalar(4),
            Marker::U64 | Marker::I64 => self.scalar(8),
            Marker::F32 => self.float(at, 4),
            Marker::F64 => self.float(at, 8),
            Marker::FixStr(len) => self.string(at, len.into()),
            Marker::Str8 => self.sized_string(at, 1),
            Marker::Str16 => self.sized_string(at, 2),
            Marker::Str32 => self.sized_string(at, 4),
            Marker::FixArray(len) => Ok(array(len.into())),
            Marker::Array16 => self.number(2).map(array),
            Marker::Array32 => self.number(4).map(array),
            Marker::FixMap(len) => Ok(map(len.into())),
            Marker::Map16 => self.number(2).map(map),
            Marker::Map32 => self.number(4).map(map),
            Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => not_json("binary"),
            Marker::FixExt1
            | Marker::FixExt2
            | Marker::FixExt4
            | Marker::FixExt8
            | Marker::FixExt16
            | Marker::Ext8
            | Marker::Ext16
            | Marker::Ext32 => not_json("extension type"),
            Marker::Reserved => Err(Malformed::Reserved(at)),
        }
    }

    fn scalar(&mut self, size: usize) -> Result<Item, Malformed> {
        self.take(size)?;
        Ok(Item::Scalar)
    }

    /// A float is finite unless all bits of its exponent are set: 8 after the sign in 32 bits, 11 in 64.
    fn float(&mut self, at: usize, size: usize) -> Result<Item, Malformed> {
        let exponent = if size == 4 { 0x7f80 } else { 0x7ff0 };
        let bytes = self.take(size)?;
        if u16::from_be_bytes([bytes[0], bytes[1]]) & exponent == exponent {
            return Err(Malformed::NotFinite(at));
        }
        Ok(Item::Scalar)
    }

    fn sized_string(&mut self, at: usize, size: usize) -> Result<Item, Malformed> {
        let len = self.number(size)?;
        self.string(at, len)
    }

    fn string(&mut self, at: usize, len: u32) -> Result<Item, Malformed> {
        std::str::from_utf8(self.take(len as usize)?).map_err(|_| Malformed::NotUtf8(at))?;
        Ok(Item::String)
    }
}

fn array(values: u32) -> Item {
    Item::Container(Open {
        left: values.into(),
        map: false,
    })
}

fn map(pairs: u32) -> Item {
    Item::Container(Open {
        left: u64::from(pairs) * 2,
        map: true,
    })
}
