//! Values in the broker's messages that only a later version of the protocol knows. A client reads the message all the
//! same, since both sides can be upgraded at different times.
//!
//! An error with an unknown code is an `internal` one, a gap with an unknown reason a `slow` one, a topic that has ended
//! for an unknown reason a `deleted` one. An entry of `modes` with an
//! unknown kind or mode is left out, and so is an unknown reason of a status. A status with an unknown state is a message that
//! the client ignores.

use std::collections::BTreeMap;

use serde::de::IntoDeserializer;
use serde::de::value::Error;
use serde::{Deserialize, Deserializer};

use crate::error::ErrorCode;
use crate::ids::Seq;
use crate::message::{Control, EndReason, GapReason, Kind, Mode, ServerMessage, TopicState};

/// The value with the name `text`, if this version knows it.
fn known<T: for<'de> Deserialize<'de>>(text: &str) -> Option<T> {
    T::deserialize(IntoDeserializer::<Error>::into_deserializer(text)).ok()
}

/// Reads the code of an error.
pub(crate) fn code<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ErrorCode, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(known(&text).unwrap_or(ErrorCode::Internal))
}

/// Reads the reason of a gap.
pub(crate) fn gap_reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<GapReason, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(known(&text).unwrap_or(GapReason::Slow))
}

/// Reads the reason of the end of a topic.
pub(crate) fn end_reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EndReason, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(known(&text).unwrap_or(EndReason::Deleted))
}

/// Reads the modes that were granted by kind.
pub(crate) fn modes<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<BTreeMap<Kind, Mode>>, D::Error> {
    let texts = Option::<BTreeMap<String, String>>::deserialize(deserializer)?;
    let by_kind = |texts: BTreeMap<String, String>| {
        let modes = texts.iter();
        modes
            .filter_map(|(kind, mode)| Some((known(kind)?, known(mode)?)))
            .collect()
    };
    Ok(texts.map(by_kind))
}

/// A `status` as it was sent.
#[derive(Deserialize)]
pub(super) struct Status {
    topic: String,
    state: String,
    reason: Option<String>,
    seq: Option<Seq>,
}

impl Status {
    /// The message, or one that the client ignores.
    pub(super) fn known(self) -> ServerMessage {
        match known(&self.state) {
            // Without the number it does not say where live begins.
            Some(TopicState::CaughtUp) if self.seq.is_none() => ServerMessage::Unknown("status".to_owned()),
            Some(state) => ServerMessage::Control(Control::Status {
                topic: self.topic,
                state,
                reason: self.reason.as_deref().and_then(known),
                seq: self.seq,
            }),
            None => ServerMessage::Unknown("status".to_owned()),
        }
    }
}
