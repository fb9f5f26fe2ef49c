//! The attackers: each has its own address and makes one attempt after the other, as a row says.
//!
//! All run on one thread with one epoll. The broker's answers are read only as far as the attack needs them: the status
//! of a handshake, the codes of refusals, the code of a close frame. Memory is bounded: an attacker keeps one
//! incomplete frame, and nothing of data frames. An attempt without an answer in its row's time counts as such and is
//! given up.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Context;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{SockFilter, SockRef};

use crate::swarm::{Interrupt, Sources, connect, write_out};
use crate::trials::attack::heard::{Heard, Listener};
use crate::trials::attack::row::{Answer, Ending, Row, Step, Tally, Variant};

/// The time between two checks for attackers that have something to do at a set time.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The time between two bytes of an attacker that reads one per second.
const SIP_EVERY: Duration = Duration::from_secs(1);
const EVENTS: usize = 1_024;
/// Bytes to read at once, into memory that all attackers share.
const SCRATCH_BYTES: usize = 64 * 1024;
/// The receive buffer of an attacker that stops reading, as small as the kernel allows.
const NARROW_BYTES: usize = 4 * 1024;

struct Attempt {
    stream: TcpStream,
    variant: usize,
    step: usize,
    began: Instant,
    /// When the step that depends on the time is due.
    due: Option<Instant>,
    out: Vec<u8>,
    listener: Listener,
    refusals: Vec<String>,
    /// What the next message must contain before the steps go on.
    hears: Option<&'static str>,
    reads: bool,
    sips: bool,
    connected: bool,
}

struct Attacker {
    source: Ipv4Addr,
    attempt: Option<Attempt>,
    attempts: usize,
    /// The earliest time at which the next attempt starts.
    next: Instant,
}

type Over = Option<Ending>;

pub(super) struct Attackers<'r> {
    row: &'r Row,
    address: SocketAddr,
    poll: Poll,
    events: Events,
    scratch: Box<[u8]>,
    all: Vec<Attacker>,
    pub(super) tallies: Vec<Tally>,
    pub(super) attempts: u64,
}

impl<'r> Attackers<'r> {
    /// Creates `count` attackers. They start one after the other, within the time between two attempts.
    pub(super) fn new(row: &'r Row, address: SocketAddr, count: usize) -> anyhow::Result<Self> {
        let sources = Sources::take_each(count);
        let (now, every) = (Instant::now(), row.every.as_secs_f64());
        let attacker = |number: usize| Attacker {
            source: row.one_address.unwrap_or_else(|| sources.each(number)),
            attempt: None,
            attempts: 0,
            next: now + Duration::from_secs_f64(every * number as f64 / count as f64),
        };
        Ok(Self {
            row,
            address,
            poll: Poll::new().context("no epoll instance")?,
            events: Events::with_capacity(EVENTS),
            scratch: vec![0; SCRATCH_BYTES].into(),
            all: (0..count).map(attacker).collect(),
            tallies: vec![Tally::default(); row.variants.len()],
            attempts: 0,
        })
    }

    /// Attacks for the given time. Calls `meanwhile` every few milliseconds, which may end the attack by returning
    /// true.
    pub(super) fn attack(
        &mut self,
        time: Duration,
        interrupt: &Interrupt,
        mut meanwhile: impl FnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        let given_up = until + self.row.within;
        loop {
            let now = Instant::now();
            interrupt.check()?;
            let enough = meanwhile()?;
            self.clock(now, now < until);
            let waiting = self.all.iter().any(|attacker| attacker.attempt.is_some());
            // An attacker that tries only once stays until everything is over.
            if enough || now >= given_up || (now >= until && (!waiting || self.row.is_once())) {
                return Ok(());
            }
            self.turn()?;
        }
    }

    fn turn(&mut self) -> anyhow::Result<()> {
        match self.poll.poll(&mut self.events, Some(LOOK_EVERY)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            polled => polled.context("cannot wait for sockets")?,
        }
        let ready: Vec<usize> = self.events.iter().map(|event| event.token().0).collect();
        for number in ready {
            self.with(number, |attempt, variant, scratch, now| {
                attempt.ready(variant, scratch, now)
            });
        }
        Ok(())
    }

