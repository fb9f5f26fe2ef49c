//! A table by topic number whose memory follows the topics that exist, though numbers are never used again.
//!
//! The entries are in pages. A page is made with its first entry and freed with its last one. Then eight bytes of it
//! are left, for as many numbers as a page has entries.

use std::ops::{Index, IndexMut};

use crate::publication::TopicId;

/// The entries of a page.
const PAGE: usize = 64;

#[derive(Debug)]
struct Page<T> {
    entries: Box<[Option<T>; PAGE]>,
    used: usize,
}

/// Entries by topic number.
#[derive(Debug)]
pub(crate) struct Paged<T> {
    pages: Vec<Option<Page<T>>>,
}

impl<T> Default for Paged<T> {
    fn default() -> Self {
        Self { pages: Vec::new() }
    }
}

impl<T> Paged<T> {
    /// The entry of a topic, if it has one.
    #[inline]
    pub(crate) fn get(&self, topic: TopicId) -> Option<&T> {
        let page = self.pages.get(topic.index() / PAGE)?.as_ref()?;
        page.entries[topic.index() % PAGE].as_ref()
    }

    /// Does the same as [`Self::get`], for a change.
    #[inline]
    pub(crate) fn get_mut(&mut self, topic: TopicId) -> Option<&mut T> {
        let page = self.pages.get_mut(topic.index() / PAGE)?.as_mut()?;
        page.entries[topic.index() % PAGE].as_mut()
    }

    /// Gives a topic that has none an entry.
    pub(crate) fn insert(&mut self, topic: TopicId, entry: T) {
        let at = topic.index() / PAGE;
        if self.pages.len() <= at {
            self.pages.resize_with(at + 1, || None);
        }
        let page = self.pages[at].get_or_insert_with(|| Page {
            entries: Box::new([const { None }; PAGE]),
            used: 0,
        });
        let before = page.entries[topic.index() % PAGE].replace(entry);
        debug_assert!(before.is_none(), "{topic:?} has an entry");
        page.used += usize::from(before.is_none());
    }

    /// Takes out the entry of a topic, if it has one.
    pub(crate) fn remove(&mut self, topic: TopicId) -> Option<T> {
        let slot = self.pages.get_mut(topic.index() / PAGE)?;
        let page = slot.as_mut()?;
        let entry = page.entries[topic.index() % PAGE].take()?;
        page.used -= 1;
        if page.used == 0 {
            *slot = None;
        }
        Some(entry)
    }

    /// The entries, with the numbers of their topics.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (TopicId, &T)> {
        let entries = self.pages.iter().flat_map(|page| {
            let entries = page.as_ref().map(|page| page.entries.iter());
            (0..PAGE).map(move |at| {
                let mut entries = entries.clone()?;
                entries.nth(at)?.as_ref()
            })
        });
        let numbered = (0..).map(TopicId).zip(entries);
        numbered.filter_map(|(topic, entry)| Some((topic, entry?)))
    }

    /// The number of entries.
    pub(crate) fn len(&self) -> usize {
        self.pages.iter().flatten().map(|page| page.used).sum()
    }
}

impl<T> Index<TopicId> for Paged<T> {
    type Output = T;

    /// The entry of a topic.
    ///
    /// # Panics
    /// If it has none.
    #[inline]
    fn index(&self, topic: TopicId) -> &T {
        self.get(topic).expect("the topic has an entry")
    }
}

impl<T> IndexMut<TopicId> for Paged<T> {
    #[inline]
    fn index_mut(&mut self, topic: TopicId) -> &mut T {
        self.get_mut(topic).expect("the topic has an entry")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_a_map_that_frees_its_pages(
            steps in prop::collection::vec((any::<bool>(), 0_u32..400), 0..120),
        ) {
            let (mut paged, mut model) = (Paged::default(), BTreeMap::new());
            for (add, number) in steps {
                let topic = TopicId(number);
                if add && !model.contains_key(&topic) {
                    paged.insert(topic, number);
                    model.insert(topic, number);
                } else if !add {
                    prop_assert_eq!(paged.remove(topic), model.remove(&topic));
                }
                prop_assert_eq!(paged.get(topic), model.get(&topic));
                prop_assert!(paged.iter().eq(model.iter().map(|(topic, entry)| (*topic, entry))));
                prop_assert_eq!(paged.len(), model.len());
            }
            for topic in model.keys() {
                paged.remove(*topic);
            }
            prop_assert!(paged.pages.iter().all(Option::is_none));
        }
    }
}
