//! One message on its way to its subscribers, encoded at most once per dialect.
//!
//! A publication never changes after it was made, except that its encoded frames and events are added on demand. It
//! never knows its receivers.

use std::ops::Deref;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use tickwire_wire::codec::{DataOp, Stamp};
use tickwire_wire::deflate::Deflater;
use tickwire_wire::frame::{DataMessage, Frames, Shared, payload_of};
use tickwire_wire::message::StaleReason;
use tickwire_wire::{Codec, Dialect, Epoch, Kind, Micros, Payload, Seq, Topic};

use crate::counts::Counts;
use crate::families::FamilyId;
use crate::memory::{Held, MESSAGE_OVERHEAD, Memory, MessagePlace, Moves};

/// A topic's number in its directory: from 0, in the order in which topics are made, never used again for another
/// topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub u32);

impl TopicId {
    /// The number as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The data that all messages of a topic share until its epoch changes.
#[derive(Debug)]
pub struct Lineage {
    /// The topic's number.
    pub id: TopicId,
    /// The topic's name.
    pub topic: Topic,
    /// The topic's kind.
    pub kind: Kind,
    /// The epoch of the sequence numbers.
    pub epoch: Epoch,
    /// The family in which its deliveries are accounted.
    pub family: FamilyId,
    /// The accounts that count the memory of the topic's messages.
    pub(crate) memory: Arc<Memory>,
}

/// A message with its place in its topic.
#[derive(Debug)]
pub struct Publication {
    /// The topic and epoch.
    pub lineage: Arc<Lineage>,
    /// The number in the topic.
    pub seq: Seq,
    /// Its time: when it was numbered, or the time that its publisher gave it.
    pub ts: Micros,
    /// When it entered the broker.
    pub entered: Micros,
    /// The content.
    pub payload: Payload,
    /// Why the book is in doubt from this message on.
    pub(crate) doubt: Option<StaleReason>,
    update: Frames,
    // Few publications are ever sent as a snapshot, so these frames are made on demand.
    snapshot: OnceLock<Box<Frames>>,
    held: Held,
}

impl Publication {
    /// A publication without frames that entered the broker at its time.
    #[must_use]
    pub fn new(lineage: Arc<Lineage>, seq: Seq, ts: Micros, payload: Payload) -> Self {
        Self {
            lineage,
            seq,
            ts,
            entered: ts,
            payload,
            doubt: None,
            update: Frames::default(),
            snapshot: OnceLock::new(),
            held: Held::default(),
        }
    }

    /// The same publication, marked as one of a book in doubt for the reason `doubt`.
    pub(crate) fn doubted(self, doubt: Option<StaleReason>) -> Self {
        Self { doubt, ..self }
    }

    /// The same publication, which entered the broker at `now`.
    pub(crate) fn entered(self, now: Micros) -> Self {
        Self { entered: now, ..self }
    }

    /// The same publication as its topic's value. Its data is counted when it joins the history.
    pub(crate) fn held_as_value(self) -> Self {
        Self {
            held: Held::value(),
            ..self
        }
    }

    /// The whole plain frame, including its header, for readers of `codec`.
    pub fn frame(&self, codec: Codec, op: DataOp) -> &[u8] {
        let shared = self.frames(op).plain(codec, self.message(op));
        self.count(&shared);
        shared.bytes
    }

    /// The message as JSON. Frames and events both contain this text.
    pub fn json(&self, op: DataOp) -> &[u8] {
        payload_of(self.frame(Codec::Json, op))
    }

    /// Appends the message as JSON. Unlike [`Self::json`] it keeps nothing, for readers that come once.
    pub fn write_json(&self, op: DataOp, out: &mut Vec<u8>) {
        let message = self.message(op);
        Codec::Json.encode_data(op, message.stamp, message.payload, out);
    }

    /// Makes the whole frame or event, including its header, for subscribers of `dialect`, unless it was made before.
    /// What is made is counted in `counts`. `deflater` compresses it if the dialect needs that. Returns its length.
    pub fn encode(&self, dialect: Dialect, op: DataOp, deflater: &mut Deflater, counts: &mut Counts) -> u32 {
        let frames = self.frames(op);
        let bytes = match frames.encoded(dialect) {
            Some(bytes) => bytes, // as for all receivers but the first
            None => {
                let shared = frames.encode(dialect, self.message(op), deflater);
                self.count(&shared);
                counts.encoded(op, &shared);
                shared.bytes
            }
        };
        // Books are the longest, and are bounded far below 4 GiB.
        u32::try_from(bytes.len()).unwrap_or(u32::MAX)
    }

    /// Counts the memory of new encodings.
    fn count(&self, shared: &Shared<'_>) {
        for encoded in shared.encoded.iter().flatten() {
            self.held
                .frame_made(encoded.frame_payload_bytes, &self.lineage.memory);
        }
    }

    /// The bytes that [`Self::encode`] has made.
    #[inline]
    #[must_use]
    pub fn encoded(&self, dialect: Dialect, op: DataOp) -> Option<&[u8]> {
        let frames = match op {
            DataOp::Update => &self.update,
            DataOp::Snapshot => &**self.snapshot.get()?,
        };
        frames.encoded(dialect)
    }

    fn frames(&self, op: DataOp) -> &Frames {
        match op {
            DataOp::Update => &self.update,
            DataOp::Snapshot => self.snapshot.get_or_init(Box::default),
        }
    }

    fn message(&self, op: DataOp) -> DataMessage<'_> {
        let stamp = Stamp {
            topic: self.lineage.topic.as_str(),
            epoch: &self.lineage.epoch,
            seq: self.seq,
            ts: self.ts,
        };
        let payload = &self.payload;
        DataMessage { op, stamp, payload }
    }

