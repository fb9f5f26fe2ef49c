//! `tickwire check-recording`: what recordings hold, what is wrong with them, and where.
//!
//! The report goes to standard output once the files are read. If that takes long and standard error is a terminal, the
//! progress is shown there.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use serde_json::{Value, json};
use tickwire_feed::replay::FAULTS_MAX;
use tickwire_feed::{Check, FaultKind};
use tickwire_wire::Micros;

use crate::cli::{CheckRecordingArgs, ReportFormat};
use crate::console;
use crate::failure::Failure;

/// Ticks between two readings of the clock.
const TICKS_PER_LOOK: u32 = 4_096;
/// Time between two lines of progress.
const PROGRESS: Duration = Duration::from_millis(500);

/// Reads the files and prints the report.
pub(crate) fn run(args: &CheckRecordingArgs) -> Result<(), Failure> {
    let mut check = Check::open(&args.files)?;
    let mut progress = io::stderr().is_terminal().then(Instant::now);
    let mut shown = false;
    while (0..TICKS_PER_LOOK).all(|_| check.step()) {
        if progress.is_some_and(|last| last.elapsed() >= PROGRESS) {
            progress = Some(Instant::now());
            shown = true;
            show(&format!("{} lines", grouped(check.lines())));
        }
    }
    if shown {
        show("");
    }
    let report = match args.format {
        ReportFormat::Human => human(&check),
        ReportFormat::Json => format!("{}\n", as_json(&check)),
    };
    console::print(report.as_bytes())?;
    if wrong(&check) > 0 {
        return Err(Failure::Reported);
    }
    if check.span().is_none() {
        return Err(Failure::Failed(anyhow!("nothing of it would be published")));
    }
    Ok(())
}

/// Replaces the line of progress with `text`. A failure is ignored: if standard error is closed, nobody reads it.
fn show(text: &str) {
    let line = format!("\r\x1b[K{text}");
    io::stderr().write_all(line.as_bytes()).unwrap_or_default();
}

/// The number of faults that make a recording wrong.
fn wrong(check: &Check) -> u64 {
    let counts = check.counts();
    counts
        .iter()
        .filter(|(kind, _)| kind.is_wrong())
        .map(|(_, count)| count)
        .sum()
}

/// The meaning of a kind of fault, for the report.
const fn meaning(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Malformed => "cannot be read; left out",
        FaultKind::Unused => "no market data that is replayed; left out",
        FaultKind::TimeBack => "time before an earlier line's; given that one's",
        FaultKind::StaleDepth => "changes of a book that came before, or too late; left out",
        FaultKind::DepthHole => "changes of a book are missing before it; the book is stale until a snapshot",
        FaultKind::OldSnapshot => "a snapshot older than the book; left out",
        FaultKind::RepeatedTrade => "a trade that came before, or too late; left out",
        FaultKind::TradeHole => "trades are missing before it",
        FaultKind::LateTrade => "a trade after its candle was closed; in no candle",
        FaultKind::StaleQuote => "best quotes that came before, or too late; left out",
        FaultKind::SecondStream => "the same from another kind of stream; left out",
        FaultKind::RefusedChange => "a change that a full book does not take",
        FaultKind::RepeatedMessage => "a broker's message that came before; left out",
        FaultKind::MessageGap => "messages of a broker are missing",
        FaultKind::CrossedBook => "the best bid is not below the best ask; the book is stale meanwhile",
    }
}

