//! Candles, tickers and best quotes of what clients publish.
//!
//! Rules say which topics are read. The tokens of a topic behind the plain tokens with which its rule's pattern begins are
//! its *name*: with `trade.>`, `trade.BTC-USD` has the name `BTC-USD`. Topics with one name are one market, whatever rules
//! read them, and what their rules ask for adds up: `candle.1m.BTC-USD`, `ticker.BTC-USD`, `bbo.BTC-USD`.
//!
//! A trade counts at the publisher's time, but not later than its message's: no publisher can close the candles of the
//! future, and the same messages always make the same candles. Candles are closed by a trade of a later interval, or [`GRACE_US`] after their end and after the market's last
//! trade, so that trades of the past, published in their order, make whole candles. Open candles, the ticker and the best
//! quotes are due [`DELAY_US`] after the first message that changed them, one message of each for all changes of that
//! time.
//!
//! Time is an argument. Memory grows with the number of markets that have a topic, not with messages.

use std::collections::{BTreeSet, HashMap};

use thiserror::Error;
use tickwire_wire::market::{Bbo, Level, Side, Trade};
use tickwire_wire::{Micros, Pattern, Payload, Symbol, Topic, TopicError};

use super::data::{Data, Quoted};
use super::{Derive, Interval, Intervals, KeptMarket, NotKept, Timeliness, TradeRefused};

/// How long after a change its ticker, open candles and best quotes are published, in microseconds.
const DELAY_US: u64 = 100_000;
/// How long after its end, and after the last trade, a candle is closed if no later trade closes it, in microseconds.
const GRACE_US: u64 = 1_000_000;

/// Which topics something is derived from, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeriveRule {
    /// The topics that are read. The pattern begins with a plain token.
    pub from: Pattern,
    /// The intervals of the candles that are made of trades.
    pub candles: Vec<Interval>,
    /// Whether a ticker is made of trades, with the best quotes that are known.
    pub ticker: bool,
    /// Whether the best quotes of books are published.
    pub bbo: bool,
}

impl DeriveRule {
    /// The plain tokens with which the pattern begins, with their dots. A pattern without a wildcard keeps its last token
    /// for the name.
    fn prefix(&self) -> &str {
        let pattern = self.from.as_str();
        let plain = pattern
            .split('.')
            .take_while(|token| !matches!(*token, "*" | ">"));
        let plain: usize = plain.map(|token| token.len() + 1).sum();
        match pattern.get(..plain) {
            Some(prefix) => prefix,
            None => &pattern[..pattern.rfind('.').map_or(0, |dot| dot + 1)],
        }
    }

    /// The name of the market of `topic`, if the rule reads it.
    fn name<'t>(&self, topic: &'t str) -> Option<&'t str> {
        if !self.from.matches(topic) {
            return None;
        }
        topic.strip_prefix(self.prefix()).filter(|name| !name.is_empty())
    }

    /// Whether the rule reads a topic of the market `name`.
    fn reads(&self, name: &str) -> bool {
        self.from.matches(&format!("{}{name}", self.prefix()))
    }
}

/// The number of a market that topics are read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceNo(u32);

/// Why nothing is derived from a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotDerived {
    /// The message is neither a trade nor best quotes.
    #[error(
        "it is no trade with `price`, `size` and perhaps `time`, nor best quotes with `bid`, `bid_size`, `ask` and `ask_size`"
    )]
    NoData,
    /// The message is a trade that cannot be added exactly.
    #[error(transparent)]
    Trade(#[from] TradeRefused),
}

/// What was read so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Trades and quotes that something is derived from.
    pub taken: u64,
    /// Trades among them that came after a candle of their time was closed.
    pub late: u64,
}

/// The topics that a market publishes.
#[derive(Debug)]
struct Targets {
    candles: Vec<(Interval, Topic)>,
    ticker: Option<Topic>,
    bbo: Option<Topic>,
}

