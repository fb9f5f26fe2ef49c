//! The merged layers, read key by key into types.
//!
//! Each read checks the value against the key's [`Shape`] and names key, value, origin and rule when it does not fit.
//! Asking for a path that is not in [`super::keys::KEYS`] is a fault of the program and panics.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::value::{Dict, Num, Value};
use ipnet::IpNet;
use tickwire_wire::limits::{BOOK_HISTORY_MAX, EVENT_HISTORY_MAX};
use tickwire_wire::{Kind, Pattern};

use super::credentials::Credentials;
use super::error::{ConfigError, Origin};
use super::keys::{self, HISTORY_MAX, Key, Shape};
use super::layer::{Layer, Rank};
use super::nearest::nearest;
use tickwire_router::KindRule;

/// The merged layers.
pub(super) struct Settings {
    merged: Figment,
    file: Option<PathBuf>,
    credentials: Credentials,
}

impl Settings {
    /// Merges `layers`, the weakest first; `file` is the name that errors have for the file.
    pub(super) fn merge(layers: impl IntoIterator<Item = Layer>, file: Option<&Path>) -> Self {
        Self {
            merged: layers.into_iter().fold(Figment::new(), Figment::merge),
            file: file.map(Path::to_owned),
            credentials: Credentials::default(),
        }
    }

