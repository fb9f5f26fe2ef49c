//! The reader at the far end of the link, on a thread of its own, which notes how old each message is.
//!
//! Reads as fast as the link lets it. Ends when it is told to, or with the connection, which is an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::bail;
use hdrhistogram::Histogram;
use tickwire_wire::Micros;

use super::link::{Link, Side};
use crate::compare::peers::{Message, Protocol};
use crate::swarm::conn::{ConnId, Handler, Reply};
use crate::swarm::connections::{Endpoint, Swarm};
use crate::swarm::interrupt::Interrupt;
use crate::swarm::payload::{self, Clock, Nanos};
use crate::swarm::report::Faults;

/// Longest wait for bytes before it is looked whether the end was asked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);
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

/// Who is read, how, and what was read while it counted.
pub(super) struct Reader {
    protocol: &'static dyn Protocol,
    subscribe: Vec<Message>,
    topics: usize,
    clock: Clock,
    signals: Arc<Signals>,
    now: Nanos,
    confirmed: usize,
    pub(super) age_us: Histogram<u64>,
    pub(super) messages: u64,
    /// Bytes of these messages.
    pub(super) bytes: u64,
    /// The age of the last message.
    pub(super) last_age_us: u64,
    /// What the server refused or said wrongly, or that it ended the connection.
    pub(super) faults: Faults,
}

impl Reader {
    /// A reader of so many topics, which `subscribe` asks for.
    pub(super) fn new(
        protocol: &'static dyn Protocol,
        subscribe: Vec<Message>,
        topics: usize,
        clock: Clock,
        signals: &Arc<Signals>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            protocol,
            subscribe,
            topics,
            clock,
            signals: signals.clone(),
            now: clock.now(),
            confirmed: 0,
            age_us: Histogram::new_with_bounds(1, AGE_US_MAX, 3)?,
            messages: 0,
            bytes: 0,
            last_age_us: 0,
            faults: Faults::default(),
        })
    }

    /// Reads until told to end.
    pub(super) fn run(self, link: &Link, endpoint: &Endpoint, interrupt: &Interrupt) -> anyhow::Result<Self> {
        link.enter(Side::Reader)?;
        let signals = self.signals.clone();
        // The link has one address at this end.
        let endpoint = Endpoint {
            has_sources: false,
            ..endpoint.clone()
        };
        let mut swarm = Swarm::new(&endpoint, 1, interrupt, self)?;
        while !signals.stop.load(Ordering::Relaxed) {
            swarm.turn(LOOK_EVERY)?;
            if swarm.handler.faults.count() > 0 {
                bail!("{}", swarm.handler.faults);
            }
        }
        Ok(swarm.handler)
    }
}

impl Handler for Reader {
    fn opened(&mut self, _: ConnId, reply: &mut Reply<'_>) {
        for message in &self.subscribe {
            reply.message(message.opcode, &message.payload);
        }
        reply.settle();
    }

    fn reading(&mut self) -> Micros {
        self.now = self.clock.now();
        Micros(0)
    }

    fn message(&mut self, _: ConnId, message: &[u8], _: Micros, _: &mut Reply<'_>) {
        let counts = self.signals.measure.load(Ordering::Relaxed);
        if counts {
            self.bytes += message.len() as u64;
        }
        let inbound = self.protocol.inbound(message, &mut |data, _| {
            let Some(due) = payload::due(data).filter(|_| counts) else {
                return;
            };
            self.last_age_us = u64::try_from(self.now.since(due).as_micros()).unwrap_or(u64::MAX);
            self.age_us.saturating_record(self.last_age_us);
            self.messages += 1;
        });
        self.confirmed += inbound.confirmed;
        if self.confirmed >= self.topics {
            self.signals.ready.store(true, Ordering::Relaxed);
        }
        if let Some(fault) = inbound.fault {
            self.faults.add("message not understood", fault);
        }
    }

    fn faults(&mut self) -> &mut Faults {
        &mut self.faults
    }
}
