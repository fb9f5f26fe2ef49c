//! What scripts print: a line for each frame that a client reads.

use std::fmt::Write as _;

use tickwire_wire::message::{AckResult, ReplayRange, TopicState};
use tickwire_wire::{Control, Epoch, Seq, ServerMessage};

use crate::world::{EPOCH, Frame, START};

/// A printed number: with its epoch, if that is not the one of the world.
pub(crate) fn at(epoch: &Epoch, seq: Seq) -> String {
    match epoch.as_str() {
        EPOCH => seq.to_string(),
        other => format!("{other}:{seq}"),
    }
}

pub(crate) fn describe(frame: &Frame) -> String {
    match frame {
        Frame::Ping => "PING".to_owned(),
        Frame::Pong(payload) => format!("PONG {}", String::from_utf8_lossy(payload)),
        Frame::Close(code, reason) => format!("CLOSE {code} {reason}").trim_end().to_owned(),
        Frame::Message(ServerMessage::Update { topic, seq, data, .. }) => {
            format!("update {topic} {seq} {data}")
        }
        Frame::Message(ServerMessage::Snapshot {
            topic,
            epoch,
            seq,
            data,
            ..
        }) => {
            format!("snapshot {topic} {} {data}", at(epoch, *seq))
        }
        Frame::Message(ServerMessage::Unknown(op)) => panic!("op {op:?}?"),
        Frame::Message(ServerMessage::Control(control)) => describe_control(control),
    }
}

fn describe_control(control: &Control) -> String {
    match control {
        Control::Ack { id, results } => {
            let results: Vec<String> = results.iter().map(describe_result).collect();
            format!("ack {} {}", id.0, results.join(", "))
        }
        Control::Gap {
            topic,
            epoch,
            from,
            to,
            reason,
        } => {
            let reason = format!("{reason:?}").to_lowercase();
            format!("gap {topic} {}..{to} {reason}", at(epoch, *from))
        }
        Control::Error {
            id,
            code,
            reason,
            retryable,
        } => {
            let id = id.map_or_else(|| "-".to_owned(), |id| id.0.to_string());
            let again = if *retryable { " (retryable)" } else { "" };
            format!("error {id} {code}{again}: {reason}")
        }
        Control::Status {
            topic,
            state: TopicState::CaughtUp,
            seq,
            ..
        } => {
            let seq = seq.expect("it says where live begins");
            format!("caught up {topic} {seq}")
        }
        Control::Status {
            topic, state, reason, ..
        } => {
            let reason = reason.map(|reason| format!(" {reason:?}")).unwrap_or_default();
            let said = format!("{state:?}{reason}").to_lowercase();
            format!("status {topic} {said}")
        }
        Control::Heartbeat { .. } => "heartbeat".to_owned(),
        Control::Synced { id } => format!("synced {}", id.0),
        Control::Joined { topic, epoch, seq } => {
            format!("joined {topic} {}", at(epoch, *seq))
        }
        Control::End {
            topic,
            epoch,
            seq,
            reason,
        } => {
            let reason = format!("{reason:?}").to_lowercase();
            format!("end {topic} {} {reason}", at(epoch, *seq))
        }
        Control::Pong { id, .. } => {
            let id = id.map_or_else(|| "-".to_owned(), |id| id.0.to_string());
            format!("pong {id}")
        }
        other => format!("{other:?}"),
    }
}

fn describe_result(result: &AckResult) -> String {
    let mut text = result.topic.clone();
    if let Some(error) = &result.error {
        return format!("{text} {}: {}", error.code, error.reason);
    }
    if let Some(seq) = result.seq {
        let epoch = result.epoch.as_ref().expect("a number has its epoch");
        let _ = write!(text, "@{}", at(epoch, seq));
    }
    if let Some(matched) = result.matched {
        let _ = write!(text, " matched={matched}");
    }
    if let Some(mode) = result.mode {
        let _ = write!(text, " {}", format!("{mode:?}").to_lowercase());
    }
    for (kind, mode) in result.modes.iter().flatten() {
        let _ = write!(text, " {}={}", kind.as_str(), mode.as_str());
    }
    if let Some(ms) = result.conflate_ms.filter(|ms| *ms > 0) {
        let _ = write!(text, " rate={ms}");
    }
    if let Some(recovered) = result.recovered {
        let _ = write!(text, " recovered={recovered}");
    }
    if let Some(ReplayRange { from_seq, to_seq }) = result.replay {
        let _ = write!(text, " replay={from_seq}..{to_seq}");
    }
    if let Some(oldest) = result.not_stored {
        let _ = write!(text, " stored from {} ms", oldest.since(START) / 1_000);
    }
    if let (Some(resumed), Some(not_resumed)) = (result.resumed, result.not_resumed) {
        let _ = write!(text, " resumed={resumed} not={not_resumed}");
    }
    text
}
