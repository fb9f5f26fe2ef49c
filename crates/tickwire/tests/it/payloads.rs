//! Published data is the same wherever it is read, whatever its keys and however deep it is. What a client sends that
//! may not publish costs the broker nothing.
//!
//! All bytes are written by hand: libraries give some keys a meaning of their own.

use serde_json::json;

use crate::handshake::GOOD;
use crate::support::{Answer, Broker, Frame, Opcode, Socket};

/// Keys that serde_json uses internally.
const PRIVATE: [&str; 2] = ["$serde_json::private::RawValue", "$serde_json::private::Number"];

/// A value in both codecs.
struct Both {
    json: String,
    packed: Vec<u8>,
}

/// `text` as a string in MessagePack.
fn packed(text: &str) -> Vec<u8> {
    let head = match text.len() {
        len @ 0..32 => vec![0xa0 | len as u8],
        len @ 32..256 => vec![0xd9, len as u8],
        len => [&[0xda][..], &(len as u16).to_be_bytes()].concat(),
    };
    [&head[..], text.as_bytes()].concat()
}

impl Both {
    /// `value` within `depth` arrays.
    fn nested(depth: usize, value: &Self) -> Self {
        Self {
            json: "[".repeat(depth) + &value.json + &"]".repeat(depth),
            packed: [&vec![0x91; depth], &value.packed[..]].concat(),
        }
    }

    fn empty_array() -> Self {
        Self {
            json: "[]".to_owned(),
            packed: vec![0x90],
        }
    }

    /// A map with one key, whose value is `text`.
    fn map(key: &str, text: &str) -> Self {
        Self {
            json: format!("{{{}:{}}}", json!(key), json!(text)),
            packed: [&[0x81][..], &packed(key), &packed(text)].concat(),
        }
    }

    /// Ten layers: the text of each map's value is the JSON of the next layer, `depth` arrays deep.
    fn layered(key: &str, depth: usize) -> Self {
        let mut text = Self::nested(depth, &Self::empty_array()).json;
        for _ in 1..10 {
            text = Self::nested(depth, &Self::map(key, &text)).json;
        }
        Self::nested(50, &Self::map(key, &text))
    }
}

/// Values that a JSON parser may spoil.
fn values() -> Vec<Both> {
    let mut values = vec![Both::nested(63, &Both::empty_array())];
    for key in PRIVATE {
        values.push(Both::map(key, "1e400"));
        values.push(Both::map(key, "[[[1]]]"));
        values.push(Both::layered(key, 100));
    }
    // Fewer arrays, but more than allowed if a reader takes the text for JSON.
    let inner = Both::nested(119, &Both::empty_array()).json;
    values.push(Both::nested(60, &Both::map(PRIVATE[0], &inner)));
    values
}

/// The ways of publishing.
#[derive(Debug, Clone, Copy)]
enum Way {
    Json,
    MessagePack,
    Http,
    Lines,
}

impl Way {
    const ALL: [Self; 4] = [Self::Json, Self::MessagePack, Self::Http, Self::Lines];
}

/// Opens a connection that uses MessagePack, and reads its welcome.
fn open_packed(broker: &Broker) -> Socket {
    let lines = [&GOOD[..], &["Sec-WebSocket-Protocol: tickwire.v1.msgpack"]].concat();
    let (mut socket, answer) = Socket::request(broker, "GET /v1/ws HTTP/1.1", &lines);
    assert_eq!(answer.status, 101, "{answer:?}");
    socket.frame();
    socket
}

fn post(broker: &Broker, path: &str, body: &str) -> Answer {
    let mut socket = Socket::connect(broker);
    let length = body.len();
    socket.send_bytes(
        format!("POST {path} HTTP/1.1\r\nHost: tickwire\r\nContent-Length: {length}\r\n\r\n{body}")
            .as_bytes(),
    );
    socket.read_answer()
}

/// Publishes `value` to `chat.a` and returns the answer as text.
fn publish(broker: &Broker, way: Way, value: &Both) -> String {
    let json = &value.json;
    match way {
        Way::Json => {
            let mut socket = Socket::open(broker);
            socket.send(Frame::text(&format!(
                r#"{{"op":"publish","id":5,"topic":"chat.a","data":{json}}}"#
            )));
            String::from_utf8(socket.frame().1).expect("JSON is text")
        }
        Way::MessagePack => {
            let mut socket = open_packed(broker);
            let head = b"\x84\xa2op\xa7publish\xa2id\x05\xa5topic\xa6chat.a\xa4data";
            let request = [&head[..], &value.packed].concat();
            socket.send(Frame::new(Opcode::Binary, &request));
            String::from_utf8_lossy(&socket.frame().1).into_owned()
        }
        Way::Http => post(broker, "/v1/topics/chat.a", json).body,
        Way::Lines => {
            post(
                broker,
                "/v1/publish",
                &format!("{{\"topic\":\"chat.a\",\"data\":{json}}}"),
            )
            .body
        }
    }
}

