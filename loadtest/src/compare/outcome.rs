//! What a comparison found, and how it is written: a table on the terminal, JSON.
//!
//! A table has a column per server and a row per figure, medians over the rounds, each with its ratio to the reference:
//! uWebSockets where it takes part, else the first server. Ratios are made round by round (`ratio`), so that one need not be the
//! ratio of the two medians beside it. A round that failed has no figures and is counted.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use hdrhistogram::Histogram;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::compare::figures::{Better, Figure, Figures};
use crate::compare::growth::Growth;
use crate::compare::machine::Machine;
use crate::compare::measure::Measured;
use crate::compare::ratio::Ratio;
use crate::compare::scenario::Scenario;
use crate::compare::tally::TIMELINE_STEP_MS;
use crate::swarm::report::Faults;

/// The server that ratios are to.
const REFERENCE: &str = "uwebsockets";
/// What the figures in a table are.
pub(crate) const HOW_COMPARED: &str = "Figures are medians of the rounds. In brackets: the median of the rounds' ratios to the \
    reference, and the least and most of these.";
/// Quantiles that a diagram of latencies is made of, in the JSON.
const QUANTILES: &[f64] = &[
    0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999, 1.0,
];

/// Everything.
pub(crate) struct Comparison {
    pub(crate) machine: Machine,
    pub(crate) quick: bool,
    pub(crate) rounds: u32,
    pub(crate) compared: Vec<Compared>,
}

impl Comparison {
    /// What a delivery's cost grows by between scenarios.
    pub(crate) fn growth(&self) -> Growth {
        Growth::of(&self.compared)
    }

    /// Whether nothing was measured.
    pub(crate) fn is_empty(&self) -> bool {
        self.compared
            .iter()
            .all(|compared| compared.rounds.iter().all(|round| round.version.is_none()))
    }

    /// What Tickwire did wrong.
    pub(crate) fn tickwire_faults(&self) -> u64 {
        let rounds = self.compared.iter().flat_map(|compared| &compared.rounds);
        rounds
            .filter(|round| round.peer.starts_with("tickwire"))
            .map(|round| round.faults.count())
            .sum()
    }
}

impl Serialize for Comparison {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Comparison", 5)?;
        fields.serialize_field("machine", &self.machine)?;
        fields.serialize_field("quick", &self.quick)?;
        fields.serialize_field("rounds", &self.rounds)?;
        fields.serialize_field("compared", &self.compared)?;
        fields.serialize_field("growth", &self.growth())?;
        fields.end()
    }
}

/// A scenario with all of its rounds.
pub(crate) struct Compared {
    pub(crate) scenario: Scenario,
    pub(crate) rounds: Vec<Round>,
}

/// One server measured once.
#[derive(Serialize)]
pub(crate) struct Round {
    pub(crate) peer: &'static str,
    pub(crate) round: u32,
    /// None if it failed.
    pub(crate) version: Option<String>,
    pub(crate) figures: Figures,
    #[serde(serialize_with = "as_quantiles")]
    pub(crate) latency: Option<Histogram<u64>>,
    /// Deliveries in each step.
    pub(crate) timeline: Vec<u64>,
    pub(crate) faults: Faults,
    pub(crate) notes: Vec<String>,
}

fn as_quantiles<S: Serializer>(latency: &Option<Histogram<u64>>, serializer: S) -> Result<S::Ok, S::Error> {
    match latency {
        Some(latency) if !latency.is_empty() => serializer.collect_map(
            QUANTILES
                .iter()
                .map(|quantile| (quantile.to_string(), latency.value_at_quantile(*quantile))),
        ),
        _ => serializer.serialize_none(),
    }
}

impl Round {
    /// A round that was measured.
    pub(crate) fn new(peer: &'static str, round: u32, measured: Measured) -> Self {
        Self {
            peer,
            round,
            version: Some(measured.version),
            figures: measured.figures,
            latency: Some(measured.latency),
            timeline: measured.timeline,
            faults: measured.faults,
            notes: measured.notes,
        }
    }

