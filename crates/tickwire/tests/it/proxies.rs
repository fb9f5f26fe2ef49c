//! Real proxies in front of the broker, with the configuration that operators are given. They end TLS, and the broker
//! knows the addresses of the clients behind them.
//!
//! Each client has its own address, since all of 127.0.0.0/8 is this machine. The proxies connect from 127.0.0.1.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::support::{Answer, Broker, DEADLINE, Frame, Script, Tool, get, poll};

/// Settings of a broker behind a proxy. Each client address may have one connection.
const SETTINGS: [(&str, &str); 4] = [
    ("TICKWIRE_PROXY__TRUSTED", "127.0.0.1"),
    ("TICKWIRE_LIMITS__EXEMPT_ADDRESSES", ""),
    ("TICKWIRE_LIMITS__CONNECTIONS_PER_ADDRESS", "1"),
    ("TICKWIRE_LIMITS__OPS_BURST", "100000"),
];

/// A certificate for 127.0.0.1 with its key, both as PEM, and a client configuration that trusts it.
struct Identity {
    certificate: String,
    key: String,
    trusting: Arc<ClientConfig>,
}

impl Identity {
    fn new() -> Self {
        let names = vec!["127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let mut roots = RootCertStore::empty();
        let der = CertificateDer::from(made.cert.der().to_vec());
        roots.add(der).expect("it is well-formed");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let trusting = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("there are versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            certificate: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
            trusting: Arc::new(trusting),
        }
    }
}

/// A running proxy.
struct Front {
    address: SocketAddr,
    identity: Identity,
    _script: Script,
    _folder: TempDir,
}

impl Front {
    /// Starts `program`. `arrange` writes into a folder what the program needs to listen at an address with an
    /// identity, and returns the arguments.
    fn start(program: &Path, arrange: impl Fn(&Path, SocketAddr, &Identity) -> Vec<String>) -> Self {
        let identity = Identity::new();
        // The proxy cannot tell which port it took for port 0. So it gets a port that was free a moment ago, several
        // times if necessary.
        for _ in 0..5 {
            let folder = tempfile::tempdir().expect("a folder can be made");
            let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let address = free.local_addr().expect("an address");
            drop(free);
            let mut script = Script::start(program, &arrange(folder.path(), address, &identity));
            let listens = poll("the proxy listens or has ended", || {
                if script.has_ended() {
                    return Some(false);
                }
                TcpStream::connect(address).is_ok().then_some(true)
            });
            if listens {
                return Self {
                    address,
                    identity,
                    _script: script,
                    _folder: folder,
                };
            }
        }
        panic!("{} does not start", program.display());
    }

    /// A TLS connection from the address `ip` of this machine.
    fn connect(&self, ip: &str) -> Connection {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let near = SocketAddr::new(ip.parse().expect("an address"), 0);
        socket
            .bind(&near.into())
            .expect("all of 127.0.0.0/8 is this machine");
        // A small buffer, so that a reader which stops is noticed soon.
        socket.set_recv_buffer_size(16 * 1024).expect("a small buffer");
        socket.connect(&self.address.into()).expect("the proxy listens");
        let stream = TcpStream::from(socket);
        stream
            .set_read_timeout(Some(DEADLINE))
            .expect("a socket has a timeout");
        let name = ServerName::from(self.address.ip());
        let tls = ClientConnection::new(self.identity.trusting.clone(), name).expect("it can begin");
        Connection(StreamOwned::new(tls, stream))
    }

    /// Opens a WebSocket from `ip` with these additional headers, and reads its welcome.
    fn open(&self, ip: &str, more: &[&str]) -> Connection {
        let mut connection = self.connect(ip);
        let answer = connection.ask("GET /v1/ws", &[&crate::handshake::GOOD, more].concat());
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(connection.message()["op"], "welcome");
        connection
    }
}

/// A client's connection to a proxy.
struct Connection(StreamOwned<ClientConnection, TcpStream>);

impl Connection {
    /// Sends a request. Reads the head of its answer, and the body if it has a length.
    fn ask(&mut self, first: &str, lines: &[&str]) -> Answer {
        let lines = lines.join("\r\n");
        let request = format!("{first} HTTP/1.1\r\nHost: tickwire\r\n{lines}\r\n\r\n");
        self.0
            .write_all(request.as_bytes())
            .expect("the proxy takes bytes");
        let mut head = self.until(b"\r\n\r\n");
        let named = head.to_ascii_lowercase();
        let length = named
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        if let Some(length) = length {
            let body = self.exactly(length.parse().expect("a number"));
            head += std::str::from_utf8(&body).expect("text");
        }
        Answer::of(&head)
    }

