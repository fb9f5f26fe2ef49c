//! The reader at the far end of the link: one blocking connection on a thread of its own, which notes how old each message is.
//!
//! Reads as fast as the link lets it. Ends when it is told to, or with the connection, which is an error.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use tickwire_wire::frame::{Opcode, client_frame};

use super::link::{Link, Side};
use crate::compare::peers::{Message, Protocol};
use crate::swarm::frame::FrameReader;
use crate::swarm::handshake::Handshake;
use crate::swarm::payload::{self, Clock, Nanos};

/// Any mask: see `conn`.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// Longest wait for bytes before it is looked whether the end was asked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Time for the connection to be made; the link is slow.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);
/// Oldest message that is told from older ones, in microseconds.
const AGE_US_MAX: u64 = 3_600_000_000;

/// What the main thread and the reader tell each other.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// The reader has subscribed to everything.
    pub(super) ready: AtomicBool,
    /// From now on, ages count.
    pub(super) measure: AtomicBool,
    /// The reader is to end.
    pub(super) stop: AtomicBool,
}

/// Who is read, and how.
pub(super) struct Reader {
    pub(super) protocol: &'static dyn Protocol,
    pub(super) address: SocketAddr,
    pub(super) subscribe: Vec<Message>,
    pub(super) topics: usize,
    pub(super) clock: Clock,
    pub(super) signals: Arc<Signals>,
}

/// What was read while it counted.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) age_us: Histogram<u64>,
    pub(super) messages: u64,
    /// Bytes of the connection.
    pub(super) bytes: u64,
    /// The age of the last message.
    pub(super) last_age_us: u64,
    /// What the server refused or said wrongly.
    pub(super) fault: Option<String>,
    confirmed: usize,
}

impl Reader {
    /// Reads until told to end.
    ///
    /// # Errors
    /// When the connection ends.
    pub(super) fn run(self, link: &Link) -> anyhow::Result<Reading> {
        link.enter(Side::Reader)?;
        let mut stream = TcpStream::connect_timeout(&self.address, CONNECT_WITHIN)
            .context("cannot connect over the slow link")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LOOK_EVERY))?;
        let (path, subprotocol) = self.protocol.endpoint();
        let handshake = Handshake {
            host: self.address.to_string(),
            path: path.to_owned(),
            subprotocol,
            deflate: false,
        };
        stream.write_all(handshake.request().as_bytes())?;
        let mut reading = Reading {
            age_us: Histogram::new_with_bounds(1, AGE_US_MAX, 3)?,
            messages: 0,
            bytes: 0,
            last_age_us: 0,
            fault: None,
            confirmed: 0,
        };
        let (mut frames, mut head) = (FrameReader::default(), Some(Vec::new()));
        let mut buffer = vec![0; 64 * 1024];
        let mut answers = Vec::new();
        while !self.signals.stop.load(Ordering::Relaxed) {
            let count = match stream.read(&mut buffer) {
                Ok(0) => bail!("the server closed the connection"),
                Ok(count) => count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("the connection broke"),
            };
            let now = self.clock.now();
            if self.signals.measure.load(Ordering::Relaxed) {
                reading.bytes += count as u64;
            }
            match &mut head {
                None => self.frames(&mut frames, &buffer[..count], now, &mut reading, &mut answers)?,
                Some(bytes) => {
                    bytes.extend_from_slice(&buffer[..count]);
                    if let Some(end) = handshake.check(bytes)? {
                        let rest = bytes.split_off(end);
                        head = None;
                        for message in &self.subscribe {
                            answers.extend_from_slice(&client_frame(
                                true,
                                message.opcode,
                                MASK,
                                &message.payload,
                            ));
                        }
                        self.frames(&mut frames, &rest, now, &mut reading, &mut answers)?;
                    }
                }
            }
            stream.write_all(&answers).context("the connection broke")?;
            answers.clear();
        }
        Ok(reading)
    }

    fn frames(
        &self,
        frames: &mut FrameReader,
        bytes: &[u8],
        now: Nanos,
        reading: &mut Reading,
        answers: &mut Vec<u8>,
    ) -> anyhow::Result<()> {
        let counts = self.signals.measure.load(Ordering::Relaxed);
        let mut closed = None;
        frames.feed(bytes, |frame| match frame.opcode {
            Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                let mut delivered = |data: &[u8]| {
                    let Some(due) = payload::due(data).filter(|_| counts) else {
                        return;
                    };
                    let age_us = u64::try_from(now.since(due).as_micros()).unwrap_or(u64::MAX);
                    reading.age_us.saturating_record(age_us);
                    reading.last_age_us = age_us;
                    reading.messages += 1;
                };
                let inbound = self.protocol.inbound(frame.payload, &mut delivered);
                reading.confirmed += inbound.confirmed;
                reading.fault = reading.fault.take().or(inbound.fault);
            }
            Opcode::Ping => answers.extend_from_slice(&client_frame(true, Opcode::Pong, MASK, frame.payload)),
            Opcode::Pong => {}
            Opcode::Close => {
                let reason = frame.payload.get(2..).unwrap_or_default();
                closed = Some(String::from_utf8_lossy(reason).into_owned());
            }
        })?;
        if reading.confirmed >= self.topics {
            self.signals.ready.store(true, Ordering::Relaxed);
        }
        match closed {
            None => Ok(()),
            Some(reason) => bail!("the server closed the connection: {reason:?}"),
        }
    }
}
