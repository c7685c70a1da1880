//! Random numbers from one seed (SplitMix64), with child generators so that one more draw in one place does not shuffle the rest.

#[derive(Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed ^ 0x6A09_E667_F3BC_C909)
    }
    /// A child generator for a purpose.
    pub fn child(&self, purpose: u64) -> Rng {
        let mut child = Rng(self.0 ^ purpose.wrapping_mul(0xBF58_476D_1CE4_E5B9));
        child.next();
        child
    }
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    /// From 0 to below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    /// True in `n` of a thousand draws.
    pub fn per_mille(&mut self, n: u64) -> bool {
        self.below(1000) < n
    }
}
