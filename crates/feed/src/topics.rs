//! The topics of a feed and their numbers.
//!
//! Each symbol has the same six topics, one per [`Channel`], with consecutive numbers. So the number of a topic is
//! computed from the first one and the channel, without a map. A symbol that makes no valid topic is refused. The topics
//! of a broker that was recorded stand alone.

use tickwire_wire::{Topic, TopicError};

use crate::TopicNo;
use crate::derive::Interval;

/// What is published for a symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    /// `trade.<symbol>`
    Trade,
    /// `book.<symbol>`
    Book,
    /// `bbo.<symbol>`
    Bbo,
    /// `ticker.<symbol>`
    Ticker,
    /// `candle.1s.<symbol>`
    Candle1s,
    /// `candle.1m.<symbol>`
    Candle1m,
}

impl Channel {
    /// Every channel, in the order of the numbers.
    const ALL: [Self; 6] = [
        Self::Trade,
        Self::Book,
        Self::Bbo,
        Self::Ticker,
        Self::Candle1s,
        Self::Candle1m,
    ];

    /// The number of the channel's topic of a symbol whose first topic is `first`.
    pub(crate) const fn of(self, first: TopicNo) -> TopicNo {
        TopicNo(first.0 + self as u32)
    }

    /// The channel of candles of `interval`, or `None` if the built-in feeds have no such candles.
    pub(crate) const fn of_candles(interval: Interval) -> Option<Self> {
        match interval {
            Interval::Second => Some(Self::Candle1s),
            Interval::Minute => Some(Self::Candle1m),
            Interval::FiveMinutes | Interval::QuarterHour | Interval::Hour | Interval::Day => None,
        }
    }

    /// The beginning of the channel's topics.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Trade => "trade",
            Self::Book => "book",
            Self::Bbo => "bbo",
            Self::Ticker => "ticker",
            Self::Candle1s => "candle.1s",
            Self::Candle1m => "candle.1m",
        }
    }
}

/// The number of a symbol within its feed: dense from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SymbolNo(pub(crate) u32);

impl SymbolNo {
    /// The number as an index.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }

    /// The number of the symbol's topic in `channel`, in a feed that has no topics but those of symbols.
    pub(crate) const fn topic(self, channel: Channel) -> TopicNo {
        channel.of(TopicNo(self.0 * Channel::ALL.len() as u32))
    }
}

/// All topics of a feed.
#[derive(Debug, Default)]
pub(crate) struct Topics(Vec<Topic>);

impl Topics {
    /// Adds the topics of the next symbol. Returns the number of the first.
    pub(crate) fn add(&mut self, symbol: &str) -> Result<TopicNo, TopicError> {
        let first = self.next();
        let mut topics = Vec::with_capacity(Channel::ALL.len());
        for channel in Channel::ALL {
            topics.push(format!("{}.{symbol}", channel.prefix()).parse()?);
        }
        self.0.append(&mut topics);
        Ok(first)
    }

    /// Adds a topic that belongs to no symbol.
    pub(crate) fn add_alone(&mut self, topic: Topic) -> TopicNo {
        let number = self.next();
        self.0.push(topic);
        number
    }

    fn next(&self) -> TopicNo {
        TopicNo(self.0.len() as u32)
    }

    /// The topics by number.
    pub(crate) fn as_slice(&self) -> &[Topic] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_and_name_the_right_topic() {
        let mut topics = Topics::default();
        topics.add("BTC-USDT").expect("a symbol");
        topics.add("ETH-USDT").expect("a symbol");
        assert!(topics.add("a b").is_err());
        assert_eq!(topics.as_slice().len(), 12);
        for (symbol, channel, name) in [
            (0, Channel::Trade, "trade.BTC-USDT"),
            (0, Channel::Candle1m, "candle.1m.BTC-USDT"),
            (1, Channel::Trade, "trade.ETH-USDT"),
            (1, Channel::Book, "book.ETH-USDT"),
            (1, Channel::Bbo, "bbo.ETH-USDT"),
            (1, Channel::Ticker, "ticker.ETH-USDT"),
            (1, Channel::Candle1s, "candle.1s.ETH-USDT"),
        ] {
            let number = SymbolNo(symbol).topic(channel);
            assert_eq!(topics.as_slice()[number.index()].as_str(), name);
        }
    }
}
