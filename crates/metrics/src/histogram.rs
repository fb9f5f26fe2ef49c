//! Histograms with fixed buckets: from 10 µs to 10 s, three to a decade.
//!
//! Observations are whole microseconds. They can also be bytes, from 10 B to 10 MB. A bucket holds the values up to and
//! including its bound, as Prometheus' `le` means it. Sums and counts are exact; a quantile computed from the buckets
//! is right to within a factor of 2.5.

/// The upper bounds of the buckets, in microseconds. After the last one comes the unbounded bucket.
pub const BUCKETS_MICROS: [u64; 19] = [
    10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
    1_000_000, 2_000_000, 5_000_000, 10_000_000,
];

/// The number of buckets, including the unbounded one.
pub const BUCKETS: usize = BUCKETS_MICROS.len() + 1;

/// The cells of a histogram's series: the buckets, then the sum of the observations.
pub(crate) const HISTOGRAM_CELLS: usize = BUCKETS + 1;

/// For each number of significant bits, the first bucket that a value of that many bits can belong to.
const FIRST_BUCKET: [u8; 65] = first_buckets();

#[expect(clippy::cast_possible_truncation, reason = "there are fewer than 256 buckets")]
const fn first_buckets() -> [u8; 65] {
    let mut first = [0; 65];
    let mut bits = 1;
    while bits < first.len() {
        let smallest = 1_u64 << (bits - 1);
        let mut bucket = 0;
        while bucket < BUCKETS_MICROS.len() && BUCKETS_MICROS[bucket] < smallest {
            bucket += 1;
        }
        first[bits] = bucket as u8;
        bits += 1;
    }
    first
}

/// The bucket of the value `micros`. Between a power of two and the next there are at most two bounds, so this compares
/// at most three.
#[inline]
pub(crate) fn bucket_of(micros: u64) -> usize {
    let bits = (u64::BITS - micros.leading_zeros()) as usize;
    let mut bucket = usize::from(FIRST_BUCKET[bits]);
    while bucket < BUCKETS_MICROS.len() && micros > BUCKETS_MICROS[bucket] {
        bucket += 1;
    }
    bucket
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bucket by definition: the first whose bound is not below the value.
    fn by_definition(micros: u64) -> usize {
        BUCKETS_MICROS
            .iter()
            .position(|&bound| micros <= bound)
            .unwrap_or(BUCKETS_MICROS.len())
    }

    #[test]
    fn buckets_are_right_at_every_edge() {
        let edges = BUCKETS_MICROS
            .iter()
            .flat_map(|&bound| [bound - 1, bound, bound + 1]);
        let powers = (0..64).flat_map(|bit| {
            let power = 1_u64 << bit;
            [power - 1, power, power.saturating_add(1)]
        });
        for micros in edges.chain(powers).chain([0, u64::MAX]) {
            assert_eq!(bucket_of(micros), by_definition(micros), "{micros}");
        }
        assert_eq!(bucket_of(10), 0);
        assert_eq!(bucket_of(11), 1);
        assert_eq!(bucket_of(10_000_001), BUCKETS_MICROS.len());
    }
}
