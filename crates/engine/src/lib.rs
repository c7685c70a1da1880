//! The engine: records and times in, decisions and state out. Pure: no async, clock, randomness, I/O or logging.
//!
//! A [`Shard`] admits records ([`Shard::admit`]), scores what it accepted as soon as the popularity it needs is known
//! ([`Shard::score_ready`], [`PopularityIndex`]), and is cut now and then ([`Shard::cut`]) so that one journal entry can store what
//! happened since the last cut. After a crash it is rebuilt ([`Restoring`]). What each step means is written in
//! `docs/semantics.md`; this crate follows that page sentence by sentence.

mod admission;
mod attribute_sets;
mod cut;
pub mod flags;
mod look_ahead;
pub mod names;
pub mod popularity;
mod resolved;
mod restore;
pub mod rows;
pub mod rules;
mod score;
pub mod settings;
mod shard;
mod snapshot;
mod user;
mod written_hours;

pub use admission::WENT_ON;
pub use cut::Cut;
pub use look_ahead::Known;
pub use popularity::{DailyCounts, PopularityIndex};
pub use restore::{RestoreFrom, Restoring, StoredRow};
pub use settings::Settings;
pub use shard::{Counts, Incoming, Inspect, NamedEvent, Output, Shard, SourceKind, WaitingEvent};
pub use snapshot::{Piece, PieceReader, PieceSection, ReadPiece, SnapshotError};
