//! `tickwire journal`: what a journal's files hold, or a recording in its form, whether they are whole, and their messages.
//!
//! But for `trim` it only reads, also while a broker writes the files: the last entry may then be cut off, which is no damage.

mod export;
mod files;

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;
use serde_json::value::RawValue;
use tickwire_lane::{Checkpoint, Content, Declaration, Item};
use tickwire_server::journal::{Trimmed, trim};
use tickwire_wire::{Epoch, Micros, Moment, Seq};

use self::files::{Damage, JournalFiles, Reading};
use crate::cli::{JournalArgs, JournalCatArgs, JournalCommand, JournalSelection, JournalTrimArgs};
use crate::console::{self, say};
use crate::failure::Failure;

/// The bytes of output that are written together.
const OUT_BYTES: usize = 64 * 1024;

/// Runs the command.
pub(crate) fn run(args: &JournalArgs) -> Result<(), Failure> {
    match &args.command {
        JournalCommand::Ls(args) => list(&args.dir),
        JournalCommand::Verify(args) => verify(&args.dir),
        JournalCommand::Cat(args) => print_messages(args),
        JournalCommand::Export(args) => export::run(args),
        JournalCommand::Trim(args) => remove_old(args),
    }
}

fn list(dir: &Path) -> Result<(), Failure> {
    let files = JournalFiles::of(dir)?;
    let mut text = String::new();
    for name in &files.checkpoints {
        let bytes = files.read(name)?;
        let what = match Checkpoint::check(&bytes) {
            Ok(head) => format!("epoch {}, made {}", head.epoch, Moment(head.made)),
            Err(error) => format!("damaged {error}"),
        };
        let _ = writeln!(text, "{name} {} bytes, {what}", bytes.len());
    }
    let mut reading = Reading::new();
    for name in &files.segments {
        let report = files.read_on(&mut reading, name, &mut |_, _| Ok(()))?;
        let (bytes, entries, messages) = (files.length(name)?, report.entries, report.messages);
        let _ = write!(
            text,
            "{name} {bytes} bytes, {entries} entries, {messages} messages"
        );
        if let Some((first, last)) = report.times {
            let _ = write!(text, ", {} to {}", Moment(first), Moment(last));
        }
        text += if report.damages.is_empty() {
            "\n"
        } else {
            ", damaged\n"
        };
    }
    console::print(text.as_bytes())?;
    Ok(())
}

fn verify(dir: &Path) -> Result<(), Failure> {
    let files = JournalFiles::of(dir)?;
    let (mut damages, mut entries, mut messages) = (0, 0, 0);
    for name in &files.checkpoints {
        if let Err(error) = Checkpoint::check(&files.read(name)?) {
            damages += 1;
            say(format_args!("{name} is damaged {error}"));
        }
    }
    let mut reading = Reading::new();
    for (at, name) in files.segments.iter().enumerate() {
        let mut report = files.read_on(&mut reading, name, &mut |_, _| Ok(()))?;
        match report.torn {
            Some(offset) if at + 1 < files.segments.len() => report.damages.push(Damage {
                offset,
                what: "it ends in the middle of an entry, and is not the last file".to_owned(),
            }),
            Some(offset) if files.is_recording => say(format_args!(
                "{name} ends in the middle of a block at byte {offset}; `record --append` cuts that off"
            )),
            Some(offset) => say(format_args!(
                "{name} ends in the middle of an entry at byte {offset}; a start cuts that off"
            )),
            None => {}
        }
        damages += report.damages.len();
        report.damages.iter().for_each(|damage| tell(name, damage));
        entries += report.entries;
        messages += report.messages;
    }
    if damages > 0 {
        return Err(Failure::Reported);
    }
    let (segments, checkpoints) = (files.segments.len(), files.checkpoints.len());
    let text = match files.is_recording {
        true => format!("whole: {entries} entries with {messages} messages\n"),
        false => format!(
            "whole: {segments} segments with {entries} entries and {messages} messages, {checkpoints} checkpoints\n"
        ),
    };
    console::print(text.as_bytes())?;
    Ok(())
}

fn tell(name: &str, Damage { offset, what }: &Damage) {
    say(format_args!("{name} is damaged at byte {offset}: {what}"));
}

impl JournalSelection {
    /// Hands out the messages and ends that were asked for, in the order of the log. Damage is told, and reading goes on
    /// behind it. Returns whether there was none.
    fn each(
        &self,
        mut visit: impl FnMut(&Declaration, &Item<'_>) -> Result<(), Failure>,
    ) -> Result<bool, Failure> {
        let files = JournalFiles::of(&self.dir)?;
        let (mut reading, mut is_whole) = (Reading::new(), true);
        for name in &files.segments {
            let report = files.read_on(
                &mut reading,
                name,
                &mut |topic, item| match self.has(topic, item.ts) {
                    true => visit(topic, item),
                    false => Ok(()),
                },
            )?;
            is_whole &= report.damages.is_empty();
            report.damages.iter().for_each(|damage| tell(name, damage));
        }
        Ok(is_whole)
    }

    fn has(&self, topic: &Declaration, ts: Micros) -> bool {
        let name = topic.topic.as_str();
        (self.topics.is_empty() || self.topics.iter().any(|pattern| pattern.matches(name)))
            && self.from.is_none_or(|from| ts >= from.0)
            && self.to.is_none_or(|to| ts < to.0)
    }
}

/// A message as a line of JSON, in the form in which `sub` prints it.
#[derive(Serialize)]
struct Line<'a> {
    op: &'static str,
    topic: &'a str,
    epoch: &'a Epoch,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<Seq>,
    /// The first and the last message that a gap names.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Seq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Seq>,
    ts: Micros,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

fn print_messages(args: &JournalCatArgs) -> Result<(), Failure> {
    let mut out = Vec::with_capacity(OUT_BYTES);
    let is_whole = args.selection.each(|topic, item| {
        let (op, data, reason) = match item.content {
            Content::Data(text) | Content::Change(text) => ("update", Some(text), None),
            Content::Whole(text) => ("snapshot", Some(text), None),
            Content::End(reason) => ("end", None, Some(reason.as_str())),
            Content::Gap(reason) => ("gap", None, Some(reason.as_str())),
        };
        let (seq, missing) = match item.content {
            Content::Gap(_) => (None, Some((item.after.next(), item.seq))),
            _ => (Some(item.seq), None),
        };
        let line = Line {
            op,
            topic: topic.topic.as_str(),
            epoch: &topic.epoch,
            seq,
            from: missing.map(|(from, _)| from),
            to: missing.map(|(_, to)| to),
            ts: item.ts,
            data: data.map(serde_json::from_slice).transpose()?,
            reason,
        };
        serde_json::to_writer(&mut out, &line)?;
        out.push(b'\n');
        if out.len() >= OUT_BYTES {
            console::print(&out)?;
            out.clear();
        }
        Ok(())
    })?;
    console::print(&out)?;
    if is_whole { Ok(()) } else { Err(Failure::Reported) }
}

fn remove_old(args: &JournalTrimArgs) -> Result<(), Failure> {
    let everything = args.before.is_none() && args.bytes.is_none();
    let bytes_max = args.bytes.unwrap_or(if everything { 0 } else { u64::MAX });
    let Trimmed { files, bytes, left } =
        trim(&args.dir, bytes_max, args.before.map(|before| before.0)).context("nothing more was removed")?;
    let text = format!("{files} files with {bytes} bytes removed, {left} bytes left\n");
    console::print(text.as_bytes())?;
    Ok(())
}
