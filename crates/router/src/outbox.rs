//! What waits for one connection: whole frames, control before data, each lane in the order it came.
//!
//! Data frames are shared, never copied in here. Bounded by bytes: whoever pushes looks at what waits of its sort first
//! or afterwards. A frame of which a part was written is always finished before anything else.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use tickwire_wire::Codec;
use tickwire_wire::codec::DataOp;
use tickwire_wire::frame::Opcode;

use crate::publication::{Publication, TopicId};

/// Items for which an empty lane keeps its memory.
const KEPT_ITEMS: usize = 8;

/// A publication as one shard hands it to its subscribers: counted without atomics.
#[derive(Debug)]
pub struct Fanout {
    /// What is sent.
    pub publication: Arc<Publication>,
    /// As which message.
    pub op: DataOp,
}

#[derive(Debug)]
enum Item {
    /// A publication as it came from the queue, and the length of its frame.
    Live(Rc<Fanout>, u32),
    /// A publication that was pulled from the directory because there was room, and the length of its frame.
    Pulled(Rc<Fanout>, u32),
    /// A gap before what is pulled next.
    Gap(TopicId, Box<[u8]>),
    /// The state of a topic's source.
    Status(TopicId, Rc<[u8]>),
    /// An answer to a request that must keep its place among the data.
    Answer(Box<[u8]>),
}

impl Item {
    fn bytes(&self, codec: Codec) -> &[u8] {
        match self {
            Self::Live(fanout, _) | Self::Pulled(fanout, _) => fanout.publication.frame(codec, fanout.op).0,
            Self::Gap(_, bytes) | Self::Answer(bytes) => bytes,
            Self::Status(_, bytes) => bytes,
        }
    }

    /// The length of its bytes, which must not need a look at them: it is asked for once more per delivery.
    fn len(&self) -> usize {
        match self {
            Self::Live(_, len) | Self::Pulled(_, len) => *len as usize,
            Self::Gap(_, bytes) | Self::Answer(bytes) => bytes.len(),
            Self::Status(_, bytes) => bytes.len(),
        }
    }

    fn fanout(&self) -> Option<&Fanout> {
        match self {
            Self::Live(fanout, _) | Self::Pulled(fanout, _) => Some(fanout),
            Self::Gap(..) | Self::Status(..) | Self::Answer(_) => None,
        }
    }

    fn topic(&self) -> Option<TopicId> {
        match self {
            Self::Live(fanout, _) | Self::Pulled(fanout, _) => Some(fanout.publication.lineage.id),
            Self::Gap(topic, _) | Self::Status(topic, _) => Some(*topic),
            Self::Answer(_) => None,
        }
    }
}

/// Bytes of the data lane by what they are.
#[derive(Debug, Default)]
struct Bytes {
    live: usize,
    pulled: usize,
    answers: usize,
}

impl Bytes {
    #[inline]
    fn of(&mut self, item: &Item) -> &mut usize {
        match item {
            Item::Live(..) | Item::Status(..) => &mut self.live,
            Item::Pulled(..) | Item::Gap(..) => &mut self.pulled,
            Item::Answer(_) => &mut self.answers,
        }
    }
}

/// Which lane the frame at the front of the socket is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Partial {
    None,
    Control,
    Data,
}

/// A frame to be written, with what it is.
#[derive(Debug, Clone, Copy)]
pub struct Waiting<'a> {
    /// The bytes that are still to be written.
    pub bytes: &'a [u8],
    /// The publication, if it is one.
    pub fanout: Option<&'a Fanout>,
}

/// The frames that wait for a connection.
#[derive(Debug)]
pub struct Outbox {
    codec: Codec,
    partial: Partial,
    /// Bytes of the front frame that were written.
    written: usize,
    control_bytes: usize,
    bytes: Bytes,
    control: VecDeque<Box<[u8]>>,
    data: VecDeque<Item>,
}

impl Outbox {
    /// An empty outbox of a connection that speaks `codec`.
    #[must_use]
    pub fn new(codec: Codec) -> Self {
        Self {
            codec,
            partial: Partial::None,
            written: 0,
            control_bytes: 0,
            bytes: Bytes::default(),
            control: VecDeque::new(),
            data: VecDeque::new(),
        }
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.control.is_empty() && self.data.is_empty()
    }

    /// Bytes that wait in the data lane, those of a frame begun included.
    #[must_use]
    pub fn data_bytes(&self) -> usize {
        self.bytes.live + self.bytes.pulled + self.bytes.answers
    }

    /// Bytes of publications and states that came by themselves: what tells that the client does not keep up. What was pulled in,
    /// at most a refill of it, is not among them.
    #[must_use]
    pub fn live_bytes(&self) -> usize {
        self.bytes.live
    }

    /// Bytes of control frames that wait.
    #[must_use]
    pub fn control_bytes(&self) -> usize {
        self.control_bytes
    }

    /// Bytes of answers that wait among the data.
    #[must_use]
    pub fn answer_bytes(&self) -> usize {
        self.bytes.answers
    }

