//! Those who do nothing wrong while others attack: subscribers that miss nothing, or say what they missed.
//!
//! Each has the trades and the book of one symbol, every message of both, and checks that each number follows the one
//! before. They have a thread of their own, which is told what is being measured and when to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use hdrhistogram::Histogram;
use tickwire_wire::codec::DataOp;
use tickwire_wire::message::{Subscribe, TopicRequest};
use tickwire_wire::{ClientMessage, Codec, Control, Micros, Mode, RequestId, ServerMessage};

use crate::swarm::conn::{self, ConnId, Ending, Handler, Reply};
use crate::swarm::connections::{Endpoint, Swarm};
use crate::swarm::interrupt::Interrupt;
use crate::swarm::report::Faults;
use crate::trials::soak::scan::scan;

/// What each subscriber has of its symbol. Every message of both counts.
const CHANNELS: [&str; 2] = ["trade", "book"];
/// Longest latency that is told from longer ones.
const LATENCY_US_MAX: u64 = 600_000_000;
/// Subscribers that are on their way at a time.
const CONNECTING: usize = 64;
/// Time for all of them to be there.
const CONNECT_WITHIN: Duration = Duration::from_secs(60);
/// Time for all of them to have read what was published before.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(30);
/// Longest turn of the connections.
const TURN: Duration = Duration::from_millis(20);

/// What is being measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// Nothing.
    Unmeasured,
    /// The time before the attack.
    Quiet,
    /// The attack.
    Attacked,
}

/// What the threads tell each other.
#[derive(Debug, Default)]
struct Told {
    phase: AtomicU8,
    stop: AtomicBool,
    settled: AtomicUsize,
    /// When the newest message was published of whoever is furthest behind, in microseconds.
    oldest: AtomicU64,
}

/// What they found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) quiet_us: Histogram<u64>,
    pub(super) attacked_us: Histogram<u64>,
    /// Messages that came.
    pub(super) messages: u64,
    /// Numbers that were left out or named in a gap.
    pub(super) missed: u64,
    pub(super) faults: Faults,
}

/// The subscribers.
struct Audience {
    told: Arc<Told>,
    symbols: Vec<String>,
    /// The last number of each subscriber's topics, once it is known.
    last: Vec<[Option<u64>; CHANNELS.len()]>,
    /// When the last message of each was published.
    newest: Vec<u64>,
    found: Found,
}

impl Audience {
    fn symbol(&self, id: ConnId) -> &str {
        &self.symbols[id.0 % self.symbols.len()]
    }

    /// Which of its topics `topic` is.
    fn place(&self, id: ConnId, topic: &[u8]) -> Option<usize> {
        let (channel, symbol) = std::str::from_utf8(topic).ok()?.split_once('.')?;
        (symbol == self.symbol(id)).then(|| CHANNELS.iter().position(|own| *own == channel))?
    }

    fn subscribe(&self, id: ConnId) -> Vec<u8> {
        let mut request = Vec::new();
        let subscribe = ClientMessage::Subscribe(Subscribe {
            id: RequestId(1),
            topics: CHANNELS
                .map(|channel| TopicRequest::Pattern(format!("{channel}.{}", self.symbol(id))))
                .into(),
            mode: Some(Mode::Every),
            conflate_ms: None,
            snapshot: false,
        });
        Codec::Json.encode_request(&subscribe, &mut request);
        request
    }

    fn update(&mut self, id: ConnId, topic: &[u8], seq: u64, ts: u64, received: Micros) {
        let place = self.place(id, topic);
        let Some(last) = place.and_then(|place| self.last[id.0][place].as_mut()) else {
            let topic = String::from_utf8_lossy(topic);
            self.found
                .faults
                .add("never subscribed", format_args!("subscriber {}: {topic}", id.0));
            return;
        };
        self.found.messages += 1;
        match seq.checked_sub(*last) {
            Some(1) => {}
            Some(step @ 2..) => {
                self.found.missed += step - 1;
                let text = format_args!("subscriber {}: {seq} after {last}", id.0);
                self.found.faults.add("missed", text);
            }
            Some(0) | None => {
                let text = format_args!("subscriber {}: {seq} after {last}", id.0);
                self.found.faults.add("backward or twice", text);
            }
        }
        *last = seq;
        self.newest[id.0] = ts;
        let late_us = received.0.saturating_sub(ts);
        match self.told.phase.load(Ordering::Relaxed) {
            phase if phase == Phase::Quiet as u8 => self.found.quiet_us.saturating_record(late_us),
            phase if phase == Phase::Attacked as u8 => self.found.attacked_us.saturating_record(late_us),
            _ => {}
        }
    }

