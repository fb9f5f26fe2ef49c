//! What hostile clients do: a test for each row of [docs/ATTACKS.md](../../../../../docs/ATTACKS.md), named after it.
//!
//! Each test checks the answer that the row states, that an honest client is served before and after, and that the
//! broker's memory stays bounded. Checks beyond a row are with the other tests of their subject. `cargo xtask attack`
//! runs the same rows with thousands of clients.

mod abuse;
mod access;
mod deflate;
mod frames;
mod handshake;
mod load;
mod tokens;

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Authority, Broker, Frame, Opcode, Socket};

/// How much the broker may grow under attack, in bytes: pools of its allocator, and its counters.
const GROWTH_BYTES_MAX: f64 = 32.0 * 1024.0 * 1024.0;

/// A broker without a feed that takes publications below `chat.`.
const CHAT: [&str; 4] = ["--feed", "none", "--anonymous-publish", "chat.>"];

/// A broker under attack, and an honest client that uses it meanwhile.
struct Besieged {
    broker: Broker,
    /// The authority that honest clients trust, if the broker uses TLS.
    authority: Option<Authority>,
    bystander: Honest,
    resident_bytes: f64,
}

impl Besieged {
    /// A broker with default settings and these environment variables.
    fn start(variables: &[(&str, &str)]) -> Self {
        Self::of(Broker::start_with(&CHAT, variables), None)
    }

    /// The same, over TLS.
    fn start_secured(variables: &[(&str, &str)]) -> Self {
        let authority = Authority::new();
        Self::of(authority.start(&CHAT, variables), Some(authority))
    }

    /// A broker that is already running.
    fn of(broker: Broker, authority: Option<Authority>) -> Self {
        let mut bystander = Honest::arrive(&broker, authority.as_ref(), "chat.bystander");
        bystander.is_served();
        Self {
            resident_bytes: resident_bytes(&broker),
            broker,
            authority,
            bystander,
        }
    }

    /// Sends `bytes` on a new connection. Checks that the broker answers with a close frame of this `code` and closes
    /// the connection. Returns the reason.
    fn closes(&self, what: &str, bytes: &[u8], code: u16) -> String {
        let mut socket = Socket::open(&self.broker);
        socket.send_bytes(bytes);
        let (found, reason) = socket.close_frame();
        assert_eq!(found, code, "{what}: {reason}");
        assert!(!reason.is_empty(), "{what}");
        socket.ended();
        reason
    }

    /// Checks that the broker is well: the bystander missed nothing, a new client is served, and memory did not grow
    /// much.
    fn lives_on(&mut self) {
        self.bystander.is_served();
        Honest::arrive(&self.broker, self.authority.as_ref(), "chat.newcomer").is_served();
        let grown = resident_bytes(&self.broker) - self.resident_bytes;
        assert!(grown < GROWTH_BYTES_MAX, "the broker grew by {grown} bytes");
    }

    /// The sum of a metric over the shards.
    fn sum(&self, metric: &str) -> f64 {
        let of_shard = |shard: usize| self.broker.metric(&format!("{metric}{{shard=\"{shard}\"}}"));
        (0..).map_while(of_shard).sum()
    }

    /// Checks that the broker survives, once there is room for a new client: it may not have noticed yet which clients
    /// are gone.
    fn outlives_soon(self) {
        self.broker
            .wait_for_metric(r#"tickwire_connections{transport="websocket"}"#, |open| {
                open == 2.0
            });
        self.outlives();
    }

    /// Checks that the broker is well, runs `check`, and stops the broker in an orderly way.
    fn lives_on_and(mut self, check: impl FnOnce()) {
        self.lives_on();
        check();
        self.outlives();
    }

    /// Checks that the broker is well, and stops it in an orderly way.
    fn outlives(mut self) {
        self.lives_on();
        drop(self.bystander);
        self.broker.stop();
    }
}

