//! Input files as lines: opened, decompressed, cut, numbered.
//!
//! ```text
//! Source -> open -> Format (first bytes) -> decoder -> Cutter -> LineBlock -> lines()
//!           `---------------- thread "authpulse-input" -----'     `---- caller ----'
//! ```
//!
//! The rules, which hold for every source and every compression:
//!
//! - A line ends with LF or with its file; one CR right before that is dropped. A UTF-8 byte-order mark at the
//!   start of a file is skipped. What is left is the line, and its bytes are handed on unchanged.
//! - Every line has a number, counted from 1 through all sources. A line of blanks only (space, tab) keeps its
//!   number but is no record, and no iterator here yields it.
//! - A line above [`LINE_BYTES_MAX`] is a record whatever it holds, and comes with its true length. It is held
//!   whole up to [`OVERLONG_WHOLE_BYTES_MAX`], so that it can be sent on unchanged; of a longer one only the first
//!   [`OVERLONG_PREFIX_BYTES`] are kept, more than a dead letter stores.
//! - NUL bytes at the end of a source are no part of its last line, and zero bytes behind its packed data are ignored.
//! - A source that cannot be read to its end gives its whole lines first and then one [`InputError`]; the line
//!   that the failure cut through is not delivered, because nobody can say where it would have ended.
//!
//! [`sort()`] puts the lines of all sources in order of event time first, on disk.
//!
//! [`LineBlocks`] is the fast way (about a MiB of whole lines at a time), [`Records`] the simple one.

mod block;
mod cut;
mod decode;
mod error;
mod format;
mod forms;
mod identity;
mod members;
mod order;
pub mod own_ids;
mod packings;
mod progress;
mod read;
mod records;
mod shell;
mod sort;
mod source;
pub mod tally;
#[cfg(test)]
mod tests;
mod trail;

pub use block::{BlockKind, Line, LineBlock, LinePosition, Lines, Origin, Origins, lines};
pub use error::InputError;
pub use format::Format;
pub use identity::{FileIdentity, FileStamp, identify, stamp};
pub use order::{Disorder, find_disorder, first_event};
pub use progress::ReadProgress;
pub use read::{InputOptions, LineBlocks, check};
pub use records::{Record, Records};
pub use sort::{SortOptions, Sorted, sort};
pub use source::Source;

/// The longest valid line, in bytes without mark and line end. A longer one is one invalid record.
pub const LINE_BYTES_MAX: usize = 1_048_576;

/// The longest overlong line that is still held whole, in bytes. It is above what any stream takes as one record,
/// and it bounds the memory of a file without line ends: a few such blocks at a time, not the file.
pub const OVERLONG_WHOLE_BYTES_MAX: usize = 16 * 1_048_576;

/// What is kept of a line above [`OVERLONG_WHOLE_BYTES_MAX`], in bytes. Itself above [`LINE_BYTES_MAX`], so that it is
/// an overlong record wherever it is sent on, and above what a dead letter holds.
pub const OVERLONG_PREFIX_BYTES: usize = LINE_BYTES_MAX + 64 * 1024;
