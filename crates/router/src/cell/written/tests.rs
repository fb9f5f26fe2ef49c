//! Messages that enter together leave a topic as those that enter one by one do.

use std::sync::Arc;

use proptest::prelude::*;
use tickwire_wire::{Epoch, Topic};

use super::*;
use crate::directory::{Directory, DirectoryLimits};
use crate::ingress::Ingress;
use crate::kinds::{KindRule, Kinds};

const TOPICS: [&str; 4] = ["ticker.A", "candle.1s.A", "trade.A", "book.A"];

fn ingress(history_bytes: usize) -> Ingress {
    let limits = DirectoryLimits {
        history_bytes_max: history_bytes,
        ..DirectoryLimits::default()
    };
    let rule = |pattern: &str, history| KindRule {
        pattern: pattern.parse().expect("a pattern"),
        kind: Kinds::default().kind_of(pattern),
        history,
        candles: if pattern.starts_with("candle") { 3 } else { 0 },
    };
    let rules = vec![
        rule("ticker.>", 1),
        rule("candle.>", 2),
        rule("trade.>", 4),
        rule("book.>", 5),
    ];
    let directory = Directory::new(Epoch::from("e"), Kinds::with_rules(rules), limits, Vec::new());
    Ingress::new(Arc::new(directory))
}

fn open(ingress: &Ingress, topic: &str) -> Arc<TopicCell> {
    let topic: Topic = topic.parse().expect("a topic");
    ingress.directory().open(&topic).expect("there is room")
}

