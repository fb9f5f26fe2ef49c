//! The lists of rules: the kinds of topics (`kinds`), how long topics may be silent (`staleness`), when they end
//! (`expiry`), what is derived from them (`derive`), and their delayed copies (`views`).

use tickwire_feed::{DeriveRule, Interval};
use tickwire_router::{ExpiryRule, KindRule, StaleRule, ViewPrefix, ViewRule};
use tickwire_wire::limits::{BOOK_HISTORY_MAX, EVENT_HISTORY_MAX};
use tickwire_wire::pattern_sets::overlap;
use tickwire_wire::{Kind, Pattern};

use super::Config;
use super::error::ConfigError;
use super::feed::FeedSource;
use super::fields::{Fields, Form};
use super::key::{Setting, Shape};
use super::settings::Settings;
use super::table::{
    EXPIRY_MS_MAX, HISTORY_MAX, SHARDS_MAX, STALE_MS_MAX, VIEW_BYTES, VIEW_BYTES_MAX, VIEW_DELAY_MS_MAX,
};

const KINDS: Form = Form {
    known: &["pattern", "kind", "history", "candles"],
    list: "must be a list of {pattern, kind, history, candles}",
    entry: Some("must be a table with a pattern, a kind and perhaps a history and candles"),
    hidden: None,
};
const STALENESS: Form = Form {
    known: &["pattern", "after_ms"],
    list: "must be a list of {pattern, after_ms}",
    entry: Some("must be a table with a pattern and after_ms"),
    hidden: None,
};

const EXPIRY: Form = Form {
    known: &["pattern", "after_ms", "even_if_watched"],
    list: "must be a list of {pattern, after_ms, even_if_watched}",
    entry: Some("must be a table with a pattern, after_ms and perhaps even_if_watched"),
    hidden: None,
};

const DERIVE: Form = Form {
    known: &["from", "candles", "ticker", "bbo"],
    list: "must be a list of {from, candles, ticker, bbo}",
    entry: Some("must be a table with from, and perhaps candles, ticker and bbo"),
    hidden: None,
};

/// The prefix of a view's topics, if its rule has none.
const VIEW_PREFIX: &str = "delayed.";
const VIEWS: Form = Form {
    known: &["pattern", "delay_ms", "prefix", "bytes_max"],
    list: "must be a list of {pattern, delay_ms, prefix, bytes_max}",
    entry: Some("must be a table with a pattern, delay_ms and perhaps prefix and bytes_max"),
    hidden: None,
};

impl Setting for Vec<KindRule> {
    const SHAPE: Shape = Shape::Tables(
        "list of tables",
        "`pattern`, `kind`, and perhaps `history` and `candles`",
    );

    fn read(settings: &Settings, path: &'static str) -> Result<Self, ConfigError> {
        KINDS.list(settings, path, |fields, rules: &[KindRule]| {
            let earlier = rules.iter().map(|rule| &rule.pattern);
            let pattern = pattern(fields, path, "must be a topic pattern, such as chat.>", earlier)?;
            let kinds = [Kind::State, Kind::Book, Kind::Event];
            let rule = format!("must be one of {}", kinds.map(Kind::as_str).join(", "));
            let kind = fields.there("kind", &rule)?.as_str();
            let kind = kinds.into_iter().find(|known| Some(known.as_str()) == kind);
            let kind = kind.ok_or_else(|| fields.refuse("kind", rule))?;
            let history = fields.integer("history", 1, HISTORY_MAX)?;
            let candles = fields.integer("candles", 0, HISTORY_MAX)?;
            let count = |number| usize::try_from(number).unwrap_or(usize::MAX);
            Ok(KindRule {
                pattern,
                kind,
                history: history.map_or_else(|| history_for(kind), count),
                candles: candles.map_or(0, count),
            })
        })
    }
}

impl Setting for Vec<StaleRule> {
    const SHAPE: Shape = Shape::Tables("list of tables", "`pattern`, `after_ms`");

