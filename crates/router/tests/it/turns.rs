//! The cycle over connections that are a list of bytes, and a clock that each look at it moves. Counts, never times.

use std::collections::BTreeMap;
use std::io;

use tickwire_router::cycle::{
    Budgets, Connections, Cycle, Line, Offer, ReadyConnection, Received, Written, Wrote,
};
use tickwire_router::{Outbox, Rights, SessionId, Shard, Transport};
use tickwire_wire::frame::{Limits, Opcode, client_frame};
use tickwire_wire::{Codec, Micros};

use crate::world::{START, Setup, World};

/// Microseconds that pass between two looks at the clock.
const LOOK_US: u64 = 100;

struct Wire {
    line: Line,
    sent: Vec<u8>,
}

/// Connections whose sockets take everything.
struct Wires {
    wires: BTreeMap<SessionId, Wire>,
    /// Who is ready to be read.
    ready: Vec<SessionId>,
    now: Micros,
    /// Whose messages were handled, and pieces of requests, in order.
    handled: Vec<SessionId>,
    /// The session whose connection is not found when a batch is written.
    lost: Option<SessionId>,
}

impl Connections for Wires {
    fn now(&mut self) -> Micros {
        self.now = Micros(self.now.0 + LOOK_US);
        self.now
    }

    fn line(&mut self, id: SessionId) -> Option<&mut Line> {
        self.wires.get_mut(&id).map(|wire| &mut wire.line)
    }

    fn take_ready(&mut self, ready: &mut Vec<ReadyConnection>) -> bool {
        ready.extend(self.ready.drain(..).map(|session| ReadyConnection {
            session,
            readable: true,
            writable: false,
            ended: false,
        }));
        false
    }

    fn read(&mut self, id: SessionId, buffer: &mut [u8]) -> io::Result<Received> {
        let wire = self.wires.get_mut(&id).expect("it is connected");
        let count = wire.sent.len().min(buffer.len());
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        buffer[..count].copy_from_slice(&wire.sent[..count]);
        wire.sent.drain(..count);
        let drained = wire.sent.is_empty();
        Ok(Received { count, drained })
    }

    fn handled(&mut self, _shard: &mut Shard, id: SessionId, _now: Micros) {
        self.handled.push(id);
    }

    fn begin_batch(&mut self) {}

    fn has_room(&self, count: usize) -> bool {
        count < 2
    }

    fn offer(&mut self, _shard: &mut Shard, _id: SessionId, _now: Micros) -> io::Result<Offer> {
        Ok(Offer::Batched)
    }

    fn write(&mut self, shard: &Shard, batch: &[SessionId], results: &mut Vec<Written>) {
        let there = batch.iter().filter(|id| self.lost != Some(**id));
        results.extend(there.map(|id| {
            let outbox = shard.outbox(*id).expect("a session has an outbox");
            let waiting = outbox.waiting().map(|waiting| waiting.bytes.len());
            Written {
                session: *id,
                outcome: Ok(Wrote::All(waiting.sum())),
            }
        }));
    }

    fn took(&mut self, shard: &mut Shard, id: SessionId, count: usize, now: Micros) -> io::Result<()> {
        shard.wrote(id, count, now, |_| {}).map_err(io::Error::other)
    }

    fn shut(&mut self, _id: SessionId) -> io::Result<bool> {
        Ok(false)
    }

    fn remove(&mut self, shard: &mut Shard, id: SessionId) -> bool {
        shard.remove(id);
        self.wires.remove(&id).is_some()
    }
}

/// A shard whose requests are done a topic at a time, with `count` connections.
fn connected(count: usize) -> (Shard, Wires, Vec<SessionId>) {
    let mut setup = Setup::default();
    setup.settings.topics_at_once = 1;
    let mut shard = World::new(setup).shards.remove(0);
    let mut wires = Wires {
        wires: BTreeMap::new(),
        ready: Vec::new(),
        now: START,
        handled: Vec::new(),
        lost: None,
    };
    let rights = std::rc::Rc::new(Rights::open([">".parse().expect("a pattern")]));
    let ids: Vec<SessionId> = (0..count)
        .map(|_| {
            let id = shard.open(Codec::Json, Transport::WebSocket, rights.clone(), START);
            let line = Line::websocket(Limits::default(), Vec::new());
            let sent = Vec::new();
            wires.wires.insert(id, Wire { line, sent });
            id
        })
        .collect();
    (shard, wires, ids)
}

