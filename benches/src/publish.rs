//! Publications of a WebSocket client: from the bytes of the requests to the values and histories of their topics.

use std::rc::Rc;

use tickwire_router::{Rights, SessionId, Shard, Transport};
use tickwire_wire::codec::Incoming;
use tickwire_wire::message::ClientMessage;
use tickwire_wire::{Codec, Micros};

use crate::case::HotPath;
use crate::set_up::{self, NOW};

/// Microseconds between two runs for each of their requests, so that the client keeps to its rate.
const US_PER_REQUEST: u64 = 1_000;

/// A client and its requests.
pub struct Publish {
    shard: Shard,
    session: SessionId,
    requests: Vec<Vec<u8>>,
    now: Micros,
    runs: u64,
}

impl std::fmt::Debug for Publish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Publish({} requests)", self.requests.len())
    }
}

impl Publish {
    /// A client that sends `requests` publications, to `topics` topics in turn. Nobody subscribes to them.
    ///
    /// # Panics
    /// Never: the pattern is valid.
    #[must_use]
    pub fn new(requests: usize, topics: usize) -> Self {
        let mut shard = set_up::shard(&set_up::directory(topics));
        let rights = Rc::new(Rights::open([">".parse().expect("a pattern")]));
        let session = shard.open(Codec::Json, Transport::WebSocket, rights, NOW);
        let request = |at: usize| {
            let message = ClientMessage::Publish {
                id: None,
                topic: format!("chat.{}", at % topics),
                data: set_up::published(),
                key: None,
                ts: None,
            };
            let mut bytes = Vec::new();
            Codec::Json.encode_request(&message, &mut bytes);
            bytes
        };
        Self {
            shard,
            session,
            requests: (0..requests).map(request).collect(),
            now: NOW,
            runs: 0,
        }
    }
}

impl HotPath for Publish {
    /// The number of publications so far.
    type Output = u64;

    const PREPARES: bool = true;

    fn prepare(&mut self) {
        self.now.0 += US_PER_REQUEST * self.requests.len() as u64;
    }

    fn run(&mut self) -> u64 {
        for request in &self.requests {
            match Codec::Json.receive(request) {
                Incoming::Publish(publish) => self.shard.publish(self.session, publish, self.now),
                Incoming::PackedPublish(publish) => {
                    self.shard.publish_packed(self.session, publish, self.now);
                }
                Incoming::Other(request) => self.shard.request(self.session, request, self.now),
            }
        }
        self.runs += 1;
        self.shard.counts().published.iter().sum()
    }

    fn check(&mut self, published: &u64) {
        assert_eq!(*published, self.runs * self.requests.len() as u64);
        assert_eq!(self.shard.counts().refusals.iter().sum::<u64>(), 0);
    }
}