impl Targets {
    /// The topics of the market `name` that `rules` ask for.
    fn of(name: &str, rules: &[DeriveRule]) -> Result<Self, TopicError> {
        let rules = || rules.iter().filter(|rule| rule.reads(name));
        let wanted = |interval| rules().any(|rule| rule.candles.contains(interval));
        let candles = Interval::ALL.iter().filter(|interval| wanted(interval));
        let candles = candles.map(|interval| {
            let topic = format!("candle.{}.{name}", interval.as_str()).parse()?;
            Ok((*interval, topic))
        });
        let topic =
            |is_wanted: bool, kind: &str| is_wanted.then(|| format!("{kind}.{name}").parse()).transpose();
        Ok(Self {
            candles: candles.collect::<Result<_, TopicError>>()?,
            ticker: topic(rules().any(|rule| rule.ticker), "ticker")?,
            bbo: topic(rules().any(|rule| rule.bbo), "bbo")?,
        })
    }

    fn candle(&self, interval: Interval) -> Option<&Topic> {
        let target = self.candles.iter().find(|(of, _)| *of == interval);
        target.map(|(_, topic)| topic)
    }
}

/// The state of one market.
#[derive(Debug)]
struct Market {
    name: Box<str>,
    derive: Derive,
    targets: Targets,
    /// The number of its topics that are read.
    sources: u32,
    /// When its last trade arrived.
    heard: Micros,
    /// The best quotes as they were taken last.
    quoted: Quoted,
    /// Whether there were trades since the ticker and the open candles were published.
    has_traded: bool,
    /// The best quotes of its book, if they are to be published.
    bbo: Option<Bbo>,
    /// When something is to be published next, if that is planned.
    due: Option<Micros>,
}

impl Market {
    /// When open candles may be closed without a later trade, if there are any.
    fn closes_at(&self) -> Option<Micros> {
        let end = self.derive.open_until()?;
        Some(Micros(end.max(self.heard).0.saturating_add(GRACE_US)))
    }

    /// Emits the candles that are over at `until`.
    fn close(&mut self, until: Micros, emit: &mut impl FnMut(&Topic, Payload)) {
        let Self { derive, targets, .. } = self;
        derive.close(until, |interval, candle| {
            if let Some(topic) = targets.candle(interval) {
                emit(topic, Payload::Candle(Box::new(candle)));
            }
        });
    }

    /// Emits what has changed since the last time.
    fn publish(&mut self, emit: &mut impl FnMut(&Topic, Payload)) {
        let Self { derive, targets, .. } = self;
        if let (Some(bbo), Some(topic)) = (self.bbo.take(), &targets.bbo) {
            emit(topic, Payload::Bbo(Box::new(bbo)));
        }
        if !std::mem::take(&mut self.has_traded) {
            return;
        }
        if let (Some(ticker), Some(topic)) = (derive.ticker(), &targets.ticker) {
            emit(topic, Payload::Ticker(Box::new(ticker)));
        }
        derive.candles(|interval, candle| {
            if let Some(topic) = targets.candle(interval) {
                emit(topic, Payload::Candle(Box::new(candle)));
            }
        });
    }
}

/// All markets, by the rules.
#[derive(Debug)]
pub struct Deriver {
    rules: Vec<DeriveRule>,
    /// The markets by number. `None` where a market has lost its last topic.
    markets: Vec<Option<Market>>,
    free: Vec<SourceNo>,
    by_name: HashMap<Box<str>, SourceNo>,
    /// The markets that have something to publish, by the time when it is due.
    due: BTreeSet<(Micros, SourceNo)>,
    tally: Tally,
}

impl Deriver {
    /// Derives by `rules`. No topic is read yet.
    #[must_use]
    pub fn new(rules: Vec<DeriveRule>) -> Self {
        Self {
            rules,
            markets: Vec::new(),
            free: Vec::new(),
            by_name: HashMap::new(),
            due: BTreeSet::new(),
            tally: Tally::default(),
        }
    }

