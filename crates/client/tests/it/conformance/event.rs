//! The canonical names of events, violations and errors.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tickwire_client::promise::BrokenPromise;
use tickwire_client::{ConnectError, Event, Loss, RequestError};
use tickwire_wire::message::{ServerMessage, StaleReason, TopicState};
use tickwire_wire::{Control, Seq};

/// The longest own wait of a client in these cases.
pub(super) const BACKOFF_MAX: Duration = Duration::from_millis(1);
/// The largest number that is exact in every language.
pub(super) const EXACT_MAX: u64 = (1 << 53) - 1;

/// A number as cases write it: as digits where a float would not be exact.
fn number(seq: Seq) -> Value {
    if seq.0 > EXACT_MAX {
        Value::from(seq.0.to_string())
    } else {
        Value::from(seq.0)
    }
}

fn data(data: &serde_json::value::RawValue) -> Value {
    serde_json::from_str(data.get()).expect("data is JSON")
}

/// The canonical event, if `event` is one.
pub(super) fn canonical(event: &Event) -> Option<Value> {
    Some(match event {
        Event::Connected { reconnects, .. } => json!({"event": "connected", "reconnects": reconnects}),
        Event::Message(message) => return of_message(message),
        Event::Synced { topics } => json!({"event": "synced", "topics": topics}),
        Event::Restored {
            topic,
            resumed,
            not_resumed,
        } => json!({"event": "recovered", "topic": topic, "resumed": resumed, "not_resumed": not_resumed}),
        Event::Disconnected { loss, retry_in } => {
            let mut event = json!({"event": "disconnected", "cause": cause(loss),
                "code": loss.close_code().map(|code| code.0)});
            told(&mut event, *retry_in);
            event
        }
        Event::ConnectFailed { error, retry_in } => connect_failed(error, *retry_in),
        Event::Broken(broken) => violation(broken),
        Event::Unresumed { topic, last, now } => json!({"event": "unresumed", "topic": topic,
            "last": {"epoch": last.epoch, "seq": number(last.seq)}, "now": number(*now)}),
        Event::SubscriptionLost { topic, refusal } => {
            json!({"event": "subscription_lost", "topic": topic, "code": refusal.code})
        }
    })
}

pub(super) fn connect_failed(error: &ConnectError, retry_in: Option<Duration>) -> Value {
    let status = match error {
        ConnectError::Refused { status, .. } => Some(*status),
        _ => None,
    };
    let mut event = json!({"event": "connect_failed", "status": status});
    told(&mut event, retry_in);
    event
}

/// Adds what comes next.
fn told(event: &mut Value, retry_in: Option<Duration>) {
    let retry = match retry_in {
        None => "never",
        Some(wait) if wait <= BACKOFF_MAX => "backoff",
        Some(_) => "told",
    };
    event["retry"] = json!(retry);
    event["retry_ms"] = json!(retry_in.map(|wait| wait.as_secs_f64() * 1_000.0));
}

fn cause(loss: &Loss) -> &'static str {
    match loss {
        Loss::Closed { .. } => "closed",
        Loss::Silent { .. } => "silent",
        Loss::Broke(_) => "broke",
        Loss::Protocol(_) => "protocol",
        Loss::Drained => "drained",
        Loss::Left => "left",
    }
}

fn of_message(message: &ServerMessage) -> Option<Value> {
    Some(match message {
        ServerMessage::Snapshot {
            topic,
            epoch,
            seq,
            data: raw,
            ..
        } => {
            json!({"event": "snapshot", "topic": topic, "epoch": epoch, "seq": number(*seq), "data": data(raw)})
        }
        ServerMessage::Update {
            topic,
            seq,
            data: raw,
            ..
        } => json!({"event": "update", "topic": topic, "seq": number(*seq), "data": data(raw)}),
        ServerMessage::Control(control) => return of_control(control),
        ServerMessage::Unknown(_) => return None,
    })
}

