//! Why an operation on the database failed, and how a caller is told.

use crate::StreamError;
use rusqlite::ErrorCode;
use std::path::Path;

/// A failure before it knows which stream and action it belongs to.
#[derive(Debug)]
pub(super) enum Failure {
    /// For the caller as it is.
    Told(StreamError),
    /// What is stored contradicts itself.
    Damaged(String),
    Sqlite(rusqlite::Error),
    Io(std::io::Error),
}

impl From<StreamError> for Failure {
    fn from(error: StreamError) -> Self {
        Failure::Told(error)
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
            Failure::Told(error) => error,
            Failure::Damaged(what) => StreamError::Damaged { stream, what },
            Failure::Io(cause) => StreamError::Storage { stream, action, cause: cause.to_string(), retry: false },
            Failure::Sqlite(cause) => match damage_or_retry(&cause) {
                None => StreamError::Damaged { stream, what: cause.to_string() },
                Some(retry) => StreamError::Storage { stream, action, cause: cause.to_string(), retry },
            },
        }
    }
}

/// `None`: damage. Otherwise whether trying again may help.
fn damage_or_retry(cause: &rusqlite::Error) -> Option<bool> {
    match cause.sqlite_error_code() {
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
        // A generic error of the engine while a fixed statement is prepared: a table or column is missing.
        Some(ErrorCode::Unknown) => None,
        Some(_) => Some(false),
        // Not from the engine: a value of a wrong type or range, or a row that must exist and does not.
        None => None,
    }
}
