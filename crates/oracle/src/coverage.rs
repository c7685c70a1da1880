//! Counts which rules and edges a suite's inputs reach, so that the suite can show that it tests them.

use std::collections::BTreeMap;

use crate::edges::Edge;
use crate::model::Outcome;

/// How many of the cases seen so far reached each edge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// How many cases were counted.
    pub cases: u64,
    /// How many of them reached each edge at least once. An edge that none reached is absent.
    pub reached: BTreeMap<Edge, u64>,
}

impl Coverage {
    /// Counts one case with the edges that its evaluation reached.
    pub fn add(&mut self, outcome: &Outcome) {
        self.cases += 1;
        for edge in outcome.edge_counts.keys() {
            *self.reached.entry(*edge).or_default() += 1;
        }
    }

    /// The edges of `wanted` that fewer than one in a hundred cases reached, with how many did.
    pub fn rare(&self, wanted: impl IntoIterator<Item = Edge>) -> Vec<(Edge, u64)> {
        let reached = |edge| self.reached.get(&edge).copied().unwrap_or(0);
        wanted.into_iter().map(|edge| (edge, reached(edge))).filter(|(_, cases)| cases * 100 < self.cases).collect()
    }
}
