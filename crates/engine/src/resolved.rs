//! A cache of popularities by computer number, so that a look-back is asked only once for each computer.

use crate::names::ComputerId;
use crate::popularity::LookBack;
use std::sync::Arc;

/// A look-back, with the popularity of the shard's computers as far as they were looked up.
pub(crate) struct Resolved {
    /// The look-back that is asked.
    pub view: Arc<LookBack>,
    /// Popularity by computer number; [`UNKNOWN`] where it was not looked up yet.
    by_computer: Vec<u64>,
}

const UNKNOWN: u64 = u64::MAX;
impl Resolved {
    /// An empty cache over a look-back, for a shard that knows this many computers.
    pub fn new(view: Arc<LookBack>, computers: usize) -> Resolved {
        Resolved { view, by_computer: vec![UNKNOWN; computers] }
    }

    /// A computer's popularity in the look-back. `name` is called only the first time.
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