    /// Reads text up to and including `end`.
    fn until(&mut self, end: &[u8]) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end) {
            bytes.extend(self.exactly(1));
        }
        String::from_utf8(bytes).expect("text")
    }

    fn exactly(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).expect("the proxy goes on");
        bytes
    }

    fn send(&mut self, text: &str) {
        self.0
            .write_all(&Frame::text(text).bytes())
            .expect("the proxy takes bytes");
    }

    /// The next message of the WebSocket.
    fn message(&mut self) -> Value {
        let head = self.exactly(2);
        assert_eq!(head[0], 0x81, "a whole text message");
        let length = match head[1] {
            126 => usize::from(u16::from_be_bytes(self.exactly(2).try_into().expect("two bytes"))),
            short => usize::from(short),
        };
        serde_json::from_slice(&self.exactly(length)).expect("JSON")
    }

    /// The next event of a stream, as its lines.
    fn event(&mut self) -> String {
        // Each piece of the stream is a chunk. The lines with the lengths of chunks are not lines of an event.
        let mut event = String::new();
        loop {
            let line = self.until(b"\n");
            let line = line.trim_end();
            let is_chunk = !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_hexdigit());
            if line.is_empty() && event.contains("event: ") {
                return event;
            }
            if !line.is_empty() && !is_chunk {
                event = format!("{event}{line}\n");
            }
        }
    }
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("a file can be written");
    path.display().to_string()
}

