//! Whether and how messages are compressed: the key table `[compression]`.

use tickwire_wire::deflate;

use super::error::ConfigError;
use super::settings::Settings;

/// The key table `[compression]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    /// Whether connections that offer permessage-deflate get it.
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
