//! How a figure of one server compares with the same figure of another, over several rounds.
//!
//! Each round gives a ratio of its own, of two measurements that were made one soon after the other, so that what slows the
//! machine for a while falls out. Of these the median, the least and the most are told. A round in which either has no such
//! figure, or the other's is 0, gives none.

use serde::Serialize;

use crate::compare::figures::{Figure, median};
use crate::compare::outcome::Round;

/// Ratios of the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// Rounds that gave one.
    pub(crate) rounds: usize,
}

impl Ratio {
    /// The ratio of `figure` in the rounds `of` to that in the rounds `to`; none if no round gives one.
    pub(crate) fn of(figure: Figure, of: &[&Round], to: &[&Round]) -> Option<Self> {
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

    /// The ratio, with what the rounds differ by if there are several.
    pub(crate) fn show(self) -> String {
        let Self { median, min, max, .. } = self;
        match self.rounds {
            1 => format!("{median:.2}×"),
            _ => format!("{median:.2}×, {min:.2}–{max:.2}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds with these latencies, none where it is 0, from round 1 on.
    fn rounds(latencies: &[f64]) -> Vec<Round> {
        let round = |(index, latency): (usize, &f64)| {
            let mut round = Round::failed("x", index as u32 + 1, &anyhow::anyhow!("never mind"));
            if *latency > 0.0 {
                round.figures.set(Figure::LatencyP99, *latency);
            }
            round
        };
        latencies.iter().enumerate().map(round).collect()
    }

    fn ratio(of: &[f64], to: &[f64]) -> Option<Ratio> {
        let (of, to) = (rounds(of), rounds(to));
        Ratio::of(
            Figure::LatencyP99,
            &of.iter().collect::<Vec<_>>(),
            &to.iter().collect::<Vec<_>>(),
        )
    }

    #[test]
    fn rounds_are_paired() {
        // The machine was ten times slower in the second round; medians would make 1 / 10 or 10 of it.
        let ratio = ratio(&[2.0, 30.0, 1.0], &[4.0, 40.0, 2.0]).expect("three pairs");
        assert_eq!(
            ratio,
            Ratio {
                median: 0.5,
                min: 0.5,
                max: 0.75,
                rounds: 3
            }
        );
        assert_eq!(ratio.show(), "0.50×, 0.50–0.75");
    }

    #[test]
    fn a_round_that_one_failed_gives_none() {
        let found = ratio(&[2.0, 0.0, 9.0], &[4.0, 4.0, 0.0]).expect("one pair");
        assert_eq!((found.rounds, found.show()), (1, "0.50×".to_owned()));
        assert_eq!(ratio(&[0.0], &[1.0]), None);
        assert_eq!(ratio(&[], &[]), None);
    }
}