    /// Bytes of memory that it holds, without its frames.
    pub(crate) fn data_bytes(&self) -> usize {
        size_of::<Self>() + self.payload.heap_bytes() + MESSAGE_OVERHEAD
    }

    /// Bytes of memory that it holds, including the frames that were made.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.data_bytes() + self.held.frame_bytes()
    }

    /// Whether a frame of it was made.
    pub(crate) fn has_frames(&self) -> bool {
        self.held.frame_bytes() > 0
    }

    /// Whether a replay keeps it.
    pub(crate) fn is_pinned(&self) -> bool {
        self.held.is_pinned()
    }

    /// Records that its topic holds it at `place` from now on.
    pub(crate) fn move_to(&self, place: MessagePlace) {
        let mut moves = Moves::default();
        self.move_with(place, &mut moves);
        self.lineage.memory.record(&moves);
    }

    /// Does the same, but leaves it to the caller to record `moves`.
    pub(crate) fn move_with(&self, place: MessagePlace, moves: &mut Moves) {
        self.held.move_to(place, self.data_bytes(), moves);
    }

    /// Records one more replay that keeps it.
    pub(crate) fn pin(&self) {
        self.held.pin(self.data_bytes(), &self.lineage.memory);
    }

    /// Records one replay less that keeps it.
    pub(crate) fn unpin(&self) {
        self.held.unpin(self.data_bytes(), &self.lineage.memory);
    }

    /// The same message without frames.
    pub(crate) fn bare(&self) -> Self {
        let bare = Self::new(self.lineage.clone(), self.seq, self.ts, self.payload.clone());
        bare.doubted(self.doubt).entered(self.entered)
    }
}

/// A publication as the deliveries of one shard share it.
#[derive(Debug, Clone)]
#[expect(clippy::redundant_allocation, reason = "an `Rc` is counted without atomics")]
pub(crate) struct LocalPublication(Rc<Arc<Publication>>);

impl From<Arc<Publication>> for LocalPublication {
    fn from(publication: Arc<Publication>) -> Self {
        Self(publication.into())
    }
}

impl Deref for LocalPublication {
    type Target = Arc<Publication>;

    #[inline]
    fn deref(&self) -> &Arc<Publication> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use tickwire_wire::deflate::WindowBits;
    use tickwire_wire::frame::is_deflated;
    use tickwire_wire::market;
    use tickwire_wire::sse::Framing;
    use tickwire_wire::{PackedSlice, Variant};

    use super::*;

    /// The memory of a publication as far as it can be seen from outside, with all its update frames made.
    fn visible_bytes(publication: &Publication) -> usize {
        let mut deflater = Deflater::new(tickwire_wire::deflate::Settings {
            level: 1,
            threshold_bytes: 0,
        });
        let plain = Codec::ALL.map(|codec| publication.frame(codec, DataOp::Update).len());
        let mut encode = |dialect| {
            publication.encode(dialect, DataOp::Update, &mut deflater, &mut Counts::default());
            publication.encoded(dialect, DataOp::Update).expect("it was made")
        };
        let deflated = Codec::ALL.map(|codec| {
            let frame = encode(Variant::deflated(codec, WindowBits::MAX).into());
            if is_deflated(frame) { frame.len() } else { 0 }
        });
        let event = encode(Dialect::Sse(Framing::Chunked));
        let frames = plain.into_iter().chain(deflated).chain([event.len()]);
        size_of::<Publication>() + publication.payload.heap_bytes() + frames.sum::<usize>()
    }

    #[test]
    fn what_it_holds_is_counted_as_it_is_made() {
        let floats = format!("[{}1.5]", "1.5,".repeat(1_000));
        let packed = [&b"\xdc\x03\xe8"[..], &[0xc0; 1_000]].concat();
        let level = r#"["123456789.123456789","987654321.987654321"]"#;
        let book = format!(
            r#"{{"symbol":"S","bids":[{level}{}],"time":0}}"#,
            format!(",{level}").repeat(500)
        );
        let trade = r#"{"symbol":"A-LONG-SYMBOL","id":18446744073709551615,"price":"12345678901234.12345678901234",
            "size":"12345678901234.12345678901234","side":"sell","time":18446744073709551615}"#;
        let payloads = [
            Payload::from_json(b"0").expect("JSON"),
            Payload::from_json(floats.as_bytes()).expect("JSON"),
            Payload::Packed(PackedSlice::parse(&packed).expect("MessagePack").to_value()),
            Payload::Book(Box::new(
                serde_json::from_str::<market::Book>(&book).expect("a book"),
            )),
            Payload::Trade(Box::new(
                serde_json::from_str::<market::Trade>(trade).expect("a trade"),
            )),
        ];
        for (payload, topic) in payloads
            .into_iter()
            .flat_map(|p| [(p.clone(), "t".to_owned()), (p, "t".repeat(255))])
        {
            let lineage = Lineage {
                id: TopicId(0),
                topic: topic.parse().expect("a topic"),
                kind: Kind::Event,
                epoch: Epoch::from("e"),
                family: FamilyId::OTHER,
                memory: Arc::new(Memory::new(0, 0, 0)),
            };
            let publication = Publication::new(Arc::new(lineage), Seq(u64::MAX), Micros(u64::MAX), payload);
            let bare = size_of::<Publication>() + publication.payload.heap_bytes();
            for visible in [None, Some(visible_bytes as fn(&Publication) -> usize)] {
                let visible = visible.map_or(bare, |look| look(&publication));
                let counted = publication.memory_bytes();
                assert!(counted >= visible, "{counted} for {visible} bytes");
                assert!(counted <= visible + 400, "{counted} for {visible} bytes");
            }
        }
    }
}
