//! The engine against the oracle, a second and simple evaluator of the semantics page (crate `authpulse-oracle`).
//!
//! However a service batches, crashes, restarts, splits and merges ([`service`], [`schedule`]), it must write each of the rows that
//! the oracle finds in the whole history exactly once ([`agreement`]).
//!
//! `AUTHPULSE_CASES` sets how many random cases each test tries, `AUTHPULSE_SEED` which ones.

mod agreement;
mod attributes;
mod clocks;
mod damage;
mod payloads;
mod random;
mod regressions;
mod rows;
mod schedule;
mod service;
mod snapshots;
