//! Access as clients see it: tokens at the handshake and in band, origins, rights, and the end of a token.

mod limits;
mod matrix;
mod secrets;
mod sessions;
mod shown;
mod stamps;
mod tools;

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::handshake::GOOD;
use crate::support::{Answer, Broker, Frame, Socket, poll};

pub(crate) const GET_WS: &str = "GET /v1/ws HTTP/1.1";
/// The secret that signs the tokens.
const SECRET: &str = "the-secret-of-the-tests-0123456789abcdef";
/// A static key, and its hash as `tickwire hash-key` prints it.
const DESK_KEY: &str = "tw_desk-of-the-tests-0123456789abcdef";

/// A broker that accepts tokens, with further settings.
pub(crate) struct Guarded {
    pub(crate) broker: Broker,
    folder: TempDir,
}

impl Guarded {
    /// Starts a broker that knows the secret and the key, with the lines `auth` added to its `[auth]`.
    pub(crate) fn start(auth: &str) -> Self {
        Self::start_with(auth, &[])
    }

    pub(crate) fn start_with(auth: &str, args: &[&str]) -> Self {
        Self::start_under("", auth, args)
    }

    /// The same, with the lines `top` before `[auth]`.
    pub(crate) fn start_under(top: &str, auth: &str, args: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let secret = folder.path().join("secret");
        std::fs::write(&secret, SECRET).expect("a file");
        let hash = crate::program::run(&["hash-key"], DESK_KEY).stdout;
        let file = format!(
            "{top}[auth]\n{auth}\n[[auth.keys]]\nname = \"desk\"\n{hash}subscribe = [\"ticker.>\"]\npublish = [\"chat.desk\"]\n\
             [limits]\nrefusals_in_a_row = 1000\n[auth.jwt]\nalgorithms = [\"HS256\"]\nsecret_file = {secret:?}\naudience = \"tickwire\"\n"
        );
        let path = folder.path().join("tickwire.toml");
        std::fs::write(&path, file).expect("a file");
        let path = path.display().to_string();
        let broker = Broker::start(&[&["--feed", "none", "--config", &path], args].concat());
        Self { broker, folder }
    }

    /// A handshake with these additional lines.
    pub(crate) fn handshake(&self, lines: &[&str]) -> (Socket, Answer) {
        Socket::request(&self.broker, GET_WS, &[&GOOD, lines].concat())
    }

    /// Opens a connection that shows `token`, and reads its welcome.
    pub(crate) fn open(&self, token: &str) -> Socket {
        let (mut socket, answer) = self.handshake(&[&format!("Authorization: Bearer {token}")]);
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(socket.message()["op"], "welcome");
        socket
    }

    /// The answer to an HTTP request with these header lines.
    pub(crate) fn http(&self, first: &str, lines: &[&str], body: &str) -> Answer {
        let mut socket = Socket::connect(&self.broker);
        let length = format!("Content-Length: {}", body.len());
        let head = [&[first, "Host: tickwire", &length, "Connection: close"], lines].concat();
        socket.send_bytes(format!("{}\r\n\r\n{body}", head.join("\r\n")).as_bytes());
        socket.read_answer()
    }
}

/// The current time in seconds since the Unix epoch.
pub(crate) fn now_s() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("later than 1970").as_secs_f64()
}

/// A token for `subject` with these grants. It expires in `seconds`.
pub(crate) fn token(subject: &str, seconds: f64, grants: &Value) -> String {
    signed(&json!({"sub": subject, "aud": "tickwire", "exp": now_s() + seconds, "tickwire": grants}))
}

/// A token with these claims.
pub(crate) fn signed(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes()).expect("a secret");
    encode(&Header::new(Algorithm::HS256), claims, &key).expect("a token")
}

/// The entry of `Sec-WebSocket-Protocol` that shows `token`.
pub(crate) fn entry(token: &str) -> String {
    format!("tickwire.token.{}", URL_SAFE_NO_PAD.encode(token))
}

/// Sends a request and returns its answer.
pub(crate) fn ask(socket: &mut Socket, request: &Value) -> Value {
    socket.send(Frame::text(&request.to_string()));
    loop {
        let message = socket.message();
        if message["id"] == request["id"] {
            return message;
        }
    }
}

pub(crate) fn auth(id: u64, token: &str) -> Value {
    json!({"op": "auth", "id": id, "token": token})
}

/// The code and reason of the refusal in an answer's body.
pub(crate) fn refusal(answer: &Answer) -> String {
    let body: Value = serde_json::from_str(&answer.body).expect("a refusal is JSON");
    let part = |name: &str| body["error"][name].as_str().unwrap_or("?").to_owned();
    format!("{} {}: {}", answer.status, part("code"), part("reason"))
}