    /// Reads `topic` from now on, for the market with the returned number. `None` if no rule reads it.
    ///
    /// # Errors
    /// If its name is too long for the topics that would be made of it. Then it is not read.
    pub fn open(&mut self, topic: &Topic) -> Result<Option<SourceNo>, TopicError> {
        let name = self.rules.iter().find_map(|rule| rule.name(topic.as_str()));
        let Some(name) = name else {
            return Ok(None);
        };
        if let Some(number) = self.by_name.get(name) {
            if let Some(market) = self.markets[number.0 as usize].as_mut() {
                market.sources += 1;
            }
            return Ok(Some(*number));
        }
        let targets = Targets::of(name, &self.rules)?;
        let intervals: Vec<Interval> = targets.candles.iter().map(|(interval, _)| *interval).collect();
        let market = Market {
            name: name.into(),
            derive: Derive::new(Symbol::from(name), &Intervals::new(&intervals)),
            targets,
            sources: 1,
            heard: Micros(0),
            quoted: Quoted::default(),
            has_traded: false,
            bbo: None,
            due: None,
        };
        let number = self.free.pop().unwrap_or_else(|| {
            self.markets.push(None);
            SourceNo(self.markets.len() as u32 - 1)
        });
        self.markets[number.0 as usize] = Some(market);
        self.by_name.insert(name.into(), number);
        Ok(Some(number))
    }

    /// Reads a topic of the market `source` no more. A market without a topic ends: its open candles are closed, and a
    /// later topic with its name begins anew.
    pub fn end(&mut self, source: SourceNo, mut emit: impl FnMut(&Topic, Payload)) {
        let place = &mut self.markets[source.0 as usize];
        let Some(market) = place else { return };
        market.sources -= 1;
        if market.sources > 0 {
            return;
        }
        market.publish(&mut emit);
        market.close(Micros(u64::MAX), &mut emit);
        self.by_name.remove(&market.name);
        if let Some(due) = market.due {
            self.due.remove(&(due, source));
        }
        *place = None;
        self.free.push(source);
    }

    /// Takes a message of a topic of the market `source` that has the time `ts` and arrived at `now`. Emits candles that are over by it.
    ///
    /// # Errors
    /// If nothing is derived from the message. Then nothing has changed.
    pub fn take(
        &mut self,
        source: SourceNo,
        payload: &Payload,
        (ts, now): (Micros, Micros),
        mut emit: impl FnMut(&Topic, Payload),
    ) -> Result<(), NotDerived> {
        let data = match payload {
            Payload::Json(text) => Data::of_json(text.as_str()),
            Payload::Packed(value) => Data::of_json(value.as_slice().to_json().as_str()),
            Payload::Trade(trade) => Some(Data::from(&**trade)),
            Payload::Bbo(bbo) => Some(Data::from(&**bbo)),
            Payload::Ticker(_) | Payload::Candle(_) | Payload::Book(_) => None,
        };
        let Some(market) = self.markets[source.0 as usize].as_mut() else {
            return Err(NotDerived::NoData);
        };
        match data.ok_or(NotDerived::NoData)? {
            Data::Quote(quoted) => {
                market.quoted = quoted;
                let bbo = bbo(market.derive.symbol(), quoted, ts);
                market.derive.quote(&bbo);
            }
            Data::Trade { price, size, time } => {
                let trade = Trade {
                    symbol: market.derive.symbol().clone(),
                    id: 0,
                    price,
                    size,
                    side: Side::Buy,
                    time: time.unwrap_or(ts).min(ts),
                };
                market.derive.check(&trade)?;
                market.close(trade.time, &mut emit);
                if market.derive.trade(&trade)? == Timeliness::Late {
                    self.tally.late += 1;
                }
                market.heard = now;
                market.has_traded = true;
                self.plan(source, Micros(now.0.saturating_add(DELAY_US)));
            }
        }
        self.tally.taken += 1;
        Ok(())
    }

    /// Takes the best levels of a book of the market `source`, as they are since `time`.
    pub fn take_best(&mut self, source: SourceNo, (bid, ask): (Level, Level), time: Micros, now: Micros) {
        let Some(market) = self.markets[source.0 as usize].as_mut() else {
            return;
        };
        self.tally.taken += 1;
        let quoted = Quoted {
            bid: bid.price,
            bid_size: bid.size,
            ask: ask.price,
            ask_size: ask.size,
        };
        if std::mem::replace(&mut market.quoted, quoted) == quoted {
            return;
        }
        let bbo = bbo(market.derive.symbol(), quoted, time);
        market.derive.quote(&bbo);
        if market.targets.bbo.is_some() {
            market.bbo = Some(bbo);
            self.plan(source, Micros(now.0.saturating_add(DELAY_US)));
        }
    }

