//! Where events come from: files in LANL's format, made-up traffic, and what is known about its attacks.
//!
//! Nothing here judges an event. [`input`] cuts bytes into lines and says where each line stood, [`replay`] sends them
//! into a stream, [`generate`] and [`lanl`] write such lines, [`labels`] reads back which of them were attacks, and [`progress`] tells a
//! terminal how far any of it is. [`tally`] counts what became of them, and [`own_ids`] whether their ids repeat.

pub mod generate;
pub mod input;
pub mod labels;
pub mod lanl;
pub mod own_ids;
pub mod progress;
pub mod replay;
pub mod tally;
