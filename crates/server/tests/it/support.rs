//! A broker for tests, and a client that uses HTTP/1.1 over a plain socket.
//!
//! Each test waits for the event itself, at most [`DEADLINE`].

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;
use tickwire_server::config::Overrides;
use tickwire_server::{Broker, Config, PassedSockets, Program, StopRequest};

use crate::specification::{CLIENTS, OPERATORS, Specification};

/// The longest time that an expected event may take: far more than on a machine with other things to do.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A broker on free ports of this machine. Stops when it is dropped.
pub(crate) struct TestBroker {
    running: Option<Broker>,
    _folder: TempDir,
}

impl TestBroker {
    /// A broker without a feed. Any client may publish everything.
    pub(crate) fn start() -> Self {
        Self::with("", &[])
    }

    /// The same with the settings of `file`, the text of a configuration file, and of `variables`, named without
    /// `TICKWIRE_`.
    pub(crate) fn with(file: &str, variables: &[(&str, &str)]) -> Self {
        Self::publishing(">", file, variables)
    }

    /// The same, but without a token a client may publish only to `anonymous_publish`.
    pub(crate) fn publishing(anonymous_publish: &str, file: &str, variables: &[(&str, &str)]) -> Self {
        Self::with_feed("none", anonymous_publish, file, variables)
    }

    /// The same with a feed, in the form of the flag.
    pub(crate) fn with_feed(
        feed: &str,
        anonymous_publish: &str,
        file: &str,
        variables: &[(&str, &str)],
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tickwire.toml");
        std::fs::write(&path, file).expect("a file");
        let mut flags = Overrides::default();
        for flag in ["--listen", "--ops"] {
            flags.set(flag, "127.0.0.1:0");
        }
        flags.set("--feed", feed);
        flags.set("--anonymous-publish", anonymous_publish);
        // Settings that are given later have precedence.
        let variables = [("SHARDS", "2")]
            .iter()
            .chain(variables)
            .map(|(name, value)| (format!("TICKWIRE_{name}"), (*value).to_owned()));
        let config = Config::load(Some(&path), variables, &flags).expect("a valid configuration");
        let program = Program {
            sockets: PassedSockets::default(),
            log_lines_lost: Arc::default(),
            end: Box::new(|| panic!("the broker has ended the program")),
            drain: StopRequest::new(|| {}),
        };
        Self {
            running: Some(tickwire_server::start(config, program).expect("the broker starts")),
            _folder: folder,
        }
    }

    fn broker(&self) -> &Broker {
        self.running.as_ref().expect("it runs until it is dropped")
    }

    /// The address of the clients' listener.
    pub(crate) fn address(&self) -> SocketAddr {
        self.broker().listen_addr()
    }

    /// Applies other settings.
    pub(crate) fn reload(&self, config: Config) {
        self.broker()
            .reload(Ok(config))
            .expect("settings that can be used");
    }

    /// Waits until `is` returns `true`. `what` names it in the failure.
    pub(crate) fn wait_until(&self, what: &str, mut is: impl FnMut() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !is() {
            assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
            std::thread::yield_now();
        }
    }

    /// A connection to the clients' listener.
    pub(crate) fn connect(&self) -> Http {
        Http::new(connected(self.address()), &CLIENTS)
    }

    /// A connection to the clients' listener whose kernel buffers few unread bytes.
    pub(crate) fn connect_narrow(&self) -> Http {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(4 * 1024).expect("a small buffer");
        socket.connect(&self.address().into()).expect("a connection");
        Http::new(socket.into(), &CLIENTS)
    }

    /// A connection to the clients' listener from another address of this machine, such as `127.0.0.9`.
    pub(crate) fn connect_from(&self, ip: &str) -> Http {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let near = SocketAddr::new(ip.parse().expect("an address"), 0);
        socket
            .bind(&near.into())
            .expect("all of 127.0.0.0/8 is this machine");
        socket.connect(&self.address().into()).expect("a connection");
        Http::new(socket.into(), &CLIENTS)
    }

    /// The answer to a GET on a connection of its own.
    pub(crate) fn get(&self, target: &str) -> Answer {
        self.connect().send("GET", target, &[], "")
    }