fn human(check: &Check) -> String {
    let mut text = format!("{} lines", grouped(check.lines()));
    if let Some((first, last)) = check.span() {
        let span_s = last.since(first) as f64 / 1e6;
        let _ = write!(
            text,
            ", {} to {} UTC ({span_s:.1} s)",
            moment(first),
            moment(last)
        );
    }
    text.push('\n');
    let symbols = check.symbols().map(|(symbol, held)| {
        let counts = [held.trades, held.quotes, held.changes, held.whole_books];
        (symbol.as_str(), counts.to_vec())
    });
    table(
        &mut text,
        "symbol",
        &["trades", "quotes", "book changes", "whole books"],
        &symbols.collect::<Vec<_>>(),
    );
    let topics = check
        .topics()
        .map(|(topic, held)| (topic.as_str(), vec![held.messages, held.values]));
    table(
        &mut text,
        "topic",
        &["messages", "whole values"],
        &topics.collect::<Vec<_>>(),
    );
    if wrong(check) == 0 {
        text += "\nnothing is wrong\n";
    }
    for (kind, count) in check.counts().iter() {
        let _ = writeln!(text, "\n{} {}: {}", grouped(count), kind.name(), meaning(kind));
        for fault in check.faults().into_iter().filter(|fault| fault.kind == kind) {
            let _ = writeln!(text, "  {fault}");
        }
        if count > FAULTS_MAX as u64 {
            let _ = writeln!(text, "  … and {} more", grouped(count - FAULTS_MAX as u64));
        }
    }
    text
}

/// Adds a table of counts, if it has rows.
fn table(text: &mut String, name: &str, columns: &[&str], rows: &[(&str, Vec<u64>)]) {
    let Some(width) = rows.iter().map(|(row, _)| row.len()).max() else {
        return;
    };
    let width = width.max(name.len());
    let _ = write!(text, "\n{name:width$}");
    for column in columns {
        let _ = write!(text, " {column:>13}");
    }
    text.push('\n');
    for (row, counts) in rows {
        let _ = write!(text, "{row:width$}");
        for count in counts {
            let _ = write!(text, " {:>13}", grouped(*count));
        }
        text.push('\n');
    }
}

fn as_json(check: &Check) -> Value {
    let symbols = check.symbols().map(|(symbol, held)| {
        json!({
            "symbol": symbol.as_str(),
            "trades": held.trades,
            "quotes": held.quotes,
            "changes": held.changes,
            "whole_books": held.whole_books,
        })
    });
    let topics = check.topics().map(|(topic, held)| {
        json!({"topic": topic.as_str(), "messages": held.messages, "whole_values": held.values})
    });
    let counts = check.counts();
    let counts = counts
        .iter()
        .map(|(kind, count)| (kind.name().to_owned(), Value::from(count)));
    let faults = check.faults().into_iter().map(|fault| {
        json!({
            "kind": fault.kind.name(),
            "file": fault.file.display().to_string(),
            "line": fault.line,
            "reason": fault.reason,
        })
    });
    json!({
        "lines": check.lines(),
        "first": check.span().map(|(first, _)| first.0),
        "last": check.span().map(|(_, last)| last.0),
        "symbols": symbols.collect::<Vec<_>>(),
        "topics": topics.collect::<Vec<_>>(),
        "counts": counts.collect::<serde_json::Map<_, _>>(),
        "faults": faults.collect::<Vec<_>>(),
    })
}

/// A number with its thousands separated.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A moment as text, in UTC to the millisecond.
fn moment(at: Micros) -> String {
    let (days, day_ms) = (at.0 / 86_400_000_000, at.0 / 1_000 % 86_400_000);
    // Years of 365.2425 days that begin in March, so that the leap day is the last one (`civil_from_days` of Howard
    // Hinnant).
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (s, ms) = (day_ms / 1_000, day_ms % 1_000);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}.{ms:03}",
        s / 3_600,
        s / 60 % 60,
        s % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00.000"),
            (951_782_399, "2000-02-28 23:59:59.000"),
            (951_782_400, "2000-02-29 00:00:00.000"),
            (951_868_800, "2000-03-01 00:00:00.000"),
            (1_709_164_800, "2024-02-29 00:00:00.000"),
            (1_723_161_254, "2024-08-08 23:54:14.000"),
            (4_107_542_400, "2100-03-01 00:00:00.000"),
            (9_999_999_999, "2286-11-20 17:46:39.000"),
        ] {
            assert_eq!(moment(Micros(seconds * 1_000_000)), text);
        }
        assert_eq!(moment(Micros(1_723_161_254_937_085)), "2024-08-08 23:54:14.937");
    }

    #[test]
    fn thousands_are_apart() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (12_345_678, "12,345,678"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
