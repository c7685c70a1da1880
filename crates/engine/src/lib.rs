//! The engine: records and times in, decisions and state out. Pure: no async, clock, randomness, I/O or logging.
//!
//! A [`Shard`] admits records ([`Shard::admit`]) and scores accepted events as soon as it knows the popularity that they need
//! ([`Shard::score_ready`], [`PopularityIndex`]). Now and then the worker takes a cut ([`Shard::cut`]), so that one journal entry can
//! store what happened since the last cut. After a crash the shard is rebuilt ([`Restoring`]). `docs/semantics.md` defines each
//! step; this crate follows that page sentence by sentence.

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