    fn control(&mut self, id: ConnId, control: &Control, reply: &mut Reply<'_>) {
        match control {
            Control::Welcome { .. } => reply.text(&self.subscribe(id)),
            Control::Ack { results, .. } => {
                for result in results {
                    let place = self.place(id, result.topic.as_bytes());
                    match (&result.error, place) {
                        (None, Some(place)) => {
                            self.last[id.0][place] = Some(result.seq.unwrap_or_default().0);
                        }
                        _ => {
                            let text = format_args!("subscriber {}: {result:?}", id.0);
                            self.found.faults.add("refused", text);
                        }
                    }
                }
                reply.settle();
            }
            Control::Gap { topic, from, to, .. } => {
                self.found.missed += to.0.saturating_sub(from.0) + 1;
                if let Some(place) = self.place(id, topic.as_bytes()) {
                    self.last[id.0][place] = Some(to.0);
                }
                let text = format_args!("subscriber {}: {control:?}", id.0);
                self.found.faults.add("gap", text);
            }
            Control::Heartbeat { .. }
            | Control::Status { .. }
            | Control::Joined { .. }
            | Control::Synced { .. } => {}
            other => {
                let text = format_args!("subscriber {}: {other:?}", id.0);
                self.found.faults.add("unexpected message", text);
            }
        }
    }

    /// When the newest message was published of whoever is furthest behind.
    fn oldest(&self) -> u64 {
        self.newest.iter().copied().min().unwrap_or_default()
    }
}

impl Handler for Audience {
    fn message(&mut self, id: ConnId, message: &[u8], received: Micros, reply: &mut Reply<'_>) {
        if let Some(head) = scan(message).filter(|head| head.op == DataOp::Update) {
            return self.update(id, head.topic, head.seq, head.ts, received);
        }
        match Codec::Json.decode_server(message) {
            Ok(ServerMessage::Control(control)) => self.control(id, &control, reply),
            Ok(other) => {
                let text = format_args!("subscriber {}: {other:?}", id.0);
                self.found.faults.add("unexpected message", text);
            }
            Err(error) => self.found.faults.add("unreadable message", error),
        }
    }

    fn ended(&mut self, id: ConnId, ending: &Ending) {
        let text = format_args!("subscriber {}: {ending}", id.0);
        self.found.faults.add("connection ended", text);
    }
}

/// Subscribers at work.
pub(super) struct Honest {
    told: Arc<Told>,
    interrupt: Interrupt,
    thread: JoinHandle<anyhow::Result<Found>>,
}

