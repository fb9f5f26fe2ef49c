//! What a comparison found, and how it is written: tables for the terminal and in Markdown, JSON.
//!
//! A table has a column per server and a row per figure, medians over the rounds, each with its ratio to the reference:
//! uWebSockets where it takes part, else the first server. Each round gives a ratio of its own, of two measurements that were made
//! one soon after the other, so that what slows the machine for a while falls out; a ratio need not be that of the two medians
//! beside it. A round that failed has no figures and is counted.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::fs;
use std::thread;

use serde::Serialize;

use crate::compare::figures::{Better, Figure, Figures, median};
use crate::compare::measure::Measured;
use crate::compare::scenario::Scenario;
use crate::swarm::report::Faults;

/// The server that ratios are to.
const REFERENCE: &str = "uwebsockets";
/// What the figures in a table are.
pub(crate) const HOW_COMPARED: &str = "Figures are medians of the rounds. In brackets: the median of the rounds' ratios to the reference, \
    and the least and most of these.";
/// Between which scenarios the cost of a delivery is said to grow with the number of subscribers. What the floor's grows by is the
/// kernel's and the caches' part, which no server can avoid.
const GROWTH: [&str; 2] = ["hot-1k", "hot-19k"];

/// Everything.
#[derive(Serialize)]
pub(crate) struct Comparison {
    machine: String,
    quick: bool,
    rounds: u32,
    compared: Vec<Compared>,
    /// By how many times the cost of a delivery grows, for servers that were measured in both scenarios.
    growth: BTreeMap<&'static str, f64>,
}

impl Comparison {
    /// Nothing yet, on this machine.
    pub(crate) fn new(quick: bool, rounds: u32) -> Self {
        Self {
            machine: machine(),
            quick,
            rounds,
            compared: Vec::new(),
            growth: BTreeMap::new(),
        }
    }

    /// Adds a scenario.
    pub(crate) fn add(&mut self, compared: Compared) {
        self.compared.push(compared);
        let costs = |name: &str| -> BTreeMap<&'static str, f64> {
            let of_name = self
                .compared
                .iter()
                .filter(|compared| compared.scenario.name == name);
            let cost =
                |server: &Server| Some((server.peer, server.median.get(Figure::ServerCpuPerDelivery)?));
            of_name
                .flat_map(|compared| compared.medians.iter().filter_map(cost))
                .collect()
        };
        let (few, many) = (costs(GROWTH[0]), costs(GROWTH[1]));
        let times = |(peer, few): (&'static str, f64)| Some((peer, many.get(peer)? / few));
        self.growth = few.into_iter().filter_map(times).collect();
    }

    /// What the cost of a delivery grows by, in a line; none if that is not known.
    pub(crate) fn growth(&self) -> Option<String> {
        let [from, to] = GROWTH;
        let label = Figure::ServerCpuPerDelivery.label();
        let times: Vec<String> = self
            .growth
            .iter()
            .map(|(peer, times)| format!("{peer} {times:.2}×"))
            .collect();
        (!times.is_empty()).then(|| format!("{label}, growth {from} → {to}: {}", times.join(", ")))
    }

    /// Whether nothing was measured.
    pub(crate) fn is_empty(&self) -> bool {
        self.rounds().all(|round| round.version.is_none())
    }

    /// What Tickwire did wrong.
    pub(crate) fn tickwire_faults(&self) -> u64 {
        let rounds = self.rounds().filter(|round| round.peer.starts_with("tickwire"));
        rounds.map(|round| round.faults.count()).sum()
    }

    fn rounds(&self) -> impl Iterator<Item = &Round> {
        self.compared.iter().flat_map(|compared| &compared.rounds)
    }

    /// The report, in Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!(
            "# Tickwire and its peers\n\n{}. One core for the server, another for the client. {} rounds that alternate between the \
             servers. {HOW_COMPARED} The reference is uWebSockets where it takes part, else the first. Where the client does \
             not cost less than the server, it may be the client that is measured.\n",
            self.machine, self.rounds
        );
        if self.quick {
            text += "\n**A quick run: small and short, no figures to quote.**\n";
        }
        if let Some(growth) = self.growth() {
            text += &format!("\n{growth}.\n");
        }
        for compared in &self.compared {
            text += &compared.section();
        }
        text
    }
}

