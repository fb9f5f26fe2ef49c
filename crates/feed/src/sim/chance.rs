//! Random numbers with the distributions that the market needs, the same on every platform for the same seed.
//!
//! The generator is ChaCha8. Only integer operations and IEEE additions, multiplications and divisions are used.
//! `f64::ln` and similar functions may differ between platforms in the last bit, so the logarithm is computed here.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// Separates this use of a seed from others.
const DOMAIN: &[u8; 24] = b"tickwire simulated marke";

/// The source of all randomness.
#[derive(Debug)]
pub(super) struct Chance(ChaCha8Rng);

impl Chance {
    /// Starts the source from `seed`.
    pub(super) fn new(seed: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..].copy_from_slice(DOMAIN);
        Self(ChaCha8Rng::from_seed(key))
    }

    /// 32 random bits.
    pub(super) fn bits(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// A whole number from 0 to `end` - 1; 0 when `end` is 0. The bias is under `end` / 2^32.
    pub(super) fn below(&mut self, end: u32) -> u32 {
        ((u64::from(self.bits()) * u64::from(end)) >> 32) as u32
    }

    /// A number in [0, 1), a multiple of 2^-32.
    pub(super) fn unit(&mut self) -> f64 {
        f64::from(self.bits()) * (1.0 / 4_294_967_296.0)
    }

    /// True with `probability`.
    pub(super) fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Exponentially distributed with mean 1, above 0.
    pub(super) fn exponential(&mut self) -> f64 {
        // 53 bits, never 0.
        let bits = (self.0.next_u64() >> 11) + 1;
        -ln(bits as f64 * (1.0 / 9_007_199_254_740_992.0))
    }

    /// A number with mean 0 and variance 1, close to normal: 64 coin flips, smoothed by a uniform number.
    pub(super) fn normal(&mut self) -> f64 {
        let heads = f64::from(self.0.next_u64().count_ones());
        // The flips have variance 16, the uniform number 1/12.
        (heads - 32.5 + self.unit()) * (1.0 / 4.010_403_138_169_74)
    }

    /// Heavy-tailed with median about `typical`, at most `typical` × `most` and at least 1, as the sizes of orders are.
    pub(super) fn heavy(&mut self, typical: u32, most: u32) -> u32 {
        let unit = self.unit();
        let factor = (unit / (1.0 - unit)).min(f64::from(most));
        ((f64::from(typical) * factor) as u32).max(1)
    }

    /// Geometric: `k` with probability 2^-(k+1), at most 32.
    pub(super) fn halvings(&mut self) -> u32 {
        self.bits().trailing_zeros()
    }
}

/// The natural logarithm of `x` in (0, 1], exact to 1e-10.
fn ln(x: f64) -> f64 {
    const FRACTION: u64 = (1 << 52) - 1;
    const LN_2: f64 = std::f64::consts::LN_2;
    // x = m · 2^e with m in [1, 2), then in [0.75, 1.5).
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i32 - 1_023;
    let mut m = f64::from_bits((bits & FRACTION) | (1_023 << 52));
    if m >= 1.5 {
        m *= 0.5;
        exponent += 1;
    }
    // ln m = 2 artanh s, |s| ≤ 0.2: the first term left out is under 0.2^13 · 2/13.
    let s = (m - 1.0) / (m + 1.0);
    let s2 = s * s;
    let series = 1.0 + s2 * (1.0 / 3.0 + s2 * (1.0 / 5.0 + s2 * (1.0 / 7.0 + s2 * (1.0 / 9.0 + s2 / 11.0))));
    2.0 * s * series + f64::from(exponent) * LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mean and variance of `n` draws.
    fn moments(n: u32, mut draw: impl FnMut() -> f64) -> (f64, f64) {
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..n {
            let x = draw();
            sum += x;
            squares += x * x;
        }
        let mean = sum / f64::from(n);
        (mean, squares / f64::from(n) - mean * mean)
    }

    #[test]
    fn the_logarithm_is_one() {
        for x in [
            1.0,
            0.999_999,
            0.75,
            0.749_999,
            0.5,
            0.1,
            1e-3,
            1e-9,
            f64::from_bits((1_023 - 53) << 52),
        ] {
            assert!((ln(x) - x.ln()).abs() <= 1e-9, "{x}: {} is not {}", ln(x), x.ln());
        }
    }

    #[test]
    fn distributions_have_their_moments() {
        let mut chance = Chance::new(7);
        let near = |(mean, variance): (f64, f64), (m, v): (f64, f64)| {
            (mean - m).abs() < 0.02 && (variance - v).abs() < 0.05
        };
        assert!(near(moments(50_000, || chance.unit()), (0.5, 1.0 / 12.0)));
        assert!(near(moments(50_000, || chance.exponential()), (1.0, 1.0)));
        assert!(near(moments(50_000, || chance.normal()), (0.0, 1.0)));
        assert!(near(moments(50_000, || f64::from(chance.below(2))), (0.5, 0.25)));
        assert!(near(moments(50_000, || f64::from(chance.halvings())), (1.0, 2.0)));
        let larger = (0..10_000).filter(|_| chance.heavy(1_000, 50) > 1_000).count();
        assert!(
            (4_700..5_300).contains(&larger),
            "{larger} of 10,000 are over the median"
        );
    }

    #[test]
    fn a_seed_names_one_sequence_on_every_platform() {
        let mut chance = Chance::new(42);
        let drawn = format!(
            "{:08x} {:016x} {:016x} {}",
            chance.bits(),
            chance.exponential().to_bits(),
            chance.normal().to_bits(),
            chance.heavy(1_000, 50)
        );
        expect_test::expect!["a9fae981 3fcd31547ebb0a29 3fd9ec30221408d2 293"].assert_eq(&drawn);
    }
}
