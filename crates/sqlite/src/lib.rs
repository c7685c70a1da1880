//! What all crates that open SQLite files have in common: how long to wait for another process, and advice for errors. Such files are
//! the catalog and the journal of a local lake, the embedded stream, and the leases on one machine.

use authpulse_event::advice::{FREE_SPACE, HELD, RIGHTS, SEE_DISK, on_refused_file};
use rusqlite::{Connection, ErrorCode};
use std::time::{Duration, Instant};
use tokio::runtime::{Handle, RuntimeFlavor};

/// How long opening a file, or a statement, waits for another process. Longer than any statement of this product takes.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The pause between two attempts. SQLite's own busy handler has pauses of this length too.
const PAUSE: Duration = Duration::from_millis(5);

/// Whether another connection held a lock: nothing was done, and trying again may help.
pub fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Repeats an attempt while another connection holds a lock. It is for operations that SQLite's busy timeout does not cover, such as a
/// change of the journal's mode (<https://www.sqlite.org/c3ref/busy_handler.html>: "not guaranteed to be invoked every time").
///
/// # Errors
/// The error of the last attempt: another connection held a lock for all of `patience`, or something else failed.
fn patiently<T>(
    patience: Duration,
    mut attempt: impl FnMut() -> rusqlite::Result<T>,
    mut pause: impl FnMut(),
) -> rusqlite::Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        match attempt() {
            Err(error) if is_busy(&error) && Instant::now() < deadline => pause(),
            outcome => return outcome,
        }
    }
}

/// Runs something that may wait for another process. On a multi-threaded runtime other tasks go on meanwhile: Tokio takes a thread more for
/// them.
pub fn blocking<T>(run: impl FnOnce() -> T) -> T {
    match Handle::try_current() {
        Ok(handle) if handle.runtime_flavor() == RuntimeFlavor::MultiThread => tokio::task::block_in_place(run),
        _ => run(),
    }
}

#[expect(clippy::disallowed_methods, reason = "SQLite blocks too, for longer, and nothing tells when to try again")]
fn pause() {
    std::thread::sleep(PAUSE);
}

/// Switches the write-ahead log on if it is off. Returns the journal's mode afterwards, which is not `wal` if the file system has no
/// shared memory. Waits for other processes: one that opens the file, or closes it as its last user, locks it for some milliseconds.
///
/// # Errors
/// Another connection held a lock for all of `patience`, or something else failed.
pub fn use_write_ahead_log(connection: &Connection, patience: Duration) -> rusqlite::Result<String> {
    switch_log_on(connection, patience, pause)
}

fn switch_log_on(connection: &Connection, patience: Duration, pause: impl FnMut()) -> rusqlite::Result<String> {
    let switch = || connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0));
    patiently(patience, switch, pause)
}

/// The text of an error that is no damage to the file, with advice where there is some.
pub fn words(error: &rusqlite::Error) -> String {
    let code = error.sqlite_error().map_or(0, |e| e.extended_code);
    let advice = match error.sqlite_error_code() {
        Some(ErrorCode::CannotOpen) => Some(unopened()),
        kind => kind.and_then(advice),
    };
    advice.map_or_else(|| error.to_string(), |advice| format!("{error} (SQLite code {code}): {advice}"))
}

/// How many files SQLite opens for one database: the file, its log, the log's index, the directory.
const DATABASE_FILES: usize = 4;

/// Advice for a file that could not be opened. SQLite gives the same error if a right is missing and if this process, or the host, has
/// too many files open. To tell these apart, this opens as many files itself.
fn unopened() -> &'static str {
    let opened: std::io::Result<Vec<_>> = (0..DATABASE_FILES).map(|_| std::fs::File::open("/dev/null")).collect();
    opened.err().and_then(|error| error.raw_os_error()).and_then(on_refused_file).unwrap_or(RIGHTS)
}

fn advice(kind: ErrorCode) -> Option<&'static str> {
    match kind {
        ErrorCode::DiskFull => Some(FREE_SPACE),
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Some(RIGHTS),
        // SQLite gives the same error for a quota, a limit on the size of files and a failing device.
        ErrorCode::SystemIoFailure => Some(SEE_DISK),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Some(HELD),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;
    use std::path::Path;

    fn writing(path: &Path) -> Connection {
        let connection = Connection::open(path).unwrap();
        connection.execute_batch("CREATE TABLE t (x); BEGIN IMMEDIATE; INSERT INTO t VALUES (1)").unwrap();
        connection
    }

    /// SQLite's own patience is no help there: the first attempt fails at once though the busy timeout is ten seconds.
    #[test]
    fn the_log_is_switched_on_once_another_connection_has_done_its_work() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a.db");
        let other = writing(&path);
        let connection = Connection::open(&path).unwrap();
        connection.busy_timeout(PATIENCE).unwrap();
        let mut pauses = 0;
        let mode = switch_log_on(&connection, PATIENCE, || {
            pauses += 1;
            other.execute_batch("COMMIT").unwrap();
        });
        assert_eq!((mode.as_deref(), pauses), (Ok("wal"), 1));
    }

    #[test]
    fn patience_ends() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a.db");
        let _other = writing(&path);
        let connection = Connection::open(&path).unwrap();
        let (patience, begun) = (Duration::from_millis(20), Instant::now());
        let refused = use_write_ahead_log(&connection, patience).unwrap_err();
        assert!(is_busy(&refused) && begun.elapsed() >= patience, "{refused}");
    }

    #[test]
    fn what_fails_for_another_reason_is_not_tried_again() {
        let mut attempts = 0;
        let attempt = || {
            attempts += 1;
            Err::<(), _>(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_FULL), None))
        };
        let failed = patiently(PATIENCE, attempt, pause);
        assert!(failed.is_err() && attempts == 1);
    }

    #[test]
    fn words_say_what_to_do() {
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
            (ffi::SQLITE_BUSY_RECOVERY, "another process"),
            (ffi::SQLITE_LOCKED, "another process"),
        ] {
            let words = words(&rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
            assert!(words.contains(word) && words.contains(&format!("SQLite code {code}")), "{code}: {words}");
        }
        for code in [ffi::SQLITE_NOMEM, ffi::SQLITE_PROTOCOL, ffi::SQLITE_ERROR] {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            assert_eq!(words(&error), error.to_string());
        }
    }
}