    fn read(settings: &Settings, path: &'static str) -> Result<Self, ConfigError> {
        STALENESS.list(settings, path, |fields, rules: &[StaleRule]| {
            let earlier = rules.iter().map(|rule| &rule.pattern);
            let pattern = pattern(fields, path, "must be a topic pattern, such as ticker.>", earlier)?;
            fields.there("after_ms", "must be a whole number")?;
            let after_ms = fields.integer("after_ms", 1, STALE_MS_MAX)?.unwrap_or_default();
            Ok(StaleRule { pattern, after_ms })
        })
    }
}

impl Setting for Vec<ExpiryRule> {
    const SHAPE: Shape = Shape::Tables(
        "list of tables",
        "`pattern`, `after_ms`, and perhaps `even_if_watched`",
    );

    fn read(settings: &Settings, path: &'static str) -> Result<Self, ConfigError> {
        EXPIRY.list(settings, path, |fields, rules: &[ExpiryRule]| {
            let earlier = rules.iter().map(|rule| &rule.pattern);
            let pattern = pattern(fields, path, "must be a topic pattern, such as option.>", earlier)?;
            fields.there("after_ms", "must be a whole number")?;
            let after_ms = fields.integer("after_ms", 1, EXPIRY_MS_MAX)?.unwrap_or_default();
            let even_if_watched = fields.truth("even_if_watched")?.unwrap_or(false);
            Ok(ExpiryRule {
                pattern,
                after_ms,
                even_if_watched,
            })
        })
    }
}

impl Setting for Vec<DeriveRule> {
    const SHAPE: Shape = Shape::Tables(
        "list of tables",
        "`from`, and perhaps `candles`, `ticker` and `bbo`",
    );

    fn read(settings: &Settings, path: &'static str) -> Result<Self, ConfigError> {
        DERIVE.list(settings, path, |fields, _: &[DeriveRule]| {
            let rule = "must be a topic pattern that begins with a plain token, such as trade.>";
            let from = fields.there("from", rule)?.as_str();
            let from = from.ok_or_else(|| fields.refuse("from", rule))?;
            let from: Pattern = from
                .parse()
                .map_err(|error| fields.refuse("from", format!("{error}")))?;
            if from
                .tokens()
                .next()
                .is_none_or(|first| matches!(first, "*" | ">"))
            {
                return Err(fields.refuse("from", rule));
            }
            for derived in ["candle.>", "ticker.>"] {
                if makes(&from, derived) {
                    let rule = format!("{derived} is derived itself, and has neither trades nor best quotes");
                    return Err(fields.refuse("from", rule));
                }
            }
            let candles = if fields.has("candles") {
                intervals(&fields.texts("candles")?).map_err(|rule| fields.refuse("candles", rule))?
            } else {
                Interval::ALL.to_vec()
            };
            let (ticker, bbo) = (fields.truth("ticker")?, fields.truth("bbo")?);
            Ok(DeriveRule {
                from,
                candles,
                ticker: ticker.unwrap_or(true),
                bbo: bbo.unwrap_or(true),
            })
        })
    }
}

impl Setting for Vec<ViewRule> {
    const SHAPE: Shape = Shape::Tables(
        "list of tables",
        "`pattern`, `delay_ms`, and perhaps `prefix` and `bytes_max`",
    );

