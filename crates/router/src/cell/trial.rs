//! Trials of messages before the first of them is published: what the topic's value will need, and for a book, whether a
//! copy of it takes them.

use tickwire_wire::{Kind, Micros, Payload, Refusal, Topic};

use super::TopicCell;
use super::entering::Sequencer;
use super::holding::{book_growth, message_growth};
use crate::book::OrderBook;

/// A copy of a book, to which messages are applied that are to be published later. It says what the topic would refuse,
/// and how much memory the topic would need.
#[derive(Debug)]
pub struct BookTrial {
    topic: Topic,
    sequencer: Sequencer,
    /// The bytes that the values held for the newest message before the trial.
    message_bytes: usize,
    /// The bytes that they held for the book.
    book_bytes: usize,
    /// The bytes that the longest message up to now needs beyond those.
    message_growth: usize,
    needs: usize,
}

impl BookTrial {
    /// The trial of a book that does not exist yet.
    #[must_use]
    pub fn new(topic: Topic) -> Self {
        Self {
            topic,
            sequencer: Sequencer::new(Kind::Book),
            message_bytes: 0,
            book_bytes: 0,
            message_growth: 0,
            needs: 0,
        }
    }

    /// Applies the next message. Returns the most bytes that the topic's value needs more at any time up to now than
    /// before the trial.
    ///
    /// # Errors
    /// If the topic would refuse it. The copy is then unchanged.
    pub fn publish(&mut self, payload: Payload) -> Result<usize, Refusal> {
        let grown = |sequencer: &Sequencer| {
            let bytes = sequencer.book().map_or(0, OrderBook::memory_bytes);
            bytes.saturating_sub(self.book_bytes)
        };
        let before = grown(&self.sequencer) + book_growth(&payload, self.sequencer.book());
        let asked = message_growth(self.message_bytes, payload.heap_bytes());
        let (numbered, _) = self.sequencer.number(payload, Micros(0), &self.topic, None)?;
        let after = grown(&self.sequencer);
        // A whole book is held as the changes to it. Each message takes the place of the one before it, so the longest
        // of them counts.
        let held = message_growth(self.message_bytes, numbered.payload.heap_bytes());
        self.message_growth = self.message_growth.max(asked).max(held);
        self.needs = self.needs.max(before.max(after) + self.message_growth);
        Ok(self.needs)
    }
}

/// A topic that is no book, and messages to it that are to be published later. It says how much memory the topic's value
/// needs for them.
#[derive(Debug)]
pub struct ValueTrial {
    /// The bytes that the values held for the newest message before the trial.
    message_bytes: usize,
    needs: usize,
}

impl ValueTrial {
    /// The trial of `cell` as it is now, or of a topic that does not exist yet.
    #[must_use]
    pub fn new(cell: Option<&TopicCell>) -> Self {
        let newest = cell.and_then(TopicCell::newest);
        Self {
            message_bytes: newest.map_or(0, |newest| newest.data_bytes()),
            needs: 0,
        }
    }

    /// Counts the next message, whose payload holds `heap_bytes` bytes. Returns by how many bytes it raises the most that
    /// the topic's value needs more at any time than before the trial.
    pub fn publish(&mut self, heap_bytes: usize) -> usize {
        let needs = self.needs.max(message_growth(self.message_bytes, heap_bytes));
        needs - std::mem::replace(&mut self.needs, needs)
    }
}

impl TopicCell {
    /// A trial of messages to the topic as it is now.
    #[must_use]
    pub fn trial(&self) -> BookTrial {
        let state = self.lock();
        BookTrial {
            topic: self.topic.clone(),
            sequencer: state.sequencer.clone(),
            message_bytes: state.history.newest().map_or(0, |newest| newest.data_bytes()),
            book_bytes: state.book_bytes,
            message_growth: 0,
            needs: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use tickwire_wire::{Decimal, Symbol, market};

    use super::*;
    use crate::directory::{Directory, DirectoryLimits};
    use crate::ingress::{Ingress, Origin};
    use crate::kinds::Kinds;

    fn ingress(value_bytes_max: usize) -> Ingress {
        let limits = DirectoryLimits {
            value_bytes_max,
            ..DirectoryLimits::default()
        };
        Ingress::new(Arc::new(Directory::new(
            "e".into(),
            Kinds::default(),
            limits,
            Vec::new(),
        )))
    }

    /// A message of `sizes` of the bids at the prices from `from` on.
    fn message(from: i64, sizes: &[i64], replace: bool) -> Payload {
        let level = |(at, size): (usize, &i64)| market::Level {
            price: Decimal::new(from + at as i64, 2),
            size: Decimal::new(*size, 0),
        };
        Payload::Book(Box::new(market::Book {
            symbol: Symbol::from("A"),
            bids: sizes.iter().enumerate().map(level).collect(),
            asks: Vec::new(),
            checksum: 0,
            time: Micros(0),
            replace,
        }))
    }

    /// A body for a book that was lost was published up to its first change, as if the book were empty.
    #[test]
    fn a_trial_took_a_lost_book_for_an_empty_one() {
        let ingress = ingress(usize::MAX);
        let topic: Topic = "book.A".parse().expect("a topic");
        let publish = |payload| ingress.submit(Origin::Feed, &topic, payload, Micros(0));
        publish(message(1, &[1], false)).expect("an empty book");
        let cell = ingress.directory().find("book.A").expect("it was made");
        cell.lock().sequencer.lose_book();
        let mut trial = cell.trial();
        let refusal = trial
            .publish(message(1, &[2], false))
            .expect_err("a change of nothing");
        assert!(refusal.reason.contains("publish it whole"), "{}", refusal.reason);
        trial.publish(message(1, &[2], true)).expect("a whole book");
        trial.publish(message(1, &[3], false)).expect("a change of that");
    }

    proptest! {
        #[test]
        fn what_a_trial_says_is_needed_is_enough_to_publish_the_same_messages(
            messages in prop::collection::vec(
                (1_i64..200, prop::collection::vec(prop_oneof![Just(0_i64), 1_i64..9], 1..60), prop::bool::weighted(0.1)),
                2..30),
            begin in 0_usize..10,
        ) {
            let topic: Topic = "book.A".parse().expect("a topic");
            let fill = |ingress: &Ingress, messages: &[(i64, Vec<i64>, bool)]| {
                messages.iter().try_for_each(|(from, sizes, replace)| {
                    let payload = message(*from, sizes, *replace);
                    ingress.submit(Origin::Feed, &topic, payload, Micros(0)).map(drop)
                })
            };
            let (before, after) = messages.split_at(begin.min(messages.len() - 1));
            let free = ingress(usize::MAX);
            fill(&free, before).expect("there is room");
            let held = free.directory().value_bytes();
            let mut trial = match free.directory().find("book.A") {
                Some(cell) => cell.trial(),
                None => BookTrial::new(topic.clone()),
            };
            let mut needs = 0;
            for (from, sizes, replace) in after {
                needs = trial.publish(message(*from, sizes, *replace)).expect("there is room");
            }
            let publishes = |max: usize| {
                let ingress = ingress(usize::MAX);
                fill(&ingress, before).expect("there is room");
                let limits = DirectoryLimits {
                    value_bytes_max: max,
                    ..DirectoryLimits::default()
                };
                ingress.directory().reconfigure(limits, Kinds::default(), Vec::new(), Vec::new());
                fill(&ingress, after).is_ok()
            };
            prop_assert!(publishes(held + needs), "{needs} are not enough");
        }
    }
}
