//! The settings as documentation: the table of keys and the example file, both made from the list of keys.

use super::Config;
use super::key::{self, Key, Preset, Shape};

/// The rules at the end of the example file. A comment in it says that the built-in rules follow.
const EXAMPLE_RULES: &str = r#"
# Which topics are of which kind (state, book, event) and how many messages each keeps. Tried in order, before the
# built-in rules: ticker.>, bbo.> and candle.> are state, book.> is book, anything else is event.
[[kinds]]
pattern = "chat.presence.>"
kind = "state"

[[kinds]]
pattern = "chat.>"
kind = "event"
history = 200

# A topic of candles also keeps closed candles from before its history.
[[kinds]]
pattern = "candle.1d.>"
kind = "state"
history = 1
candles = 2000

# For how many milliseconds topics may be silent before their subscribers are told by a status. Tried in order.
[[staleness]]
pattern = "ticker.>"
after_ms = 5000

# How many milliseconds after their last message topics end. Tried in order. A connection that is subscribed to a topic's
# name holds its end up, unless even_if_watched is true.
[[expiry]]
pattern = "option.>"
after_ms = 86400000
even_if_watched = true

# What is derived from published trades and books: candle.INTERVAL.NAME, ticker.NAME and bbo.NAME, where NAME is what
# follows the plain tokens of the pattern.
[[derive]]
from = "trades.>"
candles = ["1s", "1m", "5m", "15m", "1h", "1d"]
ticker = true
bbo = true

# Topics that are copied that much later: delayed.ticker.BTC-USD is ticker.BTC-USD fifteen minutes ago. Who may not see live
# data gets rights for delayed.> only.
[[views]]
pattern = "ticker.>"
delay_ms = 900000
prefix = "delayed."
bytes_max = 268435456
"#;

/// A flag of `tickwire serve`.
#[derive(Debug, Clone)]
pub struct Flag {
    /// The name, with the dashes.
    pub name: &'static str,
    /// The name of its value in the help.
    pub value_name: &'static str,
    /// The meaning of its setting.
    pub meaning: &'static str,
    /// The default, without the quotes of TOML.
    pub default: String,
    /// The words that it accepts, if it accepts only these.
    pub words: &'static [&'static str],
    /// Whether it may be given several times.
    pub is_list: bool,
    /// Whether it may be given without a value, which then is `true`.
    pub is_truth: bool,
}

impl Config {
    /// The flags, in the order of the documentation.
    pub fn flags() -> impl Iterator<Item = Flag> {
        key::all().filter_map(|key| {
            let (name, value_name) = key.flag?;
            let default = match key.preset {
                Preset::Unset(decided, _) => decided.to_owned(),
                Preset::Text(text) => text.to_owned(),
                Preset::List([]) => "none".to_owned(),
                _ => default_of(key),
            };
            let words = match key.shape {
                Shape::Choice(words) if key.path != "feed.kind" => words,
                _ => &[],
            };
            Some(Flag {
                name,
                value_name,
                meaning: key.meaning,
                default,
                words,
                is_list: matches!(key.shape, Shape::Texts(_)),
                is_truth: matches!(key.shape, Shape::Bool),
            })
        })
    }

    /// A file for operators to start from, with every key at its default and some rules. Keys whose default the broker
    /// finds out by itself are commented out.
    #[must_use]
    pub fn example_toml() -> String {
        let mut out = String::new();
        let mut table = "";
        for key in key::all().filter(|key| !key.is_tables()) {
            if key.table() != table {
                table = key.table();
                out += &format!("\n[{table}]\n");
            }
            let (name, meaning) = (key.name(), key.meaning);
            out += &match key.preset {
                Preset::Unset(decided, example) => {
                    format!("# {meaning}. Not set: {decided}.\n# {name} = {example}\n")
                }
                _ => format!("# {meaning}.\n{name} = {}\n", default_of(key)),
            };
        }
        out + EXAMPLE_RULES
    }

    /// The table of all keys, as Markdown.
    #[must_use]
    pub fn key_table() -> String {
        let mut out =
            "| key | type | default | range | flag | environment | meaning |\n|---|---|---|---|---|---|---|\n"
                .to_owned();
        let code = |text: &str| format!("`{text}`");
        for key in key::all() {
            let default = match key.preset {
                Preset::Unset(decided, _) => decided.to_owned(),
                _ => code(&default_of(key)),
            };
            out += &format!(
                "| `{}` | {} | {default} | {} | {} | {} | {} |\n",
                key.path,
                type_of(key.shape),
                range_of(key.shape),
                key.flag.map_or_else(String::new, |(flag, _)| code(flag)),
                key.variable().map_or_else(String::new, |name| code(&name)),
                key.meaning,
            );
        }
        out
    }
}

/// The default, written in TOML.
fn default_of(key: &Key) -> String {
    match key.preset {
        Preset::Integer(number) => number.to_string(),
        Preset::Number(number) => format!("{number:?}"),
        Preset::Text(text) => format!("{text:?}"),
        Preset::Bool(truth) => truth.to_string(),
        Preset::List(items) => format!("{items:?}"),
        Preset::Unset(..) => String::new(),
    }
}

fn type_of(shape: Shape) -> &'static str {
    match shape {
        Shape::Integer { .. } => "integer",
        Shape::Positive => "number",
        Shape::Bool => "boolean",
        Shape::Choice(_) => "word",
        Shape::Address => "address",
        Shape::Text(_) => "text",
        Shape::Texts(_) => "list of texts",
        Shape::Tables(kind, _) => kind,
    }
}

fn range_of(shape: Shape) -> String {
    match shape {
        Shape::Integer { min, max } => format!("{min} to {max}"),
        Shape::Positive => "above 0".to_owned(),
        Shape::Bool => "`true`, `false`".to_owned(),
        Shape::Choice(words) => {
            let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
            words.join(", ")
        }
        Shape::Address => "address or name, and port".to_owned(),
        Shape::Text(what) | Shape::Texts(what) | Shape::Tables(_, what) => what.to_owned(),
    }
}
