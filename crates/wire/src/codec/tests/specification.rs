//! Compares docs/spec/asyncapi.yaml with the messages, in both directions: the ops, the fields of each message, the fields that it
//! always has, and the values of enums.
//!
//! Samples of every message are walked along their schemas. A field that a schema does not have fails the walk. Afterwards
//! every field and value of the document must have been met, and the required fields are those that every sample had.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::samples;
use super::*;
use crate::close::CloseCode;
use crate::limits::{CONFLATE_MS_CLASSES, TOPIC_BYTES_MAX};
use crate::sse;
use crate::{Pattern, Topic};

/// The document.
const TEXT: &str = include_str!("../../../../../docs/spec/asyncapi.yaml");
/// The reference of the protocol.
const PAGE: &str = include_str!("../../../../../docs/PROTOCOL.md");

/// The names of a set of fields, ops or values.
type Names = BTreeSet<String>;

fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> Names {
    names.into_iter().map(str::to_owned).collect()
}

fn keys(object: &Value) -> Names {
    let object = object
        .as_object()
        .unwrap_or_else(|| panic!("no object: {object}"));
    object.keys().cloned().collect()
}

fn texts(array: &Value) -> Names {
    let array = array.as_array().unwrap_or_else(|| panic!("no array: {array}"));
    names(array.iter().map(|text| text.as_str().expect("text")))
}

/// The words in backticks of `text`.
fn quoted(text: &str) -> Names {
    names(text.split('`').skip(1).step_by(2).filter(|word| *word != "?"))
}

struct Specification {
    document: Value,
    /// The fields of each object that was met, by the schema's path: those of any sample, and those of all.
    fields: BTreeMap<String, (Names, Names)>,
    /// The values of each enum that were met.
    values: BTreeMap<String, Names>,
}

impl Specification {
    fn read() -> Self {
        Self {
            document: serde_saphyr::from_str(TEXT).expect("the document is YAML"),
            fields: BTreeMap::new(),
            values: BTreeMap::new(),
        }
    }

    fn at(&self, path: &str) -> &Value {
        let found = self.document.pointer(path);
        found.unwrap_or_else(|| panic!("the document has no {path}"))
    }

    /// The path that `value` refers to, if it is a reference.
    fn reference(value: &Value) -> Option<&str> {
        value.get("$ref")?.as_str()?.strip_prefix('#')
    }

    /// The path of the schema of the message `name`.
    fn message(&self, name: &str) -> String {
        let payload = self.at(&format!("/components/messages/{name}/payload"));
        Self::reference(payload).expect("a reference").to_owned()
    }

    /// The names of the messages that an operation of the broker receives or sends.
    fn operated(&self, action: &str) -> Names {
        let operations = self.at("/operations").as_object().expect("operations");
        let of_action = operations.values().flat_map(|operation| {
            let direct = (operation["action"] == action).then_some(&operation["messages"]);
            let replies = (action == "send").then(|| &operation["reply"]["messages"]);
            direct
                .into_iter()
                .chain(replies)
                .filter_map(Value::as_array)
                .flatten()
        });
        let name = |message: &Value| Some(Self::reference(message)?.rsplit_once('/')?.1.to_owned());
        of_action
            .map(|message| name(message).expect("a reference"))
            .collect()
    }

    /// The faults that the schema at `path` finds in `value`.
    fn faults(&self, path: &str, value: &Value) -> Vec<String> {
        let schema = json!({"allOf": [{"$ref": format!("#{path}")}], "components": self.at("/components")});
        let validator = jsonschema::draft7::new(&schema).expect("a schema");
        validator
            .iter_errors(value)
            .map(|fault| fault.to_string())
            .collect()
    }

    #[track_caller]
    fn check(&self, path: &str, value: &Value) {
        assert_eq!(self.faults(path, value), [""; 0], "{path}: {value}");
    }

