//! Popularities at hand: a look-back is asked once for each computer.

use crate::names::ComputerId;
use crate::popularity::LookBack;
use std::sync::Arc;

/// A look-back with the popularity of each of the shard's computers, looked up once.
pub(crate) struct Resolved {
    pub view: Arc<LookBack>,
    /// By computer number; [`UNKNOWN`] where it was not asked for yet.
    by_computer: Vec<u64>,
}

const UNKNOWN: u64 = u64::MAX;
impl Resolved {
    /// None is looked up yet, of a shard that knows so many computers.
    pub fn new(view: Arc<LookBack>, computers: usize) -> Resolved {
        Resolved { view, by_computer: vec![UNKNOWN; computers] }
    }

    /// A computer's popularity in the look-back; its name is asked for where it was not looked up yet.
    pub fn popularity(&mut self, computer: ComputerId, name: impl FnOnce() -> String) -> u64 {
        let at = computer.index();
        if at >= self.by_computer.len() {
            self.by_computer.resize(at + 64, UNKNOWN);
        }
        if self.by_computer[at] == UNKNOWN {
            self.by_computer[at] = self.view.popularity(&name());
        }
        self.by_computer[at]
    }
}
