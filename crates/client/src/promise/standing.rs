//! How sure a client is of its position in a topic, and which snapshot it waits for.

/// How sure the position in a topic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Standing {
    /// Nothing is known: the first message sets the position.
    #[default]
    Unknown,
    /// The position is known: it counts on from there.
    At,
    /// The ack said `recovered:true`, and nothing has come yet.
    Resumed,
    /// The ack said `recovered:false`: a snapshot or a gap must come first.
    Unresumed,
    /// A pattern was to resume the topic. What comes first shows whether it did.
    Either,
}

/// Whether a snapshot may come that is not the next message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Awaiting {
    /// Nothing is awaited.
    #[default]
    Nothing,
    /// A snapshot may come before any update, or not at all. This is so after a first ack or a gap.
    First,
    /// A snapshot of the message that has just come may follow. An event topic's snapshot can be put off while its
    /// history goes on, and then it is that of a later message.
    Repeat,
    /// A snapshot may come at any time, after a `resync` or a further subscription. Updates that were already on their
    /// way may come before it.
    AnyTime,
}

impl Awaiting {
    /// Which snapshot may still come after an update.
    pub(super) const fn after_update(self) -> Self {
        match self {
            Self::First | Self::Repeat => Self::Repeat,
            other => other,
        }
    }
}
