//! Views: copies of topics that come later, for readers who may not see live data.
//!
//! A view reads its topics as an [`Observer`], holds each message for its delay, counted from when it entered the broker, and
//! publishes it then to the topic of the same name behind the view's prefix. Nothing of a message is visible before: the
//! copy's topic is made by its first message, and ends as much later as its source did.
//!
//! A copy has its source's number, in an epoch of its own. So where a message is missing there is a hole in the numbers, and
//! readers get a `gap`; and after a restart the view goes on behind the newest number of each copy. A book whose change is missing is
//! taken whole, as it is by then, and published its delay later.
//!
//! What is held is bounded in bytes. A view that is full takes no more messages until an eighth of that is free again. It
//! does not drop the oldest ones in their place: they are the next to be published, and a view that always drops these
//! publishes nothing.
//!
//! Never reads a clock.

mod copy;
mod lane;
mod rule;

use std::cmp::Reverse;
use std::sync::Arc;

use tickwire_wire::Micros;

use self::lane::Lane;
use crate::cell::TopicCell;
use crate::directory::Directory;
use crate::ingress::Ingress;
use crate::observer::Observer;
use crate::queue::ShardId;

pub use copy::held_message_bytes;
pub use rule::{NoViewPrefix, ViewPrefix, ViewRule};

/// The counts of all views.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ViewTally {
    /// Messages that are held now.
    pub held: u64,
    /// The bytes that these count.
    pub held_bytes: u64,
    /// Messages that were published.
    pub published: u64,
    /// Messages that were not held, because a view was full or they came too fast to be read.
    pub lost: u64,
    /// Messages that were not published, because a limit was reached or they do not fit their topic.
    pub refused: u64,
}

/// All views of a directory.
#[derive(Debug)]
pub struct Views {
    ingress: Ingress,
    observer: Observer,
    lanes: Vec<Lane>,
}

impl Views {
    /// Begins the views of `rules` at `now`. `id` is one of [`Directory::observers`]. Copies that exist go on behind their newest
    /// message.
    #[must_use]
    pub fn new(directory: &Arc<Directory>, id: ShardId, rules: Vec<ViewRule>, now: Micros) -> Self {
        let outputs: Arc<[ViewPrefix]> = rules.iter().map(|rule| rule.prefix.clone()).collect();
        let mut lanes: Vec<Lane> = rules.into_iter().map(|rule| Lane::new(rule, &outputs)).collect();
        for lane in &mut lanes {
            lane.end_orphans(directory, now);
        }
        let patterns = lanes.iter().map(|lane| lane.rule.pattern.clone()).collect();
        // Of several views of a topic, the one that is the furthest behind decides.
        let read = |cell: &TopicCell| {
            let starts = lanes.iter().filter_map(|lane| lane.start_of(cell, directory));
            starts.min()
        };
        let observer = Observer::behind(directory.clone(), id, patterns, read);
        let mut views = Self {
            ingress: Ingress::new(directory.clone()),
            observer,
            lanes,
        };
        let sources: Vec<_> = views.observer.positions().map(|(cell, _)| cell.clone()).collect();
        for lane in &mut views.lanes {
            for cell in &sources {
                lane.copy_of(cell, directory, now);
            }
        }
        views
    }

    /// Takes everything that waits in the observer's queue. Returns the number of messages that waited.
    pub fn observe(&mut self, now: Micros) -> usize {
        let Self {
            ingress,
            observer,
            lanes,
        } = self;
        let directory = ingress.directory();
        observer.observe(|observed| {
            for lane in &mut *lanes {
                lane.take(&observed, directory, now);
            }
        })
    }

    /// Publishes up to `max` messages of each view that are due at `now`. Returns whether more of them are left.
    pub fn publish_due(&mut self, now: Micros, max: usize) -> bool {
        let mut more = false;
        for lane in &mut self.lanes {
            more |= lane.publish_due(&self.ingress, now, max);
        }
        more
    }

    /// When the next message is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Micros> {
        let dues = self.lanes.iter().filter_map(|lane| lane.due.peek());
        dues.map(|Reverse((due, _))| *due).min()
    }

    /// The counts so far.
    #[must_use]
    pub fn tally(&self) -> ViewTally {
        let mut sum = ViewTally::default();
        for ViewTally {
            held,
            held_bytes,
            published,
            lost,
            refused,
        } in self.lanes.iter().map(|lane| lane.tally)
        {
            sum.held += held;
            sum.held_bytes += held_bytes;
            sum.published += published;
            sum.lost += lost;
            sum.refused += refused;
        }
        sum
    }

    /// The way into the topics.
    #[must_use]
    pub fn ingress(&self) -> &Ingress {
        &self.ingress
    }
}

#[cfg(test)]
mod tests;
