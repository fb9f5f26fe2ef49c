//! A publisher beside the one that clients follow: many messages to many topics, in bodies over HTTP, so that kills come in the
//! middle of a heavy load.
//!
//! Each line has its topic's number as its key, and a body that was not answered is sent again. So each message must be
//! there once at the end, with the number that it was made for.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::Shared;
use crate::swarm::Outcome;

/// The number of topics.
const TOPICS: u64 = 1_000;
/// The time between two bodies.
const EVERY: Duration = Duration::from_millis(10);
/// The time between two attempts to connect, while the broker starts.
const CONNECT_EVERY: Duration = Duration::from_millis(5);
/// How long a broker that is killed and started may leave a body without an answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// The publisher.
pub(super) struct Flood<'a> {
    pub(super) to: SocketAddr,
    /// Messages per second.
    pub(super) rate: u32,
    pub(super) shared: &'a Shared,
}

/// What was published.
#[derive(Debug, Default)]
pub(super) struct Flooded {
    messages: u64,
    /// The bodies that were sent again.
    repeated: u64,
    /// The messages of these that the broker had published before.
    duplicates: u64,
}

/// A connection to the broker.
struct Connection(BufReader<TcpStream>);

/// Why a request was not answered.
enum NoAnswer {
    /// The broker is gone, is starting, or cannot take it now. The request may be sent again.
    Passes,
    /// The broker refuses it.
    Refused(anyhow::Error),
}

impl From<std::io::Error> for NoAnswer {
    fn from(_: std::io::Error) -> Self {
        Self::Passes
    }
}

impl Connection {
    fn open(to: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a request, and returns the body of its answer.
    fn request(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Value, NoAnswer> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: broker\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let stream = self.0.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let (mut status, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                return Err(NoAnswer::Passes);
            }
            let line = line.trim_end().to_ascii_lowercase();
            if status.is_empty() {
                status = line;
            } else if line.is_empty() {
                break;
            } else if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut answer = vec![0; length];
        self.0.read_exact(&mut answer)?;
        let text = String::from_utf8_lossy(&answer);
        match status.split_whitespace().nth(1) {
            Some("200") => serde_json::from_str(&text)
                .map_err(|error| NoAnswer::Refused(anyhow::anyhow!("{path}: {error} in {text}"))),
            Some("503") => Err(NoAnswer::Passes),
            _ => Err(NoAnswer::Refused(anyhow::anyhow!("{path}: {status}: {text}"))),
        }
    }
}

impl Flood<'_> {
    /// Does the same as [`Self::run`], and gives the run up if that fails.
    pub(super) fn run_or_give_up(&self) -> anyhow::Result<Flooded> {
        let ran = self.run();
        if ran.is_err() {
            self.shared.given_up.store(true, Ordering::Relaxed);
        }
        ran
    }

    /// Publishes until the other publisher has ended, or the run is given up.
    ///
    /// # Errors
    /// If the broker refuses a body, or publishes something else than it has.
    fn run(&self) -> anyhow::Result<Flooded> {
        let mut flooded = Flooded::default();
        let mut connection = None;
        let began = Instant::now();
        let mut body = String::new();
        while !self.is_over() {
            let due = (began.elapsed().as_secs_f64() * f64::from(self.rate)) as u64;
            // What a kill has left undone is made good later, but not all at once.
            let lines = due
                .saturating_sub(flooded.messages)
                .min(u64::from(self.rate) / 20);
            if lines > 0 {
                body.clear();
                for at in flooded.messages..flooded.messages + lines {
                    let (topic, n) = (at % TOPICS, at / TOPICS + 1);
                    writeln!(
                        body,
                        "{{\"topic\":\"flood.C{topic}\",\"key\":\"{n}\",\"data\":{{\"n\":{n},\"price\":\"61838.25\",\"size\":\"0.5\"}}}}"
                    )?;
                }
                if !self.publish(&mut connection, body.as_bytes(), lines, &mut flooded)? {
                    break;
                }
            }
            std::thread::sleep(EVERY);
        }
        Ok(flooded)
    }

    fn is_over(&self) -> bool {
        let is_set = [
            &self.shared.published_all,
            &self.shared.given_up,
            &self.shared.ended,
        ];
        is_set.into_iter().any(|flag| flag.load(Ordering::Relaxed))
    }

    /// Publishes a body of `lines` messages, again until it is answered. Returns false if the run is given up before.
    fn publish(
        &self,
        connection: &mut Option<Connection>,
        body: &[u8],
        lines: u64,
        flooded: &mut Flooded,
    ) -> anyhow::Result<bool> {
        let mut attempts = 0;
        loop {
            let answer = match connection {
                Some(open) => open.request("POST", "/v1/publish", body),
                None => match Connection::open(self.to) {
                    Ok(opened) => connection.insert(opened).request("POST", "/v1/publish", body),
                    Err(_) => Err(NoAnswer::Passes),
                },
            };
            match answer {
                Ok(answer) => {
                    let count = |name: &str| answer[name].as_u64().unwrap_or(0);
                    let (published, duplicates) = (count("published"), count("duplicates"));
                    ensure!(
                        published + duplicates == lines && (attempts > 0 || duplicates == 0),
                        "of {lines} lines, sent {} times, {answer}",
                        attempts + 1
                    );
                    flooded.messages += lines;
                    flooded.repeated += u64::from(attempts > 0);
                    flooded.duplicates += duplicates;
                    return Ok(true);
                }
                Err(NoAnswer::Refused(error)) => return Err(error),
                Err(NoAnswer::Passes) => {}
            }
            if self.shared.given_up.load(Ordering::Relaxed) || self.shared.ended.load(Ordering::Relaxed) {
                return Ok(false);
            }
            attempts += 1;
            *connection = None;
            std::thread::sleep(CONNECT_EVERY);
        }
    }
}

impl Flooded {
    /// Asks the broker at `to` what it has, and compares that with what was published.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub(super) fn check(&self, to: SocketAddr, outcome: &mut Outcome) -> anyhow::Result<()> {
        let mut connection = Connection::open(to).context("cannot ask what was published")?;
        let mut wrong = 0;
        for topic in 0..TOPICS.min(self.messages) {
            let path = format!("/v1/topics/flood.C{topic}/history?limit=1000");
            let page = match connection.request("GET", &path, &[]) {
                Ok(page) => page,
                Err(NoAnswer::Refused(error)) => return Err(error),
                Err(NoAnswer::Passes) => anyhow::bail!("{path}: the broker is gone"),
            };
            let expected = (self.messages - topic).div_ceil(TOPICS);
            let newest = page["newest"].as_u64();
            // A body that a kill swallowed when the run was given up may be there.
            if newest != Some(expected) {
                let text = format_args!("flood.C{topic} has {newest:?} messages, and {expected} were acked");
                outcome.faults.add("not what was acked", text);
            }
            let messages = page["messages"].as_array();
            for message in messages.into_iter().flatten() {
                wrong += u64::from(message["seq"].as_u64() != message["data"]["n"].as_u64());
            }
        }
        if wrong > 0 {
            outcome
                .faults
                .add("wrong content", format_args!("{wrong} messages of flood.>"));
        }
        outcome.count(
            "flooded",
            "messages published beside these, over HTTP",
            self.messages,
        );
        outcome.count(
            "bodies_repeated",
            "bodies that had to be sent again",
            self.repeated,
        );
        outcome.count(
            "duplicates_avoided",
            "of their messages, there before and not published again",
            self.duplicates,
        );
        Ok(())
    }
}