    /// The same with the files that the service manager hands over.
    pub(super) fn with_credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = credentials;
        self
    }

    /// The files that the service manager hands over.
    pub(super) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Where the value at `path` came from.
    pub(super) fn origin(&self, path: &str) -> Origin {
        let key = key_at(path);
        match Rank::of(self.merged.find_metadata(path)) {
            Rank::Default => Origin::Default,
            Rank::File => Origin::File(self.file.clone().unwrap_or_default()),
            // A value that a flag or variable without a key of its own brought came with the feed's.
            Rank::Variable => Origin::Variable(key.variable().unwrap_or_else(|| "TICKWIRE_FEED".to_owned())),
            Rank::Flag => Origin::Flag(key.flag.unwrap_or("--feed")),
        }
    }

    /// The refusal of the value at `path` because of `rule`.
    pub(super) fn refuse(&self, path: &str, rule: impl Into<String>) -> ConfigError {
        ConfigError::BadValue {
            key: path.to_owned(),
            value: self
                .value(path)
                .map_or_else(|| "nothing".to_owned(), |value| show(&value)),
            origin: self.origin(path),
            rule: rule.into(),
        }
    }

    /// The refusal of the value at `path` because it is at odds with that at `other`: `rule` and the other follow.
    pub(super) fn refuse_beside(&self, path: &str, rule: &str, other: &str) -> ConfigError {
        let value = self
            .value(other)
            .map_or_else(|| "nothing".to_owned(), |value| show(&value));
        self.refuse(
            path,
            format!("{rule} {other} = {value} (from {})", self.origin(other)),
        )
    }

    pub(super) fn value(&self, path: &str) -> Option<Value> {
        self.merged.find_value(path).ok()
    }

    /// A whole number that is always set.
    pub(super) fn integer<T: TryFrom<u64>>(&self, path: &str) -> Result<T, ConfigError> {
        self.integer_if_set(path)?
            .ok_or_else(|| self.refuse(path, "must be set"))
    }

    /// A whole number that may be left to the broker.
    pub(super) fn integer_if_set<T: TryFrom<u64>>(&self, path: &str) -> Result<Option<T>, ConfigError> {
        let Shape::Integer { min, max } = key_at(path).shape else {
            unreachable!("{path} is an integer")
        };
        let Some(value) = self.value(path) else {
            return Ok(None);
        };
        let number = integer_in(&value, min, max).map_err(|rule| self.refuse(path, rule))?;
        T::try_from(number)
            .map(Some)
            .map_err(|_| self.refuse(path, "is too large for this machine"))
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, path: &str) -> Result<bool, ConfigError> {
        match self.value(path) {
            Some(Value::Bool(_, truth)) => Ok(truth),
            _ => Err(self.refuse(path, "must be true or false")),
        }
    }

    /// A finite number above 0.
    pub(super) fn positive(&self, path: &str) -> Result<f64, ConfigError> {
        let number = self.value(path).and_then(|value| match value {
            Value::Num(_, Num::F64(number)) => Some(number),
            // A whole number; beyond 2^53 the nearest that a float has is near enough.
            _ => whole(&value).map(|number| number as f64),
        });
        number
            .filter(|number| number.is_finite() && *number > 0.0)
            .ok_or_else(|| self.refuse(path, "must be a number above 0"))
    }

    /// The meaning of a word, from `words`, which are those of the key.
    pub(super) fn choice<T: Clone>(&self, path: &str, words: &[(&str, T)]) -> Result<T, ConfigError> {
        let value = self.value(path);
        let text = value.as_ref().and_then(Value::as_str);
        words
            .iter()
            .find(|(word, _)| Some(*word) == text)
            .map(|(_, meaning)| meaning.clone())
            .ok_or_else(|| {
                let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                self.refuse(path, one_of(&words))
            })
    }

    /// An IP address and a port, or a name and a port: then its first IPv4 address, or its first one if it has none of
    /// those. The system's resolver is asked for names only.
    pub(super) fn address(&self, path: &str) -> Result<SocketAddr, ConfigError> {
        let value = self.value(path);
        let text = value.as_ref().and_then(Value::as_str).unwrap_or_default();
        if let Ok(address) = text.parse() {
            return Ok(address);
        }
        let named = text.rsplit_once(':').filter(|(name, port)| {
            let of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            !name.is_empty() && name.bytes().all(of_a_name) && port.parse::<u16>().is_ok()
        });
        let Some((name, _)) = named else {
            return Err(self.refuse(
                path,
                "must be an address or a name, and a port, such as 127.0.0.1:7400, [::]:7400 or localhost:7400",
            ));
        };
        let found: Vec<SocketAddr> = text
            .to_socket_addrs()
            .map_err(|error| self.refuse(path, format!("{name} has no address: {error}")))?
            .collect();
        let v4 = found.iter().find(|address| address.is_ipv4());
        v4.or(found.first())
            .copied()
            .ok_or_else(|| self.refuse(path, format!("{name} has no address")))
    }

    /// A list of topic patterns.
    pub(super) fn patterns(&self, path: &str) -> Result<Vec<Pattern>, ConfigError> {
        self.texts(path)?
            .iter()
            .map(|text| {
                text.parse()
                    .map_err(|e| self.refuse(path, format!("{text:?} is no pattern: {e}")))
            })
            .collect()
    }

    /// A file's name that may be left out.
    pub(super) fn file_if_set(&self, path: &str) -> Result<Option<PathBuf>, ConfigError> {
        let Some(value) = self.value(path) else {
            return Ok(None);
        };
        match value.as_str() {
            Some(name) if !name.is_empty() => {
                let file = self.credentials.file(name);
                file.map(Some).map_err(|rule| self.refuse(path, rule))
            }
            _ => Err(self.refuse(path, "must be the name of a file")),
        }
    }

    /// A list of file names.
    pub(super) fn files(&self, path: &str) -> Result<Vec<PathBuf>, ConfigError> {
        let names = self.texts(path)?;
        if names.iter().any(String::is_empty) {
            return Err(self.refuse(path, "a file's name is empty"));
        }
        Ok(names.into_iter().map(PathBuf::from).collect())
    }

    /// As [`Self::refuse`], of a value that may hold a secret by mistake.
    pub(super) fn refuse_unseen(&self, path: &str, rule: impl Into<String>) -> ConfigError {
        ConfigError::BadValue {
            key: path.to_owned(),
            value: "(not shown)".to_owned(),
            origin: self.origin(path),
            rule: rule.into(),
        }
    }

    /// A list of networks. A single address is a network of its own.
    pub(super) fn networks(&self, path: &str) -> Result<Vec<IpNet>, ConfigError> {
        let network = |text: &String| match text.parse::<IpAddr>() {
            Ok(address) => Some(IpNet::from(address)),
            Err(_) => text.parse().ok(),
        };
        self.texts(path)?
            .iter()
            .map(|text| {
                network(text).ok_or_else(|| {
                    let rule = format!(
                        "{text:?} is no network, such as 10.0.0.0/8 or 2001:db8::/32, nor an address"
                    );
                    self.refuse(path, rule)
                })
            })
            .collect()
    }

    pub(super) fn texts(&self, path: &str) -> Result<Vec<String>, ConfigError> {
        let Some(Value::Array(_, items)) = self.value(path) else {
            return Err(self.refuse(path, "must be a list of texts"));
        };
        items
            .into_iter()
            .map(Value::into_string)
            .collect::<Option<_>>()
            .ok_or_else(|| self.refuse(path, "must be a list of texts"))
    }

    /// The rules of topics' kinds.
    pub(super) fn rules(&self, path: &str) -> Result<Vec<KindRule>, ConfigError> {
        let Some(Value::Array(_, items)) = self.value(path) else {
            return Err(self.refuse(path, "must be a list of {pattern, kind, history}"));
        };
        let mut rules: Vec<KindRule> = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let rule = RuleReader {
                place: format!("{path}[{at}]"),
                origin: self.origin(path),
                item,
            }
            .read()?;
            if let Some(first) = rules.iter().position(|known| known.pattern == rule.pattern) {
                return Err(ConfigError::BadValue {
                    key: format!("{path}[{at}].pattern"),
                    value: format!("{:?}", rule.pattern.as_str()),
                    origin: self.origin(path),
                    rule: format!("{path}[{first}] has the same pattern, and the first match wins"),
                });
            }
            rules.push(rule);
        }
        Ok(rules)
    }
}

/// One entry of `kinds`.
struct RuleReader<'a> {
    /// Its name in errors: `kinds[2]`.
    place: String,
    origin: Origin,
    item: &'a Value,
}

