//! The attackers: each has its own address and makes one attempt after the other, as a row says.
//!
//! Each is a task; all tasks run on the calling thread. The broker's answers are read only as far as the attack needs
//! them: the status of a handshake, the codes of refusals, the code of a close frame. Memory is bounded: an attacker
//! keeps one incomplete frame, and nothing of data frames. An attempt without an answer in its row's time counts as such
//! and is given up.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use futures_util::future::join_all;
use socket2::{SockFilter, SockRef};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::swarm::{Interrupt, Sources};
use crate::trials::attack::heard::{Heard, Listener};
use crate::trials::attack::row::{Ending, Row, Step, Tally, Variant};

/// The time between two calls of what is done meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The time between two bytes of an attacker that reads one per second.
const SIP_EVERY: Duration = Duration::from_secs(1);
/// Bytes to read at once.
const SCRATCH_BYTES: usize = 8 * 1024;
/// The receive buffer of an attacker that stops reading, as small as the kernel allows.
const NARROW_BYTES: u32 = 4 * 1024;

pub(super) struct Attackers<'r> {
    row: &'r Row,
    address: SocketAddr,
    count: usize,
    sources: Sources,
    tallies: RefCell<Vec<Tally>>,
    attempts: Cell<u64>,
}

impl<'r> Attackers<'r> {
    pub(super) fn new(row: &'r Row, address: SocketAddr, count: usize) -> Self {
        Self {
            row,
            address,
            count,
            sources: Sources::take_each(count),
            tallies: RefCell::new(vec![Tally::default(); row.variants.len()]),
            attempts: Cell::new(0),
        }
    }

    /// Attacks for the given time. Calls `meanwhile` every few milliseconds, which may end the attack by returning
    /// true. Returns the answers to each variant, and the number of attempts.
    pub(super) fn attack(
        self,
        time: Duration,
        interrupt: &Interrupt,
        mut meanwhile: impl FnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<(Vec<Tally>, u64)> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a runtime")?;
        runtime.block_on(async {
            let until = Instant::now() + time;
            let attacking = join_all((0..self.count).map(|number| self.attacker(number, until)));
            // An attacker that tries only once stays until everything is over.
            let given_up = match self.row.is_once() {
                true => until,
                false => until + self.row.within,
            };
            let looking = async {
                while !meanwhile()? {
                    interrupt.check()?;
                    sleep(LOOK_EVERY).await;
                }
                anyhow::Ok(())
            };
            tokio::select! {
                // It does not matter whether all attackers have ended by themselves.
                _ = timeout_at(given_up, attacking) => Ok(()),
                looked = looking => looked,
            }
        })?;
        Ok((self.tallies.into_inner(), self.attempts.get()))
    }

    /// Makes one attempt after the other. Attackers begin one after the other, within the time between two attempts.
    async fn attacker(&self, number: usize, until: Instant) {
        let row = self.row;
        let source = row.one_address.unwrap_or_else(|| self.sources.each(number));
        let mut next = Instant::now() + row.every.mul_f64(number as f64 / self.count as f64);
        let mut attempt = number;
        while next.max(Instant::now()) < until {
            sleep_until(next).await;
            let began = Instant::now();
            next = began + row.every;
            let chosen = attempt % row.variants.len();
            let variant = &row.variants[chosen];
            attempt += 1;
            self.attempts.set(self.attempts.get() + 1);
            let answer = self.attempt(variant, source).await;
            self.tallies.borrow_mut()[chosen].add(variant, answer, began.elapsed());
            if row.is_once() {
                return;
            }
        }
    }

    /// Makes one attempt. Returns the answer to it.
    async fn attempt(&self, variant: &Variant, source: Ipv4Addr) -> String {
        let within = match self.row.is_once() {
            true => Duration::MAX,
            false => self.row.within,
        };
        let mut refusals = Vec::new();
        let attempting = async {
            let Ok(stream) = start(self.address, source, variant).await else {
                return Some(Ending::NotConnected);
            };
            let attempt = Attempt::new(stream, variant, Listener::new(self.row.secured), &mut refusals);
            attempt.run().await
        };
        let ending = timeout(within, attempting).await.unwrap_or(Some(Ending::Nothing));
        answer(&refusals, ending)
    }
}

/// The answer of these refusals and this ending. Without an ending, the connection is open.
fn answer(refusals: &[String], ending: Option<Ending>) -> String {
    let refused = refusals.join(", ");
    match ending {
        None => refused,
        Some(ending) if refusals.is_empty() => ending.to_string(),
        Some(ending) => format!("{refused}, then {ending}"),
    }
}

