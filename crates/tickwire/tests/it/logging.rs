//! A log that nobody reads: serving goes on, lost lines are counted, and the broker stops as usual.

use std::fs::File;
use std::io::{PipeReader, Read as _, Write as _, pipe};
use std::net::TcpStream;
use std::process::Stdio;

use crate::support::{Authority, Broker, Frame, Socket, get, poll};

const LOST: &str = "tickwire_log_lines_lost_total";
const ARGS: [&str; 4] = ["--feed", "none", "--anonymous-publish", "chat.>"];

/// Makes the broker log something: it reads its settings again.
fn reload(broker: &Broker) {
    const RELOADS: &str = r#"tickwire_config_reloads_total{result="ok"}"#;
    let before = broker.metric(RELOADS).expect("it is exported");
    broker.signal("HUP");
    broker.wait_for_metric(RELOADS, |reloads| reloads > before);
}

/// Checks that the client of `socket` gets its drain, and that the broker ends as it should.
fn drains(broker: Broker, mut socket: Socket) {
    broker.terminate();
    assert_eq!(socket.message()["op"], "drain");
    assert_eq!(socket.close_frame().0, 4000);
    drop(socket);
    let status = broker.wait_ended();
    assert_eq!(status.code(), Some(0), "{status}");
}

/// Checks that a client is served and gets the drain, and that the broker ends as it should.
fn serves_and_drains(broker: Broker) {
    let mut socket = Socket::open(&broker);
    socket.send(Frame::text(r#"{"op":"subscribe","id":1,"topics":["chat.a"]}"#));
    assert_eq!(socket.message()["op"], "ack");
    socket.send(Frame::text(
        r#"{"op":"publish","id":2,"topic":"chat.a","data":1}"#,
    ));
    let mut ops = [(); 2].map(|()| socket.message()["op"].clone());
    ops.sort_by_key(ToString::to_string);
    assert_eq!(ops, ["ack", "update"]);
    assert_eq!(get(broker.ops, "/livez").status, 200);
    drains(broker, socket);
}

#[test]
fn a_full_disk_behind_the_log_ends_nothing() {
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("there is one");
    let broker = Broker::start_unheard(full, &ARGS, &[]);
    let ready = broker.wait_for_metric(LOST, |lost| lost > 0.0);
    reload(&broker);
    broker.wait_for_metric(LOST, |lost| lost > ready);
    serves_and_drains(broker);
}

#[test]
fn a_log_whose_reader_has_gone_ends_nothing() {
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    let broker = Broker::start_unheard(writer, &ARGS, &[]);
    reload(&broker);
    broker.wait_for_metric(LOST, |lost| lost > 1.0);
    serves_and_drains(broker);
}

/// If logging waited for anything, the shard that logs these lines would stop serving.
#[test]
fn a_log_that_nobody_reads_holds_nobody_up() {
    let authority = Authority::new();
    authority.issue("broker");
    let (cert, key) = (authority.file("broker.pem"), authority.file("broker.key"));
    let (reader, writer) = pipe().expect("a pipe");
    let broker = Broker::start_unheard(
        writer,
        &ARGS,
        &[
            ("TICKWIRE_TLS__CERT_FILE", &cert),
            ("TICKWIRE_TLS__KEY_FILE", &key),
            ("TICKWIRE_LOG_LEVEL", "debug"),
        ],
    );
    let mut sent = 0_u32;
    // This goes on until the pipe and the queue before it are full. Lines of one kind are limited per second.
    poll("lines are lost", || {
        for _ in 0..200 {
            junk(&broker);
            sent += 1;
        }
        broker.metric(LOST).filter(|lost| *lost > 0.0)
    });
    assert!(sent > 382, "that many filled a pipe");
    let mut socket = Socket::secure(&broker, authority.client())
        .expect("they trust each other")
        .upgrade();
    socket.send(Frame::text(r#"{"op":"subscribe","id":1,"topics":["chat.a"]}"#));
    assert_eq!(socket.message()["op"], "ack");
    drains(broker, socket);
    drop(reader);
}

/// A client that sends plain text to a TLS listener.
fn junk(broker: &Broker) {
    let mut stream = TcpStream::connect(broker.listen).expect("it listens");
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap_or_default();
    // The end of the connection shows that it was handled.
    stream.read(&mut [0; 64]).unwrap_or_default();
}

#[test]
fn a_flood_of_one_kind_of_line_is_cut_and_told() {
    let broker = Broker::start_with(&ARGS, &[("TICKWIRE_LOG_LEVEL", "debug")]);
    for _ in 0..400 {
        let mut stream = TcpStream::connect(broker.listen).expect("it listens");
        stream.write_all(b"junk\r\n\r\n").expect("it is taken");
        stream.read_to_end(&mut Vec::new()).unwrap_or_default();
    }
    broker.wait_for_log("lines of this kind were left out");
    broker.stop();
}

#[test]
fn the_last_lines_are_written_before_the_end() {
    let read = |mut reader: PipeReader| {
        let mut log = String::new();
        reader.read_to_string(&mut log).expect("it is text");
        log
    };
    let (reader, writer) = pipe().expect("a pipe");
    let broker = Broker::start_unheard(Stdio::from(writer), &ARGS, &[]);
    let taken = broker.listen.to_string();
    broker.terminate();
    assert!(broker.wait_ended().success());
    let log = read(reader);
    assert!(
        log.lines()
            .last()
            .is_some_and(|last| last.contains("\"stopped\"")),
        "{log}"
    );
    // An error at the start is the last line, after everything that was logged.
    let _holds = std::net::TcpListener::bind(&taken).expect("it is free again");
    let (status, said) = crate::support::refused_to_start(&["--feed", "none", "--listen", &taken]);
    assert_eq!(status.code(), Some(1));
    let last = said.lines().last();
    assert!(
        last.is_some_and(|last| last.contains("cannot listen on")),
        "{said}"
    );
}