    /// A round that was not.
    pub(crate) fn failed(peer: &'static str, round: u32, error: &anyhow::Error) -> Self {
        let mut faults = Faults::default();
        faults.add("not measured", format_args!("{error:#}"));
        Self {
            peer,
            round,
            version: None,
            figures: Figures::default(),
            latency: None,
            timeline: Vec::new(),
            faults,
            notes: Vec::new(),
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
pub(crate) struct Summary<'c> {
    pub(crate) peer: &'static str,
    pub(crate) version: &'c str,
    pub(crate) median: Figures,
    pub(crate) rounds: Vec<&'c Round>,
}

impl Summary<'_> {
    /// The ratio of a figure to the reference's.
    pub(crate) fn ratio(&self, figure: Figure, reference: &Summary<'_>) -> Option<Ratio> {
        if figure.better() == Better::Neither || self.peer == reference.peer {
            return None;
        }
        Ratio::of(figure, &self.rounds, &reference.rounds)
    }

    /// In how many rounds the client cost less than the server, and of how many that is known.
    pub(crate) fn client_costs_less(&self) -> Option<ClientCost> {
        let shares = self
            .rounds
            .iter()
            .filter_map(|round| round.figures.get(Figure::ClientToServer));
        let (mut less, mut rounds) = (0, 0);
        for share in shares {
            less += usize::from(share < 1.0);
            rounds += 1;
        }
        (rounds > 0).then_some(ClientCost { less, rounds })
    }

    /// All latencies of all rounds.
    pub(crate) fn latency(&self) -> Option<Histogram<u64>> {
        let mut all = self.rounds.iter().filter_map(|round| round.latency.as_ref());
        let mut sum = all.next()?.clone();
        for latency in all {
            // All have the same bounds, so that adding cannot fail; if it did, one round would be missing.
            let _ = sum.add(latency);
        }
        (!sum.is_empty()).then_some(sum)
    }
}

/// Whether the load client costs less CPU time than the server does: a client that costs more may be what is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct ClientCost {
    /// Rounds in which it does.
    less: usize,
    /// Rounds in which both are known.
    rounds: usize,
}

impl Display for ClientCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { less, rounds } if less == rounds => f.write_str("yes"),
            Self { less: 0, .. } => f.write_str("NO"),
            Self { less, rounds } => write!(f, "in {less} of {rounds} rounds"),
        }
    }
}

