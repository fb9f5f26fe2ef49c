//! The positions of a stream of server-sent events in its topics, none of which is a wildcard.

use tickwire_wire::message::{AckResult, Position};
use tickwire_wire::sse::Cursor;
use tickwire_wire::{Epoch, Kind, Seq, Topic};

use crate::directory::Directory;
use crate::outbox::Reach;
use crate::outbox::Waiting;
use crate::planted::{Fault, is_planted};
use crate::publication::TopicId;

/// A topic of a stream.
#[derive(Debug)]
enum Tracked {
    /// A topic by its name in the request, as long as no message of it has come.
    Named(Box<str>),
    Known(TopicId),
}

/// The positions of a stream.
#[derive(Debug)]
pub struct Track {
    topics: Vec<Tracked>,
    cursor: Cursor,
}

/// A move of a stream from one position to the next.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// The topic, by its place in the request.
    at: usize,
    before: Seq,
    /// The life of the topic before, if the step led out of it.
    left: Option<Box<Left>>,
}

/// A life of a topic that a stream has come to the end of.
#[derive(Debug, Clone)]
struct Left {
    topic: Option<TopicId>,
    epoch: Epoch,
}

impl Track {
    /// The track of a stream before its first data, whose subscription has these results, one for each topic. `resumed`
    /// has the positions that were asked for. A client that is cut off there can resume without a loss.
    #[must_use]
    pub fn begin(resumed: Option<&Cursor>, results: &[AckResult], directory: &Directory) -> Self {
        let positions = results.iter().enumerate().map(|(at, result)| {
            let epoch = result.epoch.clone();
            let epoch = epoch.unwrap_or_else(|| directory.epoch_of(&result.topic));
            let asked = resumed.map(|cursor| &cursor.0[at]);
            let seq = begin_at(result, asked, &epoch, directory.kind_of(&result.topic));
            Position { epoch, seq }
        });
        let cursor = Cursor(positions.collect());
        let topics = results
            .iter()
            .map(|result| Tracked::Named(result.topic.as_str().into()));
        Self {
            topics: topics.collect(),
            cursor,
        }
    }

    /// The position of the stream.
    #[must_use]
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Moves the stream to its position after the waiting message. `None` if the message has no position.
    pub(super) fn follow(&mut self, waiting: &Waiting<'_>, directory: &Directory) -> Option<Step> {
        let name = waiting.name.map(Topic::as_str);
        match (waiting.delivery, waiting.reach) {
            (Some(delivery), _) => {
                let publication = delivery.publication();
                let lineage = &publication.lineage;
                let at = self.find(lineage.id, name, || Some(lineage.epoch.clone()))?;
                Some(self.advance(at, publication.seq))
            }
            (None, Reach::To(topic, seq)) => {
                let cell = directory.get(topic);
                let name = name.or_else(|| cell.as_ref().map(|cell| cell.topic().as_str()));
                let epoch = || cell.as_ref().map(|cell| cell.position().epoch);
                let at = self.find(topic, name, epoch)?;
                Some(self.advance(at, seq))
            }
            (None, Reach::End(topic)) => self.end(topic, name?, directory),
            (None, Reach::Begins | Reach::Unmoved) => Some(self.step(0)),
            (None, Reach::Nowhere) => None,
        }
    }

    /// Takes a step back. Of several, the last one is taken back first.
    pub(super) fn take_back(&mut self, step: Step) {
        let Step { at, before, left } = step;
        self.cursor.0[at].seq = before;
        if let Some(left) = left {
            self.cursor.0[at].epoch = left.epoch;
            if let Some(topic) = left.topic {
                self.topics[at] = Tracked::Known(topic);
            }
        }
    }

    /// The step from the position in the topic with this place in the request.
    fn step(&self, at: usize) -> Step {
        let before = self.cursor.0[at].seq;
        let left = None;
        Step { at, before, left }
    }

    fn advance(&mut self, at: usize, seq: Seq) -> Step {
        let step = self.step(at);
        self.cursor.0[at].seq = Seq(seq.0 + u64::from(is_planted(Fault::IdTooFar)));
        step
    }

    /// The step out of a topic that has ended: the stream stands before the topic's next life.
    fn end(&mut self, topic: TopicId, name: &str, directory: &Directory) -> Option<Step> {
        let at = self.find(topic, Some(name), || None)?;
        let epoch = directory.epoch_of(name);
        let before = std::mem::replace(
            &mut self.cursor.0[at],
            Position {
                epoch,
                seq: Seq::ZERO,
            },
        );
        let known = std::mem::replace(&mut self.topics[at], Tracked::Named(name.into()));
        let left = Box::new(Left {
            topic: match known {
                Tracked::Known(topic) => Some(topic),
                Tracked::Named(_) => None,
            },
            epoch: before.epoch,
        });
        Some(Step {
            at,
            before: before.seq,
            left: Some(left),
        })
    }