    /// Publishes `data` and returns its number.
    pub(crate) fn publish(&self, topic: &str, data: &str) -> u64 {
        let answer = self
            .connect()
            .send("POST", &format!("/v1/topics/{topic}"), &[], data);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["seq"].as_u64().expect("a number")
    }

    /// A connection to the operators' listener.
    pub(crate) fn connect_ops(&self) -> Http {
        Http::new(connected(self.broker().ops_addr()), &OPERATORS)
    }

    /// The answer to a GET on the operators' listener.
    pub(crate) fn ops(&self, target: &str) -> Answer {
        self.connect_ops().send("GET", target, &[], "")
    }

    /// The value of a metric's series, named as in the exposition.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let page = self.ops("/metrics");
        let line = page
            .text()
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned));
        let value = line.unwrap_or_else(|| panic!("no series {series}"));
        value.parse().expect("a number")
    }

    /// Waits until `/readyz` answers with this status, and returns its text.
    pub(crate) fn wait_for_readiness(&self, status: u16) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let answer = self.ops("/readyz");
            if answer.status == status {
                return answer.text().to_owned();
            }
            assert!(Instant::now() < deadline, "/readyz says {}", answer.text());
            std::thread::yield_now();
        }
    }

    /// Waits until a metric's series has this value.
    pub(crate) fn wait_for_metric(&self, series: &str, value: f64) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let now = self.metric(series);
            if (now - value).abs() < f64::EPSILON {
                return;
            }
            assert!(Instant::now() < deadline, "{series} is {now}, not {value}");
            std::thread::yield_now();
        }
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        if let Some(broker) = self.running.take() {
            broker.stop();
        }
    }
}

fn connected(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).expect("a connection")
}

/// A whole answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The headers, with names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    /// The value of a header, empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Status, code and reason of a refusal in one line.
    #[track_caller]
    pub(crate) fn refusal(&self) -> String {
        let error = &self.json()["error"];
        let part = |name: &str| error[name].as_str().unwrap_or("?").to_owned();
        format!("{} {}: {}", self.status, part("code"), part("reason"))
    }
}

/// A connection that uses HTTP/1.1.
pub(crate) struct Http {
    stream: TcpStream,
    /// Bytes that were read and not used yet.
    rest: Vec<u8>,
    /// What the answers of the listener must be.
    specification: &'static Specification,
}

impl Http {
    fn new(stream: TcpStream, specification: &'static Specification) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        stream.set_write_timeout(Some(DEADLINE)).expect("a timeout");
        Self {
            stream,
            rest: Vec::new(),
            specification,
        }
    }

    /// Sends a request and reads the answer, which must be one of the specification.
    #[track_caller]
    pub(crate) fn send(&mut self, method: &str, target: &str, headers: &[&str], body: &str) -> Answer {
        self.write(&request(method, target, headers, body));
        let answer = self.answer(method == "HEAD");
        self.specification.check(method, target, &answer);
        answer
    }

