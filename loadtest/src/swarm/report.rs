//! The reports of a run: progress on standard error, a table on standard output, JSON in a file.
//!
//! An [`Outcome`] holds the table, the figures and the faults. Faults are counted by kind, each with its first few
//! examples. So the report stays readable even if everything fails.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use serde_json::{Map, Value};

/// How many examples are kept of each kind of fault.
const EXAMPLES: usize = 5;

/// Reports the progress of a run.
macro_rules! progress {
    ($($text:tt)+) => {
        $crate::swarm::report::go_on_saying(format_args!($($text)+))
    };
}

pub(crate) use progress;

/// The function behind [`progress!`].
pub(crate) fn go_on_saying(text: fmt::Arguments<'_>) {
    // A terminal that has gone must not end a measurement.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

#[derive(Debug, Clone, Default, Serialize)]
struct Kind {
    count: u64,
    examples: Vec<String>,
}

#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Faults(BTreeMap<&'static str, Kind>);

impl Faults {
    /// Counts a fault of a `kind`. `example` describes it.
    pub(crate) fn add(&mut self, kind: &'static str, example: impl Display) {
        let of_kind = self.0.entry(kind).or_default();
        of_kind.count += 1;
        if of_kind.examples.len() < EXAMPLES {
            of_kind.examples.push(example.to_string());
        }
    }

    /// Adds the faults of another part of the run.
    pub(crate) fn merge(&mut self, other: Self) {
        for (kind, found) in other.0 {
            let of_kind = self.0.entry(kind).or_default();
            of_kind.count += found.count;
            let room = EXAMPLES.saturating_sub(of_kind.examples.len());
            of_kind.examples.extend(found.examples.into_iter().take(room));
        }
    }

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

/// The outcome of a run: rows of the table, figures for JSON, and faults.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    rows: Vec<(String, String)>,
    figures: Map<String, Value>,
    pub(crate) faults: Faults,
}

impl Outcome {
    /// The outcome for a broker that was started as `description` says.
    pub(crate) fn of_broker(description: &str) -> Self {
        let mut outcome = Self::default();
        outcome.row("broker", description);
        outcome.figure("broker", description);
        outcome
    }

    pub(crate) fn row(&mut self, label: impl Into<String>, value: impl Display) {
        self.rows.push((label.into(), value.to_string()));
    }

    pub(crate) fn figure(&mut self, key: &str, value: impl Serialize) {
        self.figures.insert(key.to_owned(), json(value));
    }

    pub(crate) fn figures(&mut self, fields: impl Serialize) {
        if let Value::Object(fields) = json(fields) {
            self.figures.extend(fields);
        }
    }

    /// Adds a count to the JSON and to the table.
    pub(crate) fn count(&mut self, key: &str, label: &str, count: u64) {
        self.figure(key, count);
        self.row(label, grouped(count));
    }

    /// Records the error of a part of the run as a fault, if it failed.
    pub(crate) fn expect(&mut self, kind: &'static str, done: anyhow::Result<()>) {
        if let Err(error) = done {
            self.faults.add(kind, format_args!("{error:#}"));
        }
    }

    /// The table, with the faults below it.
    fn text(&self) -> String {
        let mut text = format!("\n{}", aligned(&self.rows));
        for (kind, found) in &self.faults.0 {
            text += &format!("\nFAULT {kind}: {}\n", found.count);
            for example in &found.examples {
                text += &format!("  {example}\n");
            }
            if found.count > found.examples.len() as u64 {
                text += &format!("  and {} more\n", found.count - found.examples.len() as u64);
            }
        }
        text + if self.faults.count() == 0 {
            "\nno faults\n"
        } else {
            "\nFAILED\n"
        }
    }

    /// Prints the table, and writes figures and faults to `json` if that is given. Returns whether all went well.
    pub(crate) fn publish(mut self, json: Option<&Path>) -> anyhow::Result<bool> {
        say(&self.text())?;
        if let Some(path) = json {
            self.figure("faults", self.faults.clone());
            write_json(path, &self.figures)?;
        }
        Ok(self.faults.count() == 0)
    }
}

fn json(value: impl Serialize) -> Value {
    serde_json::to_value(value).expect("figures are numbers, texts and lists and structs of these")
}

pub(crate) fn say(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write")
}

pub(crate) fn write_json(path: &Path, what: &impl Serialize) -> anyhow::Result<()> {
    let mut json = serde_json::to_vec_pretty(what)?;
    json.push(b'\n');
    write_file(path, &json)
}

pub(crate) fn write_file(path: &Path, bytes: impl AsRef<[u8]>) -> anyhow::Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Labels and values, with the values aligned.
fn aligned(rows: &[(String, String)]) -> String {
    let width = rows
        .iter()
        .map(|(label, _)| label.chars().count())
        .max()
        .unwrap_or(0);
    rows.iter()
        .map(|(label, value)| format!("{label:width$}  {value}\n"))
        .collect()
}

/// A whole number with its thousands separated: `1,234,567`.
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

pub(crate) fn bytes(number: u64) -> String {
    match number {
        0..10_000 => format!("{number} B"),
        10_000..10_000_000 => format!("{:.1} KB", number as f64 / 1e3),
        _ => format!("{:.1} MB", number as f64 / 1e6),
    }
}

/// A change in bytes, which may be negative.
pub(crate) fn byte_change(from: u64, to: u64) -> String {
    match to.checked_sub(from) {
        Some(more) => format!("+{}", bytes(more)),
        None => format!("-{}", bytes(from - to)),
    }
}

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
    fn an_outcome_is_a_table_figures_and_faults() {
        let mut outcome = Outcome::of_broker("tickwire serve");
        outcome.count("n", "a count", 1_234);
        outcome.expect("broker", Err(anyhow::anyhow!("it fell over")));
        assert_eq!(
            outcome.text(),
            "\nbroker   tickwire serve\na count  1,234\n\nFAULT broker: 1\n  it fell over\n\nFAILED\n"
        );
        assert_eq!(
            Value::from(outcome.figures),
            serde_json::json!({"broker": "tickwire serve", "n": 1_234})
        );
    }
}
