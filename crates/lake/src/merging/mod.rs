//! Merges many files of a partition into one: which files go together, and what becomes of their rows and columns. Commits do this with the
//! files that they append, maintenance with those that are in the table.

mod align;
mod merge;
mod plan;

pub(crate) use merge::{Merged, merge};
pub(crate) use plan::unsuitable;
pub use plan::{Group, PlanLimits, groups};