    pub(crate) fn push_control(&mut self, frame: Box<[u8]>) {
        self.control_bytes += frame.len();
        self.control.push_back(frame);
    }

    /// Appends an answer that must keep its place among the data.
    pub(crate) fn push_answer(&mut self, frame: Box<[u8]>) {
        self.push(Item::Answer(frame));
    }

    /// Appends a publication whose frame has `len` bytes.
    #[inline]
    pub(crate) fn push_live(&mut self, fanout: Rc<Fanout>, len: usize) {
        self.push(Item::Live(fanout, short(len)));
    }

    /// Appends a publication that was pulled in and whose frame has `len` bytes.
    pub(crate) fn push_pulled(&mut self, fanout: Rc<Fanout>, len: usize) {
        self.push(Item::Pulled(fanout, short(len)));
    }

    /// Appends a gap of `topic`.
    pub(crate) fn push_gap(&mut self, topic: TopicId, frame: Box<[u8]>) {
        self.push(Item::Gap(topic, frame));
    }

    /// Appends the state of the source of `topic`.
    pub(crate) fn push_status(&mut self, topic: TopicId, frame: Rc<[u8]>) {
        self.push(Item::Status(topic, frame));
    }

    #[inline]
    fn push(&mut self, item: Item) {
        *self.bytes.of(&item) += item.len();
        self.data.push_back(item);
    }

    /// Drops the data frames about the topics that `gone` selects (answers are about none), but for a frame begun.
    /// Returns how many publications they were.
    pub(crate) fn purge(&mut self, mut gone: impl FnMut(Option<TopicId>) -> bool) -> u64 {
        let mut keep_first = self.partial == Partial::Data;
        let (bytes, mut dropped) = (&mut self.bytes, 0);
        self.data.retain(|item| {
            if std::mem::take(&mut keep_first) || !gone(item.topic()) {
                return true;
            }
            *bytes.of(item) -= item.len();
            dropped += u64::from(item.fanout().is_some());
            false
        });
        dropped
    }

    /// The waiting frames in the order they must be written.
    pub fn waiting(&self) -> impl Iterator<Item = Waiting<'_>> {
        let begun = usize::from(self.partial == Partial::Data);
        let codec = self.codec;
        let first = self
            .data
            .range(..begun)
            .map(move |item| waiting_data(item, codec));
        let control = self.control.iter().map(|frame| Waiting {
            bytes: frame,
            fanout: None,
        });
        let rest = self
            .data
            .range(begun..)
            .map(move |item| waiting_data(item, codec));
        first
            .chain(control)
            .chain(rest)
            .enumerate()
            .map(|(index, mut waiting)| {
                if index == 0 {
                    waiting.bytes = &waiting.bytes[self.written..];
                }
                waiting
            })
    }

    /// Takes note that `count` bytes of what [`Self::waiting`] gave were written; `done` gets each publication whose
    /// last byte was among them. Returns whether a message of the protocol was finished, pings and pongs being none.
    ///
    /// # Panics
    /// When that is more than waits.
    pub fn advance(&mut self, count: usize, mut done: impl FnMut(&Fanout)) -> bool {
        let (mut count, mut spoke) = (count + self.written, false);
        loop {
            let data_first = self.partial == Partial::Data || self.control.is_empty();
            let len = if data_first {
                let Some(item) = self.data.front() else {
                    assert_eq!(count, 0, "more was written than waited");
                    break;
                };
                let len = item.len();
                if count >= len {
                    spoke = true;
                    item.fanout().into_iter().for_each(&mut done);
                    *self.bytes.of(item) -= len;
                    self.data.pop_front();
                }
                len
            } else {
                let len = self.control[0].len();
                if count >= len {
                    spoke |= !is_ping_or_pong(&self.control[0]);
                    self.control.pop_front();
                    self.control_bytes -= len;
                }
                len
            };
            if count < len {
                self.partial = match (count, data_first) {
                    (0, _) => Partial::None,
                    (_, true) => Partial::Data,
                    (_, false) => Partial::Control,
                };
                break;
            }
            self.partial = Partial::None;
            count -= len;
        }
        self.written = count;
        self.shrink();
        spoke
    }

    /// An idle connection keeps no memory that a burst needed.
    fn shrink(&mut self) {
        if self.data.is_empty() && self.data.capacity() > KEPT_ITEMS {
            self.data = VecDeque::new();
        }
        if self.control.is_empty() && self.control.capacity() > 0 {
            self.control = VecDeque::new();
        }
    }
}

fn is_ping_or_pong(frame: &[u8]) -> bool {
    let opcode = frame.first().and_then(|first| Opcode::from_bits(first & 0x0f));
    matches!(opcode, Some(Opcode::Ping | Opcode::Pong))
}

/// A frame's length as an item keeps it. Books, the longest there are, are bounded far below it.
fn short(len: usize) -> u32 {
    u32::try_from(len).expect("a frame is shorter than 4 GiB")
}

fn waiting_data(item: &Item, codec: Codec) -> Waiting<'_> {
    Waiting {
        bytes: item.bytes(codec),
        fanout: item.fanout(),
    }
}
