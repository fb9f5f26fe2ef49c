//! Patterns that resume their topics, `joined`, the `synced` of a request, and the ids of events.

use std::collections::{BTreeMap, BTreeSet};

use tickwire_wire::Epoch;
use tickwire_wire::message::Position;
use tickwire_wire::sse::Cursor;

use super::mortals::matched;
use super::{From, Granted, Oracle};
use crate::broken::{Broken, Rule, ensure};
use crate::topics::{self, NAMES};
use crate::truth::Truth;

/// Whether a topic can be resumed from a position.
pub(super) struct Reach {
    /// Whether the position is one of the topic's lineage.
    pub(super) same: bool,
    pub(super) certain: bool,
    pub(super) possible: bool,
}

impl Reach {
    /// The reach when `head` is the topic's newest number.
    pub(super) fn of(topic: usize, since: &Position, head: u64, every: bool, truth: &Truth) -> Self {
        let at = since.seq.0;
        let same = since.epoch == *truth.epoch(topic) && at <= head;
        Self {
            same,
            certain: same && (!every || truth.certainly_reached(topic, at, head)),
            possible: same && (!every || truth.possibly_reached(topic, at, head)),
        }
    }
}

/// Checks that an ack tells how many topics its pattern matched.
fn check_matched(granted: &Granted<'_>) -> Result<(), Broken> {
    let Granted {
        pattern,
        heads,
        result,
        ..
    } = *granted;
    let there = (0..NAMES.len()).filter(|topic| heads[*topic] > 0 && topics::matches(pattern, *topic));
    let there = there.count();
    // Topics that end come and go.
    let most = there + matched(pattern);
    let is_right = result.matched.is_some_and(|told| (there..=most).contains(&told));
    ensure(is_right, Rule::Subscriptions, || {
        let (name, got) = (topics::pattern(pattern), result.matched);
        format!("{name} matched {there} topics, and the ack says {got:?}")
    })
}

/// A pattern that was to resume topics.
#[derive(Debug)]
pub(super) struct Resuming {
    pattern: usize,
    /// How many topics were resumed, by the `ack`.
    said: usize,
    /// How many topics certainly were.
    certain: usize,
    /// The topics for which only the first message shows it.
    undecided: Vec<usize>,
}

impl Oracle {
    /// The positions that were sent ahead of the subscribe `id`; `None` if no request did that.
    pub(super) fn sent_ahead(&mut self, id: u64) -> Option<BTreeMap<usize, Position>> {
        let later = self.ahead.split_off(&id);
        let ahead = std::mem::replace(&mut self.ahead, later);
        let any = !ahead.is_empty();
        any.then(|| ahead.into_values().flatten().collect())
    }

    /// A topic was to be resumed by its name.
    pub(super) fn resumed(
        &mut self,
        topic: usize,
        since: &Position,
        recovered: Option<bool>,
        head: u64,
        truth: &Truth,
    ) -> Result<(), Broken> {
        let every = self.wants_every(topic);
        let (name, at) = (topics::name(topic), since.seq.0);
        let Some(place) = self.places.get_mut(&topic) else {
            return Ok(());
        };
        let Reach {
            same,
            certain,
            possible,
        } = Reach::of(topic, since, head, every, truth);
        let recovered = recovered == Some(true);
        ensure(recovered || !certain, Rule::Resume, || {
            format!("{name}: recovered:false from {at} at {head}, and everything was there")
        })?;
        ensure(!recovered || possible, Rule::Resume, || {
            format!(
                "{name}: recovered:true from {}:{at} at {head}, and it was not there",
                since.epoch
            )
        })?;
        if recovered {
            place.resume(at, head, every);
        } else {
            place.refuse_resume(topic, if same { at } else { 0 }, head);
        }
        Ok(())
    }

