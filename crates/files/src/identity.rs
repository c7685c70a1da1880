//! Identifies a file, so that a run that resumes can tell whether it continues the same one.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{InputError, Source};

/// A file by its bytes on disk, compressed as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIdentity {
    /// The last part of its path: a file that moved is still the same.
    pub name: String,
    /// Bytes on disk.
    pub size: u64,
    /// SHA-256 of them, lower-case hex.
    pub sha256: String,
}

impl FileIdentity {
    /// Whether both are the same bytes, whatever they are called.
    pub fn same_content(&self, other: &FileIdentity) -> bool {
        self.size == other.size && self.sha256 == other.sha256
    }
}

/// What is known of a file without reading it. Equal stamps make the same file likely, not certain; different sizes make it impossible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStamp {
    /// The last part of its path.
    pub name: String,
    /// Bytes on disk.
    pub size: u64,
    /// Last modified, microseconds since 1970 UTC; `None` where the file system does not tell.
    pub modified_us: Option<i64>,
}

/// Reads a file once (some 1 GB/s) and digests it. `None` for standard input and pipes: what is read from them is
/// gone, and nobody can hand in the same again. `go_on` is asked every 256 KiB.
///
/// # Errors
/// It cannot be read, or changes meanwhile; [`InputError::ToldToEnd`] where `go_on` says no.
pub fn identify(source: &Source, go_on: &dyn Fn() -> bool) -> Result<Option<FileIdentity>, InputError> {
    let Some((mut file, metadata)) = open_regular(source)? else { return Ok(None) };
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut size = 0;
    loop {
        if !go_on() {
            return Err(InputError::ToldToEnd);
        }
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(bytes) => {
                digest.update(&buffer[..bytes]);
                size += bytes as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(InputError::Read { name: source.to_string(), read_bytes: size, line: 0, source: error });
            }
        }
    }
    if size != metadata.len() {
        return Err(InputError::Changed { name: source.to_string(), before: metadata.len(), now: size });
    }
    Ok(Some(FileIdentity { name: name(source), size, sha256: format!("{:x}", digest.finalize()) }))
}

/// The cheap half of [`identify`]. `None` for standard input and pipes.
///
/// # Errors
/// The file cannot be opened, is a directory, or is in a packing that is not read.
pub fn stamp(source: &Source) -> Result<Option<FileStamp>, InputError> {
    let Some((_, metadata)) = open_regular(source)? else { return Ok(None) };
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Ok(Some(FileStamp {
        name: name(source),
        size: metadata.len(),
        modified_us: modified.and_then(|since| i64::try_from(since.as_micros()).ok()),
    }))
}

fn open_regular(source: &Source) -> Result<Option<(File, Metadata)>, InputError> {
    // Checked first: opening a pipe would wait for its writer.
    if source.check()?.is_none() { Ok(None) } else { source.open() }
}

fn name(source: &Source) -> String {
    match source {
        Source::Stdin => String::new(),
        Source::File(path) => path.file_name().map_or_else(|| source.to_string(), |name| name.to_string_lossy().into()),
    }
}