impl Compared {
    /// The servers, in the order in which they took part.
    pub(crate) fn summaries(&self) -> Vec<Summary<'_>> {
        let mut names: Vec<&'static str> = Vec::new();
        for round in &self.rounds {
            if !names.contains(&round.peer) {
                names.push(round.peer);
            }
        }
        let summary = |peer| {
            let rounds: Vec<&Round> = self.rounds.iter().filter(|round| round.peer == peer).collect();
            Summary {
                peer,
                version: rounds
                    .iter()
                    .find_map(|round| round.version.as_deref())
                    .unwrap_or("not measured"),
                median: Figures::median(rounds.iter().map(|round| &round.figures)),
                rounds,
            }
        };
        names.into_iter().map(summary).collect()
    }

    /// Every figure that one of the servers has, in order.
    pub(crate) fn figures(&self) -> Vec<Figure> {
        let mut figures: Vec<Figure> = self
            .rounds
            .iter()
            .flat_map(|round| round.figures.present())
            .collect();
        figures.sort_unstable();
        figures.dedup();
        figures
    }

    /// The header and the rows of the table, each cell as text.
    pub(crate) fn rows(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let summaries = self.summaries();
        let reference = reference(&summaries);
        let mut header = vec![String::new()];
        header.extend(summaries.iter().map(|summary| summary.peer.to_owned()));
        let mut rows = vec![vec!["version".to_owned()]];
        rows[0].extend(summaries.iter().map(|summary| summary.version.to_owned()));
        for figure in self.figures() {
            let mut row = vec![figure.label().to_owned()];
            for summary in &summaries {
                let ratio = reference.and_then(|reference| summary.ratio(figure, reference));
                row.push(cell(figure, &summary.median, ratio));
            }
            rows.push(row);
            if figure == Figure::ClientToServer {
                let mut row = vec!["client costs less than server".to_owned()];
                let held = |summary: &Summary<'_>| {
                    let held = summary.client_costs_less();
                    held.map_or_else(|| "–".to_owned(), |held| held.to_string())
                };
                row.extend(summaries.iter().map(held));
                rows.push(row);
            }
        }
        if summaries
            .iter()
            .any(|summary| summary.rounds.iter().any(|round| round.faults.count() > 0))
        {
            let mut row = vec!["FAULTS".to_owned()];
            let faults = |summary: &Summary<'_>| -> u64 {
                summary.rounds.iter().map(|round| round.faults.count()).sum()
            };
            row.extend(summaries.iter().map(|summary| faults(summary).to_string()));
            rows.push(row);
        }
        (header, rows)
    }

    /// The table for a terminal, with what else there is to say.
    pub(crate) fn table(&self) -> String {
        let (header, rows) = self.rows();
        let width = |column: usize| {
            let cells = std::iter::once(&header).chain(&rows);
            cells
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..header.len()).map(width).collect();
        let mut text = format!("\n{}: {}\n", self.scenario.name, self.scenario.about);
        for row in std::iter::once(&header).chain(&rows) {
            let cells = row.iter().zip(&widths).enumerate();
            let line: Vec<String> = cells
                .map(|(column, (cell, width))| match column {
                    0 => format!("{cell:width$}"),
                    _ => format!("{cell:>width$}"),
                })
                .collect();
            text += line.join("  ").trim_end();
            text.push('\n');
        }
        if header.len() > 2 {
            text += &format!("{HOW_COMPARED}\n");
        }
        for remark in self.remarks() {
            text += &format!("{remark}\n");
        }
        text
    }

    /// Notes and faults, with the server and the round.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        for round in &self.rounds {
            let (peer, number) = (round.peer, round.round);
            remarks.extend(
                round
                    .notes
                    .iter()
                    .map(|note| format!("{peer}, round {number}: {note}")),
            );
            if round.faults.count() > 0 {
                remarks.push(format!("{peer}, round {number}: FAULTS {}", round.faults));
            }
        }
        remarks
    }
}

/// The server that the others are compared with: uWebSockets, or the first.
fn reference<'s, 'c>(summaries: &'s [Summary<'c>]) -> Option<&'s Summary<'c>> {
    summaries
        .iter()
        .find(|summary| summary.peer == REFERENCE)
        .or(summaries.first())
}

/// A median with its ratio to the reference's.
fn cell(figure: Figure, median: &Figures, ratio: Option<Ratio>) -> String {
    let Some(value) = median.get(figure) else {
        return "–".to_owned();
    };
    let shown = figure.show(value);
    match ratio {
        Some(ratio) => format!("{shown} ({})", ratio.show()),
        None => shown,
    }
}

impl Serialize for Compared {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Median<'m> {
            peer: &'static str,
            version: &'m str,
            median: &'m Figures,
            ratios: BTreeMap<&'static str, Ratio>,
            client_costs_less: Option<ClientCost>,
        }
        let summaries = self.summaries();
        let reference = reference(&summaries);
        let ratios = |summary: &Summary<'_>| -> BTreeMap<&'static str, Ratio> {
            let ratio = |figure: Figure| Some((figure.key(), summary.ratio(figure, reference?)?));
            self.figures().into_iter().filter_map(ratio).collect()
        };
        let medians: Vec<Median<'_>> = summaries
            .iter()
            .map(|summary| Median {
                peer: summary.peer,
                version: summary.version,
                median: &summary.median,
                ratios: ratios(summary),
                client_costs_less: summary.client_costs_less(),
            })
            .collect();
        let mut fields = serializer.serialize_struct("Compared", 6)?;
        fields.serialize_field("name", &self.scenario.name)?;
        fields.serialize_field("scenario", &self.scenario)?;
        fields.serialize_field("ratios_to", &reference.map(|reference| reference.peer))?;
        fields.serialize_field("medians", &medians)?;
        fields.serialize_field("timeline_step_ms", &TIMELINE_STEP_MS)?;
        fields.serialize_field("rounds", &self.rounds)?;
        fields.end()
    }
}
