//! Rows that other rules scored than those that the audit was told. Which of the first four rules were on is seen from the rows
//! themselves: where one fired under a `rule_set`, it was on, and then it is quiet nowhere without a reason.

use super::report::Difference;
use super::stop::{Check, Stop};
use authpulse_engine::flags::{FIRST, Flag, Flags};
use std::collections::HashMap;

/// A rule set among those that were met, or none where nothing is open: so small that an event is no larger for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Under(u32);

impl Under {
    /// Nothing is open.
    pub const KNOWN: Under = Under(0);

    fn at(self) -> Option<usize> {
        (self.0 as usize).checked_sub(1)
    }
}

/// What the rows of each rule set say.
#[derive(Default)]
pub(super) struct RuleSets {
    /// By the digest.
    known: HashMap<String, Under>,
    sets: Vec<Seen>,
}

#[derive(Clone, Default)]
struct Seen {
    digest: String,
    fired: Flags,
    quiet: [Option<Box<Difference>>; FIRST],
}

impl RuleSets {
    /// The rule set of this digest, under which these flags fired.
    pub fn met(&mut self, digest: &str, fired: Flags) -> Under {
        let under = self.known.get(digest).copied().unwrap_or_else(|| self.add(digest));
        if let Some(seen) = under.at().and_then(|at| self.sets.get_mut(at)) {
            seen.fired = seen.fired.iter().chain(fired.iter()).collect();
        }
        under
    }

    fn add(&mut self, digest: &str) -> Under {
        self.sets.push(Seen { digest: digest.to_owned(), ..Seen::default() });
        let under = Under(u32::try_from(self.sets.len()).expect("fewer than 2^32 rule sets fit a machine"));
        self.known.insert(digest.to_owned(), under);
        under
    }

    /// A rule was quiet that should have fired, if it was on. At once a difference where it is known that it was.
    pub fn was_quiet(&mut self, under: Under, flag: Flag, stop: Stop) -> Check<()> {
        let Stop::Difference(difference) = stop else { return Err(stop) };
        let Some(seen) = under.at().and_then(|at| self.sets.get_mut(at)) else {
            return Err(Stop::Difference(difference));
        };
        if let Some(first) = seen.quiet.get_mut(flag.index()) {
            first.get_or_insert(difference);
        }
        Ok(())
    }

    /// Takes what another has seen; what each of its rule sets is here.
    pub fn take(&mut self, other: RuleSets) -> Vec<Under> {
        let mut here = Vec::with_capacity(other.sets.len());
        for theirs in other.sets {
            let under = self.met(&theirs.digest, theirs.fired);
            here.push(under);
            if let Some(seen) = under.at().and_then(|at| self.sets.get_mut(at)) {
                for (first, theirs) in seen.quiet.iter_mut().zip(theirs.quiet) {
                    *first = first.take().or(theirs);
                }
            }
        }
        here
    }

    /// The same rule set, as it is numbered where this one was taken to.
    pub fn renumbered(under: Under, here: &[Under]) -> Under {
        under.at().and_then(|at| here.get(at).copied()).unwrap_or_default()
    }

    /// After all rows: no rule that was on was quiet without a reason.
    pub fn finish(self) -> Check<()> {
        for seen in self.sets {
            for (flag, quiet) in Flag::FIRST.into_iter().zip(seen.quiet) {
                if let Some(difference) = quiet.filter(|_| seen.fired.has(flag)) {
                    return Err(Stop::Difference(difference));
                }
            }
        }
        Ok(())
    }
}