/// The machine that figures are from, as it describes itself.
fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split_once(": "));
    let load = read("/proc/loadavg");
    format!(
        "{}, {} cores, Linux {}, load before {}",
        model.map_or("unknown CPU", |(_, model)| model),
        thread::available_parallelism().map_or(0, usize::from),
        read("/proc/sys/kernel/osrelease").trim(),
        load.split_whitespace().next().unwrap_or("unknown")
    )
}

/// A scenario with all of its rounds.
#[derive(Serialize)]
pub(crate) struct Compared {
    scenario: Scenario,
    /// The servers, in the order in which they took part.
    medians: Vec<Server>,
    rounds: Vec<Round>,
}

/// One server measured once.
#[derive(Serialize)]
pub(crate) struct Round {
    peer: &'static str,
    round: u32,
    /// None if it failed.
    version: Option<String>,
    figures: Figures,
    faults: Faults,
    notes: Vec<String>,
}

impl Round {
    /// A round that was measured, or was not.
    pub(crate) fn new(peer: &'static str, round: u32, measured: anyhow::Result<Measured>) -> Self {
        let empty = Self {
            peer,
            round,
            version: None,
            figures: Figures::default(),
            faults: Faults::default(),
            notes: Vec::new(),
        };
        match measured {
            Ok(measured) => Self {
                version: Some(measured.version),
                figures: measured.figures,
                faults: measured.faults,
                notes: measured.notes,
                ..empty
            },
            Err(error) => {
                let mut faults = Faults::default();
                faults.add("not measured", format_args!("{error:#}"));
                Self { faults, ..empty }
            }
        }
    }
}

/// The line that tells of a round while the run goes on.
impl Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const TOLD: [Figure; 7] = [
            Figure::ServerCpuPerDelivery,
            Figure::MaxRate,
            Figure::Delivered,
            Figure::FanoutP99,
            Figure::LatencyP99,
            Figure::ReconnectTime,
            Figure::RssPerConnection,
        ];
        write!(f, "{}", self.peer)?;
        for figure in TOLD {
            if let Some(value) = self.figures.get(figure) {
                write!(f, ", {} {}", figure.label(), figure.show(value))?;
            }
        }
        for note in &self.notes {
            write!(f, "; {note}")?;
        }
        if self.faults.count() > 0 {
            write!(f, "; FAULTS {}", self.faults)?;
        }
        Ok(())
    }
}

/// One server's share of a scenario.
#[derive(Serialize)]
struct Server {
    peer: &'static str,
    version: String,
    median: Figures,
    /// To the reference, of figures of which more or less is better.
    ratios: BTreeMap<&'static str, Ratio>,
    /// Rounds in which the client cost less CPU time than the server, and rounds in which both are known: a client that costs more
    /// may be what is measured.
    client_costs_less: [usize; 2],
    faults: u64,
}

/// How a figure of one server compares with the same figure of another, over several rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Ratio {
    median: f64,
    min: f64,
    max: f64,
    /// Rounds that gave one.
    rounds: usize,
}

impl Ratio {
    /// The ratio of `figure` in the rounds `of` to that in the rounds `to`; none if no round gives one: when either has no such
    /// figure, or the other's is 0.
    fn of(figure: Figure, of: &[&Round], to: &[&Round]) -> Option<Self> {
        let pair = |round: &&Round| {
            let other = to.iter().find(|other| other.round == round.round)?;
            let (value, other) = (round.figures.get(figure)?, other.figures.get(figure)?);
            (other > 0.0).then_some(value / other)
        };
        let ratios: Vec<f64> = of.iter().filter_map(pair).collect();
        Some(Self {
            min: ratios.iter().copied().reduce(f64::min)?,
            max: ratios.iter().copied().reduce(f64::max)?,
            rounds: ratios.len(),
            median: median(ratios)?,
        })
    }
}

