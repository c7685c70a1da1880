//! Leases on one machine: an SQLite file beside the embedded stream.
//!
//! Beside the counters there is something better here: each worker holds a lock on a file of its own, which the operating system
//! lets go of when the process ends, however it ends. A lease whose owner's lock is free is nobody's, at once; a paused owner
//! keeps its lock, and its leases expire by their counters.

use crate::{Lease, LeaseError, LeaseStore};
use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The file of leases, within the directory.
const FILE: &str = "leases.db";
/// How long a statement waits for another process.
const BUSY: Duration = Duration::from_secs(10);

/// What to look at where the file cannot be opened.
const UNOPENED: &str =
    "see that this user may read and write the directory, and that not too many files are open (`ulimit -n`)";
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS leases (
        application TEXT NOT NULL, key TEXT NOT NULL, owner TEXT, next_owner TEXT, counter INTEGER NOT NULL,
        ended INTEGER NOT NULL, PRIMARY KEY (application, key)) STRICT, WITHOUT ROWID";

/// See the module.
pub struct LocalLeases {
    connection: Mutex<Connection>,
    directory: PathBuf,
    application: String,
    worker: String,
    /// Held for as long as the worker lives.
    _alive: File,
}

impl LocalLeases {
    /// Opens the leases of an application in a directory, for a worker whose name (letters, digits, `-`) is its own.
    ///
    /// # Errors
    /// The directory cannot be written to, or the file holds something else.
    pub fn open(directory: impl AsRef<Path>, application: &str, worker: &str) -> Result<LocalLeases, LeaseError> {
        let directory = directory.as_ref().to_owned();
        let place = directory.join(FILE).display().to_string();
        let failed = |action: &'static str, cause: String| LeaseError::Failed { place: place.clone(), action, cause };
        let alive = OpenOptions::new().write(true).create(true).truncate(false).open(lock_path(&directory, worker));
        let alive = alive.map_err(|e| failed("making the worker's lock", e.to_string()))?;
        alive.try_lock().map_err(|e| failed("locking the worker's own file", e.to_string()))?;
        let open = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(directory.join(FILE))?;
            connection.busy_timeout(BUSY)?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            // A lease lost with the power costs nothing: its owner is gone as well.
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            connection.execute_batch(SCHEMA)?;
            Ok(connection)
        };
        let connection = open().map_err(|e| match e.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                LeaseError::Damaged { place: place.clone(), cause: e.to_string() }
            }
            Some(ErrorCode::CannotOpen) => failed("opening them", format!("{e}: {UNOPENED}")),
            _ => failed("opening them", e.to_string()),
        })?;
        let (application, worker) = (application.to_owned(), worker.to_owned());
        Ok(LocalLeases { connection: Mutex::new(connection), directory, application, worker, _alive: alive })
    }

    /// Whether a directory holds leases.
    pub fn exist(directory: impl AsRef<Path>) -> bool {
        directory.as_ref().join(FILE).exists()
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run<T>(
        &self,
        action: &'static str,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, LeaseError> {
        run(&self.lock()).map_err(|e| LeaseError::Failed {
            place: self.directory.join(FILE).display().to_string(),
            action,
            cause: e.to_string(),
        })
    }

    /// Whether a worker's process has ended. Its lock file is removed on the way.
    fn has_ended(&self, worker: &str) -> bool {
        if worker == self.worker {
            return false;
        }
        let path = lock_path(&self.directory, worker);
        let Ok(file) = OpenOptions::new().write(true).open(&path) else {
            // Without a lock file it ended in good order, or another worker has seen its end.
            return !path.exists();
        };
        match file.try_lock() {
            Ok(()) => {
                let _ = std::fs::remove_file(&path);
                true
            }
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => false,
        }
    }
}

impl Drop for LocalLeases {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(lock_path(&self.directory, &self.worker));
    }
}

fn lock_path(directory: &Path, worker: &str) -> PathBuf {
    directory.join(format!(".worker-{worker}.lock"))
}

fn lease(row: &Row<'_>) -> rusqlite::Result<Lease> {
    Ok(Lease {
        key: row.get(0)?,
        owner: row.get(1)?,
        next_owner: row.get(2)?,
        counter: row.get::<_, i64>(3)?.cast_unsigned(),
        ended: row.get(4)?,
        checkpoint: None,
    })
}

#[async_trait]
impl LeaseStore for LocalLeases {
    async fn list(&self) -> Result<Vec<Lease>, LeaseError> {
        let mut leases: Vec<Lease> = self.run("listing leases", |c| {
            c.prepare_cached(
                "SELECT key, owner, next_owner, counter, ended FROM leases WHERE application = ?1 ORDER BY key",
            )?
            .query_map([&self.application], lease)?
            .collect()
        })?;
        let mut ended: BTreeMap<String, bool> = BTreeMap::new();
        let mut has_ended = |worker: &String| *ended.entry(worker.clone()).or_insert_with(|| self.has_ended(worker));
        for lease in &mut leases {
            lease.owner = lease.owner.take().filter(|owner| !has_ended(owner));
            lease.next_owner = lease.next_owner.take().filter(|next| !has_ended(next));
        }
        Ok(leases)
    }

    async fn get(&self, key: &str) -> Result<Option<Lease>, LeaseError> {
        self.run("reading a lease", |c| {
            c.prepare_cached(
                "SELECT key, owner, next_owner, counter, ended FROM leases WHERE application = ?1 AND key = ?2",
            )?
            .query_row([&self.application, key], lease)
            .optional()
        })
    }

    async fn create(&self, lease: &Lease) -> Result<bool, LeaseError> {
        self.run("making a lease", |c| {
            c.prepare_cached("INSERT OR IGNORE INTO leases VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
                .execute(params![
                    self.application,
                    lease.key,
                    lease.owner,
                    lease.next_owner,
                    lease.counter.cast_signed(),
                    lease.ended
                ])
                .map(|rows| rows == 1)
        })
    }

    async fn update(&self, lease: &Lease) -> Result<bool, LeaseError> {
        self.run("changing a lease", |c| {
            c.prepare_cached(
                "UPDATE leases SET owner = ?3, next_owner = ?4, counter = counter + 1, ended = ?6 \
                 WHERE application = ?1 AND key = ?2 AND counter = ?5",
            )?
            .execute(params![
                self.application,
                lease.key,
                lease.owner,
                lease.next_owner,
                lease.counter.cast_signed(),
                lease.ended
            ])
            .map(|rows| rows == 1)
        })
    }

    async fn remove(&self, lease: &Lease) -> Result<bool, LeaseError> {
        self.run("removing a lease", |c| {
            c.prepare_cached("DELETE FROM leases WHERE application = ?1 AND key = ?2 AND counter = ?3")?
                .execute(params![self.application, lease.key, lease.counter.cast_signed()])
                .map(|rows| rows == 1)
        })
    }
}
