//! The state of all topics as bytes, for a node that joins or has lost track.

use std::collections::HashSet;
use std::sync::Arc;

use thiserror::Error;
use tickwire_lane::node::LaneState;
use tickwire_lane::{
    Checkpoint, CheckpointError, CheckpointHead, CheckpointPart, CheckpointWriter, Declaration, EndedCount,
    Malformed, TopicState,
};
use tickwire_router::{
    Directory, Ingress, NotEntered, Numbered, RestoredState, RestoredTopic, TopicCell, read_written_book,
};
use tickwire_wire::message::EndReason;
use tickwire_wire::{Kind, Micros, Payload, Refusal, Seq};

use crate::journal::items::{known_key, written};
use crate::journal::put_topics_and_keys;

/// Why a state was not taken over.
#[derive(Debug, Error)]
pub(super) enum StateError {
    /// It is not understood.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// A part of it is damaged.
    #[error("{0}")]
    Checkpoint(#[from] CheckpointError),
    /// Something of it does not fit.
    #[error("{}", .0.reason)]
    Refused(#[from] Refusal),
}

/// The state of a lane and of its topics.
pub(super) fn dump(lane: &LaneState, directory: &Directory, now: Micros) -> Vec<u8> {
    let mut bytes = Vec::new();
    lane.put(&mut bytes);
    let (hashing, ended) = directory.ended_counts();
    let head = CheckpointHead {
        place: lane.place(),
        epoch: lane.epoch().clone(),
        made: now,
        hashing,
        ended: ended
            .into_iter()
            .map(|(slot, count)| EndedCount { slot, count })
            .collect(),
    };
    let mut writer = CheckpointWriter::begin(&mut bytes, &head);
    // Without an end in sight there is nothing to fail.
    let _never: Result<(), std::convert::Infallible> =
        put_topics_and_keys(directory, &mut writer, &mut bytes, |_| Ok(()));
    writer.end(&mut bytes);
    bytes
}

/// Takes over a state. If nobody reads the topics yet (`is_first`), they get their histories; otherwise readers get what they
/// lack, or are told what they will not get.
pub(super) fn take_over(
    bytes: &[u8],
    directory: &Arc<Directory>,
    is_first: bool,
    now: Micros,
) -> Result<LaneState, StateError> {
    let (lane, rest) = LaneState::read(bytes)?;
    Checkpoint::check(rest)?;
    let (head, mut parts) = Checkpoint::new(rest)?;
    let is_same_epoch = directory.common_epoch() == head.epoch;
    if !is_same_epoch {
        if is_first {
            directory.join_epoch(&head.epoch);
        } else {
            drop(directory.begin_epoch(&head.epoch));
        }
    }
    directory.restore_ended_counts(
        head.hashing,
        head.ended.iter().map(|ended| (ended.slot, ended.count)),
    );
    let ingress = Ingress::new(directory.clone());
    let mut there = HashSet::new();
    while let Some(part) = parts.next_part()? {
        match part {
            CheckpointPart::Topic(state) => {
                there.insert(state.topic.topic.clone());
                take_topic(directory, &ingress, &state, is_first, now)?;
            }
            CheckpointPart::Keys(keys) => {
                for kept in &keys {
                    directory.restore_key(known_key(kept)?, now);
                }
            }
            CheckpointPart::Mark(_) | CheckpointPart::Derived(_) => {}
        }
    }
    if !is_first {
        end_others(directory, &there);
    }
    Ok(lane)
}

/// Ends the topics that are not `there` any more.
fn end_others(directory: &Directory, there: &HashSet<tickwire_wire::Topic>) {
    let mut gone = Vec::new();
    let mut from = Some(tickwire_router::TopicId::default());
    while let Some(at) = from {
        from = directory.walk(at, 1_024, |cell| {
            if !there.contains(cell.topic()) {
                gone.push(cell.clone());
            }
        });
    }
    let ended = gone.iter().filter(|cell| cell.position().seq > Seq::ZERO);
    ended.for_each(|cell| directory.end_written(cell, EndReason::Deleted));
}

fn take_topic(
    directory: &Directory,
    ingress: &Ingress,
    state: &TopicState<'_>,
    is_first: bool,
    now: Micros,
) -> Result<(), Refusal> {
    let declared = &state.topic;
    let cell = find(directory, declared)?;
    let messages = state.messages.iter().filter_map(written);
    let messages = messages
        .map(|message| message.read())
        .collect::<Result<Vec<_>, _>>()?;
    let book = state.book.map(read_written_book).transpose()?;
    let head = cell.position().seq;
    if is_first && head == Seq::ZERO {
        let candles = state.candles.iter().filter_map(written);
        let candles = candles
            .map(|candle| candle.read())
            .collect::<Result<Vec<_>, _>>()?;
        let restored = RestoredState {
            head: declared.head,
            book: book.map(|book| *book),
            candles,
            messages,
        };
        return cell.restore(restored, now);
    }
    catch_up(ingress, &cell, (messages, book), now)
}

/// The topic that is declared, without what was there under its name in another life.
fn find(directory: &Directory, declared: &Declaration) -> Result<Arc<TopicCell>, Refusal> {
    let restored = RestoredTopic {
        topic: declared.topic.clone(),
        kind: declared.kind,
        epoch: Some((declared.epoch.clone(), declared.life)),
    };
    for _ in 0..2 {
        if let Some(cell) = directory.declared(&restored) {
            return Ok(cell);
        }
        if let Some(other) = directory.find(declared.topic.as_str()) {
            directory.end_written(&other, EndReason::Deleted);
        }
    }
    Err(Refusal::bad_request(format!("{} cannot be made", declared.topic)))
}

/// Lets the messages enter that the topic lacks.
fn catch_up(
    ingress: &Ingress,
    cell: &TopicCell,
    (messages, book): (Vec<Numbered>, Option<Box<tickwire_wire::market::Book>>),
    now: Micros,
) -> Result<(), Refusal> {
    let head = cell.position().seq;
    let Some(first) = messages.iter().find(|message| message.seq > head) else {
        return Ok(());
    };
    let is_behind_hole = first.after != head;
    if is_behind_hole && cell.kind() == Kind::Book {
        // The whole book takes the place of the changes that are missing.
        let (Some(mut whole), Some(newest)) = (book, messages.last()) else {
            return Err(Refusal::bad_request(format!("the book {} is lost", cell.topic())));
        };
        whole.replace = true;
        let message = Numbered {
            payload: Payload::Book(whole),
            ..newest.clone()
        };
        return entered(ingress.apply(cell, message, now));
    }
    for message in messages.into_iter().filter(|message| message.seq > head) {
        entered(ingress.apply_over_hole(cell, message, now))?;
    }
    Ok(())
}

fn entered<T>(entered: Result<T, NotEntered>) -> Result<(), Refusal> {
    match entered {
        Ok(_) | Err(NotEntered::Known | NotEntered::Ended) => Ok(()),
        Err(error) => Err(Refusal::bad_request(error.to_string())),
    }
}
