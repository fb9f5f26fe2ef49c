//! Ticker and candles of one symbol, computed again from its trades.

use std::collections::BTreeMap;

use rust_decimal::Decimal as Number;
use tickwire_feed::Tick;
use tickwire_wire::market::{Bbo, Candle, Ticker, Trade};
use tickwire_wire::{Micros, Payload};

/// The trades of one symbol, and what was derived from them.
pub(crate) struct DerivedAudit {
    /// Whether a closed candle must come before any message at or after its interval's end.
    prompt: bool,
    /// One in so many tickers is computed again.
    ticker_stride: usize,
    tickers: usize,
    trades: Vec<Trade>,
    bbo: Option<Bbo>,
    /// For each interval and start: the number of trades in the last message, and whether that closed the candle.
    candles: BTreeMap<(String, u64), (usize, bool)>,
    /// The time of the first published trade that is not in a ticker yet.
    waiting_since: Option<Micros>,
    /// The longest time that a trade waited for its ticker, in microseconds.
    pub(crate) waited_us_max: u64,
}

fn length_us(interval: &str) -> u64 {
    match interval {
        "1s" => 1_000_000,
        "1m" => 60_000_000,
        other => panic!("no interval {other}"),
    }
}

impl DerivedAudit {
    /// Starts without any tick. With `prompt`, a candle must close before any other message at or after its end. One in
    /// `ticker_stride` tickers is computed again.
    pub(crate) fn new(prompt: bool, ticker_stride: usize) -> Self {
        Self {
            prompt,
            ticker_stride,
            tickers: 0,
            trades: Vec::new(),
            bbo: None,
            candles: BTreeMap::new(),
            waiting_since: None,
            waited_us_max: 0,
        }
    }

    /// Checks one tick.
    pub(crate) fn tick(&mut self, tick: &Tick) {
        if self.prompt && !matches!(tick.payload, Payload::Candle(_)) {
            self.assert_closed(tick.at);
        }
        match &tick.payload {
            Payload::Trade(trade) => {
                self.trades.push((**trade).clone());
                self.waiting_since.get_or_insert(tick.at);
            }
            Payload::Bbo(bbo) => self.bbo = Some((**bbo).clone()),
            Payload::Ticker(ticker) => {
                self.ticker(ticker);
                if let Some(since) = self.waiting_since.take() {
                    self.waited_us_max = self.waited_us_max.max(tick.at.since(since));
                }
            }
            Payload::Candle(candle) => self.candle(candle),
            Payload::Book(_) | Payload::Json(_) | Payload::Packed(_) => {}
        }
    }

    fn ticker(&mut self, ticker: &Ticker) {
        let trades = &self.trades;
        self.tickers += 1;
        if !self.tickers.is_multiple_of(self.ticker_stride) {
            return;
        }
        let prices = || trades.iter().map(|trade| trade.price);
        let volume: Number = trades.iter().map(|trade| trade.size.get()).sum();
        let notional: Number = trades
            .iter()
            .map(|trade| trade.price.get() * trade.size.get())
            .sum();
        let (first, last) = (&trades[0], &trades[trades.len() - 1]);
        assert_eq!(
            (ticker.open, ticker.last, ticker.time),
            (first.price, last.price, last.time)
        );
        assert_eq!(
            (Some(ticker.high), Some(ticker.low)),
            (prices().max(), prices().min())
        );
        assert_eq!(ticker.volume.get(), volume.normalize());
        let half_digit = Number::new(5, 9);
        assert!(
            (ticker.vwap.get() * volume - notional).abs() <= half_digit * volume,
            "vwap {}",
            ticker.vwap
        );
        let change = (last.price.get() / first.price.get() - Number::ONE) * Number::ONE_HUNDRED;
        assert!(
            (ticker.change_pct.get() - change).abs() <= Number::new(5_001, 8),
            "change {}",
            ticker.change_pct
        );
        let quotes = |bbo: &Bbo| (bbo.bid, bbo.bid_size, bbo.ask, bbo.ask_size);
        let published = (ticker.bid, ticker.bid_size, ticker.ask, ticker.ask_size);
        assert_eq!(published, self.bbo.as_ref().map(quotes).unwrap_or_default());
    }

    fn candle(&mut self, candle: &Candle) {
        let length_us = length_us(&candle.interval);
        assert_eq!(candle.start.0 % length_us, 0);
        let trades = self.of(candle.start.0, length_us);
        assert_eq!(
            candle.trades,
            trades.len() as u64,
            "all trades so far of {candle:?}"
        );
        let prices = || trades.iter().map(|trade| trade.price);
        assert_eq!(
            (
                Some(candle.open),
                Some(candle.close),
                Some(candle.high),
                Some(candle.low)
            ),
            (
                prices().next(),
                prices().next_back(),
                prices().max(),
                prices().min()
            )
        );
        let volume: Number = trades.iter().map(|trade| trade.size.get()).sum();
        assert_eq!(candle.volume.get(), volume.normalize());
        let count = trades.len();
        let before = self.candles.insert(
            (candle.interval.to_string(), candle.start.0),
            (count, candle.closed),
        );
        assert!(
            !before.is_some_and(|(_, closed)| closed),
            "a message after the last of {candle:?}"
        );
    }

    /// The trades of an interval. They are in order of time.
    fn of(&self, start: u64, length_us: u64) -> &[Trade] {
        let from = self.trades.partition_point(|trade| trade.time.0 < start);
        let to = self
            .trades
            .partition_point(|trade| trade.time.0 < start + length_us);
        &self.trades[from..to]
    }

    /// Checks that the candles of the last trade are closed if their interval is over at `now`.
    fn assert_closed(&self, now: Micros) {
        let Some(last) = self.trades.last() else { return };
        for interval in ["1s", "1m"] {
            let start = last.time.0 - last.time.0 % length_us(interval);
            if start + length_us(interval) <= now.0 {
                let candle = self.candles.get(&(interval.to_owned(), start));
                assert!(
                    candle.is_some_and(|(_, closed)| *closed),
                    "{interval} from {start} is open at {now}"
                );
            }
        }
    }

    /// Checks that every candle whose interval is over at `now` was closed with all of its trades, and that no candle
    /// is without a trade. Returns the number of candles.
    pub(crate) fn finish(&self, now: Micros) -> usize {
        for interval in ["1s", "1m"] {
            let length_us = length_us(interval);
            let mut trades: BTreeMap<u64, usize> = BTreeMap::new();
            for trade in &self.trades {
                *trades.entry(trade.time.0 - trade.time.0 % length_us).or_default() += 1;
            }
            for (start, count) in trades.range(..=now.0.saturating_sub(length_us)) {
                let last = self.candles.get(&(interval.to_owned(), *start));
                assert_eq!(last, Some(&(*count, true)), "{interval} from {start}");
            }
        }
        self.candles.len()
    }
}
