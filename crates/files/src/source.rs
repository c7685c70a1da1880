//! What the operator names on the command line, and how it is opened.

use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use super::InputError;

/// One thing to read lines from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// Standard input, `-` on the command line.
    Stdin,
    /// A file, or anything else that opens like one (a named pipe, `/dev/fd/63`).
    File(PathBuf),
}

impl Source {
    /// `-` is standard input, everything else a path (`./-` for a file of that name).
    pub fn parse(text: &str) -> Self {
        if text == "-" { Source::Stdin } else { Source::File(PathBuf::from(text)) }
    }

    /// Opens a file and refuses what cannot hold lines. `None` for standard input.
    ///
    /// # Errors
    /// The file cannot be opened, or is a directory.
    pub(super) fn open(&self) -> Result<Option<(File, Metadata)>, InputError> {
        let Source::File(path) = self else { return Ok(None) };
        let failed = |source: io::Error| open_error(path, source);
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(InputError::Directory { name: self.to_string() });
        }
        Ok(Some((file, metadata)))
    }

    /// The bytes on disk of a regular file; `None` for anything else.
    ///
    /// # Errors
    /// The file is missing or may not be looked at.
    pub(super) fn size(&self) -> Result<Option<u64>, InputError> {
        let Source::File(path) = self else { return Ok(None) };
        let metadata = std::fs::metadata(path).map_err(|source| open_error(path, source))?;
        Ok(metadata.is_file().then_some(metadata.len()))
    }
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        if path.as_os_str() == "-" { Source::Stdin } else { Source::File(path) }
    }
}

impl From<&Path> for Source {
    fn from(path: &Path) -> Self {
        path.to_path_buf().into()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Stdin => f.write_str("standard input"),
            Source::File(path) => path.display().fmt(f),
        }
    }
}

fn open_error(path: &Path, source: io::Error) -> InputError {
    let name = path.display().to_string();
    match source.kind() {
        // EMFILE and ENFILE, on Linux and macOS.
        _ if matches!(source.raw_os_error(), Some(24 | 23)) => InputError::TooManyFiles { name, source },
        io::ErrorKind::NotFound => InputError::NotFound { name },
        io::ErrorKind::PermissionDenied => InputError::NoPermission { name },
        _ => InputError::Open { name, source },
    }
}
