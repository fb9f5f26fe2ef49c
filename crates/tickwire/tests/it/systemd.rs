//! A broker as a service of systemd: what it tells systemd, the watchdog, and sockets that systemd opens.
//!
//! Systemd's side is a datagram socket and two listeners of the test.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;

use tempfile::TempDir;

use crate::support::{Broker, DEADLINE, Socket, refused_to_start_passed};

/// The socket on which systemd listens for messages of a service.
struct Manager {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        socket
            .set_read_timeout(Some(DEADLINE))
            .expect("a socket has a timeout");
        Self { socket, folder }
    }

    fn path(&self) -> String {
        self.folder.path().join("notify").display().to_string()
    }

    fn receive(&self) -> io::Result<Vec<String>> {
        let mut bytes = [0; 1_024];
        let count = self.socket.recv(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes[..count]);
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// The next message.
    fn next(&self) -> Vec<String> {
        self.receive().expect("the broker says something")
    }

    /// The next message that is no sign of life.
    fn next_state(&self) -> Vec<String> {
        let mut messages = std::iter::repeat_with(|| self.next());
        let state = messages.find(|message| message != &["WATCHDOG=1"]);
        state.expect("messages do not end")
    }

    /// Whether a sign of life is among the messages that wait.
    fn has_sign(&self) -> bool {
        self.socket.set_nonblocking(true).expect("a socket");
        std::iter::from_fn(|| self.receive().ok()).any(|message| message == ["WATCHDOG=1"])
    }
}

#[test]
fn systemd_is_told_what_the_broker_does() {
    let manager = Manager::new();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tickwire.toml");
    let write = |text: &str| std::fs::write(&file, text).expect("a file can be written");
    write("");
    let (socket, settings) = (manager.path(), file.display().to_string());
    let args = ["--feed", "none", "--config", settings.as_str()];
    let broker = Broker::start_with(&args, &[("NOTIFY_SOCKET", &socket)]);
    assert_eq!(manager.next(), ["READY=1"]);
    // A reload that is refused ends as well.
    for text in ["[log]\nlevel = \"debug\"\n", "nonsense"] {
        write(text);
        broker.signal("HUP");
        let message = manager.next();
        assert_eq!(message[0], "RELOADING=1");
        let at = message[1].strip_prefix("MONOTONIC_USEC=");
        assert!(at.is_some_and(|at| at.parse::<u64>().is_ok()), "{message:?}");
        assert_eq!(manager.next(), ["READY=1"]);
    }
    broker.terminate();
    assert_eq!(manager.next(), ["STOPPING=1"]);
    broker.wait_stopped();
    assert!(!manager.has_sign(), "nobody has asked for signs of life");
}

#[test]
fn a_broker_gives_signs_of_life_while_it_works_and_while_it_drains() {
    let manager = Manager::new();
    let socket = manager.path();
    let variables = [
        ("NOTIFY_SOCKET", socket.as_str()),
        ("WATCHDOG_USEC", "200000"),
        // The client below answers nothing, so the drain lasts until the deadline.
        ("TICKWIRE_DRAIN__DEADLINE_MS", "2000"),
    ];
    let broker = Broker::start_with(&["--feed", "none", "--shards", "2"], &variables);
    assert_eq!(manager.next(), ["READY=1"]);
    for _ in 0..3 {
        assert_eq!(manager.next(), ["WATCHDOG=1"]);
    }
    let _client = Socket::open(&broker);
    broker.terminate();
    assert_eq!(manager.next_state(), ["STOPPING=1"]);
    assert_eq!(manager.next(), ["WATCHDOG=1"]);
    broker.wait_stopped();
}

#[test]
fn systemd_opens_the_sockets_and_clients_wait_while_the_broker_restarts() {
    let [listen, ops] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let addresses = [&listen, &ops].map(|socket| socket.local_addr().expect("it is bound"));
    let start = || Broker::start_passed([&listen, &ops], "listen:ops", &["--feed", "none"]);
    let broker = start();
    assert_eq!([broker.listen, broker.ops], addresses);
    broker.wait_for_log("listening on a socket that was passed");
    let _served = Socket::open(&broker);
    broker.wait_for_metric("tickwire_connections{transport=\"websocket\"}", |open| {
        open >= 1.0
    });
    broker.stop();
    // There is no broker now. The kernel completes the connection, because the test holds the socket, as systemd does.
    let stream = std::net::TcpStream::connect(addresses[0]).expect("the socket is open");
    let waiting = Socket::over(stream);
    let broker = start();
    let _served = waiting.upgrade();
    broker.stop();
}

#[test]
fn sockets_that_do_not_fit_are_refused_and_named() {
    let sockets = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    for (names, expected) in [
        (
            "listen:tickwire.socket",
            "a socket with the name \"tickwire.socket\" was passed",
        ),
        ("ops:ops", "two sockets with the name \"ops\" were passed"),
        ("ops", "the sockets of LISTEN_FDS cannot be taken"),
    ] {
        let (status, said) = refused_to_start_passed([&sockets[0], &sockets[1]], names);
        assert_eq!(status.code(), Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
    }
}
