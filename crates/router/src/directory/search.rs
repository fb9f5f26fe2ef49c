//! How the topics of a pattern are found: at once, or a piece at a time while other topics are made.

use std::sync::Arc;

use tickwire_wire::Pattern;

use super::Directory;
use crate::cell::TopicCell;
use crate::publication::TopicId;
use crate::tree::TreeCursor;

/// A search that is done in pieces. It finds each topic that exists when it ends, and some of them more than once.
#[derive(Debug, Default)]
pub(crate) struct Search {
    cursor: TreeCursor,
    /// The next topic of the list to look at, after the tree. It starts at the one that was made next when the search
    /// began, since the search of the tree may lack later ones. `None` before the search has begun.
    listed: Option<TopicId>,
    /// How many topics had ended when it began.
    ended: u64,
}

impl Directory {
    /// The existing topics that match `pattern`, in the order in which they were made.
    #[must_use]
    pub fn matching(&self, pattern: &Pattern) -> Vec<Arc<TopicCell>> {
        if let Some(topic) = pattern.as_topic() {
            return self.find(topic.as_str()).into_iter().collect();
        }
        let topics = self.topics_read();
        let found = topics.tree.select(pattern).topics.into_iter();
        found.map(|id| topics.by_id[&id].clone()).collect()
    }

    /// Continues a search for the topics that match `pattern`, which must be the same in each call. Looks at up to
    /// about `most` topics. Returns how many these were, and whether `found` has been called with every topic that
    /// exists.
    ///
    /// The list of topics is locked meanwhile: `found` must not use a topic's state.
    pub(crate) fn search(
        &self,
        pattern: &Pattern,
        search: &mut Search,
        most: usize,
        mut found: impl FnMut(&Arc<TopicCell>),
    ) -> (usize, bool) {
        let topics = self.topics_read();
        let Search {
            cursor,
            listed,
            ended,
        } = search;
        let listed = listed.get_or_insert_with(|| {
            *ended = topics.ended;
            topics.next
        });
        let mut visited = 0;
        if !cursor.is_done() {
            visited = topics.tree.search(pattern, cursor, most, |id| {
                let cell = &topics.by_id[&id];
                // Another topic may be in the place of one that has ended since the search began.
                if *ended == topics.ended || pattern.matches(cell.topic().as_str()) {
                    found(cell);
                }
            });
        }
        if !cursor.is_done() {
            return (visited, false);
        }
        // Topics that were made meanwhile may be in branches that the search had left already.
        let mut rest = topics.by_id.range(*listed..);
        for (id, cell) in rest.by_ref().take(most.saturating_sub(visited)) {
            visited += 1;
            *listed = TopicId(id.0 + 1);
            if pattern.matches(cell.topic().as_str()) {
                found(cell);
            }
        }
        (visited, rest.next().is_none())
    }
}
