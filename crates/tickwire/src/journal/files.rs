//! The files of a journal, or a recording in its form, read one after the other, with what is wrong with them.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use tickwire_lane::names::{checkpoint_name, positions, segment_name};
use tickwire_lane::{
    BlockPart, BlockReader, Content, Declaration, Entry, Follower, Item, Part, Place, SegmentReader, Start,
};
use tickwire_wire::Micros;

use crate::failure::Failure;

/// The bytes that tell a recording in the form of a journal from others.
const MAGIC_BYTES: u64 = 8;

/// A damaged place of a file.
pub(super) struct Damage {
    /// Where it is, in bytes. What is in a block is where the block begins.
    pub(super) offset: u64,
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
    pub(super) torn: Option<u64>,
}

/// Sees the items of a journal with their topics.
pub(super) type Visit<'v> = &'v mut dyn FnMut(&Declaration, &Item<'_>) -> Result<(), Failure>;

/// The files of a journal in their order.
pub(super) struct JournalFiles {
    dir: PathBuf,
    /// Whether it is a recording: its file stands for a segment.
    pub(super) is_recording: bool,
    pub(super) segments: Vec<String>,
    pub(super) checkpoints: Vec<String>,
}

impl JournalFiles {
    /// The files of the journal in `dir`, which may also be the file of a recording.
    pub(super) fn of(dir: &Path) -> Result<Self, Failure> {
        if dir.is_file() {
            return Self::of_recording(dir);
        }
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
            is_recording: false,
            segments: segments.into_iter().map(segment_name).collect(),
            checkpoints: checkpoints.into_iter().map(checkpoint_name).collect(),
        })
    }

    fn of_recording(path: &Path) -> Result<Self, Failure> {
        let mut magic = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MAGIC_BYTES).read_to_end(&mut magic));
        read.with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.filter(|_| BlockReader::<File>::begins(&magic));
        let name = name
            .ok_or_else(|| anyhow!("{} is no recording in the form of a journal", path.display()))?
            .to_owned();
        Ok(Self {
            dir: path.parent().unwrap_or(Path::new("")).to_owned(),
            is_recording: true,
            segments: vec![name],
            checkpoints: Vec::new(),
        })
    }

    /// The bytes of a file on the disk.
    pub(super) fn length(&self, name: &str) -> Result<u64, Failure> {
        let path = self.dir.join(name);
        let metadata = fs::metadata(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(metadata.len())
    }

    /// Reads the next segment, or the recording, and calls `visit` with each item and its topic.
    pub(super) fn read_on(
        &self,
        reading: &mut Reading,
        name: &str,
        visit: Visit<'_>,
    ) -> Result<SegmentReport, Failure> {
        if !self.is_recording {
            return reading.segment(&self.read(name)?, visit);
        }
        let path = self.dir.join(name);
        let named = || format!("cannot read {}", path.display());
        let mut blocks = BlockReader::new(File::open(&path).with_context(named)?);
        let mut report = SegmentReport::default();
        while let Some(part) = blocks.next_part().with_context(named)? {
            match part {
                BlockPart::Block { offset, content } => {
                    reading.block(&mut report, offset, &content, visit)?;
                }
                BlockPart::Torn { offset } => report.torn = Some(offset),
                BlockPart::Damaged { offset, error, next } => {
                    report.damage(offset, format!("{error}; the next valid block is at byte {next}"));
                }
            }
        }
        Ok(report)
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
    /// The topics that the segment has declared.
    declared: Vec<Declaration>,
}

impl Reading {
    pub(super) fn new() -> Self {
        Self {
            follower: Follower::new(Start::Anywhere, Place::default(), None),
            declared: Vec::new(),
        }
    }

    /// Reads the next segment.
    fn segment(&mut self, bytes: &[u8], visit: Visit<'_>) -> Result<SegmentReport, Failure> {
        let mut report = SegmentReport::default();
        if let Some(parts) = self.begin(&mut report, 0, bytes) {
            self.parts(&mut report, parts, |at| at as u64, visit)?;
        }
        Ok(report)
    }

    /// Reads the content of a block that begins at `offset` of its file.
    fn block(
        &mut self,
        report: &mut SegmentReport,
        offset: u64,
        content: &[u8],
        visit: Visit<'_>,
    ) -> Result<(), Failure> {
        let parts = match SegmentReader::has_head(content) {
            true => self.begin(report, offset, content),
            false => Some(SegmentReader::behind_head(content)),
        };
        match parts {
            Some(parts) => self.parts(report, parts, |_| offset, visit),
            None => Ok(()),
        }
    }

    /// Goes on with the segment that begins with `bytes`, which are at `offset` of their file. `None` if it cannot be read.
    fn begin<'b>(
        &mut self,
        report: &mut SegmentReport,
        offset: u64,
        bytes: &'b [u8],
    ) -> Option<SegmentReader<'b>> {
        self.declared.clear();
        match SegmentReader::new(bytes) {
            Ok(Some((head, parts))) => {
                if let Err(error) = self.follower.begin_segment(&head) {
                    report.damage(offset, error.to_string());
                    // What follows is judged from here on.
                    *self = Self::new();
                    if let Err(error) = self.follower.begin_segment(&head) {
                        report.damage(offset, error.to_string());
                        return None;
                    }
                }
                Some(parts)
            }
            Ok(None) => {
                report.torn = Some(offset);
                None
            }
            Err((at, what)) => {
                report.damage(offset + at as u64, what);
                None
            }
        }
    }

    fn parts(
        &mut self,
        report: &mut SegmentReport,
        parts: SegmentReader<'_>,
        place: impl Fn(usize) -> u64,
        visit: Visit<'_>,
    ) -> Result<(), Failure> {
        for part in parts {
            match part {
                Part::Entry { offset, frame } => match Entry::read(frame) {
                    Ok(entry) => self.entry(report, (place(offset), frame), &entry, visit)?,
                    Err(error) => report.damage(place(offset), error.to_string()),
                },
                Part::Torn { offset } => report.torn = Some(place(offset)),
                Part::Damaged { offset, error, next } => {
                    let next = place(next);
                    report.damage(
                        place(offset),
                        format!("{error}; the next valid entry is at byte {next}"),
                    );
                }
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        report: &mut SegmentReport,
        (offset, frame): (u64, &[u8]),
        entry: &Entry<'_>,
        visit: Visit<'_>,
    ) -> Result<(), Failure> {
        let follows = self.follower.entry(frame, entry, |_, _| {});
        // Behind damage nothing follows on what was before it. That was said already.
        if let (Err(error), true) = (&follows, report.damages.is_empty()) {
            report.damage(offset, error.to_string());
        }
        self.declared.extend(entry.declared.iter().cloned());
        report.entries += 1;
        for item in &entry.items {
            if follows.is_ok()
                && let Err(error) = self.follower.item(item)
            {
                report.damage(offset, error.to_string());
            }
            let Some(topic) = self.declared.get(item.topic.0 as usize) else {
                continue; // its declaration was in a damaged entry
            };
            report.messages += u64::from(!matches!(item.content, Content::End(_) | Content::Gap(_)));
            let first = report.times.map_or(item.ts, |(first, _)| first);
            report.times = Some((first, item.ts));
            visit(topic, item)?;
        }
        Ok(())
    }
}

impl SegmentReport {
    fn damage(&mut self, offset: u64, what: String) {
        self.damages.push(Damage { offset, what });
    }
}
