//! The parts of a setting: its key, the type that it is read into, and the macro `rows`, which makes both and a field
//! from one row.
//!
//! Validation, the check for unknown keys, the names of flags and environment variables, the effect of a reload, the
//! example file and the table of CONFIGURATION.md all come from the rows, so that none of them can differ from the
//! others.

use super::error::ConfigError;
use super::settings::Settings;
use super::table;

/// The values that a key may hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Shape {
    /// A whole number between two bounds, which are allowed, too.
    Integer { min: u64, max: u64 },
    /// `true` or `false`.
    Bool,
    /// A finite number above 0.
    Positive,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// An IP address or a name, and a port.
    Address,
    /// A text, with a description of it.
    Text(&'static str),
    /// A list of texts, with a description of them.
    Texts(&'static str),
    /// A table or a list of tables, which only the file can set, with a description of their fields.
    Tables(&'static str, &'static str),
}

/// The default of a key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Preset {
    Integer(u64),
    Number(f64),
    Text(&'static str),
    Bool(bool),
    /// A list of texts.
    List(&'static [&'static str]),
    /// There is none: the broker decides as the first text describes. The second is an example in TOML.
    Unset(&'static str, &'static str),
}

/// One setting. A row begins with the default, and [`Key::named`] completes it.
#[derive(Debug)]
pub(super) struct Key {
    /// Its path in the file: table, dot, key.
    pub(super) path: &'static str,
    pub(super) shape: Shape,
    pub(super) preset: Preset,
    pub(super) meaning: &'static str,
    /// The flag of the command line, and the name of its value in the help.
    pub(super) flag: Option<(&'static str, &'static str)>,
    /// Whether it is read only at the start. A reload changes the others.
    pub(super) restart: bool,
    file_only: bool,
    range: (u64, u64),
}

/// A row with a whole number.
pub(super) const fn int(number: u64) -> Key {
    Key::new(Preset::Integer(number))
}

/// A row with a text, a word or an address.
pub(super) const fn text(text: &'static str) -> Key {
    Key::new(Preset::Text(text))
}

/// A row with a boolean.
pub(super) const fn truth(truth: bool) -> Key {
    Key::new(Preset::Bool(truth))
}

/// A row with a list.
pub(super) const fn list(items: &'static [&'static str]) -> Key {
    Key::new(Preset::List(items))
}

/// A row without a default: `decided` says how the broker decides, and `example` is a value in TOML.
pub(super) const fn unset(decided: &'static str, example: &'static str) -> Key {
    Key::new(Preset::Unset(decided, example))
}

impl Key {
    /// A row with the default `preset`.
    pub(super) const fn new(preset: Preset) -> Self {
        Self {
            path: "",
            shape: Shape::Bool,
            preset,
            meaning: "",
            flag: None,
            restart: false,
            file_only: false,
            range: (0, 0),
        }
    }

    /// Sets the bounds of a whole number, which are allowed, too.
    pub(super) const fn between(mut self, min: u64, max: u64) -> Self {
        self.range = (min, max);
        self
    }

    /// Sets the flag of the command line, and the name of its value in the help.
    pub(super) const fn flag(mut self, flag: &'static str, value: &'static str) -> Self {
        self.flag = Some((flag, value));
        self
    }

    /// Makes the key one that only the file can set.
    pub(super) const fn file_only(mut self) -> Self {
        self.file_only = true;
        self
    }

    /// Makes the key one that is read only at the start.
    pub(super) const fn restart(mut self) -> Self {
        self.restart = true;
        self
    }

    /// Completes the key, for a type with this `shape`.
    pub(super) const fn named(mut self, path: &'static str, shape: Shape, meaning: &'static str) -> Self {
        let (min, max) = self.range;
        self.shape = match shape {
            Shape::Integer { .. } => Shape::Integer { min, max },
            shape => shape,
        };
        self.path = path;
        self.meaning = meaning;
        self
    }

    /// The environment variable, if there is one. It is named after the flag if there is a flag, otherwise after the
    /// path.
    pub(super) fn variable(&self) -> Option<String> {
        if self.file_only {
            return None;
        }
        let name = match self.flag {
            Some((flag, _)) => flag.trim_start_matches('-').replace('-', "_"),
            None => self.path.replace('.', "__"),
        };
        Some(format!("TICKWIRE_{}", name.to_ascii_uppercase()))
    }

    /// Whether it holds tables.
    pub(super) const fn is_tables(&self) -> bool {
        matches!(self.shape, Shape::Tables(..))
    }

    /// The table of the key; empty at the top of the file.
    pub(super) fn table(&self) -> &'static str {
        self.path.split_once('.').map_or("", |(table, _)| table)
    }

    /// The name of the key in its table.
    pub(super) fn name(&self) -> &'static str {
        self.path.split_once('.').map_or(self.path, |(_, name)| name)
    }
}

