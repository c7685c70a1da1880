//! Where events come from: files in LANL's format, made-up traffic, and what is known about its attacks.
//!
//! Nothing here judges an event. [`input`] cuts bytes into lines and says where each line stood,
//! [`generate`] writes such lines, [`labels`] reads back which of them were attacks.

pub mod generate;
pub mod input;
pub mod labels;
