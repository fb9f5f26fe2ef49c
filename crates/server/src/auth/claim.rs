//! The value of a claim, as far as claims are used: text, a number, or a list. Any other value has no meaning, and no
//! name of a field inside it has one.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The value of a claim.
#[derive(Debug, PartialEq)]
pub(super) enum Value {
    String(String),
    Number(f64),
    Array(Vec<Self>),
    /// An object or a boolean.
    Other,
}

impl Value {
    pub(super) const fn is_string(&self) -> bool {
        matches!(self, Self::String(_))
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    pub(super) const fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Read)
    }
}

struct Read;

impl<'de> Visitor<'de> for Read {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a claim")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number as f64))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(json: &str) -> Value {
        serde_json::from_str(json).expect(json)
    }

    #[test]
    fn an_object_is_no_other_value_whatever_its_keys_are_called() {
        let mut text = "1795000000".to_owned();
        for _ in 0..10 {
            let quoted = serde_json::to_string(&text).expect("text");
            text = format!(r#"{{"$serde_json::private::RawValue":{quoted}}}"#);
            assert_eq!(value(&text), Value::Other, "{text}");
        }
        assert_eq!(value(r#"{"$serde_json::private::Number":"5"}"#), Value::Other);
        assert_eq!(
            value(r#"["a",{"b":1}]"#),
            Value::Array(vec![Value::String("a".to_owned()), Value::Other])
        );
        assert_eq!(
            (value("-1.5"), value("7")),
            (Value::Number(-1.5), Value::Number(7.0))
        );
    }
}
