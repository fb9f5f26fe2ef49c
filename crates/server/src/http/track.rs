//! How far a stream of server-sent events has come in each of its topics, none of which is a wildcard.

use tickwire_router::{Directory, Reach, TopicId, Waiting};
use tickwire_wire::Seq;

use super::Cursor;

/// A topic of a stream.
#[derive(Debug)]
enum Tracked {
    /// As the request names it: nothing of it has come yet.
    Named(Box<str>),
    Known(TopicId),
}

/// How far a stream has come.
#[derive(Debug)]
pub(crate) struct Track {
    topics: Vec<Tracked>,
    pub(super) cursor: Cursor,
}

impl Track {
    /// The track of a stream that is at `cursor`, whose numbers are those of `topics`.
    pub(crate) fn new(topics: Vec<String>, cursor: Cursor) -> Self {
        let topics = topics.into_iter().map(|topic| Tracked::Named(topic.into()));
        Self {
            topics: topics.collect(),
            cursor,
        }
    }

    /// Where the stream stands once its client has the message that waits, if it says so.
    pub(crate) fn follow(&mut self, waiting: &Waiting<'_>, directory: &Directory) -> Option<&Cursor> {
        let (topic, seq) = match (waiting.fanout, waiting.reach) {
            (Some(fanout), _) => (fanout.publication.lineage.id, fanout.publication.seq),
            (None, Reach::To(topic, seq)) => (topic, seq),
            (None, Reach::Begins) => return Some(&self.cursor),
            (None, Reach::Nowhere) => return None,
        };
        self.advance(topic, seq, directory)
    }

    fn advance(&mut self, topic: TopicId, seq: Seq, directory: &Directory) -> Option<&Cursor> {
        let is_known = |tracked: &Tracked| matches!(tracked, Tracked::Known(known) if *known == topic);
        let at = match self.topics.iter().position(is_known) {
            Some(at) => at,
            None => self.learn(topic, directory)?,
        };
        self.cursor.0[at].seq = seq;
        Some(&self.cursor)
    }

    /// Finds the place of a topic by its name.
    fn learn(&mut self, topic: TopicId, directory: &Directory) -> Option<usize> {
        let cell = directory.get(topic)?;
        let name = cell.topic().as_str();
        let is_named = |tracked: &Tracked| matches!(tracked, Tracked::Named(named) if **named == *name);
        let at = self.topics.iter().position(is_named)?;
        self.topics[at] = Tracked::Known(topic);
        Some(at)
    }
}
