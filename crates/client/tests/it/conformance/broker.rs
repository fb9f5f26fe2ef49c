//! The broker of a case: a listener, and a WebSocket that sends exactly the bytes that it is told to.
//!
//! A task reads the client's frames into a queue, since a read must not be cancelled. Frames to the client are built
//! here and not by a library, since a case may need ones that no library would send.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use fastwebsockets::{Frame, OpCode, Role, after_handshake_split};
use serde_json::{Value, json};
use tickwire_wire::Codec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::matching::matches;
use crate::peer::{handshake_answer, header};

/// The deadline of a wait.
const DEADLINE: Duration = Duration::from_secs(10);
/// Most messages of the client that wait to be expected.
const HEARD_MAX: usize = 1_024;

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;

/// Waits for `future`, which is `what`.
pub(super) async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T, String> {
    let waited = tokio::time::timeout(DEADLINE, future).await;
    waited.map_err(|_| format!("{what} did not come within {DEADLINE:?}"))
}

/// The broker and its newest connection.
pub(super) struct Broker {
    /// The listeners, one for each URL.
    listeners: Vec<TcpListener>,
    /// The listeners by the names that steps have given to them.
    names: HashMap<String, usize>,
    codec: Codec,
    pub(super) connection: Option<Connection>,
}

/// A connection after its handshake.
pub(super) struct Connection {
    out: OwnedWriteHalf,
    heard: mpsc::Receiver<Value>,
    reader: JoinHandle<()>,
    pub(super) welcomed: bool,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Broker {
    pub(super) async fn start(codec: Codec, urls: usize) -> Self {
        let mut listeners = Vec::new();
        for _ in 0..urls {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.expect("a free port"));
        }
        Self {
            listeners,
            names: HashMap::new(),
            codec,
            connection: None,
        }
    }

    pub(super) fn urls(&self) -> Vec<String> {
        let addresses = self.listeners.iter().map(TcpListener::local_addr);
        addresses
            .map(|address| format!("ws://{}/v1/ws", address.expect("an address")))
            .collect()
    }

    /// Accepts a connection and answers its handshake as `how` says.
    pub(super) async fn dial(&mut self, how: &Value) -> Result<(), String> {
        self.connection = None;
        let (mut stream, head) = within("a connection", self.accept(how)).await??;
        if let Some(token) = how.get("token") {
            let shown = header(&head, "Authorization")
                .strip_prefix("Bearer ")
                .map(Value::from);
            if !matches(token, shown.as_ref()) {
                return Err(format!("the handshake shows the token {shown:?}"));
            }
        }
        if let Some(refusal) = how.get("refuse") {
            let answer = refused(refusal);
            stream
                .write_all(answer.as_bytes())
                .await
                .map_err(|error| error.to_string())?;
            return stream.shutdown().await.map_err(|error| error.to_string());
        }
        if how.get("drop").is_some() {
            return Ok(());
        }
        if header(&head, "Sec-WebSocket-Protocol") != self.codec.subprotocol() {
            return Err(format!("the client wants another codec: {head}"));
        }
        let answer = handshake_answer(&head);
        stream
            .write_all(answer.as_bytes())
            .await
            .map_err(|error| error.to_string())?;
        self.connection = Some(Connection::start(stream, self.codec));
        Ok(())
    }

