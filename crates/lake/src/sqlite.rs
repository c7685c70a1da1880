//! How the lake's SQLite files are opened: write-ahead log, full sync, patience with other readers. And what their failures mean.

use crate::advice::{self, RIGHTS, unopened};
use crate::store::sync_directory;
use rusqlite::{Connection, ErrorCode};
use std::path::Path;
use std::time::Duration;

/// How long a statement waits for another process to finish its own.
const BUSY: Duration = Duration::from_secs(10);

/// Why a database did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Whether the file itself is bad, so that only a copy of it helps. Everything else is in the way of a good file.
    pub damaged: bool,
    /// What SQLite said and, where the file is good, what to do.
    pub cause: String,
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Failure {
        let what = match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                return Failure { damaged: true, cause: error.to_string() };
            }
            Some(ErrorCode::DiskFull) => "free some space",
            Some(ErrorCode::CannotOpen) => unopened(),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => RIGHTS,
            // SQLite has one answer for a quota, a limit on the size of files and a device that fails.
            Some(ErrorCode::SystemIoFailure) => {
                "see that the disk is not full, no quota and no limit on the size of files is reached, and the device is sound"
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                "another process has held it for 10 s; try again when that is done"
            }
            _ => return Failure { damaged: false, cause: error.to_string() },
        };
        let code = error.sqlite_error().map_or(0, |e| e.extended_code);
        Failure { damaged: false, cause: format!("{error} (SQLite code {code}): {what}") }
    }
}

/// Opens a database and makes its tables.
pub(crate) fn open(path: &Path, schema: &str) -> Result<Connection, Failure> {
    let existed = path.exists();
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // In WAL mode a commit is durable only with FULL; the default of some builds is NORMAL.
        connection.pragma_update(None, "synchronous", "FULL")?;
        // macOS: a sync that reaches the disk and not only its cache.
        connection.pragma_update(None, "fullfsync", "ON")?;
        connection.execute_batch(schema)?;
        Ok(connection)
    };
    let connection = open()?;
    if !existed {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        sync_directory(parent).map_err(|e| Failure { damaged: false, cause: advice::words(&e) })?;
    }
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    #[test]
    fn only_a_bad_file_is_damage() {
        let failure = |code| Failure::from(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        for code in [ffi::SQLITE_CORRUPT, ffi::SQLITE_CORRUPT_INDEX, ffi::SQLITE_NOTADB] {
            assert!(failure(code).damaged, "{code}");
        }
        for (code, word) in [
            (ffi::SQLITE_FULL, "free some space"),
            (ffi::SQLITE_CANTOPEN, "write the file and its directory"),
            (ffi::SQLITE_CANTOPEN_ISDIR, "write the file and its directory"),
            (ffi::SQLITE_READONLY, "read-only"),
            (ffi::SQLITE_READONLY_DIRECTORY, "read-only"),
            (ffi::SQLITE_PERM, "write the file"),
            (ffi::SQLITE_IOERR_WRITE, "quota"),
            (ffi::SQLITE_IOERR_SHMSIZE, "quota"),
            (ffi::SQLITE_BUSY, "another process"),
            (ffi::SQLITE_LOCKED, "another process"),
            (ffi::SQLITE_NOMEM, ""),
            (ffi::SQLITE_PROTOCOL, ""),
            (ffi::SQLITE_ERROR, ""),
        ] {
            let Failure { damaged, cause } = failure(code);
            assert!(!damaged && cause.contains(word), "{code}: {cause}");
        }
    }
}
