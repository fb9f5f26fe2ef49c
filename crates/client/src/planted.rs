//! Faults that can be planted into the client, to test that the conformance cases find each of them.
//!
//! Code with a fault to plant asks [`is_planted`]. Without `--cfg planted` the answer is `false` at compile time, so no
//! program contains a fault. `cargo xtask conformance --planted` builds the client's tests with `--cfg planted`. Then
//! `plant` plants the fault that the environment names, before the first case is played.

/// A fault that can be planted. Its name in the environment is the same in all clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A topic resumes from the number before its last one.
    ResumeFromWrongSeq,
    /// A gap is not reported.
    GapSwallowed,
    /// A book goes on after a gap.
    StaleBook,
}

/// The number of the planted fault, plus one; 0 for none.
#[cfg(planted)]
static PLANTED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

#[cfg(planted)]
impl Fault {
    /// All faults.
    pub const ALL: [Self; 3] = [Self::ResumeFromWrongSeq, Self::GapSwallowed, Self::StaleBook];

    /// The name of the fault in the environment.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ResumeFromWrongSeq => "resume_from_wrong_seq",
            Self::GapSwallowed => "gap_swallowed",
            Self::StaleBook => "stale_book",
        }
    }
}

/// Plants `fault` in place of any other.
#[cfg(planted)]
pub fn plant(fault: Fault) {
    PLANTED.store(fault as usize + 1, std::sync::atomic::Ordering::Relaxed);
}

/// Whether `fault` is planted.
#[cfg(planted)]
pub(crate) fn is_planted(fault: Fault) -> bool {
    PLANTED.load(std::sync::atomic::Ordering::Relaxed) == fault as usize + 1
}

/// Whether `fault` is planted: never in a program.
#[cfg(not(planted))]
pub(crate) const fn is_planted(_: Fault) -> bool {
    false
}