    /// When [`Self::publish_due`] has something to do next, if ever.
    #[must_use]
    pub fn next_due(&self) -> Option<Micros> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Emits what is due at `now`, of up to `most` markets. Returns whether more is due.
    pub fn publish_due(&mut self, now: Micros, most: usize, mut emit: impl FnMut(&Topic, Payload)) -> bool {
        for _ in 0..most {
            let Some((due, source)) = self.due.first().copied().filter(|(due, _)| *due <= now) else {
                return false;
            };
            self.due.remove(&(due, source));
            let Some(market) = self.markets[source.0 as usize].as_mut() else {
                continue;
            };
            market.due = None;
            market.publish(&mut emit);
            if now.0 >= market.heard.0.saturating_add(GRACE_US) {
                market.close(Micros(now.0.saturating_sub(GRACE_US)), &mut emit);
            }
            if let Some(at) = market.closes_at() {
                self.plan(source, at);
            }
        }
        self.next_due().is_some_and(|due| due <= now)
    }

    /// The state of all markets, to go on from with [`Self::restore`].
    pub fn kept(&self) -> impl Iterator<Item = KeptMarket> {
        self.markets
            .iter()
            .flatten()
            .map(|market| KeptMarket::of(&market.name, market.heard, market.has_traded, &market.derive))
    }

    /// Has a market go on from its state, if a topic of it is open.
    ///
    /// # Errors
    /// If the state is none that [`Self::kept`] gives. Then the market is as before.
    pub fn restore(&mut self, kept: &KeptMarket) -> Result<(), NotKept> {
        let Some(source) = self.by_name.get(&kept.name).copied() else {
            return Ok(());
        };
        if let Some(market) = self.markets[source.0 as usize].as_mut() {
            kept.restore(&mut market.derive)?;
            market.heard = kept.heard;
            market.has_traded = kept.has_traded;
            market.quoted = kept.quoted();
            let publishes = Micros(kept.heard.0.saturating_add(DELAY_US));
            let dues = [market.has_traded.then_some(publishes), market.closes_at()];
            for due in dues.into_iter().flatten() {
                self.plan(source, due);
            }
        }
        Ok(())
    }

    /// The topics of candles that are made, each with its market and interval.
    pub fn candle_topics(&self) -> impl Iterator<Item = (SourceNo, Interval, &Topic)> {
        let markets = self.by_name.values().filter_map(|source| {
            let market = self.markets[source.0 as usize].as_ref()?;
            Some((*source, market))
        });
        markets.flat_map(|(source, market)| {
            let candles = market.targets.candles.iter();
            candles.map(move |(interval, topic)| (source, *interval, topic))
        })
    }

    /// Learns that the candle of a market that began at `start` was published as closed before the markets were restored: it
    /// stays as it was published.
    pub fn was_closed(&mut self, source: SourceNo, interval: Interval, start: Micros) {
        if let Some(market) = self.markets[source.0 as usize].as_mut() {
            market.derive.was_closed(interval, start);
        }
    }

    /// What was read so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Has the market looked at by `at`.
    fn plan(&mut self, source: SourceNo, at: Micros) {
        let Some(market) = self.markets[source.0 as usize].as_mut() else {
            return;
        };
        if market.due.is_some_and(|due| due <= at) {
            return;
        }
        if let Some(later) = market.due.replace(at) {
            self.due.remove(&(later, source));
        }
        self.due.insert((at, source));
    }
}

fn bbo(symbol: &Symbol, quoted: Quoted, time: Micros) -> Bbo {
    Bbo {
        symbol: symbol.clone(),
        bid: quoted.bid,
        bid_size: quoted.bid_size,
        ask: quoted.ask,
        ask_size: quoted.ask_size,
        time,
    }
}

#[cfg(test)]
mod tests;
