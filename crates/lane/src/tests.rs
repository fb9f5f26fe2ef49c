//! Logs that are written, damaged and read again.

use proptest::prelude::*;
use tickwire_wire::message::{EndReason, GapReason, StaleReason};
use tickwire_wire::{Epoch, Kind, Micros, Payload, Seq};

use super::*;

fn declaration(topic: &str, head: u64) -> Declaration {
    Declaration {
        topic: topic.parse().expect("a topic"),
        kind: Kind::Event,
        history: 10,
        epoch: Epoch::from("e"),
        life: 0,
        head: Seq(head),
    }
}

fn message(seq: u64, ts: u64, data: &[u8]) -> Item<'_> {
    Item {
        topic: TopicNumber(0),
        after: Seq(seq - 1),
        seq: Seq(seq),
        ts: Micros(ts),
        doubt: None,
        key: None,
        mark: None,
        content: Content::Data(data),
    }
}

fn end(seq: u64) -> Item<'static> {
    Item {
        after: Seq(seq),
        seq: Seq(seq),
        content: Content::End(EndReason::Deleted),
        ..message(1, 9, b"")
    }
}

fn head(place: Place) -> SegmentHead {
    SegmentHead {
        place,
        epoch: Epoch::from("e"),
        begins_epoch: place == Place::default(),
        synced: true,
        boot: [7; 16],
        made: Micros(1),
    }
}

/// A segment in which each entry has one message of `trade.A`, numbered from 1. Returns where the entries begin, too.
fn segment(entries: u64) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut begins) = (Vec::new(), Vec::new());
    head(Place::default()).put(&mut bytes);
    let mut writer = Writer::new(Place::default(), Epoch::from("e"));
    for seq in 1..=entries {
        let data = format!("\"message {seq}\"");
        writer.gather(
            TopicKey(4),
            || declaration("trade.A", 0),
            message(seq, 100 + seq, data.as_bytes()),
        );
        begins.push(bytes.len());
        bytes.extend_from_slice(writer.seal(EntryFlags::default()));
        writer.stored();
    }
    begins.push(bytes.len());
    (bytes, begins)
}

/// What a reader makes of a segment: the number of its messages that enter, and what ended it.
fn read(bytes: &[u8]) -> (u64, String) {
    let (head, parts) = match SegmentReader::new(bytes) {
        Ok(Some(segment)) => segment,
        Ok(None) => return (0, "no head".to_owned()),
        Err((at, error)) => return (0, format!("at {at}: {error}")),
    };
    let mut follower = Follower::new(Start::Anywhere, Place::default(), None);
    if let Err(error) = follower.begin_segment(&head) {
        return (0, error.to_string());
    }
    let mut entered = 0;
    for part in parts {
        let frame = match part {
            Part::Entry { frame, .. } => frame,
            Part::Torn { offset } => return (entered, format!("torn at {offset}")),
            Part::Damaged { offset, next, .. } => {
                return (entered, format!("damaged at {offset}, valid at {next}"));
            }
        };
        let entry = match Entry::read(frame) {
            Ok(entry) => entry,
            Err(error) => return (entered, error.to_string()),
        };
        if let Err(error) = follower.entry(frame, &entry, |_, _| {}) {
            return (entered, error.to_string());
        }
        for item in &entry.items {
            match follower.item(item) {
                Ok(Verdict::Enter(_)) => entered += 1,
                Ok(Verdict::Known(_) | Verdict::Passed) => {}
                Err(error) => return (entered, error.to_string()),
            }
        }
    }
    (entered, "whole".to_owned())
}

/// A change of a segment's bytes, told where its entries begin.
type Damage = fn(&mut Vec<u8>, &[usize]);

