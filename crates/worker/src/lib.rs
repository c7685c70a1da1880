//! Takes one shard of a stream, or files, through the engine into entries, exactly once.
//!
//! A [`worker::Worker`] reads, admits, scores and stores. `machine` decides what is done when, `entry_builder` is the entry in the making,
//! `entry_writer` stores it, [`restore`] rebuilds the state from what is stored, and [`begin`] starts a worker. The service decides which
//! shards are worked on.

pub mod begin;
mod chunks;
mod columns;
mod entry_builder;
mod entry_files;
mod entry_writer;
pub mod input;
pub mod line_digest;
mod machine;
pub mod poison;
pub mod restore;
mod small_rows;
pub mod worker;
