//! The topics of a session that are replayed from a moment, as long as the client was not told that it has caught up.
//!
//! What a topic's history has is pulled from there. What it does not have any more is asked of the archive, a part at a time.
//! While a replay waits, for a part, for a place or for its pace, it is *parked*: it is not among the pulls of the session, and
//! has no turn until it is called back.
//!
//! A session reads [`READERS_MAX`] topics from the archive at a time, at most two parts of each: one that is being sent, and one that
//! was asked for. The other topics wait for their turn.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use tickwire_wire::{Micros, ReplaySpeed, Seq};

use crate::archive::{ArchiveFailed, ArchivedPart, Bookmark};
use crate::publication::TopicId;

/// The number of topics that a session reads from the archive at a time.
pub(crate) const READERS_MAX: usize = 8;

/// The pace of a replay.
#[derive(Debug, Clone, Copy)]
struct ReplayPace {
    speed: ReplaySpeed,
    /// When the first message was sent, and the time of that message.
    began: Option<(Micros, Micros)>,
    /// The last message that was sent when the next one was not due, and when that is.
    next: Option<(Seq, Micros)>,
}

/// What a parked replay waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplayWait {
    /// Nothing: it has its turns.
    Nothing,
    /// A part that was asked for.
    Part,
    /// A place to read from the archive.
    Place,
    /// The time of its next message.
    Until(Micros),
}

/// A topic that is replayed.
#[derive(Debug)]
pub(crate) struct Replayed {
    pace: Option<ReplayPace>,
    /// What was read and is not sent yet: at most two parts.
    parts: VecDeque<ArchivedPart>,
    /// The number of the request for a part that is not answered.
    asked: Option<u32>,
    bookmark: Bookmark,
    failed: bool,
    /// What it waits for. Then it is not among the pulls.
    pub(crate) waits: ReplayWait,
    /// Whether anything was taken from the parts since the last look.
    touched: bool,
}

impl Replayed {
    fn new(speed: Option<ReplaySpeed>) -> Self {
        Self {
            pace: speed.map(|speed| ReplayPace {
                speed,
                began: None,
                next: None,
            }),
            parts: VecDeque::new(),
            asked: None,
            bookmark: Bookmark::default(),
            failed: false,
            waits: ReplayWait::Nothing,
            touched: false,
        }
    }

    /// When the message behind `after` is due, whose time is `ts`, if it is not yet at `now`. The first message is due at once.
    pub(crate) fn due(&mut self, after: Seq, ts: Micros, now: Micros) -> Option<Micros> {
        let pace = self.pace.as_mut()?;
        let (began, first) = *pace.began.get_or_insert((now, ts));
        let at = Micros(began.0.saturating_add(pace.speed.scale(ts.since(first))));
        pace.next = (at > now).then_some((after, at));
        pace.next.map(|(_, at)| at)
    }

    /// When the message behind `after` is due, if that is known and later than `now`.
    pub(crate) fn known_due(&self, after: Seq, now: Micros) -> Option<Micros> {
        let (last, at) = self.pace.as_ref()?.next?;
        (last == after && at > now).then_some(at)
    }

    /// The part that goes on behind message `after`, if it was read. Parts that do not are dropped.
    pub(crate) fn part(&mut self, after: Seq) -> Option<&mut ArchivedPart> {
        while self
            .parts
            .front()
            .is_some_and(|part| part.after() != after || part.left() == 0 && part.through() == after)
        {
            self.parts.pop_front();
        }
        self.touched = true;
        self.parts.front_mut()
    }

    /// The message behind which to ask for the next part, if the one that is being sent ends soon and no other was asked for.
    pub(crate) fn next_ask(&self, most_left: usize) -> Option<Seq> {
        let part = self.parts.front()?;
        let is_needed = self.asked.is_none() && self.parts.len() == 1 && part.left() <= most_left;
        (is_needed && !self.failed).then_some(part.through())
    }

    /// Where the archive goes on.
    pub(crate) fn bookmark(&self) -> Bookmark {
        self.bookmark
    }

