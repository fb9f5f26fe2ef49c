//! Faults that can be planted into the router, to test that the simulator finds each of them.
//!
//! Code with a fault to plant asks [`is_planted`]. Without `--cfg planted` the answer is `false` at compile time, so no
//! program contains a fault. `cargo xtask sim --mutations` builds the crate with `--cfg planted`. Then `plant` plants
//! one fault at a time, before the first shard is made.

/// Declares the faults, each with what it does wrong.
macro_rules! faults {
    ($($(#[seeds = $seeds:literal])? $name:ident = $text:literal,)*) => {
        /// A fault that can be planted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Fault {
            $(#[doc = $text] $name,)*
        }

        #[cfg(planted)]
        impl Fault {
            /// All faults.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What the fault does wrong.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// The number of seeds within which the simulator must find it. Faults that only rare plans meet have more.
            #[must_use]
            pub const fn seeds(self) -> u64 {
                match self {
                    $($(Self::$name => $seeds,)?)*
                    #[allow(unreachable_patterns, reason = "if every fault names its seeds")]
                    _ => 1_000,
                }
            }
        }
    };
}

faults! {
    GapNotSent = "a gap is not sent",
    QueuedTwice = "a message is queued twice",
    NewestDropped = "the newest of a conflated topic is dropped",
    PartialWriteForgotten = "a partial write is forgotten",
    HistoryReadTooLate = "a history is read from one message too late",
    HistoryReachesTooFar = "a history is said to reach one message further back than it does",
    GapNamesHeld = "a gap names one message that the history holds",
    FalseRecovered = "recovered:true although the history does not reach",
    OtherLineageResumed = "a position of another lineage is resumed",
    DeliveredAfterUnsubscribe = "what waits is delivered after an unsubscribe",
    SnapshotBefore = "the snapshot of a book carries the number before its own",
    SnapshotKept = "the snapshot of a book is kept over a change",
    ConflatedOneShort = "what is conflated is counted one short",
    GapOneTooMany = "a gap is counted with one message too many",
    AnswersBehindData = "answers wait behind market data",
    StalledNeverClosed = "a stalled reader is never closed",
    OverflowForgotten = "topics that a full queue left out are not caught up",
    InterestLostEarly = "a shard loses its interest with its first subscriber, not its last",
    TakenBackTooFar = "what is taken back of a slow reader moves its cursor one message too far",
    AckNotRewound = "an ack among the data tells where its subscription stood before it was taken back",
    #[seeds = 20_000]
    AckOfDropped = "an ack tells of messages that a drain has dropped",
    PromiseForgotten = "the promised rest of a replay is forgotten when it is taken back",
    PullsForgotten = "what a slow reader has yet to get is forgotten when it begins to lag",
    #[seeds = 20_000]
    SupersededGoesOn = "a lagging reader goes on with values that were superseded",
    PieceFlowsBeforeAck = "what is subscribed to in pieces flows before its ack",
    TopicFlowsBeforeAck = "a topic that appears while a request is under way flows before its ack",
    AckOfItsTurn = "the ack of a request in pieces tells where what flows stood when its turn came",
    PulledBeforeAck = "what a request in pieces begins with is pulled in before its ack",
    #[seeds = 20_000]
    SupersededBeforeAck = "what waits is superseded before the ack that allows it",
    OfferedTwice = "a session that was handed out is entered into the round again",
    LineageNotTold = "a topic that is pulled in does not say its lineage",
    LineageTakenBack = "what told the lineage of a topic is taken back for good",
    CaughtUpEarly = "a reader is told that it has caught up before the last message of its replay",
    CaughtUpForgotten = "that a reader has caught up is not told again when it was taken back",
    ReplayedTooLate = "a replay from a moment begins one message too late",
    SeamLost = "a replay from a moment leaves out the last message before the live ones",
    ArchiveHoleHidden = "messages that the archive lacks are left out without a gap",
    ArchiveMessageLost = "a message that came from the archive is left out",
    SyncedEarly = "a request is synced before the replays that it brings",
    PatternAtHead = "a pattern goes on at the head of a topic that it was to resume",
    MissedNotTold = "what a pattern could not resume is not told",
    DuplicatePublished = "a publication whose key is known is published again",
    KeyKnownTooLong = "the key of a publication is known beyond its time",
    PingReadEarlier = "a pong says that its ping was read earlier than it was",
    IdTooFar = "the id of an event names one message that did not come",
    SnapshotTaken = "the id of a stream that begins names the snapshot that did not come",
    AckOfPublicationPlaces = "the ack of a publication tells where a subscription stood",
    ParkedForgotten = "a request that is not done is not gone on with",
    RestForgotten = "what the time did not suffice for is not handled",
    EndOvertakes = "the end of a topic overtakes what a slow reader has not got yet",
    NextLifeNotHeld = "a topic that is made again does not wait for the end of its earlier life",
    EndNotTold = "the name of a topic that has ended is not expected again",
    EndedKept = "what a shard held of a topic that has ended is kept",
    AccountedTwice = "a message is accounted twice",
    UserForgotten = "a user of an account is not known in each family of its messages",
    PauseForever = "a session that is written too much is never written again",
    TurnLost = "a connection that is not read to its end gets no other turn",
}

/// The number of the planted fault in [`Fault::ALL`], plus one.
#[cfg(planted)]
static PLANTED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

/// The number of the planted fault in [`Fault::ALL`], plus one; 0 for none.
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
