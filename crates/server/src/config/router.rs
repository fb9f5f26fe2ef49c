//! The settings that the router gets.

use tickwire_router::{DedupeLimits, DirectoryLimits, Kinds, ShardSettings};
use tickwire_wire::limits::TOPICS_AT_ONCE;
use tickwire_wire::message::AnnouncedLimits;

use super::Config;
use crate::VERSION;

/// Time in milliseconds that clients have to answer a close frame.
const CLOSE_TIMEOUT_MS: u64 = 2_000;

impl Config {
    /// The kinds of topics.
    pub(crate) fn topic_kinds(&self) -> Kinds {
        let prefixes = self.views.iter().map(|view| &view.prefix);
        Kinds::with_rules(self.kinds.clone()).with_copies(prefixes)
    }

    /// The limits of the directory.
    pub(crate) fn directory_limits(&self) -> DirectoryLimits {
        DirectoryLimits {
            topics_max: self.limits.topics,
            topics_per_key_max: self.limits.topics_per_key,
            history_bytes_max: self.limits.history_bytes,
            value_bytes_max: self.limits.value_bytes,
            replay_bytes_max: self.limits.replay_bytes,
            dedupe: DedupeLimits {
                within_ms: self.publish.dedupe_ms,
                keys_max: self.publish.dedupe_keys,
            },
        }
    }

    /// The settings of a shard.
    pub(crate) fn shard_settings(&self) -> ShardSettings {
        let limits = &self.limits;
        ShardSettings {
            server: format!("tickwire/{VERSION}"),
            limits: AnnouncedLimits {
                subscriptions: limits.subscriptions,
                message_bytes: limits.message_bytes,
                ops_per_s: limits.ops_per_s,
                ops_burst: limits.ops_burst,
                publishes_per_s: limits.publishes_per_s,
                publishes_burst: limits.publishes_burst,
            },
            session_limits: limits.sessions(),
            topics_at_once: TOPICS_AT_ONCE,
            outbox_bytes_max: limits.outbox_bytes,
            stall_ms: limits.stall_ms,
            heartbeat_ms: self.heartbeat.heartbeat_ms,
            ping_after_ms: self.heartbeat.ping_after_ms,
            pong_timeout_ms: self.heartbeat.pong_timeout_ms,
            first_request_ms: limits.first_request_ms,
            close_timeout_ms: CLOSE_TIMEOUT_MS,
        }
    }
}
