//! A plain socket and frames made by hand, for what no library would send.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};
use serde_json::Value;
use socket2::{Domain, Type};

use super::{Answer, Broker, DEADLINE};

/// The opcode of a frame (RFC 6455 §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Reserved = 3,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// A frame to send, with any fault.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) opcode: Opcode,
    pub(crate) fin: bool,
    pub(crate) masked: bool,
    /// The reserved bits; 0x40 is RSV1.
    pub(crate) reserved: u8,
    pub(crate) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// A whole frame as a client sends it.
    pub(crate) fn new(opcode: Opcode, payload: &'a [u8]) -> Self {
        Self {
            opcode,
            fin: true,
            masked: true,
            reserved: 0,
            payload,
        }
    }

    /// A text message.
    pub(crate) fn text(text: &'a str) -> Self {
        Self::new(Opcode::Text, text.as_bytes())
    }

    /// The same, as the first part of a fragmented message.
    pub(crate) fn unfinished(mut self) -> Self {
        self.fin = false;
        self
    }

    /// The frame as bytes.
    pub(crate) fn bytes(self) -> Vec<u8> {
        const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
        let mut bytes = vec![u8::from(self.fin) << 7 | self.reserved | self.opcode as u8];
        let mask_bit = u8::from(self.masked) << 7;
        match self.payload.len() {
            short @ 0..126 => bytes.push(mask_bit | short as u8),
            medium @ 126..=0xffff => {
                bytes.push(mask_bit | 126);
                bytes.extend((medium as u16).to_be_bytes());
            }
            long => {
                bytes.push(mask_bit | 127);
                bytes.extend((long as u64).to_be_bytes());
            }
        }
        if self.masked {
            bytes.extend(MASK);
            bytes.extend(
                self.payload
                    .iter()
                    .zip(MASK.iter().cycle())
                    .map(|(byte, mask)| byte ^ mask),
            );
        } else {
            bytes.extend(self.payload);
        }
        bytes
    }
}

