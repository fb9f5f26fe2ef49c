//! The results of a comparison, and how they are written: tables for the terminal and in Markdown, and JSON.
//!
//! A table has a column per server and a row per figure, with medians over the rounds. Each has its ratio to the
//! reference: uWebSockets where it takes part, otherwise the first server. Each round gives its own ratio, of two
//! measurements made soon after each other. So what slows the machine for a while cancels out. The ratio shown need not
//! be that of the two medians beside it. A failed round has no figures and is counted.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::fs;
use std::thread;

use serde::Serialize;

use crate::compare::{Better, Figure, Figures, Measured, Scenario, median};

/// The reference of the ratios, or the beginning of its name.
const REFERENCE: &str = "uwebsockets";
/// An explanation of the figures in a table.
pub(crate) const HOW_COMPARED: &str = "Figures are medians of the rounds. In brackets: the median of the rounds' ratios to the reference, \
    and the least and most of these.";
/// The two scenarios between which the growth of the cost of a delivery with the number of subscribers is computed. The
/// growth of the floor is due to the kernel and the caches, which no server can avoid.
const GROWTH: [&str; 2] = ["hot-1k", "hot-19k"];

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
    pub(crate) fn new(quick: bool, rounds: u32) -> Self {
        Self {
            machine: machine(),
            quick,
            rounds,
            compared: Vec::new(),
            growth: BTreeMap::new(),
        }
    }

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

    /// A line about the growth of the cost of a delivery; `None` if it is unknown.
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

    pub(crate) fn is_empty(&self) -> bool {
        self.rounds().all(|round| round.measured.version.is_none())
    }

    pub(crate) fn tickwire_faults(&self) -> u64 {
        let rounds = self.rounds().filter(|round| round.peer.starts_with("tickwire"));
        rounds.map(|round| round.measured.faults.count()).sum()
    }

    fn rounds(&self) -> impl Iterator<Item = &Round> {
        self.compared.iter().flat_map(|compared| &compared.rounds)
    }

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

#[derive(Serialize)]
pub(crate) struct Compared {
    scenario: Scenario,
    /// The payload of each message without time and number, if the scenario has its own.
    payload: Option<String>,
    /// The servers, in the order in which they took part.
    medians: Vec<Server>,
    rounds: Vec<Round>,
}

#[derive(Serialize)]
pub(crate) struct Round {
    peer: &'static str,
    round: u32,
    #[serde(flatten)]
    measured: Measured,
}

impl Round {
    /// A round that was measured or failed.
    pub(crate) fn new(peer: &'static str, round: u32, measured: anyhow::Result<Measured>) -> Self {
        let measured = measured.unwrap_or_else(|error| {
            let mut failed = Measured::default();
            failed.faults.add("not measured", format_args!("{error:#}"));
            failed
        });
        Self {
            peer,
            round,
            measured,
        }
    }
}

/// The line about a round during the run.
impl Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const TOLD: [Figure; 13] = [
            Figure::FullPerCpuSecond,
            Figure::ResumedPerCpuSecond,
            Figure::P99Growth,
            Figure::ServerCpuPerMessage,
            Figure::PublishedPerSecond,
            Figure::ServerBusy,
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
            if let Some(value) = self.measured.figures.get(figure) {
                write!(f, ", {} {}", figure.label(), figure.show(value))?;
            }
        }
        for note in &self.measured.notes {
            write!(f, "; {note}")?;
        }
        if self.measured.faults.count() > 0 {
            write!(f, "; FAULTS {}", self.measured.faults)?;
        }
        Ok(())
    }
}

/// The results of one server in a scenario.
#[derive(Serialize)]
struct Server {
    peer: &'static str,
    version: String,
    tls: Option<String>,
    median: Figures,
    /// The ratios to the reference, for figures where lower or higher is better.
    ratios: BTreeMap<&'static str, Ratio>,
    /// Rounds in which the client cost less CPU time than the server, and rounds in which both are known. A client that
    /// costs more may be what is measured.
    client_costs_less: [usize; 2],
    faults: u64,
}

/// The ratio of one server's figure to another's, over several rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Ratio {
    median: f64,
    min: f64,
    max: f64,
    rounds: usize,
}

