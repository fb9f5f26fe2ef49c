//! Figures as lines of text with aligned columns: name, before, after and their ratio, or name and now.

use super::measure::Measure;

/// Characters of a column of figures.
const FIGURE: usize = 14;
/// Characters of the ratio.
const RATIO: usize = 8;

/// How wide the columns are.
#[derive(Debug)]
pub(super) struct Table {
    measure: Measure,
    width: usize,
    compares: bool,
}

impl Table {
    /// A table of `cases` on one side or two.
    pub(super) fn new(measure: Measure, cases: &[String], sides: usize) -> Self {
        let longest = cases.iter().map(|case| case.chars().count()).max();
        Self {
            measure,
            width: longest.unwrap_or(0).max("name".len()),
            compares: sides > 1,
        }
    }

    /// The names of the columns.
    pub(super) fn head(&self) -> String {
        let width = self.width;
        if self.compares {
            format!(
                "{:width$}{:>FIGURE$}{:>FIGURE$}{:>RATIO$}",
                "name", "before", "after", "ratio"
            )
        } else {
            format!("{:width$}{:>FIGURE$}", "name", "now")
        }
    }

    /// One case with its figures, side by side. A dash stands for what a side does not have.
    pub(super) fn line(&self, case: &str, figures: &[Option<f64>]) -> String {
        let mut line = format!("{:1$}", case, self.width);
        for figure in figures {
            let text = figure.map_or_else(|| "–".to_owned(), |figure| self.measure.show(figure));
            line.push_str(&format!("{text:>FIGURE$}"));
        }
        if self.compares {
            let ratio = match figures {
                [Some(before), Some(after)] if *before > 0.0 => format!("{:.3}", after / before),
                _ => "–".to_owned(),
            };
            line.push_str(&format!("{ratio:>RATIO$}"));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_and_one() {
        let cases = ["encode/ticker_json".to_owned(), "book/x".to_owned()];
        let table = Table::new(Measure::Wall { rounds: 3 }, &cases, 2);
        assert_eq!(
            table.head(),
            "name                      before         after   ratio"
        );
        assert_eq!(
            table.line("encode/ticker_json", &[Some(512.34), Some(1_024.68)]),
            "encode/ticker_json      512.3 ns       1.02 µs   2.000"
        );
        assert_eq!(
            table.line("book/x", &[None, Some(2.5e6)]),
            "book/x                         –       2.50 ms       –"
        );
        let table = Table::new(Measure::Instructions, &cases, 1);
        assert_eq!(table.head(), "name                         now");
        assert_eq!(
            table.line("book/x", &[Some(1_234_567.0)]),
            "book/x                 1,234,567"
        );
    }
}
