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
    cursor: Cursor,
}

/// A move of a stream from one position to the next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// The topic, by its place in the request.
    at: usize,
    before: Seq,
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

    /// The position of the stream.
    pub(crate) fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Moves the stream to its position after the waiting message. `None` if the message has no position.
    pub(super) fn follow(&mut self, waiting: &Waiting<'_>, directory: &Directory) -> Option<Step> {
        let (topic, seq) = match (waiting.fanout, waiting.reach) {
            (Some(fanout), _) => (fanout.publication.lineage.id, fanout.publication.seq),
            (None, Reach::To(topic, seq)) => (topic, seq),
            // It says where the stream is already.
            (None, Reach::Begins) => return Some(self.step(0)),
            (None, Reach::Nowhere) => return None,
        };
        self.advance(topic, seq, directory)
    }

    /// Takes a step back. Of several, the last one is taken back first.
    pub(super) fn take_back(&mut self, step: Step) {
        self.cursor.0[step.at].seq = step.before;
    }

    /// The step from the position in the topic with this place in the request.
    fn step(&self, at: usize) -> Step {
        let before = self.cursor.0[at].seq;
        Step { at, before }
    }

    fn advance(&mut self, topic: TopicId, seq: Seq, directory: &Directory) -> Option<Step> {
        let is_known = |tracked: &Tracked| matches!(tracked, Tracked::Known(known) if *known == topic);
        let at = match self.topics.iter().position(is_known) {
            Some(at) => at,
            None => self.learn(topic, directory)?,
        };
        let step = self.step(at);
        self.cursor.0[at].seq = seq;
        Some(step)
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
