//! A directory with shards and clients, driven as the server drives them: whole rounds of draining and writing, sockets
//! that take a limited number of bytes, and frames decoded from the byte stream as a client does.
//!
//! Never sleeps, and never reads a clock. A broken frame is a panic here, so every test checks the frames.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use tickwire_router::{
    Directory, DirectoryLimits, EpochRule, ExpiryRule, Ingress, KindRule, Kinds, Origin, Outbox,
    PublishError, Published, Rights, SessionId, SessionLimits, Shard, ShardId, ShardQueue, ShardSettings,
    StaleRule, Transport,
};
use tickwire_wire::codec::Incoming;
use tickwire_wire::deflate::{Inflater, Settings as DeflateSettings, WindowBits};
use tickwire_wire::frame::{Opcode, header_len, is_deflated};
use tickwire_wire::message::{AnnouncedLimits, Subscribe, TopicRequest};
use tickwire_wire::{
    ClientMessage, CloseCode, Codec, Control, Epoch, Micros, Pattern, Payload, RequestId, ServerMessage,
    Topic, Variant,
};

use crate::fake_archive::FakeArchive;
use crate::tokens;

/// The epoch of every world.
pub(crate) const EPOCH: &str = "e";

/// The time at which every world begins.
pub(crate) const START: Micros = Micros(1_000_000_000);

/// The kinds of readers: both codecs, each plain, compressed, and compressed for a small window.
pub(crate) const VARIANTS: [Variant; 6] = [
    Variant::plain(Codec::Json),
    Variant::plain(Codec::MessagePack),
    Variant::deflated(Codec::Json, WindowBits::MAX),
    Variant::deflated(Codec::MessagePack, WindowBits::MAX),
    Variant::deflated(Codec::Json, WindowBits::MIN),
    Variant::deflated(Codec::MessagePack, WindowBits::MIN),
];

/// The parameters of a world.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) shards: u8,
    pub(crate) queue: usize,
    pub(crate) history_bytes: usize,
    pub(crate) value_bytes: usize,
    pub(crate) replay_bytes: usize,
    pub(crate) topics: usize,
    pub(crate) topics_per_key: usize,
    pub(crate) rules: Vec<KindRule>,
    pub(crate) stale: Vec<StaleRule>,
    pub(crate) expiry: Vec<ExpiryRule>,
    pub(crate) epochs: Vec<EpochRule>,
    pub(crate) settings: ShardSettings,
    pub(crate) compression: DeflateSettings,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            shards: 1,
            queue: 1_024,
            history_bytes: 1 << 30,
            value_bytes: 1 << 30,
            replay_bytes: 1 << 30,
            topics: 1 << 20,
            topics_per_key: 0,
            rules: Vec::new(),
            stale: Vec::new(),
            expiry: Vec::new(),
            epochs: Vec::new(),
            settings: ShardSettings {
                server: "test".to_owned(),
                limits: AnnouncedLimits {
                    subscriptions: 64,
                    message_bytes: 65_536,
                    ops_per_s: 1_000,
                    ops_burst: 1_000,
                    publishes_per_s: 1_000,
                    publishes_burst: 1_000,
                },
                session_limits: SessionLimits::default(),
                topics_at_once: usize::MAX,
                outbox_bytes_max: 256 * 1024,
                stall_ms: 30_000,
                heartbeat_ms: 15_000,
                ping_after_ms: 20_000,
                pong_timeout_ms: 20_000,
                first_request_ms: 10_000,
                close_timeout_ms: 5_000,
            },
            compression: DeflateSettings {
                level: 1,
                threshold_bytes: 40,
            },
        }
    }
}

/// A frame that a client reads from its connection.
#[derive(Debug, Clone)]
pub(crate) enum Frame {
    Message(ServerMessage),
    Ping,
    Pong(Vec<u8>),
    Close(CloseCode, String),
}

