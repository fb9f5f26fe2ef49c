//! The patterns that resume their topics, and the `synced` that ends what a request brings.

use rustc_hash::FxHashMap;
use tickwire_wire::Pattern;
use tickwire_wire::message::{AckResult, Position, Positions, RequestId, Since, TopicRequest};

use super::{BrokenPromise, Checker};

/// Positions that were sent ahead of a `subscribe`.
#[derive(Debug)]
pub(super) struct Ahead {
    /// The id of the request that sent them.
    pub(super) id: RequestId,
    /// The number of that request among those that were sent.
    pub(super) sent: u64,
    pub(super) since: Vec<Positions>,
}

/// A request that was acked and whose `synced` has not come.
#[derive(Debug)]
pub(super) struct Syncing {
    /// The request's topics and patterns.
    pub(super) topics: Vec<String>,
    pub(super) resuming: Vec<Resuming>,
}

/// A pattern that was to resume topics.
#[derive(Debug)]
pub(super) struct Resuming {
    pattern: String,
    /// The topics that it was to resume.
    topics: Vec<String>,
    /// How many topics were resumed, by the `ack`.
    resumed: usize,
    /// How many topics were not resumed, by the `ack`.
    not_resumed: usize,
}

impl Checker {
    /// Takes the positions that were sent before the answered `subscribe`, which was request number `sent`.
    pub(super) fn sent_ahead(&mut self, sent: u64) -> FxHashMap<String, Position> {
        let ahead = self.ahead.extract_if(.., |ahead| ahead.sent < sent);
        each_of(ahead.flat_map(|ahead| ahead.since)).collect()
    }

    /// An ack came for a pattern. The topics whose positions it was given go on from there, or a message says that they
    /// do not.
    pub(super) fn resume_pattern(
        &mut self,
        id: RequestId,
        request: &TopicRequest,
        result: &AckResult,
        ahead: &FxHashMap<String, Position>,
    ) -> Option<Resuming> {
        // A pattern that the connection has already, and one in mode `snapshot`, resume nothing. Their results have no
        // counts.
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
            // Another pattern may have brought the topic already.
            let mut others = self.wildcards.iter().filter(|w| w.pattern != pattern);
            let is_brought = others.any(|w| w.pattern.matches(topic));
            let track = self.topics.entry(topic.as_str().into()).or_default();
            if !track.live && !is_brought {
                track.resumed_by_pattern(id, since.clone());
                // The snapshots that the pattern asks for are those of its other topics.
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

    /// Checks a `synced`.
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

    /// Checks the counts in the `ack` of a pattern against the messages of its topics.
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

/// The topics of `lineages` with their positions.
fn each_of(lineages: impl Iterator<Item = Positions>) -> impl Iterator<Item = (String, Position)> {
    lineages.flat_map(|Positions { epoch, seqs }| {
        seqs.into_iter().map(move |(topic, seq)| {
            let epoch = epoch.clone();
            (topic, Position { epoch, seq })
        })
    })
}
