//! HTTP requests without a library: enough to read the broker's own pages while another client is tested.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use super::DEADLINE;

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The status line and the headers, in lower case.
    pub(crate) head: String,
    /// The body.
    pub(crate) body: String,
}

impl Answer {
    /// Parses an answer that ends with its connection.
    pub(crate) fn of(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer has a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Self {
            status: status.unwrap_or_else(|| panic!("no status in {head:?}")),
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }
}

/// The answer to a GET of `path`.
pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, &format!("GET {path}"), "")
}

/// The answer to a POST of `body` to `path`.
pub(crate) fn post(address: SocketAddr, path: &str, body: &str) -> Answer {
    ask(address, &format!("POST {path}"), body)
}

fn ask(address: SocketAddr, what: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(address).expect("the broker listens");
    stream
        .set_read_timeout(Some(DEADLINE))
        .expect("a socket has a timeout");
    let length = body.len();
    let request = format!(
        "{what} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream
        .write_all(request.as_bytes())
        .expect("a request can be sent");
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .unwrap_or_else(|error| panic!("{what} was not answered: {error}"));
    Answer::of(&text)
}
