//! The floor with real sockets. Its cycles and its clients run on one thread.

use std::time::Instant;

use tickwire_wire::Micros;

use super::*;
use crate::swarm::{ConnId, Endpoint, Faults, Handler, Interrupt, Reply, Swarm};

/// How long a test waits for anything.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long a cycle waits for events.
const CYCLE: Duration = Duration::from_millis(1);

#[derive(Default)]
struct Clients {
    heard: Vec<Vec<String>>,
    faults: Faults,
}

impl Handler for Clients {
    fn opened(&mut self, _: ConnId, reply: &mut Reply<'_>) {
        reply.settle();
    }

    fn message(&mut self, id: ConnId, message: &[u8], _: Micros, _: &mut Reply<'_>) {
        self.heard[id.0].push(String::from_utf8_lossy(message).into_owned());
    }

    fn faults(&mut self) -> &mut Faults {
        &mut self.faults
    }
}

struct Test {
    floor: Floor,
    clients: Swarm<Clients>,
}

impl Test {
    fn new(count: usize) -> Self {
        let floor = Floor::listen().expect("a floor");
        let endpoint = Endpoint::new(floor.listener.local_addr().expect("a port"), "/", None);
        let clients = Clients {
            heard: vec![Vec::new(); count],
            ..Clients::default()
        };
        let clients = Swarm::new(&endpoint, count, &Interrupt::default(), clients).expect("an epoll");
        let mut test = Self { floor, clients };
        test.until(|test| test.clients.is_settled());
        test
    }

    #[track_caller]
    fn until(&mut self, done: impl Fn(&Self) -> bool) {
        let until = Instant::now() + DEADLINE;
        while !done(self) {
            assert!(Instant::now() < until, "it did not come about");
            self.floor.cycle(Some(CYCLE)).expect("a cycle");
            self.clients.turn(Duration::ZERO).expect("no interruption");
        }
    }

    fn say(&mut self, client: usize, text: &str) {
        self.clients
            .send_all(ConnId(client), |reply| reply.text(text.as_bytes()));
    }

    #[track_caller]
    fn hears(&mut self, client: usize, expected: &[&str]) {
        self.until(|test| test.clients.handler.heard[client].len() >= expected.len());
        assert_eq!(std::mem::take(&mut self.clients.handler.heard[client]), expected);
    }
}

#[test]
fn messages_reach_the_subscribers_of_their_topic() {
    let mut test = Test::new(3);
    test.say(0, "sub a,b");
    test.say(1, "sub b");
    test.hears(0, &["ok 2"]);
    test.hears(1, &["ok 1"]);
    for text in ["pub a \"1\"", "pub b \"2\"", "pub a \"3\"", "pub nobody \"4\""] {
        test.say(2, text);
    }
    test.hears(0, &["\"1\"", "\"2\"", "\"3\""]);
    test.hears(1, &["\"2\""]);
    // A client that leaves is forgotten, and comes back as a new one.
    test.clients.reconnect(ConnId(1));
    test.until(|test| test.floor.subscribers[1] == [0] && test.clients.is_settled());
}

#[test]
fn what_a_full_socket_does_not_take_comes_later_and_in_order() {
    let mut test = Test::new(2);
    test.say(0, "sub a");
    test.hears(0, &["ok 1"]);
    // More than the kernel holds for a reader that does not read.
    test.clients.stop_reading(0..1);
    let payloads: Vec<String> = (0..400).map(|number| format!("\"{number:030000}\"")).collect();
    for payload in &payloads {
        test.say(1, &format!("pub a {payload}"));
        test.until(|test| test.clients.waiting(ConnId(1)) == 0);
    }
    test.clients.stop_reading(0..0);
    let expected: Vec<&str> = payloads.iter().map(String::as_str).collect();
    test.hears(0, &expected);
}