impl Honest {
    /// So many subscribers to `symbols`, all of them subscribed.
    ///
    /// # Errors
    /// When they cannot connect.
    pub(super) fn arrive(
        endpoint: &Endpoint,
        count: usize,
        symbols: Vec<String>,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Self> {
        let told = Arc::<Told>::default();
        let histogram = || Histogram::new_with_bounds(1, LATENCY_US_MAX, 3);
        let audience = Audience {
            told: told.clone(),
            symbols,
            last: vec![[None; CHANNELS.len()]; count],
            newest: vec![0; count],
            found: Found {
                quiet_us: histogram()?,
                attacked_us: histogram()?,
                messages: 0,
                missed: 0,
                faults: Faults::default(),
            },
        };
        let (endpoint, stop) = (endpoint.clone(), interrupt.clone());
        let thread = std::thread::Builder::new()
            .name("honest".to_owned())
            .spawn(move || listen(&endpoint, count, stop, audience))
            .context("no thread")?;
        let honest = Self {
            told,
            interrupt: interrupt.clone(),
            thread,
        };
        honest.wait("subscribe", CONNECT_WITHIN, |told| {
            told.settled.load(Ordering::Relaxed) == count
        })?;
        Ok(honest)
    }

    /// Says what is being measured from now on.
    pub(super) fn measure(&self, phase: Phase) {
        self.told.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Waits until everyone has a message that was published after now.
    ///
    /// # Errors
    /// When somebody does not get one in time.
    pub(super) fn catch_up(&self) -> anyhow::Result<()> {
        let now = conn::now().0;
        self.wait("get something new", CATCH_UP_WITHIN, |told| {
            told.oldest.load(Ordering::Relaxed) > now
        })
    }

    /// What they found until now; they leave.
    ///
    /// # Errors
    /// When the system failed, or a signal asked for the end.
    pub(super) fn leave(self) -> anyhow::Result<Found> {
        self.told.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| anyhow!("the subscribers' thread panicked"))?
    }

    fn wait(&self, what: &str, within: Duration, mut done: impl FnMut(&Told) -> bool) -> anyhow::Result<()> {
        let until = Instant::now() + within;
        while !done(&self.told) {
            self.interrupt.check()?;
            ensure!(
                !self.thread.is_finished() && Instant::now() < until,
                "honest subscribers do not {what} within {within:?}"
            );
            std::thread::sleep(TURN);
        }
        Ok(())
    }
}

/// Reads until told to stop.
fn listen(
    endpoint: &Endpoint,
    count: usize,
    interrupt: Interrupt,
    audience: Audience,
) -> anyhow::Result<Found> {
    let told = audience.told.clone();
    let mut swarm = Swarm::new(endpoint, count, CONNECTING, interrupt, audience)?;
    while !told.stop.load(Ordering::Relaxed) {
        swarm.turn(TURN)?;
        told.settled.store(swarm.settled(), Ordering::Relaxed);
        told.oldest.store(swarm.handler.oldest(), Ordering::Relaxed);
    }
    swarm.reset_when_dropped();
    Ok(swarm.handler.found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audience() -> Audience {
        let histogram = || Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("bounds");
        Audience {
            told: Arc::default(),
            symbols: vec!["A-B".to_owned(), "C-D".to_owned()],
            last: vec![[Some(5), None]; 3],
            newest: vec![0; 3],
            found: Found {
                quiet_us: histogram(),
                attacked_us: histogram(),
                messages: 0,
                missed: 0,
                faults: Faults::default(),
            },
        }
    }

    #[test]
    fn each_number_follows_the_one_before_or_is_a_fault() {
        for (seqs, missed, faults) in [
            (&[6, 7, 8][..], 0, 0),
            (&[6, 9], 2, 1),
            (&[6, 6], 0, 1),
            (&[6, 5], 0, 1),
        ] {
            let mut audience = audience();
            for seq in seqs {
                audience.update(ConnId(2), b"trade.A-B", *seq, 1, Micros(2));
            }
            assert_eq!(audience.found.missed, missed, "{seqs:?}");
            assert_eq!(audience.found.faults.count(), faults, "{seqs:?}");
        }
    }

    #[test]
    fn what_was_not_subscribed_to_is_a_fault() {
        for topic in ["trade.C-D", "bbo.A-B", "book.A-B", "trade"] {
            let mut audience = audience();
            audience.update(ConnId(2), topic.as_bytes(), 6, 1, Micros(2));
            assert_eq!(audience.found.faults.count(), 1, "{topic}");
        }
    }

    #[test]
    fn the_phase_says_where_a_latency_goes() {
        let mut audience = audience();
        for (phase, quiet, attacked) in [
            (Phase::Unmeasured, 0, 0),
            (Phase::Quiet, 1, 0),
            (Phase::Attacked, 1, 1),
        ] {
            audience.told.phase.store(phase as u8, Ordering::Relaxed);
            audience.last[0] = [Some(5), None];
            audience.update(ConnId(0), b"trade.A-B", 6, 1, Micros(2));
            let found = (audience.found.quiet_us.len(), audience.found.attacked_us.len());
            assert_eq!(found, (quiet, attacked), "{phase:?}");
        }
    }
}
