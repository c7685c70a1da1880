//! Snapshots: the state of a shard's users as bytes, in pieces that each cover a range of the ring.
//!
//! ```text
//! piece  magic "APST" | version u8 | computers: n, name* | users: n, user*          users in order of their hash
//!        in version 3 then: sections: n, (name | must be understood u8 | length, bytes)*
//! user   name | pairs: n, computer* | ring: n, (time delta, slot * 4 + kind)*
//!        open days: n, (slot, day, logons)* | own ids: n, (id, time, slot)* | hours: n, hour* | high risk: n, (day, slot, count)*
//! hour   hour | logons | anomalies | total | max | n, slot*
//! ```
//!
//! Numbers are LEB128 varints, signed ones zigzag; names and ids are length and bytes. Computers are numbered within the piece,
//! because the numbers of a process mean nothing to another. Compression and checksums are the caller's. Damage that a checksum
//! misses still gives an error if the state is impossible, and never a panic.

mod read;
mod write;

pub(crate) use read::is_published;
pub use read::{PieceReader, ReadPiece};
pub use write::PieceSection;

use authpulse_event::HashRange;

const MAGIC: &[u8; 4] = b"APST";
/// The version of a piece without sections. In version 1, own ids had no computer.
const VERSION: u8 = 2;
/// The version of a piece with sections, and the newest that this program reads.
const VERSION_WITH_SECTIONS: u8 = 3;

/// A part of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The part of the ring whose users it holds. The pieces of a snapshot divide the shard's range.
    pub range: HashRange,
    /// How many users it holds.
    pub users: u64,
    /// The content, in the format of the module, not compressed.
    pub bytes: Vec<u8>,
}

/// Why a piece cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// A newer version wrote it, in this format version.
    #[error(
        "state snapshot has format version {0}, this program reads up to {VERSION_WITH_SECTIONS}: run a newer version of authpulse"
    )]
    Newer(u8),
    /// It has a section of this name, which this program must understand and does not know.
    #[error(
        "state snapshot holds the section '{0}', which this version of authpulse does not know and must understand: run a newer \
         version of authpulse"
    )]
    Section(String),
    /// An older version wrote it, which did not tell own ids apart by computer. Rebuild from the tables.
    #[error(
        "state snapshot has format version {0}, of an older version of authpulse; this program reads version {VERSION}"
    )]
    Older(u8),
    /// The bytes are not those that were written; the words say what is wrong.
    #[error("state snapshot is damaged: {0}")]
    Damaged(&'static str),
}

impl SnapshotError {
    /// Whether a newer version of this program could read it.
    pub fn is_too_new(&self) -> bool {
        matches!(self, SnapshotError::Newer(_) | SnapshotError::Section(_))
    }
}
