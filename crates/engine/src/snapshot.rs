//! State as bytes: what a user leaves behind in a snapshot, in pieces that each cover a range of the ring.
//!
//! ```text
//! piece  magic "APST" | version u8 | computers: n, name* | users: n, user*          users in order of their hash
//!        in version 3 then: sections: n, (name | must be understood u8 | length, bytes)*
//! user   name | pairs: n, computer* | ring: n, (time delta, slot * 4 + kind)*
//!        open days: n, (slot, day, logons)* | own ids: n, (id, time, slot)* | hours: n, hour* | high risk: n, (day, slot, count)*
//! hour   hour | logons | anomalies | total | max | n, slot*
//! ```
//!
//! Numbers are LEB128 varints, signed ones zigzag; names and ids are length and bytes. Process-local numbers do not travel:
//! computers are numbered within the piece. Compression and checksums are the caller's. What passes a checksum by accident is
//! still an error where it says what cannot be, never a panic.

mod read;
mod write;

pub(crate) use read::is_published;
pub use read::{PieceReader, ReadPiece};
pub use write::PieceSection;

use authpulse_event::HashRange;

const MAGIC: &[u8; 4] = b"APST";
/// The version of a piece without sections. Version 1 had own ids without their computers.
const VERSION: u8 = 2;
/// The version of a piece with sections, and the newest that this program reads.
const VERSION_WITH_SECTIONS: u8 = 3;

/// A part of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The users within it. The pieces of a snapshot divide the shard's range.
    pub range: HashRange,
    /// How many users it holds.
    pub users: u64,
    /// The content.
    pub bytes: Vec<u8>,
}

/// Why a piece cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Written by a newer version.
    #[error(
        "state snapshot has format version {0}, this program reads up to {VERSION_WITH_SECTIONS}: run a newer version of authpulse"
    )]
    Newer(u8),
    /// It holds something that this program does not know and must understand.
    #[error(
        "state snapshot holds the section '{0}', which this version of authpulse does not know and must understand: run a newer \
         version of authpulse"
    )]
    Section(String),
    /// Written by an older version, for which an own id was the same on whatever computer: rebuild from the tables.
    #[error(
        "state snapshot has format version {0}, of an older version of authpulse; this program reads version {VERSION}"
    )]
    Older(u8),
    /// Not what was written.
    #[error("state snapshot is damaged: {0}")]
    Damaged(&'static str),
}

impl SnapshotError {
    /// Whether a newer version of this program could read it.
    pub fn is_too_new(&self) -> bool {
        matches!(self, SnapshotError::Newer(_) | SnapshotError::Section(_))
    }
}