    /// A pattern began. The topics in `new` are new with it.
    pub(super) fn pattern_begun(
        &mut self,
        granted: &Granted<'_>,
        known: bool,
        new: &BTreeSet<usize>,
        truth: &Truth,
    ) -> Result<(), Broken> {
        let Granted {
            id,
            pattern,
            from,
            ahead,
            wanted,
            heads,
            result,
        } = *granted;
        let name = topics::pattern(pattern);
        check_matched(granted)?;
        let own: BTreeMap<usize, &Position> = match from {
            Some(From::Topics(own)) => own.iter().map(|(topic, at)| (*topic, at)).collect(),
            _ => BTreeMap::new(),
        };
        let (mut certain, mut undecided) = (0, Vec::new());
        for topic in new {
            let (topic, head) = (*topic, heads[*topic]);
            let since = own.get(&topic).copied();
            let since = since.or_else(|| ahead.and_then(|ahead| ahead.get(&topic)));
            let every = self.wants_every(topic);
            let Some(place) = self.places.get_mut(&topic) else {
                continue;
            };
            let Some(since) = since else {
                place.snapshot_due = wanted.snapshot;
                continue;
            };
            let reach = Reach::of(topic, since, head, every, truth);
            if reach.certain {
                certain += 1;
                place.resume(since.seq.0, head, every);
            } else if reach.possible {
                undecided.push(topic);
                place.resumed_by = Some(id);
                place.resume_or_not(since.seq.0, head);
            } else {
                place.snapshot_due = false;
                place.refuse_resume(topic, if reach.same { since.seq.0 } else { 0 }, head);
            }
        }
        let asked = !known && (from.is_some() || ahead.is_some());
        let counts = result.resumed.zip(result.not_resumed);
        let (least, most) = (certain, certain + undecided.len());
        let right = match counts {
            Some((resumed, not)) => {
                let all = new.len()..=new.len() + matched(pattern);
                asked && (least..=most).contains(&resumed) && all.contains(&(resumed + not))
            }
            None => !asked,
        };
        ensure(right, Rule::Resume, || {
            let new = new.len();
            format!("{name}: of {new} topics {least} to {most} were resumed, and the ack says {counts:?}")
        })?;
        if let Some((said, _)) = counts {
            self.syncing.entry(id).or_default().push(Resuming {
                pattern,
                said,
                certain,
                undecided,
            });
        }
        Ok(())
    }

    /// Checks the id of an event, which names a position in each topic of its stream.
    pub(crate) fn told_id(&self, stream: &[usize], id: &Cursor, truth: &Truth) -> Result<(), Broken> {
        ensure(id.0.len() == stream.len(), Rule::Ids, || {
            format!("the id {id} does not name {} topics", stream.len())
        })?;
        for (topic, at) in stream.iter().zip(&id.0) {
            let is_right = self
                .places
                .get(topic)
                .is_none_or(|place| place.goes_on_from(at.seq.0));
            ensure(is_right && at.epoch == *truth.epoch(*topic), Rule::Ids, || {
                let (name, place) = (topics::name(*topic), self.places.get(topic));
                format!("the id {id} names another position of {name} than {place:?}")
            })?;
        }
        Ok(())
    }

    /// Checks a `joined`.
    pub(crate) fn joined(
        &mut self,
        topic: usize,
        epoch: &Epoch,
        seq: u64,
        truth: &Truth,
    ) -> Result<(), Broken> {
        let name = topics::name(topic);
        ensure(epoch == truth.epoch(topic), Rule::Lineage, || {
            format!("{name} joins in epoch {epoch}, which is not that of the topic")
        })?;
        match self.places.get_mut(&topic) {
            Some(place) => place.joined(topic, seq),
            None => {
                let what = format!("{name} joined, which is not subscribed");
                Err(Broken::new(Rule::Subscriptions, what))
            }
        }
    }

    /// Checks a `synced`. Returns how many topics the patterns of the request resumed.
    pub(crate) fn synced(&mut self, id: u64) -> Result<u64, Broken> {
        let broken = |what: String| Broken::new(Rule::Synced, what);
        let Some(resuming) = self.syncing.remove(&id) else {
            return Err(broken(format!("request {id} was synced without waiting for it")));
        };
        for (topic, place) in &mut self.places {
            if place.brought_by == Some(id) {
                place.brought_by = None;
                ensure(place.has_brought(), Rule::Synced, || {
                    let name = topics::name(*topic);
                    format!("request {id} was synced before all came that it brings of {name}: {place:?}")
                })?;
            }
        }
        if let Some((topic, _)) = self.shots.iter().find(|(_, owed)| **owed == Some(id)) {
            let name = topics::name(*topic);
            return Err(broken(format!(
                "request {id} was synced before the snapshot of {name}"
            )));
        }
        let mut sum = 0;
        for Resuming {
            pattern,
            said,
            certain,
            undecided,
        } in resuming
        {
            sum += said as u64;
            // A topic whose subscription ended meanwhile, or began anew, shows nothing.
            let shown = undecided.iter().map(|topic| {
                let place = self.places.get(topic)?;
                place.resumed.filter(|_| place.resumed_by == Some(id))
            });
            let Some(shown) = shown.collect::<Option<Vec<bool>>>() else {
                continue;
            };
            let resumed = certain + shown.into_iter().filter(|resumed| *resumed).count();
            ensure(said == resumed, Rule::Resume, || {
                let name = topics::pattern(pattern);
                format!("{name}: {resumed} topics were resumed, and the ack said {said}")
            })?;
        }
        Ok(sum)
    }
}
