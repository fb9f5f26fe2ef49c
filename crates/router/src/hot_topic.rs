//! The topics with the most deliveries, found from the counts of the shards.
//!
//! They are found on demand, by looking at every topic. Meanwhile this takes memory for a number per topic.

use std::cmp::Reverse;

use rustc_hash::FxHashMap;
use tickwire_wire::{Kind, Seq, Topic};

use crate::directory::Directory;
use crate::publication::TopicId;

/// A topic and its cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HotTopic {
    /// Its name.
    pub topic: Topic,
    /// Its kind.
    pub kind: Kind,
    /// Updates of the topic that the shards have delivered live, one for each subscriber.
    pub deliveries: u64,
    /// Connections that are subscribed to it.
    pub subscribers: u32,
    /// Its newest message.
    pub seq: Seq,
    /// Whether the topic is stale.
    pub stale: bool,
}

impl HotTopic {
    /// The `top_k` topics with the most live updates of all shards together, the hottest first. `handed_out` has the
    /// result of [`Shard::handed_out`](crate::Shard::handed_out) for each shard.
    #[must_use]
    pub fn hottest(directory: &Directory, handed_out: &[Vec<(TopicId, u64)>], top_k: usize) -> Vec<Self> {
        let mut sums: FxHashMap<TopicId, u64> = FxHashMap::default();
        for &(topic, count) in handed_out.iter().flatten() {
            *sums.entry(topic).or_default() += count;
        }
        let mut hottest: Vec<_> = sums.into_iter().filter(|(_, sum)| *sum > 0).collect();
        hottest.sort_unstable_by_key(|&(topic, sum)| (Reverse(sum), topic));
        let hot = |(topic, deliveries)| {
            let cell = directory.get(topic)?;
            Some(Self {
                topic: cell.topic().clone(),
                kind: cell.kind(),
                deliveries,
                subscribers: cell.subscribers(),
                seq: cell.position().seq,
                stale: cell.stale_since().is_some() || cell.is_doubted(),
            })
        };
        hottest.into_iter().take(top_k).filter_map(hot).collect()
    }
}
