//! `tickwire journal`: what a journal's files hold, whether they are whole, and their messages.
//!
//! It only reads, also while a broker writes the files: the last entry may then be cut off, which is no damage.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;
use serde_json::value::RawValue;
use tickwire_lane::names::{checkpoint_name, positions, segment_name};
use tickwire_lane::{Checkpoint, Content, Declaration, Entry, Follower, Item, Part, Place, SegmentReader, Start};
use tickwire_wire::{Micros, Pattern};

use crate::cli::{JournalArgs, JournalCatArgs, JournalCommand};
use crate::console::{self, say};
use crate::failure::Failure;

/// The bytes of output that are written together.
const OUT_BYTES: usize = 64 * 1024;

/// Runs the command.
pub(crate) fn run(args: &JournalArgs) -> Result<(), Failure> {
    match &args.command {
        JournalCommand::Ls(dir) => list(&dir.dir),
        JournalCommand::Verify(dir) => verify(&dir.dir),
        JournalCommand::Cat(cat) => print_messages(cat),
    }
}

/// A damaged place.
struct Damage {
    offset: usize,
    what: String,
}

/// What a segment holds.
#[derive(Default)]
struct Report {
    entries: u64,
    messages: u64,
    /// The times of its first message and of its last one.
    times: Option<(Micros, Micros)>,
    damages: Vec<Damage>,
    /// Where it ends in the middle of an entry, if it does.
    torn: Option<usize>,
}

/// The files of a journal in their order.
struct Files {
    dir: PathBuf,
    segments: Vec<String>,
    checkpoints: Vec<String>,
}

impl Files {
    fn of(dir: &Path) -> Result<Self, Failure> {
        let names = fs::read_dir(dir).map_err(|error| named(dir, &error))?;
        let names = names.map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default()));
        let names: Vec<String> = names.collect::<io::Result<_>>()?;
        let (segments, checkpoints) = positions(&names);
        if segments.is_empty() && checkpoints.is_empty() {
            return Err(anyhow::anyhow!("{} has no journal", dir.display()).into());
        }
        Ok(Self {
            dir: dir.to_owned(),
            segments: segments.into_iter().map(segment_name).collect(),
            checkpoints: checkpoints.into_iter().map(checkpoint_name).collect(),
        })
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, Failure> {
        let path = self.dir.join(name);
        fs::read(&path).map_err(|error| named(&path, &error))
    }
}

fn named(path: &Path, error: &io::Error) -> Failure {
    anyhow::anyhow!("{}: {error}", path.display()).into()
}

