//! What is wrong with a configuration, and where each value came from.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command line, as it is written there.
    Flag(&'static str),
    /// An environment variable.
    Variable(String),
    /// The configuration file.
    File(PathBuf),
    /// Nothing set it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => f.write_str(name),
            Self::Variable(name) => write!(f, "environment {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Default => f.write_str("the defaults"),
        }
    }
}

/// Why there is no configuration to run with. The first fault that was found.
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
        /// Where it stands.
        origin: Origin,
        /// The known key most like it.
        nearest: String,
    },
    /// A `TICKWIRE_*` variable that is no setting.
    #[error("environment variable {name} is no setting; the nearest is {nearest}")]
    UnknownVariable {
        /// The variable.
        name: String,
        /// The known variable most like it.
        nearest: String,
    },
    /// A `TICKWIRE_*` variable for a key that only the file can set.
    #[error("environment variable {name}: {key} can only be set in the configuration file")]
    NotAVariable {
        /// The variable.
        name: String,
        /// The key.
        key: &'static str,
    },
    /// A value that the key does not allow, by itself or beside another key's.
    #[error("{key} = {value} (from {origin}): {rule}")]
    BadValue {
        /// The key, with its table.
        key: String,
        /// The value as it was given.
        value: String,
        /// Where it came from.
        origin: Origin,
        /// What is allowed: "must be …".
        rule: String,
    },
    /// A recording that cannot be read.
    #[error("feed.files names {} (from {origin}): {source}", path.display())]
    RecordingUnreadable {
        /// The recording.
        path: PathBuf,
        /// Where its name came from.
        origin: Origin,
        /// What the system said.
        source: io::Error,
    },
}
