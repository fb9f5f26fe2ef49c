//! What is derived is the same whether a log is read at once, or from any moment on with what a checkpoint has of it.

use proptest::prelude::*;
use tickwire_feed::Interval;
use tickwire_router::{DirectoryLimits, Ingress, Kinds, Origin, ShardQueue, WrittenText};

use super::*;

const NAMES: [&str; 3] = ["trade.A", "trade.B", "chat.A"];
/// The beginning of a day.
const DAY: u64 = 1_700_006_400_000_000;

fn rules() -> Vec<DeriveRule> {
    vec![DeriveRule {
        from: "trade.>".parse().expect("a pattern"),
        candles: vec![Interval::Second, Interval::Hour],
        ticker: true,
        bbo: false,
    }]
}

fn directory() -> Arc<Directory> {
    let queue = Arc::new(ShardQueue::new(10, Box::new(|| {})));
    let limits = DirectoryLimits::default();
    Arc::new(Directory::new("e".into(), Kinds::default(), limits, vec![queue]))
}

/// A log: messages of topics in their order.
struct Log {
    directory: Arc<Directory>,
    cells: Vec<Arc<TopicCell>>,
    /// Their topic, number, time and text.
    messages: Vec<(usize, u64, u64, String)>,
}

impl Log {
    /// A log of trades: the topic, the price, and the milliseconds since the one before.
    fn of(trades: &[(usize, u32, u64)]) -> Self {
        let directory = directory();
        let topic = |name: &str| name.parse::<Topic>().expect("a topic");
        let cells = NAMES.map(|name| directory.open(&topic(name)).expect("there is room"));
        let (mut ts, mut seqs, mut messages) = (DAY, [0; NAMES.len()], Vec::new());
        for (of, price, later) in trades {
            ts += later * 1_000;
            seqs[*of] += 1;
            let text = format!(
                r#"{{"price":"{price}","size":"0.5","time":{}}}"#,
                ts - later * 500
            );
            messages.push((*of, seqs[*of], ts, text));
        }
        let cells = cells.to_vec();
        Self {
            directory,
            cells,
            messages,
        }
    }

    fn read(&self, derived: &mut Derived, from: usize, to: usize) {
        for (of, seq, ts, text) in &self.messages[from..to] {
            let message = WrittenMessage {
                after: Seq(seq - 1),
                seq: Seq(*seq),
                ts: Micros(*ts),
                doubt: None,
                text: WrittenText::Data(text.as_bytes()),
            };
            derived.take(&self.cells[*of], &message).expect("JSON");
        }
    }

    /// The state of the markets at the end.
    fn end(&self, derived: Derived) -> Vec<String> {
        let start = derived.finish(&self.directory, false);
        let mut states: Vec<String> = start
            .deriver
            .kept()
            .map(|market| serde_json::to_string(&market).expect("JSON"))
            .collect();
        states.sort_unstable();
        states
    }
}

proptest! {
    #[test]
    fn any_checkpoint_leads_to_the_same_markets(
        trades in prop::collection::vec((0..NAMES.len(), 1_u32..50, 0_u64..900), 1..60),
        moments in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
    ) {
        let log = Log::of(&trades);
        let all = log.messages.len();
        let mut whole = Derived::new(&rules());
        log.read(&mut whole, 0, all);
        // The checkpoint is of any moment behind the place where the log is read from.
        let (one, other) = (moments.0.index(all + 1), moments.1.index(all + 1));
        let (place, saved) = (one.min(other), one.max(other));
        let mut first = Derived::new(&rules());
        log.read(&mut first, 0, saved);
        let parts = first.finish(&log.directory, false).parts().expect("JSON");
        let mut second = Derived::new(&rules());
        for part in &parts {
            second.restore(part).expect("it was kept");
        }
        log.read(&mut second, place, all);
        prop_assert_eq!(log.end(whole), log.end(second));
    }
}

/// The second of the last trade was closed by the clock, and a late one came behind it.
#[test]
fn a_candle_that_was_published_as_closed_stays_so() {
    let log = Log::of(&[(0, 5, 100), (0, 6, 100), (0, 7, 100)]);
    let ingress = Ingress::new(log.directory.clone());
    let candle = format!(r#"{{"start":{DAY},"closed":true,"trades":2}}"#);
    let topic: Topic = "candle.1s.A".parse().expect("a topic");
    let payload = Payload::from_json(candle.as_bytes()).expect("JSON");
    let published = ingress.submit(Origin::Feed, &topic, payload, Micros(DAY));
    published.expect("there is room");
    let mut derived = Derived::new(&rules());
    log.read(&mut derived, 0, 3);
    let start = derived.finish(&log.directory, false);
    assert!(start.unpublished.is_empty(), "{:?}", start.unpublished);
    let kept: Vec<KeptMarket> = start.deriver.kept().collect();
    let text = serde_json::to_string(&kept).expect("JSON");
    let second = format!(r#"{{"interval":"1s","closed_until":{}}}"#, DAY + 1_000_000);
    assert!(text.contains(&second), "{text}");
    assert!(text.contains(r#""trades":3"#), "the hour has all: {text}");
}

/// A candle that was closed and not published before the kill is published by the start, once.
#[test]
fn what_was_not_published_is() {
    let log = Log::of(&[(0, 5, 100), (0, 6, 3_000), (0, 7, 3_000)]);
    let mut derived = Derived::new(&rules());
    log.read(&mut derived, 0, 3);
    let start = derived.finish(&log.directory, false);
    let closed: Vec<String> = start
        .unpublished
        .iter()
        .map(|(topic, payload)| format!("{topic} {}", String::from_utf8_lossy(&json(payload))))
        .collect();
    assert_eq!(closed.len(), 2, "{closed:?}");
    assert!(
        closed
            .iter()
            .all(|line| line.starts_with("candle.1s.A ") && line.contains(r#""closed":true"#))
    );
}

/// A topic that the checkpoint has, and that has ended since: its candles are closed.
#[test]
fn the_market_of_a_topic_that_has_ended_is_closed() {
    let log = Log::of(&[(0, 5, 100)]);
    let mut first = Derived::new(&rules());
    log.read(&mut first, 0, 1);
    let parts = first.finish(&log.directory, false).parts().expect("JSON");
    let mut second = Derived::new(&rules());
    for part in &parts {
        second.restore(part).expect("it was kept");
    }
    let start = second.finish(&directory(), false);
    assert_eq!(start.deriver.kept().count(), 0);
    assert_eq!(start.topics.len(), 0);
    let topics = start.unpublished.iter().map(|(topic, _)| topic.as_str());
    let mut topics: Vec<&str> = topics.collect();
    topics.sort_unstable();
    assert_eq!(topics, ["candle.1h.A", "candle.1s.A", "ticker.A"]);
}

#[test]
fn only_parts_of_what_is_derived_are_taken() {
    let mut derived = Derived::new(&rules());
    assert!(derived.restore(b"{}").is_err());
    assert!(
        derived
            .restore(br#"{"topics":[["a b","e",1]],"markets":[]}"#)
            .is_err()
    );
    assert!(
        derived
            .restore(br#"{"topics":[["trade.A","e",1]],"markets":[]}"#)
            .is_ok()
    );
}