/// Damages, the number of messages that enter in spite of them, and what ends the reading. `{3}` stands for where the fourth
/// entry begins.
const DAMAGES: [(&str, Damage, u64, &str); 14] = [
    ("nothing", |_, _| {}, 5, "whole"),
    ("empty", |bytes, _| bytes.clear(), 0, "no head"),
    ("cut in the head", |bytes, _| bytes.truncate(9), 0, "no head"),
    ("cut behind the head", |bytes, b| bytes.truncate(b[0]), 0, "whole"),
    ("cut between two", |bytes, b| bytes.truncate(b[3]), 3, "whole"),
    (
        "cut in the last",
        |bytes, b| bytes.truncate(b[5] - 1),
        4,
        "torn at {4}",
    ),
    (
        "cut in a mark",
        |bytes, b| bytes.truncate(b[4] + 2),
        4,
        "torn at {4}",
    ),
    (
        "zeros behind",
        |bytes, _| bytes.extend([0; 4_096]),
        5,
        "torn at {5}",
    ),
    (
        "a bit of the last",
        |bytes, b| bytes[b[5] - 1] ^= 1,
        4,
        "torn at {4}",
    ),
    (
        "a bit of the first",
        |bytes, b| bytes[b[1] - 1] ^= 1,
        0,
        "damaged at {0}, valid at {1}",
    ),
    (
        "zeros in the middle",
        |bytes, b| bytes[b[2]..b[3]].fill(0),
        2,
        "damaged at {2}, valid at {3}",
    ),
    (
        "a length",
        |bytes, b| bytes[b[1] + 5] ^= 0x40,
        1,
        "damaged at {1}, valid at {2}",
    ),
    (
        "an entry is left out",
        |bytes, b| drop(bytes.drain(b[2]..b[3])),
        2,
        OTHER_CHAIN,
    ),
    ("an entry comes twice", twice, 2, OTHER_CHAIN),
];
const OTHER_CHAIN: &str = "entry 3 was written behind another entry than the one before it";

fn twice(bytes: &mut Vec<u8>, begins: &[usize]) {
    let again = bytes[begins[1]..begins[2]].to_vec();
    drop(bytes.splice(begins[2]..begins[2], again));
}

#[test]
fn each_damage_is_found_where_it_is() {
    let (whole, begins) = segment(5);
    for (name, damage, entered, ended) in DAMAGES {
        let mut bytes = whole.clone();
        damage(&mut bytes, &begins);
        let numbered = begins.iter().enumerate();
        let ended = numbered.fold(ended.to_owned(), |text, (at, begin)| {
            text.replace(&format!("{{{at}}}"), &begin.to_string())
        });
        assert_eq!(read(&bytes), (entered, ended), "{name}");
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let (whole, begins) = segment(3);
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            let (entered, ended) = read(&bytes);
            let before = begins.iter().skip(1).filter(|begin| **begin <= at).count() as u64;
            assert_ne!(ended, "whole", "bit {bit} of byte {at}");
            assert_eq!(entered, before, "bit {bit} of byte {at}: {ended}");
        }
    }
}

/// Data that looks like an entry cannot be published: it is no UTF-8. So what an entry holds is never taken for one.
#[test]
fn a_mark_is_no_text() {
    let (bytes, begins) = segment(1);
    assert!(std::str::from_utf8(&bytes[begins[0]..begins[0] + 4]).is_err());
    assert!(Payload::from_json(&bytes[begins[0]..begins[0] + 4]).is_err());
}

#[test]
fn a_dropped_entry_leaves_no_trace() {
    let (expected, _) = segment(2);
    let mut bytes = Vec::new();
    head(Place::default()).put(&mut bytes);
    let mut writer = Writer::new(Place::default(), Epoch::from("e"));
    for seq in 1..=2 {
        for (topic, key) in [("trade.B", 9), ("trade.A", 4)] {
            let data = format!("\"message {seq}\"");
            let item = message(seq, 100 + seq, data.as_bytes());
            writer.gather(TopicKey(key), || declaration(topic, 0), item);
            if topic == "trade.B" {
                writer.seal(EntryFlags::default());
                writer.dropped();
            }
        }
        bytes.extend_from_slice(writer.seal(EntryFlags::default()));
        writer.stored();
    }
    assert_eq!(bytes, expected);
}

fn whole(after: u64, seq: u64) -> Item<'static> {
    Item {
        after: Seq(after),
        content: Content::Whole(b"{}"),
        ..message(seq, 1, b"")
    }
}

