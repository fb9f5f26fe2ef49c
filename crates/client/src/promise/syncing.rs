//! Patterns that resume their topics, and the `synced` that ends what a request brings.

use rustc_hash::FxHashMap;
use tickwire_wire::Pattern;
use tickwire_wire::message::{AckResult, Position, Positions, RequestId, Since, TopicRequest};

use super::{BrokenPromise, Checker};

/// Positions that were sent ahead of a `subscribe`.
#[derive(Debug)]
pub(super) struct Ahead {
    /// The request that sent them.
    pub(super) id: RequestId,
    /// How many requests had been sent by then.
    pub(super) sent: u64,
    pub(super) since: Vec<Positions>,
}

/// A request that was acked and not synced.
#[derive(Debug)]
pub(super) struct Syncing {
    /// Its topics and patterns.
    pub(super) topics: Vec<String>,
    pub(super) resuming: Vec<Resuming>,
}

/// A pattern that was to resume topics.
#[derive(Debug)]
pub(super) struct Resuming {
    pattern: String,
    /// Those that it brought.
    topics: Vec<String>,
    /// How many the `ack` said were resumed.
    resumed: usize,
    /// How many it said were not.
    not_resumed: usize,
}

impl Checker {
    /// Takes the positions that were sent before the `subscribe` that is answered, the `sent`th request.
    pub(super) fn sent_ahead(&mut self, sent: u64) -> FxHashMap<String, Position> {
        let ahead = self.ahead.extract_if(.., |ahead| ahead.sent < sent);
        each_of(ahead.flat_map(|ahead| ahead.since)).collect()
    }

    /// A pattern was acked: the topics of which it was told where they were go on from there, or say so.
    pub(super) fn resume_pattern(
        &mut self,
        id: RequestId,
        request: &TopicRequest,
        result: &AckResult,
        ahead: &FxHashMap<String, Position>,
    ) -> Option<Resuming> {
        // A pattern that this connection has already, or of which snapshots are asked for, resumes nothing, and says nothing of it.
        let (resumed, not_resumed) = result.resumed.zip(result.not_resumed)?;
        let pattern: Pattern = request.topic().parse().ok()?;
        if !pattern.is_wildcard() || !self.wildcards.iter().any(|w| w.pattern == pattern) {
            return None;
        }
        let own = match request.since() {
            Some(Since::Many(lineages)) => each_of(lineages.iter().cloned()).collect(),
            _ => FxHashMap::default(),
        };
        let ahead = ahead.iter().filter(|(topic, _)| !own.contains_key(*topic));
        let given = own.iter().chain(ahead);
        let mut topics = Vec::new();
        for (topic, since) in given.filter(|(topic, _)| pattern.matches(topic)) {
            // Another one has brought it already, if it is there.
            let mut others = self.wildcards.iter().filter(|w| w.pattern != pattern);
            let is_brought = others.any(|w| w.pattern.matches(topic));
            let track = self.topics.entry(topic.as_str().into()).or_default();
            if !track.live && !is_brought {
                track.resumed_by_pattern(id, since.clone());
                // The snapshots that the pattern asks for are of its other topics.
                track.wildcard_acks_seen = self.wildcard_acks;
                track.cover(topic, &self.wildcards);
                self.book_goes_on(topic, since);
                topics.push(topic.clone());
            }
        }
        (!topics.is_empty()).then(|| Resuming {
            pattern: result.topic.clone(),
            topics,
            resumed,
            not_resumed,
        })
    }

    /// A `synced` came.
    pub(super) fn synced(&mut self, id: RequestId) -> Result<(), BrokenPromise> {
        let Some(Syncing { topics, resuming }) = self.syncing.remove(&id) else {
            return Err(BrokenPromise::UnknownSynced { id });
        };
        let owes = |topic: &String| {
            self.topics
                .get(topic.as_str())
                .is_some_and(|track| track.owes(id))
        };
        if let Some(topic) = topics.into_iter().find(owes) {
            return Err(BrokenPromise::SyncedEarly { topic, id });
        }
        resuming
            .into_iter()
            .try_for_each(|resuming| self.resumed_as_said(id, resuming))
    }

    /// Checks what an `ack` said of a pattern's topics against what came of them.
    fn resumed_as_said(&self, id: RequestId, resuming: Resuming) -> Result<(), BrokenPromise> {
        let shown = |resumed: bool| {
            let tracks = resuming.topics.iter();
            let tracks = tracks.filter_map(|topic| self.topics.get(topic.as_str()));
            tracks
                .filter(|track| track.resumed_by == Some(id) && track.was_resumed == Some(resumed))
                .count()
        };
        let said = [
            ("resumed", resuming.resumed, shown(true)),
            ("not resumed", resuming.not_resumed, shown(false)),
        ];
        match said.into_iter().find(|(_, said, shown)| shown > said) {
            Some((what, said, shown)) => Err(BrokenPromise::ResumeCount {
                pattern: resuming.pattern,
                what,
                said,
                shown,
            }),
            None => Ok(()),
        }
    }
}

/// The topics of lineages with their positions.
fn each_of(lineages: impl Iterator<Item = Positions>) -> impl Iterator<Item = (String, Position)> {
    lineages.flat_map(|Positions { epoch, seqs }| {
        seqs.into_iter().map(move |(topic, seq)| {
            let epoch = epoch.clone();
            (topic, Position { epoch, seq })
        })
    })
}
