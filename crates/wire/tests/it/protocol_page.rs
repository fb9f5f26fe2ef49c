//! The examples of docs/PROTOCOL.md are messages of the protocol, and are written as they stand there.

use serde_json::Value;
use serde_json::value::RawValue;
use tickwire_wire::{Codec, ServerMessage};

/// The messages in the page's blocks of JSON.
fn examples(page: &str) -> Vec<String> {
    let blocks = page
        .split("```json\n")
        .skip(1)
        .filter_map(|block| block.split("```").next());
    let values = blocks.flat_map(|block| {
        let values = serde_json::Deserializer::from_str(block).into_iter::<Box<RawValue>>();
        values.map(|value| value.expect("JSON").get().to_owned())
    });
    values.filter(|text| text.starts_with("{\"op\":")).collect()
}

/// What `text` is by the codec, written again.
fn rewritten(text: &str) -> Option<Value> {
    let mut out = Vec::new();
    if let Ok(request) = Codec::Json.decode_request(text.as_bytes()) {
        Codec::Json.encode_request(&request, &mut out);
    } else {
        match Codec::Json.decode_server(text.as_bytes()).ok()? {
            ServerMessage::Control(control) => Codec::Json.encode_control(&control, &mut out),
            ServerMessage::Snapshot { .. } | ServerMessage::Update { .. } => out = text.into(),
            ServerMessage::Unknown(_) => return None,
        }
    }
    serde_json::from_slice(&out).ok()
}

/// `value` with the positions of a single lineage in an array, as they are written.
fn in_arrays(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| match value {
                Value::Object(one) if name == "since" && one.contains_key("seqs") => {
                    (name, Value::Array(vec![Value::Object(one)]))
                }
                value => (name, in_arrays(value)),
            })
            .collect(),
        Value::Array(values) => values.into_iter().map(in_arrays).collect(),
        value => value,
    }
}

#[test]
fn every_example_is_a_message_and_says_nothing_that_is_not_read() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/PROTOCOL.md");
    let examples = examples(&std::fs::read_to_string(path).expect("the page"));
    assert!(examples.len() >= 20, "{}", examples.len());
    for example in examples {
        let read = rewritten(&example).unwrap_or_else(|| panic!("{example} is no message"));
        let said: Value = serde_json::from_str(&example).expect("JSON");
        assert_eq!(read, in_arrays(said), "{example}");
    }
}
