//! Messages that another directory has numbered: which of them enter, and that readers see the same in both
//! directories.

use std::sync::Arc;

use proptest::prelude::*;
use tickwire_wire::codec::DataOp;
use tickwire_wire::frame::payload_of;
use tickwire_wire::message::StaleReason;
use tickwire_wire::{Codec, Epoch, Micros, Payload, Seq, Topic, market};

use super::{NotEntered, Numbered};
use crate::cell::TopicCell;
use crate::directory::{Directory, DirectoryLimits};
use crate::epochs::EpochRule;
use crate::ingress::{Ingress, Origin};
use crate::kinds::{KindRule, Kinds};
use crate::publication::Publication;
use crate::staleness::StaleRule;

/// A topic of each kind, one of which has another epoch than the others.
const TOPICS: [&str; 4] = ["ticker.A", "trade.A", "book.A", "chat.x"];

fn directory() -> Directory {
    let limits = DirectoryLimits::default();
    let rules = ["trade.>", "book.>", "chat.>"].map(|pattern| KindRule {
        pattern: pattern.parse().expect("a pattern"),
        kind: Kinds::default().of(pattern).0,
        history: 5,
        candles: 0,
    });
    let other = EpochRule {
        pattern: "chat.>".parse().expect("a pattern"),
        epoch: Epoch::from("f"),
    };
    let kinds = Kinds::with_rules(rules.to_vec());
    Directory::new("e".into(), kinds, limits, Vec::new()).with_epochs(vec![other])
}

fn ingress() -> Ingress {
    Ingress::new(Arc::new(directory()))
}

fn open(ingress: &Ingress, topic: &str) -> Arc<TopicCell> {
    let topic: Topic = topic.parse().expect("a topic");
    ingress.directory().open(&topic).expect("there is room")
}

fn json(text: &str) -> Payload {
    Payload::from_json(text.as_bytes()).expect("JSON")
}

/// A message with `seq` that follows on `after`, numbered at `ts`.
fn numbered(after: u64, seq: u64, ts: Micros) -> Numbered {
    Numbered {
        after: Seq(after),
        seq: Seq(seq),
        ts,
        payload: json(&seq.to_string()),
        doubt: None,
    }
}

#[test]
fn a_message_enters_once_and_behind_the_one_before_it() {
    let ingress = ingress();
    let cell = open(&ingress, "trade.A");
    let hole = |head| Err(NotEntered::Hole(Seq(head)));
    for (step, (after, seq, expected)) in [
        (1, 2, hole(0)),
        (0, 1, Ok(1)),
        (0, 1, Err(NotEntered::Known)),
        (2, 3, hole(1)),
        (1, 2, Ok(2)),
        (0, 1, Err(NotEntered::Known)),
        (2, 3, Ok(3)),
        // Number 4 was lost.
        (3, 5, Ok(5)),
        (3, 4, Err(NotEntered::Known)),
        (4, 5, Err(NotEntered::Known)),
        (6, 7, hole(5)),
        (5, 6, Ok(6)),
    ]
    .into_iter()
    .enumerate()
    {
        let before = cell.position().seq;
        let got = ingress.apply(&cell, numbered(after, seq, Micros(7)), Micros(9));
        assert_eq!(got.map(|place| place.seq.0), expected, "step {step}");
        let head = expected.map_or(before, Seq);
        assert_eq!(cell.position().seq, head, "step {step}");
    }
    let page = cell.history(Seq::ZERO, usize::MAX);
    let held: Vec<(u64, Micros)> = page.messages.iter().map(|m| (m.seq.0, m.ts)).collect();
    assert_eq!(held, [(5, Micros(7)), (6, Micros(7))], "a history has no hole");
}

