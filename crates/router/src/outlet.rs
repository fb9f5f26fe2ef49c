//! Messages on the way to whoever numbers them for several brokers, and the answers to their publishers.
//!
//! Publishers put them in, in the order in which they are to be numbered as far as they come from one thread. One thread takes
//! them out, has them numbered, and says what became of each, in the same order. Until then a message is not in any topic.
//!
//! The outlet is bounded in bytes, and what was taken out counts until it is settled. Publishers wait from [`WAIT_BYTES`] on,
//! and whoever does not wait is refused beyond [`MOST_BYTES`].

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tickwire_wire::message::{EndReason, PublishKey};
use tickwire_wire::{Epoch, ErrorCode, Kind, Micros, Payload, Refusal, Seq, Topic};

use crate::arrival::Arrival;
use crate::directory::Directory;
use crate::queue::{ShardId, WakeShard};
use crate::write_queue::Ticket;

/// The bytes that may wait before publishers do.
const WAIT_BYTES: usize = 4 * 1024 * 1024;
/// Most bytes that may wait.
const MOST_BYTES: usize = 16 * WAIT_BYTES;
/// Most bytes of the data of a message. A message of NATS has at most 1 MiB by default, and has others beside this one.
pub const OUTLET_MESSAGE_BYTES_MAX: usize = 768 * 1024;
/// The bytes that a message counts for beside its data.
const OUTGOING_BYTES: usize = 128;

/// The place that a message has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The epoch of its number.
    pub epoch: Epoch,
    /// Its number.
    pub seq: Seq,
    /// Whether it is that of an earlier message with the same key, and nothing was published.
    pub duplicate: bool,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutletAnswer {
    /// The number of the message in the outlet, from 1.
    pub number: u64,
    /// Its place, or why it has none.
    pub outcome: Result<Placed, Refusal>,
}

/// Is told what became of messages, in the order in which they were put in.
pub type Teller = Arc<dyn Fn(OutletAnswer) + Send + Sync>;

/// Who is told what became of a message.
#[derive(Clone)]
pub enum AnswerTo {
    /// Nobody.
    Nobody,
    /// A shard, for one of its sessions.
    Shard(ShardId),
    /// Somebody else.
    Teller(Teller),
}

impl fmt::Debug for AnswerTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("Nobody"),
            Self::Shard(shard) => f.debug_tuple("Shard").field(shard).finish(),
            Self::Teller(_) => f.write_str("Teller"),
        }
    }
}

/// What is to be done with a topic.
#[derive(Debug)]
pub enum Errand {
    /// A message is to be published, whose data has this number of bytes.
    Publish {
        /// The bytes of its data as JSON.
        text: usize,
        /// Its key, if it has one.
        key: Option<PublishKey>,
        /// The time that its publisher gives it.
        stamp: Option<Micros>,
    },
    /// The topic is to end.
    End(EndReason),
}

/// A message in the outlet.
#[derive(Debug)]
pub struct OutletItem {
    /// Its topic.
    pub topic: Topic,
    /// What is to be done.
    pub errand: Errand,
    /// Who is told what became of it.
    pub reply: AnswerTo,
}

impl OutletItem {
    /// The bytes that it counts for.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.errand {
            Errand::Publish { text, .. } => OUTGOING_BYTES + text,
            Errand::End(_) => OUTGOING_BYTES,
        }
    }
}

/// What was taken out of an outlet.
#[derive(Debug, Default)]
pub struct OutletBatch {
    /// The messages, in their order.
    pub outgoing: Vec<OutletItem>,
    /// The data of the messages as JSON, one behind the other.
    pub texts: Vec<u8>,
}

/// Is called when everything has entered that was numbered when it was handed in, or that takes too long.
pub type TellCaughtUp = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Inner {
    batch: OutletBatch,
    /// The number of the newest message.
    given: u64,
    /// Why nothing is taken, if that is so.
    refusing: Option<String>,
    /// Who waits until everything has entered that is numbered already.
    catching_up: Vec<TellCaughtUp>,
    awake: bool,
}

