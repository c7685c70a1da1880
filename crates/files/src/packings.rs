//! Packings that are not read, recognised by their first bytes.

use super::format::MAGIC_BYTES;
use super::shell::quoted;
use super::{InputError, Source};
use std::io::Read;

/// Packings that people do hand over and that would otherwise become millions of dead letters: how they begin, what
/// they are, and the command that unpacks them.
const UNSUPPORTED: [(&[u8], &str, &str); 13] = [
    (&[0xfd, b'7', b'z', b'X', b'Z', 0x00], "xz", "xz -dc"),
    (b"PK\x03\x04", "zip", "unzip -p"),
    (b"PK\x05\x06", "zip (an empty one)", "unzip -p"),
    (b"PK\x07\x08", "zip", "unzip -p"),
    (&[b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c], "7z", "7z e -so"),
    (&[0x04, 0x22, 0x4d, 0x18], "lz4", "lz4 -dc"),
    (&[0x02, 0x21, 0x4c, 0x18], "lz4", "lz4 -dc"),
    (b"Rar!\x1a\x07", "rar", "unrar p -inul"),
    (&[0x5d, 0x00, 0x00], "lzma", "xz -dc"),
    (b"LZIP\x01", "lzip", "lzip -dc"),
    (b"\x89LZO\x00\r\n\x1a\n", "lzop", "lzop -dc"),
    (&[0x1f, 0x9d], "compress (.Z)", "gzip -dc"),
    (b"\xff\x06\x00\x00sNaPpY", "snappy", "snzip -dc"),
];

/// Refuses the input `name` if it is in one of these packings.
///
/// # Errors
/// [`InputError::Packed`] names the packing and what unpacks it.
pub(super) fn refuse_unsupported(name: &str, head: &[u8]) -> Result<(), InputError> {
    match UNSUPPORTED.iter().find(|(magic, ..)| head.starts_with(magic)) {
        Some((_, packing, unpack)) => {
            let advice = match name == Source::Stdin.to_string() {
                true => format!("unpack it before the pipe, as `{unpack}` does with a file"),
                false => format!("unpack it first: {unpack} {} > events.txt", quoted(name)),
            };
            Err(InputError::Packed { name: name.to_owned(), packing, advice })
        }
        None => Ok(()),
    }
}

/// Whether more bytes could still make this the beginning of one of those.
pub(super) fn undecided(head: &[u8]) -> bool {
    UNSUPPORTED.iter().any(|(magic, ..)| head.len() < magic.len() && magic.starts_with(head))
}

impl Source {
    /// Opens and closes a regular file, so that a missing one, or one in a packing that is not read, is reported before the first is read.
    /// A pipe is only looked at: opening it would wait for its writer, and closing it would end that writer. Returns the size of a regular
    /// file.
    ///
    /// # Errors
    /// The source cannot be opened, is a directory, or is in a packing that is not read.
    pub(super) fn check(&self) -> Result<Option<u64>, InputError> {
        let size = self.size()?;
        if size.is_some() {
            if let Some((file, _)) = self.open()? {
                let mut head = Vec::with_capacity(MAGIC_BYTES);
                // A failure to read is reported with its place when the lines are read.
                let _ = file.take(MAGIC_BYTES as u64).read_to_end(&mut head);
                refuse_unsupported(&self.to_string(), &head)?;
            }
        } else if let Source::File(path) = self
            && path.is_dir()
        {
            return Err(InputError::Directory { name: self.to_string() });
        }
        Ok(size)
    }
}