/// The data of message `seq` of a topic. `choice` decides what it says.
fn data(topic: &str, seq: u64, choice: u64) -> String {
    match topic {
        "book.A" => {
            let level = |at: u64| format!(r#"["{}","{}"]"#, 100 + at % 7, at % 3);
            let replace = if choice.is_multiple_of(11) {
                r#","replace":true"#
            } else {
                ""
            };
            let (bid, ask) = (level(choice), level(choice / 7));
            format!(r#"{{"symbol":"A","bids":[{bid}],"asks":[{ask}],"time":{seq}{replace}}}"#)
        }
        "candle.1s.A" => format!(r#"{{"closed":{}}}"#, choice.is_multiple_of(2)),
        _ => seq.to_string(),
    }
}

/// A message with the text that a log has of it.
struct InLog {
    numbered: Numbered,
    text: Vec<u8>,
}

impl InLog {
    fn message(&self) -> WrittenMessage<'_> {
        WrittenMessage {
            after: self.numbered.after,
            seq: self.numbered.seq,
            ts: self.numbered.ts,
            doubt: self.numbered.doubt,
            text: match &self.numbered.payload {
                Payload::Book(_) => WrittenText::Change(&self.text),
                _ => WrittenText::Data(&self.text),
            },
        }
    }
}

/// Messages as a broker has numbered and written them. Where a choice is a multiple of 23, a fault has lost the book before.
fn log(topic: &str, choices: &[u64]) -> Vec<InLog> {
    let numbering = ingress(usize::MAX);
    let cell = open(&numbering, topic);
    let mut log = Vec::new();
    for (at, choice) in (1..).zip(choices) {
        let mut choice = *choice;
        if choice.is_multiple_of(23) && topic == "book.A" {
            cell.lock().sequencer.lose_book();
            choice *= 11; // only a whole book can follow
        }
        let payload = Payload::from_json(data(topic, at, choice).as_bytes()).expect("JSON");
        let payload = numbering.check(topic, payload).expect("it fits");
        let numbered = cell
            .lock()
            .sequencer
            .number(payload, Micros(at * 10), cell.topic(), None);
        let (numbered, _) = numbered.expect("it fits");
        let mut text = Vec::new();
        numbered.payload.write_json(&mut text);
        log.push(InLog { numbered, text });
    }
    log
}

/// Everything that a reader or a later message can see of a topic.
fn seen(ingress: &Ingress, cell: &TopicCell) -> String {
    let dump = cell.dump();
    let text = |message: &Arc<Publication>| {
        let mut text = Vec::new();
        message.payload.write_json(&mut text);
        (
            message.seq,
            message.ts,
            message.doubt,
            String::from_utf8(text).expect("JSON"),
        )
    };
    let page = cell.history(Seq::ZERO, usize::MAX);
    let parts = (
        dump.map(|dump| {
            (
                dump.head,
                dump.book,
                dump.messages.iter().map(text).collect::<Vec<_>>(),
            )
        }),
        (
            page.oldest,
            page.newest,
            page.messages.iter().map(text).collect::<Vec<_>>(),
        ),
        (
            cell.is_doubted(),
            cell.lock().history.stored_from(Micros(0), page.newest),
        ),
        (
            ingress.directory().history_bytes(),
            ingress.directory().value_bytes(),
        ),
    );
    format!("{parts:?}")
}

proptest! {
    #[test]
    fn entering_together_is_entering_one_by_one(
        topic in 0..TOPICS.len(),
        choices in prop::collection::vec(0_u64..1_000_000, 1..40),
        splits in prop::collection::vec(1_usize..12, 40),
        next in 0_u64..1_000_000,
    ) {
        let topic = TOPICS[topic];
        let log = log(topic, &choices);
        let (one, together) = (ingress(usize::MAX), ingress(usize::MAX));
        let (cell_one, cell_together) = (open(&one, topic), open(&together, topic));
        let (mut rest, mut splits) = (&log[..], splits.into_iter());
        while !rest.is_empty() {
            let (now, later) = rest.split_at(splits.next().unwrap_or(1).min(rest.len()));
            rest = later;
            for message in now {
                let entered = one.apply(&cell_one, message.numbered.clone(), Micros(7));
                prop_assert!(entered.is_ok(), "{entered:?}");
            }
            let messages: Vec<_> = now.iter().map(InLog::message).collect();
            let entered = together.directory().enter_written(&cell_together, messages.into_iter(), Micros(7));
            prop_assert_eq!(entered, Ok(()));
            prop_assert_eq!(seen(&one, &cell_one), seen(&together, &cell_together));
        }
        // What is published next follows on both in the same way.
        let payload = || one.check(topic, Payload::from_json(data(topic, 41, next).as_bytes()).expect("JSON")).expect("it fits");
        for (ingress, cell) in [(&one, &cell_one), (&together, &cell_together)] {
            let mut cell = cell.clone();
            ingress.submit_to(&mut cell, payload(), Micros(1_000), |_| ()).expect("it fits");
        }
        prop_assert_eq!(seen(&one, &cell_one), seen(&together, &cell_together));
    }
}

/// A message that does not follow is refused with its place, and so is a book whose last checksum is another.
#[test]
fn what_does_not_follow_is_refused_with_its_place() {
    let choices: Vec<u64> = (1..9).collect();
    for topic in ["trade.A", "book.A"] {
        let log = log(topic, &choices);
        let enter = |places: &[usize], change: Option<usize>| {
            let there = ingress(usize::MAX);
            let cell = open(&there, topic);
            let mut numbered: Vec<_> = places.iter().map(|at| log[*at].message()).collect();
            let other = br#"{"symbol":"A","bids":[["1","1"]],"asks":[],"checksum":1,"time":1}"#;
            if let Some(at) = change {
                numbered[at].text = WrittenText::Change(other);
            }
            let entered = there
                .directory()
                .enter_written(&cell, numbered.into_iter(), Micros(7));
            (
                entered.map_err(|(at, error)| (at, error.to_string())),
                cell.position().seq.0,
            )
        };
        let hole = |head: u64| NotEntered::Hole(Seq(head)).to_string();
        assert_eq!(enter(&[0, 1, 3], None), (Err((2, hole(2))), 2), "{topic}");
        assert_eq!(
            enter(&[0, 1, 1], None),
            (Err((2, NotEntered::Known.to_string())), 2),
            "{topic}"
        );
        assert_eq!(enter(&[1, 2], None), (Err((0, hole(0))), 0), "{topic}");
        if topic == "book.A" {
            let (entered, _) = enter(&[0, 1, 2], Some(2));
            let (at, error) = entered.expect_err("the checksum is that of another book");
            assert!(at == 2 && error.contains("another book"), "{at} {error}");
        }
    }
}

/// While the histories are over their budget, what enters together gives up as much as what enters one by one.
#[test]
fn what_enters_together_keeps_to_the_budget_of_the_histories() {
    let budget = 4_000;
    let choices: Vec<u64> = (1..200).collect();
    let there = ingress(budget);
    for topic in TOPICS {
        let cell = open(&there, topic);
        let log = log(topic, &choices);
        for part in log.chunks(20) {
            let messages: Vec<_> = part.iter().map(InLog::message).collect();
            let entered = there
                .directory()
                .enter_written(&cell, messages.into_iter(), Micros(7));
            assert_eq!(entered, Ok(()), "{topic}");
            let held = there.directory().history_bytes();
            assert!(held <= budget + 1_000, "{topic}: {held}");
        }
    }
}