#[test]
fn a_book_that_a_refused_change_had_cost_never_came_back() {
    let (there, here) = (ingress(), ingress());
    let (source, cell) = (open(&there, "book.A"), open(&here, "book.A"));
    let pass_on = |seq: u64, data: &str, spoil: bool| {
        let before = source.position().seq;
        let published = there.submit(Origin::Feed, source.topic(), json(data), Micros(seq));
        published.expect("it is a book");
        let mut next = as_numbered(&source.newest().expect("it was published"), before);
        if let (true, Payload::Book(change)) = (spoil, &mut next.payload) {
            change.bids[0].size = change.bids[0].price;
        }
        here.apply(&cell, next, Micros(seq)).map(|place| place.seq.0)
    };
    let change = |bid: u64| format!(r#"{{"symbol":"A","bids":[["{bid}","2"]],"time":1}}"#);
    assert_eq!(pass_on(1, &change(1), false), Ok(1));
    let refused = pass_on(2, &change(3), true).expect_err("its checksum is another");
    assert!(refused.to_string().contains("another book"), "{refused}");
    assert_eq!((cell.position().seq, cell.snapshot().is_some()), (Seq(1), false));
    // Changes of a book that is not here do not enter, nor does the whole without a number that its readers miss.
    let whole = |after: u64| {
        let value = source.snapshot().expect("it has its book");
        let mut whole = as_numbered(&value, Seq(after));
        if let Payload::Book(book) = &mut whole.payload {
            book.replace = true;
        }
        here.apply(&cell, whole, Micros(9)).map(|place| place.seq.0)
    };
    assert!(matches!(whole(1), Err(NotEntered::Refused(_))));
    assert_eq!(pass_on(3, &change(4), false), Err(NotEntered::Hole(Seq(1))));
    assert_eq!(pass_on(4, &change(5), false), Err(NotEntered::Hole(Seq(1))));
    assert_eq!(whole(3), Ok(4));
    let mut read = Vec::new();
    let behind = cell.read_after(Seq(1), usize::MAX, &mut read);
    assert_eq!(behind.gap, Some((Seq(2), Seq(3))), "its readers begin again");
    assert_eq!(
        (whole(3), pass_on(5, &change(6), false)),
        (Err(NotEntered::Known), Ok(5))
    );
    let book = |cell: &TopicCell| cell.book().map(|book| book.snapshot("A".into(), Micros(0)));
    assert_eq!(book(&cell), book(&source));
    // A broker that has its book may leave messages out, too.
    for seq in [6, 7] {
        let published = there.submit(Origin::Feed, source.topic(), json(&change(seq)), Micros(seq));
        published.expect("it is a book");
    }
    assert_eq!((whole(6), book(&cell)), (Ok(7), book(&source)));
}

/// The clocks of other brokers do not matter: only the time of arrival counts.
#[test]
fn silence_was_counted_from_when_a_message_was_numbered_elsewhere() {
    for ts in [Micros(1), Micros(1_000_000), Micros(u64::MAX / 2)] {
        let rule = StaleRule {
            pattern: ">".parse().expect("a pattern"),
            after_ms: 100,
        };
        let directory = Arc::new(directory().with_stale_rules(vec![rule]));
        let ingress = Ingress::new(directory.clone());
        let cell = open(&ingress, "trade.A");
        let arrived = Micros(1_000_000);
        let place = ingress.apply(&cell, numbered(0, 1, ts), arrived);
        assert!(place.is_ok(), "{place:?}");
        for (ms, stale) in [(0, 0), (99, 0), (100, 1)] {
            directory.look_for_stale(arrived.plus_ms(ms));
            assert_eq!(directory.stale_topics(), stale, "{ms} ms after it came, {ts:?}");
        }
    }
}

/// The newest message in the form that other directories get, with the number before it.
fn as_numbered(publication: &Publication, after: Seq) -> Numbered {
    Numbered {
        after,
        seq: publication.seq,
        ts: publication.ts,
        payload: publication.payload.clone(),
        doubt: publication.doubt,
    }
}

/// Everything that readers can see of a topic.
fn visible(cell: &TopicCell) -> String {
    let text = |publication: &Publication, op| {
        let frame = publication.frame(Codec::Json, op);
        let text = String::from_utf8_lossy(payload_of(frame)).into_owned();
        (text, publication.doubt)
    };
    let value = cell.snapshot().map(|value| text(&value, DataOp::Snapshot));
    let page = cell.history(Seq::ZERO, usize::MAX);
    let history: Vec<_> = page.messages.iter().map(|m| text(m, DataOp::Update)).collect();
    let whole = |book: crate::OrderBook| -> market::Book { book.snapshot("A".into(), Micros(0)) };
    format!(
        "{:?} {value:?} {:?} {history:?} {:?} {}",
        cell.position(),
        (page.oldest, page.newest),
        cell.book().map(whole),
        cell.is_doubted()
    )
}

#[derive(Debug, Clone)]
enum Op {
    /// Publishes a message; to a book, a change of a level or a whole book.
    Publish {
        topic: usize,
        level: u8,
        whole: bool,
    },
    Doubt(StaleReason),
    /// Loses the book, as a panic half-way through a change does.
    LoseBook,
    /// Passes on the messages that the other directory does not have, and some of them again.
    Follow {
        again: usize,
    },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let publish = (0..TOPICS.len(), any::<u8>(), prop::bool::weighted(0.1));
    let op = prop_oneof![
        8 => publish.prop_map(|(topic, level, whole)| Op::Publish { topic, level, whole }),
        1 => prop_oneof![Just(StaleReason::Hole), Just(StaleReason::Partial)].prop_map(Op::Doubt),
        1 => Just(Op::LoseBook),
        2 => (0..4_usize).prop_map(|again| Op::Follow { again }),
    ];
    prop::collection::vec(op, 1..120)
}

fn data(topic: &str, level: u8, whole: bool, now: Micros) -> Payload {
    if topic != "book.A" {
        return json(&now.0.to_string());
    }
    // Some of them cross the book, and a negative size is refused.
    let (side, price) = (["bids", "asks"][usize::from(level & 1)], level >> 1 & 7);
    let size = i16::from(level >> 4) - 1;
    json(&format!(
        r#"{{"symbol":"A","{side}":[["{price}","{size}"]],"replace":{whole},"time":{}}}"#,
        now.0
    ))
}

proptest! {
    #[test]
    fn what_one_directory_numbers_is_seen_the_same_at_another(ops in ops()) {
        let (there, here) = (ingress(), ingress());
        let sources = TOPICS.map(|topic| open(&there, topic));
        let cells = TOPICS.map(|topic| open(&here, topic));
        let mut log: Vec<(usize, Numbered)> = Vec::new();
        let (mut followed, mut now) = (0, Micros(1));
        for op in ops.into_iter().chain([Op::Follow { again: 1 }]) {
            now = now.plus_ms(1);
            match op {
                Op::Publish { topic, level, whole } => {
                    let cell = &sources[topic];
                    let before = cell.position().seq;
                    let payload = data(TOPICS[topic], level, whole, now);
                    if there.submit(Origin::Feed, cell.topic(), payload, now).is_ok() {
                        let newest = cell.newest().expect("it was published");
                        log.push((topic, as_numbered(&newest, before)));
                    }
                    prop_assert_eq!(cell.position().epoch, there.directory().epoch_of(TOPICS[topic]));
                }
                Op::Doubt(reason) => sources[2].doubt(reason),
                Op::LoseBook => {
                    let mut state = sources[2].lock();
                    state.sequencer.lose_book();
                    state.book_snapshot = None;
                }
                Op::Follow { again } => {
                    let from = followed - again.min(followed);
                    for (at, (topic, next)) in log.iter().enumerate().skip(from) {
                        let entered = here.apply(&cells[*topic], next.clone(), now);
                        if at < followed {
                            prop_assert_eq!(entered, Err(NotEntered::Known));
                        } else {
                            let place = entered.expect("it is the next");
                            prop_assert_eq!((place.seq, place.epoch), (next.seq, here.directory().epoch_of(TOPICS[*topic])));
                        }
                    }
                    followed = log.len();
                    for (source, cell) in sources.iter().zip(&cells) {
                        if source.snapshot().is_some() {
                            prop_assert_eq!(visible(cell), visible(source));
                        }
                    }
                }
            }
        }
    }
}
