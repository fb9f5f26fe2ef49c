//! How waiting messages are taken back, dropped, replaced or corrected. A message that is partly written is never
//! touched.

use std::collections::VecDeque;

use tickwire_wire::message::{AckResult, GapReason};
use tickwire_wire::{Epoch, Seq, Topic};

use super::{Delivery, Item, Outbox, Sort};
use crate::publication::TopicId;

impl Item {
    /// The topic of an owed message, of a gap that names some, or of an end, and the epoch and the number at which its
    /// subscription stood before it.
    pub(crate) fn stood_before(&self) -> Option<(&Topic, &Epoch, Seq)> {
        match self {
            Self::Delivery(it) if it.sort != Sort::OneShot => {
                let lineage = &it.publication.lineage;
                Some((&lineage.topic, &lineage.epoch, it.before()))
            }
            Self::Gap(gap) if gap.reason == GapReason::Slow => {
                Some((&gap.name, &gap.epoch, Seq(gap.from.0 - 1)))
            }
            Self::End(end) => Some((&end.name, &end.at.epoch, end.at.seq)),
            _ => None,
        }
    }

    pub(crate) fn topic(&self) -> Option<TopicId> {
        match self {
            Self::Delivery(delivery) => Some(delivery.topic()),
            Self::Gap(gap) => Some(gap.topic),
            Self::Joined(joined) => Some(joined.topic),
            Self::End(end) => Some(end.topic),
            Self::Status(status) => Some(status.topic),
            Self::CaughtUp(caught_up) => Some(caught_up.topic),
            Self::Synced(_) | Self::Answer(_) => None,
        }
    }

    /// The number of owed messages that are settled once it is written.
    pub(super) fn stands_for(&self) -> u64 {
        match self {
            Self::Delivery(delivery) => delivery.settles().sum(),
            Self::Gap(gap) => gap.gaps(),
            Self::Joined(_)
            | Self::End(_)
            | Self::Status(_)
            | Self::CaughtUp(_)
            | Self::Synced(_)
            | Self::Answer(_) => 0,
        }
    }
}

impl Outbox {
    /// Takes out the publications and gaps that `chosen` selects, except a partly written one, and returns them in
    /// their order. Answers stay.
    pub(crate) fn take_back(&mut self, mut chosen: impl FnMut(&Item) -> bool) -> Vec<Item> {
        let begun = self.begun();
        let mut taken = Vec::new();
        let mut kept = VecDeque::new();
        for (index, item) in std::mem::take(&mut self.data).into_iter().enumerate() {
            if index < begun || matches!(item, Item::Answer(_)) || !chosen(&item) {
                kept.push_back(item);
            } else {
                *self.bytes.of(&item) -= item.len();
                taken.push(item);
            }
        }
        self.data = kept;
        self.count();
        taken
    }

    /// Drops the data frames that `gone` selects, except a partly written one. Returns how many owed messages they
    /// stood for.
    pub(crate) fn purge(&mut self, mut gone: impl FnMut(&Item) -> bool) -> u64 {
        let mut keep_first = self.begun() > 0;
        let (bytes, mut dropped) = (&mut self.bytes, 0);
        self.data.retain(|item| {
            if std::mem::take(&mut keep_first) || !gone(item) {
                return true;
            }
            *bytes.of(item) -= item.len();
            dropped += item.stands_for();
            false
        });
        self.count();
        dropped
    }

    /// The topics whose end waits, with their names, if `wanted` selects these. Looks at everything that waits.
    pub(crate) fn ended_topics(&self, wanted: impl Fn(&Topic) -> bool) -> Vec<(TopicId, Topic)> {
        let ends = self.data.iter().filter_map(|item| match item {
            Item::End(end) => Some(end),
            _ => None,
        });
        ends.filter(|end| wanted(&end.name))
            .map(|end| (end.topic, end.name.clone()))
            .collect()
    }

    /// The number of owed messages that the waiting ones stand for, including a partly written one. Looks at everything
    /// that waits.
    pub(crate) fn stands_for(&self) -> u64 {
        self.data.iter().map(Item::stands_for).sum()
    }

    /// Replaces each publication of which nothing was written by the result of `newer`, if there is one. `newer` sees the
    /// last one first, because one that is kept must not follow a newer one. Those before a `caught_up` stay: it names the
    /// last of them.
    pub(crate) fn refresh(&mut self, mut newer: impl FnMut(&Delivery) -> Option<Delivery>) {
        let begun = self.begun();
        let mut fixed = Vec::new();
        for item in self.data.iter_mut().skip(begun).rev() {
            if let Item::CaughtUp(caught_up) = item {
                fixed.push(caught_up.topic);
            }
            if let Item::Delivery(old) = item
                && !fixed.contains(&old.topic())
                && let Some(new) = newer(old)
            {
                *self.bytes.of(item) -= item.len();
                *item = Item::Delivery(new);
                *self.bytes.of(item) += item.len();
            }
        }
        self.count();
    }

    /// Lets `correct` change the results of each answer of which nothing was written. `correct` gets the answer's
    /// number, and returns whether it has changed the results.
    pub(crate) fn correct_answers(&mut self, mut correct: impl FnMut(u32, &mut [AckResult]) -> bool) {
        let begun = self.begun();
        for item in self.data.iter_mut().skip(begun) {
            if let Item::Answer(answer) = item {
                self.bytes.answers -= answer.bytes.len();
                answer.correct(self.dialect, &mut correct);
                self.bytes.answers += answer.bytes.len();
            }
        }
        self.count();
    }
}
