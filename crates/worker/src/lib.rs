//! One shard of a stream, or files, through the engine into entries, exactly once.
//!
//! A [`worker::Worker`] reads, admits, scores and stores; `draft` is the entry it makes, [`restore`] rebuilds its state from what is
//! stored, and [`begin`] starts it. Which shards are worked on is decided elsewhere.

pub mod begin;
mod columns;
mod draft;
pub mod input;
pub mod line_digest;
pub mod poison;
pub mod restore;
pub mod worker;
