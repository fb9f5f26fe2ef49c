//! Tells the entries of a log to a directory of topics.

use std::sync::Arc;

use tickwire_lane::{Content, Declaration, Entry, Follower, Item, KeptKey, LifeNumber, Verdict};
use tickwire_router::{Ingress, Numbered, RestoredTopic, TopicCell};
use tickwire_wire::{Micros, market};

use super::items::{known_key, numbered};

/// The messages that are told to a directory, in the order of the log.
pub(super) struct Replay {
    pub(super) ingress: Ingress,
    pub(super) follower: Follower,
    /// The cells of the follower's lives.
    pub(super) cells: Vec<Option<Arc<TopicCell>>>,
    pub(super) entries: u64,
    pub(super) messages: u64,
    pub(super) now: Micros,
    /// Whether the last entry of the segment says that its writer stopped in order.
    pub(super) ended_cleanly: bool,
}

impl Replay {
    pub(super) fn put(&mut self, life: LifeNumber, cell: Option<Arc<TopicCell>>) {
        if self.cells.len() <= life.0 {
            self.cells.resize(life.0 + 1, None);
        }
        self.cells[life.0] = cell;
    }

    /// Tells an entry.
    pub(super) fn entry(&mut self, frame: &[u8]) -> Result<(), String> {
        let entry = Entry::read(frame).map_err(|error| error.to_string())?;
        let mut fresh = Vec::new();
        let known = self.cells.len();
        let follower = &mut self.follower;
        let followed = follower.entry(frame, &entry, |life, declaration| {
            if life.0 >= known {
                fresh.push((life, declaration.clone()));
            }
        });
        followed.map_err(|error| error.to_string())?;
        for (life, declaration) in fresh {
            // Of a topic whose beginning is missing, nothing enters.
            let cell = match self.follower.has_beginning(life) {
                true => {
                    let topic = restored(&declaration, None, Vec::new());
                    let made = self.ingress.directory().restore(topic, self.now);
                    Some(made.map_err(|error| error.to_string())?)
                }
                false => None,
            };
            self.put(life, cell);
        }
        for item in &entry.items {
            let verdict = self.follower.item(item).map_err(|error| error.to_string())?;
            let (Verdict::Enter(life) | Verdict::Known(life)) = verdict else {
                continue;
            };
            let Some(cell) = self.cells.get(life.0).cloned().flatten() else {
                continue;
            };
            if let Verdict::Enter(_) = verdict {
                self.enter(&cell, item)?;
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
                let known = known_key(&kept).map_err(|refusal| refusal.reason)?;
                self.ingress.directory().restore_key(known, self.now);
            }
        }
        self.entries += 1;
        self.ended_cleanly = entry.flags.clean_end;
        Ok(())
    }

    fn enter(&mut self, cell: &Arc<TopicCell>, item: &Item<'_>) -> Result<(), String> {
        if let Content::End(reason) = item.content {
            self.ingress.directory().end_written(cell, reason);
            return Ok(());
        }
        self.messages += 1;
        let message = numbered(item).map_err(|error| error.reason)?;
        let entered = self.ingress.apply(cell, message, self.now);
        entered
            .map(drop)
            .map_err(|error| format!("message {} of {}: {error}", item.seq, cell.topic()))
    }
}

/// A topic as a log says it is.
pub(super) fn restored(
    declared: &Declaration,
    book: Option<market::Book>,
    messages: Vec<Numbered>,
) -> RestoredTopic {
    RestoredTopic {
        topic: declared.topic.clone(),
        kind: declared.kind,
        epoch: Some((declared.epoch.clone(), declared.life)),
        head: declared.head,
        book,
        messages,
    }
}
