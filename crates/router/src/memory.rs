//! The memory that messages and books take, in four accounts: the values of topics, their histories, the messages
//! that promised replays keep, and those that were read from the archive.
//!
//! A message counts in the account of its place in the topic: the newest message is the value, older ones are the
//! history. Its data counts from the start, and each encoded frame from when it is made. A message that replays keep
//! also counts in their account, once for all of them. One word of the message holds all of this, so threads that
//! encode it, publish after it and release it agree on what each account holds.
//!
//! Never waits. An account may be over its limit until the code that watches it has given something up.

use std::sync::atomic::{AtomicIsize, AtomicU64, AtomicUsize, Ordering};

use crate::archive::ARCHIVE_BYTES_MAX;

/// Bytes that each message adds by being allocated and shared: its places in queues, counters, headers, rounding.
pub(crate) const MESSAGE_OVERHEAD: usize = 64;
/// Bytes that an encoded frame takes beside its payload.
const FRAME_OVERHEAD: usize = 48;

/// A number of bytes that are held, and their limit.
#[derive(Debug)]
pub(crate) struct Account {
    // Threads may record moves of the same bytes in any order, so this may be below 0 for a moment.
    bytes: AtomicIsize,
    max: AtomicUsize,
}

impl Account {
    fn new(max: usize) -> Self {
        Self {
            bytes: AtomicIsize::new(0),
            max: AtomicUsize::new(max),
        }
    }

    /// Records that something which held `before` bytes holds `now` bytes.
    pub(crate) fn change(&self, before: usize, now: usize) {
        self.grow(difference(before, now));
    }

    /// Records that `more` bytes are held, or less if it is below 0.
    fn grow(&self, more: isize) {
        if more != 0 {
            self.bytes.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// Bytes that are held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed).max(0).cast_unsigned()
    }

    /// Bytes that may be held.
    pub(crate) fn max(&self) -> usize {
        self.max.load(Ordering::Relaxed)
    }

    /// Sets the limit. If more is held, topics give it up over time.
    pub(crate) fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Whether more bytes are held than the limit allows.
    pub(crate) fn is_over(&self) -> bool {
        self.bytes() > self.max()
    }

    /// Whether `more` bytes fit.
    pub(crate) fn has_room(&self, more: usize) -> bool {
        self.bytes().saturating_add(more) <= self.max()
    }
}

/// The number of bytes that something holds more `now` than `before`.
fn difference(before: usize, now: usize) -> isize {
    now.cast_signed().wrapping_sub(before.cast_signed())
}

/// Moves of messages that are recorded together, so that those of one publication cost one change of each account.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    values: isize,
    spare: isize,
    history: isize,
}

impl Moves {
    /// Changes what the account of `place` holds for a message: `data` and `frames` are bytes before and now.
    fn change(&mut self, place: MessagePlace, data: (usize, usize), frames: (usize, usize)) {
        let (data, frames) = (difference(data.0, data.1), difference(frames.0, frames.1));
        match place {
            MessagePlace::Nowhere => {}
            MessagePlace::Value => {
                self.values += data;
                self.spare += frames;
            }
            MessagePlace::Copy => self.spare += data + frames,
            MessagePlace::History => self.history += data + frames,
        }
    }

    /// Counts a message with `data` bytes that was [made as a value](Held::value).
    pub(crate) fn value_made(&mut self, data: usize) {
        self.change(MessagePlace::Value, (0, data), (0, 0));
    }
}

/// The accounts of a directory.
#[derive(Debug)]
pub(crate) struct Memory {
    /// Newest messages without their frames, and books.
    pub(crate) values: Account,
    /// Frames of newest messages, and snapshots of books. They may be given up, so publications are not refused because
    /// of them.
    spare: Account,
    pub(crate) history: Account,
    pub(crate) replays: Account,
    /// What was read from the archive.
    pub(crate) archived: Account,
    /// Topics that have ended and are still held by a shard, for readers that have not got all of them, or by a
    /// publisher.
    pub(crate) ended: AtomicUsize,
}

impl Memory {
    /// Accounts with these limits in bytes.
    pub(crate) fn new(values_max: usize, history_max: usize, replays_max: usize) -> Self {
        Self {
            values: Account::new(values_max),
            spare: Account::new(usize::MAX),
            history: Account::new(history_max),
            replays: Account::new(replays_max),
            archived: Account::new(ARCHIVE_BYTES_MAX),
            ended: AtomicUsize::new(0),
        }
    }

    /// Bytes that the values of all topics hold.
    pub(crate) fn value_bytes(&self) -> usize {
        self.values.bytes() + self.spare.bytes()
    }

    /// Whether values hold more than their limit, together with the frames and snapshots that were made of them.
    pub(crate) fn values_are_over(&self) -> bool {
        self.value_bytes() > self.values.max()
    }

    /// Records `moves`.
    pub(crate) fn record(&self, moves: &Moves) {
        self.values.grow(moves.values);
        self.spare.grow(moves.spare);
        self.history.grow(moves.history);
    }

    /// Whether the histories hold more than their limit once `moves` are recorded.
    pub(crate) fn history_is_over(&self, moves: &Moves) -> bool {
        let held = self.history.bytes().saturating_add_signed(moves.history);
        held > self.history.max()
    }
}

/// The place of a message in its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessagePlace {
    /// The topic does not hold it, or no longer.
    Nowhere,
    /// It is the newest message.
    Value,
    /// It is an older message.
    History,
    /// It repeats what the topic holds anyway, and can be made again.
    Copy,
}