    /// Checks `value` and walks it along the schema at `path`.
    #[track_caller]
    fn meet(&mut self, path: &str, value: &Value) {
        self.check(path, value);
        self.walk(path, value);
    }

    fn walk(&mut self, path: &str, value: &Value) {
        let schema = self.at(path).clone();
        if let Some(other) = Self::reference(&schema) {
            return self.walk(other, value);
        }
        if let Some(known) = schema.get("enum").or_else(|| schema.get("const")) {
            assert!(known == value || known.as_array().is_some_and(|known| known.contains(value)));
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            self.values.entry(path.to_owned()).or_default().insert(text);
        }
        for choice in ["oneOf", "allOf"] {
            for at in 0..schema[choice].as_array().map_or(0, Vec::len) {
                let inner = format!("{path}/{choice}/{at}");
                if self.faults(&inner, value).is_empty() {
                    self.walk(&inner, value);
                }
            }
        }
        if let Some(known) = schema.get("properties") {
            let (had, known) = (keys(value), keys(known));
            let surplus: Vec<&String> = had.difference(&known).collect();
            assert!(surplus.is_empty(), "{path} has no {surplus:?}: {value}");
            let seen = self
                .fields
                .entry(path.to_owned())
                .or_insert((Names::new(), had.clone()));
            seen.0.extend(had.iter().cloned());
            seen.1.retain(|name| had.contains(name));
            for name in had {
                self.walk(&format!("{path}/properties/{name}"), &value[&name]);
            }
        }
        if let Some(values) = schema.get("additionalProperties").and(value.as_object()) {
            for (name, value) in values {
                self.walk(&format!("{path}/propertyNames"), &json!(name));
                self.walk(&format!("{path}/additionalProperties"), value);
            }
        }
        for (at, element) in value.as_array().into_iter().flatten().enumerate() {
            match schema.get("items") {
                Some(Value::Array(_)) => self.walk(&format!("{path}/items/{at}"), element),
                Some(_) => self.walk(&format!("{path}/items"), element),
                None => {}
            }
        }
    }

    /// Checks that every field and every value of the schemas was met.
    fn check_all_met(&self) {
        let mut waiting = vec!["/components/schemas".to_owned()];
        while let Some(path) = waiting.pop() {
            let schema = self.at(&path);
            let is_schema = path.matches('/').count() > 2;
            if let Some(known) = schema.get("properties").filter(|_| is_schema) {
                let (any, all) = self
                    .fields
                    .get(&path)
                    .unwrap_or_else(|| panic!("no sample of {path}"));
                assert_eq!(keys(known), *any, "fields of {path}");
                assert_eq!(texts(&schema["required"]), *all, "required fields of {path}");
            }
            if let Some(known) = schema.get("enum").filter(|_| is_schema) {
                let met = self
                    .values
                    .get(&path)
                    .unwrap_or_else(|| panic!("no sample of {path}"));
                assert_eq!(texts(known), *met, "values of {path}");
            }
            let inner = schema.as_object().into_iter().flatten();
            waiting.extend(
                inner
                    .filter(|(_, value)| value.is_object())
                    .map(|(name, _)| format!("{path}/{name}")),
            );
        }
    }
}

fn value_of(encode: impl FnOnce(&mut Vec<u8>)) -> Value {
    let mut bytes = Vec::new();
    encode(&mut bytes);
    serde_json::from_slice(&bytes).expect("JSON")
}

fn op_of(value: &Value) -> &str {
    value["op"].as_str().expect("an op")
}

