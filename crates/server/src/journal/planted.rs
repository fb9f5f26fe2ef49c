//! Faults that can be planted into the journal, to test that its made-up worlds find each of them.
//!
//! Code with a fault to plant asks [`is_planted`]. Outside of this crate's tests the answer is `false` at compile time, so no
//! program contains a fault. A test plants one at a time, in its own thread.

/// Declares the faults, each with what it does wrong.
macro_rules! faults {
    ($($name:ident = $text:literal,)*) => {
        /// A fault that can be planted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum JournalFault {
            $(#[doc = $text] $name,)*
        }

        #[cfg(test)]
        impl JournalFault {
            /// All faults, with what each does wrong.
            pub(super) const ALL: &[(Self, &str)] = &[$((Self::$name, $text),)*];
        }
    };
}

faults! {
    SeenUnwritten = "what could not be written is seen",
    TornNotCutOff = "a part of an entry that could not be written stays in the file",
    TornEndKept = "the torn end of the log is not cut off at a start",
    EntryNotSynced = "with a sync for each entry, an entry is seen before its sync",
    StartNotSynced = "the first segment of a process is not synced",
    MisbegunKept = "a segment that could not be begun stays",
    EpochsGoOn = "the epochs go on although what was seen may be missing",
    EpochComesAgain = "a topic that is made again after a restart has the epoch of its earlier life",
    NeededRemoved = "segments that a start needs are removed",
    CheckpointTooFar = "a checkpoint is said to hold one entry more than it does",
    CheckpointNotSynced = "a checkpoint counts before it is synced",
    CheckpointHistoryLost = "a checkpoint has only the newest message of each topic",
    LastLeftOut = "of the messages of a topic that enter together, the last is left out",
    OrderLost = "the messages of a topic that enter together do so in another order",
    EndLost = "the end of a topic is not read back",
    KeysLost = "the keys of a checkpoint are not read back",
}

#[cfg(test)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<JournalFault>> = const { std::cell::Cell::new(None) };
}

/// Plants a fault into what runs in this thread, or none any more.
#[cfg(test)]
pub(super) fn plant(fault: Option<JournalFault>) {
    PLANTED.set(fault);
}

/// Whether `fault` is planted.
#[cfg(test)]
pub(super) fn is_planted(fault: JournalFault) -> bool {
    PLANTED.get() == Some(fault)
}

/// Whether `fault` is planted: never in a program.
#[cfg(not(test))]
pub(super) const fn is_planted(_: JournalFault) -> bool {
    false
}
