//! The symbols of the simulated market: known ones first, then as many made-up ones as needed.
//!
//! The list does not depend on the seed: symbol n is the same in every run. Names are unique.

use super::factors::SECTORS;

/// A symbol and the scale of its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Instrument {
    /// The name, such as `BTC-USD`.
    pub(super) symbol: String,
    /// The price at the start, in price steps.
    pub(super) price_steps: u32,
    /// The number of digits after the point of a price.
    pub(super) price_digits: u32,
    /// The size of a typical order, in lots.
    pub(super) order_lots: u32,
    /// The number of digits after the point of a size.
    pub(super) lot_digits: u32,
    /// The sector whose factor the symbol follows, below [`SECTORS`].
    pub(super) sector: usize,
}

/// The sectors, by what the symbols are used for.
const MAJOR: usize = 0;
const CHAIN: usize = 1;
const ROLLUP: usize = 2;
const DEFI: usize = 3;
const MEME: usize = 4;
const PAYMENT: usize = 5;
const GAME: usize = 6;
const DATA: usize = 7;

/// Base currency, first price, digits of a price, typical order, digits of a lot, sector.
type Known = (&'static str, u32, u32, u32, u32, usize);

/// The known symbols, busiest first. A price is some thousands to some hundred thousands of steps, so that it moves by
/// whole steps.
const KNOWN: [Known; 48] = [
    ("BTC", 605_000, 1, 3_000, 5, MAJOR),
    ("ETH", 260_000, 2, 6_000, 4, MAJOR),
    ("SOL", 15_000, 2, 900, 2, CHAIN),
    ("XRP", 58_000, 5, 2_000, 0, PAYMENT),
    ("BNB", 52_000, 2, 2_000, 3, MAJOR),
    ("DOGE", 10_500, 5, 12_000, 0, MEME),
    ("ADA", 34_500, 5, 3_000, 0, CHAIN),
    ("AVAX", 22_000, 3, 4_000, 2, CHAIN),
    ("LINK", 10_500, 3, 8_000, 2, DATA),
    ("PEPE", 82_000, 10, 90_000, 0, MEME),
    ("TRX", 12_800, 5, 6_000, 0, PAYMENT),
    ("TON", 65_000, 4, 12_000, 2, CHAIN),
    ("DOT", 46_000, 4, 15_000, 2, CHAIN),
    ("LTC", 61_000, 3, 8_000, 3, PAYMENT),
    ("BCH", 34_000, 2, 2_000, 3, PAYMENT),
    ("NEAR", 42_000, 4, 2_000, 1, CHAIN),
    ("UNI", 63_000, 4, 1_200, 1, DEFI),
    ("SHIB", 13_800, 9, 60_000, 0, MEME),
    ("MATIC", 42_000, 5, 1_900, 0, ROLLUP),
    ("ICP", 82_000, 4, 9_000, 2, CHAIN),
    ("APT", 63_000, 4, 9_000, 2, CHAIN),
    ("ETC", 19_500, 3, 4_000, 2, PAYMENT),
    ("XLM", 99_000, 6, 7_000, 0, PAYMENT),
    ("FIL", 38_000, 4, 1_500, 1, DATA),
    ("ATOM", 49_000, 4, 12_000, 2, CHAIN),
    ("ARB", 57_000, 5, 1_200, 0, ROLLUP),
    ("OP", 14_500, 4, 5_000, 1, ROLLUP),
    ("INJ", 19_000, 3, 3_000, 2, DEFI),
    ("SUI", 92_000, 5, 7_000, 1, CHAIN),
    ("AAVE", 10_300, 2, 5_000, 3, DEFI),
    ("MKR", 21_000, 1, 3_000, 4, DEFI),
    ("RNDR", 52_000, 4, 9_000, 2, DATA),
    ("GRT", 15_600, 5, 4_000, 0, DATA),
    ("IMX", 13_000, 4, 4_000, 1, GAME),
    ("STX", 16_500, 4, 3_500, 1, ROLLUP),
    ("LDO", 11_000, 4, 4_500, 1, DEFI),
    ("ALGO", 13_200, 5, 4_000, 0, CHAIN),
    ("SAND", 26_500, 5, 2_000, 0, GAME),
    ("MANA", 28_000, 5, 1_800, 0, GAME),
    ("AXS", 48_000, 4, 1_100, 1, GAME),
    ("GALA", 19_500, 6, 26_000, 0, GAME),
    ("WIF", 17_000, 4, 3_000, 1, MEME),
    ("BONK", 19_000, 9, 25_000, 0, MEME),
    ("FLOKI", 12_600, 8, 40_000, 0, MEME),
    ("SEI", 29_000, 5, 1_700, 0, CHAIN),
    ("TIA", 52_000, 4, 1_000, 1, DATA),
    ("PYTH", 28_000, 5, 1_800, 0, DATA),
    ("ENA", 32_000, 5, 1_500, 0, DEFI),
];

const CONSONANTS: &[u8; 21] = b"BCDFGHJKLMNPQRSTVWXYZ";
const VOWELS: &[u8; 5] = b"AEIOU";
/// The number of made-up names: consonant, vowel, consonant, vowel.
const NAMES: u32 = 21 * 5 * 21 * 5;
/// Shares no divisor with [`NAMES`], so its multiples reach every name once.
const NAME_STRIDE: u32 = 4_211;

const _: () = assert!(
    NAMES as usize - KNOWN.len() >= crate::SYMBOLS_MAX as usize,
    "there is a name for every symbol"
);

/// The first `count` symbols, busiest first.
pub(super) fn instruments(count: u32) -> impl Iterator<Item = Instrument> {
    let known = KNOWN.iter().map(
        |&(base, price_steps, price_digits, order_lots, lot_digits, sector)| Instrument {
            symbol: format!("{base}-USD"),
            price_steps,
            price_digits,
            order_lots,
            lot_digits,
            sector,
        },
    );
    let made_up = (0..NAMES)
        .map(|number| (number, name(number * NAME_STRIDE % NAMES)))
        .filter(|(_, name)| KNOWN.iter().all(|(base, ..)| base != name))
        .map(|(number, name)| {
            let draw = scramble(number);
            Instrument {
                symbol: format!("{name}-USD"),
                price_steps: 3_000 + draw % 60_000,
                price_digits: 2 + (draw >> 16) % 5,
                order_lots: 100 + (draw >> 8) % 5_000,
                lot_digits: (draw >> 20) % 4,
                sector: (draw >> 24) as usize % SECTORS,
            }
        });
    known.chain(made_up).take(count as usize)
}

/// Made-up name number `number`, which is below [`NAMES`].
fn name(number: u32) -> String {
    let letter = |letters: &[u8], digit: u32| char::from(letters[digit as usize]);
    [
        letter(CONSONANTS, number / 525),
        letter(VOWELS, number / 105 % 5),
        letter(CONSONANTS, number / 5 % 21),
        letter(VOWELS, number % 5),
    ]
    .into_iter()
    .collect()
}

/// Bits that look random and depend only on the number (the finalizer of MurmurHash3).
fn scramble(number: u32) -> u32 {
    let mut bits = number.wrapping_add(0x9e37_79b9);
    bits = (bits ^ (bits >> 16)).wrapping_mul(0x85eb_ca6b);
    bits = (bits ^ (bits >> 13)).wrapping_mul(0xc2b2_ae35);
    bits ^ (bits >> 16)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ten_thousand_symbols_have_ten_thousand_names() {
        let all: Vec<Instrument> = instruments(crate::SYMBOLS_MAX).collect();
        let names: BTreeSet<&str> = all.iter().map(|instrument| instrument.symbol.as_str()).collect();
        assert_eq!((all.len(), names.len()), (10_000, 10_000));
        assert!(all.iter().all(|instrument| instrument.sector < SECTORS));
        assert_eq!(all[0].symbol, "BTC-USD");
        assert_eq!(all[1].symbol, "ETH-USD");
        assert_eq!(instruments(60).collect::<Vec<_>>(), all[..60]);
    }
}