#[test]
fn messages_fields_and_values_are_those_of_the_specification() {
    let mut specification = Specification::read();
    for message in samples::requests() {
        let value = value_of(|out| Codec::Json.encode_request(&message, out));
        specification.meet(&specification.message(op_of(&value)), &value);
    }
    for message in samples::controls() {
        let value = value_of(|out| Codec::Json.encode_control(&message, out));
        specification.meet(&specification.message(op_of(&value)), &value);
    }
    let epoch = Epoch::from("k3v9");
    let stamp = Stamp {
        topic: "a.b",
        epoch: &epoch,
        seq: Seq(u64::MAX),
        ts: Micros(1_723_075_200_000_000),
    };
    for (schema, payload) in samples::payloads() {
        for (op, message, packed) in [
            (DataOp::Update, "update", "packedUpdate"),
            (DataOp::Snapshot, "snapshot", "packedSnapshot"),
        ] {
            let value = value_of(|out| Codec::Json.encode_data(op, stamp, &payload, out));
            specification.meet(&specification.message(message), &value);
            specification.meet(&format!("/components/schemas/{schema}"), &value["data"]);
            let mut bytes = Vec::new();
            Codec::MessagePack.encode_data(op, stamp, &payload, &mut bytes);
            let value = rmp_serde::from_slice(&bytes).expect("MessagePack");
            specification.meet(&specification.message(packed), &value);
        }
    }
    for text in samples::PUBLISHED_BOOKS {
        let value = serde_json::from_str(text).expect("JSON");
        specification.meet("/components/schemas/PublishedBook", &value);
        assert!(
            serde_json::from_value::<crate::market::Book>(value).is_ok(),
            "{text}"
        );
    }
    let mut event = Vec::new();
    sse::write_close(CloseCode::DRAIN, "the broker is draining", &mut event);
    let event = String::from_utf8(event).expect("text");
    let data = event.lines().find_map(|line| line.strip_prefix("data: "));
    let value = serde_json::from_str(data.expect("a line of data")).expect("JSON");
    specification.meet(&specification.message("close"), &value);
    specification.check_all_met();
}

