//! The settings of the journal that are no numbers or words.

use std::path::PathBuf;

use figment::value::Value;

use super::choices::JournalSync;
use super::error::ConfigError;
use super::key::{Setting, Shape};
use super::settings::Settings;
use super::table::JournalSettings;

/// A directory in which the broker keeps files. It need not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir(pub PathBuf);

impl Setting for StateDir {
    const SHAPE: Shape = Shape::Text("directory");

    fn read(settings: &Settings, path: &'static str) -> Result<Self, ConfigError> {
        let name = settings.value(path).and_then(Value::as_str);
        let name = name.filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| settings.refuse(path, "must be the name of a directory"))?;
        Ok(Self(PathBuf::from(name)))
    }
}

impl JournalSettings {
    /// The time in microseconds between two syncs, if there are any beside those with each entry.
    #[must_use]
    pub fn sync_us(&self) -> Option<u64> {
        (self.sync == JournalSync::Interval).then_some(self.sync_ms * 1_000)
    }
}
