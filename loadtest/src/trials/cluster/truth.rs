//! What has been seen anywhere: a message has one content in its topic, epoch and number, and one number in its epoch.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::swarm::Faults;

/// The number of a message among all that the publishers of the run have made.
pub(super) type MessageId = u64;

#[derive(Debug, Default)]
struct Numbers {
    /// The messages by their numbers, from 1. 0 where none was seen.
    messages: Vec<MessageId>,
}

#[derive(Debug, Default)]
struct Seen {
    /// By topic, in the order in which its epochs were first seen.
    topics: HashMap<String, Vec<(String, Numbers)>>,
    /// The place of each message in its epoch.
    places: HashMap<(String, MessageId), u64>,
    faults: Faults,
    count: u64,
}

/// What has been seen anywhere, by clients and in the answers of publishers.
#[derive(Debug, Default)]
pub(super) struct Truth(Mutex<Seen>);

impl Truth {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody has seen a message.
    pub(super) fn saw(&self, topic: &str, epoch: &str, seq: u64, id: MessageId) {
        let mut guard = self.lock();
        let seen = &mut *guard;
        if !seen.topics.contains_key(topic) {
            seen.topics.insert(topic.to_owned(), Vec::new());
        }
        let Some(epochs) = seen.topics.get_mut(topic) else {
            return;
        };
        let at = epochs.iter().position(|(known, _)| known == epoch);
        let at = at.unwrap_or_else(|| {
            epochs.push((epoch.to_owned(), Numbers::default()));
            epochs.len() - 1
        });
        let messages = &mut epochs[at].1.messages;
        let place = usize::try_from(seq).unwrap_or(usize::MAX);
        if messages.len() <= place {
            messages.resize(place + 1, 0);
        }
        match messages[place] {
            0 => {
                messages[place] = id;
                seen.count += 1;
                let before = seen.places.insert((epoch.to_owned(), id), seq);
                if let Some(before) = before {
                    let text = format_args!("{id} is {before} and {seq} of {topic} in {epoch}");
                    seen.faults.add("duplicate", text);
                }
            }
            known if known != id => {
                let text = format_args!("{topic} {epoch}:{seq} is {known}, and {id}");
                seen.faults.add("conflict", text);
            }
            _ => {}
        }
    }

    /// How many messages were seen, each counted once.
    pub(super) fn count(&self) -> u64 {
        self.lock().count
    }

    /// The newest number of a topic in an epoch.
    pub(super) fn newest(&self, topic: &str, epoch: &str) -> u64 {
        let guard = self.lock();
        let epochs = guard.topics.get(topic).into_iter().flatten();
        let numbers = epochs
            .filter(|(known, _)| known == epoch)
            .map(|(_, numbers)| numbers);
        numbers
            .map(|numbers| numbers.messages.len().saturating_sub(1) as u64)
            .max()
            .unwrap_or(0)
    }

    /// The number of epochs that were seen.
    pub(super) fn epochs(&self) -> usize {
        let guard = self.lock();
        let mut all: Vec<&str> = guard
            .topics
            .values()
            .flatten()
            .map(|(epoch, _)| epoch.as_str())
            .collect();
        all.sort_unstable();
        all.dedup();
        all.len()
    }

    /// What was wrong.
    pub(super) fn take_faults(&self) -> Faults {
        std::mem::take(&mut self.lock().faults)
    }
}
