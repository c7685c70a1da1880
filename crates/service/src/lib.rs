//! The service: which shards are worked on, and what runs beside their workers.
//!
//! [`service::Service`] decides which shards have a worker, [`drive`] runs them for real and ends them in order; [`committer`] lets the
//! tables follow the journals, [`follow`] whoever else does. [`backfill`] and [`redrive`] are its other ways in.

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
