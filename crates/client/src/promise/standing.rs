//! How sure a client is of where it stands in a topic, and which snapshot it waits for.

/// How sure the position is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Standing {
    /// Nothing is known: the first message sets the position.
    #[default]
    Unknown,
    /// Counting from `seq`.
    At,
    /// `recovered:true`, and nothing came yet.
    Resumed,
    /// `recovered:false`: a snapshot or a gap must come first.
    Unresumed,
    /// A pattern was to resume it: whether it did shows with what comes first.
    Either,
}

/// Whether a snapshot may come that is not the next message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Awaiting {
    /// Nothing is awaited.
    #[default]
    Nothing,
    /// Before any update, or not at all: after a first ack or a gap.
    First,
    /// Of the message that has just come: of an event topic whose history goes on, the snapshot is that of a later message.
    Repeat,
    /// At any time: after a `resync` or a further subscription, which updates already on their way may follow.
    AnyTime,
}

impl Awaiting {
    /// What is left of it when an update has come.
    pub(super) const fn after_update(self) -> Self {
        match self {
            Self::First | Self::Repeat => Self::Repeat,
            other => other,
        }
    }
}
