//! Describes what a client reads, for a person who looks at a run.

use tickwire_wire::message::AckResult;
use tickwire_wire::{Control, Mode, ServerMessage};

/// Describes a message in a few words.
pub(crate) fn describe(message: &ServerMessage) -> String {
    match message {
        ServerMessage::Update { topic, seq, data, .. } => format!("update {topic} {seq} {:.60}", data.get()),
        ServerMessage::Snapshot {
            topic,
            epoch,
            seq,
            data,
            ..
        } => format!("snapshot {topic} {epoch}:{seq} {:.60}", data.get()),
        ServerMessage::Control(Control::Welcome { .. }) => "welcome".to_owned(),
        ServerMessage::Control(Control::Ack { id, results }) => {
            let results: Vec<String> = results.iter().map(describe_result).collect();
            format!("ack {}: {}", id.0, results.join(", "))
        }
        ServerMessage::Control(Control::Gap {
            topic,
            from,
            to,
            reason,
            ..
        }) => format!("gap {topic} {from} to {to} {reason:?}"),
        ServerMessage::Control(other) => format!("{other:?}"),
        ServerMessage::Unknown(op) => format!("{op}?"),
    }
}

fn describe_result(result: &AckResult) -> String {
    if let Some(error) = &result.error {
        return format!("{} {}", result.topic, error.code);
    }
    let seq = result.seq.map_or(String::new(), |seq| format!("@{seq}"));
    let mode = match result.mode {
        Some(Mode::Every) => " every",
        Some(Mode::Conflate) => " conflate",
        Some(Mode::Snapshot) => " snapshot",
        None => "",
    };
    let recovered = result
        .recovered
        .map_or(String::new(), |recovered| format!(" recovered={recovered}"));
    let resumed = result.resumed.zip(result.not_resumed);
    let resumed = resumed.map_or(String::new(), |(resumed, not)| {
        format!(" resumed={resumed},{not}")
    });
    format!("{}{seq}{mode}{recovered}{resumed}", result.topic)
}
