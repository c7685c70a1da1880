//! An archive of tar: the first line of its first file is glued to a header of 512 bytes.

use super::{Form, Next};

const HEADER_BYTES: usize = 512;
/// Where the header has its checksum.
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// Whether the bytes begin with a header that adds up. `ustar` at 257 is missing in old archives.
pub(super) fn of(sample: &[u8]) -> Option<Form> {
    let header = sample.get(..HEADER_BYTES)?;
    let sum: u64 =
        header.iter().enumerate().map(|(at, byte)| u64::from(if CHECKSUM.contains(&at) { b' ' } else { *byte })).sum();
    let is_tar = header[0] != 0 && octal(&header[CHECKSUM]) == Some(sum);
    is_tar.then(|| Form::new("an archive (tar)", Next::Command("tar -xOf".to_owned())))
}

/// Octal digits between blanks and NULs.
fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?.trim_matches([' ', '\0']);
    u64::from_str_radix(text, 8).ok()
}
