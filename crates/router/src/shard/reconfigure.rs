//! How a shard takes other settings while it runs.

use tickwire_wire::deflate::{Deflater, Settings as DeflateSettings};

use super::Shard;
use crate::settings::ShardSettings;

impl Shard {
    /// The same shard with these settings of compression in place of the defaults.
    #[must_use]
    pub fn with_compression(mut self, settings: DeflateSettings) -> Self {
        self.deflater = Deflater::new(settings);
        self
    }

    /// Applies other settings from now on. Existing sessions get them at their next check; a limit may then differ from
    /// the one in their `welcome`. Messages that are compressed already stay as they are.
    pub fn reconfigure(&mut self, settings: ShardSettings, compression: DeflateSettings) {
        self.settings = settings;
        self.deflater = Deflater::new(compression);
        for session in self.sessions.iter_mut() {
            session.reader.limit(self.settings.live_bytes_end());
        }
    }
}
