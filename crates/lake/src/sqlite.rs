//! How the lake's SQLite files are opened (write-ahead log, full sync, waiting for other processes), and what their failures mean.

use crate::advice;
use crate::store::sync_directory;
use authpulse_sqlite::{PATIENCE, blocking, is_busy, use_write_ahead_log, words};
use rusqlite::{Connection, ErrorCode};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Why a call of the database failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Whether the file itself is bad, so that only a copy of it helps. All other failures leave a good file.
    pub damaged: bool,
    /// Whether another process blocked writes to the database for as long as [`PATIENCE`]: nothing has happened.
    pub busy: bool,
    /// What SQLite said and, if the file is good, what to do.
    pub cause: String,
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Failure {
        let damaged = matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase));
        Failure { damaged, busy: is_busy(&error), cause: words(&error) }
    }
}

impl Failure {
    /// Names the process that blocks writes, if the system shows which it is: a process that was stopped while it wrote keeps all others
    /// waiting until somebody lets it continue or ends it.
    fn naming_who_is_in_the_way(mut self, database: &Path) -> Failure {
        if self.busy
            && let Some(process) = writer(database)
        {
            self.cause = format!("{}; process {process} is writing to it", self.cause);
        }
        self
    }
}

/// The process that holds the write lock of a database in WAL mode.
#[cfg(target_os = "linux")]
fn writer(database: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    let mut shared_memory = database.as_os_str().to_owned();
    shared_memory.push("-shm");
    let inode = std::fs::metadata(shared_memory).ok()?.ino();
    writer_of(&std::fs::read_to_string("/proc/locks").ok()?, inode)
}

#[cfg(not(target_os = "linux"))]
fn writer(_: &Path) -> Option<u32> {
    None
}

/// The byte of the shared memory that a writer locks, by SQLite's format of the write-ahead log.
#[cfg(target_os = "linux")]
const WRITE_LOCK_BYTE: &str = "120";

/// Finds the process in a list such as `1: POSIX  ADVISORY  WRITE 4711 08:01:131 120 120`.
#[cfg(target_os = "linux")]
fn writer_of(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "POSIX", _, "WRITE", process, file, WRITE_LOCK_BYTE, _] = words[..] else { return None };
        let is_ours = file.rsplit(':').next()?.parse() == Ok(inode);
        // 0 or less: a process that cannot be seen from within this container.
        process.parse().ok().filter(|process| is_ours && *process > 0)
    })
}

/// A database of a lake. Reads never wait for a write, neither in this process nor in another.
pub(crate) struct Database {
    path: PathBuf,
    reader: Mutex<Connection>,
    /// An async mutex: a task that waits for its turn blocks no thread.
    writer: futures::lock::Mutex<Connection>,
}

impl Database {
    /// Opens the database, and creates its tables unless the query `is_made` finds them.
    ///
    /// # Errors
    /// The file cannot be opened or is no database, another process blocks it for as long as [`PATIENCE`], or its directory cannot be
    /// synced.
    pub fn open(path: &Path, schema: &str, is_made: &str) -> Result<Database, Failure> {
        let open = || open(path, schema, is_made).map_err(|failure| failure.naming_who_is_in_the_way(path));
        let (writer, reader) = (open()?, open()?);
        Ok(Database { path: path.to_owned(), reader: Mutex::new(reader), writer: futures::lock::Mutex::new(writer) })
    }

    /// Its path, for errors.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Reads what is stored, which takes milliseconds.
    ///
    /// # Errors
    /// What the query fails with, and whether that means damage or a busy database.
    pub fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Failure> {
        query(&self.reader.lock().unwrap_or_else(PoisonError::into_inner)).map_err(Failure::from)
    }

    /// Runs a statement that may wait for another process, [`PATIENCE`] at most. Other tasks of the runtime continue meanwhile.
    ///
    /// # Errors
    /// What the statement fails with; [`Database::failure`] says what it means.
    pub async fn write<T>(&self, statement: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let connection = self.writer.lock().await;
        blocking(|| statement(&connection))
    }

    /// What the failure of a statement means.
    pub fn failure(&self, error: rusqlite::Error) -> Failure {
        Failure::from(error).naming_who_is_in_the_way(&self.path)
    }
}

/// Opens a database, and creates its tables unless the query `is_made` finds them. A reader thus needs no right to write, and a process
/// that is writing does not keep readers out.
fn open(path: &Path, schema: &str, is_made: &str) -> Result<Connection, Failure> {
    open_patiently(path, schema, is_made, PATIENCE)
}

fn open_patiently(path: &Path, schema: &str, is_made: &str, patience: Duration) -> Result<Connection, Failure> {
    let existed = path.exists();
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(patience)?;
        use_write_ahead_log(&connection, patience)?;
        // In WAL mode a commit is durable only with FULL; the default of some builds is NORMAL.
        connection.pragma_update(None, "synchronous", "FULL")?;
        // macOS: a sync that reaches the disk, and not only the disk's cache.
        connection.pragma_update(None, "fullfsync", "ON")?;
        if connection.query_row(is_made, [], |_| Ok(())).is_err() {
            connection.execute_batch(schema)?;
        }
        Ok(connection)
    };
    let connection = open()?;
    if !existed {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        sync_directory(parent).map_err(|e| Failure { damaged: false, busy: false, cause: advice::words(&e) })?;
    }
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    #[test]
    fn who_writes_for_ever_is_named_and_keeps_no_reader_out() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a.db");
        let open = || {
            open_patiently(
                &path,
                "CREATE TABLE t (x); INSERT INTO t VALUES (1)",
                "SELECT x FROM t",
                Duration::from_millis(20),
            )
        };
        open().unwrap();
        let hung = Connection::open(&path).unwrap();
        hung.execute_batch("BEGIN IMMEDIATE").unwrap();
        let other = open().unwrap();
        assert_eq!(other.query_row("SELECT x FROM t", [], |row| row.get::<_, i64>(0)), Ok(1));
        let failure = Failure::from(other.execute("INSERT INTO t VALUES (2)", []).unwrap_err());
        assert!(failure.busy && !failure.damaged);
        let told = failure.naming_who_is_in_the_way(&path).cause;
        assert!(told.contains("another process has held it for 10 s"), "{told}");
        #[cfg(target_os = "linux")]
        assert!(told.ends_with(&format!("; process {} is writing to it", std::process::id())), "{told}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_writer_is_found_among_other_locks() {
        let locks = "1: POSIX  ADVISORY  READ  11 08:01:131 123 123\n\
                     2: POSIX  ADVISORY  WRITE 12 08:01:77 120 120\n\
                     2: -> POSIX  ADVISORY  WRITE 15 08:01:131 120 120\n\
                     3: FLOCK  ADVISORY  WRITE 13 08:01:131 0 EOF\n\
                     4: POSIX  ADVISORY  WRITE 14 08:01:131 120 120\n\
                     5: POSIX  ADVISORY  WRITE -1 08:01:132 120 120\n";
        assert_eq!([131, 77, 132, 5].map(|inode| writer_of(locks, inode)), [Some(14), Some(12), None, None]);
    }

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
            let Failure { damaged, cause, .. } = failure(code);
            assert!(!damaged && cause.contains(word), "{code}: {cause}");
        }
    }
}
