//! A client of server-sent events that follows the rules of browsers.

use std::collections::VecDeque;

use serde_json::Value;

use crate::support::{Http, request};

/// An event as a page sees it.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: Option<String>,
    pub(crate) data: Value,
}

/// An open stream.
pub(crate) struct Stream {
    connection: Http,
    /// The part of an event that has come so far.
    partial: String,
    events: VecDeque<Event>,
    /// The values of `retry:` lines.
    pub(crate) retries: Vec<u64>,
    /// The number of `synced` events: everything that the stream begins with has come.
    pub(crate) synced: usize,
    ended: bool,
}

impl Stream {
    /// Opens a stream on `connection` with the given query and headers.
    #[track_caller]
    pub(crate) fn open(mut connection: Http, query: &str, headers: &[&str]) -> Self {
        connection.write(&request("GET", &format!("/v1/sse?{query}"), headers, ""));
        Self::go_on(connection)
    }

    /// The stream that was asked for on `connection`. Its head comes next.
    #[track_caller]
    pub(crate) fn go_on(mut connection: Http) -> Self {
        let (status, headers) = connection.head();
        assert_eq!(status, 200);
        for (name, value) in [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-store"),
            ("x-accel-buffering", "no"),
            ("access-control-allow-origin", "*"),
            ("transfer-encoding", "chunked"),
        ] {
            assert_eq!(headers.get(name).map(String::as_str), Some(value), "{name}");
        }
        Self {
            connection,
            partial: String::new(),
            events: VecDeque::new(),
            retries: Vec::new(),
            synced: 0,
            ended: false,
        }
    }

    /// The connection of the stream.
    pub(crate) fn connection(&mut self) -> &mut Http {
        &mut self.connection
    }

    /// The next event, without heartbeats and `synced`. `None` at the stream's regular end.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Option<Event> {
        self.next_or_cut().expect("the stream goes on or ends properly")
    }

    /// Does the same. `None` if the connection was cut.
    pub(crate) fn next_or_cut(&mut self) -> Option<Option<Event>> {
        loop {
            match self.events.pop_front() {
                Some(event) if event.name == "heartbeat" => {}
                Some(event) if event.name == "synced" => self.synced += 1,
                Some(event) => return Some(Some(event)),
                None if self.ended => return Some(None),
                None => match self.connection.chunk_or_cut()? {
                    Some(chunk) => self.read(std::str::from_utf8(&chunk).expect("text")),
                    None => self.ended = true,
                },
            }
        }
    }

    /// The next event, which must be named `name`.
    #[track_caller]
    pub(crate) fn expect(&mut self, name: &str) -> Event {
        let event = self.next().expect("an event, not the end of the stream");
        assert_eq!(event.name, name, "{event:?}");
        if name != "close" {
            assert_eq!(event.data["op"], name);
        }
        event
    }

    /// Skips the welcome and returns the results of the ack.
    #[track_caller]
    pub(crate) fn expect_ack(&mut self) -> Vec<Value> {
        self.expect("welcome");
        let ack = self.expect("ack");
        ack.data["results"].as_array().expect("results").clone()
    }

    fn read(&mut self, text: &str) {
        self.partial += text;
        while let Some(end) = self.partial.find("\n\n") {
            let block: String = self.partial.drain(..end + 2).collect();
            let (mut name, mut id, mut data) = (None, None, Vec::new());
            for line in block.lines() {
                match line.split_once(": ") {
                    Some(("event", value)) => name = Some(value.to_owned()),
                    Some(("id", value)) => id = Some(value.to_owned()),
                    Some(("data", value)) => data.push(value),
                    Some(("retry", value)) => self.retries.push(value.parse().expect("milliseconds")),
                    _ => assert!(line.is_empty(), "{line:?}"),
                }
            }
            if let Some(name) = name {
                let data = serde_json::from_str(&data.join("\n")).expect("JSON");
                self.events.push_back(Event { name, id, data });
            }
        }
    }
}
