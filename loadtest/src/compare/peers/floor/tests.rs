//! The floor with real sockets, its cycles and its clients on one thread.

use std::io::Read;
use std::net::TcpStream;
use std::time::Instant;

use tickwire_wire::frame::client_frame;

use super::*;
use crate::swarm::frame::FrameReader;
use crate::swarm::handshake::Handshake;

/// Time in which anything must happen.
const DEADLINE: Duration = Duration::from_secs(10);
/// Time that a cycle waits for something.
const CYCLE: Duration = Duration::from_millis(5);

struct Client {
    stream: TcpStream,
    reader: FrameReader,
    heard: Vec<String>,
}

impl Client {
    /// Connects and shakes hands.
    fn open(floor: &mut Floor) -> Self {
        let address = loopback(floor.port().expect("a port"));
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.set_nonblocking(true).expect("a socket");
        let handshake = Handshake {
            host: address.to_string(),
            path: "/".to_owned(),
            subprotocol: None,
            deflate: false,
        };
        stream
            .write_all(handshake.request().as_bytes())
            .expect("a request goes");
        let mut head = Vec::new();
        cycle_until(floor, || {
            read(&mut stream, &mut head);
            handshake.check(&head).expect("an answer in order").is_some()
        });
        Self {
            stream,
            reader: FrameReader::default(),
            heard: Vec::new(),
        }
    }

    fn say(&mut self, text: &str) {
        let bytes = client_frame(true, Opcode::Text, [1, 2, 3, 4], text.as_bytes());
        self.stream.write_all(&bytes).expect("it goes");
    }

    fn listen(&mut self) {
        let mut bytes = Vec::new();
        read(&mut self.stream, &mut bytes);
        let heard = &mut self.heard;
        self.reader
            .feed(&bytes, |frame| {
                heard.push(String::from_utf8_lossy(frame.payload).into_owned());
            })
            .expect("good frames");
    }
}

fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>) {
    let mut some = [0; 16 * 1024];
    loop {
        match stream.read(&mut some) {
            Ok(0) => panic!("the floor closed the connection"),
            Ok(count) => bytes.extend_from_slice(&some[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("{error}"),
        }
    }
}

#[track_caller]
fn cycle_until(floor: &mut Floor, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < until, "it did not come about");
        floor.cycle(Some(CYCLE)).expect("a cycle");
    }
}

#[track_caller]
fn hears(floor: &mut Floor, client: &mut Client, expected: &[&str]) {
    cycle_until(floor, || {
        client.listen();
        client.heard.len() >= expected.len()
    });
    assert_eq!(client.heard, expected);
    client.heard.clear();
}

#[test]
fn messages_reach_the_subscribers_of_their_topic() {
    let mut floor = Floor::listen(0).expect("a floor");
    let [mut both, mut one, mut publisher] = [0; 3].map(|_| Client::open(&mut floor));
    both.say("sub a,b");
    one.say("sub b");
    hears(&mut floor, &mut both, &["ok 2"]);
    hears(&mut floor, &mut one, &["ok 1"]);
    publisher.say("pub a \"1\"");
    hears(&mut floor, &mut both, &["\"1\""]);
    for text in ["pub b \"2\"", "pub a \"3\"", "pub nobody \"4\""] {
        publisher.say(text);
    }
    hears(&mut floor, &mut both, &["\"2\"", "\"3\""]);
    hears(&mut floor, &mut one, &["\"2\""]);
}

#[test]
fn whoever_leaves_is_forgotten() {
    let mut floor = Floor::listen(0).expect("a floor");
    let mut stays = Client::open(&mut floor);
    let mut leaves = Client::open(&mut floor);
    stays.say("sub a");
    leaves.say("sub a");
    hears(&mut floor, &mut stays, &["ok 1"]);
    hears(&mut floor, &mut leaves, &["ok 1"]);
    drop(leaves);
    let until = Instant::now() + DEADLINE;
    while floor.subscribers[0].len() > 1 {
        assert!(Instant::now() < until, "it is still subscribed");
        floor.cycle(Some(CYCLE)).expect("a cycle");
    }
    let mut publisher = Client::open(&mut floor);
    publisher.say("pub a \"1\"");
    hears(&mut floor, &mut stays, &["\"1\""]);
}

#[test]
fn what_a_full_socket_does_not_take_comes_later_and_in_order() {
    let mut floor = Floor::listen(0).expect("a floor");
    let [mut subscriber, mut publisher] = [0; 2].map(|_| Client::open(&mut floor));
    subscriber.say("sub a");
    hears(&mut floor, &mut subscriber, &["ok 1"]);
    // More than the kernel holds for a reader that does not read, in messages that are each a cycle and some that are not.
    let payloads: Vec<String> = (0..400).map(|number| format!("\"{number:030000}\"")).collect();
    for payload in &payloads {
        let text = format!("pub a {payload}");
        let bytes = client_frame(true, Opcode::Text, [1, 2, 3, 4], text.as_bytes());
        let mut rest = &bytes[..];
        cycle_until(&mut floor, || {
            while !rest.is_empty() {
                match publisher.stream.write(rest) {
                    Ok(count) => rest = &rest[count..],
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                    Err(error) => panic!("{error}"),
                }
            }
            true
        });
    }
    let expected: Vec<&str> = payloads.iter().map(String::as_str).collect();
    hears(&mut floor, &mut subscriber, &expected);
}
