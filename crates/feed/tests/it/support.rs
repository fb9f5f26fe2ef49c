//! Creates feeds and reads their ticks.

use std::collections::BTreeMap;

use tickwire_feed::{Books, Feed, Sim, SimConfig, Tick};
use tickwire_wire::{Micros, Payload, Topic};

/// The start of virtual time. It is not the start of a second or minute.
pub(crate) const START: Micros = Micros(1_723_161_253_937_085);

/// The books among the topics, by their names.
pub(crate) fn books() -> Books {
    Books::new(|topic| topic.as_str().starts_with("book."))
}

/// A simulated market.
pub(crate) fn sim(symbols: u32, rate: u32, seed: u64) -> Sim {
    Sim::new(SimConfig {
        symbols,
        rate,
        seed,
        start: START,
    })
    .expect("numbers in range")
}

/// The symbol that a payload is of.
pub(crate) fn symbol_of(payload: &Payload) -> &str {
    match payload {
        Payload::Ticker(data) => data.symbol.as_str(),
        Payload::Bbo(data) => data.symbol.as_str(),
        Payload::Trade(data) => data.symbol.as_str(),
        Payload::Candle(data) => data.symbol.as_str(),
        Payload::Book(data) => data.symbol.as_str(),
        Payload::Json(_) | Payload::Packed(_) => panic!("feeds publish market data only"),
    }
}

/// Checks that the tick's topic fits its payload.
pub(crate) fn assert_topic(topic: &Topic, payload: &Payload) {
    let expected = match payload {
        Payload::Ticker(data) => format!("ticker.{}", data.symbol),
        Payload::Bbo(data) => format!("bbo.{}", data.symbol),
        Payload::Trade(data) => format!("trade.{}", data.symbol),
        Payload::Candle(data) => format!("candle.{}.{}", data.interval, data.symbol),
        Payload::Book(data) => format!("book.{}", data.symbol),
        Payload::Json(_) | Payload::Packed(_) => panic!("feeds publish market data only"),
    };
    assert_eq!(topic.as_str(), expected);
}

/// The next `count` ticks, or fewer if the feed ends. Checks topics and times.
pub(crate) fn ticks(feed: &mut Feed, count: usize) -> Vec<Tick> {
    let mut latest = Micros(0);
    let mut all = Vec::new();
    for _ in 0..count {
        let next_at = feed.next_at();
        let Some(tick) = feed.next_tick() else { break };
        assert!(latest <= tick.at, "{} comes after {latest}", tick.at);
        assert!(
            next_at.is_some_and(|next_at| latest <= next_at && next_at <= tick.at),
            "{next_at:?} announced"
        );
        latest = tick.at;
        assert_topic(feed.topic(tick.topic), &tick.payload);
        all.push(tick);
    }
    assert_eq!(feed.stats().ticks, all.len() as u64);
    all
}

/// The ticks of each symbol, in order.
pub(crate) fn by_symbol(ticks: &[Tick]) -> BTreeMap<&str, Vec<&Tick>> {
    let mut symbols: BTreeMap<&str, Vec<&Tick>> = BTreeMap::new();
    for tick in ticks {
        symbols.entry(symbol_of(&tick.payload)).or_default().push(tick);
    }
    symbols
}