    async fn accept(&mut self, how: &Value) -> Result<(TcpStream, String), String> {
        let text = |error: std::io::Error| error.to_string();
        let (at, mut stream) = self.accept_any(how["at"].as_str()).await.map_err(text)?;
        if let Some(name) = how["at"].as_str() {
            self.names.insert(name.to_owned(), at);
        }
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.map_err(text)?);
        }
        String::from_utf8(head)
            .map(|head| (stream, head))
            .map_err(|error| error.to_string())
    }

    /// Accepts a connection at the listener with this name. If it is a new name, at any that has none.
    async fn accept_any(&self, name: Option<&str>) -> std::io::Result<(usize, TcpStream)> {
        let known = name.and_then(|name| self.names.get(name));
        let is_meant =
            |at: &usize| known.map_or(!self.names.values().any(|named| named == at), |known| known == at);
        poll_fn(|context| {
            for (at, listener) in self.listeners.iter().enumerate().filter(|(at, _)| is_meant(at)) {
                if let Poll::Ready(accepted) = listener.poll_accept(context) {
                    return Poll::Ready(accepted.map(|(stream, _)| (at, stream)));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Whether the client has dialled again, although no step said so.
    pub(super) async fn has_caller(&self) -> bool {
        for listener in &self.listeners {
            // A connection that was made before is there at once.
            if tokio::time::timeout(Duration::ZERO, listener.accept())
                .await
                .is_ok()
            {
                return true;
            }
        }
        false
    }

    pub(super) fn connection(&mut self) -> Result<&mut Connection, String> {
        self.connection
            .as_mut()
            .ok_or_else(|| "no connection is open".to_owned())
    }

    /// Sends `message` in the case's codec.
    pub(super) async fn say(&mut self, message: &Value) -> Result<(), String> {
        let codec = self.codec;
        let connection = self.connection()?;
        connection.welcomed |= message["op"] == "welcome";
        match codec {
            Codec::Json => connection.frame(TEXT, message.to_string().as_bytes()).await,
            Codec::MessagePack => connection.frame(BINARY, &packed(&as_array(message))).await,
        }
    }
}

impl Connection {
    fn start(stream: TcpStream, codec: Codec) -> Self {
        let (read, out) = stream.into_split();
        let (mut receiver, _) = after_handshake_split(read, tokio::io::sink(), Role::Server);
        receiver.set_auto_pong(false);
        receiver.set_auto_close(false);
        let (sender, heard) = mpsc::channel(HEARD_MAX);
        let reader = tokio::spawn(async move {
            let send = &mut |_: Frame<'_>| async { Ok::<(), Infallible>(()) };
            while let Ok(frame) = receiver.read_frame(send).await {
                let message = match frame.opcode {
                    OpCode::Text => {
                        serde_json::from_slice(&frame.payload).unwrap_or_else(|_| json!("not JSON"))
                    }
                    OpCode::Binary => {
                        rmp_serde::from_slice(&frame.payload).unwrap_or_else(|_| json!("not MessagePack"))
                    }
                    OpCode::Close => return,
                    _ => continue,
                };
                let is_of_codec = (frame.opcode == OpCode::Text) == (codec == Codec::Json);
                let message = if is_of_codec {
                    message
                } else {
                    json!("another codec")
                };
                if sender.send(message).await.is_err() {
                    return;
                }
            }
        });
        Self {
            out,
            heard,
            reader,
            welcomed: false,
        }
    }

    /// Writes `bytes` as they are. That the client has closed meanwhile is no fault of this step.
    pub(super) async fn raw(&mut self, bytes: &[u8]) -> Result<(), String> {
        match within("room to write", self.out.write_all(bytes)).await? {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.to_string()),
            _ => Ok(()),
        }
    }

    /// Sends one frame (RFC 6455 §5.2): unmasked, and without fragments.
    async fn frame(&mut self, head: u8, payload: &[u8]) -> Result<(), String> {
        let mut bytes = vec![head];
        match payload.len() {
            len @ 0..126 => bytes.push(len as u8),
            len @ 126..0x1_0000 => {
                bytes.push(126);
                bytes.extend_from_slice(&(len as u16).to_be_bytes());
            }
            len => {
                bytes.push(127);
                bytes.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        bytes.extend_from_slice(payload);
        self.raw(&bytes).await
    }

    pub(super) async fn text(&mut self, text: &str) -> Result<(), String> {
        self.frame(TEXT, text.as_bytes()).await
    }

    pub(super) async fn binary(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.frame(BINARY, bytes).await
    }

    pub(super) async fn close(&mut self, code: Option<u16>, reason: &str) -> Result<(), String> {
        let mut payload = Vec::new();
        if let Some(code) = code {
            payload.extend_from_slice(&code.to_be_bytes());
            payload.extend_from_slice(reason.as_bytes());
        }
        self.frame(CLOSE, &payload).await
    }

    /// The client's next message.
    pub(super) async fn hear(&mut self) -> Result<Value, String> {
        let heard = within("a message of the client", self.heard.recv()).await?;
        heard.ok_or_else(|| "the client ended the connection where a message was due".to_owned())
    }

    /// Waits until the client has ended the connection. A message before that is a fault.
    pub(super) async fn ended(&mut self) -> Result<(), String> {
        match within("the end of the connection", self.heard.recv()).await? {
            Some(message) => Err(format!("the client sent {message}, which no step expects")),
            None => Ok(()),
        }
    }
}

/// An HTTP answer that refuses the handshake.
fn refused(refusal: &Value) -> String {
    let status = refusal["status"].as_u64().unwrap_or(500);
    let mut answer = format!("HTTP/1.1 {status} Refused\r\nConnection: close\r\n");
    for (name, value) in refusal["headers"].as_object().into_iter().flatten() {
        answer += &format!("{name}: {}\r\n", value.as_str().unwrap_or_default());
    }
    let body = refusal.get("body").map(Value::to_string).unwrap_or_default();
    format!("{answer}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// `value` as MessagePack.
pub(super) fn packed(value: &Value) -> Vec<u8> {
    rmp_serde::to_vec_named(value).expect("JSON is representable")
}

/// An update or a snapshot as the array that it is in MessagePack; other messages as they are.
fn as_array(message: &Value) -> Value {
    let field = |name: &str| message[name].clone();
    match message["op"].as_str() {
        Some("update") => json!([0, field("topic"), field("seq"), field("ts"), field("data")]),
        Some("snapshot") => {
            json!([
                1,
                field("topic"),
                field("epoch"),
                field("seq"),
                field("ts"),
                field("data")
            ])
        }
        _ => message.clone(),
    }
}