    fn read(settings: &Settings, path: &'static str) -> Result<Self, ConfigError> {
        VIEWS.list(settings, path, |fields, rules: &[ViewRule]| {
            let rule = "must be a topic pattern, such as ticker.>";
            let pattern = fields.there("pattern", rule)?.as_str();
            let pattern = pattern.ok_or_else(|| fields.refuse("pattern", rule))?;
            let pattern: Pattern = pattern
                .parse()
                .map_err(|error| fields.refuse("pattern", format!("{error}")))?;
            fields.there("delay_ms", "must be a whole number")?;
            let delay_ms = fields
                .integer("delay_ms", 1, VIEW_DELAY_MS_MAX)?
                .unwrap_or_default();
            let [least, usual] = VIEW_BYTES;
            let bytes_max = fields
                .integer("bytes_max", least, VIEW_BYTES_MAX)?
                .unwrap_or(usual);
            let prefix = fields.text("prefix")?.unwrap_or(VIEW_PREFIX);
            let prefix: ViewPrefix = prefix
                .parse()
                .map_err(|error| fields.refuse("prefix", format!("{error}")))?;
            if prefix.pattern(&pattern).is_none() {
                let rule = format!("is too long: with {pattern} behind it, it is no pattern");
                return Err(fields.refuse("prefix", rule));
            }
            for (at, earlier) in rules.iter().enumerate() {
                let (one, other) = (earlier.prefix.as_str(), prefix.as_str());
                if one == other && overlap(&earlier.pattern, &pattern) {
                    let rule = format!("overlaps that of {path}[{at}], which has the same prefix");
                    return Err(fields.refuse("pattern", rule));
                }
                if one != other && (one.starts_with(other) || other.starts_with(one)) {
                    let rule = format!("must not begin like that of {path}[{at}], {one}");
                    return Err(fields.refuse("prefix", rule));
                }
            }
            Ok(ViewRule {
                pattern,
                prefix,
                delay_ms,
                bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX),
            })
        })
    }
}

/// The intervals with these names.
fn intervals(names: &[&str]) -> Result<Vec<Interval>, String> {
    let known = Interval::ALL.map(Interval::as_str);
    let read = names.iter().map(|name| {
        let interval = Interval::ALL.into_iter().find(|known| known.as_str() == *name);
        interval.ok_or_else(|| format!("{name:?} is no interval; there are {}", known.join(", ")))
    });
    read.collect()
}

/// Whether topics of `pattern` may be topics of `other`.
fn makes(pattern: &Pattern, other: &str) -> bool {
    other.parse().is_ok_and(|other| overlap(pattern, &other))
}

/// Refuses a rule in `derive` by which two would publish to one topic: the simulated market makes candles, tickers and
/// best quotes of its own. Also keeps places among the shards for what derives and for views.
pub(super) fn derives_what_nobody_makes(config: &Config, settings: &Settings) -> Result<(), ConfigError> {
    const PATH: &str = "derive";
    let most = SHARDS_MAX - config.observers() as u64;
    let full = config.shards.is_some_and(|shards| shards as u64 > most);
    let reader = if config.derive.is_empty() { "views" } else { PATH };
    settings.refuse_beside_if(full, "shards", &format!("must be at most {most} beside"), reader)?;
    let makes_too = |rule: &DeriveRule| {
        let has_candles = rule
            .candles
            .iter()
            .any(|interval| Interval::OF_FEEDS.contains(interval));
        makes(&rule.from, "trade.*") && (has_candles || rule.ticker)
            || makes(&rule.from, "book.*") && rule.bbo
    };
    let both = config.feed.source == FeedSource::Sim && config.derive.iter().any(makes_too);
    let rule = "makes tickers, best quotes and candles of 1s and 1m that the feed makes itself (leave them out, or set feed.kind = \"none\"):";
    settings.refuse_beside_if(both, PATH, rule, "feed.kind")
}

/// The pattern of a rule. It must differ from those of the `earlier` rules in the list.
fn pattern<'a>(
    fields: &Fields<'_>,
    path: &str,
    rule: &str,
    mut earlier: impl Iterator<Item = &'a Pattern>,
) -> Result<Pattern, ConfigError> {
    let text = fields.there("pattern", rule)?.as_str();
    let text = text.ok_or_else(|| fields.refuse("pattern", rule))?;
    let pattern: Pattern = text
        .parse()
        .map_err(|error| fields.refuse("pattern", format!("{error}")))?;
    match earlier.position(|known| *known == pattern) {
        None => Ok(pattern),
        Some(first) => {
            let rule = format!("{path}[{first}] has the same pattern, and the first match wins");
            Err(fields.refuse("pattern", rule))
        }
    }
}

/// The number of messages that a topic of `kind` keeps if its rule does not say.
const fn history_for(kind: Kind) -> usize {
    match kind {
        Kind::State => 1,
        Kind::Book => BOOK_HISTORY_MAX,
        Kind::Event => EVENT_HISTORY_MAX,
    }
}