/// Checks that the broker is still alive.
fn assert_alive(broker: &Broker) {
    let mut socket = Socket::open(broker);
    socket.send(Frame::text(r#"{"op":"ping","id":1}"#));
    assert_eq!(socket.message()["op"], "pong");
}

/// Reads an `ack` and its `synced` in MessagePack.
fn answered(socket: &mut Socket) {
    for op in ["ack", "synced"] {
        let (_, message) = socket.frame();
        let text = String::from_utf8_lossy(&message).into_owned();
        assert!(text.contains(op), "{text}");
    }
}

/// Readers of `chat.a` in each form.
struct Readers {
    json: Socket,
    packed: Socket,
    events: Socket,
}

impl Readers {
    fn open(broker: &Broker) -> Self {
        let mut json = Socket::open(broker);
        json.send(Frame::text(r#"{"op":"subscribe","id":1,"topics":["chat.a"]}"#));
        json.frame();
        let mut packed = open_packed(broker);
        packed.send(Frame::new(
            Opcode::Binary,
            b"\x83\xa2op\xa9subscribe\xa2id\x01\xa6topics\x91\xa6chat.a",
        ));
        answered(&mut packed);
        let (mut events, answer) = Socket::request(broker, "GET /v1/sse?topic=chat.a HTTP/1.1", &[]);
        assert_eq!(answer.status, 200, "{answer:?}");
        while !events.line().starts_with("event: ack") {}
        Self { json, packed, events }
    }

    /// Checks that `value` comes to each of the readers, and to HTTP requests.
    fn all_get(&mut self, broker: &Broker, value: &Both) {
        let ending = format!("\"data\":{}}}", value.json);
        let (_, text) = self.json.frame();
        let text = String::from_utf8(text).expect("JSON is text");
        assert!(text.ends_with(&ending), "{text}");
        let (_, bytes) = self.packed.frame();
        assert!(bytes.ends_with(&value.packed), "{bytes:02x?}");
        let event = loop {
            let line = self.events.line();
            if line.starts_with("data: {\"op\":\"update\"") {
                break line;
            }
        };
        assert!(event.trim_end().ends_with(&ending), "{event}");
        for (path, close) in [("chat.a", ""), ("chat.a/history?limit=1000", "]}")] {
            let first = format!("GET /v1/topics/{path} HTTP/1.1");
            let (_, answer) = Socket::request(broker, &first, &[]);
            assert!(
                answer.body.ends_with(&(ending.clone() + close)),
                "{}",
                answer.body
            );
        }
    }
}

#[test]
fn a_key_that_a_library_uses_within_itself_is_published_and_read_as_any_other() {
    let broker = Broker::start(&["--feed", "none", "--anonymous-publish", "chat.>"]);
    let mut readers = Readers::open(&broker);
    for value in values() {
        for way in Way::ALL {
            let answer = publish(&broker, way, &value);
            assert!(!answer.contains("error"), "{way:?}: {answer}");
            readers.all_get(&broker, &value);
        }
    }
    assert_alive(&broker);
    broker.stop();
}

#[test]
fn row_26_a_key_of_a_library_from_a_client_without_a_right_to_publish() {
    let broker = Broker::start(&["--feed", "none"]);
    for value in values() {
        for way in Way::ALL {
            let answer = publish(&broker, way, &value);
            assert!(answer.contains("forbidden"), "{way:?}: {answer}");
        }
    }
    assert_alive(&broker);
    broker.stop();
}

#[test]
fn arrays_and_maps_are_counted_alike_in_every_way_of_publishing() {
    let broker = Broker::start(&["--feed", "none", "--anonymous-publish", "chat.>"]);
    let mut readers = Readers::open(&broker);
    let deepest = Both::nested(63, &Both::empty_array());
    let deeper = Both::nested(64, &Both::empty_array());
    let deeper_map = Both::nested(64, &Both::map("a", "b"));
    for way in Way::ALL {
        let answer = publish(&broker, way, &deepest);
        assert!(!answer.contains("error"), "{way:?}: {answer}");
        readers.all_get(&broker, &deepest);
        for value in [&deeper, &deeper_map] {
            let answer = publish(&broker, way, value);
            assert!(answer.contains("nested deeper than 64"), "{way:?}: {answer}");
        }
    }
    broker.stop();
}

/// What publishers write, and the bytes that a MessagePack reader gets for it.
#[test]
fn a_number_that_messagepack_cannot_hold_comes_as_its_text() {
    let broker = Broker::start(&["--feed", "none", "--anonymous-publish", "chat.>"]);
    let mut readers = Readers::open(&broker);
    for (json, packed) in [
        (
            "18446744073709551615",
            &b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"[..],
        ),
        ("18446744073709551616", b"\xb418446744073709551616"),
        ("0.1", b"\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a"),
        ("1.50", b"\xcb\x3f\xf8\0\0\0\0\0\0"),
        ("0.123456789012345678", b"\xb40.123456789012345678"),
        (r#"{"a":1,"a":2}"#, b"\x82\xa1a\x01\xa1a\x02"),
    ] {
        let value = Both {
            json: json.to_owned(),
            packed: packed.to_owned(),
        };
        let answer = publish(&broker, Way::Json, &value);
        assert!(!answer.contains("error"), "{json}: {answer}");
        readers.all_get(&broker, &value);
    }
    broker.stop();
}