/// All settings in the order of the documentation, with those of a table side by side. Lists of tables come last.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    let of_top = |rules: bool| table::TOP.iter().filter(move |key| key.is_tables() == rules);
    let tables = table::TABLES.iter().copied().flatten();
    of_top(false).chain(tables).chain(of_top(true))
}

/// The key at `path`.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    all().find(|key| key.path == path)
}

/// A type that a setting is read into.
pub(super) trait Setting: Sized + PartialEq {
    /// The values that its key may hold. The row of the key gives the bounds of a whole number.
    const SHAPE: Shape;

    /// Reads the value at `path`. A refusal names the key, the value, its origin and the rule.
    fn read(settings: &Settings, path: &'static str) -> Result<Self, ConfigError>;

    /// The key, if this value and the other one differ.
    fn differing(&self, other: &Self, path: &'static str) -> Option<&'static str> {
        (self != other).then_some(path)
    }
}

/// A setting that may be missing, so that the broker decides.
impl<T: Setting> Setting for Option<T> {
    const SHAPE: Shape = T::SHAPE;

    fn read(settings: &Settings, path: &'static str) -> Result<Self, ConfigError> {
        let is_set = settings.value(path).is_some();
        is_set.then(|| T::read(settings, path)).transpose()
    }
}

/// A table of settings.
pub(super) trait Table: Sized {
    /// Its keys, without those of its inner tables.
    const KEYS: &'static [Key];

    /// Reads the table and checks each value by itself and beside the others.
    fn read(settings: &Settings) -> Result<Self, ConfigError>;

    /// The keys in which this table and another one differ.
    fn differing(&self, other: &Self) -> Vec<&'static str>;
}

/// Makes a table of rows. A row has a field with its type, the default with other parts of the [`Key`], and the
/// meaning. The field has the name of the key; `as` gives the key another name. A `+` adds a key that another row's
/// type reads. `checked` names a function that checks values beside each other.
macro_rules! rows {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $name:ident in $prefix:literal $(checked $check:path)? {
            $($field:ident $(as $key:literal)? : $type:ty = $row:expr, $meaning:literal; $(+ $also:expr;)*)*
        }
        $(tables { $($(#[$about:meta])* $table:ident: $part:ty,)* })?
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, PartialEq)]
        $visibility struct $name {
            $(#[doc = $meaning] pub $field: $type,)*
            $($($(#[$about])* pub $table: $part,)*)?
        }

        impl Table for $name {
            const KEYS: &'static [Key] = &[$(
                $row.named(rows!(@path $prefix $field $($key)?), <$type as Setting>::SHAPE, $meaning),
                $($also,)*
            )*];

            fn read(settings: &Settings) -> Result<Self, ConfigError> {
                let table = Self {
                    $($field: Setting::read(settings, rows!(@path $prefix $field $($key)?))?,)*
                    $($($table: Table::read(settings)?,)*)?
                };
                $($check(&table, settings)?;)?
                Ok(table)
            }

            fn differing(&self, other: &Self) -> Vec<&'static str> {
                let mut differing = Vec::new();
                $(differing.extend(self.$field.differing(&other.$field, rows!(@path $prefix $field $($key)?)));)*
                $($(differing.extend(self.$table.differing(&other.$table));)*)?
                differing
            }
        }
    };
    (@path $prefix:literal $field:ident) => { concat!($prefix, stringify!($field)) };
    (@path $prefix:literal $field:ident $key:literal) => { concat!($prefix, $key) };
}
pub(super) use rows;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_defaults_in_range() {
        let mut names = HashSet::new();
        for key in all() {
            assert!(names.insert(key.path.to_owned()), "{} twice", key.path);
            assert!(key.variable().is_none_or(|v| names.insert(v)), "{}", key.path);
            if let Shape::Integer { min, max } = key.shape {
                assert!(min < max && i64::try_from(max).is_ok(), "{}", key.path);
                if let Preset::Integer(preset) = key.preset {
                    assert!((min..=max).contains(&preset), "{}", key.path);
                }
            }
            if let (Shape::Choice(words), Preset::Text(preset)) = (key.shape, key.preset) {
                assert!(words.contains(&preset), "{}", key.path);
            }
        }
    }

    #[test]
    fn keys_of_a_table_stand_side_by_side() {
        let mut tables: Vec<&str> = all().map(Key::table).collect();
        // These are the lists of rules.
        tables.truncate(tables.len() - 5);
        tables.dedup();
        let expected =
            "|log|limits|heartbeat|publish|drain|socket|tls|proxy|auth|console|admin|accounting|feed|journal|cluster|compression|test"
                .split('|');
        assert_eq!(tables, expected.collect::<Vec<_>>());
    }
}