impl Wires {
    fn say(&mut self, id: SessionId, request: &str) {
        let frame = client_frame(true, Opcode::Text, [1, 2, 3, 4], request.as_bytes());
        let wire = self.wires.get_mut(&id).expect("it is connected");
        wire.sent.extend(frame);
        self.ready.push(id);
    }
}

#[test]
fn who_sends_much_has_its_requests_handled_over_many_cycles_and_loses_none() {
    let (mut shard, mut wires, ids) = connected(2);
    let mut cycle = Cycle::new(Budgets::default());
    for _ in 0..20 {
        wires.say(ids[0], r#"{"op":"ping","id":1}"#);
    }
    wires.say(ids[1], r#"{"op":"ping","id":2}"#);
    let mut cycles = 0;
    loop {
        cycles += 1;
        let before = wires.handled.len();
        let turned = cycle.with(&mut shard, &mut wires).run();
        let handled = wires.handled.len() - before;
        assert!(handled <= 3, "{handled} in a cycle that has time for three looks");
        if !turned.more {
            break;
        }
        assert!(handled > 0, "nothing in a cycle that has something left");
    }
    assert!(cycles >= 7, "{cycles} cycles");
    let count = |id| wires.handled.iter().filter(|handled| **handled == id).count();
    assert_eq!((count(ids[0]), count(ids[1])), (20, 1));
}

#[test]
fn what_one_session_of_a_batch_was_written_counted_for_another_one() {
    let (mut shard, mut wires, ids) = connected(2);
    let mut cycle = Cycle::new(Budgets::default());
    wires.lost = Some(ids[0]);
    let waiting = |shard: &Shard| {
        let bytes = |id: &SessionId| shard.outbox(*id).map(Outbox::control_bytes);
        ids.iter().map(bytes).collect::<Vec<_>>()
    };
    let before = waiting(&shard);
    cycle.with(&mut shard, &mut wires).run();
    assert_eq!(waiting(&shard), [before[0], Some(0)]);
}

#[test]
fn while_requests_that_are_not_done_hold_too_much_nobody_else_is_read() {
    let order = |parked_bytes_max| {
        let (mut shard, mut wires, ids) = connected(2);
        let mut cycle = Cycle::new(Budgets {
            parked_bytes_max,
            ..Budgets::default()
        });
        let topics = r#"{"op":"subscribe","id":1,"topics":["a.1","a.2","a.3","a.4","a.5"]}"#;
        wires.say(ids[0], topics);
        while cycle.parked_count() == 0 {
            cycle.with(&mut shard, &mut wires).run();
        }
        wires.say(ids[1], r#"{"op":"ping","id":2}"#);
        while cycle.with(&mut shard, &mut wires).run().more {}
        wires.handled.iter().rposition(|id| *id == ids[0]) < wires.handled.iter().position(|id| *id == ids[1])
    };
    assert!(!order(1 << 20), "a request that holds little lets others be read");
    assert!(order(0), "one that holds too much is done first");
}

/// The request of one client was done, and what it had sent behind that waited until all others had been read as well.
#[test]
fn what_came_behind_a_request_that_is_done_was_held_without_bound() {
    let (mut shard, mut wires, ids) = connected(40);
    let bytes_max = 4_000;
    let mut cycle = Cycle::new(Budgets {
        parked_bytes_max: bytes_max,
        ..Budgets::default()
    });
    for id in &ids {
        wires.say(
            *id,
            r#"{"op":"subscribe","id":1,"topics":["a.1","a.2","a.3","a.4","a.5"]}"#,
        );
        for _ in 0..50 {
            wires.say(*id, r#"{"op":"ping","id":2}"#);
        }
    }
    let each = wires.wires[&ids[0]].sent.len();
    let mut cycles = Vec::new();
    loop {
        let more = cycle.with(&mut shard, &mut wires).run().more;
        let count = |id| wires.handled.iter().filter(|handled| *handled == id).count();
        let read = ids.iter().filter(|id| wires.wires[id].sent.is_empty());
        cycles.push(read.map(|id| (*id, count(id))).collect::<BTreeMap<_, _>>());
        if !more {
            break;
        }
    }
    let done = cycles.pop().expect("a cycle");
    assert_eq!(done.len(), ids.len(), "everybody was read");
    assert!(done.values().all(|handled| *handled == done[&ids[0]]), "{done:?}");
    for read in cycles {
        let held = read.iter().filter(|(id, handled)| **handled < done[id]).count();
        assert!(
            held <= bytes_max / each + 2,
            "{held} clients' bytes are held, {each} of each"
        );
    }
}