/// One connection, and what its client got.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) shard: usize,
    pub(crate) id: Option<SessionId>,
    pub(crate) codec: Codec,
    pub(crate) variant: Variant,
    /// The number of compressed frames that it got.
    pub(crate) deflated: u64,
    /// The number of bytes that the socket still takes; `None` for no limit.
    pub(crate) room: Option<usize>,
    pub(crate) closed: Option<CloseCode>,
    next_request: u64,
    /// Requests to subscribe that were not answered yet, and answered ones that are not synced yet.
    subscribing: Vec<RequestId>,
    syncing: Vec<RequestId>,
    bytes: Vec<u8>,
    /// Frames that were read and not checked yet, with the times of their arrival.
    pub(crate) inbox: Vec<(Micros, Frame)>,
}

impl Client {
    /// A client of `shard` without a connection.
    fn new(shard: usize, variant: Variant) -> Self {
        Self {
            shard,
            id: None,
            codec: variant.codec(),
            variant,
            deflated: 0,
            room: None,
            closed: None,
            next_request: 0,
            subscribing: Vec::new(),
            syncing: Vec::new(),
            bytes: Vec::new(),
            inbox: Vec::new(),
        }
    }
}

/// Removes one `id` from the waiting ones, which may contain it more than once. Returns whether there was one.
fn take(waiting: &mut Vec<RequestId>, id: RequestId) -> bool {
    let at = waiting.iter().position(|waits| *waits == id);
    at.map(|at| waiting.remove(at)).is_some()
}

impl Client {
    /// Checks that each subscribe with an ack is synced once, behind its ack. Returns `false` if `frame` is such a
    /// `synced`.
    fn note_end(&mut self, frame: &Frame) -> bool {
        match frame {
            Frame::Message(ServerMessage::Control(Control::Ack { id, .. }))
                if take(&mut self.subscribing, *id) =>
            {
                self.syncing.push(*id);
            }
            Frame::Message(ServerMessage::Control(Control::Error { id: Some(id), .. })) => {
                take(&mut self.subscribing, *id);
            }
            Frame::Message(ServerMessage::Control(Control::Synced { id })) => {
                let acked = take(&mut self.syncing, *id);
                assert!(acked, "synced {id:?} comes once, behind its ack");
                return false;
            }
            _ => {}
        }
        true
    }
}

pub(crate) struct World {
    pub(crate) directory: Arc<Directory>,
    pub(crate) shards: Vec<Shard>,
    pub(crate) clients: Vec<Client>,
    pub(crate) now: Micros,
    inflater: Inflater,
    /// Whether `synced` is shown among the messages that clients got.
    pub(crate) shows_synced: bool,
    /// Clients whose connection the shard gave up, and when.
    pub(crate) gone: Vec<(Micros, usize)>,
    /// The archive, if there is one.
    pub(crate) archive: Option<Arc<FakeArchive>>,
}

impl World {
    pub(crate) fn new(setup: Setup) -> Self {
        let queues = (0..setup.shards)
            .map(|_| Arc::new(ShardQueue::new(setup.queue, Box::new(|| {}))))
            .collect();
        let limits = DirectoryLimits {
            topics_max: setup.topics,
            topics_per_key_max: setup.topics_per_key,
            history_bytes_max: setup.history_bytes,
            value_bytes_max: setup.value_bytes,
            replay_bytes_max: setup.replay_bytes,
            ..DirectoryLimits::default()
        };
        let kinds = Kinds::with_rules(setup.rules);
        let directory =
            Directory::new(Epoch::from(EPOCH), kinds, limits, queues).with_stale_rules(setup.stale);
        let directory = directory
            .with_epochs(setup.epochs)
            .with_expiry_rules(setup.expiry);
        let directory = Arc::new(directory);
        let shards = (0..setup.shards)
            .map(|shard| {
                Shard::new(ShardId(shard), directory.clone(), setup.settings.clone())
                    .with_compression(setup.compression)
            })
            .collect();
        Self {
            directory,
            shards,
            clients: Vec::new(),
            now: START,
            inflater: Inflater::new(),
            shows_synced: false,
            gone: Vec::new(),
            archive: None,
        }
    }

    /// Has `archive` keep what is published from now on.
    pub(crate) fn keep_in(&mut self, archive: Arc<FakeArchive>) {
        self.directory.set_archive(archive.clone());
        self.archive = Some(archive);
    }