/// The ratio, with what the rounds differ by if there are several.
impl Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}×", self.median)?;
        if self.rounds > 1 {
            write!(f, ", {:.2}–{:.2}", self.min, self.max)?;
        }
        Ok(())
    }
}

impl Compared {
    /// A scenario that was measured.
    pub(crate) fn new(scenario: Scenario, rounds: Vec<Round>) -> Self {
        let mut names: Vec<&'static str> = Vec::new();
        for round in &rounds {
            if !names.contains(&round.peer) {
                names.push(round.peer);
            }
        }
        let of = |peer| -> Vec<&Round> { rounds.iter().filter(|round| round.peer == peer).collect() };
        let reference = names
            .iter()
            .find(|name| **name == REFERENCE)
            .or(names.first())
            .copied();
        let medians = names
            .iter()
            .map(|peer| {
                let reference = reference.filter(|name| name != peer).map(of);
                Server::new(peer, &of(*peer), reference.as_deref())
            })
            .collect();
        Self {
            scenario,
            medians,
            rounds,
        }
    }

    /// The rows of the table, the first of them its header, each cell as text.
    fn rows(&self) -> Vec<Vec<String>> {
        let row = |label: &str, cell: &dyn Fn(&Server) -> String| {
            std::iter::once(label.to_owned())
                .chain(self.medians.iter().map(cell))
                .collect()
        };
        let mut rows = vec![
            row(&self.scenario.name, &|server| server.peer.to_owned()),
            row("version", &|server| server.version.clone()),
        ];
        let mut figures: Vec<Figure> = self
            .rounds
            .iter()
            .flat_map(|round| round.figures.present())
            .collect();
        figures.sort_unstable();
        figures.dedup();
        for figure in figures {
            rows.push(row(figure.label(), &|server| server.cell(figure)));
            if figure == Figure::ClientToServer {
                rows.push(row("client costs less than server", &Server::costs_less));
            }
        }
        if self.medians.iter().any(|server| server.faults > 0) {
            rows.push(row("FAULTS", &|server| server.faults.to_string()));
        }
        rows
    }

    /// Its table and what else there is to say, in Markdown that can be read as it is.
    pub(crate) fn section(&self) -> String {
        let rows = self.rows();
        let width = |column: usize| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..=self.medians.len()).map(width).collect();
        let mut text = format!("\n## {}\n\n{}.\n\n", self.scenario.name, self.scenario.about);
        for (number, row) in rows.iter().enumerate() {
            let cells = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, width))| match column {
                    0 => format!("{cell:width$}"),
                    _ => format!("{cell:>width$}"),
                });
            text += &format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "));
            if number == 0 {
                text += &format!("|---|{}\n", "--:|".repeat(self.medians.len()));
            }
        }
        for remark in self.remarks() {
            text += &format!("\n{remark}\n");
        }
        text
    }

    /// Notes and faults, with the server and the round.
    fn remarks(&self) -> Vec<String> {
        let of_round = |round: &Round| {
            let faults = (round.faults.count() > 0).then(|| format!("FAULTS {}", round.faults));
            let said = round.notes.iter().cloned().chain(faults);
            said.map(|said| format!("{}, round {}: {said}", round.peer, round.round))
                .collect::<Vec<_>>()
        };
        self.rounds.iter().flat_map(of_round).collect()
    }
}

impl Server {
    /// What these rounds of it say, beside those of the `reference` if it is another.
    fn new(peer: &'static str, rounds: &[&Round], reference: Option<&[&Round]>) -> Self {
        let median = Figures::median(rounds.iter().map(|round| &round.figures));
        let compared = median
            .present()
            .filter(|figure| figure.better() != Better::Neither);
        let ratio = |figure: Figure| Some((figure.key(), Ratio::of(figure, rounds, reference?)?));
        let shares = || {
            rounds
                .iter()
                .filter_map(|round| round.figures.get(Figure::ClientToServer))
        };
        Self {
            peer,
            version: rounds
                .iter()
                .find_map(|round| round.version.clone())
                .unwrap_or_else(|| "not measured".to_owned()),
            ratios: compared.filter_map(ratio).collect(),
            client_costs_less: [shares().filter(|share| *share < 1.0).count(), shares().count()],
            faults: rounds.iter().map(|round| round.faults.count()).sum(),
            median,
        }
    }