/// The file that operators are given, with each of `changes` applied.
fn given(name: &str, changes: &[(&str, &str)]) -> String {
    let path = format!("{}/../../deploy/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut text = std::fs::read_to_string(&path).expect("the file is there");
    for (from, to) in changes {
        assert!(text.contains(from), "{name} has no {from:?} any more");
        text = text.replace(from, to);
    }
    text
}

fn nginx(program: &Path, broker: &Broker) -> Front {
    let upstream = format!("server {};", broker.listen);
    Front::start(program, |folder, address, identity| {
        let certificate = write(folder, "certificate.pem", &identity.certificate);
        let key = write(folder, "key.pem", &identity.key);
        let site = given(
            "nginx/tickwire.conf",
            &[
                ("listen 443 ssl;", &format!("listen {address} ssl;")),
                ("server 127.0.0.1:7400;", &upstream),
                ("/etc/ssl/tickwire/certificate.pem", &certificate),
                ("/etc/ssl/tickwire/key.pem", &key),
            ],
        );
        let site = write(folder, "tickwire.conf", &site);
        let place = folder.display();
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let paths = kinds.map(|kind| format!("{kind}_temp_path {place}/{kind};"));
        let main = format!(
            "daemon off; master_process off; pid {place}/pid; error_log stderr;\n\
             events {{ worker_connections 256; }}\n\
             http {{ access_log off; {} include {site}; }}\n",
            paths.join(" ")
        );
        let main = write(folder, "nginx.conf", &main);
        ["-p", &place.to_string(), "-c", &main]
            .map(str::to_owned)
            .to_vec()
    })
}

fn haproxy(program: &Path, broker: &Broker) -> Front {
    let server = format!("server broker {}", broker.listen);
    let check = format!("port {}", broker.ops.port());
    Front::start(program, |folder, address, identity| {
        let both = format!("{}{}", identity.certificate, identity.key);
        let pem = write(folder, "tickwire.pem", &both);
        let text = given(
            "haproxy/haproxy.cfg",
            &[
                ("bind :443 ", &format!("bind {address} ")),
                ("/etc/haproxy/tickwire.pem", &pem),
                ("server broker 127.0.0.1:7400", &server),
                ("port 7401", &check),
                ("maxconn 50000", "maxconn 100"),
            ],
        );
        let path = write(folder, "haproxy.cfg", &text);
        ["-db", "-f", &path].map(str::to_owned).to_vec()
    })
}

/// Checks what must hold behind each of the proxies.
fn check(front: &Front, broker: &Broker) {
    websocket_and_events(front);
    each_client_has_its_own_limit(front, broker);
    a_slow_reader_is_named(front, broker);
}

fn websocket_and_events(front: &Front) {
    let mut client = front.open("127.0.0.5", &[]);
    client.send(r#"{"op":"subscribe","id":1,"topics":["a.b"]}"#);
    assert_eq!(client.message()["op"], "ack");
    assert_eq!(client.message()["op"], "synced");
    let mut events = front.connect("127.0.0.6");
    let answer = events.ask("GET /v1/sse?topic=a.b", &[]);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(events.event().contains("event: welcome"));
    assert!(events.event().contains("event: ack"));
    assert!(events.event().contains("event: synced"));
    client.send(r#"{"op":"publish","id":2,"topic":"a.b","data":42}"#);
    let ops: Vec<Value> = (0..2).map(|_| client.message()).collect();
    assert!(
        ops.iter()
            .any(|message| message["op"] == "update" && message["data"] == 42)
    );
    assert!(ops.iter().any(|message| message["op"] == "ack"));
    // The event comes at once, not when a buffer is full.
    let event = events.event();
    assert!(
        event.contains("event: update") && event.contains("\"data\":42"),
        "{event}"
    );
}

fn each_client_has_its_own_limit(front: &Front, broker: &Broker) {
    let _first = front.open("127.0.0.7", &["X-Forwarded-For: 127.0.0.99"]);
    let mut second = front.connect("127.0.0.7");
    // What the client says about itself changes nothing.
    let lines = [&crate::handshake::GOOD[..], &["X-Forwarded-For: 127.0.0.98"]].concat();
    let answer = second.ask("GET /v1/ws", &lines);
    assert_eq!(answer.status, 429, "{answer:?}");
    assert!(answer.head.contains("retry-after: 5"), "{answer:?}");
    assert!(
        answer.body.contains("this address has its most connections, 1"),
        "{answer:?}"
    );
    let _other = front.open("127.0.0.8", &[]);
    broker.wait_for_metric(
        r#"tickwire_turned_away_total{reason="address_connections"}"#,
        |count| count == 1.0,
    );
}

fn a_slow_reader_is_named(front: &Front, broker: &Broker) {
    let mut slow = front.open("127.0.0.9", &[]);
    slow.send(r#"{"op":"subscribe","id":1,"topics":["long"]}"#);
    assert_eq!(slow.message()["op"], "ack");
    let mut publisher = front.open("127.0.0.10", &[]);
    let data = "x".repeat(60_000);
    let text = format!(r#"{{"op":"publish","id":1,"topic":"long","data":"{data}"}}"#);
    let peer = poll("the slow reader is owed something", || {
        publisher.send(&text);
        assert_eq!(publisher.message()["op"], "ack");
        let page = get(broker.ops, "/debug/sessions").body;
        let page: Value = serde_json::from_str(&page).expect("JSON");
        page["slowest"][0]["peer"].as_str().map(str::to_owned)
    });
    let ip = peer.split(':').next();
    assert_eq!(ip, Some("127.0.0.9"), "{peer}");
}

#[test]
fn nginx_in_front() {
    let Some(program) = Tool::Nginx.find("nginx_in_front") else {
        return;
    };
    let broker = Broker::start_with(&["--feed", "none", "--anonymous-publish", ">"], &SETTINGS);
    check(&nginx(&program, &broker), &broker);
    broker.stop();
}

#[test]
fn haproxy_in_front() {
    let Some(program) = Tool::HaProxy.find("haproxy_in_front") else {
        return;
    };
    let mut settings = SETTINGS.to_vec();
    settings.push(("TICKWIRE_PROXY__PROXY_PROTOCOL", "v2"));
    let broker = Broker::start_with(&["--feed", "none", "--anonymous-publish", ">"], &settings);
    let front = haproxy(&program, &broker);
    // HAProxy accepts clients once the operators' listener reports that the broker does.
    poll("HAProxy has found the broker well", || {
        let answer = front.connect("127.0.0.4").ask("GET /v1/topics", &[]);
        (answer.status == 200).then_some(())
    });
    check(&front, &broker);
    assert_eq!(
        broker.metric(r#"tickwire_turned_away_total{reason="proxy_header"}"#),
        Some(0.0)
    );
    broker.stop();
}
