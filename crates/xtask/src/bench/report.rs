//! Figures as lines of text with aligned columns. The place and time of the measurement come first, since figures mean
//! nothing without them. The machine's name is never printed.

use std::process::Command;

use super::measure::Measure;
use super::side::Side;
use crate::programs::said_by;

/// The width of a column of figures in characters.
const FIGURE: usize = 14;
/// The width of the ratio in characters.
const RATIO: usize = 8;

/// A few lines with what was measured, the date, the processor, the system and the compiler.
pub(super) fn describe(sides: &[Side]) -> String {
    let sides = match sides {
        [before, after] => format!("before: {}\nafter:  {}", before.name, after.name),
        sides => sides.iter().map(|side| format!("now: {}", side.name)).collect(),
    };
    let cores = std::thread::available_parallelism().map_or("?".to_owned(), |cores| cores.to_string());
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor(&cpuinfo).unwrap_or("unknown processor");
    let ask = |program: &str, arguments: &[&str]| {
        said_by(Command::new(program).args(arguments))
            .map_or_else(|_| format!("unknown {program}"), |said| said.trim().to_owned())
    };
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    format!(
        "{sides}\n{}, {processor}, {cores} cores\n{}, {}\n",
        ask("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        ask("uname", &["-srm"]),
        ask(&rustc, &["--version"]),
    )
}

/// The processor's name in Linux's `cpuinfo`.
fn processor(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim())
}

/// The width of the first column.
pub(super) fn width(cases: &[String]) -> usize {
    let longest = cases.iter().map(|case| case.chars().count()).max();
    longest.unwrap_or(0).max("name".len())
}

/// The names of the columns: before, after and their ratio for two sides, otherwise now.
pub(super) fn head(width: usize, sides: usize) -> String {
    let name = format!("{:width$}", "name");
    match sides {
        2 => format!(
            "{name}{:>FIGURE$}{:>FIGURE$}{:>RATIO$}",
            "before", "after", "ratio"
        ),
        _ => format!("{name}{:>FIGURE$}", "now"),
    }
}

/// The line of a case with its figures side by side. A dash stands for a case that a side does not have.
pub(super) fn line(measure: Measure, width: usize, case: &str, figures: &[Option<f64>]) -> String {
    let mut line = format!("{case:width$}");
    for figure in figures {
        let text = figure.map_or_else(|| "–".to_owned(), |figure| measure.show(figure));
        line += &format!("{text:>FIGURE$}");
    }
    if let [before, after] = figures {
        let ratio = before.filter(|before| *before > 0.0).zip(*after);
        let ratio = ratio.map_or_else(
            || "–".to_owned(),
            |(before, after)| format!("{:.3}", after / before),
        );
        line += &format!("{ratio:>RATIO$}");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_and_one() {
        let width = width(&["encode/ticker_json".to_owned(), "book/x".to_owned()]);
        let wall =
            |case: &str, figures: &[Option<f64>]| line(Measure::Wall { rounds: 3 }, width, case, figures);
        for (line, expected) in [
            (
                head(width, 2),
                "name                      before         after   ratio",
            ),
            (
                wall("encode/ticker_json", &[Some(512.34), Some(1_024.68)]),
                "encode/ticker_json      512.3 ns       1.02 µs   2.000",
            ),
            (
                wall("book/x", &[None, Some(2.5e6)]),
                "book/x                         –       2.50 ms       –",
            ),
            (head(width, 1), "name                         now"),
            (
                line(Measure::Instructions, width, "book/x", &[Some(1_234_567.0)]),
                "book/x                 1,234,567",
            ),
        ] {
            assert_eq!(line, expected);
        }
    }

    #[test]
    fn the_processor() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A Chip @ 2 GHz\n";
        assert_eq!(processor(cpuinfo), Some("A Chip @ 2 GHz"));
        assert_eq!(processor("processor\t: 0\n"), None);
    }
}