fn of_control(control: &Control) -> Option<Value> {
    Some(match control {
        Control::Gap {
            topic,
            epoch,
            from,
            to,
            reason,
        } => json!({"event": "gap", "topic": topic, "epoch": epoch, "from": number(*from), "to": number(*to),
            "reason": reason}),
        Control::End {
            topic,
            epoch,
            seq,
            reason,
        } => json!({"event": "end", "topic": topic, "epoch": epoch, "seq": number(*seq), "reason": reason}),
        Control::Joined { topic, epoch, seq } => {
            json!({"event": "joined", "topic": topic, "epoch": epoch, "seq": number(*seq)})
        }
        Control::Status {
            topic,
            state,
            reason,
            seq,
        } => {
            let reason = reason.as_ref().map(|reason: &StaleReason| json!(reason));
            let event = match state {
                TopicState::Stale => "stale",
                TopicState::Live => "live",
                TopicState::CaughtUp => "caught_up",
            };
            json!({"event": event, "topic": topic, "reason": reason, "seq": seq.map(number)})
        }
        Control::Drain {
            reconnect_after_ms, ..
        } => {
            json!({"event": "draining", "reconnect_after_ms": reconnect_after_ms})
        }
        Control::Error { id: None, code, .. } => json!({"event": "error", "code": code}),
        Control::Error { id: Some(_), .. }
        | Control::Welcome { .. }
        | Control::Ack { .. }
        | Control::Synced { .. }
        | Control::Heartbeat { .. }
        | Control::Pong { .. } => return None,
    })
}

/// A request's failure.
pub(super) fn failure(error: &RequestError) -> Value {
    match error {
        RequestError::Refused(refusal) => json!({"kind": "refused", "code": refusal.code}),
        RequestError::TooLarge { .. } => json!({"kind": "too_large"}),
        RequestError::Disconnected => json!({"kind": "disconnected"}),
        RequestError::Closed => json!({"kind": "closed"}),
        other => json!({"kind": format!("{other:?}")}),
    }
}

fn violation(broken: &BrokenPromise) -> Value {
    use BrokenPromise as B;
    let (kind, topic) = match broken {
        B::Duplicate { topic, .. } => ("duplicate", Some(topic)),
        B::Backward { topic, .. } => ("backward", Some(topic)),
        B::Hole { topic, .. } => ("hole", Some(topic)),
        B::GapOverlaps { topic, .. } => ("gap_overlaps", Some(topic)),
        B::GapLeavesHole { topic, .. } => ("gap_leaves_hole", Some(topic)),
        B::GapEmpty { topic, .. } => ("gap_empty", Some(topic)),
        B::FalseRecovery { topic, .. } => ("false_recovery", Some(topic)),
        B::PartialReplay { topic, .. } => ("partial_replay", Some(topic)),
        B::NoPosition { topic, .. } => ("no_position", Some(topic)),
        B::SilentEpoch { topic, .. } => ("silent_epoch", Some(topic)),
        B::UnknownLineage { topic, .. } => ("unknown_lineage", Some(topic)),
        B::JoinedAgain { topic } => ("joined_again", Some(topic)),
        B::AfterEnd { topic } => ("after_end", Some(topic)),
        B::UnknownSynced { .. } => ("unknown_synced", None),
        B::CaughtUp { topic, .. } => ("caught_up", Some(topic)),
        B::SyncedEarly { topic, .. } => ("synced_early", Some(topic)),
        B::ResumeCount { pattern, .. } => ("resume_count", Some(pattern)),
        B::PongTimes { .. } => ("pong_times", None),
        B::BeforeAck { topic } => ("before_ack", Some(topic)),
        B::AfterUnsubscribe { topic } => ("after_unsubscribe", Some(topic)),
        B::NeverSubscribed { topic } => ("never_subscribed", Some(topic)),
        B::Book { topic, .. } => ("book", Some(topic)),
        B::Welcome { .. } => ("welcome", None),
        B::UnknownAnswer { .. } => ("unknown_answer", None),
        B::AckMismatch { .. } => ("ack_mismatch", None),
    };
    let mut event = Map::new();
    event.insert("event".to_owned(), json!("violation"));
    event.insert("kind".to_owned(), json!(kind));
    if let Some(topic) = topic {
        event.insert("topic".to_owned(), json!(topic));
    }
    Value::Object(event)
}
