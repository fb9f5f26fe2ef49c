//! Decides which session gets which message, and what happens if it cannot take it.
//!
//! This is the pure core of the broker. Each message comes in by the [`Ingress`]; the [`Directory`] gives it its number
//! and queues it for the interested shards; a [`Shard`] puts it into its sessions' outboxes. The crate never uses a
//! socket, a clock, a thread or the environment: time is an argument, and output is polled.

mod accounts;
mod archive;
mod arrival;
mod book;
mod branches;
mod bucket;
mod cell;
mod counts;
pub mod cycle;
mod dedupe;
mod directory;
mod epochs;
mod expiry;
mod families;
mod history;
mod hot_topic;
mod index;
mod ingress;
mod kinds;
mod ledger;
mod looks;
mod memory;
mod observer;
mod outbox;
mod outlet;
mod pace;
mod paged;
#[cfg(planted)]
pub mod planted;
#[cfg(not(planted))]
#[expect(unreachable_pub, reason = "only a simulator that plants faults names them")]
mod planted;
mod positions;
mod publication;
mod pulls;
mod queue;
mod replays;
mod rights;
mod session;
mod settings;
mod shard;
mod staleness;
mod syncs;
mod topic_set;
mod tree;
mod view;
mod write_queue;

pub use accounts::{AccountId, FamilyCount, SeenUser, TakenAccounts, UserId};
pub use archive::{
    ARCHIVE_BYTES_MAX, ARCHIVED_PART_BYTES, ARCHIVED_PART_MESSAGES, Archive, ArchiveFailed, ArchivePlace,
    ArchiveReply, ArchivedNext, ArchivedPart, ArchivedStart, Bookmark, WantedPart, WantedStart,
};
pub use arrival::{Arrival, Copied, FeedMark};
pub use book::{OrderBook, check_symbol};
pub use bucket::{Bucket, Rate, SharedBucket};
pub use cell::{
    Attached, BookTrial, Catchup, DumpedTopic, HistoryPage, NotEntered, Numbered, Published, RestoredState,
    RestoredTopic, TopicCell, ValueTrial, WrittenMessage, WrittenText, read_written_book,
};
pub use counts::{Counts, Op};
pub use dedupe::{DedupeLimits, DedupeTally, KnownKey};
pub use directory::{Directory, DirectoryLimits, EndedTopic, KeptValue, PublishError, SHARDS_MAX, TopicInfo};
pub use epochs::EpochRule;
pub use expiry::ExpiryRule;
pub use families::{FAMILIES_MAX, Families, FamilyId};
pub use hot_topic::HotTopic;
pub use index::PatternIndex;
pub use ingress::{Batch, Ingress, Origin, read_book};
pub use kinds::{KindRule, Kinds};
pub use ledger::{Audit, Ledger};
pub use observer::{Observed, Observer};
pub use outbox::{Delivery, Outbox, Overrun, Reach, Waiting};
pub use outlet::{
    AnswerTo, Answers, Errand, OUTLET_MESSAGE_BYTES_MAX, Outlet, OutletAnswer, OutletBatch, OutletItem,
    Placed, TellCaughtUp, Teller,
};
pub use publication::{Lineage, Publication, TopicId};
pub use queue::{Inbox, ShardId, ShardQueue, WakeShard};
pub use rights::{Grant, OwnLimits, PublishRate, Publisher, RequestRate, Rights};
pub use session::{SessionId, Transport};
pub use settings::{SessionLimits, ShardSettings};
pub use shard::{AuthRequest, Drain, SessionCard, SessionLag, Shard, Watched};
pub use staleness::StaleRule;
pub use view::{NoViewPrefix, ViewPrefix, ViewRule, ViewTally, Views, held_message_bytes};
pub use write_queue::{Record, RecordKey, Ticket, Told, WriteBatch, WriteQueue, WrittenTo};
