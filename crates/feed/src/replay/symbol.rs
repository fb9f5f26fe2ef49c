//! Turns the exchange's name of a pair into the broker's: `BTCUSDT` becomes `BTC-USDT`.
//!
//! The quote currency is the longest known one at the end of the name; a name with none is kept whole. A letter or
//! digit that a topic may not contain is written as `u` and its code point, with four hexadecimal digits or more: `币`
//! becomes `u5E01`. The result is always a valid token of a topic, or an error.

use thiserror::Error;

/// Longest name of a symbol in bytes.
const NAME_BYTES_MAX: usize = 64;

/// The quote currencies of pairs.
const QUOTES: [&str; 24] = [
    "USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USDP", "USD1", "USD", "PAX", "DAI", "EURI", "EUR", "GBP",
    "TRY", "BRL", "AUD", "JPY", "UAH", "RUB", "ZAR", "BTC", "ETH", "BNB", "XRP",
];

/// Why a name is not a symbol.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum SymbolError {
    /// The name is empty, too long, or has a character that is neither allowed in a topic nor a letter or digit.
    #[error("symbol {0:?} is not letters, digits, _ or -, at most {NAME_BYTES_MAX} bytes")]
    NoToken(String),
    /// Two names of the exchange would become the same symbol.
    #[error("symbol {name:?} would be {symbol}, as another one is")]
    Taken { name: String, symbol: String },
    /// The symbol is too long for a topic.
    #[error(transparent)]
    NoTopic(#[from] tickwire_wire::TopicError),
    /// There are more symbols than a feed may have.
    #[error("symbol {0:?} is one more than the {max} that a replay carries", max = crate::SYMBOLS_MAX)]
    TooMany(String),
}

/// The broker's symbol for what the exchange calls `name`.
pub(super) fn symbol_of(name: &str) -> Result<String, SymbolError> {
    let mut token = String::with_capacity(name.len());
    for letter in name.chars() {
        if letter.is_ascii_alphanumeric() || letter == '_' || letter == '-' {
            token.push(letter);
        } else if letter.is_alphanumeric() {
            token += &format!("u{:04X}", u32::from(letter));
        } else {
            return Err(SymbolError::NoToken(name.chars().take(NAME_BYTES_MAX).collect()));
        }
    }
    if token.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(SymbolError::NoToken(name.chars().take(NAME_BYTES_MAX).collect()));
    }
    let quote = QUOTES
        .iter()
        .filter(|quote| token.len() > quote.len() && token.ends_with(**quote))
        .max_by_key(|quote| quote.len());
    Ok(match quote {
        Some(quote) => format!("{}-{quote}", &token[..token.len() - quote.len()]),
        None => token,
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
            ("币安人生USDT", "u5E01u5B89u4EBAu751F-USDT"),
            ("ÉTOILEUSDC", "u00C9TOILE-USDC"),
            ("𝔸USDT", "u1D538-USDT"),
        ] {
            assert_eq!(symbol_of(name).as_deref(), Ok(symbol), "{name}");
        }
        for name in [
            "",
            "A.B",
            "A B",
            "A>",
            "*",
            "🚀USDT",
            &"A".repeat(65),
            &"币".repeat(22),
        ] {
            assert!(symbol_of(name).is_err(), "{name}");
        }
    }
}
