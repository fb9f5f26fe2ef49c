//! Tells the entries of a log to a directory of topics.

use std::sync::Arc;

use tickwire_feed::DeriveRule;
use tickwire_lane::{Declaration, Entry, Follower, KeptKey, LifeNumber, TopicState, Verdict};
use tickwire_router::{Directory, FeedMark, RestoredTopic, TopicCell};
use tickwire_wire::Micros;

use super::filling::{Filling, NotFilled};
use super::items::{feed_mark, known_key, written};
use crate::run::derived::Derived;

/// The messages that are told to a directory, in the order of the log.
pub(super) struct Replay {
    pub(super) directory: Arc<Directory>,
    pub(super) follower: Follower,
    pub(super) filling: Filling,
    /// The cells of the follower's lives.
    cells: Vec<Option<Arc<TopicCell>>>,
    pub(super) entries: u64,
    pub(super) messages: u64,
    now: Micros,
    /// Whether the last entry of the segment says that its writer stopped in order.
    pub(super) ended_cleanly: bool,
    /// The place of the newest message of the broker's own feed.
    pub(super) fed: Option<FeedMark>,
    /// What is derived of the messages.
    pub(super) derived: Derived,
}

impl Replay {
    pub(super) fn new(
        directory: Arc<Directory>,
        follower: Follower,
        now: Micros,
        derive: &[DeriveRule],
    ) -> Self {
        Self {
            filling: Filling::new(directory.clone(), now),
            directory,
            follower,
            cells: Vec::new(),
            entries: 0,
            messages: 0,
            now,
            ended_cleanly: false,
            fed: None,
            derived: Derived::new(derive),
        }
    }

    fn put(&mut self, life: LifeNumber, cell: Option<Arc<TopicCell>>) {
        if self.cells.len() <= life.0 {
            self.cells.resize(life.0 + 1, None);
        }
        self.cells[life.0] = cell;
    }

    /// Makes a topic that is declared by what begins at `offset` of the file.
    fn make(&mut self, offset: usize, declared: &Declaration) -> Result<Arc<TopicCell>, NotFilled> {
        if self.directory.find(declared.topic.as_str()).is_some() {
            // The end of its earlier life is gathered.
            self.filling.finish()?;
        }
        let made = self.directory.restore(&restored(declared));
        made.map_err(|refusal| self.filling.wrong(offset, refusal.reason))
    }

    /// Tells what a checkpoint has of a topic, which begins at `offset` of the file.
    pub(super) fn checkpointed(&mut self, offset: usize, state: &TopicState<'_>) -> Result<(), NotFilled> {
        self.messages += state.messages.len() as u64;
        let life = self.follower.restored(&state.topic);
        let cell = self.make(offset, &state.topic)?;
        self.filling.checkpointed((life, &cell), offset, state)?;
        self.put(life, Some(cell));
        Ok(())
    }

    /// Tells the entry at `offset` of the file.
    pub(super) fn entry(&mut self, offset: usize, frame: &[u8]) -> Result<(), NotFilled> {
        let wrong = |filling: &Filling, error: &dyn ToString| filling.wrong(offset, error.to_string());
        let entry = Entry::read(frame).map_err(|error| wrong(&self.filling, &error))?;
        let mut fresh = Vec::new();
        let known = self.cells.len();
        let followed = self.follower.entry(frame, &entry, |life, declaration| {
            if life.0 >= known {
                fresh.push((life, declaration.clone()));
            }
        });
        followed.map_err(|error| wrong(&self.filling, &error))?;
        for (life, declaration) in fresh {
            // Of a topic whose beginning is missing, nothing enters.
            let cell = match self.follower.has_beginning(life) {
                true => Some(self.make(offset, &declaration)?),
                false => None,
            };
            self.put(life, cell);
        }
        for item in &entry.items {
            self.fed = item.mark.map(feed_mark).or(self.fed);
            let verdict = self.follower.item(item);
            let verdict = verdict.map_err(|error| wrong(&self.filling, &error))?;
            let (Verdict::Enter(life) | Verdict::Known(life)) = verdict else {
                continue;
            };
            let Some(Some(cell)) = self.cells.get(life.0) else {
                continue;
            };
            if let Verdict::Enter(_) = verdict {
                self.messages += 1;
                match written(item) {
                    Some(message) => {
                        let taken = self.derived.take(cell, &message);
                        taken.map_err(|refusal| wrong(&self.filling, &refusal.reason))?;
                    }
                    None => self.derived.ended(cell),
                }
                self.filling.item((life, cell), offset, item)?;
            }
            if let Some(key) = item.key {
                let kept = KeptKey {
                    topic: cell.topic().as_str(),
                    key: key.text,
                    epoch: cell.described(item.seq).epoch,
                    seq: item.seq,
                    kind: cell.kind(),
                    at: key.at,
                };
                let known = known_key(&kept).map_err(|refusal| wrong(&self.filling, &refusal.reason))?;
                self.directory.restore_key(known, self.now);
            }
        }
        self.entries += 1;
        self.ended_cleanly = entry.flags.clean_end;
        Ok(())
    }
}

/// A topic as a log says it is.
fn restored(declared: &Declaration) -> RestoredTopic {
    RestoredTopic {
        topic: declared.topic.clone(),
        kind: declared.kind,
        epoch: Some((declared.epoch.clone(), declared.life)),
    }
}
