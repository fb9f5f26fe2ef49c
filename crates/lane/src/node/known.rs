//! What a node remembers of the log: the hashes of its newest entries, and the newest submission of each node that it decides.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::NodeId;
use super::submission::SubmissionNumber;
use crate::{Chain, Place, Position};

/// The number of entries whose hashes are remembered.
const RECENT: usize = 8_192;

/// The hashes of the newest entries.
#[derive(Debug, Default)]
pub(super) struct RecentEntries {
    /// They follow on each other, the newest last.
    places: VecDeque<Place>,
}

impl RecentEntries {
    /// Adds the entry behind the newest one.
    pub(super) fn push(&mut self, place: Place) {
        if self.places.len() == RECENT {
            self.places.pop_front();
        }
        self.places.push_back(place);
    }

    pub(super) fn clear(&mut self) {
        self.places.clear();
    }

    /// The hash of an entry, if it is remembered.
    pub(super) fn chain(&self, position: Position) -> Option<Chain> {
        let first = self.places.front()?.position.0;
        let at = usize::try_from(position.0.checked_sub(first)?).ok()?;
        self.places.get(at).map(|place| place.chain)
    }

    /// Whether the entry at a place has this hash; `None` if it is not remembered.
    pub(super) fn agrees(&self, place: Place) -> Option<bool> {
        self.chain(place.position).map(|chain| chain == place.chain)
    }
}

/// The number of nodes whose decisions are remembered.
const NODES: usize = 16_384;

/// The newest submission of each node that the log decides.
#[derive(Debug, Default, Clone)]
pub(super) struct Decisions {
    newest: FxHashMap<NodeId, (SubmissionNumber, Position)>,
}

impl Decisions {
    pub(super) fn of(&self, node: NodeId) -> Option<SubmissionNumber> {
        self.newest.get(&node).map(|(number, _)| *number)
    }

    pub(super) fn clear(&mut self) {
        self.newest.clear();
    }

    /// Records that the entry at `position` decides submissions of a node up to `number`. If there are too many nodes, the one
    /// is forgotten that nothing was heard of for the longest time.
    pub(super) fn decided(&mut self, node: NodeId, number: SubmissionNumber, position: Position) {
        let known = self.newest.entry(node).or_default();
        known.0 = known.0.max(number);
        known.1 = position;
        if self.newest.len() > NODES {
            let oldest = self.newest.iter().min_by_key(|(node, (_, at))| (*at, **node));
            if let Some(oldest) = oldest.map(|(node, _)| *node) {
                self.newest.remove(&oldest);
            }
        }
    }

    /// All of them, in the order of the nodes.
    pub(super) fn all(&self) -> Vec<(NodeId, SubmissionNumber, Position)> {
        let all = self.newest.iter();
        let mut all: Vec<_> = all.map(|(node, (number, at))| (*node, *number, *at)).collect();
        all.sort_unstable();
        all
    }
}
