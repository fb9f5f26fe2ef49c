//! Picks one of many items by weight in constant time (Walker's alias method, built as by Vose).
//!
//! The table is built once. The same weights give the same table on every platform.

use super::chance::Chance;

/// A column of the table: it yields its own index with a probability of `keep` / 2^32, and `other` otherwise.
#[derive(Debug, Clone, Copy)]
struct Column {
    keep: u32,
    other: u32,
}

/// The alias table.
#[derive(Debug)]
pub(super) struct Alias(Vec<Column>);

impl Alias {
    /// A table for `weights`: positive numbers, at least one and at most 2^32 of them.
    pub(super) fn new(weights: &[f64]) -> Self {
        let scale = weights.len() as f64 / weights.iter().sum::<f64>();
        let mut shares: Vec<f64> = weights.iter().map(|weight| weight * scale).collect();
        let mut columns: Vec<Column> = (0..weights.len())
            .map(|own| Column {
                keep: u32::MAX,
                other: own as u32,
            })
            .collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..weights.len()).partition(|index| shares[*index] < 1.0);
        while let (Some(under), Some(over)) = (small.pop(), large.last().copied()) {
            columns[under] = Column {
                keep: (shares[under] * 4_294_967_296.0) as u32,
                other: over as u32,
            };
            shares[over] -= 1.0 - shares[under];
            if shares[over] < 1.0 {
                large.pop();
                small.push(over);
            }
        }
        Self(columns)
    }

    /// A random index, by weight.
    pub(super) fn pick(&self, chance: &mut Chance) -> u32 {
        let own = chance.below(self.0.len() as u32);
        let column = self.0[own as usize];
        if chance.bits() < column.keep {
            own
        } else {
            column.other
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The shares of the columns add up to the weight of each index.
        #[test]
        fn every_weight_gets_its_share(weights in prop::collection::vec(0.001..1_000.0, 1..200)) {
            let table = Alias::new(&weights);
            let mut shares = vec![0.0; weights.len()];
            for (own, column) in table.0.iter().enumerate() {
                let keep = f64::from(column.keep) / 4_294_967_296.0;
                shares[own] += keep;
                shares[column.other as usize] += 1.0 - keep;
            }
            let total: f64 = weights.iter().sum();
            for (share, weight) in shares.iter().zip(&weights) {
                let expected = weight / total * weights.len() as f64;
                prop_assert!((share - expected).abs() < 1e-6, "{} is not {}", share, expected);
            }
        }
    }
}
