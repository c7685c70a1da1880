//! A digest of the lines that a run of a backfill has admitted. It tells whether other files begin with the same lines.

use authpulse_files::{BlockKind, LineBlock};
use sha2::{Digest, Sha256};

/// SHA-256 over lines in the order in which they are admitted: each as it stands in its unpacked file, without a byte-order mark, up to its
/// LF. The last line of a file gets an LF if it has none. Blank lines count where they have a number. Of a line above 1,048,576 bytes it
/// takes the bytes that were kept, an LF, the length in decimal digits, and an LF.
#[derive(Clone, Default)]
pub struct LineDigest(Sha256);

impl LineDigest {
    /// Takes in the lines of a block that lie before an offset.
    pub fn add(&mut self, block: &LineBlock, before: u64) {
        self.0.update(&block.bytes[..(before - block.offset) as usize]);
    }

    /// Takes in all lines of a block.
    pub fn add_all(&mut self, block: &LineBlock) {
        self.0.update(&block.bytes);
        match block.kind {
            BlockKind::Overlong { length } => self.0.update(format!("\n{length}\n")),
            BlockKind::Lines if !block.bytes.ends_with(b"\n") && !block.bytes.is_empty() => self.0.update(b"\n"),
            BlockKind::Lines => {}
        }
    }

    /// The digest so far, in lower-case hexadecimal.
    pub fn hex(&self) -> String {
        format!("{:x}", self.0.clone().finalize())
    }
}