/// The resident memory of the broker, in bytes.
fn resident_bytes(broker: &Broker) -> f64 {
    broker
        .metric("process_resident_memory_bytes")
        .expect("a process has memory")
}

/// The CPU time that the broker has used so far.
fn cpu_time(broker: &Broker) -> Duration {
    let tasks = format!("/proc/{}/task", broker.id());
    let nanos = |task: std::io::Result<std::fs::DirEntry>| {
        // A thread may end after it is listed and before it is read.
        let stat = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        stat.split(' ').next()?.parse::<u64>().ok()
    };
    let all = std::fs::read_dir(tasks).expect("the broker runs");
    Duration::from_nanos(all.filter_map(nanos).sum())
}

/// An honest client: it publishes on one connection and reads on another, one message after the other.
struct Honest {
    publisher: Socket,
    subscriber: Socket,
    topic: &'static str,
    /// The number of the last message.
    seq: u64,
}

impl Honest {
    fn arrive(broker: &Broker, authority: Option<&Authority>, topic: &'static str) -> Self {
        let open = || match authority {
            None => Socket::open(broker),
            Some(authority) => Socket::secure(broker, authority.client())
                .expect("they trust each other")
                .upgrade(),
        };
        let mut honest = Self {
            publisher: open(),
            subscriber: open(),
            topic,
            seq: 0,
        };
        let subscribe = json!({"op": "subscribe", "id": 1, "topics": [topic], "snapshot": false});
        honest.subscriber.send(Frame::text(&subscribe.to_string()));
        let ack = next_message(&mut honest.subscriber);
        let result = &ack["results"][0];
        assert_eq!(result["topic"], topic, "{ack}");
        // The topic may exist already: numbers go on from there.
        honest.seq = result["seq"].as_u64().unwrap_or_default();
        honest
    }

    /// Publishes to a topic that the client does not read.
    fn publish(&mut self, topic: &str, data: &Value) {
        let publish = json!({"op": "publish", "id": 0, "topic": topic, "data": data});
        self.publisher.send(Frame::text(&publish.to_string()));
        let ack = next_message(&mut self.publisher);
        assert!(
            ack["op"] == "ack" && ack["results"][0]["error"].is_null(),
            "{ack}"
        );
    }

    /// Publishes three messages. Checks that each arrives with the next number.
    fn is_served(&mut self) {
        for _ in 0..3 {
            self.seq += 1;
            let publish = json!({"op": "publish", "id": self.seq, "topic": self.topic, "data": self.seq});
            self.publisher.send(Frame::text(&publish.to_string()));
            let ack = next_message(&mut self.publisher);
            assert_eq!(
                (&ack["op"], &ack["results"][0]["seq"]),
                (&json!("ack"), &json!(self.seq)),
                "{ack}"
            );
            let update = next_message(&mut self.subscriber);
            let found = (&update["op"], &update["topic"], &update["seq"], &update["data"]);
            assert_eq!(
                found,
                (
                    &json!("update"),
                    &json!(self.topic),
                    &json!(self.seq),
                    &json!(self.seq)
                ),
                "{update}"
            );
        }
    }
}

/// The next message that is not a heartbeat. Answers pings.
fn next_message(socket: &mut Socket) -> Value {
    loop {
        let (opcode, payload) = socket.frame();
        if opcode == Opcode::Ping as u8 {
            socket.send(Frame::new(Opcode::Pong, &payload));
            continue;
        }
        assert_eq!(
            opcode,
            Opcode::Text as u8,
            "{}",
            String::from_utf8_lossy(&payload)
        );
        let message: Value = serde_json::from_slice(&payload).expect("a message is JSON");
        if message["op"] != "heartbeat" {
            return message;
        }
    }
}

/// The bytes of several frames.
fn frames(frames: &[Frame<'_>]) -> Vec<u8> {
    frames.iter().flat_map(|frame| frame.bytes()).collect()
}
