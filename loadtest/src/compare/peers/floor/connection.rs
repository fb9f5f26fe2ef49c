//! One connection of the floor: the handshake, incoming commands, outgoing frames.
//!
//! When anything goes wrong, the connection is [`Gone`], without a reason. What the kernel does not take waits here, up
//! to [`BACKLOG_BYTES_MAX`].

use std::io::{ErrorKind, Read, Write};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use tickwire_wire::frame::{Event, Limits, Opcode, Parser, frame};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const BACKLOG_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest head of a handshake, in bytes.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// The connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

#[derive(Debug, Clone, Copy)]
pub(super) enum Command<'m> {
    /// Subscribes to topics, separated by commas.
    Subscribe(&'m str),
    /// Sends a payload to a topic's subscribers.
    Publish(&'m str, &'m str),
}

impl<'m> Command<'m> {
    fn parse(text: &'m str) -> Option<Self> {
        if let Some(topics) = text.strip_prefix("sub ") {
            return Some(Self::Subscribe(topics));
        }
        let (topic, payload) = text.strip_prefix("pub ")?.split_once(' ')?;
        Some(Self::Publish(topic, payload))
    }
}

/// State that is needed only while something comes in.
#[derive(Debug)]
struct Inbound {
    /// The part of the handshake that has come; `None` once it is done.
    head: Option<Vec<u8>>,
    parser: Parser,
}

#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    out: Vec<u8>,
    inbound: Box<Inbound>,
}

impl Connection {
    pub(super) fn open(mut stream: TcpStream, token: Token, registry: &Registry) -> std::io::Result<Self> {
        stream.set_nodelay(true)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            stream,
            out: Vec::new(),
            inbound: Box::new(Inbound {
                head: Some(Vec::new()),
                parser: Parser::new(Limits::default()),
            }),
        })
    }

    /// Reads everything there is. `act` carries out commands and returns how many topics it subscribed the connection
    /// to.
    pub(super) fn read(
        &mut self,
        scratch: &mut [u8],
        mut act: impl FnMut(Command<'_>) -> usize,
    ) -> Result<(), Gone> {
        loop {
            let read = match self.stream.read(scratch) {
                Ok(0) => return Err(Gone),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Err(Gone),
            };
            match &mut self.inbound.head {
                None => self.take(&mut scratch[..read], &mut act)?,
                Some(head) => {
                    head.extend_from_slice(&scratch[..read]);
                    if let Some(mut early) = upgrade(head, &mut self.out)? {
                        self.inbound.head = None;
                        self.take(&mut early, &mut act)?;
                    }
                }
            }
            // A stream socket that returned less than was asked for has no more (epoll(7), question 9).
            if read < scratch.len() {
                return Ok(());
            }
        }
    }

    fn take(&mut self, mut bytes: &mut [u8], act: &mut impl FnMut(Command<'_>) -> usize) -> Result<(), Gone> {
        let mut answer = |opcode, payload: &[u8]| {
            let frame = frame(opcode, |out| out.extend_from_slice(payload));
            self.out.extend_from_slice(&frame);
        };
        while let Some(event) = self.inbound.parser.next(&mut bytes).map_err(|_| Gone)? {
            match event {
                Event::Message { payload, .. } => {
                    let text = std::str::from_utf8(payload).map_err(|_| Gone)?;
                    let subscribed = act(Command::parse(text).ok_or(Gone)?);
                    if subscribed > 0 {
                        answer(Opcode::Text, format!("ok {subscribed}").as_bytes());
                    }
                }
                Event::Ping(payload) => answer(Opcode::Pong, payload),
                Event::Pong(_) => {}
                Event::Close { .. } => return Err(Gone),
            }
        }
        Ok(())
    }

    /// Writes `frame`, after the bytes that wait if there are any.
    #[inline]
    pub(super) fn send(&mut self, frame: &[u8]) -> Result<(), Gone> {
        if !self.out.is_empty() {
            self.out.extend_from_slice(frame);
            return self.flush();
        }
        let written = self.write(frame)?;
        self.out.extend_from_slice(&frame[written..]);
        Ok(())
    }

    /// Keeps `frame` for the next [`Self::flush`]. Returns whether nothing was waiting before.
    #[inline]
    pub(super) fn append(&mut self, frame: &[u8]) -> bool {
        let was_empty = self.out.is_empty();
        self.out.extend_from_slice(frame);
        was_empty
    }

    /// Writes the waiting bytes as far as the kernel takes them.
    pub(super) fn flush(&mut self) -> Result<(), Gone> {
        if self.out.is_empty() {
            return Ok(());
        }
        let out = std::mem::take(&mut self.out);
        let written = self.write(&out);
        self.out = out;
        self.out.drain(..written?);
        if self.out.len() > BACKLOG_BYTES_MAX {
            return Err(Gone);
        }
        Ok(())
    }

    /// Makes one write. The rest is written when the socket becomes writable again.
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Gone> {
        loop {
            match self.stream.write(bytes) {
                Ok(written) => return Ok(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Gone),
            }
        }
    }
}

/// Answers the handshake (RFC 6455 §4.2.2) once `head` is complete. Returns the bytes after it.
fn upgrade(head: &[u8], out: &mut Vec<u8>) -> Result<Option<Vec<u8>>, Gone> {
    let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") else {
        return match head.len() {
            0..HEAD_BYTES_MAX => Ok(None),
            _ => Err(Gone),
        };
    };
    let text = std::str::from_utf8(&head[..end]).map_err(|_| Gone)?;
    let key = text
        .split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("Sec-WebSocket-Key"))
        .map(|(_, key)| key.trim())
        .ok_or(Gone)?;
    let accept = derive_accept_key(key.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    out.extend_from_slice(answer.as_bytes());
    Ok(Some(head[end + 4..].to_vec()))
}
