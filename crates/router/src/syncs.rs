//! Which requests of a session have brought something that is still to be put on its way, so that each is told when the last
//! of it was.
//!
//! Each topic that a request brings is marked with the request's number until what it begins with is in the outbox. They are
//! told in their order: what is brought for one that came first holds up those behind it, so a topic that two have asked for needs
//! one mark, that of the first. As many as wait cost their memory, which counts among the answers that wait.

use std::collections::VecDeque;

use tickwire_wire::RequestId;

/// The first number, in the middle: what is taken back out of an outbox goes before those that wait.
const FIRST: u32 = 1 << 31;

/// The mark of a topic: the number of the request that waits for it, 0 if none does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Awaited(u32);

impl Awaited {
    pub(crate) const fn is_nothing(self) -> bool {
        self.0 == 0
    }
}

/// A request that waits to be told.
#[derive(Debug)]
struct Sync {
    number: u32,
    request: RequestId,
    /// Topics with its mark.
    left: u32,
    /// It was not answered yet.
    under_way: bool,
    /// Whether it has brought anything, if only what another one waits for too.
    brought: bool,
}

/// The requests of a session that wait, numbered without a hole.
#[derive(Debug, Default)]
pub(crate) struct Syncs {
    waiting: VecDeque<Sync>,
}

impl Syncs {
    /// A request begins to bring something.
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

    /// The request that is under way brings the topic that `mark` is of.
    pub(crate) fn bring(&mut self, mark: &mut Awaited) {
        if let Some(sync) = self.waiting.back_mut().filter(|sync| sync.under_way) {
            sync.brought = true;
            if mark.is_nothing() {
                *mark = Awaited(sync.number);
                sync.left += 1;
            }
        }
    }

    /// The request that is under way was answered. Returns it if it has brought nothing, and so waits for nothing.
    pub(crate) fn answered(&mut self) -> Option<RequestId> {
        let sync = self.waiting.back_mut().filter(|sync| sync.under_way)?;
        sync.under_way = false;
        let waits = sync.brought || sync.left > 0;
        if waits { None } else { self.waiting.pop_back() }.map(|sync| sync.request)
    }

    /// What the topic that `mark` is of begins with is on its way, or will not come.
    pub(crate) fn arrived(&mut self, mark: &mut Awaited) {
        if let Some(sync) = self.marked(*mark) {
            sync.left -= 1;
        }
        *mark = Awaited::default();
    }

    /// What was `mark`'s is `other`'s to wait for: the earlier of the two numbers stays.
    pub(crate) fn hand_over(&mut self, mut mark: Awaited, other: &mut Awaited) {
        if other.is_nothing() || (!mark.is_nothing() && mark.0 < other.0) {
            std::mem::swap(&mut mark, other);
        }
        self.arrived(&mut mark);
    }

    /// The next request that waits for nothing any more, which is to be told.
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

    /// A request that was to be told waits again, before all others.
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

    /// What the topic that `mark` is of begins with was taken back: the first request that waits may wait for it.
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

    /// Bytes of memory that those who wait hold.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.waiting.capacity() * size_of::<Sync>()
    }
}
