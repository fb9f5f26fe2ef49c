//! The lists of rules: the kinds of topics (`kinds`), how long topics may be silent (`staleness`), and when they end
//! (`expiry`).

use tickwire_router::{ExpiryRule, KindRule, StaleRule};
use tickwire_wire::limits::{BOOK_HISTORY_MAX, EVENT_HISTORY_MAX};
use tickwire_wire::{Kind, Pattern};

use super::error::ConfigError;
use super::fields::{Fields, Form};
use super::key::{Setting, Shape};
use super::settings::Settings;
use super::table::{EXPIRY_MS_MAX, HISTORY_MAX, STALE_MS_MAX};

const KINDS: Form = Form {
    known: &["pattern", "kind", "history"],
    list: "must be a list of {pattern, kind, history}",
    entry: Some("must be a table with a pattern, a kind and perhaps a history"),
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

impl Setting for Vec<KindRule> {
    const SHAPE: Shape = Shape::Tables("list of tables", "`pattern`, `kind`, and perhaps `history`");

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
            let history = history.map(|number| usize::try_from(number).unwrap_or(usize::MAX));
            Ok(KindRule {
                pattern,
                kind,
                history: history.unwrap_or_else(|| history_for(kind)),
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