    /// The place of a topic in the request. If it was not known by its number, it is found by its name, and has the
    /// epoch that `epoch` gives.
    fn find(
        &mut self,
        topic: TopicId,
        name: Option<&str>,
        epoch: impl FnOnce() -> Option<Epoch>,
    ) -> Option<usize> {
        let is_known = |tracked: &Tracked| matches!(tracked, Tracked::Known(known) if *known == topic);
        if let Some(at) = self.topics.iter().position(is_known) {
            return Some(at);
        }
        let is_named = |tracked: &Tracked| matches!(tracked, Tracked::Named(named) if Some(&**named) == name);
        let at = self.topics.iter().position(is_named)?;
        if let Some(epoch) = epoch() {
            self.cursor.0[at].epoch = epoch;
        }
        self.topics[at] = Tracked::Known(topic);
        Some(at)
    }
}

/// The position in a topic of the epoch `epoch` before the first data of its subscription, which asked to be resumed from
/// `asked`.
fn begin_at(result: &AckResult, asked: Option<&Position>, epoch: &Epoch, kind: Kind) -> Seq {
    let head = result.seq.unwrap_or_default();
    match asked {
        Some(since) if since.epoch == *epoch && (result.error.is_some() || since.seq <= head) => since.seq,
        // A gap from the first message is next, which the client must get.
        Some(_) if kind == Kind::Event => Seq::ZERO,
        _ => before_snapshot(kind, head),
    }
}

/// The position from which a client without the snapshot at `head` will get the same value.
fn before_snapshot(kind: Kind, head: Seq) -> Seq {
    if is_planted(Fault::SnapshotTaken) {
        return head;
    }
    match kind {
        Kind::State | Kind::Event => Seq(head.0.saturating_sub(1)),
        // A change is not a whole book. So the client gets everything from the beginning, or a snapshot.
        Kind::Book => Seq::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::DirectoryLimits;
    use crate::epochs::EpochRule;
    use crate::kinds::Kinds;
    use tickwire_wire::Refusal;

    /// A directory whose topics `chat.>` have the epoch `f`, and the others `e`.
    fn directory() -> Directory {
        let rule = EpochRule {
            pattern: "chat.>".parse().expect("a pattern"),
            epoch: Epoch::from("f"),
        };
        let limits = DirectoryLimits::default();
        Directory::new("e".into(), Kinds::default(), limits, Vec::new()).with_epochs(vec![rule])
    }

    /// The answer to a subscription: the position of each topic, or `None` if it was refused.
    fn results(topics: &[(&str, Option<(&str, u64)>)]) -> Vec<AckResult> {
        let result = |(topic, at): &(&str, Option<(&str, u64)>)| AckResult {
            topic: (*topic).to_owned(),
            epoch: at.map(|(epoch, _)| Epoch::from(epoch)),
            seq: at.map(|(_, seq)| Seq(seq)),
            error: at.is_none().then(|| Refusal::bad_request("no")),
            ..AckResult::default()
        };
        topics.iter().map(result).collect()
    }

    #[test]
    fn a_stream_of_topics_of_two_epochs_was_resumed_in_one_for_all() {
        let answer = results(&[
            ("trade.A", Some(("e", 5))),
            ("chat.x", Some(("f", 7))),
            ("chat.y", None),
            ("book.B", Some(("e", 9))),
        ]);
        for (came_back_with, stands_at) in [
            (None, "e:4;f:6,0;e:0"),
            (Some("e:3;f:4,8;e:2"), "e:3;f:4,8;e:2"),
            // A number that is not reached yet belongs to another lineage, and so does one with the other topic's
            // epoch.
            (Some("e:6;f:8,8;e:10"), "e:0;f:0,8;e:0"),
            (Some("f:3;e:4,8;f:2"), "e:0;f:0,0;e:0"),
            (Some("e:3,4,8,2"), "e:3;f:0,0;e:2"),
        ] {
            let resumed = came_back_with.map(|id| id.parse().expect("an id"));
            let track = Track::begin(resumed.as_ref(), &answer, &directory());
            assert_eq!(track.cursor().to_string(), stands_at, "{came_back_with:?}");
        }
    }

    /// The client got the `ack` and was cut off before the gap. It came back to the message before the newest and was
    /// told that it had missed nothing.
    #[test]
    fn a_stream_that_was_cut_off_before_the_gap_of_another_lineage_never_got_it() {
        let answer = results(&[("trade.A", Some(("e", 5))), ("ticker.A", Some(("e", 5)))]);
        let resumed = "gone:2,2".parse().expect("an id");
        let track = Track::begin(Some(&resumed), &answer, &directory());
        assert_eq!(track.cursor().to_string(), "e:0,4");
    }
}
