//! Where events come from: files in LANL's format, made-up traffic, and what is known about its attacks.
//!
//! Nothing here decides about an event. [`replay`] sends the lines of files into a stream, [`generate`] and [`lanl`] write such lines,
//! [`labels`] reads back which of them were attacks, and [`progress`] shows how far any of it is.

mod buffer;
pub mod generate;
pub mod labels;
pub mod lanl;
pub mod progress;
pub mod replay;
