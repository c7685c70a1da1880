//! The service: which shards are worked on, and what runs beside their workers.
//!
//! [`service::Service`] decides which shards have a worker. [`drive`] runs these workers and ends them in order. [`committer`] lets the
//! tables follow the journals, [`follow`] does so for every follower. [`backfill`] and [`redrive`] are the other entry points.

pub mod aside;
pub mod backfill;
mod beside;
pub mod committer;
pub mod drive;
pub mod follow;
mod forgotten;
mod lease_keeper;
pub mod redrive;
pub mod service;
