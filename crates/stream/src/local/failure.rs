//! Why an operation on the database failed, and the error that the caller gets.

use crate::StreamError;
use authpulse_event::advice::on_refused_file;
use authpulse_sqlite::words;
use rusqlite::ErrorCode;
use std::path::Path;

/// A failure before it knows which stream and action it belongs to.
#[derive(Debug)]
pub(super) enum Failure {
    /// For the caller as it is.
    Reported(StreamError),
    /// What is stored contradicts itself.
    Damaged(String),
    Sqlite(rusqlite::Error),
    Io(std::io::Error),
}

impl From<StreamError> for Failure {
    fn from(error: StreamError) -> Self {
        Failure::Reported(error)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Failure::Sqlite(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::Io(error)
    }
}

impl Failure {
    /// The error for the caller of `action` on the stream stored in `path`.
    pub fn tell(self, path: &Path, action: &'static str) -> StreamError {
        let stream = path.display().to_string();
        match self {
            Failure::Reported(error) => error,
            Failure::Damaged(what) => StreamError::Damaged { stream, what },
            Failure::Io(error) => {
                let cause = advice(&error).map_or_else(|| error.to_string(), |advice| format!("{error}: {advice}"));
                StreamError::Storage { stream, action, cause, retry: false }
            }
            Failure::Sqlite(error) => match damage_or_retry(&error) {
                None => StreamError::Damaged { stream, what: error.to_string() },
                Some(retry) => StreamError::Storage { stream, action, cause: words(&error), retry },
            },
        }
    }
}

/// `None`: damage. Otherwise whether trying again may help.
fn damage_or_retry(error: &rusqlite::Error) -> Option<bool> {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::TypeMismatch) => None,
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::OutOfMemory
            | ErrorCode::OperationInterrupted,
        ) => Some(true),
        // The statements are fixed: a table or column that they name was there when the stream was made.
        Some(ErrorCode::Unknown) if error.to_string().starts_with("no such ") => None,
        Some(_) => Some(false),
        // Not from the engine: a value of a wrong type or range, or a row that must exist and does not.
        None => None,
    }
}

/// What to do about a failure of the system, where that is known.
fn advice(error: &std::io::Error) -> Option<&'static str> {
    error.raw_os_error().and_then(on_refused_file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    #[test]
    fn only_a_bad_file_is_damage() {
        let tell = |code| {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            Failure::from(error).tell(Path::new("stream.db"), "put")
        };
        for code in [ffi::SQLITE_CORRUPT, ffi::SQLITE_CORRUPT_INDEX, ffi::SQLITE_NOTADB] {
            assert!(matches!(tell(code), StreamError::Damaged { .. }), "{code}");
        }
        for (code, again, word) in [
            (ffi::SQLITE_FULL, true, "free some space"),
            (ffi::SQLITE_IOERR_WRITE, true, "quota"),
            (ffi::SQLITE_IOERR_SHMSIZE, true, "quota"),
            (ffi::SQLITE_BUSY, true, "another process"),
            (ffi::SQLITE_LOCKED, true, "another process"),
            (ffi::SQLITE_CANTOPEN, false, "write the file and its directory"),
            (ffi::SQLITE_READONLY, false, "read-only"),
            (ffi::SQLITE_READONLY_DIRECTORY, false, "read-only"),
            (ffi::SQLITE_PERM, false, "write the file"),
            (ffi::SQLITE_ERROR, false, ""),
        ] {
            match tell(code) {
                StreamError::Storage { retry, cause, .. } if retry == again && cause.contains(word) => {}
                other => panic!("{code}: {other:?}"),
            }
        }
    }
}
