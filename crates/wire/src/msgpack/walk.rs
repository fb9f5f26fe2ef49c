//! Reads a MessagePack value that JSON has, too, piece by piece in the order in which JSON writes it.
//!
//! One pass, without recursion and without heap memory: of each open container it keeps how many values are left, and
//! there are at most [`NESTING_MAX`].

use super::read::{Input, Malformed, PackedItem, utf8};
use crate::limits::NESTING_MAX;

const _: () = assert!(NESTING_MAX <= 64, "a bit for each open container");

/// A piece of a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Piece<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    /// A finite float.
    Float(f64),
    /// A value, or the key of a pair.
    String(&'a str),
    /// The beginning of a map, or of an array.
    Open(IsMap),
    Close(IsMap),
    /// Before each value or pair of a container but its first one.
    Comma,
    /// Between a key and its value.
    Colon,
}

/// Whether a container is a map. Otherwise it is an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IsMap(pub(crate) bool);

/// Reads the next value of `input`, and gives its pieces to `visit`.
///
/// # Errors
/// If it holds something that JSON does not have: binary data, extension types, keys that are not strings, floats that
/// are not finite, or deeper nesting than published data may have. Or if the bytes end before it does.
#[inline]
pub(crate) fn walk<'a>(input: &mut Input<'a>, mut visit: impl FnMut(Piece<'a>)) -> Result<(), Malformed> {
    // The number of values that are left in each open container. A map's keys count as values.
    let mut left = [0_u64; NESTING_MAX];
    // One bit for each open container, the innermost one lowest. It is set if the container is a map.
    let (mut depth, mut maps) = (0_usize, 0_u64);
    let mut is_first = true;
    loop {
        let mut is_key = false;
        if let Some(inner) = depth.checked_sub(1) {
            let is_map = maps & 1 == 1;
            if left[inner] == 0 {
                visit(Piece::Close(IsMap(is_map)));
                (depth, maps, is_first) = (inner, maps >> 1, false);
                if depth == 0 {
                    return Ok(());
                }
                continue;
            }
            is_key = is_map && left[inner].is_multiple_of(2);
            left[inner] -= 1;
            if is_map && !is_key {
                visit(Piece::Colon);
            } else if !is_first {
                visit(Piece::Comma);
            }
        }
        let at = input.at();
        let item = input.item()?;
        let (values, is_map) = match item {
            PackedItem::Array(len) => (u64::from(len), false),
            PackedItem::Map(pairs) => (u64::from(pairs) * 2, true),
            _ => {
                visit(scalar(item, is_key, at)?);
                is_first = false;
                if depth == 0 {
                    return Ok(());
                }
                continue;
            }
        };
        if is_key {
            return Err(Malformed::KeyNotString(at));
        }
        *left.get_mut(depth).ok_or(Malformed::TooDeep(NESTING_MAX))? = values;
        visit(Piece::Open(IsMap(is_map)));
        (depth, maps, is_first) = (depth + 1, maps << 1 | u64::from(is_map), true);
    }
}

/// The piece of an item that is no container and begins at byte `at`.
#[inline]
fn scalar(item: PackedItem<'_>, is_key: bool, at: usize) -> Result<Piece<'_>, Malformed> {
    Ok(match item {
        PackedItem::String(bytes) => Piece::String(utf8(bytes, at)?),
        _ if is_key => return Err(Malformed::KeyNotString(at)),
        PackedItem::Nil => Piece::Null,
        PackedItem::Bool(truth) => Piece::Bool(truth),
        PackedItem::Unsigned(number) => Piece::Unsigned(number),
        PackedItem::Signed(number) => Piece::Signed(number),
        PackedItem::Float(number) if number.is_finite() => Piece::Float(number),
        PackedItem::Float(_) => return Err(Malformed::NotFinite(at)),
        PackedItem::Binary(_) => return Err(Malformed::NotJson { at, kind: "binary" }),
        PackedItem::Extension(_) | PackedItem::Array(_) | PackedItem::Map(_) => {
            let kind = "extension type";
            return Err(Malformed::NotJson { at, kind });
        }
    })
}
