//! Which compression a file has, told by its first bytes; names lie too often.

use std::fmt;

/// How the bytes of a file are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Lines as they are.
    Plain,
    /// gzip, any number of members.
    Gzip,
    /// bzip2, any number of streams.
    Bzip2,
    /// Zstandard, any number of frames.
    Zstd,
}

/// Bytes of the longest header that is looked at (a frame of zstd).
pub(super) const MAGIC_BYTES: usize = 18;

/// The longest magic of bzip2.
const BZIP2_BYTES: usize = 10;

/// What a frame of zstd may ask for, in bytes: the decoder's own limit. A window is memory that is held while a file is read.
pub(super) const WINDOW_BYTES_MAX: u64 = 128 << 20;

const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const BZIP2_BLOCK: [u8; 6] = [0x31, 0x41, 0x59, 0x26, 0x53, 0x59];
const BZIP2_END: [u8; 6] = [0x17, 0x72, 0x45, 0x38, 0x50, 0x90];

impl Format {
    /// Goes by the first [`MAGIC_BYTES`] of a file, or by all it has if those are fewer.
    pub(super) fn detect(head: &[u8]) -> Format {
        if head.starts_with(&[0x1f, 0x8b]) {
            Format::Gzip
        } else if is_bzip2(head) {
            Format::Bzip2
        } else if is_zstd(head) {
            Format::Zstd
        } else {
            Format::Plain
        }
    }
}

/// A file cut off within its magic still counts: as lines it would be one line of junk.
fn is_bzip2(head: &[u8]) -> bool {
    let [b'B', b'Z', b'h', b'1'..=b'9', rest @ ..] = head else { return false };
    let rest = &rest[..rest.len().min(BZIP2_BLOCK.len())];
    BZIP2_BLOCK.starts_with(rest) || BZIP2_END.starts_with(rest)
}

/// A frame, or a skippable frame before the first.
fn is_zstd(head: &[u8]) -> bool {
    head.starts_with(&ZSTD) || matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// The window that a frame of zstd asks for, in bytes, by its header (RFC 8878, section 3.1.1.1).
pub(super) fn zstd_window(head: &[u8]) -> Option<u64> {
    let [descriptor, rest @ ..] = head.strip_prefix(&ZSTD)? else { return None };
    let single_segment = descriptor & 0x20 != 0;
    if !single_segment {
        let window = rest.first()?;
        let base = 1u64 << (10 + (window >> 3));
        return Some(base + base / 8 * u64::from(window & 7));
    }
    // A frame without a window of its own asks for as much as it holds.
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let bytes = [1, 2, 4, 8][usize::from(descriptor >> 6)];
    let mut content = [0; 8];
    content[..bytes].copy_from_slice(rest.get(dictionary..dictionary + bytes)?);
    Some(u64::from_le_bytes(content) + if bytes == 2 { 256 } else { 0 })
}

/// Whether more bytes could still make this the beginning of something in one of these formats. A live pipe must not be asked for
/// more than that: its first line may be all there is for hours.
pub(super) fn undecided(head: &[u8]) -> bool {
    let begins = |magic: &[u8]| head.len() < magic.len() && magic.starts_with(head);
    let zstd_skippable = |byte: &u8| (0x50..=0x5f).contains(byte);
    begins(&[0x1f, 0x8b])
        || begins(b"BZh1")
        || (head.len() < BZIP2_BYTES && is_bzip2(head))
        || begins(&ZSTD)
        || (head.first().is_some_and(zstd_skippable) && head.len() < 4 && [0x2a, 0x4d, 0x18].starts_with(&head[1..]))
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Plain => "plain",
            Format::Gzip => "gzip",
            Format::Bzip2 => "bzip2",
            Format::Zstd => "zstd",
        })
    }
}