    /// Sends bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the broker takes it");
    }

    /// Sends bytes. Returns whether the connection still took them.
    #[track_caller]
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> bool {
        match self.stream.write_all(bytes) {
            Ok(()) => true,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the broker neither took it nor closed within {DEADLINE:?}")
            }
            Err(_) => false,
        }
    }

    /// A second handle of the connection, for sending.
    pub(crate) fn sender(&self) -> TcpStream {
        self.stream.try_clone().expect("it is open")
    }

    /// The next text, as much as has come.
    #[track_caller]
    pub(crate) fn some(&mut self) -> String {
        assert!(self.fill(), "something, not the end of the connection");
        String::from_utf8(std::mem::take(&mut self.rest)).expect("text")
    }

    /// Shuts the sending side.
    pub(crate) fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("it is open");
    }

    /// Reads an answer. An answer to HEAD has no body, whatever its headers say.
    #[track_caller]
    pub(crate) fn answer(&mut self, head_only: bool) -> Answer {
        let (status, headers) = self.head();
        let mut answer = Answer {
            status,
            headers,
            body: Vec::new(),
        };
        if head_only || matches!(status, 100..200 | 204 | 304) {
            return answer;
        }
        if answer.header("transfer-encoding") == "chunked" {
            while let Some(chunk) = self.chunk() {
                answer.body.extend(chunk);
            }
        } else {
            let length = answer.header("content-length").parse().expect("a length");
            answer.body = self.take(length).expect("the whole body");
        }
        answer
    }

    /// Reads an answer's status and headers.
    #[track_caller]
    pub(crate) fn head(&mut self) -> (u16, BTreeMap<String, String>) {
        let head = self.line_until("\r\n\r\n").expect("an answer's head");
        let (status, lines) = head.split_once("\r\n").unwrap_or((&head, ""));
        let status = status
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .unwrap_or_else(|| panic!("no status line: {status:?}"));
        let headers = lines.split("\r\n").filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_ascii_lowercase(), value.to_owned()))
        });
        (status, headers.collect())
    }

    /// The next chunk of a body. `None` at its regular end.
    ///
    /// # Panics
    /// If the connection ends before.
    #[track_caller]
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        self.chunk_or_cut()
            .expect("a chunk, not the end of the connection")
    }

    /// The next chunk of a body. `Some(None)` at its regular end, `None` if the connection ends before.
    pub(crate) fn chunk_or_cut(&mut self) -> Option<Option<Vec<u8>>> {
        let size = self.line_until("\r\n")?;
        let size = usize::from_str_radix(&size, 16).expect("a chunk's size");
        let data = self.take(size)?;
        assert_eq!(self.take(2)?, b"\r\n");
        Some((size > 0).then_some(data))
    }

    /// Reads at most `bytes_max` of the bytes that have come. Returns their number, 0 at the end.
    pub(crate) fn sip(&mut self, bytes_max: usize) -> usize {
        self.stream.read(&mut vec![0; bytes_max]).unwrap_or(0)
    }

    /// Whether the connection ended, after any other bytes.
    pub(crate) fn is_at_end(&mut self) -> bool {
        self.rest.clear();
        while self.fill() {
            self.rest.clear();
        }
        true
    }

    /// Everything up to the end of the connection.
    pub(crate) fn until_end(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.rest)
    }

    fn line_until(&mut self, end: &str) -> Option<String> {
        loop {
            let found = self
                .rest
                .windows(end.len())
                .position(|window| window == end.as_bytes());
            if let Some(at) = found {
                let line = self.rest.drain(..at + end.len()).take(at).collect();
                return Some(String::from_utf8(line).expect("text"));
            }
            if !self.fill() {
                return None;
            }
        }
    }

    fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.rest.len() < count {
            if !self.fill() {
                return None;
            }
        }
        Some(self.rest.drain(..count).collect())
    }

    /// Reads the bytes that have come. Returns whether there were any before the end.
    fn fill(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(count) => {
                self.rest.extend_from_slice(&piece[..count]);
                count > 0
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!(
                    "nothing came within {DEADLINE:?}; so far {:?}",
                    String::from_utf8_lossy(&self.rest)
                )
            }
            // The connection was reset.
            Err(_) => false,
        }
    }
}

/// The text in a JSON value.
#[track_caller]
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// The whole number in a JSON value.
#[track_caller]
pub(crate) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

/// The elements of a JSON array.
#[track_caller]
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no array: {value}"))
}

/// A request's bytes.
pub(crate) fn request(method: &str, target: &str, headers: &[&str], body: &str) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: test\r\n");
    for header in headers {
        text += header;
        text += "\r\n";
    }
    if !body.is_empty() || method == "POST" {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    text += "\r\n";
    text += body;
    text.into_bytes()
}

/// Records that a test was skipped, and why.
#[expect(clippy::print_stdout, reason = "people see it")]
pub(crate) fn skip(test: &str, why: &str) {
    println!("skipped: {test}: {why}");
    if let Ok(log) = std::env::var("TICKWIRE_TEST_SKIP_LOG") {
        let mut log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .expect("the log of skipped tests");
        writeln!(log, "skipped: {test}: {why}").expect("the log of skipped tests");
    }
}