    /// Has the archive answer what it was asked for first, and goes on.
    pub(crate) fn answer_archive(&mut self) {
        if let Some(archive) = &self.archive {
            archive.answer();
        }
        self.run();
        for client in &self.clients {
            if let Some(id) = client.id {
                self.shards[client.shard].finish(id, self.now);
            }
        }
        self.run();
    }

    /// Has the archive answer everything.
    pub(crate) fn settle_archive(&mut self) {
        self.run();
        while self.archive.as_ref().is_some_and(|archive| archive.waiting() > 0) {
            self.answer_archive();
        }
    }

    /// Opens a connection. Its welcome is read and checked.
    pub(crate) fn open(&mut self, shard: usize, variant: impl Into<Variant>, publish: Vec<Pattern>) -> usize {
        let client = self.clients.len();
        let variant = variant.into();
        self.clients.push(Client::new(shard, variant));
        self.connect(client, publish);
        client
    }

    /// Connects a client that has no connection.
    pub(crate) fn connect(&mut self, client: usize, publish: Vec<Pattern>) {
        let it = &mut self.clients[client];
        assert_eq!(it.id, None, "it is connected");
        let rights = Rc::new(Rights::open(publish));
        let id = self.shards[it.shard].open(it.variant, Transport::WebSocket, rights, self.now);
        *it = Client {
            id: Some(id),
            deflated: it.deflated,
            ..Client::new(it.shard, it.variant)
        };
        self.write(client);
        let (_, first) = self.clients[client].inbox.remove(0);
        assert!(
            matches!(
                &first,
                Frame::Message(ServerMessage::Control(Control::Welcome { .. }))
            ),
            "first of all a welcome, not {first:?}"
        );
    }

    /// Breaks the connection.
    pub(crate) fn disconnect(&mut self, client: usize) {
        let it = &mut self.clients[client];
        if let Some(id) = it.id.take() {
            self.shards[it.shard].remove(id);
        }
    }

    /// The id for a client's next request: 1, 2, 3, …
    pub(crate) fn next_request(&mut self, client: usize) -> RequestId {
        let it = &mut self.clients[client];
        it.next_request += 1;
        RequestId(it.next_request)
    }

    /// Makes the client subscribe to `pattern`, without options.
    pub(crate) fn subscribe(&mut self, client: usize, pattern: &str) {
        let request = Subscribe {
            id: self.next_request(client),
            topics: vec![TopicRequest::Pattern(pattern.to_owned())],
            mode: None,
            conflate_ms: None,
            snapshot: true,
        };
        self.request(client, &ClientMessage::Subscribe(request));
    }

    /// Sends a request of the client in its codec, so that decoding it is part of every test.
    pub(crate) fn request(&mut self, client: usize, request: &ClientMessage) {
        let mut bytes = Vec::new();
        self.clients[client].codec.encode_request(request, &mut bytes);
        self.send(client, &bytes);
    }

    /// Sends one message of the client.
    pub(crate) fn send(&mut self, client: usize, message: &[u8]) {
        let it = &mut self.clients[client];
        let Some(id) = it.id else { return };
        let shard = &mut self.shards[it.shard];
        shard.heard(id, self.now);
        match it.codec.receive(message) {
            Incoming::Publish(publish) => shard.publish(id, publish, self.now),
            Incoming::PackedPublish(publish) => shard.publish_packed(id, publish, self.now),
            Incoming::Other(request) => {
                if let Ok(ClientMessage::Subscribe(subscribe)) = &request {
                    it.subscribing.push(subscribe.id);
                }
                shard.request(id, request, self.now);
            }
        }
        while let Some(auth) = shard.next_auth() {
            match tokens::meaning(&auth.token, self.now) {
                Ok((rights, expires)) => {
                    shard.renew(auth.session, auth.request, Rc::new(rights), expires, self.now);
                }
                Err(refusal) => shard.refuse(auth.session, Some(auth.request), refusal, self.now),
            }
        }
    }

    pub(crate) fn publish(&self, topic: &str, data: &str) {
        let topic: Topic = topic.parse().expect("a topic");
        let payload = Payload::from_json(data.as_bytes()).expect("JSON");
        self.submit(Origin::Feed, &topic, payload).expect("published");
    }

