//! The layers of settings: defaults, file, environment, flags. Each has precedence over those before it.
//!
//! Names that are not keys are refused here. Values are not checked: a text where a number is needed stays text, and is
//! refused when it is read.

use std::collections::BTreeMap;
use std::path::Path;

use figment::value::{Dict, Value};

use super::error::{ConfigError, ValueOrigin};
use super::key::{self, Key, Preset, Shape};
use super::nearest::nearest;
use super::settings::{Settings, show};

/// The flags of the command line as text, before they are checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overrides(BTreeMap<&'static str, String>);

impl Overrides {
    /// Sets the value of a flag, which is named with its dashes. Items of a list are separated by commas. The flags are
    /// those of [`Config::flags`](super::Config::flags); [`Config::load`](super::Config::load) panics if it gets
    /// another one.
    pub fn set(&mut self, flag: &'static str, text: impl Into<String>) {
        self.0.insert(flag, text.into());
    }
}

impl Settings {
    /// Puts in the defaults.
    pub(super) fn put_defaults(&mut self) {
        for key in key::all() {
            let value = match key.preset {
                Preset::Integer(number) => Value::from(number),
                Preset::Number(number) => Value::from(number),
                Preset::Text(text) => Value::from(text),
                Preset::Bool(truth) => Value::from(truth),
                Preset::List(texts) => Value::from(texts.to_vec()),
                Preset::Unset(..) => continue,
            };
            self.put(key.path, value, ValueOrigin::Default);
        }
    }

    /// Puts in the settings of the file at `path`.
    ///
    /// # Errors
    /// If it cannot be read, is not TOML or has an unknown key.
    pub(super) fn put_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::FileUnreadable {
            path: path.to_owned(),
            source,
        })?;
        // Windows begins files of UTF-8 with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let values: Dict = toml::from_str(text).map_err(|e| ConfigError::FileMalformed {
            path: path.to_owned(),
            message: on_one_line(text, e.span(), e.message()),
        })?;
        self.put_table(values, "", &ValueOrigin::File(path.to_owned()))
    }

    /// Puts in `values` of the table `table`. Refuses the first that is neither a setting nor a table of settings.
    fn put_table(&mut self, values: Dict, table: &str, origin: &ValueOrigin) -> Result<(), ConfigError> {
        for (name, value) in values {
            // A quoted key with a dot looks like a path but is not one.
            let dotted = name.contains('.');
            let shown = if dotted { format!("{name:?}") } else { name };
            let path = match table {
                "" => shown,
                table => format!("{table}.{shown}"),
            };
            if let Some(key) = key::find(&path).filter(|_| !dotted) {
                self.put(key.path, value, origin.clone());
                continue;
            }
            let is_table = table.is_empty() && !dotted && key::all().any(|key| key.table() == path);
            let meant = match value {
                Value::Dict(_, inner) if is_table => {
                    self.put_table(inner, &path, origin)?;
                    continue;
                }
                other if is_table => return Err(not_a_table(path, &other, origin)),
                // If the table is unknown, a key in it is the best hint to the intended name.
                Value::Dict(_, inner) if table.is_empty() => match inner.keys().next() {
                    Some(first) => format!("{path}.{first}"),
                    None => path,
                },
                _ => path,
            };
            return Err(ConfigError::UnknownKey {
                nearest: nearest(&meant, key::all().map(|key| key.path.to_owned())),
                key: meant,
                origin: origin.clone(),
            });
        }
        Ok(())
    }

    /// Puts in the `TICKWIRE_*` variables of `environment`; other variables are ignored.
    ///
    /// # Errors
    /// If one of them is not a setting.
    pub(super) fn put_environment(&mut self, environment: &[(String, String)]) -> Result<(), ConfigError> {
        for (name, text) in environment {
            if !name.starts_with(PREFIX) || is_ours_but_no_setting(name) || is_service_link(name) {
                continue;
            }
            match key::all().find(|key| key.variable().as_ref() == Some(name)) {
                Some(key) => self.put_text(key, text, &ValueOrigin::Variable(name.clone())),
                None => return Err(unknown_variable(name.clone())),
            }
        }
        Ok(())
    }

    /// Puts in the flags.
    pub(super) fn put_flags(&mut self, given: &Overrides) {
        for (flag, text) in &given.0 {
            let mut keys = key::all();
            let key = keys.find(|key| key.flag.is_some_and(|(name, _)| name == *flag));
            self.put_text(
                key.expect("every flag has its key"),
                text,
                &ValueOrigin::Flag(flag),
            );
        }
    }

    fn put_text(&mut self, key: &Key, text: &str, origin: &ValueOrigin) {
        let value = match key.shape {
            // The text is `none`, `sim`, `replay:FILE,FILE` or, with the files of a weaker layer, `replay`.
            _ if key.path == "feed.kind" => {
                let (kind, files) = match text.split_once(':') {
                    Some(("replay", files)) => ("replay", Some(list(files))),
                    _ if text == "replay" => ("replay", None),
                    _ => (text, Some(list(""))),
                };
                if let Some(files) = files {
                    self.put("feed.files", files, origin.clone());
                }
                Value::from(kind)
            }
            // Text that is not a valid value stays text.
            Shape::Integer { .. } => text.parse::<i128>().map_or_else(|_| text.into(), Value::from),
            Shape::Positive => text.parse::<f64>().map_or_else(|_| text.into(), Value::from),
            Shape::Bool => text.parse::<bool>().map_or_else(|_| text.into(), Value::from),
            Shape::Texts(_) => list(text),
            _ => text.into(),
        };
        self.put(key.path, value, origin.clone());
    }
}

