//! Many files of a partition in one: which go together, and what becomes of their rows and columns. Commits do so with what they append,
//! maintenance with what is there.

mod align;
mod merge;
mod plan;

pub(crate) use merge::{Merged, merge};
pub(crate) use plan::unsuitable;
pub use plan::{Group, PlanLimits, groups};
