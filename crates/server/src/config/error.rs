//! The faults of a configuration, and the origin of each value.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// The origin of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueOrigin {
    /// A flag of the command line, with its dashes.
    Flag(&'static str),
    /// An environment variable.
    Variable(String),
    /// The configuration file.
    File(PathBuf),
    /// No source has set it.
    Default,
}

impl fmt::Display for ValueOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => f.write_str(name),
            Self::Variable(name) => write!(f, "environment {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Default => f.write_str("the defaults"),
        }
    }
}

/// Why there is no configuration to run with. It is the first fault that was found.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The configuration file cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    FileUnreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The configuration file is not TOML.
    #[error("{} is not TOML: {message}", path.display())]
    FileMalformed {
        /// The file.
        path: PathBuf,
        /// The parser's message, with line and column.
        message: String,
    },
    /// The file has a key that does not exist.
    #[error("{key} (from {origin}) is no setting; the nearest is {nearest}")]
    UnknownKey {
        /// The key, with its table.
        key: String,
        /// The origin of the key.
        origin: ValueOrigin,
        /// The most similar known key.
        nearest: String,
    },
    /// A `TICKWIRE_*` variable is not a setting.
    #[error("environment variable {name} is no setting; the nearest is {nearest}")]
    UnknownVariable {
        /// The variable.
        name: String,
        /// The most similar known variable.
        nearest: String,
    },
    /// A `TICKWIRE_*` variable names a key that only the file can set.
    #[error("environment variable {name}: {key} can only be set in the configuration file")]
    NotAVariable {
        /// The variable.
        name: String,
        /// The key.
        key: &'static str,
    },
    /// A key does not allow a value, by itself or beside the value of another key.
    #[error("{key} = {value} (from {origin}): {rule}")]
    BadValue {
        /// The key, with its table.
        key: String,
        /// The value as it was written.
        value: String,
        /// The origin of the value.
        origin: ValueOrigin,
        /// What is allowed: "must be …".
        rule: String,
    },
    /// A recording cannot be read.
    #[error("feed.files names {} (from {origin}): {source}", path.display())]
    RecordingUnreadable {
        /// The recording.
        path: PathBuf,
        /// The origin of its name.
        origin: ValueOrigin,
        /// What the system said.
        source: io::Error,
    },
}