    pub(crate) fn submit(
        &self,
        origin: Origin,
        topic: &Topic,
        payload: Payload,
    ) -> Result<Published, PublishError> {
        let ingress = Ingress::new(self.directory.clone());
        let published = ingress.submit(origin, topic, payload, self.now)?;
        if let Some(archive) = &self.archive
            && let Some(newest) = self.directory.find(topic.as_str()).and_then(|cell| cell.newest())
        {
            archive.keep(&newest);
        }
        Ok(published)
    }

    pub(crate) fn hand_out(&mut self, shard: usize, budget: usize) -> bool {
        self.shards[shard].hand_out(budget, self.now)
    }

    /// Drains all shards and writes all sessions until nothing moves.
    pub(crate) fn run(&mut self) {
        for shard in 0..self.shards.len() {
            while self.hand_out(shard, 1_000) {}
            self.write_dirty(shard);
        }
    }

    /// Looks for topics that are stale or have expired, as the server does from time to time.
    pub(crate) fn look(&self) {
        while self.directory.expire(self.now).is_some_and(|at| at <= self.now) {}
        while self
            .directory
            .look_for_stale(self.now)
            .is_some_and(|at| at <= self.now)
        {}
    }

    /// Writes every session of the shard that has something to write and can be written.
    pub(crate) fn write_dirty(&mut self, shard: usize) {
        while self.shards[shard].dirty_count() > 0 {
            // This is done as in the server: a batch is written once it is collected, and contains each session once.
            // The server's batches end sooner, but nothing may depend on that.
            let mut batch = Vec::new();
            while self.shards[shard].dirty_count() > 0 {
                batch.extend(self.shards[shard].next_dirty());
            }
            let distinct: BTreeSet<SessionId> = batch.iter().copied().collect();
            assert_eq!(
                distinct.len(),
                batch.len(),
                "a session is in a batch twice: {batch:?}"
            );
            for id in batch {
                let owner = |c: &Client| c.shard == shard && c.id == Some(id);
                if let Some(client) = self.clients.iter().position(owner) {
                    self.write(client);
                }
            }
        }
        while let Some(id) = self.shards[shard].next_gone() {
            let owner = |c: &Client| c.shard == shard && c.id == Some(id);
            let client = self
                .clients
                .iter()
                .position(owner)
                .expect("a session that is gone was there");
            self.disconnect(client);
            self.gone.push((self.now, client));
        }
        self.shards[shard].part();
    }

    /// Moves as many bytes as the client's socket takes, in one write as in the server, and reads them there.
    pub(crate) fn write(&mut self, client: usize) {
        let it = &mut self.clients[client];
        let Some(id) = it.id else { return };
        let shard = &mut self.shards[it.shard];
        let outbox = shard.outbox(id).expect("an open session has an outbox");
        let before = it.bytes.len();
        let room = it.room.unwrap_or(usize::MAX);
        for waiting in outbox.waiting() {
            let free = room - (it.bytes.len() - before);
            it.bytes
                .extend_from_slice(&waiting.bytes[..waiting.bytes.len().min(free)]);
        }
        let count = it.bytes.len() - before;
        it.room = it.room.map(|room| room - count);
        shard
            .wrote(id, count, self.now, |_| {})
            .expect("no more than waited");
        if it.room != Some(0) && shard.outbox(id).is_some_and(|outbox| !outbox.is_empty()) {
            shard.writable(id);
        }
        self.read(client);
    }

    /// Lets a client's socket take `room` more bytes, and writes them.
    pub(crate) fn make_room(&mut self, client: usize, room: Option<usize>) {
        let it = &mut self.clients[client];
        it.room = room.map(|room| room + it.room.unwrap_or(0));
        let shard = it.shard;
        if let Some(id) = it.id {
            self.shards[shard].writable(id);
        }
        self.write_dirty(shard);
    }

    /// Decodes the whole frames among the bytes that arrived.
    fn read(&mut self, client: usize) {
        let it = &mut self.clients[client];
        let mut at = 0;
        while let Some(length) = frame_length(&it.bytes[at..]) {
            assert_eq!(it.closed, None, "nothing follows a close frame");
            let bytes = &it.bytes[at..at + length];
            it.deflated += u64::from(is_deflated(bytes));
            let frame = decode(it.variant, bytes, &mut self.inflater);
            if let Frame::Close(code, _) = &frame {
                it.closed = Some(*code);
            }
            let shown = it.note_end(&frame) || self.shows_synced;
            if shown {
                it.inbox.push((self.now, frame));
            }
            at += length;
        }
        it.bytes.drain(..at);
    }

