//! The topics of a session: in a list while they are few, which takes the least memory and is searched as fast as a map, and in a
//! map when they are more.

use rustc_hash::FxHashMap;

use super::subscriptions::SubRef;
use crate::publication::TopicId;

/// The most topics in a list.
const FEW: usize = 8;

/// Topics that a session is subscribed to, each once.
#[derive(Debug)]
pub(crate) enum SubscribedTopics {
    Few(Vec<(TopicId, SubRef)>),
    Many(FxHashMap<TopicId, SubRef>),
}

impl Default for SubscribedTopics {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl SubscribedTopics {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Few(list) => list.len(),
            Self::Many(map) => map.len(),
        }
    }

    #[inline]
    pub(crate) fn get(&self, topic: TopicId) -> Option<&SubRef> {
        match self {
            Self::Few(list) => list
                .iter()
                .find_map(|(other, subscription)| (*other == topic).then_some(subscription)),
            Self::Many(map) => map.get(&topic),
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, topic: TopicId) -> Option<&mut SubRef> {
        match self {
            Self::Few(list) => list
                .iter_mut()
                .find_map(|(other, subscription)| (*other == topic).then_some(subscription)),
            Self::Many(map) => map.get_mut(&topic),
        }
    }

    /// Adds a topic that is not there.
    pub(crate) fn insert(&mut self, topic: TopicId, subscription: SubRef) {
        self.reserve(1);
        match self {
            Self::Few(list) => list.push((topic, subscription)),
            Self::Many(map) => {
                map.insert(topic, subscription);
            }
        }
    }

    pub(crate) fn remove(&mut self, topic: TopicId) -> Option<SubRef> {
        match self {
            Self::Few(list) => {
                let at = list.iter().position(|(other, _)| *other == topic)?;
                Some(list.swap_remove(at).1)
            }
            Self::Many(map) => map.remove(&topic),
        }
    }

    /// Makes room for `more` topics.
    pub(crate) fn reserve(&mut self, more: usize) {
        match self {
            Self::Few(list) if list.len() + more <= FEW => {
                if list.capacity() < list.len() + more {
                    // The first one gets its own room, and no more: most sessions have one topic.
                    list.reserve_exact(more.max(list.len()));
                }
            }
            Self::Few(list) => {
                let mut map = FxHashMap::default();
                map.reserve(list.len() + more);
                map.extend(list.drain(..));
                *self = Self::Many(map);
            }
            Self::Many(map) => map.reserve(more),
        }
    }

    /// The numbers of all of them, in no particular order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = TopicId> {
        self.iter().map(|(topic, _)| topic)
    }

    /// All of them, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (TopicId, &SubRef)> {
        let (list, map) = match self {
            Self::Few(list) => (Some(list), None),
            Self::Many(map) => (None, Some(map)),
        };
        let list = list.into_iter().flatten();
        let map = map.into_iter().flatten();
        list.map(|(topic, subscription)| (*topic, subscription))
            .chain(map.map(|(topic, subscription)| (*topic, subscription)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::Place;
    use super::*;
    use crate::pace::RateClass;

    fn subscription(begun: u32) -> SubRef {
        SubRef {
            place: Place {
                class: RateClass::UNLIMITED,
                position: 0,
            },
            covers: 1,
            every: 0,
            awaited: Default::default(),
            begun,
        }
    }

    proptest! {
        #[test]
        fn are_a_map(steps in prop::collection::vec((0..6_u8, 0..14_u32, 0..1_000_u32), 0..80)) {
            let (mut topics, mut model) = (SubscribedTopics::default(), BTreeMap::new());
            for (step, topic, begun) in steps {
                let topic = TopicId(topic);
                match step {
                    0..=2 if !model.contains_key(&topic) => {
                        topics.insert(topic, subscription(begun));
                        model.insert(topic, begun);
                    }
                    3 => {
                        let removed = topics.remove(topic).map(|subscription| subscription.begun);
                        prop_assert_eq!(removed, model.remove(&topic));
                    }
                    4 if begun < 20 => topics.reserve(begun as usize),
                    _ => {
                        if let Some(subscription) = topics.get_mut(topic) {
                            subscription.begun = begun;
                            model.insert(topic, begun);
                        }
                    }
                }
                let found = topics.get(topic).map(|subscription| subscription.begun);
                prop_assert_eq!(found, model.get(&topic).copied());
                prop_assert_eq!(topics.len(), model.len());
                let held: BTreeMap<_, _> =
                    topics.iter().map(|(topic, subscription)| (topic, subscription.begun)).collect();
                prop_assert_eq!(&held, &model);
            }
        }
    }

    #[test]
    fn a_session_with_one_topic_paid_for_a_map() {
        let mut topics = SubscribedTopics::default();
        topics.insert(TopicId(1), subscription(0));
        assert!(matches!(&topics, SubscribedTopics::Few(list) if list.capacity() == 1));
    }
}
