//! Whole lanes in made-up worlds: nodes that die, stop and are cut off, and a log that forgets.

mod host;
mod world;

use super::planted::{LaneFault, plant};
use super::{
    Decided, LaneEntry, LaneFlags, LaneHead, NodeId, Notice, Standing, SubmissionBatch, SubmissionNumber,
    Term, Unpublished, Wish, put_submission,
};
use crate::entry::EntryFlags;
use crate::message::{Content, Item};
use crate::{Chain, Declaration, Place, Position, TopicKey, TopicNumber, Writer};
use tickwire_wire::{Epoch, ErrorCode, Kind, Micros, Seq};

/// A number from the environment.
#[expect(
    clippy::disallowed_methods,
    reason = "whoever runs the tests asks for more worlds"
)]
fn asked(variable: &str, otherwise: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// The worlds from which on each kind of fault, and what it leads to, has certainly happened.
const MANY: u64 = 2_000;

/// `TICKWIRE_LANE_SEEDS` asks for more worlds than these few, `TICKWIRE_LANE_FROM` for others.
#[test]
fn lanes_keep_their_promises() {
    let (from, count) = (asked("TICKWIRE_LANE_FROM", 1), asked("TICKWIRE_LANE_SEEDS", 100));
    let mut tally = world::Tally::default();
    for seed in from..from + count {
        match world::run(seed) {
            Ok(more) => tally.add(&more),
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    println!("{tally:?}");
    for (what, times) in tally.counts() {
        assert!(times > 0 || count < MANY, "{what} never happened: {tally:?}");
    }
}

/// Where worlds begin in which a fault is soon found. Without this, the test takes minutes; each is found within 1,000 worlds.
const fn soon(fault: LaneFault) -> u64 {
    match fault {
        LaneFault::TakenOverUnasked => 750,
        LaneFault::MarkNotLookedFor => 615,
        LaneFault::NumbersKept => 210,
        LaneFault::DoubtNotTold => 110,
        _ => 1,
    }
}

#[test]
fn planted_faults_are_found() {
    let everywhere = asked("TICKWIRE_LANE_SEEDS", 0) > 0;
    for fault in LaneFault::ALL {
        plant(Some(fault));
        let from = if everywhere { 1 } else { soon(fault) };
        let found = (from..from + 4_000).find(|seed| world::run(*seed).is_err());
        plant(None);
        assert!(found.is_some(), "{fault:?} is not found");
        println!("{fault:?} is found with seed {found:?}");
    }
}

fn entry_bytes() -> Vec<u8> {
    let place = Place {
        position: Position(7),
        chain: Chain(9),
    };
    let mut writer = Writer::new(place, Epoch::from("e1"));
    let declare = || Declaration {
        topic: "trade.A".parse().expect("a topic"),
        kind: Kind::Event,
        history: 10,
        epoch: Epoch::from("e1"),
        life: 0,
        head: Seq(4),
    };
    let item = Item {
        topic: TopicNumber(0),
        after: Seq(4),
        seq: Seq(5),
        ts: Micros(3),
        doubt: None,
        key: None,
        mark: None,
        content: Content::Data(b"1"),
    };
    writer.gather(TopicKey(1), declare, item);
    let head = head();
    writer
        .seal_behind(|out| head.put(out), EntryFlags::default())
        .to_vec()
}

fn head() -> LaneHead<'static> {
    let refused = Unpublished::Refused {
        code: ErrorCode::TooLarge,
        reason: "too long".into(),
    };
    let known = Unpublished::Known {
        epoch: Epoch::from("e0"),
        seq: Seq(3),
    };
    LaneHead {
        flags: LaneFlags {
            is_whole: true,
            ..LaneFlags::default()
        },
        term: Term(4),
        writer: NodeId(u64::MAX),
        decided: vec![Decided {
            node: NodeId(5),
            first: SubmissionNumber(11),
            count: 3,
            unpublished: vec![(0, refused), (2, known)],
        }],
    }
}

#[test]
fn an_entry_is_read_as_it_was_written_and_damage_is_noticed() {
    let bytes = entry_bytes();
    let read = LaneEntry::read(&bytes).expect("an entry");
    assert_eq!(read.head, head());
    assert_eq!((read.entry.prev, read.entry.items.len()), (Chain(9), 1));
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        assert!(LaneEntry::read(&damaged).is_err(), "byte {at} does not count");
        assert!(
            LaneEntry::read(&bytes[..at]).is_err(),
            "{at} bytes are a whole entry"
        );
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(LaneEntry::read(&longer).is_err());
}

#[test]
fn an_entry_has_an_item_for_each_submission_that_it_publishes() {
    let mut writer = Writer::new(Place::default(), Epoch::from("e"));
    let mut head = head();
    head.decided[0].count = 4;
    let bytes = writer.seal_behind(|out| head.put(out), EntryFlags::default());
    assert!(LaneEntry::read(bytes).is_err());
}

#[test]
fn batches_and_notices_are_read_as_they_were_written() {
    let mut body = Vec::new();
    let publish = Wish::Publish {
        text: b"{\"p\":1}",
        key: Some("k"),
        stamp: Some(Micros(77)),
    };
    let end = Wish::End(tickwire_wire::message::EndReason::Deleted);
    put_submission(&mut body, "trade.A", &publish);
    put_submission(&mut body, "trade.B", &end);
    let batch = SubmissionBatch {
        node: NodeId(3),
        first: SubmissionNumber(5),
        oldest: SubmissionNumber(4),
        count: 2,
        body,
    };
    let bytes = batch.bytes();
    let read = SubmissionBatch::read(&bytes).expect("a batch");
    assert_eq!(read, batch);
    let wishes: Vec<Wish<'_>> = read
        .submissions()
        .map(|read| read.expect("it was checked").wish)
        .collect();
    assert_eq!(wishes, [publish, end]);
    let standing = Standing {
        node: NodeId(1),
        term: Term(2),
        epoch: Epoch::from("e"),
        place: Place {
            position: Position(3),
            chain: Chain(4),
        },
    };
    let answer = Notice::Answer {
        standing: standing.clone(),
        to: NodeId(9),
        agrees: true,
    };
    for notice in [
        Notice::Beat(standing.clone()),
        Notice::Ask(standing.clone()),
        Notice::Doubt(standing),
        answer,
    ] {
        let notice_bytes = notice.bytes();
        assert_eq!(Notice::read(&notice_bytes), Ok(notice));
        for at in 0..notice_bytes.len() {
            assert!(Notice::read(&notice_bytes[..at]).is_err());
        }
    }
    for at in 0..bytes.len() {
        assert!(SubmissionBatch::read(&bytes[..at]).is_err());
    }
}
