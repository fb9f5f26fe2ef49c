//! The two tasks of one connection: one reads frames and makes messages of them, the other writes.
//!
//! Reading has a task of its own because fastwebsockets loses bytes when a read is cancelled. Both queues between the
//! tasks and the session are bounded: a session that does not take messages stops the reader, and TCP then stops the
//! broker. Dropping a [`Link`] ends both tasks.

use std::convert::Infallible;
use std::time::Duration;

use fastwebsockets::{Frame, OpCode, Payload, WebSocketError};
use tickwire_wire::{CloseCode, Codec, Control, ServerMessage};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::clocks::Moment;
use crate::connect::{Receiver, Sender};
use crate::error::Loss;
use crate::idle::QuietMax;

/// Most messages between the reader and the session.
const INCOMING_MAX: usize = 64;
/// Most frames between the session and the writer.
const OUTGOING_MAX: usize = 16;
/// The longest time that sending a close frame may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// What the reader hands to the session.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A message.
    Message(ServerMessage),
    /// A `pong` of the protocol, and when it came.
    Pong(ServerMessage, Moment),
    /// A ping frame. Its payload is to be sent back.
    Ping(Vec<u8>),
    /// The connection has ended. Nothing follows.
    End(Loss),
}

/// What the writer sends.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// A request, encoded.
    Request(Vec<u8>),
    /// A pong frame with this payload.
    Pong(Vec<u8>),
    /// A close frame with this code.
    Close(CloseCode),
}

/// A connection after its handshake.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) incoming: mpsc::Receiver<Incoming>,
    pub(crate) outgoing: mpsc::Sender<Outgoing>,
    reader: Task,
    writer: Task,
}

/// A task that ends when this handle is dropped.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Link {
    /// Starts the tasks. `message_bytes_max` bounds a message with all its fragments.
    pub(crate) fn start(
        (receiver, sender): (Receiver, Sender),
        codec: Codec,
        message_bytes_max: usize,
        quiet_max: QuietMax,
        quiet_margin_ms: u64,
    ) -> Self {
        let (incoming_sender, incoming) = mpsc::channel(INCOMING_MAX);
        let (outgoing, outgoing_receiver) = mpsc::channel(OUTGOING_MAX);
        let assembler = Assembler {
            codec,
            message_bytes_max,
            fragments: None,
        };
        let silence = Silence {
            max: quiet_max,
            margin_ms: quiet_margin_ms,
        };
        let reader = Task(tokio::spawn(read(receiver, assembler, silence, incoming_sender)));
        let writer = Task(tokio::spawn(write(sender, codec, outgoing_receiver)));
        Self {
            incoming,
            outgoing,
            reader,
            writer,
        }
    }

    /// Sends a close frame, if the other end still takes it, and ends the connection.
    pub(crate) async fn close(self, code: CloseCode) {
        let Self {
            incoming,
            outgoing,
            reader,
            mut writer,
        } = self;
        drop((incoming, reader));
        let farewell = async {
            if outgoing.send(Outgoing::Close(code)).await.is_ok() {
                drop(outgoing);
                if let Err(error) = (&mut writer.0).await {
                    tracing::debug!(%error, "the writer of a connection failed");
                }
            }
        };
        if timeout(CLOSE_TIMEOUT, farewell).await.is_err() {
            tracing::debug!("the broker took no close frame in time");
        }
    }
}

/// Writes until the queue has ended or writing fails. Flushes when nothing waits.
async fn write(mut sender: Sender, codec: Codec, mut queue: mpsc::Receiver<Outgoing>) {
    while let Some(next) = queue.recv().await {
        let frame = match next {
            Outgoing::Request(bytes) => match codec {
                Codec::Json => Frame::text(Payload::Owned(bytes)),
                Codec::MessagePack => Frame::binary(Payload::Owned(bytes)),
            },
            Outgoing::Pong(payload) => Frame::pong(Payload::Owned(payload)),
            Outgoing::Close(code) => Frame::close(code.0, b""),
        };
        let mut result = sender.write_frame(frame).await;
        if result.is_ok() && queue.is_empty() {
            result = sender.flush().await;
        }
        if let Err(error) = result {
            // The reader meets the same error and reports it.
            tracing::debug!(%error, "writing to the broker failed");
            return;
        }
    }
}

/// How long the broker may be silent: two heartbeats and a margin.
struct Silence {
    max: QuietMax,
    /// The time beyond two heartbeats, in milliseconds.
    margin_ms: u64,
}

impl Silence {
    /// Sets the limit from the welcome, which tells the interval of heartbeats.
    fn learn(&self, incoming: &Incoming) {
        if let Incoming::Message(ServerMessage::Control(Control::Welcome { heartbeat_ms, .. })) = incoming {
            self.max
                .set_ms(heartbeat_ms.saturating_mul(2).saturating_add(self.margin_ms));
        }
    }
}

