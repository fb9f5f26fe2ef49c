//! The requests of a session that will get a `synced` when the last message that they brought is on its way.
//!
//! Each topic that a request brings is marked with the request's number until the beginning of its subscription is in
//! the outbox. Requests get `synced` in their order: an earlier request holds up later ones. So a topic that two
//! requests have asked for needs one mark, that of the first. The memory of waiting requests counts with the answers
//! that wait.

use std::collections::VecDeque;

use tickwire_wire::RequestId;

/// The first number. It is in the middle, because requests that are taken back out of an outbox get lower numbers.
const FIRST: u32 = 1 << 31;

/// The mark of a topic: the number of the request that waits for it, or 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Awaited(u32);

impl Awaited {
    pub(crate) const fn is_nothing(self) -> bool {
        self.0 == 0
    }
}

/// A request that waits for its `synced`.
#[derive(Debug)]
struct Sync {
    number: u32,
    request: RequestId,
    /// The number of topics with its mark.
    left: u32,
    /// Whether it is still to be answered.
    under_way: bool,
    /// Whether it has brought anything, even if another request waits for the same topic.
    brought: bool,
}

/// The waiting requests of a session, numbered without a hole.
#[derive(Debug, Default)]
pub(crate) struct Syncs {
    waiting: VecDeque<Sync>,
}

impl Syncs {
    /// Begins a request that may bring something.
    pub(crate) fn begin(&mut self, request: RequestId) {
        let number = self
            .waiting
            .back()
            .map_or(FIRST, |last| last.number.saturating_add(1));
        self.waiting.push_back(Sync {
            number,
            request,
            left: 0,
            under_way: true,
            brought: false,
        });
    }

    /// Makes the request under way wait for the topic of `mark`.
    pub(crate) fn bring(&mut self, mark: &mut Awaited) {
        if let Some(sync) = self.waiting.back_mut().filter(|sync| sync.under_way) {
            sync.brought = true;
            if mark.is_nothing() {
                *mark = Awaited(sync.number);
                sync.left += 1;
            }
        }
    }

    /// Records that the request under way was answered. Returns it if it has brought nothing and so waits for nothing.
    pub(crate) fn answered(&mut self) -> Option<RequestId> {
        let sync = self.waiting.back_mut().filter(|sync| sync.under_way)?;
        sync.under_way = false;
        let waits = sync.brought || sync.left > 0;
        if waits { None } else { self.waiting.pop_back() }.map(|sync| sync.request)
    }

    /// Records that the beginning of the subscription to the topic of `mark` is on its way, or will not come.
    pub(crate) fn arrived(&mut self, mark: &mut Awaited) {
        if let Some(sync) = self.marked(*mark) {
            sync.left -= 1;
        }
        *mark = Awaited::default();
    }

    /// Moves the wait of `mark` to `other`: the earlier of the two numbers stays.
    pub(crate) fn hand_over(&mut self, mut mark: Awaited, other: &mut Awaited) {
        if other.is_nothing() || (!mark.is_nothing() && mark.0 < other.0) {
            std::mem::swap(&mut mark, other);
        }
        self.arrived(&mut mark);
    }

    /// The next request that waits for nothing any more. The caller sends its `synced`.
    pub(crate) fn next_due(&mut self) -> Option<RequestId> {
        let due = self
            .waiting
            .front()
            .is_some_and(|sync| !sync.under_way && sync.left == 0);
        let sync = if due { self.waiting.pop_front() } else { None };
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        sync.map(|sync| sync.request)
    }

    /// Makes a request whose `synced` was taken back wait again, before all others.
    pub(crate) fn take_back(&mut self, request: RequestId) {
        let number = self
            .waiting
            .front()
            .map_or(FIRST, |first| first.number.saturating_sub(1).max(1));
        self.waiting.push_front(Sync {
            number,
            request,
            left: 0,
            under_way: false,
            brought: true,
        });
    }

    /// Records that the beginning of the subscription to the topic of `mark` was taken back: the first waiting request
    /// may wait for it.
    pub(crate) fn bring_again(&mut self, mark: &mut Awaited) {
        if let Some(first) = self.waiting.front_mut() {
            first.left += 1;
            let first = Awaited(first.number);
            self.hand_over(first, mark);
        }
    }

    fn marked(&mut self, mark: Awaited) -> Option<&mut Sync> {
        let first = self.waiting.front()?.number;
        let index = usize::try_from(mark.0.checked_sub(first)?).ok()?;
        self.waiting.get_mut(index)
    }

    /// The bytes of memory that waiting requests hold.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.waiting.capacity() * size_of::<Sync>()
    }
}
