//! Whether and how messages are compressed: the key table `[compression]`.

use tickwire_wire::{deflate, limits};

use super::error::ConfigError;
use super::keys::{GIB, Key, Preset, Shape};
use super::settings::Settings;

pub(super) const ENABLED: Key = Key::new(
    "compression.enabled",
    Shape::Bool,
    Preset::Bool(true),
    "Whether connections that offer permessage-deflate get it, and gzip is taken and given over HTTP",
);
pub(super) const LEVEL: Key = Key::integer(
    "compression.level",
    1,
    9,
    limits::DEFLATE_LEVEL as u64,
    "How hard messages are compressed: 1 is the fastest, 9 makes the smallest",
);
pub(super) const THRESHOLD_BYTES: Key = Key::integer(
    "compression.threshold_bytes",
    0,
    GIB,
    limits::DEFLATE_THRESHOLD_BYTES as u64,
    "Messages with fewer bytes are never compressed",
);

/// The key table `[compression]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    /// Whether connections that offer permessage-deflate get it, and gzip is taken and given over HTTP.
    pub enabled: bool,
    /// How hard messages are compressed, 1 to 9.
    pub level: u8,
    /// Bytes of a message below which it is never compressed.
    pub threshold_bytes: usize,
}

impl Compression {
    pub(super) fn read(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            enabled: settings.boolean("compression.enabled")?,
            level: settings.integer("compression.level")?,
            threshold_bytes: settings.integer("compression.threshold_bytes")?,
        })
    }

    /// What a compressor is made with.
    #[must_use]
    pub const fn settings(self) -> deflate::Settings {
        deflate::Settings {
            level: self.level,
            threshold_bytes: self.threshold_bytes,
        }
    }
}
