//! The consumer: from a stream or from files through the engine into the lake, exactly once.
//!
//! One [`worker::Worker`] per shard reads, judges, scores and stores entries; [`service::Service`] decides which shards are worked
//! on; [`committer`] lets the tables follow the journals, [`follow`] whoever else does. Everything outside (clock, ids, threads, files, journal, tables) is in
//! [`env::Env`], so that the same code runs in production and in the simulator.

pub mod aside;
pub mod backfill;
mod columns;
pub mod committer;
pub mod config;
mod draft;
pub mod drive;
mod dropped;
pub mod env;
pub mod error;
pub mod follow;
mod forgotten;
pub mod input;
mod lease_keeper;
mod line_digest;
pub mod log;
pub mod open;
pub mod options;
pub mod poison;
pub mod redrive;
pub mod registry;
pub mod rejections;
pub mod restore;
pub mod service;
pub mod sink;
pub mod status;
pub mod verify;
pub mod worker;

pub use env::Env;
pub use error::{ConsumerError, Result};
pub use options::Options;
