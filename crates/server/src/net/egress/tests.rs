//! Both implementations with real sockets: the same bytes come out, whatever the peers take.

use std::io::Read;
use std::net::{TcpListener, TcpStream as StdStream};
use std::rc::Rc;
use std::sync::Arc;

use tickwire_router::{
    Directory, DirectoryLimits, Kinds, Origin, Rights, SessionId, SessionLimits, Shard, ShardId, ShardQueue,
    ShardSettings, Transport,
};
use tickwire_wire::message::AnnouncedLimits;
use tickwire_wire::{Codec, Micros, Payload};

use super::*;

/// A shard with sessions that are subscribed to one topic, and a socket pair for each session.
struct World {
    shard: Shard,
    near: Vec<TcpStream>,
    far: Vec<StdStream>,
    sessions: Vec<SessionId>,
}

impl World {
    fn new(sessions: usize) -> Self {
        let queue = Arc::new(ShardQueue::new(1_024, Box::new(|| {})));
        let limits = DirectoryLimits {
            topics_max: 10,
            topics_per_key_max: 0,
            history_bytes_max: 1 << 20,
            ..DirectoryLimits::default()
        };
        let directory = Arc::new(Directory::new("e".into(), Kinds::default(), limits, vec![queue]));
        let settings = ShardSettings {
            server: "test".to_owned(),
            limits: AnnouncedLimits {
                subscriptions: 10,
                message_bytes: 65_536,
                ops_per_s: 50,
                ops_burst: 200,
                publishes_per_s: 10_000,
                publishes_burst: 20_000,
            },
            session_limits: SessionLimits::default(),
            topics_at_once: 64,
            outbox_bytes_max: 1 << 20,
            stall_ms: 30_000,
            heartbeat_ms: 15_000,
            ping_after_ms: 20_000,
            pong_timeout_ms: 20_000,
            first_request_ms: 10_000,
            close_timeout_ms: 2_000,
        };
        let mut shard = Shard::new(ShardId(0), directory, settings);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (mut near, mut far, mut ids) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..sessions {
            far.push(StdStream::connect(address).expect("the listener's backlog has room"));
            let (stream, _) = listener.accept().expect("one is waiting");
            stream.set_nonblocking(true).expect("a socket");
            near.push(TcpStream::from_std(stream));
            let rights = Rc::new(Rights::open([]));
            let id = shard.open(Codec::Json, Transport::WebSocket, rights, Micros(0));
            let request = Codec::Json.decode_request(br#"{"op":"subscribe","id":1,"topics":["chat.a"]}"#);
            shard.request(id, request, Micros(0));
            ids.push(id);
        }
        Self {
            shard,
            near,
            far,
            sessions: ids,
        }
    }

    /// A world whose connections were added to the egress.
    fn known_to(egress: &mut dyn Egress, sessions: usize) -> Self {
        let world = Self::new(sessions);
        for (id, stream) in world.sessions.iter().zip(&world.near) {
            egress.add(*id, stream);
        }
        world
    }

    fn publish(&mut self, data: &str) {
        let payload = Payload::from_json(data.as_bytes()).expect("JSON");
        let topic = "chat.a".parse().expect("a topic");
        let submitted = self
            .shard
            .ingress()
            .submit(Origin::Feed, &topic, payload, Micros(0));
        assert!(submitted.is_ok(), "there is room");
        self.shard.hand_out(usize::MAX, Micros(0));
    }

    /// Writes one batch of all connections with something waiting. Returns the result of each.
    fn write(&mut self, egress: &mut dyn Egress) -> Vec<(SessionId, Wrote)> {
        let mut dirty = Vec::new();
        while let Some(id) = self.shard.next_dirty() {
            dirty.push(id);
        }
        let batch: Vec<Outgoing<'_>> = dirty
            .iter()
            .map(|id| Outgoing {
                session: *id,
                stream: &self.near[self.sessions.iter().position(|s| s == id).expect("known")],
                outbox: self.shard.outbox(*id).expect("it lives"),
                instead: None,
                bytes_max: BYTES_PER_WRITE,
            })
            .collect();
        let mut results = Vec::new();
        egress.write(&batch, &mut results);
        assert_eq!(results.len(), batch.len());
        let wrote: Vec<_> = results
            .into_iter()
            .map(|Written { session, outcome }| (session, outcome.expect("open sockets")))
            .collect();
        for (id, wrote) in &wrote {
            let (Wrote::All(count) | Wrote::Part(count)) = wrote;
            self.shard
                .wrote(*id, *count, Micros(0), |_| {})
                .expect("no more than waited");
            if self.shard.outbox(*id).is_some_and(|outbox| !outbox.is_empty()) {
                self.shard.writable(*id);
            }
        }
        wrote
    }
}

fn both(test: impl Fn(&mut dyn Egress)) {
    test(&mut PlainEgress::new());
    // In the largest test the last connections have no place in the table.
    match UringEgress::open(BATCH) {
        Ok(mut egress) => test(&mut egress),
        Err(error) => eprintln!("skipped: io_uring egress: {error}"),
    }
}

#[test]
fn every_connection_gets_its_bytes_in_order() {
    both(|egress| {
        // There are more connections than one submission holds.
        let mut world = World::known_to(egress, BATCH + 10);
        for turn in 0..3 {
            world.publish(&turn.to_string());
            if turn != 1 {
                world.write(egress);
            }
        }
        let expected = {
            let mut bytes = Vec::new();
            world.far[0].set_nonblocking(true).expect("a socket");
            let end = world.far[0].read_to_end(&mut bytes).expect_err("it stays open");
            assert_eq!(end.kind(), io::ErrorKind::WouldBlock);
            bytes
        };
        let text = String::from_utf8_lossy(&expected);
        for message in ["welcome", "\"ack\"", "\"data\":0}", "\"data\":1}", "\"data\":2}"] {
            assert!(text.contains(message), "{message} in {text}");
        }
        for far in &mut world.far[1..] {
            let mut bytes = vec![0; expected.len()];
            far.read_exact(&mut bytes).expect("as many as the first got");
            // Only the session's name in the welcome differs. It has the same length or one character more.
            assert_eq!(bytes[200..].len(), expected[200..].len());
        }
    });
}

#[test]
fn what_a_socket_does_not_take_waits_and_is_finished() {
    both(|egress| {
        let mut world = World::known_to(egress, 2);
        let long = format!("\"{}\"", "x".repeat(60_000));
        let mut sent = 0;
        // This goes on until the kernel's buffer is full, which happens long before the end.
        let full = (0..1_000).any(|_| {
            world.publish(&long);
            sent += 1;
            world
                .write(egress)
                .iter()
                .any(|(_, wrote)| matches!(wrote, Wrote::Part(_)))
        });
        assert!(full, "the socket took {sent} messages");
        let deadline = std::time::Duration::from_secs(20);
        for (at, far) in world.far.iter().enumerate() {
            far.set_read_timeout(Some(deadline)).expect("a socket");
            assert!(at < 2);
        }
        let mut received = [0, 0];
        let mut chunk = vec![0; 1 << 20];
        while world
            .sessions
            .iter()
            .any(|id| !world.shard.outbox(*id).expect("it lives").is_empty())
        {
            for (count, far) in received.iter_mut().zip(&mut world.far) {
                *count += far.read(&mut chunk).expect("bytes within the deadline");
            }
            world.write(egress);
        }
        for (count, far) in received.iter_mut().zip(&mut world.far) {
            far.set_nonblocking(true).expect("a socket");
            while let Ok(more) = far.read(&mut chunk) {
                *count += more;
            }
            assert!(*count > sent * 60_000, "{count} bytes of {sent} messages");
        }
        assert_eq!(received[0], received[1]);
    });
}

#[test]
fn what_may_be_written_at_a_time_is_bounded() {
    both(|egress| {
        let mut world = World::known_to(egress, 1);
        world.publish(&format!("\"{}\"", "x".repeat(5_000)));
        let id = world.shard.next_dirty().expect("it has something waiting");
        let (mut written, mut results) = (0, Vec::new());
        while !world.shard.outbox(id).expect("it lives").is_empty() {
            let ready = Outgoing {
                session: id,
                stream: &world.near[0],
                outbox: world.shard.outbox(id).expect("it lives"),
                instead: None,
                bytes_max: 1_000,
            };
            egress.write(&[ready], &mut results);
            let Some(Ok(Wrote::All(count))) = results.pop().map(|written| written.outcome) else {
                panic!("the socket has room")
            };
            assert!(count <= 1_000, "{count} bytes");
            written += count;
            world
                .shard
                .wrote(id, count, Micros(0), |_| {})
                .expect("no more than waited");
        }
        assert!(written > 5_000);
        let mut received = vec![0; written];
        world.far[0].read_exact(&mut received).expect("all of it");
        let text = String::from_utf8_lossy(&received);
        assert!(text.contains(&"x".repeat(5_000)), "{text}");
    });
}

#[test]
fn a_streams_own_bytes_were_written_beyond_what_may_be_written_at_a_time() {
    both(|egress| {
        let mut world = World::known_to(egress, 1);
        let own = "x".repeat(2_500);
        let (mut written, mut results) = (0, Vec::new());
        while written < own.len() {
            let ready = Outgoing {
                session: world.sessions[0],
                stream: &world.near[0],
                outbox: world.shard.outbox(world.sessions[0]).expect("it lives"),
                instead: Some(&own.as_bytes()[written..]),
                bytes_max: 1_000,
            };
            egress.write(&[ready], &mut results);
            match results.pop().map(|written| written.outcome) {
                Some(Ok(Wrote::All(count))) if count <= 1_000 => written += count,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(received(&mut world), std::slice::from_ref(&own));
    });
}

/// A socket that is not full does not report that it takes bytes again.
#[test]
fn an_interrupted_send_waited_for_a_socket_that_was_not_full() {
    for (result, expected) in [
        (-libc::EINTR, Wrote::All(0)),
        (-libc::EAGAIN, Wrote::Part(0)),
        (3, Wrote::Part(3)),
        (5, Wrote::All(5)),
    ] {
        assert_eq!(uring::outcome_of(5, result).ok(), Some(expected), "{result}");
    }
    for result in [-libc::EPIPE, 6] {
        assert!(uring::outcome_of(5, result).is_err(), "{result}");
    }
}

#[test]
fn a_broken_connection_is_an_error_of_its_own() {
    both(|egress| {
        let mut world = World::known_to(egress, 3);
        world.write(egress);
        // Unread bytes make the close a reset.
        let middle = world.far.remove(1);
        drop(middle);
        let mut failed = false;
        for turn in 0..1_000 {
            world.publish(&turn.to_string());
            let dirty: Vec<SessionId> = std::iter::from_fn(|| world.shard.next_dirty()).collect();
            let batch: Vec<Outgoing<'_>> = dirty
                .iter()
                .map(|id| Outgoing {
                    session: *id,
                    stream: &world.near[world.sessions.iter().position(|s| s == id).expect("known")],
                    outbox: world.shard.outbox(*id).expect("it lives"),
                    instead: None,
                    bytes_max: BYTES_PER_WRITE,
                })
                .collect();
            let mut results = Vec::new();
            egress.write(&batch, &mut results);
            for Written { session: id, outcome } in results {
                match outcome {
                    Ok(Wrote::All(count) | Wrote::Part(count)) => {
                        world
                            .shard
                            .wrote(id, count, Micros(0), |_| {})
                            .expect("no more than waited");
                    }
                    Err(_) => {
                        assert_eq!(id, world.sessions[1]);
                        failed = true;
                    }
                }
            }
            if failed {
                return;
            }
        }
        panic!("a reset connection took a thousand messages");
    });
}

#[test]
fn a_connection_that_was_removed_closes_with_its_stream() {
    both(|egress| {
        let mut world = World::known_to(egress, 2);
        world.write(egress);
        egress.remove(world.sessions[0]);
        let gone = world.near.remove(0);
        drop(gone);
        let mut far = world.far.remove(0);
        far.set_read_timeout(Some(std::time::Duration::from_secs(20)))
            .expect("a socket");
        let mut greeting = Vec::new();
        far.read_to_end(&mut greeting)
            .expect("its end within the deadline");
        assert!(!greeting.is_empty());
        // The place is free for the next connection.
        let mut next = World::known_to(egress, 1);
        next.write(egress);
        next.far[0]
            .read_exact(&mut greeting)
            .expect("as much as the one before got");
    });
}

/// Does the same as [`UringEgress::open`], but returns `None` if this kernel has no `io_uring`.
fn ring() -> Option<UringEgress> {
    UringEgress::open(BATCH)
        .inspect_err(|error| eprintln!("skipped: io_uring egress: {error}"))
        .ok()
}

/// The bytes that the far ends of `world` got, each as text.
fn received(world: &mut World) -> Vec<String> {
    let read = |far: &mut StdStream| {
        let mut bytes = Vec::new();
        far.set_nonblocking(true).expect("a socket");
        let end = far.read_to_end(&mut bytes).expect_err("it stays open");
        assert_eq!(end.kind(), io::ErrorKind::WouldBlock);
        String::from_utf8_lossy(&bytes).into_owned()
    };
    world.far.iter_mut().map(read).collect()
}

#[test]
fn a_ring_whose_submissions_fail_is_given_up_and_everyone_is_written_to_plainly() {
    let Some(mut egress) = ring() else { return };
    let mut world = World::known_to(&mut egress, 3);
    world.write(&mut egress);
    assert!(egress.is_in_use());
    received(&mut world);
    egress.break_ring();
    for data in ["1", "2"] {
        world.publish(data);
        let wrote = world.write(&mut egress);
        assert!(
            wrote.iter().all(|(_, wrote)| matches!(wrote, Wrote::All(_))),
            "{wrote:?}"
        );
        assert!(!egress.is_in_use());
        for text in received(&mut world) {
            assert_eq!(text.matches("\"data\":").count(), 1, "once: {text}");
            assert!(text.contains(&format!("\"data\":{data}}}")), "{text}");
        }
    }
}

#[test]
fn a_completion_of_what_was_not_sent_costs_whose_own_is_unknown_and_nothing_else() {
    for (number, lost) in [(u64::MAX, 0), (1, 1)] {
        let Some(mut egress) = ring() else { return };
        let mut world = World::known_to(&mut egress, 3);
        egress.stray(number);
        let dirty: Vec<SessionId> = std::iter::from_fn(|| world.shard.next_dirty()).collect();
        let batch: Vec<Outgoing<'_>> = dirty
            .iter()
            .zip(&world.near)
            .map(|(id, near)| Outgoing {
                session: *id,
                stream: near,
                outbox: world.shard.outbox(*id).expect("it lives"),
                instead: None,
                bytes_max: BYTES_PER_WRITE,
            })
            .collect();
        let mut results = Vec::new();
        egress.write(&batch, &mut results);
        assert!(!egress.is_in_use());
        let errors = results.iter().filter(|written| written.outcome.is_err()).count();
        assert_eq!((results.len(), errors), (3, lost), "{number}: {results:?}");
    }
}