/// The outlet.
pub struct Outlet {
    inner: Mutex<Inner>,
    bytes: AtomicUsize,
    wake: WakeShard,
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Outlet {
    /// An empty outlet. `wake` wakes the thread that takes messages out; it is called at most once for each [`Self::take`].
    #[must_use]
    pub fn new(wake: WakeShard) -> Self {
        Self {
            inner: Mutex::default(),
            bytes: AtomicUsize::new(0),
            wake,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that holds the lock can panic half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes of what is not settled.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether publishers should wait before they hand in more.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.waiting_bytes() > WAIT_BYTES
    }

    /// Puts a message in.
    ///
    /// # Errors
    /// If nothing is taken, or too much waits.
    pub(crate) fn publish(
        &self,
        topic: &Topic,
        payload: &Payload,
        arrival: Arrival<'_>,
        reply: &AnswerTo,
    ) -> Result<Ticket, Refusal> {
        self.put(topic, reply, |texts| {
            let before = texts.len();
            payload.write_json(texts);
            let text = texts.len() - before;
            if text > OUTLET_MESSAGE_BYTES_MAX {
                texts.truncate(before);
                return Err(too_large(text));
            }
            Ok(Errand::Publish {
                text,
                key: arrival.key.cloned(),
                stamp: arrival.stamp,
            })
        })
    }

    /// Asks for the end of a topic.
    ///
    /// # Errors
    /// If nothing is taken, or too much waits.
    pub fn end(&self, topic: &Topic, reason: EndReason, reply: &AnswerTo) -> Result<(), Refusal> {
        self.put(topic, reply, |_| Ok(Errand::End(reason))).map(|_| ())
    }

    fn put(
        &self,
        topic: &Topic,
        reply: &AnswerTo,
        errand: impl FnOnce(&mut Vec<u8>) -> Result<Errand, Refusal>,
    ) -> Result<Ticket, Refusal> {
        if self.waiting_bytes() > MOST_BYTES {
            return Err(unavailable("too much waits for it"));
        }
        let mut guard = self.lock();
        let inner = &mut *guard;
        if let Some(reason) = &inner.refusing {
            return Err(unavailable(reason));
        }
        let outgoing = OutletItem {
            errand: errand(&mut inner.batch.texts)?,
            topic: topic.clone(),
            reply: reply.clone(),
        };
        self.bytes.fetch_add(outgoing.bytes(), Ordering::Relaxed);
        inner.batch.outgoing.push(outgoing);
        inner.given += 1;
        let number = inner.given;
        let wake = !std::mem::replace(&mut inner.awake, true);
        drop(guard);
        if wake {
            (self.wake)();
        }
        Ok(Ticket {
            number,
            generation: 0,
        })
    }

    /// Takes everything out in exchange for `empty`, whose memory is used again.
    pub fn take(&self, empty: &mut OutletBatch) {
        let mut inner = self.lock();
        std::mem::swap(&mut inner.batch, empty);
        inner.awake = false;
    }

    /// Calls `caught_up` when everything has entered here that is numbered now, wherever it was, or when that takes too long.
    pub fn catch_up(&self, caught_up: TellCaughtUp) {
        let wake = {
            let mut inner = self.lock();
            inner.catching_up.push(caught_up);
            !std::mem::replace(&mut inner.awake, true)
        };
        if wake {
            (self.wake)();
        }
    }

    /// Takes out those who wait until everything has entered. There are never more than sessions, each with one request.
    pub fn take_catching_up(&self) -> Vec<TellCaughtUp> {
        std::mem::take(&mut self.lock().catching_up)
    }

    /// Says that messages of so many bytes are settled.
    pub fn settled(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes no message for this reason, or takes messages again.
    pub fn refuse(&self, reason: Option<&str>) {
        self.lock().refusing = reason.map(str::to_owned);
    }

    /// Why nothing can be published, if that is so.
    #[must_use]
    pub fn refusing(&self) -> Option<String> {
        self.lock().refusing.clone()
    }
}

/// Answers that are gathered for the shards that wait for them.
#[derive(Debug, Default)]
pub struct Answers(Vec<Vec<OutletAnswer>>);

impl Answers {
    /// Tells whoever has put a message in what became of it. Shards are told by [`Self::flush`].
    pub fn tell(&mut self, reply: AnswerTo, settled: OutletAnswer) {
        match reply {
            AnswerTo::Nobody => {}
            AnswerTo::Teller(teller) => teller(settled),
            AnswerTo::Shard(ShardId(shard)) => {
                let at = usize::from(shard);
                if self.0.len() <= at {
                    self.0.resize_with(at + 1, Vec::new);
                }
                self.0[at].push(settled);
            }
        }
    }

    /// Tells the shards of `directory`.
    pub fn flush(&mut self, directory: &Directory) {
        for (shard, answers) in self.0.iter_mut().enumerate() {
            if !answers.is_empty() {
                directory.queues()[shard].push_settled(answers);
            }
        }
    }
}

fn too_large(bytes: usize) -> Refusal {
    let reason = format!(
        "the data has {bytes} bytes; the log of a cluster takes messages of at most {OUTLET_MESSAGE_BYTES_MAX}"
    );
    Refusal::new(ErrorCode::TooLarge, reason)
}

fn unavailable(reason: &str) -> Refusal {
    Refusal::new(
        ErrorCode::Internal,
        format!("the cluster does not take messages: {reason}; publish it again later"),
    )
}

/// A message that was put into an outlet, as its publisher knows it: its place comes with the answer.
pub(crate) fn submitted(epoch: Epoch, kind: Kind, ticket: Ticket) -> crate::Published {
    crate::Published {
        ticket: Some(ticket),
        ..crate::Published::before(epoch, Seq::ZERO, kind)
    }
}
