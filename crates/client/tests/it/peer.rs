//! The scripted broker: a listener and, for each connection, a WebSocket that sends and expects exactly what a test
//! tells it to.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use fastwebsockets::{Frame, OpCode, Payload, Role, WebSocket};
use http_body_util::Empty;
use hyper::Request;
use serde_json::{Value, json};
use tickwire_client::{BackoffBounds, Client, ClientBuilder, Event, Events};
use tickwire_wire::message::ServerMessage;
use tickwire_wire::{Codec, Control};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Waits for `future` and fails the test at the deadline.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    let deadline = tokio::time::timeout(Duration::from_secs(20), future);
    deadline.await.expect("nothing happened for 20 s")
}

pub(crate) struct Broker {
    listener: TcpListener,
    pub(crate) url: String,
}

impl Broker {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("ws://{}/v1/ws", listener.local_addr().expect("an address"));
        Self { listener, url }
    }

    /// Settings of a client that reconnects at once.
    pub(crate) fn client(&self) -> ClientBuilder {
        Client::builder(&self.url).backoff(BackoffBounds {
            first_ms: 0,
            max_ms: 0,
        })
    }

    /// Accepts the next connection. Returns its socket and the head of its request.
    pub(crate) async fn accept_raw(&self) -> (TcpStream, String) {
        let (mut stream, _) = within(self.listener.accept()).await.expect("a connection");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within(stream.read_u8()).await.expect("a request"));
        }
        (stream, String::from_utf8(head).expect("ASCII"))
    }

    /// Accepts the next connection and does the handshake.
    pub(crate) async fn accept(&self) -> Peer {
        self.accept_with_head().await.0
    }

    /// The same, but also returns the head of the request.
    pub(crate) async fn accept_with_head(&self) -> (Peer, String) {
        let (mut stream, head) = self.accept_raw().await;
        let answer = handshake_answer(&head);
        stream.write_all(answer.as_bytes()).await.expect("a reader");
        (Peer(WebSocket::after_handshake(stream, Role::Server)), head)
    }

    /// Accepts the next connection, does the handshake and sends the welcome.
    pub(crate) async fn welcome(&self) -> Peer {
        let mut peer = self.accept().await;
        peer.say(welcome()).await;
        peer
    }

    /// Connects a client with `settings`, and sends it the welcome `first`.
    pub(crate) async fn connect_told(&self, settings: ClientBuilder, first: Value) -> (Client, Events, Peer) {
        let told = async {
            let mut peer = self.accept().await;
            peer.say(first).await;
            peer
        };
        let (connected, peer) = within(async { tokio::join!(settings.connect(), told) }).await;
        let (client, events) = connected.expect("a welcome");
        (client, events, peer)
    }

    /// Connects a client with `settings`. Returns it with the broker's end of its first connection, after the welcome.
    pub(crate) async fn connect(&self, settings: ClientBuilder) -> (Client, Events, Peer) {
        let (client, mut events, peer) = self.connect_told(settings, welcome()).await;
        assert!(matches!(
            next(&mut events).await,
            Event::Connected { reconnects: 0, .. }
        ));
        message(&mut events, "welcome").await;
        (client, events, peer)
    }
}

pub(crate) fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map_or("", |(_, value)| value)
}

/// The 101 answer to the request with this head.
pub(crate) fn handshake_answer(head: &str) -> String {
    let request = Request::get("/")
        .header("Sec-WebSocket-Key", header(head, "Sec-WebSocket-Key"))
        .header("Sec-WebSocket-Version", header(head, "Sec-WebSocket-Version"))
        .body(Empty::<Bytes>::new())
        .expect("a request");
    let (answer, _) = fastwebsockets::upgrade::upgrade(request).expect("a handshake");
    let accept = answer.headers()["Sec-WebSocket-Accept"]
        .to_str()
        .expect("ASCII")
        .to_owned();
    let protocol = header(head, "Sec-WebSocket-Protocol");
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n"
    )
}

pub(crate) fn welcome() -> Value {
    welcome_with(15_000, 65_536)
}

pub(crate) fn welcome_with(heartbeat_ms: u64, message_bytes: usize) -> Value {
    json!({
        "op": "welcome", "session": "s", "server": "tickwire/test", "ts": 1, "heartbeat_ms": heartbeat_ms,
        "limits": {"subscriptions": 8, "message_bytes": message_bytes, "ops_per_s": 1000, "ops_burst": 1000},
    })
}

pub(crate) fn update(topic: &str, seq: u64) -> Value {
    json!({"op": "update", "topic": topic, "seq": seq, "ts": 1, "data": {"n": seq}})
}

pub(crate) fn snapshot(topic: &str, seq: u64) -> Value {
    json!({"op": "snapshot", "topic": topic, "epoch": "k", "seq": seq, "ts": 1, "data": {"n": seq}})
}