async fn start(address: SocketAddr, source: Ipv4Addr, variant: &Variant) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    let stops = |step: &Step| matches!(step, Step::StopReading { .. });
    if variant.steps.iter().any(stops) {
        socket.set_recv_buffer_size(NARROW_BYTES)?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// How a connection ended; `None` if it was refused what it asked for and is open.
type Over = Option<Ending>;

struct Attempt<'v> {
    variant: &'v Variant,
    incoming: Incoming<'v>,
    writer: OwnedWriteHalf,
}

impl<'v> Attempt<'v> {
    fn new(
        stream: TcpStream,
        variant: &'v Variant,
        listener: Listener,
        refusals: &'v mut Vec<String>,
    ) -> Self {
        let (reader, writer) = stream.into_split();
        let incoming = Incoming {
            reader,
            scratch: vec![0; SCRATCH_BYTES].into(),
            listener,
            expected: &variant.expected,
            refusals,
            hears: None,
            has_come: false,
        };
        Self {
            variant,
            incoming,
            writer,
        }
    }

    /// Does all steps, and then waits for the end.
    async fn run(mut self) -> Over {
        for step in &self.variant.steps {
            if let Err(over) = self.step(step).await {
                return over;
            }
        }
        self.incoming.over().await
    }

    async fn step(&mut self, step: &Step) -> Result<(), Over> {
        let Self { incoming, writer, .. } = self;
        match step {
            Step::Send(bytes) => tokio::select! {
                // An error shows at the next read, after the last bytes from the broker.
                _ = writer.write_all(bytes) => Ok(()),
                over = incoming.over() => Err(over),
            },
            Step::Upgraded => incoming.awaited().await,
            Step::Hear(text) => {
                incoming.hears = Some(text);
                incoming.awaited().await
            }
            Step::Repeat(piece, pause) => {
                let sending = async {
                    // A piece is sent only after the one before was written. Errors show as above.
                    loop {
                        let _ = writer.write_all(piece).await;
                        sleep(*pause).await;
                    }
                };
                tokio::select! {
                    over = incoming.over() => Err(over),
                    () = sending => Ok(()),
                }
            }
            Step::StopReading { sips } => loop {
                sleep(SIP_EVERY).await;
                if *sips {
                    // It does not matter if there is nothing to read or the connection has ended.
                    let _ = incoming.reader.try_read(&mut [0]);
                }
            },
            Step::LoseNetwork => lose_network(writer.as_ref()).map_err(|_| Some(Ending::NotConnected)),
            Step::Stay(time) => {
                let over = timeout(*time, incoming.over()).await;
                Err(over.unwrap_or(Some(Ending::Stayed)))
            }
        }
    }
}

/// What comes from the broker.
struct Incoming<'v> {
    reader: OwnedReadHalf,
    scratch: Box<[u8]>,
    listener: Listener,
    expected: &'v [String],
    refusals: &'v mut Vec<String>,
    /// What a message must contain that is waited for.
    hears: Option<&'static str>,
    /// Whether the handshake was accepted, or that message came.
    has_come: bool,
}

impl Incoming<'_> {
    /// Reads until what is waited for has come, or the connection is over.
    async fn awaited(&mut self) -> Result<(), Over> {
        while !std::mem::take(&mut self.has_come) {
            self.read().await?;
        }
        Ok(())
    }

    async fn over(&mut self) -> Over {
        loop {
            if let Err(over) = self.read().await {
                return over;
            }
        }
    }

    async fn read(&mut self) -> Result<(), Over> {
        let read = match self.reader.read(&mut self.scratch).await {
            Ok(0) | Err(_) => return Err(Some(Ending::Ended)),
            Ok(read) => read,
        };
        let mut over = None;
        let (refusals, hears, has_come) = (&mut *self.refusals, &mut self.hears, &mut self.has_come);
        let listened = self.listener.feed(&self.scratch[..read], |event| match event {
            _ if over.is_some() => {}
            Heard::Upgraded => *has_come = true,
            Heard::Status(status) => over = Some(Some(Ending::Status(status))),
            Heard::Close(code) => over = Some(Some(Ending::Close(code))),
            Heard::Message(message) => {
                *has_come |= hears.take_if(|text| holds(message, text.as_bytes())).is_some();
                if let Some(code) = code_in(message) {
                    if !refusals.iter().any(|known| known == code) {
                        refusals.push(code.to_owned());
                    }
                    if self.expected.contains(&answer(refusals, None)) {
                        over = Some(None);
                    }
                }
            }
        });
        match (listened, over) {
            (Err(_), _) => Err(Some(Ending::Nonsense)),
            (Ok(()), Some(over)) => Err(over),
            (Ok(()), None) => Ok(()),
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
