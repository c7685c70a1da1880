//! Rows that were scored by other rules than those given to the audit. The rows themselves tell which of the first four rules were on: if
//! a rule fired anywhere under a `rule_set`, it was on, and then every row where it did not fire needs a reason.

use super::report::Difference;
use super::stop::{Check, Stop};
use authpulse_engine::flags::{FIRST, Flag, Flags};
use std::collections::HashMap;

/// A rule set among those that were met, as a number; or 0 if nothing is open. It is small, so that an event does not grow by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Under(u32);

impl Under {
    /// The rules are known, so nothing is open.
    pub const KNOWN: Under = Under(0);

    fn at(self) -> Option<usize> {
        (self.0 as usize).checked_sub(1)
    }
}

/// What the rows say about each rule set.
#[derive(Default)]
pub(super) struct RuleSets {
    /// The rule sets by their digests.
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
    /// Notes that these flags fired under the rule set of this digest, and returns its number.
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

    /// Notes that a rule did not fire where it should have if it was on. That is a difference at once if the rules are known.
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

    /// Adds what `other` has seen. Returns the numbers here of its rule sets, in its order.
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

    /// The number of a rule set after [`RuleSets::take`], which returned `here`.
    pub fn renumbered(under: Under, here: &[Under]) -> Under {
        under.at().and_then(|at| here.get(at).copied()).unwrap_or_default()
    }

    /// After all rows: checks that no rule that was on failed to fire without a reason.
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
