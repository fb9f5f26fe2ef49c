//! The files of a journal, read one after the other, with what is wrong with them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use tickwire_lane::names::{checkpoint_name, positions, segment_name};
use tickwire_lane::{Content, Declaration, Entry, Follower, Item, Part, Place, SegmentReader, Start};
use tickwire_wire::Micros;

use crate::failure::Failure;

/// A damaged place of a file.
pub(super) struct Damage {
    /// Where it is, in bytes.
    pub(super) offset: usize,
    /// What is wrong there.
    pub(super) what: String,
}

/// What a segment holds.
#[derive(Default)]
pub(super) struct SegmentReport {
    pub(super) entries: u64,
    pub(super) messages: u64,
    /// The times of its first message and of its last one.
    pub(super) times: Option<(Micros, Micros)>,
    pub(super) damages: Vec<Damage>,
    /// Where it ends in the middle of an entry, if it does.
    pub(super) torn: Option<usize>,
}

/// The files of a journal in their order.
pub(super) struct JournalFiles {
    dir: PathBuf,
    pub(super) segments: Vec<String>,
    pub(super) checkpoints: Vec<String>,
}

impl JournalFiles {
    /// The files of the journal in `dir`.
    pub(super) fn of(dir: &Path) -> Result<Self, Failure> {
        let named = || format!("cannot read {}", dir.display());
        let names = fs::read_dir(dir).with_context(named)?;
        // No file of a journal has a name that is not UTF-8.
        let names = names.map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default()));
        let names: Vec<String> = names.collect::<io::Result<_>>().with_context(named)?;
        let (segments, checkpoints) = positions(&names);
        if segments.is_empty() && checkpoints.is_empty() {
            return Err(anyhow!("{} has no journal", dir.display()).into());
        }
        Ok(Self {
            dir: dir.to_owned(),
            segments: segments.into_iter().map(segment_name).collect(),
            checkpoints: checkpoints.into_iter().map(checkpoint_name).collect(),
        })
    }

    /// The bytes of a file.
    pub(super) fn read(&self, name: &str) -> Result<Vec<u8>, Failure> {
        let path = self.dir.join(name);
        Ok(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?)
    }
}

/// Reads segments in their order.
pub(super) struct Reading {
    follower: Follower,
}

impl Reading {
    pub(super) fn new() -> Self {
        Self {
            follower: Follower::new(Start::Anywhere, Place::default(), None),
        }
    }

    /// Reads the next segment, and calls `visit` with each item and its topic.
    pub(super) fn segment(
        &mut self,
        bytes: &[u8],
        mut visit: impl FnMut(&Declaration, &Item<'_>) -> Result<(), Failure>,
    ) -> Result<SegmentReport, Failure> {
        let mut report = SegmentReport::default();
        let parts = match SegmentReader::new(bytes) {
            Ok(Some((head, parts))) => {
                if let Err(error) = self.follower.begin_segment(&head) {
                    report.damage(0, error.to_string());
                    // What follows is judged from here on.
                    *self = Self::new();
                    if let Err(error) = self.follower.begin_segment(&head) {
                        report.damage(0, error.to_string());
                        return Ok(report);
                    }
                }
                parts
            }
            Ok(None) => {
                report.torn = Some(0);
                return Ok(report);
            }
            Err((offset, what)) => {
                report.damage(offset, what);
                return Ok(report);
            }
        };
        let mut declared: Vec<Declaration> = Vec::new();
        for part in parts {
            match part {
                Part::Entry { offset, frame } => match Entry::read(frame) {
                    Ok(entry) => {
                        self.entry(&mut report, (offset, frame), &entry, &mut declared, &mut visit)?;
                    }
                    Err(error) => report.damage(offset, error.to_string()),
                },
                Part::Torn { offset } => report.torn = Some(offset),
                Part::Damaged { offset, error, next } => {
                    report.damage(offset, format!("{error}; the next valid entry is at byte {next}"));
                }
            }
        }
        Ok(report)
    }

    fn entry(
        &mut self,
        report: &mut SegmentReport,
        (offset, frame): (usize, &[u8]),
        entry: &Entry<'_>,
        declared: &mut Vec<Declaration>,
        visit: &mut impl FnMut(&Declaration, &Item<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let follows = self.follower.entry(frame, entry, |_, _| {});
        // Behind damage nothing follows on what was before it. That was said already.
        if let (Err(error), true) = (&follows, report.damages.is_empty()) {
            report.damage(offset, error.to_string());
        }
        declared.extend(entry.declared.iter().cloned());
        report.entries += 1;
        for item in &entry.items {
            if follows.is_ok()
                && let Err(error) = self.follower.item(item)
            {
                report.damage(offset, error.to_string());
            }
            let Some(topic) = declared.get(item.topic.0 as usize) else {
                continue; // its declaration was in a damaged entry
            };
            report.messages += u64::from(!matches!(item.content, Content::End(_)));
            let first = report.times.map_or(item.ts, |(first, _)| first);
            report.times = Some((first, item.ts));
            visit(topic, item)?;
        }
        Ok(())
    }
}

impl SegmentReport {
    fn damage(&mut self, offset: usize, what: String) {
        self.damages.push(Damage { offset, what });
    }
}
