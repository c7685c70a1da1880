//! The oracle: a second, simple program that computes what the engine must answer.
//!
//! It reads the whole history each time, keeps no incremental state and shares no code with the rest of the workspace. It
//! is written from `docs/semantics.md` alone. Its comments quote that page in quotation marks, often shortened, or name
//! the section and say the same in the words of the code (`docs/GLOSSARY.md`). Tests compare it with the engine row by row.
//!
//! ```text
//! bytes --split_lines--> records --parse--> events --admit--> accepted, rejected, waiting --score--> rows
//! ```
//!
//! Where the page is silent, the oracle chooses. The choices are written down in:
//!
//! - [`mod@parse`]: what a record of a stream may be.
//! - [`admission`]: a shard without a high-water mark, inheriting, advances that lower nothing.
//! - [`score`]: what counts towards popularity.
//!
//! [`fixed`] and [`spellings`] are tables of cases with answers computed by hand; engine and oracle are both tested with them.
//! [`broken`] has records that must be invalid, [`cases`] random input.

pub mod admission;
pub mod attributes;
pub mod broken;
pub mod calendar;
pub mod cases;
pub mod coverage;
pub mod edges;
pub mod fixed;
pub mod json;
pub mod lines;
pub mod model;
pub mod parse;
pub mod score;
pub mod spellings;

pub use coverage::Coverage;
pub use edges::Edge;
pub use lines::{split_lines, split_lines_with_numbers};
pub use model::{
    Curated, Daily, Form, Hourly, Outcome, Record, Rejected, Settings, Shard, Step, WHOLE_RING, days_closed_at,
    hours_closed_at,
};
pub use parse::{Event, parse, ring_position};
pub use score::evaluate;
