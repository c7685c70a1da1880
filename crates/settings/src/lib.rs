//! All settings: one table of them ([`config`]), and the options that they result in ([`options`]).
//!
//! Nothing here reads a clock, a lake or a stream. The defaults are those of the shipped program.

pub mod config;
pub mod options;

pub use config::Config;
pub use options::Options;