    /// Does what is due at this time.
    fn clock(&mut self, now: Instant, more: bool) {
        for number in 0..self.all.len() {
            let attacker = &self.all[number];
            match &attacker.attempt {
                None if more && attacker.next <= now && !(self.row.is_once() && attacker.attempts > 0) => {
                    self.begin(number, now);
                }
                Some(attempt) if attempt.began + self.row.within <= now && !self.row.is_once() => {
                    self.over(number, Ending::Nothing);
                }
                Some(attempt) if attempt.due.is_some_and(|due| due <= now) => {
                    self.with(number, |attempt, variant, scratch, now| {
                        attempt.is_due(variant, scratch, now)
                    });
                }
                _ => {}
            }
        }
    }

    fn begin(&mut self, number: usize, now: Instant) {
        let variants = self.row.variants.len();
        let attacker = &mut self.all[number];
        let variant = (number + attacker.attempts) % variants;
        attacker.attempts += 1;
        attacker.next = now + self.row.every;
        self.attempts += 1;
        let narrow = self.row.variants[variant]
            .steps
            .iter()
            .any(|step| matches!(step, Step::StopReading { .. }));
        let started = start(self.address, attacker.source, narrow).and_then(|mut stream| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll
                .registry()
                .register(&mut stream, Token(number), interest)?;
            Ok(stream)
        });
        match started {
            Ok(stream) => {
                let listener = Listener::new(self.row.secured);
                attacker.attempt = Some(Attempt::new(stream, listener, variant, now));
            }
            Err(_) => {
                let answer = Answer::of(Ending::NotConnected);
                self.tallies[variant].add(&self.row.variants[variant], &answer, Duration::ZERO);
            }
        }
    }

    fn with(&mut self, number: usize, act: impl FnOnce(&mut Attempt, &Variant, &mut [u8], Instant) -> Over) {
        let Some(attempt) = &mut self.all[number].attempt else {
            return;
        };
        let variant = &self.row.variants[attempt.variant];
        if let Some(ending) = act(attempt, variant, &mut self.scratch, Instant::now()) {
            self.over(number, ending);
        }
    }

    fn over(&mut self, number: usize, ending: Ending) {
        let Some(attempt) = self.all[number].attempt.take() else {
            return;
        };
        let variant = &self.row.variants[attempt.variant];
        let answer = Answer {
            refusals: attempt.refusals,
            ending,
        };
        self.tallies[attempt.variant].add(variant, &answer, attempt.began.elapsed());
    }
}

fn start(address: SocketAddr, source: Ipv4Addr, narrow: bool) -> io::Result<TcpStream> {
    let stream = connect(address, Some(source))?;
    stream.set_nodelay(true)?;
    if narrow {
        SockRef::from(&stream).set_recv_buffer_size(NARROW_BYTES)?;
    }
    Ok(stream)
}

impl Attempt {
    fn new(stream: TcpStream, listener: Listener, variant: usize, now: Instant) -> Self {
        Self {
            stream,
            variant,
            step: 0,
            began: now,
            due: None,
            out: Vec::new(),
            listener,
            refusals: Vec::new(),
            hears: None,
            reads: true,
            sips: false,
            connected: false,
        }
    }

