//! The layers that a configuration is merged from: defaults, file, environment, flags.
//!
//! A layer holds only keys of [`key::all`]; anything else was refused when it was made. Values are not checked here:
//! text that is no number where one is needed stays text, and [`super::settings`] refuses it.

use std::collections::BTreeMap;
use std::path::Path;

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Error, Metadata, Profile, Provider};

use super::error::{ConfigError, Origin};
use super::key::{self, Key, Preset, Shape};
use super::nearest::nearest;

/// Which layer a value came from, the later the stronger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rank {
    Default,
    File,
    Variable,
    Flag,
}

impl Rank {
    const ALL: [Self; 4] = [Self::Default, Self::File, Self::Variable, Self::Flag];

    const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Variable => "environment",
            Self::Flag => "flag",
        }
    }

    /// The rank of a value that figment has with `metadata`.
    pub(super) fn of(metadata: Option<&Metadata>) -> Self {
        let name = metadata.map_or("", |m| m.name.as_ref());
        Self::ALL
            .into_iter()
            .find(|rank| rank.name() == name)
            .unwrap_or(Self::Default)
    }
}

/// What the command line says, as text, before it is checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overrides(BTreeMap<String, String>);

impl Overrides {
    /// Sets what the flag of this name, with its dashes, is given; lists have commas between. Flags are those of
    /// [`Config::flags`](super::Config::flags), and no other has a meaning.
    pub fn set(&mut self, flag: &str, text: impl Into<String>) {
        self.0.insert(flag.to_owned(), text.into());
    }
}

/// The values of one rank.
#[derive(Debug)]
pub(super) struct Layer {
    rank: Rank,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.rank.name())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

impl Layer {
    fn empty(rank: Rank) -> Self {
        Self {
            rank,
            values: Dict::new(),
        }
    }

    fn put(&mut self, path: &str, value: Value) {
        match path.split_once('.') {
            None => drop(self.values.insert(path.to_owned(), value)),
            Some((table, name)) => {
                let entry = self
                    .values
                    .entry(table.to_owned())
                    .or_insert_with(|| Value::from(Dict::new()));
                if let Value::Dict(_, entries) = entry {
                    entries.insert(name.to_owned(), value);
                }
            }
        }
    }

    /// What holds where nothing else is set.
    pub(super) fn defaults() -> Self {
        let mut layer = Self::empty(Rank::Default);
        for key in key::all() {
            match key.preset {
                Preset::Integer(number) => layer.put(key.path, Value::from(number)),
                Preset::Number(number) => layer.put(key.path, Value::from(number)),
                Preset::Text(text) => layer.put(key.path, Value::from(text)),
                Preset::Bool(truth) => layer.put(key.path, Value::from(truth)),
                Preset::List(texts) => layer.put(key.path, Value::from(texts.to_vec())),
                Preset::Unset(..) => {}
            }
        }
        layer
    }

    /// The file at `path`.
    ///
    /// # Errors
    /// When it cannot be read, is not TOML or has an unknown key.
    pub(super) fn file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::FileUnreadable {
            path: path.to_owned(),
            source,
        })?;
        // Windows begins files of UTF-8 with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let values = <Toml as Format>::from_str::<Dict>(text).map_err(|e| ConfigError::FileMalformed {
            path: path.to_owned(),
            message: on_one_line(text, e.span(), e.message()),
        })?;
        refuse_unknown(&values, "", &Origin::File(path.to_owned()))?;
        Ok(Self {
            rank: Rank::File,
            values,
        })
    }

    /// The `TICKWIRE_*` variables of `environment`; others are not looked at.
    ///
    /// # Errors
    /// When one of them is no setting.
    pub(super) fn environment(
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut layer = Self::empty(Rank::Variable);
        for (name, text) in environment {
            if !name.starts_with(PREFIX) || is_ours_but_no_setting(&name) || is_service_link(&name) {
                continue;
            }
            match key::all().find(|key| key.variable().as_ref() == Some(&name)) {
                Some(key) => layer.put_text(key, &text),
                None => return Err(unknown_variable(name)),
            }
        }
        Ok(layer)
    }

    /// The flags that were given.
    pub(super) fn flags(given: &Overrides) -> Self {
        let mut layer = Self::empty(Rank::Flag);
        for (flag, text) in &given.0 {
            let key = key::all()
                .find(|key| key.flag.is_some_and(|(name, _)| name == flag))
                .expect("every flag has its key");
            layer.put_text(key, text);
        }
        layer
    }

    fn put_text(&mut self, key: &Key, text: &str) {
        if key.path == "feed.kind" {
            self.put_feed(text);
        } else {
            self.put(key.path, from_text(key.shape, text));
        }
    }

    /// `none`, `sim`, `replay:FILE,FILE` or, with the files of a weaker layer, `replay`.
    fn put_feed(&mut self, text: &str) {
        let (kind, files) = match text.split_once(':') {
            Some(("replay", files)) => ("replay", Some(list(files))),
            _ if text == "replay" => ("replay", None),
            _ => (text, Some(Value::from(Vec::<String>::new()))),
        };
        self.put("feed.kind", Value::from(kind));
        if let Some(files) = files {
            self.put("feed.files", files);
        }
    }
}