    /// A median with its ratio to the reference's.
    fn cell(&self, figure: Figure) -> String {
        match (self.median.get(figure), self.ratios.get(figure.key())) {
            (None, _) => "–".to_owned(),
            (Some(value), None) => figure.show(value),
            (Some(value), Some(ratio)) => format!("{} ({ratio})", figure.show(value)),
        }
    }

    fn costs_less(&self) -> String {
        match self.client_costs_less {
            [_, 0] => "–".to_owned(),
            [0, _] => "NO".to_owned(),
            [less, rounds] if less == rounds => "yes".to_owned(),
            [less, rounds] => format!("in {less} of {rounds} rounds"),
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// A round with this CPU per delivery; failed where it is 0.
    fn round(peer: &'static str, number: u32, cost: f64) -> Round {
        if cost == 0.0 {
            return Round::new(peer, number, Err(anyhow::anyhow!("it is not there")));
        }
        let mut figures = Figures::default();
        figures.set(Figure::ServerCpuPerDelivery, cost);
        figures.set(Figure::ClientToServer, cost / 4.0);
        let measured = Measured {
            version: "1.0".to_owned(),
            figures,
            faults: Faults::default(),
            misdelivered: 0,
            notes: vec![],
        };
        Round::new(peer, number, Ok(measured))
    }

    fn compared(name: &str, costs: &[(&'static str, &[f64])]) -> Compared {
        let rounds = costs
            .iter()
            .flat_map(|(peer, costs)| (1..).zip(*costs).map(|(number, cost)| round(peer, number, *cost)));
        Compared::new(Scenario::load(name, true).expect("is there"), rounds.collect())
    }

    #[test]
    fn rounds_are_paired_and_a_failed_one_gives_no_ratio() {
        // The machine was ten times slower in the second round; medians would make 1 / 10 or 10 of it.
        let compared = compared(
            "hot-1k",
            &[
                ("tickwire", &[2.0, 30.0, 1.0]),
                ("uwebsockets", &[4.0, 40.0, 2.0]),
                ("ws", &[8.0, 0.0, 0.0]),
            ],
        );
        let table = compared.section();
        let rows: Vec<&str> = table.lines().skip(5).collect();
        expect![[r#"
            | hot-1k                        |                   tickwire |      uwebsockets |              ws |
            |---|--:|--:|--:|
            | version                       |                        1.0 |              1.0 |             1.0 |
            | server CPU per delivery       | 2.00 µs (0.50×, 0.50–0.75) |          4.00 µs | 8.00 µs (2.00×) |
            | client CPU / server CPU       |                      0.50× |            1.00× |           2.00× |
            | client costs less than server |           in 2 of 3 rounds | in 1 of 3 rounds |              NO |
            | FAULTS                        |                          0 |                0 |               2 |

            ws, round 2: FAULTS 1 × not measured (it is not there)

            ws, round 3: FAULTS 1 × not measured (it is not there)"#]]
        .assert_eq(&rows.join("\n"));
    }

    #[test]
    fn growth_is_of_servers_measured_in_both() {
        let mut comparison = Comparison::new(true, 1);
        comparison.add(compared(
            "hot-1k",
            &[("tickwire", &[3.0]), ("ws", &[4.0]), ("floor", &[2.0])],
        ));
        assert_eq!(comparison.growth(), None);
        comparison.add(compared(
            "hot-19k",
            &[("floor", &[2.5]), ("tickwire", &[4.2]), ("nats", &[9.0])],
        ));
        let growth = "server CPU per delivery, growth hot-1k → hot-19k: floor 1.25×, tickwire 1.40×";
        assert_eq!(comparison.growth().as_deref(), Some(growth));
        let report = comparison.markdown();
        assert!(
            report.contains(growth) && report.contains("**A quick run"),
            "{report}"
        );
        assert!(!comparison.is_empty() && comparison.tickwire_faults() == 0);
    }
}
