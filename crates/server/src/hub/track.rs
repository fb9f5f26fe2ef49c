//! The positions of a stream of server-sent events in its topics, none of which is a wildcard.

use tickwire_router::{Directory, Reach, TopicId, Waiting};
use tickwire_wire::Seq;
use tickwire_wire::sse::Cursor;

/// A topic of a stream.
#[derive(Debug)]
enum Tracked {
    /// A topic by its name in the request, as long as no message of it has come.
    Named(Box<str>),
    Known(TopicId),
}

/// The positions of a stream.
#[derive(Debug)]
pub(crate) struct Track {
    topics: Vec<Tracked>,
    pub(crate) cursor: Cursor,
}

impl Track {
    /// The track of a stream that is at `cursor`, which has a position for each of `topics`.
    pub(crate) fn new(topics: Vec<String>, cursor: Cursor) -> Self {
        let topics = topics.into_iter().map(|topic| Tracked::Named(topic.into()));
        Self {
            topics: topics.collect(),
            cursor,
        }
    }

    /// The position of the stream after the waiting message, if the message changes it.
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

    /// Finds the index of a topic by its name.
    fn learn(&mut self, topic: TopicId, directory: &Directory) -> Option<usize> {
        let cell = directory.get(topic)?;
        let name = cell.topic().as_str();
        let is_named = |tracked: &Tracked| matches!(tracked, Tracked::Named(named) if **named == *name);
        let at = self.topics.iter().position(is_named)?;
        self.topics[at] = Tracked::Known(topic);
        Some(at)
    }
}