/// A topic, its newest message by its declaration, its items, what a follower says of each, and whether the log may
/// end behind them. There is a checkpoint before them that has `trade.A` up to message 5.
type Judged = (&'static str, u64, Vec<Item<'static>>, &'static str, bool);

fn judged() -> Vec<Judged> {
    let at = |seq| message(seq, 1, b"1");
    vec![
        ("trade.A", 4, vec![at(5), at(6)], "known, enters 0", true),
        (
            "trade.A",
            5,
            vec![at(7)],
            "message 7 of trade.A follows on 6, and the newest is 5",
            true,
        ),
        ("trade.A", 5, vec![whole(8, 9)], "enters 0", true),
        (
            "trade.A",
            5,
            vec![end(5), at(6)],
            "enters 0, message 6 of trade.A follows on 5, and the newest is 5",
            true,
        ),
        (
            "trade.A",
            5,
            vec![end(6)],
            "message 6 of trade.A follows on 6, and the newest is 5",
            true,
        ),
        (
            "trade.B",
            0,
            vec![at(1), end(1), end(1)],
            "enters 1, enters 1, known",
            true,
        ),
        (
            "trade.B",
            0,
            vec![at(2)],
            "message 2 of trade.B follows on 1, and the newest is 0",
            true,
        ),
        // It had ended when the checkpoint was made.
        ("trade.B", 3, vec![at(4), end(4)], "passed, passed", true),
        ("trade.B", 3, vec![at(4)], "passed", false),
    ]
}

#[test]
fn behind_a_checkpoint_items_are_known_or_next_or_missing() {
    for (topic, declared, items, expected, finishes) in judged() {
        let mut follower = Follower::new(Start::Checkpoint, Place::default(), Some(Epoch::from("e")));
        let restored = Declaration {
            life: 2,
            ..declaration("trade.A", 5)
        };
        follower.restored(&restored);
        let mut writer = Writer::new(Place::default(), Epoch::from("e"));
        for item in &items {
            writer.gather(TopicKey(1), || declaration(topic, declared), *item);
        }
        let frame = writer.seal(EntryFlags::default()).to_vec();
        let entry = Entry::read(&frame).expect("it was written");
        follower
            .begin_segment(&head(Place::default()))
            .expect("the first");
        follower.entry(&frame, &entry, |_, _| {}).expect("the first");
        let verdicts = entry.items.iter().map(|item| match follower.item(item) {
            Ok(Verdict::Enter(LifeNumber(life))) => format!("enters {life}"),
            Ok(Verdict::Known(_)) => "known".to_owned(),
            Ok(Verdict::Passed) => "passed".to_owned(),
            Err(error) => error.to_string(),
        });
        let verdicts: Vec<String> = verdicts.collect();
        assert_eq!(verdicts.join(", "), expected, "{topic} {items:?}");
        assert_eq!(follower.finish().is_ok(), finishes, "{topic} {items:?}");
    }
}

#[test]
fn a_checkpoint_counts_only_if_it_is_whole() {
    let mut bytes = Vec::new();
    let head = CheckpointHead {
        place: Place {
            position: Position(7),
            chain: Chain(9),
        },
        epoch: Epoch::from("e"),
        made: Micros(3),
        hashing: 11,
        ended: vec![EndedCount {
            slot: 4_095,
            count: 2,
        }],
    };
    let mut writer = CheckpointWriter::begin(&mut bytes, &head);
    let state = TopicState {
        topic: declaration("book.A", 6),
        book: Some(b"{}"),
        messages: vec![message(5, 9, b"1"), message(6, 7, b"2")],
        candles: vec![message(2, 3, b"3"), message(4, 8, b"4")],
    };
    for _ in 0..2 {
        writer.topic(&mut bytes, &state);
    }
    let keys = vec![KeptKey {
        topic: "book.A",
        key: "k-1",
        epoch: Epoch::from("e"),
        seq: Seq(5),
        kind: Kind::Book,
        at: Micros(8),
    }];
    writer.keys(&mut bytes, &keys);
    let mark = ItemMark {
        feed: 5,
        number: u64::MAX,
    };
    writer.mark(&mut bytes, mark);
    writer.derived(&mut bytes, b"sums");
    writer.end(&mut bytes);
    assert_eq!(Checkpoint::check(&bytes), Ok(head));
    let (_, mut topics) = Checkpoint::new(&bytes).expect("it is whole");
    assert_eq!(topics.next_part(), Ok(Some(CheckpointPart::Topic(state.clone()))));
    assert_eq!(topics.next_part(), Ok(Some(CheckpointPart::Topic(state))));
    assert_eq!(topics.next_part(), Ok(Some(CheckpointPart::Keys(keys))));
    assert_eq!(topics.next_part(), Ok(Some(CheckpointPart::Mark(mark))));
    assert_eq!(topics.next_part(), Ok(Some(CheckpointPart::Derived(b"sums"))));
    assert_eq!(topics.next_part(), Ok(None));
    for length in 0..bytes.len() {
        assert!(
            Checkpoint::check(&bytes[..length]).is_err(),
            "{length} bytes of it"
        );
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(Checkpoint::check(&damaged).is_err(), "byte {at}");
    }
    assert!(
        Checkpoint::check(&[&bytes[..], &[0]].concat()).is_err(),
        "a byte more"
    );
}

type DrawnKey = Option<(String, u64)>;
type Drawn = (
    u8,
    u64,
    u64,
    Option<StaleReason>,
    (DrawnKey, Option<(u32, u64)>),
    u8,
    Vec<u8>,
);

fn any_item() -> impl Strategy<Value = Drawn> {
    let doubt = prop_oneof![
        Just(None),
        Just(Some(StaleReason::Partial)),
        Just(Some(StaleReason::Hole)),
        Just(Some(StaleReason::Crossed))
    ];
    (
        0..4_u8,
        1..u64::MAX,
        any::<u64>(),
        doubt,
        (
            prop::option::of((".{1,8}", any::<u64>())),
            prop::option::of(any::<(u32, u64)>()),
        ),
        0..6_u8,
        prop::collection::vec(any::<u8>(), 0..50),
    )
}

proptest! {
    /// What is read is what was written, whatever the numbers and times are.
    #[test]
    fn an_entry_is_read_as_it_was_written(drawn in prop::collection::vec(any_item(), 0..30), clean_end: bool) {
        let mut writer = Writer::new(Place { position: Position(3), chain: Chain(5) }, Epoch::from("e"));
        let mut numbers: Vec<u8> = Vec::new();
        let mut written = Vec::new();
        for (topic, seq, ts, doubt, (key, mark), content, data) in &drawn {
            let number = numbers.iter().position(|known| known == topic).unwrap_or_else(|| {
                numbers.push(*topic);
                numbers.len() - 1
            });
            let (after, content) = match content {
                0 => (seq - 1, Content::Data(data)),
                1 => (seq - 1, Content::Change(data)),
                2 => (seq / 2, Content::Whole(data)),
                3 => (*seq, Content::End(EndReason::Expired)),
                4 => (seq - 1, Content::Gap(GapReason::Epoch)),
                _ => (*seq, Content::End(EndReason::Deleted)),
            };
            let item = Item {
                topic: TopicNumber(number as u32),
                after: Seq(after),
                seq: Seq(*seq),
                ts: Micros(*ts),
                doubt: *doubt,
                key: key.as_ref().map(|(text, at)| ItemKey { text, at: Micros(*at) }),
                mark: mark.map(|(feed, number)| ItemMark { feed, number }),
                content,
            };
            let name = format!("t.{topic}");
            writer.gather(TopicKey(u32::from(*topic)), || declaration(&name, 0), item);
            written.push(item);
        }
        let frame = writer.seal(EntryFlags { clean_end }).to_vec();
        let entry = Entry::read(&frame).expect("it was written");
        prop_assert_eq!(&entry.items, &written);
        prop_assert_eq!(entry.prev, Chain(5));
        prop_assert_eq!(entry.flags, EntryFlags { clean_end });
        let names: Vec<String> = entry.declared.iter().map(|it| it.topic.to_string()).collect();
        let expected: Vec<String> = numbers.iter().map(|number| format!("t.{number}")).collect();
        prop_assert_eq!(names, expected);
    }

    /// No bytes make a reader panic or take more than its part of memory.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read(&bytes);
        prop_assert!(Checkpoint::check(&bytes).is_err());
        let _ = Entry::read(&bytes);
    }
}