/// The items of `text`, which are separated by commas.
fn list(text: &str) -> Value {
    match text.trim() {
        "" => Value::from(Vec::<String>::new()),
        items => Value::from(items.split(',').map(str::trim).collect::<Vec<_>>()),
    }
}

const PREFIX: &str = "TICKWIRE_";

/// Whether a variable belongs to the program or its tests but is not a setting.
fn is_ours_but_no_setting(name: &str) -> bool {
    matches!(
        name,
        "TICKWIRE_LOG"
            | "TICKWIRE_CONFIG"
            | "TICKWIRE_URL"
            | "TICKWIRE_TOKEN"
            | "TICKWIRE_RECORDINGS"
            | "TICKWIRE_AUTOBAHN"
            | "TICKWIRE_SKIP_LOG"
            | "TICKWIRE_BIN"
    ) || (name.starts_with("TICKWIRE_TEST_") && !name.starts_with("TICKWIRE_TEST__"))
}

/// Whether Kubernetes may have set the variable: a service called `tickwire` or `tickwire-…` adds
/// `TICKWIRE_SERVICE_HOST`, `TICKWIRE_PORT_7400_TCP_ADDR` and similar ones to every container of its namespace.
fn is_service_link(name: &str) -> bool {
    let numbered_port = name.split("_PORT_").skip(1).any(|rest| {
        let protocol = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        protocol.len() < rest.len() && ["_TCP", "_UDP", "_SCTP"].iter().any(|p| protocol.starts_with(p))
    });
    numbered_port
        || name.ends_with("_SERVICE_HOST")
        || name.ends_with("_PORT")
        || name.contains("_SERVICE_PORT_")
}

/// The parser's message about `text` with the line and column, both from 1. It is one line, since it may go to a log.
fn on_one_line(text: &str, span: Option<std::ops::Range<usize>>, message: &str) -> String {
    let meant = span.clone().and_then(|span| text.get(span)).map_or("", str::trim);
    let what = match message.trim() {
        message if meant.is_empty() && (message.is_empty() || message.starts_with("string values")) => {
            "a name or a value is missing here, or is none".to_owned()
        }
        "duplicate key" => format!("duplicate key `{meant}`"),
        message => message.split_whitespace().collect::<Vec<_>>().join(" "),
    };
    let before = span.and_then(|span| text.get(..span.start));
    let Some(before) = before else { return what };
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .map_or(1, |last| last.chars().count() + 1);
    format!("line {line}, column {column}: {what}")
}

fn not_a_table(table: String, value: &Value, origin: &ValueOrigin) -> ConfigError {
    let known: Vec<&str> = key::all()
        .filter(|key| key.table() == table)
        .map(Key::name)
        .collect();
    ConfigError::BadValue {
        value: show(value),
        origin: origin.clone(),
        rule: format!("must be a table with keys such as {}", known.join(", ")),
        key: table,
    }
}

fn unknown_variable(name: String) -> ConfigError {
    // The name may be the spelt-out path although the flag has another name, or the key may have no variable.
    let as_path = |variable: &str| variable[PREFIX.len()..].to_ascii_lowercase().replace("__", ".");
    let path = as_path(&name);
    match key::find(&path).map(|key| (key.path, key.variable())) {
        Some((key, None)) => ConfigError::NotAVariable { name, key },
        Some((_, Some(nearest))) => ConfigError::UnknownVariable { name, nearest },
        None => {
            let known: Vec<String> = key::all().filter_map(Key::variable).collect();
            let nearest_path = nearest(&path, known.iter().map(|variable| as_path(variable)));
            let nearest = known
                .into_iter()
                .find(|variable| as_path(variable) == nearest_path)
                .unwrap_or_default();
            ConfigError::UnknownVariable { name, nearest }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_links_are_not_taken_for_settings() {
        for name in [
            "TICKWIRE_SERVICE_HOST",
            "TICKWIRE_SERVICE_PORT",
            "TICKWIRE_SERVICE_PORT_HTTP",
            "TICKWIRE_PORT",
            "TICKWIRE_PORT_7400_TCP",
            "TICKWIRE_PORT_7400_TCP_PROTO",
            "TICKWIRE_PORT_7400_TCP_PORT",
            "TICKWIRE_PORT_7400_TCP_ADDR",
            "TICKWIRE_OPS_PORT_7401_UDP_ADDR",
        ] {
            assert!(is_service_link(name), "{name}");
        }
        for name in key::all().filter_map(Key::variable) {
            assert!(
                !is_service_link(&name) && !is_ours_but_no_setting(&name),
                "{name}"
            );
        }
        assert!(!is_service_link("TICKWIRE_PORT_RANGE"));
    }
}
