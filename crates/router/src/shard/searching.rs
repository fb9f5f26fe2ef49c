//! Requests for replays that begin before the histories: the archive is asked first where they begin.
//!
//! The `ack` says where a replay begins. So such a request is held until the archive has answered, as a request behind
//! publications that are being written is. Nothing behind it is read meanwhile, so answers stay in the order of the requests.

use rustc_hash::FxHashMap;
use tickwire_wire::message::{BadRequest, Subscribe};
use tickwire_wire::{ClientMessage, Micros, Moment, Pattern};

use super::Shard;
use crate::archive::{ArchiveFailed, ArchiveReply, ArchivedStart, WantedStart};
use crate::publication::TopicId;
use crate::session::SessionId;

/// Where the replays of a request begin, on the way to its session.
#[derive(Debug)]
pub(crate) struct FoundStarts {
    session: SessionId,
    generation: u32,
    wanted: Vec<(TopicId, Micros)>,
    found: Result<Vec<ArchivedStart>, ArchiveFailed>,
}

impl FoundStarts {
    /// What a request waits for that has no replays: everything has entered.
    pub(super) fn caught_up(session: SessionId, generation: u32) -> Self {
        Self {
            session,
            generation,
            wanted: Vec::new(),
            found: Ok(Vec::new()),
        }
    }
}

impl Shard {
    /// Holds a request if the archive must say first where its replays begin. Otherwise returns it.
    pub(super) fn hold_for_starts(
        &mut self,
        id: SessionId,
        request: Result<ClientMessage, BadRequest>,
    ) -> Option<Result<ClientMessage, BadRequest>> {
        let Ok(ClientMessage::Subscribe(subscribe)) = &request else {
            return Some(request);
        };
        let wanted = self.starts_wanted(id, subscribe);
        let session = self.sessions.open(id).filter(|_| !wanted.is_empty());
        let generation = session.map(|session| session.generation);
        let (Some(archive), Some(generation)) = (self.directory.archive(), generation) else {
            return Some(request);
        };
        let queue = self.directory.queue(self.id).clone();
        let names = wanted
            .iter()
            .map(|start| (start.cell.id(), start.moment))
            .collect();
        let reply = ArchiveReply::new(move |found| {
            queue.push_starts(FoundStarts {
                session: id,
                generation,
                wanted: names,
                found,
            });
        });
        let archive = archive.clone();
        self.hold_while_searching(id, generation, request);
        archive.locate(wanted, reply);
        None
    }

    /// The replays of a request that begin before the histories, if the archive was not asked yet.
    fn starts_wanted(&self, id: SessionId, subscribe: &Subscribe) -> Vec<WantedStart> {
        let session = self.sessions.get(id).filter(|session| session.is_open());
        let may_ask = |session: &&crate::session::Session| {
            self.directory.archive().is_some()
                && session.unfinished.is_none()
                && !session.subscriptions.beginnings.has_starts()
                && subscribe.topics.len() <= self.subscriptions_max(id)
        };
        let Some(session) = session.filter(may_ask) else {
            return Vec::new();
        };
        let topics = subscribe.topics.iter();
        let starts = topics.filter_map(|wanted| {
            let Moment(moment) = wanted.from()?;
            let pattern: Pattern = wanted.topic().parse().ok()?;
            session.rights.check_subscribe(&pattern).ok()?;
            let cell = self.directory.find(wanted.topic())?;
            cell.lacks_from(moment).then_some(WantedStart { cell, moment })
        });
        starts.collect()
    }

    /// Keeps for sessions what the archive has answered. Their requests go on in their turn.
    pub(super) fn take_starts(&mut self) {
        for answer in std::mem::take(&mut self.inbox.starts) {
            let FoundStarts {
                session,
                generation,
                wanted,
                found,
            } = answer;
            if !self.has_searched(session, generation) {
                continue;
            }
            let found = found.unwrap_or_default();
            let starts: FxHashMap<_, _> = wanted.into_iter().zip(found).collect();
            if let Some(session) = self.sessions.open(session) {
                session.subscriptions.beginnings.keep_starts(starts);
            }
        }
    }
}
