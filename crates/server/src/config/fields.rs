//! One table of a list, or a table within a table, read field by field.
//!
//! The rules are those of keys: an unknown field is an error, and a refusal names the field, the value, its origin and
//! the rule. Fields that may hold a secret by mistake are named without their value.

use std::path::PathBuf;

use figment::value::{Dict, Value};
use tickwire_wire::Pattern;

use super::credentials::Credentials;
use super::error::{ConfigError, ValueOrigin};
use super::nearest::nearest;
use super::settings::{HIDDEN, Settings, integer_in, show};

/// Most entries of a list of patterns.
const PATTERNS_MAX: usize = 128;

/// The form of the tables of a setting.
pub(super) struct Form {
    /// Their fields.
    pub(super) known: &'static [&'static str],
    /// The rule to name if the value is not a list of such tables.
    pub(super) list: &'static str,
    /// The rule to name if an entry is not a table, if that rule should not name all fields.
    pub(super) entry: Option<&'static str>,
    /// The field whose value is never shown.
    pub(super) hidden: Option<&'static str>,
}

impl Form {
    /// The list at `path`. `read` makes an entry from its fields and the entries before it.
    pub(super) fn list<T>(
        &self,
        settings: &Settings,
        path: &str,
        mut read: impl FnMut(&Fields<'_>, &[T]) -> Result<T, ConfigError>,
    ) -> Result<Vec<T>, ConfigError> {
        let items = settings.value(path).and_then(Value::as_array);
        let items = items.ok_or_else(|| match self.hidden {
            Some(_) => settings.refuse_unseen(path, self.list),
            None => settings.refuse(path, self.list),
        })?;
        let mut list = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let fields = self.fields(format!("{path}[{at}]"), settings.origin(path), item)?;
            list.push(read(&fields, &list)?);
        }
        Ok(list)
    }

    /// The fields of `item`. Errors call it `place`.
    pub(super) fn fields<'a>(
        &self,
        place: String,
        origin: ValueOrigin,
        item: &'a Value,
    ) -> Result<Fields<'a>, ConfigError> {
        let hidden = self.hidden;
        let Value::Dict(_, fields) = item else {
            let such_as = || format!("must be a table with fields such as {}", self.known.join(", "));
            return Err(ConfigError::BadValue {
                key: place,
                value: hidden.map_or_else(|| show(item), |_| HIDDEN.to_owned()),
                origin,
                rule: self.entry.map_or_else(such_as, str::to_owned),
            });
        };
        if let Some(name) = fields.keys().find(|name| !self.known.contains(&name.as_str())) {
            let key = format!("{place}.{name}");
            let known = self.known.iter().map(|known| format!("{place}.{known}"));
            return Err(ConfigError::UnknownKey {
                nearest: nearest(&key, known),
                key,
                origin,
            });
        }
        Ok(Fields {
            place,
            origin,
            item,
            fields,
            hidden,
        })
    }
}

/// A table of a setting, with everything that its refusals name.
pub(super) struct Fields<'a> {
    /// Its name in errors, such as `auth.keys[2]`.
    place: String,
    origin: ValueOrigin,
    item: &'a Value,
    fields: &'a Dict,
    /// The field whose value is never shown.
    hidden: Option<&'static str>,
}

impl<'a> Fields<'a> {
    /// The refusal of a field because of `rule`.
    pub(super) fn refuse(&self, name: &str, rule: impl Into<String>) -> ConfigError {
        let value = match self.fields.get(name) {
            None => "nothing".to_owned(),
            Some(_) if self.hidden == Some(name) => HIDDEN.to_owned(),
            Some(value) => show(value),
        };
        ConfigError::BadValue {
            key: format!("{}.{name}", self.place),
            value,
            origin: self.origin.clone(),
            rule: rule.into(),
        }
    }

    /// The value of a required field. If it is missing, the whole table is refused with `rule`.
    pub(super) fn there(&self, name: &str, rule: &str) -> Result<&'a Value, ConfigError> {
        self.fields.get(name).ok_or_else(|| ConfigError::BadValue {
            key: self.place.clone(),
            value: show(self.item),
            origin: self.origin.clone(),
            rule: format!("has no {name}, which {rule}"),
        })
    }

    /// Whether the field is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// An optional text. An empty one is refused.
    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, ConfigError> {
        let Some(value) = self.fields.get(name) else {
            return Ok(None);
        };
        let text = value.as_str().filter(|text| !text.is_empty());
        text.map(Some).ok_or_else(|| self.refuse(name, "must be a text"))
    }

    /// A required text.
    pub(super) fn needed(&self, name: &str, rule: &str) -> Result<&'a str, ConfigError> {
        self.text(name)?.ok_or_else(|| self.refuse(name, rule))
    }

    /// An optional list of texts. Empty if it is missing.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<&'a str>, ConfigError> {
        let Some(value) = self.fields.get(name) else {
            return Ok(Vec::new());
        };
        let items = value.as_array().map(|items| items.iter().map(Value::as_str));
        items
            .and_then(Iterator::collect)
            .ok_or_else(|| self.refuse(name, "must be a list of texts"))
    }

    /// An optional list of patterns. Empty if it is missing.
    pub(super) fn patterns(&self, name: &str) -> Result<Vec<Pattern>, ConfigError> {
        let texts = self.texts(name)?;
        if texts.len() > PATTERNS_MAX {
            return Err(self.refuse(name, format!("must have at most {PATTERNS_MAX} patterns")));
        }
        let parsed = texts.into_iter().map(|text| {
            text.parse()
                .map_err(|error| self.refuse(name, format!("{text:?} is no pattern: {error}")))
        });
        parsed.collect()
    }

    /// An optional file name.
    pub(super) fn file(&self, name: &str, credentials: &Credentials) -> Result<Option<PathBuf>, ConfigError> {
        let file = self.text(name)?.map(|file| credentials.file(file)).transpose();
        file.map_err(|rule| self.refuse(name, rule))
    }

    /// An optional list of file names. Empty if it is missing.
    pub(super) fn files(&self, name: &str, credentials: &Credentials) -> Result<Vec<PathBuf>, ConfigError> {
        let files = self.texts(name)?.into_iter();
        let files: Result<Vec<PathBuf>, String> = files.map(|file| credentials.file(file)).collect();
        files.map_err(|rule| self.refuse(name, rule))
    }

    /// An optional `true` or `false`.
    pub(super) fn truth(&self, name: &str) -> Result<Option<bool>, ConfigError> {
        let value = self.fields.get(name);
        let read = value.map(|value| value.to_bool().ok_or("must be true or false"));
        read.transpose().map_err(|rule| self.refuse(name, rule))
    }

    /// An optional whole number between `min` and `max`.
    pub(super) fn integer(&self, name: &str, min: u64, max: u64) -> Result<Option<u64>, ConfigError> {
        let value = self.fields.get(name);
        let read = value.map(|value| integer_in(value, min, max)).transpose();
        read.map_err(|rule| self.refuse(name, rule))
    }
}