pub(crate) fn joined(topic: &str, epoch: &str, seq: u64) -> Value {
    json!({"op": "joined", "topic": topic, "epoch": epoch, "seq": seq})
}

/// An ack of `request` with `results`.
pub(crate) fn ack(request: &Value, results: &Value) -> Value {
    json!({"op": "ack", "id": request["id"], "results": results})
}

pub(crate) struct Peer(WebSocket<TcpStream>);

impl Peer {
    pub(crate) async fn frame(&mut self, frame: Frame<'static>) {
        self.0.set_auto_close(false);
        let written = within(async {
            let bytes = Vec::from(frame.payload);
            let frame = Frame::new(frame.fin, frame.opcode, None, Payload::Owned(bytes));
            write(&mut self.0, frame).await
        });
        written.await.expect("the client takes it");
    }

    /// Sends `message` as JSON text.
    pub(crate) async fn say(&mut self, message: Value) {
        self.frame(Frame::text(Payload::Owned(message.to_string().into_bytes())))
            .await;
    }

    pub(crate) async fn close(&mut self, code: u16) {
        self.frame(Frame::close(code, b"told to")).await;
    }

    /// Reads the next frame.
    pub(crate) async fn hear_frame(&mut self) -> Frame<'static> {
        self.0.set_auto_close(false);
        within(self.0.read_frame()).await.expect("a frame")
    }

    /// Reads the next message, which must be a request with `op`.
    pub(crate) async fn hear(&mut self, op: &str) -> Value {
        let frame = self.hear_frame().await;
        assert!(
            matches!(frame.opcode, OpCode::Text),
            "{:?} and not a request {op}",
            frame.opcode
        );
        let request: Value = serde_json::from_slice(&frame.payload).expect("JSON");
        assert_eq!(request["op"], op, "{request}");
        request
    }

    /// Reads the next frame, which must be a close frame. Returns its code.
    pub(crate) async fn hear_close(&mut self) -> u16 {
        let frame = self.hear_frame().await;
        assert_eq!(frame.opcode, OpCode::Close);
        u16::from_be_bytes([frame.payload[0], frame.payload[1]])
    }

    /// Reads a subscribe and acks each topic at `seq` in `every`, each pattern with one match.
    pub(crate) async fn grant(&mut self, seq: u64) -> Value {
        let request = self.hear("subscribe").await;
        let grant = |topic: &Value| {
            let resumed = topic.get("since").is_some();
            let name = topic.get("topic").unwrap_or(topic).as_str().expect("a topic");
            if name.contains('*') || name.contains('>') {
                return json!({"topic": name, "matched": 1, "mode": "every"});
            }
            let mut result = json!({"topic": name, "epoch": "k", "seq": seq, "mode": "every"});
            if resumed {
                result["recovered"] = json!(true);
            }
            result
        };
        let results: Vec<_> = request["topics"]
            .as_array()
            .expect("topics")
            .iter()
            .map(grant)
            .collect();
        self.say(ack(&request, &json!(results))).await;
        request
    }

    /// Breaks the connection in the middle of a frame.
    pub(crate) async fn cut_mid_frame(self) {
        let mut stream = self.0.into_inner();
        stream
            .write_all(b"\x81\x7e\x01\x00{\"op\":\"upd")
            .await
            .expect("the client takes it");
        stream.shutdown().await.expect("an open socket");
    }
}

/// Writes through a function of its own, since `WebSocket::write_frame` ties the frame's lifetime to the socket's.
async fn write(
    ws: &mut WebSocket<TcpStream>,
    frame: Frame<'static>,
) -> Result<(), fastwebsockets::WebSocketError> {
    ws.write_frame(frame).await
}

pub(crate) async fn next(events: &mut Events) -> Event {
    within(events.next()).await.expect("the client goes on")
}

/// The next event, which must be a message with `op`: a control message as JSON, a data message with its number as `n`.
pub(crate) async fn message(events: &mut Events, op: &str) -> Value {
    let event = next(events).await;
    let Event::Message(message) = event else {
        panic!("{event:?} and not a message {op}");
    };
    let found = match message {
        ServerMessage::Update { topic, seq, .. } => json!({"op": "update", "topic": topic, "seq": seq}),
        ServerMessage::Snapshot { topic, seq, .. } => json!({"op": "snapshot", "topic": topic, "seq": seq}),
        ServerMessage::Control(control) => control_json(&control),
        ServerMessage::Unknown(op) => json!({"op": op}),
    };
    assert_eq!(found["op"], op, "{found}");
    found
}

fn control_json(control: &Control) -> Value {
    let mut text = Vec::new();
    Codec::Json.encode_control(control, &mut text);
    serde_json::from_slice(&text).expect("JSON")
}