    /// Checks that every shard's ledger adds up and agrees with a look at everything, and that each client that has
    /// nothing more to get was told so for each request.
    pub(crate) fn check_ledgers(&self) {
        for client in &self.clients {
            let (Some(id), shard) = (client.id, &self.shards[client.shard]) else {
                continue;
            };
            // What a session lags behind with waits outside its outbox until its socket takes bytes.
            let takes_more = client.room != Some(0);
            let settled =
                takes_more && shard.is_open(id) && shard.unfinished(id).is_none() && shard.dirty_count() == 0;
            if settled && shard.outbox(id).is_some_and(Outbox::is_empty) {
                assert!(client.syncing.is_empty(), "{:?} are not synced", client.syncing);
            }
        }
        self.check_sums();
    }

    /// Checks that every shard's ledger adds up and agrees with a look at everything.
    pub(crate) fn check_sums(&self) {
        for shard in &self.shards {
            assert!(shard.sums_agree(), "what is exported is not what there is");
            let (ledger, audit) = (&shard.counts().ledger, shard.audit());
            assert!(
                audit.agrees_with(ledger),
                "{ledger:?} pending {}, but {audit:?}",
                ledger.pending()
            );
        }
    }

    /// Lets `ms` pass, and does everything at the time when it is due.
    pub(crate) fn wait_ms(&mut self, ms: u64) {
        let end = self.now.plus_ms(ms);
        loop {
            let due = self.shards.iter().filter_map(Shard::next_timeout).min();
            self.now = due.unwrap_or(end).clamp(self.now, end);
            for shard in 0..self.shards.len() {
                self.shards[shard].on_timeout(self.now);
                self.write_dirty(shard);
            }
            if due.is_none_or(|due| due > end) {
                self.now = end;
                return;
            }
        }
    }
}

/// The length of the first frame, if it is whole. A server frame is final, has no reserved bit and is not masked.
fn frame_length(bytes: &[u8]) -> Option<usize> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    assert_eq!(
        first & 0xb0,
        0x80,
        "FIN alone of the upper bits, and RSV1 of what is compressed"
    );
    assert_eq!(second & 0x80, 0, "server frames are not masked");
    let payload = match second {
        126 => u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
        127 => u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?),
        short => u64::from(short),
    };
    let length = header_len(bytes) + usize::try_from(payload).expect("a length that memory has room for");
    (bytes.len() >= length).then_some(length)
}

fn decode(variant: Variant, frame: &[u8], inflater: &mut Inflater) -> Frame {
    let codec = variant.codec();
    let mut payload = tickwire_wire::frame::payload_of(frame);
    if is_deflated(frame) {
        let window = variant.window().expect("a reader that takes compressed messages");
        let compressed = payload.len();
        payload = inflater.inflate(payload, 1 << 24).expect("a compressed message");
        assert!(
            WindowBits::for_message(payload.len()) <= window,
            "it has to fit in the window"
        );
        assert!(compressed < payload.len(), "compressed for nothing");
        assert_ne!(frame[0] & 0x8, 0x8, "control frames are not compressed");
    }
    match Opcode::from_bits(frame[0] & 0xf).expect("a known opcode") {
        opcode @ (Opcode::Text | Opcode::Binary) => {
            assert_eq!(opcode, codec.opcode());
            Frame::Message(codec.decode_server(payload).expect("a message of the protocol"))
        }
        Opcode::Ping => Frame::Ping,
        Opcode::Pong => Frame::Pong(payload.to_vec()),
        Opcode::Close => {
            let code = u16::from_be_bytes([payload[0], payload[1]]);
            let reason = String::from_utf8(payload[2..].to_vec()).expect("UTF-8");
            Frame::Close(CloseCode(code), reason)
        }
        Opcode::Continuation => panic!("server frames are never fragmented"),
    }
}
