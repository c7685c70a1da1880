//! What a lake's journals say, and the environment in which they are read. Workers and audits build on this crate.
//!
//! [`mod@env`] is everything outside (clock, ids, threads, files, journal, tables), so that the same code runs in production and in the
//! simulator. [`log`] reads and writes one shard's entries, [`registry`] is what shards know of each other, and [`open`] fills it.

pub mod backfills;
pub mod columns_said;
mod dropped;
pub mod env;
pub mod error;
pub mod log;
pub mod open;
pub mod refusal;
pub mod registry;
pub mod rejections;
pub mod sink;
pub mod stop;

pub use env::Env;
pub use error::{ConsumerError, Result};
