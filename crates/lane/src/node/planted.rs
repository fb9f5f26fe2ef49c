//! Faults for the tests to find. In a program there are none.

/// A fault in a node of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LaneFault {
    /// An entry enters behind any other.
    ChainNotChecked,
    /// What the writer appends enters before the log has it.
    EnteredUnstored,
    /// A node takes over without asking whether anybody has seen more.
    TakenOverUnasked,
    /// The writer takes submissions that it has taken before.
    RepeatedTaken,
    /// A takeover does not care whether the log's servers were restarted.
    MarkNotLookedFor,
    /// A node whose log was changed goes on without telling.
    DoubtNotTold,
    /// A writer whose append was refused keeps the numbers that it has given.
    NumbersKept,
    /// A node does not send again what nobody has decided.
    SentOnce,
}

impl LaneFault {
    /// All of them.
    #[cfg(test)]
    pub(super) const ALL: [Self; 8] = [
        Self::ChainNotChecked,
        Self::EnteredUnstored,
        Self::TakenOverUnasked,
        Self::RepeatedTaken,
        Self::MarkNotLookedFor,
        Self::DoubtNotTold,
        Self::NumbersKept,
        Self::SentOnce,
    ];
}

#[cfg(test)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<LaneFault>> = const { std::cell::Cell::new(None) };
}

/// Plants a fault in the nodes of this thread, or none.
#[cfg(test)]
pub(super) fn plant(fault: Option<LaneFault>) {
    PLANTED.set(fault);
}

/// Whether a fault is planted.
#[cfg(test)]
pub(super) fn is_planted(fault: LaneFault) -> bool {
    PLANTED.get() == Some(fault)
}

/// Whether a fault is planted: never in a program.
#[cfg(not(test))]
pub(super) const fn is_planted(_fault: LaneFault) -> bool {
    false
}