    /// Whether the archive has failed. Then the replay goes on with what the history has.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Records that a part was asked for, with this number.
    pub(crate) fn asks(&mut self, number: u32) {
        self.asked = Some(number);
    }

    /// Whether a part was asked for and has not come.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// Takes the answer to the request with this number. Returns whether it was waited for.
    pub(crate) fn answered(&mut self, number: u32, part: Result<ArchivedPart, ArchiveFailed>) -> bool {
        if self.asked != Some(number) {
            return false;
        }
        self.asked = None;
        self.touched = true;
        match part {
            Ok(part) => {
                self.bookmark = part.bookmark();
                self.parts.push_back(part);
            }
            Err(ArchiveFailed) => self.failed = true,
        }
        true
    }

    fn reads(&self) -> bool {
        self.asked.is_some() || !self.parts.is_empty()
    }
}

/// The replays of a session.
#[derive(Debug, Default)]
pub(crate) struct ReplayedTopics {
    topics: FxHashMap<TopicId, Replayed>,
    /// Those that read from the archive.
    readers: Vec<TopicId>,
    /// Those that wait until they may.
    waiting: VecDeque<TopicId>,
}

impl ReplayedTopics {
    pub(crate) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Records that a topic is replayed.
    pub(crate) fn begin(&mut self, topic: TopicId, speed: Option<ReplaySpeed>) {
        self.topics.entry(topic).or_insert_with(|| Replayed::new(speed));
    }

    pub(crate) fn get(&self, topic: TopicId) -> Option<&Replayed> {
        self.topics.get(&topic)
    }

    pub(crate) fn get_mut(&mut self, topic: TopicId) -> Option<&mut Replayed> {
        self.topics.get_mut(&topic)
    }

    /// Records that the replay of a topic is over. Returns whether there was one.
    pub(crate) fn end(&mut self, topic: TopicId) -> bool {
        self.readers.retain(|reader| *reader != topic);
        self.topics.remove(&topic).is_some()
    }

    /// Lets a topic read from the archive, if there are not too many already. Otherwise it waits for its turn, if it `waits`.
    pub(crate) fn may_read(&mut self, topic: TopicId, waits: bool) -> bool {
        if self.readers.contains(&topic) {
            return true;
        }
        if self.readers.len() < READERS_MAX {
            self.readers.push(topic);
            return true;
        }
        if waits {
            self.wait(topic);
        }
        false
    }

    /// Has a topic wait until it may read from the archive.
    pub(crate) fn wait(&mut self, topic: TopicId) {
        if !self.waiting.contains(&topic) {
            self.waiting.push_back(topic);
        }
    }

    /// Records that a topic needs nothing more from the archive.
    pub(crate) fn stops_reading(&mut self, topic: TopicId) {
        self.readers.retain(|reader| *reader != topic);
    }

    /// The next topic that waited and may read now.
    pub(crate) fn next_waiting(&mut self) -> Option<TopicId> {
        if self.readers.len() >= READERS_MAX {
            return None;
        }
        self.waiting.pop_front()
    }

    /// Gives up the parts of topics of which nothing was taken since the last look: their client does not read, or their pace
    /// is slow. They can be read again.
    pub(crate) fn give_up_idle(&mut self) {
        let Self { topics, readers, .. } = self;
        readers.retain(|topic| {
            let Some(replayed) = topics.get_mut(topic) else {
                return false;
            };
            if !std::mem::take(&mut replayed.touched) && !replayed.is_asked() {
                replayed.parts.clear();
            }
            replayed.reads()
        });
    }

    /// Whether it reads from the archive, or waits for that.
    pub(crate) fn reads(&self) -> bool {
        !self.readers.is_empty() || !self.waiting.is_empty()
    }

    /// The topics that are parked.
    pub(crate) fn parked(&self) -> impl Iterator<Item = TopicId> {
        let parked = |replayed: &Replayed| replayed.waits != ReplayWait::Nothing;
        let topics = self.topics.iter().filter(move |(_, replayed)| parked(replayed));
        topics.map(|(topic, _)| *topic)
    }
}
