//! Counters of one thread over a closed set of label values.
//!
//! Plain memory of fixed size: counting never allocates and never fails.

/// One counter for each value of a label, counting since the last flush.
#[derive(Debug, Clone)]
pub struct Counts(Box<[u64]>);

impl Counts {
    /// Counters for `len` series.
    pub(crate) fn new(len: usize) -> Self {
        Self(vec![0; len].into())
    }

    /// Counts `n` for the label value at `index` of its set. An index beyond the set counts as the last value, so that
    /// a set can end with a catch-all.
    #[inline]
    pub fn add(&mut self, index: usize, n: u64) {
        let last = self.0.len() - 1;
        let count = &mut self.0[index.min(last)];
        *count = count.wrapping_add(n);
    }

    /// What was counted since the last flush, in index order; afterwards everything is 0.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = (usize, u64)> {
        self.0
            .iter_mut()
            .map(std::mem::take)
            .enumerate()
            .filter(|&(_, n)| n > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn take_returns_what_was_counted_once() {
        let mut counts = Counts::new(3);
        counts.add(0, 2);
        counts.add(2, 1);
        counts.add(99, 5);
        assert_eq!(counts.take().collect::<Vec<_>>(), [(0, 2), (2, 6)]);
        assert_eq!(counts.take().count(), 0);
    }
}
