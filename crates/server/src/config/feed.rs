//! Where market data comes from: the key table `[feed]`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::settings::Settings;

/// The key table `[feed]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Feed {
    /// Where ticks come from.
    pub source: FeedSource,
    /// Instruments of the simulated market.
    pub symbols: u32,
    /// Ticks per second of the simulated market, over all symbols.
    pub rate: u32,
    /// Seed of the simulated market.
    pub seed: u64,
    /// How many times faster than recorded a replay runs; finite and above 0.
    pub speed: f64,
    /// When the feed starts.
    pub start: FeedStart,
    /// Silence of the feed in milliseconds after which the broker is not ready.
    pub silent_ms: u64,
}

/// Where ticks come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedSource {
    /// From publishers only.
    None,
    /// From the simulated market.
    Sim,
    /// From recordings, replayed together; at least one.
    Replay(Vec<PathBuf>),
}

/// When the feed starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedStart {
    /// With the broker.
    Now,
    /// With the first subscription.
    OnSubscribe,
}

impl Feed {
    pub(super) fn read(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            source: FeedSource::read(settings)?,
            symbols: settings.integer("feed.symbols")?,
            rate: settings.integer("feed.rate")?,
            seed: settings.integer("feed.seed")?,
            speed: settings.positive("feed.speed")?,
            start: settings.choice(
                "feed.start",
                &[("now", FeedStart::Now), ("on-subscribe", FeedStart::OnSubscribe)],
            )?,
            silent_ms: settings.integer("feed.silent_ms")?,
        })
    }
}

impl FeedSource {
    fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let files = settings.files("feed.files")?;
        let words = [
            ("none", Self::None),
            ("sim", Self::Sim),
            ("replay", Self::Replay(files.clone())),
        ];
        let source = settings.choice("feed.kind", &words)?;
        if let Self::Replay(_) = source {
            if files.is_empty() {
                let rule = "replay needs a recording, as in replay:FILE or feed.files";
                return Err(settings.refuse("feed.kind", rule));
            }
            for path in files {
                readable(&path).map_err(|source| ConfigError::RecordingUnreadable {
                    origin: settings.origin("feed.files"),
                    path,
                    source,
                })?;
            }
        } else if !files.is_empty() {
            return Err(settings.refuse_beside("feed.files", "must be empty beside", "feed.kind"));
        }
        Ok(source)
    }
}

/// Whether the file at `path` can be opened for reading.
fn readable(path: &Path) -> io::Result<()> {
    let kind = fs::metadata(path)?;
    if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    // Opening a pipe would wait for its writer.
    if kind.is_file() {
        File::open(path)?;
    }
    Ok(())
}
