//! The closed candles that a history keeps, compared with a plain list, and their memory.

use proptest::prelude::*;
use tickwire_wire::{Codec, Epoch, Kind, Micros, Payload, Seq};

use super::*;
use crate::families::FamilyId;
use crate::publication::{Lineage, TopicId};
use tickwire_wire::codec::DataOp;

fn lineage(history_max: usize) -> Arc<Lineage> {
    Arc::new(Lineage {
        id: TopicId(0),
        topic: "candle.1m.A".parse().expect("a topic"),
        kind: Kind::State,
        epoch: Epoch::from("e"),
        family: FamilyId::OTHER,
        memory: Arc::new(Memory::new(usize::MAX, history_max, 0)),
    })
}

/// Pushes message `seq` and returns whether the histories are over their budget. A frame of it is made if it `is_read`.
fn push(history: &mut History, lineage: &Arc<Lineage>, seq: u64, closed: bool, is_read: bool) -> bool {
    let payload = Payload::from_json(format!(r#"{{"close":"1","closed":{closed}}}"#).as_bytes());
    let publication = Publication::new(lineage.clone(), Seq(seq), Micros(1), payload.expect("JSON"));
    let publication = Arc::new(publication.held_as_value());
    let over = history.push(publication.clone(), &lineage.memory);
    if is_read {
        publication.frame(Codec::Json, DataOp::Update);
    }
    over
}

fn seqs<'a>(messages: impl Iterator<Item = &'a Arc<Publication>>) -> Vec<u64> {
    messages.map(|message| message.seq.0).collect()
}

/// The memory that the history holds, without its newest message.
fn held_bytes(history: &History) -> usize {
    let older = history.read_all(Seq::ZERO);
    let newest = history.newest().map_or(0, |newest| newest.memory_bytes());
    older.map(|message| message.memory_bytes()).sum::<usize>() - newest
}

proptest! {
    #[test]
    fn closed_candles_outlive_the_updates_between_them(
        messages in 1_usize..4,
        candles in 0_usize..5,
        pushed in proptest::collection::vec((any::<bool>(), any::<bool>()), 1..60),
        since in 0_u64..60,
    ) {
        let lineage = lineage(usize::MAX);
        let mut history = History::new(Kept { messages, candles });
        for (seq, (closed, is_read)) in (1..).zip(&pushed) {
            prop_assert!(!push(&mut history, &lineage, seq, *closed, *is_read));
        }
        let tail = pushed.len().saturating_sub(messages);
        let before = (1..=tail as u64).filter(|seq| pushed[*seq as usize - 1].0);
        let before: Vec<u64> = before.collect();
        let kept = before[before.len().saturating_sub(candles)..].iter().copied();
        let expected = kept.chain(tail as u64 + 1..=pushed.len() as u64);
        let expected: Vec<u64> = expected.filter(|seq| *seq > since).collect();
        prop_assert_eq!(seqs(history.read_all(Seq(since))), expected);
        // A subscription is resumed from the messages without a hole alone.
        prop_assert_eq!(history.oldest_seq(), Some(Seq(tail as u64 + 1)));
        prop_assert_eq!(lineage.memory.history.bytes(), held_bytes(&history));
        history.clear(&lineage.memory);
        prop_assert_eq!(lineage.memory.history.bytes(), 0);
        prop_assert_eq!(lineage.memory.value_bytes(), 0);
    }
}

#[test]
fn closed_candles_are_given_up_when_histories_hold_too_much() {
    let one = lineage(usize::MAX);
    let mut history = History::new(Kept {
        messages: 1,
        candles: 100,
    });
    for seq in 1..=101 {
        push(&mut history, &one, seq, true, true);
    }
    assert_eq!(seqs(history.read_all(Seq::ZERO)).len(), 101);
    assert_eq!(
        history.first_at(Micros(1), Seq(101)),
        Seq(1),
        "of a closed candle"
    );
    assert_eq!(history.first_at(Micros(2), Seq(101)), Seq(102), "of none yet");
    history.shorten();
    assert_eq!(seqs(history.read_all(Seq::ZERO)), (51..=101).collect::<Vec<_>>());
    one.memory.history.set_max(one.memory.history.bytes() - 1);
    for seq in 102..=110 {
        push(&mut history, &one, seq, true, false);
    }
    let left = seqs(history.read_all(Seq::ZERO));
    assert!(left.len() <= 51, "each message pushes out two: {left:?}");
    assert!(!one.memory.history.is_over());
    for _ in 0..7 {
        history.shorten();
    }
    assert_eq!(seqs(history.read_all(Seq::ZERO)), [110], "the value stays");
    assert_eq!(one.memory.history.bytes(), 0);
}

#[test]
fn a_topic_that_is_no_candle_keeps_what_its_history_keeps() {
    let lineage = lineage(usize::MAX);
    let mut history = History::new(Kept {
        messages: 2,
        candles: 5,
    });
    for (seq, text) in (1..).zip([
        "1",
        r#"{"closed":1}"#,
        r#"{"closed":true,"closed":true}"#,
        "[]",
        "2",
    ]) {
        let payload = Payload::from_json(text.as_bytes()).expect("JSON");
        let publication = Publication::new(lineage.clone(), Seq(seq), Micros(1), payload);
        history.push(Arc::new(publication.held_as_value()), &lineage.memory);
    }
    assert_eq!(seqs(history.read_all(Seq::ZERO)), [4, 5]);
}

/// Where a replay begins in `history`, whose newest message is number 9.
fn stored_from(history: &History, moment: u64) -> (u64, Option<u64>) {
    let StoredFrom { first, not_stored } = history.stored_from(Micros(moment), Seq(9));
    (first.0, not_stored.map(|oldest| oldest.0))
}

#[test]
fn a_replay_begins_with_the_first_stored_message_of_its_moment() {
    let lineage = lineage(usize::MAX);
    let kept = Kept {
        messages: 4,
        candles: 0,
    };
    let push = |history: &mut History, seq: u64, ts: u64| {
        let payload = Payload::from_json(b"1").expect("JSON");
        let publication = Publication::new(lineage.clone(), Seq(seq), Micros(ts), payload);
        history.push(Arc::new(publication.held_as_value()), &lineage.memory);
    };
    // Two messages have the same time; the second of them is the oldest that is stored.
    let mut history = History::new(kept);
    for (seq, ts) in [
        (1, 10),
        (2, 10),
        (3, 20),
        (4, 30),
        (5, 40),
        (6, 40),
        (7, 50),
        (8, 60),
        (9, 70),
    ] {
        push(&mut history, seq, ts);
    }
    for (moment, expected) in [
        (0, (6, Some(40))),
        (40, (6, Some(40))),
        (41, (7, None)),
        (50, (7, None)),
        (70, (9, None)),
        (71, (10, None)),
    ] {
        assert_eq!(stored_from(&history, moment), expected, "{moment}");
    }
    // Nothing is gone.
    let mut history = History::new(kept);
    for seq in 1..=3 {
        push(&mut history, seq, 10 * seq);
    }
    assert_eq!(stored_from(&history, 0), (1, None));
    // Nobody knows when the messages before were: they may be as new as the oldest.
    let mut history = History::new(kept);
    push(&mut history, 8, 60);
    push(&mut history, 9, 70);
    assert_eq!(stored_from(&history, 60), (8, Some(60)));
    assert_eq!(stored_from(&history, 61), (9, None));
    history.begin_with_newest();
    assert_eq!(stored_from(&history, 70), (9, Some(70)));
    assert_eq!(stored_from(&history, 71), (10, None));
}
