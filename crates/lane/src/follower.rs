//! The follower of a log: it says of each entry and item whether it is the next, known, or behind something missing.
//!
//! It keeps the newest number of each topic. A checkpoint is made while messages come, topic by topic. So it may be ahead
//! of the entries behind it, whose items are then known. A topic that ended before the checkpoint came to it is not
//! in there, or only its next life is. Its items are passed over, and its end must follow.

use rustc_hash::FxHashMap;
use thiserror::Error;
use tickwire_wire::{Epoch, Seq, Topic};

use crate::entry::{Declaration, Entry};
use crate::message::{Content, Item};
use crate::segment::SegmentHead;
use crate::{Chain, Place, Position};

/// Why an entry or an item is not the next.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FollowError {
    /// Entries are missing, or come again.
    #[error("entry {expected} is expected, and {found} found")]
    Hole {
        /// The next position.
        expected: Position,
        /// The position that was found.
        found: Position,
    },
    /// The entry was made behind another one than that before it.
    #[error("entry {0} was written behind another entry than the one before it")]
    Chain(Position),
    /// The entry is of another epoch.
    #[error("epoch {found} follows on epoch {expected}")]
    Epoch {
        /// The epoch up to here.
        expected: Epoch,
        /// The epoch that was found.
        found: Epoch,
    },
    /// An item names a topic that was not declared.
    #[error("topic number {0} was not declared")]
    Undeclared(u32),
    /// Messages of a topic are missing.
    #[error("message {seq} of {topic} follows on {after}, and the newest is {head}")]
    TopicHole {
        /// The topic.
        topic: Topic,
        /// The newest message that is known.
        head: Seq,
        /// The message that should be before the one that was found.
        after: Seq,
        /// The message that was found.
        seq: Seq,
    },
    /// The beginning of a topic is missing, and its end did not come.
    #[error("the messages of {0} before this part of the log are missing")]
    Headless(Topic),
}

/// Where a follower begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Behind a checkpoint, whose topics it is told.
    Checkpoint,
    /// Anywhere. Topics begin where their declarations say.
    Anywhere,
}

/// What an item is to its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the next of this topic's life.
    Enter(LifeNumber),
    /// This topic's life has it already.
    Known(LifeNumber),
    /// Its topic's beginning is not there, as the topic had ended when the checkpoint was made.
    Passed,
}

/// A topic's life in the order in which the follower has met them, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LifeNumber(pub usize);

#[derive(Debug)]
struct Life {
    topic: Topic,
    head: Seq,
    has_beginning: bool,
    has_ended: bool,
}

/// Follows a log.
#[derive(Debug)]
pub struct Follower {
    start: Start,
    place: Place,
    epoch: Option<Epoch>,
    lives: Vec<Life>,
    by_name: FxHashMap<(Topic, Epoch), LifeNumber>,
    /// The lives of topics that the checkpoint has.
    restored: FxHashMap<Topic, u32>,
    /// The lives of the segment's topics, by their numbers.
    declared: Vec<LifeNumber>,
}

impl Follower {
    /// A follower that begins behind `place`.
    #[must_use]
    pub fn new(start: Start, place: Place, epoch: Option<Epoch>) -> Self {
        Self {
            start,
            place,
            epoch,
            lives: Vec::new(),
            by_name: FxHashMap::default(),
            restored: FxHashMap::default(),
            declared: Vec::new(),
        }
    }

    /// The place behind what it has followed.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }

    /// Tells it of a topic that a checkpoint has.
    pub fn restored(&mut self, topic: &Declaration) -> LifeNumber {
        self.restored.insert(topic.topic.clone(), topic.life);
        self.life(topic.topic.clone(), topic.epoch.clone(), topic.head, true)
    }

    /// Whether everything of a life is there. Otherwise its items are passed over.
    #[must_use]
    pub fn has_beginning(&self, life: LifeNumber) -> bool {
        self.lives.get(life.0).is_some_and(|life| life.has_beginning)
    }

    fn life(&mut self, topic: Topic, epoch: Epoch, head: Seq, has_beginning: bool) -> LifeNumber {
        let number = LifeNumber(self.lives.len());
        self.lives.push(Life {
            topic: topic.clone(),
            head,
            has_beginning,
            has_ended: false,
        });
        self.by_name.insert((topic, epoch), number);
        number
    }

