//! A value as another parser of JSON and MessagePack sees it, key by key and digit by digit. Published data must be the
//! same value wherever it is read.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A parsed value.
#[derive(Debug, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Integer(i128),
    /// The bits of a floating-point number.
    Float(u64),
    Text(String),
    Array(Vec<Self>),
    /// The pairs of a map, in their order.
    Map(Vec<(String, Self)>),
}

/// The pairs of a map, with values that are not parsed yet.
struct Pairs<'t>(Vec<(String, &'t RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Pairs<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

impl Node {
    /// Parses a JSON text. `number` turns the text of a number into a value.
    pub(crate) fn of_json(text: &str, number: fn(&str) -> Self) -> Result<Self, serde_json::Error> {
        let text = text.trim_matches([' ', '\t', '\n', '\r']);
        Ok(match text.as_bytes().first() {
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text)?;
                let items = items.into_iter().map(|item| Self::of_json(item.get(), number));
                Self::Array(items.collect::<Result<_, _>>()?)
            }
            Some(b'{') => {
                let Pairs(pairs) = serde_json::from_str(text)?;
                let pairs = pairs.into_iter();
                let pairs = pairs.map(|(key, value)| Ok((key, Self::of_json(value.get(), number)?)));
                Self::Map(pairs.collect::<Result<_, serde_json::Error>>()?)
            }
            Some(b'"') => Self::Text(serde_json::from_str(text)?),
            Some(b'n') => serde_json::from_str(text).map(|()| Self::Null)?,
            Some(b't' | b'f') => Self::Bool(serde_json::from_str(text)?),
            _ => {
                let whole: &RawValue = serde_json::from_str(text)?;
                number(whole.get())
            }
        })
    }

    /// Parses bytes of MessagePack.
    pub(crate) fn of_msgpack(bytes: &[u8]) -> Result<Self, rmp_serde::decode::Error> {
        rmp_serde::from_slice(bytes)
    }
}

/// A JSON number as MessagePack must hold it: an integer of 64 bits, a float of the same value, or the text.
pub(crate) fn as_packed(text: &str) -> Node {
    let fits = |number: &i128| (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(number);
    if let Some(number) = text.parse().ok().filter(fits).filter(|_| text != "-0") {
        return Node::Integer(number);
    }
    let float = text.parse::<f64>().ok();
    let own = float.and_then(serde_json::Number::from_f64);
    match (float, own) {
        (Some(float), Some(own)) if plain(&own.to_string()) == plain(text) => Node::Float(float.to_bits()),
        _ => Node::Text(text.to_owned()),
    }
}

/// A JSON number as it is read from the JSON text that MessagePack was converted to.
pub(crate) fn as_written(text: &str) -> Node {
    match text.parse() {
        Ok(number) if text != "-0" => Node::Integer(number),
        _ => Node::Float(text.parse().map_or(u64::MAX, f64::to_bits)),
    }
}

/// A number without exponent and without zeros at its ends. If its exponent exceeds that of every float, the text is
/// unchanged.
fn plain(text: &str) -> String {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(mantissa) => ("-", mantissa),
        None => ("", mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if [whole, fraction].concat().bytes().all(|digit| digit == b'0') {
        return format!("{sign}0");
    }
    let Some(shift) = exponent
        .parse::<i32>()
        .ok()
        .filter(|shift| shift.abs() <= 100_000)
    else {
        return text.to_owned();
    };
    let zeros = "0".repeat(shift.unsigned_abs() as usize);
    let (whole, fraction) = if shift < 0 {
        let digits = zeros + whole;
        let point = digits.len() - shift.unsigned_abs() as usize;
        let (whole, moved) = digits.split_at(point);
        (whole.to_owned(), moved.to_owned() + fraction)
    } else {
        let digits = fraction.to_owned() + &zeros;
        let (moved, fraction) = digits.split_at(shift as usize);
        (whole.to_owned() + moved, fraction.to_owned())
    };
    format!(
        "{sign}{}.{}",
        whole.trim_start_matches('0'),
        fraction.trim_end_matches('0')
    )
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Packed)
    }
}

struct Packed;

impl<'de> Visitor<'de> for Packed {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what JSON has")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Node, E> {
        Ok(Node::Bool(truth))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Integer(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Integer(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Node, E> {
        Ok(Node::Float(number.to_bits()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = array.next_element()? {
            items.push(item);
        }
        Ok(Node::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Node::Map(pairs))
    }
}
