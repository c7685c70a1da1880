//! State as bytes: what a user leaves behind in a snapshot, in pieces that each cover a range of the ring.
//!
//! ```text
//! piece  magic "APST" | version u8 | computers: n, name* | users: n, user*          users in order of their hash
//! user   name | pairs: n, computer* | ring: n, (time delta, slot * 4 + kind)*
//!        open days: n, (slot, day, logins)* | own ids: n, (id, time, slot)* | hours: n, hour* | high risk: n, (day, slot, count)*
//! hour   hour | logins | anomalies | total | max | n, slot*
//! ```
//!
//! Numbers are LEB128 varints, signed ones zigzag; names and ids are length and bytes. Process-local numbers do not travel:
//! computers are numbered within the piece. Compression and checksums are the caller's. What passes a checksum by accident is
//! still an error where it says what cannot be, never a panic.

mod read;
mod write;

pub(crate) use read::is_published;
pub use read::{PieceReader, ReadPiece};

use authpulse_event::HashRange;

const MAGIC: &[u8; 4] = b"APST";
/// Version 1 had own ids without their computers.
const VERSION: u8 = 2;

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
    /// Written by a newer version; upgrade, or remove the reference and rebuild from the tables.
    #[error("state snapshot has format version {0}, this program reads up to {VERSION}; run a newer version")]
    Newer(u8),
    /// Written by an older version, for which an own id was the same on whatever computer: rebuild from the tables.
    #[error(
        "state snapshot has format version {0}, of an older version of authpulse; this program reads version {VERSION}"
    )]
    Older(u8),
    /// Not what was written.
    #[error("state snapshot is damaged: {0}")]
    Damaged(&'static str),
}
