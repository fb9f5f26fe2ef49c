//! A book built from what one symbol publishes, with checks of each message.

use std::collections::BTreeMap;

use tickwire_feed::Tick;
use tickwire_wire::market::{Bbo, Book, Level, Side, Trade};
use tickwire_wire::{Decimal, Payload};

/// Levels by price.
type Levels = BTreeMap<Decimal, Decimal>;

/// The book of one symbol, and what the checks need.
#[derive(Default)]
pub(crate) struct BookAudit {
    pub(crate) bids: Levels,
    pub(crate) asks: Levels,
    /// The remaining size of each level that trades hit since the last book message.
    hit: BTreeMap<Decimal, Decimal>,
    /// The best quotes that were published last.
    bbo: Option<(Level, Level)>,
    trades: u64,
    /// How many book messages came without a trade before them.
    pub(crate) quotes: u64,
}

impl BookAudit {
    /// Best bid and best ask.
    pub(crate) fn best(&self) -> Option<(Level, Level)> {
        let (bid, ask) = (self.bids.last_key_value()?, self.asks.first_key_value()?);
        let level = |(price, size): (&Decimal, &Decimal)| Level {
            price: *price,
            size: *size,
        };
        Some((level(bid), level(ask)))
    }

    /// Checks one tick of the simulated market.
    pub(crate) fn tick(&mut self, tick: &Tick) {
        if self.hit.is_empty() && !matches!(tick.payload, Payload::Bbo(_)) {
            assert_eq!(
                self.bbo,
                self.best(),
                "changed best quotes come before anything else"
            );
        }
        match &tick.payload {
            Payload::Book(book) => self.book(book),
            Payload::Trade(trade) => self.trade(trade),
            _ => assert!(
                self.hit.is_empty(),
                "the book after a trade comes before anything else"
            ),
        }
        if let Payload::Bbo(bbo) = &tick.payload {
            self.bbo(bbo);
        }
    }

    fn book(&mut self, book: &Book) {
        assert_eq!(book.checksum, 0, "the broker computes it");
        let first = self.bbo.is_none();
        assert_eq!(
            book.replace, first,
            "the first message is the whole book, no other is"
        );
        assert!(
            !book.bids.is_empty() || !book.asks.is_empty(),
            "a message without a change"
        );
        assert!(
            book.bids.is_sorted_by(|a, b| a.price > b.price),
            "best first: {:?}",
            book.bids
        );
        assert!(
            book.asks.is_sorted_by(|a, b| a.price < b.price),
            "best first: {:?}",
            book.asks
        );
        let hit = std::mem::take(&mut self.hit);
        self.quotes += u64::from(hit.is_empty() && !first);
        for (price, left) in &hit {
            let changed = book
                .bids
                .iter()
                .chain(&book.asks)
                .find(|level| level.price == *price);
            assert_eq!(
                changed.map(|level| level.size),
                Some(*left),
                "level {price} fell by what was traded"
            );
        }
        for (side, changes) in [(&mut self.bids, &book.bids), (&mut self.asks, &book.asks)] {
            for Level { price, size } in changes {
                assert!(!price.is_zero() && !price.is_negative() && !size.is_negative());
                let old = if size.is_zero() {
                    side.remove(price)
                } else {
                    side.insert(*price, *size)
                };
                assert!(
                    hit.contains_key(price) || old.unwrap_or_default() != *size,
                    "no change at {price}"
                );
            }
        }
        let (bid, ask) = self.best().expect("no side is ever empty");
        assert!(
            bid.price < ask.price,
            "crossed: bid {} and ask {}",
            bid.price,
            ask.price
        );
        for side in [&self.bids, &self.asks] {
            assert!((10..=20).contains(&side.len()), "{} levels", side.len());
        }
    }

    /// A taker hits the best level that the book has at this moment.
    fn trade(&mut self, trade: &Trade) {
        assert_eq!(trade.id, self.trades + 1, "trades are numbered without holes");
        self.trades += 1;
        let (bid, ask) = self.best().expect("no side is ever empty");
        let (side, best) = match trade.side {
            Side::Buy => (&mut self.asks, ask),
            Side::Sell => (&mut self.bids, bid),
        };
        assert_eq!(trade.price, best.price, "a taker hits the best level");
        assert!(
            !trade.size.is_zero() && trade.size <= best.size,
            "{} of {} traded",
            trade.size,
            best.size
        );
        let left = Decimal::from(best.size.get() - trade.size.get());
        if left.is_zero() {
            side.remove(&best.price);
        } else {
            side.insert(best.price, left);
        }
        self.hit.insert(best.price, left);
    }

    fn bbo(&mut self, bbo: &Bbo) {
        let level = |price, size| Level { price, size };
        let published = Some((level(bbo.bid, bbo.bid_size), level(bbo.ask, bbo.ask_size)));
        assert_eq!(published, self.best(), "the best quotes are those of the book");
        assert_ne!(published, self.bbo, "they are published when they changed");
        self.bbo = published;
    }

    /// Checks at the end that nothing is left to be published.
    pub(crate) fn finish(&self) {
        assert!(self.trades > 0 && self.quotes > 0, "there were trades and quotes");
    }
}
