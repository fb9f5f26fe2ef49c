//! From the exchange's name of a pair to ours: `BTCUSDT` to `BTC-USDT`.
//!
//! The quote currency is the longest known one that the name ends with; a name that ends with none is kept whole. The
//! result is always a valid token of a topic, or there is none.

use thiserror::Error;

/// Longest name of a symbol in bytes.
const NAME_BYTES_MAX: usize = 64;

/// Currencies that pairs are quoted in.
const QUOTES: [&str; 24] = [
    "USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USDP", "USD1", "USD", "PAX", "DAI", "EURI", "EUR", "GBP",
    "TRY", "BRL", "AUD", "JPY", "UAH", "RUB", "ZAR", "BTC", "ETH", "BNB", "XRP",
];

/// Why a name is no symbol.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum SymbolError {
    /// Empty, too long, or bytes that no topic may hold.
    #[error("symbol {0:?} is not 1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 _ -")]
    NoToken(String),
    /// Too long for a topic.
    #[error(transparent)]
    NoTopic(#[from] tickwire_wire::TopicError),
    /// One more than a feed carries.
    #[error("symbol {0:?} is one more than the {max} that a replay carries", max = crate::SYMBOLS_MAX)]
    TooMany(String),
}

/// The symbol that the exchange calls `name`.
pub(super) fn symbol_of(name: &str) -> Result<String, SymbolError> {
    let token = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !token {
        return Err(SymbolError::NoToken(name.chars().take(NAME_BYTES_MAX).collect()));
    }
    let quote = QUOTES
        .iter()
        .filter(|quote| name.len() > quote.len() && name.ends_with(**quote))
        .max_by_key(|quote| quote.len());
    Ok(match quote {
        Some(quote) => format!("{}-{quote}", &name[..name.len() - quote.len()]),
        None => name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_split_at_the_longest_quote_currency() {
        for (name, symbol) in [
            ("BTCUSDT", "BTC-USDT"),
            ("ETHBTC", "ETH-BTC"),
            ("BTCFDUSD", "BTC-FDUSD"),
            ("BTCBUSD", "BTC-BUSD"),
            ("BTCUSD", "BTC-USD"),
            ("USDCUSDT", "USDC-USDT"),
            ("BNBETH", "BNB-ETH"),
            ("1000SATSTRY", "1000SATS-TRY"),
            ("USDT", "USDT"),
            ("XYZ", "XYZ"),
            ("btcusdt", "btcusdt"),
            ("BTCUSDT_240927", "BTCUSDT_240927"),
        ] {
            assert_eq!(symbol_of(name).as_deref(), Ok(symbol), "{name}");
        }
        for name in ["", "A.B", "A B", "币安USDT", "*", &"A".repeat(65)] {
            assert!(symbol_of(name).is_err(), "{name}");
        }
    }
}