/// Reads until the connection ends or the session takes nothing any more.
async fn read(
    mut receiver: Receiver,
    mut assembler: Assembler,
    silence: Silence,
    out: mpsc::Sender<Incoming>,
) {
    // The read itself never sends anything: automatic answers are switched off.
    let send = &mut |_: Frame<'_>| async { Ok::<(), Infallible>(()) };
    loop {
        let next = match receiver.read_frame(send).await {
            Ok(frame) => assembler.frame(&frame),
            Err(error) => Err(loss_of(error, &silence.max)),
        };
        let next = match next {
            Ok(Some(next)) => next,
            Ok(None) => continue,
            Err(loss) => Incoming::End(loss),
        };
        silence.learn(&next);
        let ended = matches!(next, Incoming::End(_));
        if out.send(next).await.is_err() || ended {
            return;
        }
    }
}

/// Makes messages of frames.
struct Assembler {
    codec: Codec,
    message_bytes_max: usize,
    /// The opcode and the fragments of a message whose last fragment has not come.
    fragments: Option<(OpCode, Vec<u8>)>,
}

impl Assembler {
    fn frame(&mut self, frame: &Frame<'_>) -> Result<Option<Incoming>, Loss> {
        match frame.opcode {
            OpCode::Close => Err(close_of(&frame.payload)),
            OpCode::Ping => Ok(Some(Incoming::Ping(frame.payload.to_vec()))),
            OpCode::Pong => Ok(None),
            OpCode::Text | OpCode::Binary | OpCode::Continuation => self.data(frame),
        }
    }

    /// Takes a data frame: a whole message or a fragment of one (RFC 6455 §5.4).
    fn data(&mut self, frame: &Frame<'_>) -> Result<Option<Incoming>, Loss> {
        let begins = frame.opcode != OpCode::Continuation;
        if begins == self.fragments.is_some() {
            return Err(Loss::Protocol("fragments of two messages are mixed".to_owned()));
        }
        if begins && frame.fin {
            return self.message(frame.opcode, &frame.payload).map(Some);
        }
        let (opcode, mut fragments) = self.fragments.take().unwrap_or((frame.opcode, Vec::new()));
        if fragments.len() + frame.payload.len() > self.message_bytes_max {
            let max = self.message_bytes_max;
            return Err(Loss::Protocol(format!("a message is longer than {max} bytes")));
        }
        fragments.extend_from_slice(&frame.payload);
        if frame.fin {
            return self.message(opcode, &fragments).map(Some);
        }
        self.fragments = Some((opcode, fragments));
        Ok(None)
    }

    /// Reads a message. One of JSON is text and one of MessagePack is binary. A text that is not UTF-8 ends the
    /// connection (RFC 6455 §8.1), even where the codec would skip it.
    fn message(&self, opcode: OpCode, bytes: &[u8]) -> Result<Incoming, Loss> {
        match (self.codec, opcode) {
            (Codec::Json, OpCode::Text) => {
                std::str::from_utf8(bytes).map_err(|_| Loss::Protocol("a text is not UTF-8".to_owned()))?;
            }
            (Codec::MessagePack, OpCode::Binary) => {}
            (codec, _) => {
                let reason = format!("a message is not of the subprotocol {}", codec.subprotocol());
                return Err(Loss::Protocol(reason));
            }
        }
        let message = self.codec.decode_server(bytes);
        match message.map_err(|error| Loss::Protocol(error.to_string()))? {
            pong @ ServerMessage::Control(Control::Pong { .. }) => Ok(Incoming::Pong(pong, Moment::now())),
            message => Ok(Incoming::Message(message)),
        }
    }
}

fn loss_of(error: WebSocketError, quiet_max: &QuietMax) -> Loss {
    match error {
        // When the system times a connection out, the error has a number. The error of `IdleTimeout` has none.
        WebSocketError::IoError(error)
            if error.kind() == std::io::ErrorKind::TimedOut && error.raw_os_error().is_none() =>
        {
            Loss::Silent {
                after_ms: quiet_max.ms(),
            }
        }
        WebSocketError::IoError(error) => Loss::Broke(error.to_string()),
        WebSocketError::UnexpectedEOF => Loss::Broke("it ended without a close frame".to_owned()),
        error => Loss::Protocol(error.to_string()),
    }
}

/// Reads the payload of a close frame (RFC 6455 §5.5.1): it is empty, or two bytes of code and a text.
fn close_of(payload: &[u8]) -> Loss {
    match payload {
        [] => Loss::Closed {
            code: None,
            reason: String::new(),
        },
        [high, low, reason @ ..] => Loss::Closed {
            code: Some(CloseCode(u16::from_be_bytes([*high, *low]))),
            reason: String::from_utf8_lossy(reason).into_owned(),
        },
        [_] => Loss::Protocol("a close frame has one byte".to_owned()),
    }
}
