//! What a setting is: its key, the type that it is read into, and the macro `rows` that makes both, and a field, of one row.
//!
//! Validation, the unknown-key check, the names of flags and environment variables, what a reload may change, the example file and
//! the table of CONFIGURATION.md all come from the rows, so that none of them can differ from the others.

use super::error::ConfigError;
use super::settings::Settings;
use super::table;

/// What a key may hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Shape {
    /// A whole number between two bounds, both allowed.
    Integer { min: u64, max: u64 },
    /// `true` or `false`.
    Bool,
    /// A finite number above 0.
    Positive,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// An IP address or a name, and a port.
    Address,
    /// A text, and what it is.
    Text(&'static str),
    /// A list of texts, and what they are.
    Texts(&'static str),
    /// A table, or a list of tables, which only the file can set, and their fields.
    Tables(&'static str, &'static str),
}

/// What a key holds when nothing sets it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Preset {
    Integer(u64),
    Number(f64),
    Text(&'static str),
    Bool(bool),
    /// A list of texts.
    List(&'static [&'static str]),
    /// Nothing: the broker decides as described. The other is what an example may show, as TOML has it.
    Unset(&'static str, &'static str),
}

/// One setting. A row begins with what it holds when nothing sets it, and [`Key::named`] completes it.
#[derive(Debug)]
pub(super) struct Key {
    /// Where it stands in the file, with a dot between table and key.
    pub(super) path: &'static str,
    pub(super) shape: Shape,
    pub(super) preset: Preset,
    pub(super) meaning: &'static str,
    /// The command line's name for it, and what help calls its value.
    pub(super) flag: Option<(&'static str, &'static str)>,
    /// Whether it is read at the start alone; others hold after a reload too.
    pub(super) restart: bool,
    file_only: bool,
    range: (u64, u64),
}

/// A row of a whole number.
pub(super) const fn int(number: u64) -> Key {
    Key::new(Preset::Integer(number))
}

/// A row of a text, a word or an address.
pub(super) const fn text(text: &'static str) -> Key {
    Key::new(Preset::Text(text))
}

/// A row of `true` or `false`.
pub(super) const fn truth(truth: bool) -> Key {
    Key::new(Preset::Bool(truth))
}

/// A row of a list.
pub(super) const fn list(items: &'static [&'static str]) -> Key {
    Key::new(Preset::List(items))
}

/// A row of what the broker decides as described, with an example as TOML has it.
pub(super) const fn unset(decided: &'static str, example: &'static str) -> Key {
    Key::new(Preset::Unset(decided, example))
}

impl Key {
    /// A row of what is `preset` when nothing sets it.
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

    /// The bounds of a whole number, both allowed.
    pub(super) const fn between(mut self, min: u64, max: u64) -> Self {
        self.range = (min, max);
        self
    }

    /// The command line has this name for it, and help this one for its value.
    pub(super) const fn flag(mut self, flag: &'static str, value: &'static str) -> Self {
        self.flag = Some((flag, value));
        self
    }

    /// Only the file can set it.
    pub(super) const fn file_only(mut self) -> Self {
        self.file_only = true;
        self
    }

    /// It is read at the start alone.
    pub(super) const fn restart(mut self) -> Self {
        self.restart = true;
        self
    }

    /// The whole key, of a type with this `shape`.
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

    /// The environment's name for it, if that may set it: the flag's name where there is a flag, else the path.
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

    /// The table it stands in; empty at the top.
    pub(super) fn table(&self) -> &'static str {
        self.path.split_once('.').map_or("", |(table, _)| table)
    }

    /// Its name within the table.
    pub(super) fn name(&self) -> &'static str {
        self.path.split_once('.').map_or(self.path, |(_, name)| name)
    }
}

/// All settings, those of a table side by side, in the order of the documentation: lists of tables stand at the end.
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
    /// What its key may hold; the bounds of a whole number are those of its row.
    const SHAPE: Shape;

    /// The value at `path`, or its refusal, which names key, value, origin and rule.
    fn read(settings: &Settings, path: &'static str) -> Result<Self, ConfigError>;

    /// The key in which this value and another one differ, if they do.
    fn differing(&self, other: &Self, path: &'static str) -> Option<&'static str> {
        (self != other).then_some(path)
    }
}

/// A setting that may be left to the broker.
impl<T: Setting> Setting for Option<T> {
    const SHAPE: Shape = T::SHAPE;

    fn read(settings: &Settings, path: &'static str) -> Result<Self, ConfigError> {
        let is_set = settings.value(path).is_some();
        is_set.then(|| T::read(settings, path)).transpose()
    }
}

/// A table of settings.
pub(super) trait Table: Sized {
    /// Its keys, without those of the tables in it.
    const KEYS: &'static [Key];

    /// The table, each value by itself and beside the others checked.
    fn read(settings: &Settings) -> Result<Self, ConfigError>;

    /// The keys in which this table and another one differ.
    fn differing(&self, other: &Self) -> Vec<&'static str>;
}

/// Makes a table of rows. A row has a field and its type, what it is when nothing sets it and more of the [`Key`], and its meaning. The field is called as the
/// key is, or `as` says the key's name; a `+` adds a key that another row's type reads. `checked` names a function that holds values
/// against each other.
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
        // The lists of rules.
        tables.truncate(tables.len() - 2);
        tables.dedup();
        let expected = "|log|limits|heartbeat|drain|socket|tls|proxy|auth|feed|compression|test".split('|');
        assert_eq!(tables, expected.collect::<Vec<_>>());
    }
}