/// The transport of a connection.
#[derive(Debug)]
enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    fn stream(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref(),
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// A connection to the clients' listener.
#[derive(Debug)]
pub(crate) struct Socket(Wire);

impl Socket {
    /// Connects and sends nothing.
    pub(crate) fn connect(broker: &Broker) -> Self {
        Self::over(TcpStream::connect(broker.listen).expect("the broker listens"))
    }

    /// Connects to an address and sends nothing.
    pub(crate) fn to(address: SocketAddr) -> Self {
        Self(Wire::Plain(
            TcpStream::connect(address).expect("something listens"),
        ))
    }

    /// Connects from a loopback address and sends nothing.
    pub(crate) fn connect_from(broker: &Broker, source: Ipv4Addr) -> Self {
        let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let source = SocketAddr::from((source, 0));
        socket.bind(&source.into()).expect("an address of this machine");
        socket.connect(&broker.listen.into()).expect("the broker listens");
        Self::over(TcpStream::from(socket))
    }

    /// A connection over an existing stream.
    pub(crate) fn over(stream: TcpStream) -> Self {
        stream
            .set_read_timeout(Some(DEADLINE))
            .expect("a socket has a timeout");
        Self(Wire::Plain(stream))
    }

    /// Connects and does the TLS handshake, up to the broker's answer to it.
    pub(crate) fn secure(broker: &Broker, client: Arc<ClientConfig>) -> io::Result<Self> {
        let Wire::Plain(stream) = Self::connect(broker).0 else {
            unreachable!("not yet encrypted")
        };
        let name = ServerName::from(broker.listen.ip());
        let session = ClientConnection::new(client, name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(session, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self(Wire::Tls(Box::new(stream))))
    }

    /// The same, with each byte of the client in a segment of its own.
    pub(crate) fn secure_slowly(broker: &Broker, client: Arc<ClientConfig>) -> io::Result<Self> {
        let Wire::Plain(mut stream) = Self::connect(broker).0 else {
            unreachable!("not yet encrypted")
        };
        stream.set_nodelay(true)?;
        let name = ServerName::from(broker.listen.ip());
        let mut session = ClientConnection::new(client, name).map_err(io::Error::other)?;
        while session.is_handshaking() || session.wants_write() {
            let mut said = Vec::new();
            while session.wants_write() {
                session.write_tls(&mut said)?;
            }
            for byte in said {
                stream.write_all(&[byte])?;
            }
            if session.is_handshaking() {
                session.read_tls(&mut stream)?;
                session.process_new_packets().map_err(io::Error::other)?;
            }
        }
        Ok(Self(Wire::Tls(Box::new(StreamOwned::new(session, stream)))))
    }

    fn session(&mut self) -> &mut StreamOwned<ClientConnection, TcpStream> {
        match &mut self.0 {
            Wire::Tls(stream) => stream,
            Wire::Plain(_) => panic!("this connection is not encrypted"),
        }
    }

    /// Requests new keys, both ways, with the next bytes that are sent.
    pub(crate) fn change_keys(&mut self) {
        let session = &mut self.session().conn;
        session.refresh_traffic_keys().expect("they have shaken hands");
    }

    /// Sends bytes to the socket without encrypting them.
    pub(crate) fn send_below_tls(&mut self, bytes: &[u8]) {
        let socket = &mut self.session().sock;
        socket.write_all(bytes).expect("the broker takes bytes");
    }

    /// Whether a session was resumed in the TLS handshake.
    pub(crate) fn handshake_kind(&mut self) -> HandshakeKind {
        let session = &self.session().conn;
        session.handshake_kind().expect("they have shaken hands")
    }

    /// Whether the broker would have taken data before the end of the TLS handshake.
    pub(crate) fn was_early(&mut self) -> bool {
        self.session().conn.is_early_data_accepted()
    }

    /// The certificate that the broker has shown.
    pub(crate) fn certificate(&mut self) -> Vec<u8> {
        let session = &self.session().conn;
        session.peer_certificates().expect("they have shaken hands")[0].to_vec()
    }

    /// The socket itself, for its options.
    pub(crate) fn stream(&self) -> &TcpStream {
        self.0.stream()
    }

    /// Sends a handshake with these lines, each `Name: value`. The first line is `first`, such as `GET /v1/ws
    /// HTTP/1.1`.
    pub(crate) fn request(broker: &Broker, first: &str, lines: &[&str]) -> (Self, Answer) {
        let mut socket = Self::connect(broker);
        let answer = socket.ask(first, lines);
        (socket, answer)
    }

    /// Sends a request with these lines and reads the answer.
    pub(crate) fn ask(&mut self, first: &str, lines: &[&str]) -> Answer {
        let head: Vec<&str> = [first, "Host: tickwire"].iter().chain(lines).copied().collect();
        self.send_bytes(format!("{}\r\n\r\n", head.join("\r\n")).as_bytes());
        self.read_answer()
    }

    /// Opens a JSON connection without reading its welcome.
    pub(crate) fn dial(broker: &Broker) -> Self {
        let (socket, answer) = Self::request(broker, "GET /v1/ws HTTP/1.1", &crate::handshake::GOOD);
        assert_eq!(answer.status, 101, "{answer:?}");
        socket
    }

    /// Opens a JSON connection and reads its welcome.
    pub(crate) fn open(broker: &Broker) -> Self {
        let mut socket = Self::connect(broker);
        socket.shake_hands();
        socket
    }

    /// Does the handshake of a JSON connection on a new socket, and reads the welcome.
    pub(crate) fn shake_hands(&mut self) {
        let answer = self.ask(crate::handshake::GET, &crate::handshake::GOOD);
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(self.message()["op"], "welcome");
    }

    /// The same, for a socket that is passed by value.
    pub(crate) fn upgrade(mut self) -> Self {
        self.shake_hands();
        self
    }

    /// The socket's own address, which the broker sees as its peer.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.0.stream().local_addr().expect("the socket is connected")
    }

    /// The sending side, for another thread.
    pub(crate) fn writer(&self) -> TcpStream {
        self.0.stream().try_clone().expect("a descriptor is to be had")
    }

    /// Sends bytes as they are.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the broker takes bytes");
    }

    /// Sends each piece by itself from now on, however short (`TCP_NODELAY`).
    pub(crate) fn push_at_once(&self) {
        self.0
            .stream()
            .set_nodelay(true)
            .expect("a socket has this option");
    }

    /// Sends bytes. Returns whether the connection took them.
    pub(crate) fn takes(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    /// Reads one byte if there is one. Never waits.
    pub(crate) fn sip(&mut self) {
        self.0
            .stream()
            .set_nonblocking(true)
            .expect("a socket has this option");
        // It does not matter if there is none or the connection has ended.
        let _ = self.0.read(&mut [0]);
        self.0
            .stream()
            .set_nonblocking(false)
            .expect("a socket has this option");
    }

    /// Whether there is something to read, which may be the end. Never waits.
    pub(crate) fn has_something(&self) -> bool {
        self.peek().is_some()
    }

    /// Whether the broker has closed its side and there is nothing left to read. Never waits.
    pub(crate) fn is_at_end(&self) -> bool {
        self.peek() == Some(0)
    }

    /// The number of bytes that can be read now, at most 1; 0 at the end; `None` if there is nothing yet.
    fn peek(&self) -> Option<usize> {
        self.0
            .stream()
            .set_nonblocking(true)
            .expect("a socket has this option");
        let peeked = self.0.stream().peek(&mut [0]);
        self.0
            .stream()
            .set_nonblocking(false)
            .expect("a socket has this option");
        match peeked {
            Ok(count) => Some(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(_) => Some(0),
        }
    }

    /// Sends `message` until the broker takes no more, at most `count` times. Returns how often it was sent whole, and
    /// how many bytes of another one were sent.
    pub(crate) fn send_while_taken(&mut self, message: &[u8], count: usize) -> (usize, usize) {
        const REFUSED_AFTER: Duration = Duration::from_millis(300);
        self.0
            .stream()
            .set_write_timeout(Some(REFUSED_AFTER))
            .expect("a socket has a timeout");
        let mut sent = 0;
        while sent < count * message.len() {
            match self.0.write(&message[sent % message.len()..]) {
                Ok(more) => sent += more,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("the broker closed: {error}"),
            }
        }
        (sent / message.len(), sent % message.len())
    }

    /// Sends a frame.
    pub(crate) fn send(&mut self, frame: Frame<'_>) {
        self.send_bytes(&frame.bytes());
    }

    /// Reads the head of an HTTP answer, and its body if it has a length. What follows stays unread.
    pub(crate) fn read_answer(&mut self) -> Answer {
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\n") {
            text.extend(self.exactly(1));
        }
        let mut answer = Answer::of(std::str::from_utf8(&text).expect("a head is text"));
        let length = answer
            .head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        if let Some(length) = length {
            let body = self.exactly(length.parse().expect("a length is a number"));
            answer.body = String::from_utf8(body).expect("a body is text");
        }
        answer
    }

    /// Reads exactly `count` bytes.
    pub(crate) fn exactly(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).expect("the broker goes on");
        bytes
    }

    /// Reads a line of text, including its line end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            line.extend(self.exactly(1));
        }
        String::from_utf8(line).expect("a line is text")
    }

    /// The opcode and payload of the next frame. It must be whole, unmasked and without reserved bits, as each frame of
    /// a server. `synced` messages are skipped.
    pub(crate) fn frame(&mut self) -> (u8, Vec<u8>) {
        loop {
            let head = self.exactly(2);
            assert_eq!(head[0] & 0xf0, 0x80, "{head:?}");
            let length = match head[1] {
                126 => u64::from(u16::from_be_bytes(self.exactly(2).try_into().expect("two bytes"))),
                127 => u64::from_be_bytes(self.exactly(8).try_into().expect("eight bytes")),
                short @ 0..126 => u64::from(short),
                masked => panic!("a server's frame is masked or too long: {masked:#x}"),
            };
            let payload = self.exactly(length as usize);
            if !payload.starts_with(br#"{"op":"synced","#) {
                return (head[0] & 0x0f, payload);
            }
        }
    }

    /// The next frame, which must be a text message, as JSON.
    pub(crate) fn message(&mut self) -> Value {
        let (opcode, payload) = self.frame();
        assert_eq!(opcode, Opcode::Text as u8, "{payload:?}");
        serde_json::from_slice(&payload).expect("a message is JSON")
    }

    /// The next frame, which must be a compressed text message (RFC 7692 §6.2), as JSON.
    pub(crate) fn deflated_message(&mut self) -> Value {
        let head = self.exactly(2);
        assert_eq!(head[0], 0xc1, "FIN, RSV1 and text");
        let length = match head[1] {
            126 => u16::from_be_bytes(self.exactly(2).try_into().expect("two bytes")),
            short => u16::from(short),
        };
        let mut payload = self.exactly(usize::from(length));
        payload.extend([0, 0, 0xff, 0xff]);
        let mut message = Vec::with_capacity(65_536);
        flate2::Decompress::new(false)
            .decompress_vec(&payload, &mut message, flate2::FlushDecompress::Sync)
            .expect("it is DEFLATE");
        assert!(usize::from(length) < message.len(), "compressed for nothing");
        serde_json::from_slice(&message).expect("a message is JSON")
    }

    /// The code and reason of the next frame, which must be a close frame.
    pub(crate) fn close_frame(&mut self) -> (u16, String) {
        let (opcode, payload) = self.frame();
        let text = String::from_utf8_lossy(&payload);
        assert_eq!(opcode, Opcode::Close as u8, "{text}");
        close_of(&payload)
    }

    /// The messages before the close frame, and the code and reason of that frame.
    pub(crate) fn until_closed(&mut self) -> (Vec<Value>, (u16, String)) {
        let mut messages = Vec::new();
        loop {
            let (opcode, payload) = self.frame();
            if opcode == Opcode::Close as u8 {
                return (messages, close_of(&payload));
            }
            if opcode == Opcode::Text as u8 {
                messages.push(serde_json::from_slice(&payload).expect("a message is JSON"));
            }
        }
    }

    /// Everything that comes until the broker closes, as text.
    pub(crate) fn read_to_end(&mut self) -> String {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).expect("the broker closes");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Checks that the broker sends no more and has closed its side.
    pub(crate) fn ended(&mut self) {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(count) => assert_eq!(count, 0, "behind the close frame came {rest:?}"),
            // The system resets a connection that is closed with unread bytes.
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }

    /// Closes the sending side.
    pub(crate) fn shut(&mut self) {
        self.0
            .stream()
            .shutdown(Shutdown::Write)
            .expect("the socket is open");
    }
}

/// The code and reason in a close frame's payload.
fn close_of(payload: &[u8]) -> (u16, String) {
    let code = payload
        .first_chunk()
        .map_or(1005, |code| u16::from_be_bytes(*code));
    let reason = payload.get(2..).unwrap_or_default().to_vec();
    (code, String::from_utf8(reason).expect("a reason is text"))
}