    /// Does what readiness allows.
    fn ready(&mut self, variant: &Variant, scratch: &mut [u8], now: Instant) -> Over {
        if !self.connected {
            match self.stream.peer_addr() {
                Ok(_) => self.connected = true,
                Err(_) => return self.has_failed().then_some(Ending::NotConnected),
            }
            if let Some(ending) = self.go_on(variant, now) {
                return Some(ending);
            }
        }
        self.flush();
        while self.reads {
            match self.stream.read(scratch) {
                Ok(0) => return Some(Ending::Ended),
                Ok(read) => {
                    if let Some(ending) = self.take(&scratch[..read], variant, now) {
                        return Some(ending);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Some(Ending::Ended),
            }
        }
        None
    }

    fn has_failed(&self) -> bool {
        !matches!(self.stream.take_error(), Ok(None))
    }

    fn take(&mut self, bytes: &[u8], variant: &Variant, now: Instant) -> Over {
        let mut over = None;
        let (refusals, hears) = (&mut self.refusals, &mut self.hears);
        let (mut upgraded, mut heard) = (false, false);
        let listened = self.listener.feed(bytes, |event| {
            if over.is_some() {
                return;
            }
            match event {
                Heard::Upgraded => upgraded = true,
                Heard::Status(status) => over = Some(Ending::Status(status)),
                Heard::Close(code) => over = Some(Ending::Close(code)),
                Heard::Message(message) => {
                    if hears.is_some_and(|text| holds(message, text.as_bytes())) {
                        *hears = None;
                        heard = true;
                    }
                    if let Some(code) = code_in(message) {
                        if !refusals.iter().any(|known| known == code) {
                            refusals.push(code.to_owned());
                        }
                        let answer = Answer {
                            refusals: refusals.clone(),
                            ending: Ending::Refused,
                        };
                        if variant.expected.contains(&answer) {
                            over = Some(Ending::Refused);
                        }
                    }
                }
            }
        });
        if listened.is_err() {
            return Some(Ending::Nonsense);
        }
        if over.is_none() && (upgraded || heard) {
            self.step += 1;
            return self.go_on(variant, now);
        }
        over
    }

    /// Does the steps up to one that has to wait for an event.
    fn go_on(&mut self, variant: &Variant, now: Instant) -> Over {
        loop {
            match variant.steps.get(self.step) {
                // The attempt now waits for the answer.
                None | Some(Step::Upgraded) => break,
                Some(Step::Send(bytes)) => self.out.extend_from_slice(bytes),
                Some(Step::Hear(text)) => {
                    self.hears = Some(text);
                    break;
                }
                Some(Step::Repeat(..)) => {
                    self.due = Some(now);
                    break;
                }
                Some(Step::StopReading { sips }) => {
                    (self.reads, self.sips) = (false, *sips);
                    self.due = sips.then(|| now + SIP_EVERY);
                }
                Some(Step::LoseNetwork) => {
                    self.flush();
                    if lose_network(&self.stream).is_err() {
                        return Some(Ending::NotConnected);
                    }
                }
                Some(Step::Stay(time)) => {
                    self.due = Some(now + *time);
                    break;
                }
            }
            self.step += 1;
        }
        self.flush();
        None
    }

    /// Does the step that is due.
    fn is_due(&mut self, variant: &Variant, scratch: &mut [u8], now: Instant) -> Over {
        if self.sips {
            self.due = Some(now + SIP_EVERY);
            // It does not matter if there is nothing to read or the connection has ended.
            let _ = self.stream.read(&mut scratch[..1]);
            return None;
        }
        match variant.steps.get(self.step) {
            Some(Step::Repeat(piece, pause)) => {
                self.due = Some(now + *pause);
                // A piece is added only after the one before was written.
                if self.out.is_empty() {
                    self.out.extend_from_slice(piece);
                    self.flush();
                }
                None
            }
            Some(Step::Stay(_)) => Some(Ending::Stayed),
            _ => {
                self.due = None;
                None
            }
        }
    }

    /// Writes the waiting bytes. An error shows at the next read, after the last bytes from the broker.
    fn flush(&mut self) {
        if write_out(|bytes| self.stream.write(bytes), &mut self.out).is_err() {
            self.out.clear();
        }
    }
}

/// Drops everything that is sent to this socket from now on: the filter keeps no byte of a packet.
fn lose_network(stream: &TcpStream) -> io::Result<()> {
    const NOTHING: SockFilter = SockFilter::new(0x06, 0, 0, 0);
    SockRef::from(stream).attach_filter(&[NOTHING])
}

fn holds(message: &[u8], text: &[u8]) -> bool {
    message.windows(text.len()).any(|part| part == text)
}

/// The code of the first refusal in a message in JSON or MessagePack.
fn code_in(message: &[u8]) -> Option<&str> {
    const JSON: &[u8] = br#""code":""#;
    const PACKED: &[u8] = b"\xa4code";
    let behind = |mark: &[u8]| {
        let at = message.windows(mark.len()).position(|part| part == mark)?;
        message.get(at + mark.len()..)
    };
    let code = match (behind(JSON), behind(PACKED)) {
        (Some(code), _) => code.split(|byte| *byte == b'"').next()?,
        // A text of fewer than 32 bytes begins with its length.
        (None, Some([length @ 0xa0..=0xbf, code @ ..])) => code.get(..usize::from(length & 0x1f))?,
        _ => return None,
    };
    std::str::from_utf8(code).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_in_both_codecs() {
        for (message, code) in [
            (
                &br#"{"op":"error","id":1,"code":"forbidden","reason":"code"}"#[..],
                Some("forbidden"),
            ),
            (br#"{"op":"ack","results":[{"topic":"a"}]}"#, None),
            (b"\x82\xa2op\xa5error\xa4code\xabbad_request", Some("bad_request")),
            (b"\xa4code\xab", None),
            (b"", None),
        ] {
            assert_eq!(code_in(message), code, "{message:?}");
        }
    }
}
