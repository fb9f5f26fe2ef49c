//! The fields of a request, read strictly from the bytes, with errors that a person understands.
//!
//! They are read by hand, because the derived readers name Rust types in their errors, take arrays for maps of fields
//! and numbers for names, and reserve the memory that a length promises. Unknown fields are skipped, whatever they
//! hold. `null` is an absent field, except in `data`, where it is a value.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::ids::{Epoch, Micros, Seq, integral};
use crate::message::{Mode, Position, Positions, RequestId, Since, TopicRequest};
use crate::moment::Moment;
use crate::speed::ReplaySpeed;

/// A request with the fields of every op. None is required. `D` is the codec's raw data.
pub(super) struct RawRequest<D> {
    pub(super) op: Option<String>,
    pub(super) id: Option<RequestId>,
    pub(super) topics: Option<Vec<TopicRequest>>,
    pub(super) since: Option<Since>,
    pub(super) topic: Option<String>,
    pub(super) mode: Option<Mode>,
    pub(super) conflate_ms: Option<u32>,
    pub(super) snapshot: Option<bool>,
    pub(super) data: Option<D>,
    pub(super) key: Option<String>,
    pub(super) ts: Option<Micros>,
    pub(super) token: Option<String>,
}

/// The parts of a bad request that name it in the answer.
pub(super) struct Identity {
    pub(super) id: Option<RequestId>,
}

/// Reads a field in which `null` is a value and not an absence.
pub(super) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(de: D) -> Result<Option<T>, D::Error> {
    T::deserialize(de).map(Some)
}

/// Fills `slot` with the next value, that of the field `name`. It is read as `W` and turned into a `T`; `null` leaves
/// the slot empty.
fn fill<'de, W: Deserialize<'de>, T, A: MapAccess<'de>>(
    slot: &mut Option<T>,
    name: &str,
    map: &mut A,
    into: impl FnOnce(W) -> T,
) -> Result<(), A::Error> {
    let value = once(slot.is_some(), name, map.next_value::<Option<W>>())?;
    *slot = value.map(into);
    Ok(())
}

/// The value of the field `name`. If the field came `before` or cannot be read, the error names the field.
fn once<T, E: Error>(before: bool, name: &str, value: Result<T, E>) -> Result<T, E> {
    if before {
        return Err(E::custom(format_args!("{name}: the field appears twice")));
    }
    value.map_err(|error| E::custom(format_args!("{name}: {error}")))
}

impl<'de, D: Deserialize<'de>> Deserialize<'de> for RawRequest<D> {
    fn deserialize<De: Deserializer<'de>>(deserializer: De) -> Result<Self, De::Error> {
        deserializer.deserialize_any(RequestVisitor(PhantomData))
    }
}

struct RequestVisitor<D>(PhantomData<D>);

impl<'de, D: Deserialize<'de>> Visitor<'de> for RequestVisitor<D> {
    type Value = RawRequest<D>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a request: a map with a field \"op\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawRequest<D>, A::Error> {
        let mut raw = RawRequest {
            op: None,
            id: None,
            topics: None,
            since: None,
            topic: None,
            mode: None,
            conflate_ms: None,
            snapshot: None,
            data: None,
            key: None,
            ts: None,
            token: None,
        };
        while let Some(Name(name)) = map.next_key()? {
            match &*name {
                "op" => fill(&mut raw.op, &name, &mut map, |Text(text)| text)?,
                "id" => fill(&mut raw.id, &name, &mut map, |id: RequestId| id)?,
                "topics" => fill(&mut raw.topics, &name, &mut map, |Topics(topics)| topics)?,
                "since" => fill(&mut raw.since, &name, &mut map, |since: Since| since)?,
                "topic" => fill(&mut raw.topic, &name, &mut map, |Text(text)| text)?,
                "mode" => fill(&mut raw.mode, &name, &mut map, |ModeName(mode)| mode)?,
                "conflate_ms" => fill(&mut raw.conflate_ms, &name, &mut map, |Milliseconds(ms)| ms)?,
                "snapshot" => fill(&mut raw.snapshot, &name, &mut map, |Flag(flag)| flag)?,
                "data" => raw.data = Some(once(raw.data.is_some(), &name, map.next_value())?),
                "key" => fill(&mut raw.key, &name, &mut map, |Text(text)| text)?,
                "ts" => fill(&mut raw.ts, &name, &mut map, |ts: Micros| ts)?,
                "token" => fill(&mut raw.token, &name, &mut map, |Text(text)| text)?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(raw)
    }
}

