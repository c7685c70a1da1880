//! Flags: rules as numbers, by which a row says which of them fired.

/// Every list of rules begins with this many rules of version 0.1. They are on unless they are switched off, their columns are in
/// every file, and `rule_set` does not say that they are on.
pub const FIRST: usize = 4;
/// The most rules that a list may have: [`Flags`] has this many bits.
pub const RULES_MAX: usize = 32;

/// A rule's index in a list of rules ([`crate::rules`]), which has its name. Below [`RULES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flag(u8);

impl Flag {
    /// The user was never accepted on this computer before.
    pub const NEW_DEVICE: Flag = Flag(0);
    /// More logons within an hour than the threshold.
    pub const BURST_LOGIN: Flag = Flag(1);
    /// At least as many distinct computers within an hour as the threshold.
    pub const LATERAL_MOVEMENT: Flag = Flag(2);
    /// The computer is among the least popular ones.
    pub const RARE_HOST: Flag = Flag(3);
    /// The rules of version 0.1, with which every list begins.
    pub const FIRST: [Flag; FIRST] = [Flag::NEW_DEVICE, Flag::BURST_LOGIN, Flag::LATERAL_MOVEMENT, Flag::RARE_HOST];

    /// The flag of the rule with this index.
    pub(crate) fn new(index: usize) -> Flag {
        debug_assert!(index < RULES_MAX);
        Flag(index as u8)
    }
    /// The rule's index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A set of [`Flag`]s. It is never stored: lakes hold names ([`crate::rules::RuleSet::names`]) and a column for each rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub struct Flags(u32);

impl Flags {
    /// Puts the flag into the set if the rule `fires`, else takes it out.
    pub fn set(&mut self, flag: Flag, fires: bool) {
        self.0 = self.0 & !(1 << flag.0) | u32::from(fires) << flag.0;
    }
    /// Whether the flag is in the set.
    pub fn has(self, flag: Flag) -> bool {
        self.0 >> flag.0 & 1 == 1
    }
    /// The flags of the set, in order.
    pub fn iter(self) -> impl Iterator<Item = Flag> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let flag = (left != 0).then(|| Flag(left.trailing_zeros() as u8))?;
            left &= left - 1;
            Some(flag)
        })
    }
    /// As bits, flag 0 in the lowest.
    pub fn bits(self) -> u32 {
        self.0
    }
    /// The inverse of [`Flags::bits`].
    pub fn from_bits(bits: u32) -> Flags {
        Flags(bits)
    }
}

impl FromIterator<Flag> for Flags {
    fn from_iter<I: IntoIterator<Item = Flag>>(flags: I) -> Flags {
        Flags(flags.into_iter().fold(0, |bits, flag| bits | 1 << flag.0))
    }
}