const PREFIX: &str = "TICKWIRE_";

/// Variables of the binary and of the tests that are no settings.
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

/// Whether Kubernetes may have set it: a service called `tickwire` or `tickwire-…` puts `TICKWIRE_SERVICE_HOST`,
/// `TICKWIRE_PORT_7400_TCP_ADDR` and their like into every container of its namespace.
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

/// `text` as the value that a key of `shape` needs; text that is no such value stays text.
fn from_text(shape: Shape, text: &str) -> Value {
    match shape {
        Shape::Integer { .. } => text.parse::<i128>().map_or_else(|_| text.into(), Value::from),
        Shape::Positive => text.parse::<f64>().map_or_else(|_| text.into(), Value::from),
        Shape::Bool => text.parse::<bool>().map_or_else(|_| text.into(), Value::from),
        Shape::Texts(_) => list(text),
        _ => text.into(),
    }
}

/// The items of `text`, with commas between.
fn list(text: &str) -> Value {
    match text.trim() {
        "" => Value::from(Vec::<String>::new()),
        items => Value::from(items.split(',').map(str::trim).collect::<Vec<_>>()),
    }
}

/// What the parser says of `text`, with the line and column, both from 1: one line, since it may go to a log.
fn on_one_line(text: &str, span: Option<std::ops::Range<usize>>, message: &str) -> String {
    let what = match message.trim() {
        "" => "a name or a value is missing here, or is none".to_owned(),
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

/// Refuses the first key of `values`, which stand in `table`, that is neither a setting nor a table of settings.
fn refuse_unknown(values: &Dict, table: &str, origin: &Origin) -> Result<(), ConfigError> {
    for (name, value) in values {
        // A quoted key with a dot in it looks like a path but is none.
        let dotted = name.contains('.');
        let shown = if dotted { format!("{name:?}") } else { name.clone() };
        let path = match table {
            "" => shown,
            table => format!("{table}.{shown}"),
        };
        if !dotted {
            if key::find(&path).is_some() {
                continue;
            }
            if table.is_empty() && key::all().any(|key| key.table() == path) {
                match value {
                    Value::Dict(_, inner) => refuse_unknown(inner, &path, origin)?,
                    other => return Err(not_a_table(path, other, origin)),
                }
                continue;
            }
        }
        // Of a table that does not exist, the keys in it say best what was meant.
        let meant = match value {
            Value::Dict(_, inner) if table.is_empty() => inner
                .keys()
                .next()
                .map_or_else(|| path.clone(), |first| format!("{path}.{first}")),
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

fn not_a_table(table: String, value: &Value, origin: &Origin) -> ConfigError {
    let known: Vec<&str> = key::all()
        .filter(|key| key.table() == table)
        .map(Key::name)
        .collect();
    ConfigError::BadValue {
        value: super::settings::show(value),
        origin: origin.clone(),
        rule: format!("must be a table with keys such as {}", known.join(", ")),
        key: table,
    }
}

fn unknown_variable(name: String) -> ConfigError {
    // The path may have been spelt in full where the flag's name is the one to use, or the key is not for variables.
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