impl RuleReader<'_> {
    fn read(self) -> Result<KindRule, ConfigError> {
        let Value::Dict(_, fields) = self.item else {
            return Err(self.refuse(
                None,
                "must be a table with a pattern, a kind and perhaps a history",
            ));
        };
        self.refuse_unknown(fields)?;
        let pattern = self.text(fields, "pattern", "must be a topic pattern, such as chat.>")?;
        let pattern: Pattern = pattern
            .parse()
            .map_err(|e| self.refuse(Some("pattern"), format!("{e}")))?;
        let kinds = [Kind::State, Kind::Book, Kind::Event];
        let kind_rule = one_of(&kinds.map(Kind::as_str));
        let kind = self.text(fields, "kind", &kind_rule)?;
        let kind = kinds
            .into_iter()
            .find(|known| known.as_str() == kind)
            .ok_or_else(|| self.refuse(Some("kind"), kind_rule.as_str()))?;
        let history = match fields.get("history") {
            None => history_for(kind),
            Some(value) => {
                let number =
                    integer_in(value, 1, HISTORY_MAX).map_err(|rule| self.refuse(Some("history"), rule))?;
                usize::try_from(number).unwrap_or(usize::MAX)
            }
        };
        Ok(KindRule {
            pattern,
            kind,
            history,
        })
    }

    fn refuse_unknown(&self, fields: &Dict) -> Result<(), ConfigError> {
        const KNOWN: [&str; 3] = ["pattern", "kind", "history"];
        match fields.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => Err(ConfigError::UnknownKey {
                key: format!("{}.{name}", self.place),
                origin: self.origin.clone(),
                nearest: nearest(
                    &format!("{}.{name}", self.place),
                    KNOWN.iter().map(|known| format!("{}.{known}", self.place)),
                ),
            }),
        }
    }

    fn text<'f>(&self, fields: &'f Dict, name: &'static str, rule: &str) -> Result<&'f str, ConfigError> {
        match fields.get(name) {
            None => Err(self.refuse(None, format!("has no {name}, which {rule}"))),
            Some(value) => value.as_str().ok_or_else(|| self.refuse(Some(name), rule)),
        }
    }

    fn refuse(&self, field: Option<&str>, rule: impl Into<String>) -> ConfigError {
        refuse_entry(&self.place, &self.origin, self.item, field, rule)
    }
}

/// The refusal of the list's entry `item`, which errors call `place`, or of one `field` of it, because of `rule`.
pub(super) fn refuse_entry(
    place: &str,
    origin: &Origin,
    item: &Value,
    field: Option<&str>,
    rule: impl Into<String>,
) -> ConfigError {
    let (key, value) = match (field, item) {
        (Some(name), Value::Dict(_, fields)) => (format!("{place}.{name}"), fields.get(name)),
        _ => (place.to_owned(), Some(item)),
    };
    ConfigError::BadValue {
        key,
        value: value.map_or_else(|| "nothing".to_owned(), show),
        origin: origin.clone(),
        rule: rule.into(),
    }
}

/// Messages that a topic of `kind` keeps when its rule names no number.
const fn history_for(kind: Kind) -> usize {
    match kind {
        Kind::State => 1,
        Kind::Book => BOOK_HISTORY_MAX,
        Kind::Event => EVENT_HISTORY_MAX,
    }
}

fn key_at(path: &str) -> &'static Key {
    keys::find(path).unwrap_or_else(|| panic!("{path} is in the list of keys"))
}

/// The whole number that `value` is, or the rule that it breaks.
pub(super) fn integer_in(value: &Value, min: u64, max: u64) -> Result<u64, String> {
    match whole(value) {
        None => Err(format!("must be a whole number between {min} and {max}")),
        Some(number) => u64::try_from(number)
            .ok()
            .filter(|number| (min..=max).contains(number))
            .ok_or_else(|| format!("must be between {min} and {max}")),
    }
}

/// The whole number that `value` is.
fn whole(value: &Value) -> Option<i128> {
    let Value::Num(_, number) = value else {
        return None;
    };
    number
        .to_i128()
        .or_else(|| number.to_u128().and_then(|number| i128::try_from(number).ok()))
}

fn one_of(words: &[&str]) -> String {
    format!("must be one of {}", words.join(", "))
}

/// `value` as an error shows it: as TOML would have it, shortened to one line.
pub(super) fn show(value: &Value) -> String {
    const CHARS_MAX: usize = 120;
    let text = match value {
        Value::String(_, text) => format!("{text:?}"),
        Value::Char(_, c) => format!("{:?}", c.to_string()),
        Value::Bool(_, truth) => truth.to_string(),
        Value::Num(_, number) => match (whole(value), number.to_f64()) {
            (Some(number), _) => number.to_string(),
            (None, Some(number)) => format!("{number:?}"),
            (None, None) => format!("{number:?}"),
        },
        Value::Empty(..) => "nothing".to_owned(),
        // How figment has a date of TOML.
        Value::Dict(_, fields) if fields.contains_key("$__toml_private_datetime") => fields
            .values()
            .next()
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        Value::Dict(_, fields) => {
            let fields: Vec<String> = fields.iter().map(|(k, v)| format!("{k} = {}", show(v))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Array(_, items) => {
            let items: Vec<String> = items.iter().map(show).collect();
            format!("[{}]", items.join(", "))
        }
    };
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
