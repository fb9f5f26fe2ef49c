//! The merged layers of settings, and how their values are read into types.
//!
//! A value that does not fit is refused by an error that names the key, the value, its origin and the rule. Reading a
//! path that is not a key is a fault of the program and panics.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use figment::value::{Num, Value};
use ipnet::IpNet;
use tickwire_wire::{Micros, Moment, Pattern};

use super::credentials::Credentials;
use super::error::{ConfigError, ValueOrigin};
use super::key::{self, Key, Setting, Shape};

/// Shown in place of a value that may be a secret.
pub(super) const HIDDEN: &str = "(not shown)";

/// The value and origin of each key, from the strongest layer.
#[derive(Default)]
pub(super) struct Settings {
    values: BTreeMap<&'static str, (Value, ValueOrigin)>,
    credentials: Credentials,
}

impl Settings {
    /// No settings yet, with the credentials from the service manager.
    pub(super) fn with_credentials(credentials: Credentials) -> Self {
        Self {
            credentials,
            ..Self::default()
        }
    }

    /// Sets the key at `path`, in place of its earlier value.
    pub(super) fn put(&mut self, path: &'static str, value: Value, origin: ValueOrigin) {
        self.values.insert(path, (value, origin));
    }

    /// The credentials from the service manager.
    pub(super) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The value at `path`.
    pub(super) fn value(&self, path: &str) -> Option<&Value> {
        self.values.get(path).map(|(value, _)| value)
    }

    /// The origin of the value at `path`.
    pub(super) fn origin(&self, path: &str) -> ValueOrigin {
        self.values
            .get(path)
            .map_or(ValueOrigin::Default, |(_, origin)| origin.clone())
    }

    /// The refusal of the value at `path` because of `rule`.
    pub(super) fn refuse(&self, path: &str, rule: impl Into<String>) -> ConfigError {
        ConfigError::BadValue {
            key: path.to_owned(),
            value: self.value(path).map_or_else(|| "nothing".to_owned(), show),
            origin: self.origin(path),
            rule: rule.into(),
        }
    }

    /// Refuses the value at `path` if it is `at_odds`, because it conflicts with the value at `other`. The message has
    /// `rule` and then the other value.
    pub(super) fn refuse_beside_if(
        &self,
        at_odds: bool,
        path: &str,
        rule: &str,
        other: &str,
    ) -> Result<(), ConfigError> {
        if !at_odds {
            return Ok(());
        }
        let value = self.value(other).map_or_else(|| "nothing".to_owned(), show);
        let origin = self.origin(other);
        Err(self.refuse(path, format!("{rule} {other} = {value} (from {origin})")))
    }

    /// Does the same as [`Self::refuse`] for a value that may hold a secret by mistake.
    pub(super) fn refuse_unseen(&self, path: &str, rule: impl Into<String>) -> ConfigError {
        ConfigError::BadValue {
            key: path.to_owned(),
            value: HIDDEN.to_owned(),
            origin: self.origin(path),
            rule: rule.into(),
        }
    }

    /// One of the words of a `shape`.
    pub(super) fn word(&self, path: &str, shape: Shape) -> Result<&'static str, ConfigError> {
        let Shape::Choice(words) = shape else {
            unreachable!("{path} is one of some words")
        };
        let text = self.value(path).and_then(Value::as_str);
        let known = words.iter().find(|word| Some(**word) == text).copied();
        known.ok_or_else(|| self.refuse(path, format!("must be one of {}", words.join(", "))))
    }

    /// A list of texts.
    pub(super) fn texts(&self, path: &str) -> Result<Vec<&str>, ConfigError> {
        let texts = self.value(path).and_then(Value::as_array);
        let texts = texts.and_then(|texts| texts.iter().map(Value::as_str).collect());
        texts.ok_or_else(|| self.refuse(path, "must be a list of texts"))
    }

    /// A list of texts. Each is converted into a value or refused by a rule.
    pub(super) fn list<T>(
        &self,
        path: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, ConfigError> {
        let texts = self.texts(path)?;
        let parsed = texts
            .iter()
            .map(|text| parse(text).map_err(|rule| self.refuse(path, format!("{text:?} {rule}"))));
        parsed.collect()
    }
}

macro_rules! integers {
    ($($type:ty)*) => {
        $(impl Setting for $type {
            const SHAPE: Shape = Shape::Integer { min: 0, max: 0 };

            fn read(settings: &Settings, path: &'static str) -> Result<Self, ConfigError> {
                let Shape::Integer { min, max } = key_at(path).shape else {
                    unreachable!("{path} is an integer")
                };
                let value = settings.value(path).ok_or_else(|| settings.refuse(path, "must be set"))?;
                let number = integer_in(value, min, max).map_err(|rule| settings.refuse(path, rule))?;
                Self::try_from(number).map_err(|_| settings.refuse(path, "is too large for this machine"))
            }
        })*
    };
}
integers!(u8 u32 u64 usize);

impl Setting for bool {
    const SHAPE: Shape = Shape::Bool;

