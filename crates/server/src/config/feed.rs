//! The source of market data: `feed.kind` and `feed.files`.

use std::fs::{self, File};
use std::io;
use std::mem::discriminant;
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::key::{Setting, Shape};
use super::settings::Settings;
use tickwire_lane::names::positions;

/// The key of the recordings.
const FILES: &str = "feed.files";

/// The source of ticks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedSource {
    /// There is no feed; only publishers send data.
    None,
    /// The simulated market.
    Sim,
    /// Recordings, or directories of journals, that are replayed together; at least one.
    Replay(Vec<PathBuf>),
}

impl Setting for FeedSource {
    const SHAPE: Shape = Shape::Choice(&["none", "sim", "replay"]);

    /// Also reads `feed.files`.
    fn read(settings: &Settings, path: &'static str) -> Result<Self, ConfigError> {
        let files = settings.texts(FILES)?;
        if files.iter().any(|file| file.is_empty()) {
            return Err(settings.refuse(FILES, "a file's name is empty"));
        }
        let source = match settings.word(path, Self::SHAPE)? {
            "none" => Self::None,
            "sim" => Self::Sim,
            _ => Self::Replay(files.iter().map(PathBuf::from).collect()),
        };
        if let Self::Replay(files) = &source {
            if files.is_empty() {
                let rule = "replay needs a recording, as in replay:FILE or feed.files";
                return Err(settings.refuse(path, rule));
            }
            for file in files {
                readable(file).map_err(|source| ConfigError::RecordingUnreadable {
                    origin: settings.origin(FILES),
                    path: file.clone(),
                    source,
                })?;
            }
        } else {
            settings.refuse_beside_if(!files.is_empty(), FILES, "must be empty beside", path)?;
        }
        Ok(source)
    }

    fn differing(&self, other: &Self, path: &'static str) -> Option<&'static str> {
        let both_replay = discriminant(self) == discriminant(other);
        (self != other).then_some(if both_replay { FILES } else { path })
    }
}

/// Checks that the file at `path` can be opened for reading, or that there is a journal.
fn readable(path: &Path) -> io::Result<()> {
    let kind = fs::metadata(path)?;
    if kind.is_dir() {
        let names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default()));
        let names: Vec<String> = names.collect::<io::Result<_>>()?;
        if positions(&names).0.is_empty() {
            return Err(io::Error::other("is a directory without a segment of a journal"));
        }
    }
    // Opening a pipe would wait for its writer.
    if kind.is_file() {
        File::open(path)?;
    }
    Ok(())
}
