//! Every setting: one table of them ([`config`]), and what the program makes of it ([`options`]).
//!
//! Nothing here reads a clock, a lake or a stream; the defaults are what the shipped program runs with.

pub mod config;
pub mod options;

pub use config::Config;
pub use options::Options;