    fn read(settings: &Settings, path: &'static str) -> Result<Self, ConfigError> {
        let truth = settings.value(path).and_then(Value::to_bool);
        truth.ok_or_else(|| settings.refuse(path, "must be true or false"))
    }
}

impl Setting for f64 {
    const SHAPE: Shape = Shape::Positive;

    fn read(settings: &Settings, path: &'static str) -> Result<Self, ConfigError> {
        let number = settings.value(path).and_then(|value| match value {
            Value::Num(_, Num::F64(number)) => Some(*number),
            // For a whole number beyond 2^53 the nearest float is near enough.
            _ => whole(value).map(|number| number as f64),
        });
        number
            .filter(|number| number.is_finite() && *number > 0.0)
            .ok_or_else(|| settings.refuse(path, "must be a number above 0"))
    }
}

/// An IP address and a port, or a name and a port. A name is resolved by the system, to its first IPv4 address if it
/// has one, otherwise to its first address.
impl Setting for SocketAddr {
    const SHAPE: Shape = Shape::Address;

    fn read(settings: &Settings, path: &'static str) -> Result<Self, ConfigError> {
        let text = settings.value(path).and_then(Value::as_str).unwrap_or_default();
        if let Ok(address) = text.parse() {
            return Ok(address);
        }
        let named = text.rsplit_once(':').filter(|(name, port)| {
            let of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            !name.is_empty() && name.bytes().all(of_a_name) && port.parse::<u16>().is_ok()
        });
        let Some((name, _)) = named else {
            return Err(settings.refuse(
                path,
                "must be an address or a name, and a port, such as 127.0.0.1:7400, [::]:7400 or localhost:7400",
            ));
        };
        let found: Vec<Self> = text
            .to_socket_addrs()
            .map_err(|error| settings.refuse(path, format!("{name} has no address: {error}")))?
            .collect();
        let v4 = found.iter().find(|address| address.is_ipv4());
        v4.or(found.first())
            .copied()
            .ok_or_else(|| settings.refuse(path, format!("{name} has no address")))
    }
}

/// Microseconds since 1970 as a whole number or as a text, or a date and a time.
impl Setting for Moment {
    const SHAPE: Shape = Shape::Text("moment");

    fn read(settings: &Settings, path: &'static str) -> Result<Self, ConfigError> {
        let value = settings.value(path);
        if let Some(micros) = value
            .and_then(whole)
            .and_then(|number| u64::try_from(number).ok())
        {
            return Ok(Self(Micros(micros)));
        }
        let text = value.and_then(Value::as_str).unwrap_or_default();
        text.parse().map_err(|_| {
            let rule = "must be microseconds since 1970, such as 1723161253000000, or a date and a time, such as \"2024-08-08T23:54:13Z\"";
            settings.refuse(path, rule)
        })
    }
}

impl Setting for Vec<Pattern> {
    const SHAPE: Shape = Shape::Texts("topic patterns");

    fn read(settings: &Settings, path: &'static str) -> Result<Self, ConfigError> {
        settings.list(path, |text| {
            text.parse().map_err(|error| format!("is no pattern: {error}"))
        })
    }
}

impl Setting for PathBuf {
    const SHAPE: Shape = Shape::Text("readable file");

    fn read(settings: &Settings, path: &'static str) -> Result<Self, ConfigError> {
        let name = settings
            .value(path)
            .and_then(Value::as_str)
            .filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| settings.refuse(path, "must be the name of a file"))?;
        let file = settings.credentials.file(name);
        file.map_err(|rule| settings.refuse(path, rule))
    }
}

/// A list of networks. A single address is a network with one address.
impl Setting for Vec<IpNet> {
    const SHAPE: Shape = Shape::Texts("networks such as `10.0.0.0/8`, or addresses");

    fn read(settings: &Settings, path: &'static str) -> Result<Self, ConfigError> {
        settings.list(path, |text| {
            let address = text.parse::<IpAddr>().ok().map(IpNet::from);
            let network = address.or_else(|| text.parse().ok());
            network.ok_or_else(|| {
                "is no network, such as 10.0.0.0/8 or 2001:db8::/32, nor an address".to_owned()
            })
        })
    }
}

fn key_at(path: &str) -> &'static Key {
    key::find(path).unwrap_or_else(|| panic!("{path} is in the list of keys"))
}

/// The whole number in `value`, or the rule that it breaks.
pub(super) fn integer_in(value: &Value, min: u64, max: u64) -> Result<u64, String> {
    match whole(value) {
        None => Err(format!("must be a whole number between {min} and {max}")),
        Some(number) => u64::try_from(number)
            .ok()
            .filter(|number| (min..=max).contains(number))
            .ok_or_else(|| format!("must be between {min} and {max}")),
    }
}

/// The whole number in `value`.
fn whole(value: &Value) -> Option<i128> {
    let Value::Num(_, number) = value else {
        return None;
    };
    number
        .to_i128()
        .or_else(|| number.to_u128().and_then(|number| i128::try_from(number).ok()))
}

/// `value` as errors show it: written in TOML and cut to one line.
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
        // This is how figment represents a date of TOML.
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
