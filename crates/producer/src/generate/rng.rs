//! Random numbers from a seed, the same on every machine and in every version.
//!
//! Only integers and the four exact operations of IEEE 754 are used here and in what builds on it, because the `exp` and `ln` of two
//! platforms differ in the last bit, and one bit is enough to make another file.

/// What a sequence of numbers is for. Each purpose has its own seed, derived from the run's, so that one more draw for one purpose does not
/// shuffle another. The numbers of the purposes never change.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    Population = 1,
    Traffic = 2,
    Attacks = 3,
    LanlGraph = 4,
    LanlHour = 5,
    LanlAttacks = 6,
    LanlDisturbance = 7,
}

/// xoshiro256++, seeded through SplitMix64 as its authors advise.
#[derive(Debug, Clone)]
pub(crate) struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The sequence of a seed for a purpose.
    pub(crate) fn new(seed: u64, purpose: Purpose) -> Rng {
        let mut split = seed ^ (purpose as u64).wrapping_mul(0xd1b5_4a32_d192_ed03);
        Rng { state: std::array::from_fn(|_| split_mix(&mut split)) }
    }

    /// The sequence of one hour of a run, whatever came before it.
    pub(crate) fn of_hour(seed: u64, hour: u32) -> Rng {
        Rng::new(seed ^ (u64::from(hour) + 1).wrapping_mul(0xff51_afd7_ed55_8ccd), Purpose::LanlHour)
    }

    /// The next 64 random bits.
    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// 0 to `bound` - 1; 0 for an empty range. The bias of the multiplication is below 2^-32, far too small to show in generated events.
    #[inline]
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        (((self.next() >> 32) * u64::from(bound)) >> 32) as u32
    }

    /// `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u32, high: u32) -> u32 {
        low + self.below(high - low + 1)
    }

    /// 0 to below 1.
    #[inline]
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Weighted choice in constant time (Vose's alias table).
#[derive(Debug, Clone)]
pub(crate) struct Weighted {
    /// For each entry: keep it if a random number of 32 bits is below the first, else take the second.
    cells: Vec<(u64, u32)>,
}

impl Weighted {
    /// The table of these weights.
    pub(crate) fn new(weights: &[f64]) -> Weighted {
        let total: f64 = weights.iter().sum();
        let mut share: Vec<f64> = weights.iter().map(|weight| weight * weights.len() as f64 / total).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..share.len()).partition(|&i| share[i] < 1.0);
        let mut cells: Vec<(u64, u32)> = (0..share.len()).map(|i| (1 << 32, i as u32)).collect();
        while let (Some(&low), Some(&high)) = (small.last(), large.last()) {
            small.pop();
            cells[low] = ((share[low] * (1u64 << 32) as f64) as u64, high as u32);
            share[high] -= 1.0 - share[low];
            if share[high] < 1.0 {
                large.pop();
                small.push(high);
            }
        }
        Weighted { cells }
    }

    /// The index of the entry that `random` chooses. There must be at least one entry.
    #[inline]
    pub(crate) fn pick(&self, random: u64) -> u32 {
        let index = ((random >> 32) * self.cells.len() as u64) >> 32;
        let (stay_below, other) = self.cells[index as usize];
        if (random & 0xffff_ffff) < stay_below { index as u32 } else { other }
    }
}

/// Draws numbers of independent arrivals with a given mean, by inversion, in portions small enough for that.
#[derive(Debug, Clone)]
pub(crate) struct Poisson {
    portions: u32,
    portion: f64,
    none: f64,
}

impl Poisson {
    /// The largest mean of one portion: `exp(-30)` is still far above the smallest double.
    const PORTION_MAX: f64 = 30.0;

    /// The distribution with this mean.
    pub(crate) fn new(mean: f64) -> Poisson {
        let portions = (mean / Self::PORTION_MAX) as u32 + 1;
        let portion = mean / f64::from(portions);
        Poisson { portions, portion, none: exp_negative(portion) }
    }

    /// A random number of arrivals.
    pub(crate) fn draw(&self, rng: &mut Rng) -> u32 {
        (0..self.portions).map(|_| self.draw_portion(rng.unit())).sum()
    }

    fn draw_portion(&self, random: f64) -> u32 {
        let mut count = 0;
        let mut chance = self.none;
        let mut sum = chance;
        // Beyond 200 the chances are below rounding; the bound ends a sum that stops short of `random`.
        while random > sum && count < 200 {
            count += 1;
            chance *= self.portion / f64::from(count);
            sum += chance;
        }
        count
    }
}

/// `exp(-x)` for 0 to 30, from exact operations only; good to ten digits.
fn exp_negative(x: f64) -> f64 {
    let small = x / 1024.0;
    let mut power = (1..=7).rev().fold(1.0, |sum, term| 1.0 - small / f64::from(term) * sum);
    for _ in 0..10 {
        power *= power;
    }
    power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_seed_never_change() {
        let mut rng = Rng::new(1, Purpose::Traffic);
        let mut other = Rng::new(1, Purpose::Attacks);
        assert_ne!(rng.next(), other.next());
        let mut again = Rng::new(1, Purpose::Traffic);
        again.next();
        assert_eq!(rng.next(), again.next());
    }

    #[test]
    fn exp_is_close() {
        for x in [0.0, 0.001, 0.5, 1.0, 7.3, 30.0f64] {
            let relative = exp_negative(x) / (-x).exp() - 1.0;
            assert!(relative.abs() < 1e-9, "{x}: {relative}");
        }
    }

    #[test]
    fn choice_follows_the_weights() {
        let table = Weighted::new(&[1.0, 2.0, 5.0, 0.0]);
        let mut rng = Rng::new(7, Purpose::Population);
        let mut seen = [0i32; 4];
        (0..80_000).for_each(|_| seen[table.pick(rng.next()) as usize] += 1);
        assert_eq!(seen[3], 0);
        for (count, share) in seen.into_iter().zip([10_000, 20_000, 50_000]) {
            assert!((count - share).abs() < 700, "{seen:?}");
        }
    }

    #[test]
    fn arrivals_have_their_mean() {
        let mut rng = Rng::new(3, Purpose::Traffic);
        for mean in [0.0, 0.01, 3.0, 29.9, 30.0, 200.0] {
            let poisson = Poisson::new(mean);
            let sum: u64 = (0..20_000).map(|_| u64::from(poisson.draw(&mut rng))).sum();
            let found = sum as f64 / 20_000.0;
            assert!((found - mean).abs() < 0.05 * mean + 0.01, "{found} for {mean}");
        }
    }
}