impl MessagePlace {
    const fn of(bits: u64) -> Self {
        match bits {
            1 => Self::Value,
            2 => Self::History,
            3 => Self::Copy,
            _ => Self::Nowhere,
        }
    }
}

/// What holds a message, and the bytes of its frames: the lowest 24 bits are the number of replays that keep it, two
/// bits are its [`MessagePlace`], and the rest are the bytes.
#[derive(Debug, Default)]
pub(crate) struct Held(AtomicU64);

/// The parts of the word of a [`Held`].
#[derive(Debug, Clone, Copy)]
struct Holders {
    pins: u64,
    place: MessagePlace,
    frames: usize,
}

const PLACE_SHIFT: u32 = 24;
const FRAMES_SHIFT: u32 = PLACE_SHIFT + 2;
const PINS_MASK: u64 = (1 << PLACE_SHIFT) - 1;
const PLACE_MASK: u64 = 3 << PLACE_SHIFT;

impl Holders {
    fn of(word: u64) -> Self {
        Self {
            pins: word & PINS_MASK,
            place: MessagePlace::of((word & PLACE_MASK) >> PLACE_SHIFT),
            // No frame is near the length that does not fit.
            frames: usize::try_from(word >> FRAMES_SHIFT).unwrap_or(usize::MAX),
        }
    }
}

impl Held {
    /// That of a new message that becomes its topic's value. Its data is to be counted by [`Moves::value_made`].
    pub(crate) fn value() -> Self {
        Self(AtomicU64::new((MessagePlace::Value as u64) << PLACE_SHIFT))
    }

    /// Bytes of the frames that were made.
    pub(crate) fn frame_bytes(&self) -> usize {
        Holders::of(self.0.load(Ordering::Relaxed)).frames
    }

    /// Whether a replay keeps it.
    pub(crate) fn is_pinned(&self) -> bool {
        Holders::of(self.0.load(Ordering::Relaxed)).pins > 0
    }

    /// Records a new frame whose payload has `payload` bytes.
    pub(crate) fn frame_made(&self, payload: usize, memory: &Memory) {
        let more = payload + FRAME_OVERHEAD;
        let before = Holders::of(self.0.fetch_add((more as u64) << FRAMES_SHIFT, Ordering::Relaxed));
        let mut moves = Moves::default();
        moves.change(before.place, (0, 0), (0, more));
        memory.record(&moves);
        if before.pins > 0 {
            memory.replays.change(0, more);
        }
    }

    /// Adds to `moves` that the topic holds the message at `place` now. Its data has `data` bytes.
    pub(crate) fn move_to(&self, place: MessagePlace, data: usize, moves: &mut Moves) {
        let moved = |word| Some(word & !PLACE_MASK | (place as u64) << PLACE_SHIFT);
        let before = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, moved)
            .map_or_else(Holders::of, Holders::of);
        moves.change(before.place, (data, 0), (before.frames, 0));
        moves.change(place, (0, data), (0, before.frames));
    }

    /// Records one more replay that keeps the message.
    pub(crate) fn pin(&self, data: usize, memory: &Memory) {
        let before = Holders::of(self.0.fetch_add(1, Ordering::Relaxed));
        if before.pins == 0 {
            memory.replays.change(0, data + before.frames);
        }
    }

    /// Records one replay less that keeps the message.
    pub(crate) fn unpin(&self, data: usize, memory: &Memory) {
        let before = Holders::of(self.0.fetch_sub(1, Ordering::Relaxed));
        if before.pins == 1 {
            memory.replays.change(data + before.frames, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(memory: &Memory) -> [usize; 3] {
        [
            memory.value_bytes(),
            memory.history.bytes(),
            memory.replays.bytes(),
        ]
    }

    /// Moves a message of 100 bytes.
    fn moved(message: &Held, place: MessagePlace, memory: &Memory) {
        let mut moves = Moves::default();
        message.move_to(place, 100, &mut moves);
        memory.record(&moves);
    }

    #[test]
    fn a_message_is_on_the_account_of_where_it_is_held_and_once_on_that_of_all_replays() {
        let memory = Memory::new(1_000, 1_000, 1_000);
        let message = Held::default();
        message.frame_made(10, &memory);
        assert_eq!(held(&memory), [0; 3], "nobody holds it yet");
        moved(&message, MessagePlace::Value, &memory);
        let frame = 10 + FRAME_OVERHEAD;
        assert_eq!(held(&memory), [100 + frame, 0, 0]);
        message.pin(100, &memory);
        message.pin(100, &memory);
        moved(&message, MessagePlace::History, &memory);
        assert_eq!(held(&memory), [0, 100 + frame, 100 + frame]);
        message.frame_made(20, &memory);
        let frames = frame + 20 + FRAME_OVERHEAD;
        moved(&message, MessagePlace::Nowhere, &memory);
        assert_eq!(held(&memory), [0, 0, 100 + frames]);
        message.unpin(100, &memory);
        assert!(message.is_pinned());
        message.unpin(100, &memory);
        assert_eq!(held(&memory), [0; 3]);
        assert_eq!(message.frame_bytes(), frames);
    }

    #[test]
    fn an_account_has_room_up_to_its_most() {
        let account = Account::new(100);
        account.change(0, 60);
        assert!(account.has_room(40) && !account.has_room(41) && !account.is_over());
        account.set_max(59);
        assert!(account.is_over());
        account.change(100, 0);
        assert_eq!(account.bytes(), 0, "never less than nothing");
    }
}