/// Implements [`Deserialize`] by a visitor that accepts any kind of value, and names the expected one in its error.
macro_rules! read_as {
    ($name:ty, $expected:literal, { $($visit:tt)* }) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Read;
                impl<'de> Visitor<'de> for Read {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }
                    $($visit)*
                }
                deserializer.deserialize_any(Read)
            }
        }
    };
}

read_as!(Identity, "a map", {
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Identity, A::Error> {
        let mut identity = Identity { id: None };
        while let Some(Name(name)) = map.next_key()? {
            match &*name {
                "id" => fill(&mut identity.id, &name, &mut map, |id: RequestId| id)?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(identity)
    }
});

/// The name of a field.
struct Name<'de>(Cow<'de, str>);

read_as!(Name<'de>, "a field's name", {
    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Borrowed(name)))
    }
    fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Owned(name.to_owned())))
    }
});

struct Text(String);

read_as!(Text, "a string", {
    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        Ok(Text(text.to_owned()))
    }
});

struct Milliseconds(u32);

read_as!(Milliseconds, "milliseconds: an integer from 0 to 4294967295", {
    fn visit_u64<E: Error>(self, number: u64) -> Result<Milliseconds, E> {
        match u32::try_from(number) {
            Ok(ms) => Ok(Milliseconds(ms)),
            Err(_) => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
        }
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<Milliseconds, E> {
        match u32::try_from(number) {
            Ok(ms) => Ok(Milliseconds(ms)),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<Milliseconds, E> {
        match integral(number).and_then(|number| u32::try_from(number).ok()) {
            Some(ms) => Ok(Milliseconds(ms)),
            None => Err(E::invalid_value(Unexpected::Float(number), &self)),
        }
    }
});

struct Flag(bool);

read_as!(Flag, "true or false", {
    fn visit_bool<E>(self, flag: bool) -> Result<Flag, E> {
        Ok(Flag(flag))
    }
});

struct ModeName(Mode);

read_as!(ModeName, "\"every\", \"conflate\" or \"snapshot\"", {
    fn visit_str<E: Error>(self, name: &str) -> Result<ModeName, E> {
        match name {
            "every" => Ok(ModeName(Mode::Every)),
            "conflate" => Ok(ModeName(Mode::Conflate)),
            "snapshot" => Ok(ModeName(Mode::Snapshot)),
            _ => Err(E::invalid_value(Unexpected::Str(name), &self)),
        }
    }
});

struct Topics(Vec<TopicRequest>);

read_as!(Topics, "an array of topics", {
    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Topics, A::Error> {
        let mut topics = Vec::new();
        while let Some(topic) = array.next_element()? {
            topics.push(topic);
        }
        Ok(Topics(topics))
    }
});

read_as!(
    TopicRequest,
    "a string, {\"topic\",\"since\"} or {\"topic\",\"from\"}",
    {
        fn visit_str<E>(self, pattern: &str) -> Result<TopicRequest, E> {
            Ok(TopicRequest::Pattern(pattern.to_owned()))
        }
        fn visit_unit<E: Error>(self) -> Result<TopicRequest, E> {
            Err(E::invalid_type(Unexpected::Other("null"), &self))
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TopicRequest, A::Error> {
            let (mut topic, mut since, mut from, mut speed) = (None, None, None, None);
            while let Some(Name(name)) = map.next_key()? {
                match &*name {
                    "topic" => fill(&mut topic, &name, &mut map, |Text(text)| text)?,
                    "since" => fill(&mut since, &name, &mut map, |since: Since| since)?,
                    "from" => fill(&mut from, &name, &mut map, |from: Moment| from)?,
                    "speed" => fill(&mut speed, &name, &mut map, |speed: ReplaySpeed| speed)?,
                    _ => drop(map.next_value::<IgnoredAny>()?),
                }
            }
            let topic = topic.ok_or_else(|| A::Error::custom("an entry needs a field \"topic\""))?;
            match (since, from) {
                (Some(_), Some(_)) => Err(A::Error::custom(
                    "an entry has a field \"since\" or \"from\", not both",
                )),
                (_, None) if speed.is_some() => Err(A::Error::custom(
                    "\"speed\" says how fast the messages from a moment on come: it needs a field \"from\"",
                )),
                (since, None) => Ok(TopicRequest::Since { topic, since }),
                (None, Some(from)) => Ok(TopicRequest::From { topic, from, speed }),
            }
        }
    }
);

read_as!(
    Moment,
    "a moment: microseconds since 1970, or a date and a time (RFC 3339)",
    {
        fn visit_u64<E>(self, micros: u64) -> Result<Moment, E> {
            Ok(Moment(Micros(micros)))
        }
        fn visit_i64<E: Error>(self, micros: i64) -> Result<Moment, E> {
            match u64::try_from(micros) {
                Ok(micros) => Ok(Moment(Micros(micros))),
                Err(_) => Err(E::invalid_value(Unexpected::Signed(micros), &self)),
            }
        }
        fn visit_f64<E: Error>(self, micros: f64) -> Result<Moment, E> {
            match integral(micros) {
                Some(micros) => Ok(Moment(Micros(micros))),
                None => Err(E::invalid_value(Unexpected::Float(micros), &self)),
            }
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<Moment, E> {
            text.parse().map_err(E::custom)
        }
    }
);

read_as!(ReplaySpeed, "a speed: a number above 0", {
    fn visit_u64<E: Error>(self, number: u64) -> Result<ReplaySpeed, E> {
        ReplaySpeed::new(number as f64).map_err(E::custom)
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<ReplaySpeed, E> {
        ReplaySpeed::new(number as f64).map_err(E::custom)
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<ReplaySpeed, E> {
        ReplaySpeed::new(number).map_err(E::custom)
    }
});

/// The fields of an object that says where to resume, in either form.
#[derive(Default)]
struct Place {
    epoch: Option<Epoch>,
    seq: Option<Seq>,
    seqs: Option<BTreeMap<String, Seq>>,
}

impl Place {
    fn read<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut place = Self::default();
        while let Some(Name(name)) = map.next_key()? {
            match &*name {
                "epoch" => fill(&mut place.epoch, &name, &mut map, |Text(text)| {
                    Epoch::from(text.as_str())
                })?,
                "seq" => fill(&mut place.seq, &name, &mut map, |seq: Seq| seq)?,
                "seqs" => fill(&mut place.seqs, &name, &mut map, |Seqs(seqs)| seqs)?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(place)
    }

    /// The position in one topic, or those in several.
    fn since<E: Error>(self) -> Result<Since, E> {
        match (self.epoch, self.seq, self.seqs) {
            (None, ..) => Err(lacking("epoch")),
            (_, None, None) => Err(lacking("seq")),
            (_, Some(_), Some(_)) => Err(E::custom("a position has a field \"seq\" or \"seqs\", not both")),
            (Some(epoch), Some(seq), None) => Ok(Since::One(Position { epoch, seq })),
            (Some(epoch), None, Some(seqs)) => Ok(Since::Many(vec![Positions { epoch, seqs }])),
        }
    }
}

fn lacking<E: Error>(name: &str) -> E {
    E::custom(format_args!("a position needs a field {name:?}"))
}

read_as!(
    Since,
    "{\"epoch\",\"seq\"}, {\"epoch\",\"seqs\"} or an array of the latter",
    {
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Since, A::Error> {
            Place::read(map)?.since()
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Since, A::Error> {
            let mut lineages = Vec::new();
            while let Some(positions) = array.next_element()? {
                lineages.push(positions);
            }
            Ok(Since::Many(lineages))
        }
    }
);

read_as!(Positions, "{\"epoch\",\"seqs\"}", {
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Positions, A::Error> {
        let place = Place::read(map)?;
        Ok(Positions {
            epoch: place.epoch.ok_or_else(|| lacking("epoch"))?,
            seqs: place.seqs.ok_or_else(|| lacking("seqs"))?,
        })
    }
});

struct Seqs(BTreeMap<String, Seq>);

read_as!(Seqs, "a map of topics to numbers", {
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Seqs, A::Error> {
        let mut seqs = BTreeMap::new();
        while let Some(Name(topic)) = map.next_key()? {
            let seq = once(seqs.contains_key(&*topic), &topic, map.next_value())?;
            seqs.insert(topic.into_owned(), seq);
        }
        Ok(Seqs(seqs))
    }
});
