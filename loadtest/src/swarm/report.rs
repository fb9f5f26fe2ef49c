//! What a run says: progress on standard error, a closing table on standard output, JSON in a file.
//!
//! Faults are counted by kind, each with its first few examples, so that a run in which everything fails stays readable.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

/// Examples that are kept of each kind of fault.
const EXAMPLES: usize = 5;

/// Says something about the run while it goes on.
pub(crate) fn progress(text: fmt::Arguments<'_>) {
    // A terminal that went away must not end a measurement.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Faults of one kind.
#[derive(Debug, Clone, Default, Serialize)]
struct Kind {
    count: u64,
    examples: Vec<String>,
}

/// What went wrong.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Faults(BTreeMap<&'static str, Kind>);

impl Faults {
    /// Counts a fault of a `kind`; `example` says which.
    pub(crate) fn add(&mut self, kind: &'static str, example: impl Display) {
        let of_kind = self.0.entry(kind).or_default();
        of_kind.count += 1;
        if of_kind.examples.len() < EXAMPLES {
            of_kind.examples.push(example.to_string());
        }
    }

    /// Adds those of another part of the run.
    pub(crate) fn merge(&mut self, other: Self) {
        for (kind, found) in other.0 {
            let of_kind = self.0.entry(kind).or_default();
            of_kind.count += found.count;
            let room = EXAMPLES.saturating_sub(of_kind.examples.len());
            of_kind.examples.extend(found.examples.into_iter().take(room));
        }
    }

    /// All kinds together.
    pub(crate) fn count(&self) -> u64 {
        self.0.values().map(|kind| kind.count).sum()
    }
}

/// All kinds in one line, each with its first example.
impl Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (kind, found)) in self.0.iter().enumerate() {
            let apart = if number == 0 { "" } else { "; " };
            let example = found.examples.first().map_or("", String::as_str);
            write!(f, "{apart}{} × {kind} ({example})", found.count)?;
        }
        Ok(())
    }
}

/// The closing table: labels and values.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<(String, String)>);

impl Table {
    /// Adds a row.
    pub(crate) fn row(&mut self, label: impl Into<String>, value: impl Display) {
        self.0.push((label.into(), value.to_string()));
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .0
            .iter()
            .map(|(label, _)| label.chars().count())
            .max()
            .unwrap_or(0);
        for (label, value) in &self.0 {
            writeln!(f, "{label:width$}  {value}")?;
        }
        Ok(())
    }
}

/// What a scenario found.
pub(crate) trait Outcome: Serialize {
    /// The rows of the closing table.
    fn table(&self) -> Table;
    /// What went wrong.
    fn faults(&self) -> &Faults;
}

/// Prints `outcome`, and writes it to `json` if that is given. Returns whether all went well.
///
/// # Errors
/// When it could not be written.
pub(crate) fn publish(outcome: &impl Outcome, json: Option<&Path>) -> anyhow::Result<bool> {
    let faults = outcome.faults();
    let mut text = format!("\n{}", outcome.table());
    for (kind, found) in &faults.0 {
        text += &format!("\nFAULT {kind}: {}\n", found.count);
        for example in &found.examples {
            text += &format!("  {example}\n");
        }
        if found.count > found.examples.len() as u64 {
            text += &format!("  and {} more\n", found.count - found.examples.len() as u64);
        }
    }
    let all_well = faults.count() == 0;
    text += if all_well { "\nno faults\n" } else { "\nFAILED\n" };
    io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .context("cannot write the table")?;
    if let Some(path) = json {
        let mut json = serde_json::to_vec_pretty(outcome)?;
        json.push(b'\n');
        fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(all_well)
}

/// A whole number with its thousands apart: `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes in the unit that suits it.
pub(crate) fn bytes(number: u64) -> String {
    match number {
        0..10_000 => format!("{number} B"),
        10_000..10_000_000 => format!("{:.1} KB", number as f64 / 1e3),
        _ => format!("{:.1} MB", number as f64 / 1e6),
    }
}

/// A change of bytes, which may be a loss.
pub(crate) fn byte_change(from: u64, to: u64) -> String {
    match to.checked_sub(from) {
        Some(more) => format!("+{}", bytes(more)),
        None => format!("-{}", bytes(from - to)),
    }
}

/// Microseconds in the unit that suits them.
pub(crate) fn micros(number: u64) -> String {
    match number {
        0..1_000 => format!("{number} µs"),
        1_000..1_000_000 => format!("{:.2} ms", number as f64 / 1e3),
        _ => format!("{:.2} s", number as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_people_read_them() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        for (number, text) in [(9_999, "9999 B"), (10_000, "10.0 KB"), (12_345_678, "12.3 MB")] {
            assert_eq!(bytes(number), text);
        }
        assert_eq!(
            (byte_change(5, 7), byte_change(7, 5)),
            ("+2 B".to_owned(), "-2 B".to_owned())
        );
        for (number, text) in [(999, "999 µs"), (1_500, "1.50 ms"), (2_000_000, "2.00 s")] {
            assert_eq!(micros(number), text);
        }
    }

    #[test]
    fn faults_keep_a_few_examples() {
        let mut faults = Faults::default();
        for number in 0..9 {
            faults.add("hole", number);
        }
        faults.add("close", "why");
        assert_eq!(faults.count(), 10);
        assert_eq!(faults.0["hole"].examples, ["0", "1", "2", "3", "4"]);
    }

    #[test]
    fn a_table_is_aligned() {
        let mut table = Table::default();
        table.row("a", 1);
        table.row("long", "x");
        assert_eq!(table.to_string(), "a     1\nlong  x\n");
    }
}