impl Ratio {
    /// The ratio of `figure` in the rounds `of` to that in the rounds `to`. `None` if no round gives one, because a
    /// figure is missing or the other is 0.
    fn of(figure: Figure, of: &[&Round], to: &[&Round]) -> Option<Self> {
        let pair = |round: &&Round| {
            let other = to.iter().find(|other| other.round == round.round)?;
            let (value, other) = (
                round.measured.figures.get(figure)?,
                other.measured.figures.get(figure)?,
            );
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

/// The ratio and, if there are several rounds, how much they differ.
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
    pub(crate) fn new(scenario: Scenario, payload: Option<String>, rounds: Vec<Round>) -> Self {
        let mut names: Vec<&'static str> = Vec::new();
        for round in &rounds {
            if !names.contains(&round.peer) {
                names.push(round.peer);
            }
        }
        let of = |peer| -> Vec<&Round> { rounds.iter().filter(|round| round.peer == peer).collect() };
        let reference = names
            .iter()
            .find(|name| name.starts_with(REFERENCE))
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
            payload,
            medians,
            rounds,
        }
    }

    /// The rows of the table, with the header first. Each cell is text.
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
        if self.scenario.tls {
            let agreed = |server: &Server| server.tls.clone().unwrap_or_else(|| "–".to_owned());
            rows.push(row("TLS", &agreed));
        }
        let mut figures: Vec<Figure> = self
            .rounds
            .iter()
            .flat_map(|round| round.measured.figures.present())
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

    /// The table and the remarks, in Markdown that is readable as plain text.
    pub(crate) fn section(&self) -> String {
        let rows = self.rows();
        let width = |column: usize| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..=self.medians.len()).map(width).collect();
        let over = if self.scenario.tls { ", over TLS" } else { "" };
        let mut text = format!(
            "\n## {}\n\n{}{over}.\n\n",
            self.scenario.name, self.scenario.about
        );
        if let Some(payload) = &self.payload {
            text += &format!("Each message carries {} bytes: `{payload}`\n\n", payload.len());
        }
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

    /// The notes and faults, with server and round.
    fn remarks(&self) -> Vec<String> {
        let of_round = |round: &Round| {
            let faults =
                (round.measured.faults.count() > 0).then(|| format!("FAULTS {}", round.measured.faults));
            let said = round.measured.notes.iter().cloned().chain(faults);
            said.map(|said| format!("{}, round {}: {said}", round.peer, round.round))
                .collect::<Vec<_>>()
        };
        self.rounds.iter().flat_map(of_round).collect()
    }
}

impl Server {
    /// The results of these rounds, compared with those of the `reference` if that is another server.
    fn new(peer: &'static str, rounds: &[&Round], reference: Option<&[&Round]>) -> Self {
        let median = Figures::median(rounds.iter().map(|round| &round.measured.figures));
        let compared = median
            .present()
            .filter(|figure| figure.better() != Better::Neither);
        let ratio = |figure: Figure| Some((figure.key(), Ratio::of(figure, rounds, reference?)?));
        let shares = || {
            rounds
                .iter()
                .filter_map(|round| round.measured.figures.get(Figure::ClientToServer))
        };
        Self {
            peer,
            version: rounds
                .iter()
                .find_map(|round| round.measured.version.clone())
                .unwrap_or_else(|| "not measured".to_owned()),
            tls: rounds.iter().find_map(|round| round.measured.tls.clone()),
            ratios: compared.filter_map(ratio).collect(),
            client_costs_less: [shares().filter(|share| *share < 1.0).count(), shares().count()],
            faults: rounds.iter().map(|round| round.measured.faults.count()).sum(),
            median,
        }
    }

    /// A median with its ratio to the reference.
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

    /// A round with this CPU time per delivery. It failed if the cost is 0.
    fn round(peer: &'static str, number: u32, cost: f64) -> Round {
        if cost == 0.0 {
            return Round::new(peer, number, Err(anyhow::anyhow!("it is not there")));
        }
        let mut figures = Figures::default();
        figures.set(Figure::ServerCpuPerDelivery, cost);
        figures.set(Figure::ClientToServer, cost / 4.0);
        let measured = Measured {
            version: Some("1.0".to_owned()),
            figures,
            ..Measured::default()
        };
        Round::new(peer, number, Ok(measured))
    }

    fn compared(name: &str, costs: &[(&'static str, &[f64])]) -> Compared {
        let rounds = costs
            .iter()
            .flat_map(|(peer, costs)| (1..).zip(*costs).map(|(number, cost)| round(peer, number, *cost)));
        Compared::new(
            Scenario::load(name, true).expect("is there"),
            None,
            rounds.collect(),
        )
    }

    #[test]
    fn rounds_are_paired_and_a_failed_one_gives_no_ratio() {
        // The machine was ten times slower in the second round. A ratio of medians would be 1/10 or 10.
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
