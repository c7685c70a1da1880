//! What an authentication event is and where it lies in its stream. Formats from outside are parsed here, once.
//!
//! This crate is pure: no clock, no I/O, no randomness. All crates that read or write events (producer, stream, engine, lake)
//! share these few types and nothing else.
//!
//! - [`attributes`]: the optional fields of an event.
//! - [`reading`]: how a parser must read records: `base` and attributes.
//! - [`parse`]: turns a line of a LANL file or a record of a stream into a [`ParsedEvent`], or an [`Invalid`] that says why not.
//! - [`time`]: kinds of time, civil dates, RFC 3339.
//! - [`epoch`]: hints for senders whose numbers do not count from `base`.
//! - [`ring`]: the MD5 ring over which users are spread, and ranges of it.
//! - [`position`]: shards, sequence numbers, positions.
//! - [`id`]: the identity of an event.
//! - [`advice`]: error texts that all crates share; [`Remedy`]: what the caller of a failed operation can do.

pub mod advice;
pub mod attributes;
pub mod epoch;
pub mod id;
mod json;
mod kinds;
pub mod parse;
pub mod position;
pub mod reading;
mod remedy;
pub mod rfc3339;
pub mod ring;
pub mod time;
pub mod varint;

pub use attributes::{ATTRIBUTES, Attribute, AttributeKind, AttributeValue, Attributes};
pub use id::{EventIdRef, TimeForm};
pub use parse::{Invalid, ParsedEvent, parse_line, parse_record};
pub use position::{Position, SequenceNumber, ShardId};
pub use reading::{EventModel, Reading};
pub use remedy::Remedy;
pub use ring::HashRange;
pub use time::{ArrivalTime, Day, EventTime, ProcessingTime, Span, Tick};

/// Longest line or record, in bytes, without byte-order mark and line end (semantics, section 1).
pub const MAX_RECORD_BYTES: usize = 1_048_576;
/// Longest user or computer name, in bytes of UTF-8 after trimming.
pub const MAX_NAME_BYTES: usize = 256;
/// Longest `event_id` that a producer may send, in bytes of UTF-8.
pub const MAX_EVENT_ID_BYTES: usize = 128;
/// Most digits of an integer time, leading zeros included.
pub const MAX_TIME_DIGITS: usize = 12;
/// Deepest nesting of a JSON record; the record's own object is depth 1.
pub const MAX_JSON_DEPTH: usize = 100;
/// Bytes of a rejected payload that a dead letter keeps.
pub const MAX_DEAD_LETTER_BYTES: usize = 65_536;
