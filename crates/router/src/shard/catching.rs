//! Requests with positions that this broker of a cluster has not reached: it asks how far the log goes, and catches up first.
//!
//! A client that comes from another broker may have seen more than this one. Judged at once, its position would be taken
//! for one of another lineage. So its request is held until everything has entered that the log had when it came, as a request
//! for which the [archive](super::searching) is asked.

use tickwire_wire::ClientMessage;
use tickwire_wire::message::{BadRequest, Position, Positions, Since};

use super::Shard;
use super::searching::FoundStarts;
use crate::directory::Directory;
use crate::session::SessionId;

impl Shard {
    /// Holds a request with a position that this broker has not reached. Otherwise returns it.
    pub(super) fn hold_to_catch_up(
        &mut self,
        id: SessionId,
        request: Result<ClientMessage, BadRequest>,
    ) -> Option<Result<ClientMessage, BadRequest>> {
        let Some(outlet) = self.directory.outlet().cloned() else {
            return Some(request);
        };
        let session = self.sessions.get(id).filter(|session| {
            session.is_open()
                && session.unfinished.is_none()
                && !session.subscriptions.beginnings.has_starts()
        });
        let generation = session.map(|session| session.generation);
        let is_ahead = request
            .as_ref()
            .is_ok_and(|request| self.directory.is_behind_request(request));
        let Some(generation) = generation.filter(|_| is_ahead) else {
            return Some(request);
        };
        let queue = self.directory.queue(self.id).clone();
        self.hold_while_searching(id, generation, request);
        outlet.catch_up(Box::new(move || {
            queue.push_starts(FoundStarts::caught_up(id, generation));
        }));
        None
    }
}

impl Directory {
    /// Whether a request has positions that are not reached here, or of epochs that are not known here.
    fn is_behind_request(&self, request: &ClientMessage) -> bool {
        match request {
            ClientMessage::Subscribe(subscribe) => {
                subscribe.topics.iter().any(|wanted| match wanted.since() {
                    Some(Since::One(position)) => self.is_behind(wanted.topic(), position),
                    Some(Since::Many(many)) => self.is_behind_many(many),
                    None => false,
                })
            }
            ClientMessage::Positions { since, .. } => self.is_behind_many(since),
            _ => false,
        }
    }

    fn is_behind_many(&self, many: &[Positions]) -> bool {
        many.iter().any(|lineage| {
            lineage.seqs.iter().any(|(topic, seq)| {
                let position = Position {
                    epoch: lineage.epoch.clone(),
                    seq: *seq,
                };
                self.is_behind(topic, &position)
            })
        })
    }

    /// Whether a position is not reached here, or of an epoch that is not known here. It may be one of another broker of the
    /// cluster.
    fn is_behind(&self, topic: &str, position: &Position) -> bool {
        match self.find(topic) {
            Some(cell) => {
                let at = cell.position();
                at.epoch != position.epoch || at.seq < position.seq
            }
            None => position.seq.0 > 0,
        }
    }
}