/// Reads a segment behind those that `follower` has followed, and calls `visit` with each item and its topic.
fn read_segment(
    bytes: &[u8],
    follower: &mut Follower,
    mut visit: impl FnMut(&Declaration, &Item<'_>) -> io::Result<()>,
) -> io::Result<Report> {
    let mut report = Report::default();
    let mut declared: Vec<Declaration> = Vec::new();
    let damage = |offset, what: String| Damage { offset, what };
    let parts = match SegmentReader::new(bytes) {
        Ok(Some((head, parts))) => {
            if let Err(error) = follower.begin_segment(&head) {
                report.damages.push(damage(0, error.to_string()));
                // What follows is judged from here on.
                *follower = Follower::new(Start::Anywhere, Place::default(), None);
                follower.begin_segment(&head).unwrap_or_default();
            }
            parts
        }
        Ok(None) => {
            report.torn = Some(0);
            return Ok(report);
        }
        Err((offset, what)) => {
            report.damages.push(damage(offset, what));
            return Ok(report);
        }
    };
    for part in parts {
        let (offset, frame) = match part {
            Part::Entry { offset, frame } => (offset, frame),
            Part::Torn { offset } => {
                report.torn = Some(offset);
                continue;
            }
            Part::Damaged { offset, error, next } => {
                report.damages.push(damage(offset, format!("{error}; the next valid entry is at byte {next}")));
                continue;
            }
        };
        let entry = match Entry::read(frame) {
            Ok(entry) => entry,
            Err(error) => {
                report.damages.push(damage(offset, error.to_string()));
                continue;
            }
        };
        // Behind damage nothing follows on what was before it. That was said already.
        let follows = follower.entry(frame, &entry, |_, _| {});
        if let (Err(error), true) = (&follows, report.damages.is_empty()) {
            report.damages.push(damage(offset, error.to_string()));
        }
        declared.extend(entry.declared.iter().cloned());
        report.entries += 1;
        for item in &entry.items {
            if follows.is_ok()
                && let Err(error) = follower.item(item)
            {
                report.damages.push(damage(offset, error.to_string()));
            }
            let Some(topic) = declared.get(item.topic.0 as usize) else { continue };
            report.messages += u64::from(!matches!(item.content, Content::End(_)));
            let first = report.times.map_or(item.ts, |(first, _)| first);
            report.times = Some((first, item.ts));
            visit(topic, item)?;
        }
    }
    Ok(report)
}

fn list(dir: &Path) -> Result<(), Failure> {
    let files = Files::of(dir)?;
    let mut follower = Follower::new(Start::Anywhere, Place::default(), None);
    let mut text = String::new();
    for name in &files.checkpoints {
        let bytes = files.read(name)?;
        let what = match Checkpoint::check(&bytes) {
            Ok(head) => format!("epoch {} made {}", head.epoch, head.made),
            Err(error) => format!("damaged: {error}"),
        };
        text += &format!("{name} {} bytes, {what}\n", bytes.len());
    }
    for name in &files.segments {
        let bytes = files.read(name)?;
        let report = read_segment(&bytes, &mut follower, |_, _| Ok(()))?;
        let Report { entries, messages, .. } = report;
        let times = report.times.map_or_else(String::new, |(first, last)| format!(", {first} to {last}"));
        let damaged = if report.damages.is_empty() { "" } else { ", damaged" };
        text += &format!("{name} {} bytes, {entries} entries, {messages} messages{times}{damaged}\n", bytes.len());
    }
    console::print(text.as_bytes())?;
    Ok(())
}

fn verify(dir: &Path) -> Result<(), Failure> {
    let files = Files::of(dir)?;
    let mut follower = Follower::new(Start::Anywhere, Place::default(), None);
    let (mut damages, mut entries, mut messages) = (0, 0, 0);
    let mut wrong = |name: &str, damage: &Damage| {
        damages += 1;
        say(format_args!("{name} is damaged at byte {}: {}", damage.offset, damage.what));
    };
    for name in &files.checkpoints {
        if let Err(error) = Checkpoint::check(&files.read(name)?) {
            let (offset, what) = (error.offset(), error.to_string());
            wrong(name, &Damage { offset, what });
        }
    }
    for (at, name) in files.segments.iter().enumerate() {
        let report = read_segment(&files.read(name)?, &mut follower, |_, _| Ok(()))?;
        report.damages.iter().for_each(|damage| wrong(name, damage));
        entries += report.entries;
        messages += report.messages;
        if let Some(offset) = report.torn {
            if at + 1 < files.segments.len() {
                let what = "it ends in the middle of an entry, and is not the last segment".to_owned();
                wrong(name, &Damage { offset, what });
            } else {
                say(format_args!("{name} ends in the middle of an entry at byte {offset}; a start cuts that off"));
            }
        }
    }
    if damages > 0 {
        return Err(Failure::Reported);
    }
    let (segments, checkpoints) = (files.segments.len(), files.checkpoints.len());
    let text = format!("whole: {segments} segments with {entries} entries and {messages} messages, {checkpoints} checkpoints\n");
    console::print(text.as_bytes())?;
    Ok(())
}

fn print_messages(args: &JournalCatArgs) -> Result<(), Failure> {
    let files = Files::of(&args.dir)?;
    let mut follower = Follower::new(Start::Anywhere, Place::default(), None);
    let mut out = Vec::with_capacity(OUT_BYTES);
    let mut damaged = false;
    for name in &files.segments {
        let report = read_segment(&files.read(name)?, &mut follower, |topic, item| {
            if is_wanted(args, topic, item.ts) {
                put_line(&mut out, topic, item)?;
            }
            if out.len() >= OUT_BYTES {
                console::print(&out)?;
                out.clear();
            }
            Ok(())
        })?;
        for damage in &report.damages {
            damaged = true;
            say(format_args!("{name} is damaged at byte {}: {}", damage.offset, damage.what));
        }
    }
    console::print(&out)?;
    if damaged { Err(Failure::Reported) } else { Ok(()) }
}

fn is_wanted(args: &JournalCatArgs, topic: &Declaration, ts: Micros) -> bool {
    let matches = |pattern: &Pattern| pattern.matches(topic.topic.as_str());
    (args.topics.is_empty() || args.topics.iter().any(matches))
        && args.from.is_none_or(|from| ts.0 >= from)
        && args.until.is_none_or(|until| ts.0 < until)
}

/// Appends a message as a line of JSON, in the form in which `sub` prints it.
fn put_line(out: &mut Vec<u8>, topic: &Declaration, item: &Item<'_>) -> io::Result<()> {
    let (op, data, reason) = match item.content {
        Content::Data(text) | Content::Change(text) => ("update", Some(text), None),
        Content::Whole(text) => ("snapshot", Some(text), None),
        Content::End(reason) => ("end", None, Some(reason.as_str())),
    };
    let mut line = json!({"op": op, "topic": topic.topic, "epoch": topic.epoch, "seq": item.seq, "ts": item.ts});
    if let Some(reason) = reason {
        line["reason"] = json!(reason);
    }
    let mut line = serde_json::to_vec(&line)?;
    if let Some(data) = data {
        let data: &RawValue = serde_json::from_slice(data)?;
        line.pop();
        write!(line, ",\"data\":{data}}}")?;
    }
    out.extend_from_slice(&line);
    out.push(b'\n');
    Ok(())
}