    /// Goes on with a segment.
    ///
    /// # Errors
    /// If it does not follow on what is before it.
    pub fn begin_segment(&mut self, head: &SegmentHead) -> Result<(), FollowError> {
        let begins = self.start == Start::Anywhere && (head.begins_epoch || self.epoch.is_none());
        if begins {
            *self = Self::new(self.start, head.place, Some(head.epoch.clone()));
        }
        self.check_epoch(&head.epoch)?;
        let (expected, found) = (self.place.position.next(), head.place.position.next());
        if expected != found {
            return Err(FollowError::Hole { expected, found });
        }
        if self.place.chain != head.place.chain {
            return Err(FollowError::Chain(found));
        }
        self.declared.clear();
        Ok(())
    }

    fn check_epoch(&self, found: &Epoch) -> Result<(), FollowError> {
        match &self.epoch {
            Some(expected) if expected != found => Err(FollowError::Epoch {
                expected: expected.clone(),
                found: found.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Goes on with an entry, whose bytes are `frame`. Its items are judged by [`Self::item`]. `declare` is told each of
    /// its topics with its life.
    ///
    /// # Errors
    /// If it does not follow on the entry before it.
    pub fn entry(
        &mut self,
        frame: &[u8],
        entry: &Entry<'_>,
        mut declare: impl FnMut(LifeNumber, &Declaration),
    ) -> Result<(), FollowError> {
        let position = self.place.position.next();
        if entry.prev != self.place.chain {
            return Err(FollowError::Chain(position));
        }
        self.check_epoch(&entry.epoch)?;
        for declaration in &entry.declared {
            let number = self.declare(declaration)?;
            declare(number, declaration);
        }
        self.place = Place {
            position,
            chain: Chain::of(frame),
        };
        Ok(())
    }

    fn declare(&mut self, declaration: &Declaration) -> Result<LifeNumber, FollowError> {
        let Declaration {
            topic, epoch, head, ..
        } = declaration;
        let known = self.by_name.get(&(topic.clone(), epoch.clone())).copied();
        let number = match known {
            Some(number) if self.lives[number.0].has_beginning && self.lives[number.0].head < *head => {
                return Err(FollowError::TopicHole {
                    topic: topic.clone(),
                    head: self.lives[number.0].head,
                    after: *head,
                    seq: head.next(),
                });
            }
            Some(number) => number,
            None => {
                // It had ended when the checkpoint came to its name.
                let is_over = self
                    .restored
                    .get(topic)
                    .is_some_and(|later| *later > declaration.life);
                let has_beginning = self.start == Start::Anywhere || *head == Seq::ZERO && !is_over;
                self.life(topic.clone(), epoch.clone(), *head, has_beginning)
            }
        };
        self.declared.push(number);
        Ok(number)
    }

    /// Judges an item of the entry that was followed last.
    ///
    /// # Errors
    /// If it does not follow on its topic's newest message.
    pub fn item(&mut self, item: &Item<'_>) -> Result<Verdict, FollowError> {
        let undeclared = FollowError::Undeclared(item.topic.0);
        let number = *self.declared.get(item.topic.0 as usize).ok_or(undeclared)?;
        let life = &mut self.lives[number.0];
        let is_end = matches!(item.content, Content::End(_));
        if !life.has_beginning {
            life.has_ended |= is_end;
            return Ok(Verdict::Passed);
        }
        let is_known = if is_end {
            life.has_ended
        } else {
            item.seq <= life.head
        };
        if is_known {
            return Ok(Verdict::Known(number));
        }
        let needs_none = matches!(item.content, Content::Whole(_) | Content::Gap(_));
        if life.has_ended || item.after != life.head && !needs_none {
            return Err(FollowError::TopicHole {
                topic: life.topic.clone(),
                head: life.head,
                after: item.after,
                seq: item.seq,
            });
        }
        life.head = item.seq;
        life.has_ended = is_end;
        Ok(Verdict::Enter(number))
    }

    /// Checks, at the end of the log, that nothing is missing of the topics that have not ended.
    ///
    /// # Errors
    /// The first topic whose beginning is missing.
    pub fn finish(&self) -> Result<(), FollowError> {
        let mut lives = self.lives.iter();
        match lives.find(|life| !life.has_beginning && !life.has_ended) {
            Some(life) => Err(FollowError::Headless(life.topic.clone())),
            None => Ok(()),
        }
    }
}