/// A new op or value is found although no sample has it: the readers name what they know.
#[test]
fn ops_and_values_are_those_that_the_readers_know() {
    fn known<T: for<'de> serde::Deserialize<'de> + fmt::Debug>(text: &str) -> Names {
        quoted(
            &serde_json::from_str::<T>(text)
                .expect_err("it is unknown")
                .to_string(),
        )
    }
    let specification = Specification::read();
    let schema = |name: &str| texts(specification.at(&format!("/components/schemas/{name}")));
    use crate::message::{EndReason, GapReason, Kind, Mode, StaleReason, TopicState};
    for (path, known) in [
        ("Kind/enum", known::<Kind>("\"?\"")),
        ("Mode/enum", known::<Mode>("\"?\"")),
        ("Gap/properties/reason/enum", known::<GapReason>("\"?\"")),
        ("End/properties/reason/enum", known::<EndReason>("\"?\"")),
        ("Status/properties/state/enum", known::<TopicState>("\"?\"")),
        ("Status/properties/reason/enum", known::<StaleReason>("\"?\"")),
        ("ErrorCode/enum", known::<crate::ErrorCode>("\"?\"")),
        (
            "Trade/properties/side/enum",
            known::<crate::market::Side>("\"?\""),
        ),
    ] {
        assert_eq!(schema(path), known, "{path}");
    }
    let refused = Codec::Json.decode_request(br#"{"op":"?"}"#).expect_err("no op");
    let (_, requests) = refused
        .refusal
        .reason
        .split_once("known are ")
        .expect("the known ops");
    let requests = names(requests.split(", "));
    assert_eq!(specification.operated("receive"), requests);
    let controls = known::<Control>(r#"{"op":"?"}"#);
    let data = names(["update", "snapshot", "packedUpdate", "packedSnapshot"]);
    let events = &(&controls | &names(["update", "snapshot", "close"])) - &names(["pong"]);
    assert_eq!(
        specification.operated("send"),
        &(&controls | &data) | &names(["close"])
    );
    let of_channel = |channel: &str| keys(specification.at(&format!("/channels/{channel}/messages")));
    assert_eq!(of_channel("connection"), &(&requests | &controls) | &data);
    assert_eq!(of_channel("events"), events);
    let codes = names(
        CloseCode::SENT
            .map(|code| code.to_string())
            .iter()
            .map(String::as_str),
    );
    assert_eq!(
        keys(specification.at("/channels/connection/x-close-codes")),
        codes
    );
    let subprotocols = names(Codec::ALL.map(Codec::subprotocol));
    assert_eq!(
        texts(specification.at("/channels/connection/x-subprotocols")),
        subprotocols
    );
}

#[test]
fn examples_are_messages() {
    let specification = Specification::read();
    let mut examples = Vec::new();
    for name in keys(specification.at("/components/messages")) {
        let path = format!("/components/messages/{name}/examples");
        for example in specification.at(&path).as_array().expect("examples") {
            examples.push((name.clone(), example["payload"].clone()));
        }
    }
    let blocks = PAGE
        .split("```json\n")
        .skip(1)
        .filter_map(|block| block.split("```").next());
    for block in blocks {
        for value in serde_json::Deserializer::from_str(block).into_iter::<Value>() {
            let value = value.unwrap_or_else(|error| panic!("{error} in {block}"));
            // An example of a token is no message.
            if let Some(op) = value["op"].as_str() {
                examples.push((op.to_owned(), value.clone()));
            }
        }
    }
    assert!(examples.len() > 40, "{}", examples.len());
    for (name, value) in examples {
        specification.check(&specification.message(&name), &value);
        if value.get("op").is_some() {
            let text = value.to_string();
            let is_read = match Codec::Json.decode_server(text.as_bytes()) {
                Ok(ServerMessage::Unknown(_)) => Codec::Json.decode_request(text.as_bytes()).is_ok(),
                read => read.is_ok(),
            };
            assert!(is_read, "{text}");
        }
    }
}

/// A field is required in the document exactly if the broker refuses a request without it.
#[test]
fn required_fields_are_those_that_the_broker_requires() {
    let specification = Specification::read();
    for message in samples::requests() {
        let value = value_of(|out| Codec::Json.encode_request(&message, out));
        for name in keys(&value) {
            let mut without = value.clone();
            without.as_object_mut().expect("an object").shift_remove(&name);
            let faults = specification.faults(&specification.message(op_of(&value)), &without);
            let refused = Codec::Json.decode_request(without.to_string().as_bytes());
            assert_eq!(
                faults.is_empty(),
                refused.is_ok(),
                "{without}: {faults:?} {refused:?}"
            );
        }
    }
}

#[test]
fn topics_and_patterns_are_those_of_the_specification() {
    let specification = Specification::read();
    let accepts = |name: &str, text: &str| {
        specification
            .faults(&format!("/components/schemas/{name}"), &json!(text))
            .is_empty()
    };
    let long = "a".repeat(TOPIC_BYTES_MAX);
    let deep = ["a"; 16].join(".");
    for text in [
        "",
        "a",
        "a.b-C_9",
        "*",
        ">",
        "a.*",
        "*.a",
        "a.>",
        "*.>",
        ">.a",
        "a.>.b",
        "a*",
        "a>",
        "a.",
        ".a",
        "a..b",
        "é",
        "a b",
        "a\n",
        &long,
        &format!("{long}a"),
        &deep,
        &format!("{deep}.a"),
        &format!("{}.>", ["a"; 15].join(".")),
        &format!("{deep}.>"),
    ] {
        assert_eq!(accepts("Topic", text), text.parse::<Topic>().is_ok(), "{text:?}");
        assert_eq!(
            accepts("Pattern", text),
            text.parse::<Pattern>().is_ok(),
            "{text:?}"
        );
    }
    let most = specification.at("/components/schemas/Subscribe/properties/conflate_ms/maximum");
    assert_eq!(most.as_u64(), CONFLATE_MS_CLASSES.last().copied().map(u64::from));
}
