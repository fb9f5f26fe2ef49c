//! The key `staleness`: for how long topics may be silent.

use figment::value::{Dict, Value};
use tickwire_router::StaleRule;
use tickwire_wire::Pattern;

use super::error::{ConfigError, Origin};
use super::keys::STALE_MS_MAX;
use super::nearest::nearest;
use super::settings::{Settings, integer_in, refuse_entry};

/// Fields of an entry.
const FIELDS: [&str; 2] = ["pattern", "after_ms"];

/// The rules, in order.
pub(super) fn read(settings: &Settings, path: &str) -> Result<Vec<StaleRule>, ConfigError> {
    let Some(Value::Array(_, items)) = settings.value(path) else {
        return Err(settings.refuse(path, "must be a list of {pattern, after_ms}"));
    };
    let mut rules: Vec<StaleRule> = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let entry = Entry {
            place: format!("{path}[{at}]"),
            origin: settings.origin(path),
            item,
        };
        let rule = entry.read()?;
        if let Some(first) = rules.iter().position(|known| known.pattern == rule.pattern) {
            let rule = format!("{path}[{first}] has the same pattern, and the first match wins");
            return Err(entry.refuse(Some("pattern"), rule));
        }
        rules.push(rule);
    }
    Ok(rules)
}

struct Entry<'a> {
    /// Its name in errors: `staleness[2]`.
    place: String,
    origin: Origin,
    item: &'a Value,
}

impl Entry<'_> {
    fn read(&self) -> Result<StaleRule, ConfigError> {
        let Value::Dict(_, fields) = self.item else {
            return Err(self.refuse(None, "must be a table with a pattern and after_ms"));
        };
        self.refuse_unknown(fields)?;
        let rule = "must be a topic pattern, such as ticker.>";
        let Some(pattern) = fields.get("pattern") else {
            return Err(self.refuse(None, format!("has no pattern, which {rule}")));
        };
        let pattern = pattern
            .as_str()
            .ok_or_else(|| self.refuse(Some("pattern"), rule))?;
        let pattern: Pattern = pattern
            .parse()
            .map_err(|error| self.refuse(Some("pattern"), format!("{error}")))?;
        let Some(after_ms) = fields.get("after_ms") else {
            return Err(self.refuse(None, "has no after_ms, which must be a whole number"));
        };
        let after_ms =
            integer_in(after_ms, 1, STALE_MS_MAX).map_err(|rule| self.refuse(Some("after_ms"), rule))?;
        Ok(StaleRule { pattern, after_ms })
    }

    fn refuse_unknown(&self, fields: &Dict) -> Result<(), ConfigError> {
        let Some(name) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) else {
            return Ok(());
        };
        let key = format!("{}.{name}", self.place);
        let known = FIELDS.iter().map(|known| format!("{}.{known}", self.place));
        Err(ConfigError::UnknownKey {
            nearest: nearest(&key, known),
            key,
            origin: self.origin.clone(),
        })
    }

    fn refuse(&self, field: Option<&str>, rule: impl Into<String>) -> ConfigError {
        refuse_entry(&self.place, &self.origin, self.item, field, rule)
    }
}
