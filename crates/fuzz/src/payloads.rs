//! Data that is published in one form and read in every form: the value is the same everywhere, live and from the
//! history.

use std::sync::Arc;

use tickwire_router::{Counts, Directory, DirectoryLimits, Ingress, Kinds, Origin, Publication};
use tickwire_server::http::parse_line;
use tickwire_wire::codec::DataOp;
use tickwire_wire::deflate::Deflater;
use tickwire_wire::frame::payload_of;
use tickwire_wire::market::Book;
use tickwire_wire::sse::Framing;
use tickwire_wire::{ClientMessage, Codec, Dialect, JsonText, Micros, Payload, Seq, ServerMessage, Topic};

use crate::node::{Node, as_packed, as_written};

/// Publishes data. The first byte says how; the rest is the data in JSON or MessagePack.
///
/// # Panics
/// When a reader gets another value than was published, or data accepted in one form is refused in another.
pub fn payloads(input: &[u8]) {
    let Some((way, data)) = input.split_first() else {
        return;
    };
    let payload = if way % 2 == 0 {
        from_json(data)
    } else {
        from_msgpack(data)
    };
    let Some(payload) = payload else { return };
    let mut json = Vec::new();
    payload.write_json(&mut json);
    let json = String::from_utf8(json).expect("JSON is UTF-8");
    let packed = Node::of_json(&json, as_packed).expect("a payload is JSON");
    if way % 2 == 0 {
        let text = std::str::from_utf8(data).expect("what was taken is UTF-8");
        assert_eq!(json, text.trim_matches([' ', '\t', '\n', '\r']));
    } else {
        let published = Node::of_msgpack(data).expect("what was taken is MessagePack");
        assert_eq!(published, packed);
        assert_eq!(
            Node::of_json(&json, as_written).expect("a payload is JSON"),
            packed
        );
    }
    is_read(payload, &json, &packed);
}

/// Decodes JSON data in five ways, which must give the same result.
fn from_json(data: &[u8]) -> Option<Payload> {
    let alone = Payload::from_json(data).ok()?;
    is_book_alike(data);
    let request = [br#"{"op":"publish","topic":"chat.x","data":"#, data, b"}"].concat();
    assert_eq!(published(Codec::Json, &request).as_ref(), Some(&alone));
    // A field that the fast readers do not know leaves the request and the line to the others.
    let request = [
        br#"{"unknown":0,"op":"publish","topic":"chat.x","data":"#,
        data,
        b"}",
    ]
    .concat();
    assert_eq!(published(Codec::Json, &request).as_ref(), Some(&alone));
    for beginning in [
        r#"{"topic":"chat.x","data":"#,
        r#"{"unknown":0,"topic":"chat.x","data":"#,
    ] {
        let line = [beginning.as_bytes(), data, b"}"].concat();
        let line = parse_line(1, &line, usize::MAX).map(|line| Payload::Json(line.data.to_text()));
        assert_eq!(line.as_ref(), Ok(&alone));
    }
    Some(alone)
}

/// Checks that the reader of books and serde agree on `data`, which is JSON, alone and in a line.
fn is_book_alike(data: &[u8]) {
    let text = std::str::from_utf8(data).expect("JSON is UTF-8");
    let book = serde_json::from_str::<Book>(text).ok();
    assert_eq!(Book::from_json(text).ok(), book);
    let line = [br#"{"topic":"book.x","data":"#, data, b"}"].concat();
    let line = parse_line(1, &line, usize::MAX).expect("it is read with another topic");
    if let Some(read) = line.book {
        assert_eq!(Some(*read), book);
    }
}

fn from_msgpack(data: &[u8]) -> Option<Payload> {
    let request = [b"\x83\xa2op\xa7publish\xa5topic\xa6chat.x\xa4data", data].concat();
    let payload = published(Codec::MessagePack, &request);
    // A field that the fast reader does not know leaves the request to the other.
    let request = [b"\x84\xa1x\xc0\xa2op\xa7publish\xa5topic\xa6chat.x\xa4data", data].concat();
    assert_eq!(published(Codec::MessagePack, &request), payload);
    if let Some(Payload::Packed(value)) = &payload {
        assert_eq!(value.as_bytes(), data);
        let text = JsonText::from_msgpack(data).expect("it was taken");
        assert_eq!(JsonText::parse(text.as_str().as_bytes()).as_ref(), Ok(&text));
    }
    payload
}

fn published(codec: Codec, request: &[u8]) -> Option<Payload> {
    match codec.decode_request(request) {
        Ok(ClientMessage::Publish { data, .. }) => Some(data),
        _ => None,
    }
}

/// Publishes `payload` twice and reads it in every form, as the last value and from the history.
fn is_read(payload: Payload, json: &str, packed: &Node) {
    let limits = DirectoryLimits {
        topics_max: 1,
        topics_per_key_max: 0,
        history_bytes_max: 1 << 30,
        ..DirectoryLimits::default()
    };
    let directory = Directory::new("e".into(), Kinds::default(), limits, Vec::new());
    let ingress = Ingress::new(Arc::new(directory));
    let topic: Topic = "chat.x".parse().expect("a topic");
    for published in [payload.clone(), payload] {
        let place = ingress.submit(Origin::Feed, &topic, published, Micros(1));
        place.expect("an event topic takes any JSON");
    }
    let cell = ingress.directory().find("chat.x").expect("it was published to");
    let newest = cell.snapshot().expect("it has a value");
    reads_as(&newest, DataOp::Snapshot, json, packed);
    let history = cell.history(Seq(0), 2).messages;
    assert_eq!(history.len(), 2);
    for publication in history {
        reads_as(&publication, DataOp::Update, json, packed);
    }
}

/// Checks that every frame of `publication` holds what was published, for clients of this project and for others.
fn reads_as(publication: &Publication, op: DataOp, json: &str, packed: &Node) {
    let text = payload_of(publication.frame(Codec::Json, op));
    let ending = format!("\"data\":{json}}}");
    assert!(text.ends_with(ending.as_bytes()), "{json} is not in {text:?}");
    assert_eq!(data_of(Codec::Json, text), json);

    let events = Dialect::Sse(Framing::Bare);
    publication.encode(events, op, &mut Deflater::default(), &mut Counts::default());
    let event = publication.encoded(events, op).expect("it was made");
    let event = std::str::from_utf8(event).expect("JSON is UTF-8");
    let lines: Vec<&str> = event
        .split('\n')
        .filter_map(|line| line.strip_prefix("data: "))
        .collect();
    let told = Node::of_json(
        data_of(Codec::Json, lines.join("\n").as_bytes()).as_str(),
        as_packed,
    );
    assert_eq!(&told.expect("an event holds JSON"), packed);

    let bytes = payload_of(publication.frame(Codec::MessagePack, op));
    let Ok(Node::Array(fields)) = Node::of_msgpack(bytes) else {
        panic!("{bytes:02x?} is no array");
    };
    assert_eq!(fields.last(), Some(packed));
    let data = data_of(Codec::MessagePack, bytes);
    assert_eq!(&Node::of_json(&data, as_written).expect("data is JSON"), packed);
}

/// The data that a client of this project gets.
fn data_of(codec: Codec, message: &[u8]) -> String {
    match codec.decode_server(message) {
        Ok(ServerMessage::Update { data, .. } | ServerMessage::Snapshot { data, .. }) => {
            data.get().to_owned()
        }
        other => panic!("{codec} has {other:?} for {message:02x?}"),
    }
}
