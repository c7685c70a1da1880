//! Leases on one machine: an SQLite file beside the embedded stream.
//!
//! Counters are not the only sign of life here. Each worker holds a lock on a file of its own, which the operating system releases when
//! the process ends, however it ends. If the owner's lock is free, nobody has its leases from that moment. A paused owner keeps its lock;
//! its leases expire by their counters.

use crate::{Lease, LeaseError, LeaseStore};
use async_trait::async_trait;
use authpulse_sqlite::{PATIENCE, blocking, is_busy, use_write_ahead_log, words};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The name of the file of leases in the directory.
const FILE: &str = "leases.db";
/// How long a change waits for another process, which may be stopped in the midst of a write. A change that fails is tried again with the
/// next renewal. The runtime's other tasks go on meanwhile.
const BUSY: Duration = Duration::from_secs(1);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS leases (
        application TEXT NOT NULL, key TEXT NOT NULL, owner TEXT, next_owner TEXT, counter INTEGER NOT NULL,
        ended INTEGER NOT NULL, PRIMARY KEY (application, key)) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS destinations (
        application TEXT PRIMARY KEY, destination TEXT NOT NULL) STRICT, WITHOUT ROWID";

/// What a file of leases knows of an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Where the application stores what it reads, as [`LocalLeases::bound_for`] noted it. `None` if there are only leases, from a
    /// program that did not note it.
    pub destination: Option<String>,
}

fn connect(directory: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(directory.join(FILE))?;
    connection.busy_timeout(PATIENCE)?;
    use_write_ahead_log(&connection, PATIENCE)?;
    // Losing a lease with the power costs nothing: its owner is gone as well. The next start of an application notes its destination
    // again.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.execute_batch(SCHEMA)?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}

fn place(directory: &Path) -> String {
    directory.join(FILE).display().to_string()
}

fn unopened(directory: &Path) -> impl Fn(rusqlite::Error) -> LeaseError {
    let place = place(directory);
    move |error| {
        let place = place.clone();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                LeaseError::Damaged { place, cause: error.to_string() }
            }
            _ => LeaseError::Failed { place, action: "opening them", cause: words(&error) },
        }
    }
}

/// The leases of one application in a directory, as one worker uses them.
pub struct LocalLeases {
    connection: Mutex<Connection>,
    directory: PathBuf,
    application: String,
    worker: String,
    /// The worker's lock, held for as long as the worker lives.
    _alive: File,
}

impl LocalLeases {
    /// Opens the leases of an application in a directory for a worker. No other worker may have its name (letters, digits, `-`).
    ///
    /// # Errors
    /// The directory cannot be written to, a living worker has this name, or the file holds no leases.
    pub fn open(directory: impl AsRef<Path>, application: &str, worker: &str) -> Result<LocalLeases, LeaseError> {
        let directory = directory.as_ref().to_owned();
        let place = place(&directory);
        let failed = |action: &'static str, cause: String| LeaseError::Failed { place: place.clone(), action, cause };
        let alive = OpenOptions::new().write(true).create(true).truncate(false).open(lock_path(&directory, worker));
        let alive = alive.map_err(|e| failed("making the worker's lock", e.to_string()))?;
        alive.try_lock().map_err(|e| failed("locking the worker's own file", e.to_string()))?;
        let connection = connect(&directory).map_err(unopened(&directory))?;
        let (application, worker) = (application.to_owned(), worker.to_owned());
        Ok(LocalLeases { connection: Mutex::new(connection), directory, application, worker, _alive: alive })
    }

    /// Whether a directory holds leases.
    pub fn exist(directory: impl AsRef<Path>) -> bool {
        directory.as_ref().join(FILE).exists()
    }

    /// What a directory's leases know of an application; `None` if it never used the directory, or its leases were reset.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn known(directory: impl AsRef<Path>, application: &str) -> Result<Option<Known>, LeaseError> {
        let directory = directory.as_ref();
        if !LocalLeases::exist(directory) {
            return Ok(None);
        }
        let look = || -> rusqlite::Result<Option<Known>> {
            let connection = connect(directory)?;
            let query = "SELECT (SELECT destination FROM destinations WHERE application = ?1), \
                         EXISTS (SELECT 1 FROM leases WHERE application = ?1)";
            connection.query_row(query, [application], |row| {
                let (destination, has_leases): (Option<String>, bool) = (row.get(0)?, row.get(1)?);
                Ok((destination.is_some() || has_leases).then_some(Known { destination }))
            })
        };
        look().map_err(unopened(directory))
    }

    /// All applications that a directory's leases know, by name.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn applications(directory: impl AsRef<Path>) -> Result<Vec<String>, LeaseError> {
        let directory = directory.as_ref();
        if !LocalLeases::exist(directory) {
            return Ok(Vec::new());
        }
        let list = || -> rusqlite::Result<Vec<String>> {
            connect(directory)?
                .prepare("SELECT application FROM leases UNION SELECT application FROM destinations ORDER BY 1")?
                .query_map([], |row| row.get(0))?
                .collect()
        };
        list().map_err(unopened(directory))
    }

    /// Notes where this application stores what it reads, unless that is noted already. `destination` must be unique among all stores.
    /// Returns what is noted: workers that start together all get the same.
    ///
    /// # Errors
    /// The file cannot be written or read.
    pub fn bound_for(&self, destination: &str) -> Result<String, LeaseError> {
        self.run("noting where its application stores", |c| {
            c.execute("INSERT OR IGNORE INTO destinations VALUES (?1, ?2)", [&self.application, destination])?;
            c.query_row("SELECT destination FROM destinations WHERE application = ?1", [&self.application], |row| {
                row.get(0)
            })
        })
    }

    /// Forgets where this application stored what it read.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn forget_destination(&self) -> Result<(), LeaseError> {
        self.run("forgetting where its application stored", |c| {
            c.execute("DELETE FROM destinations WHERE application = ?1", [&self.application]).map(drop)
        })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a statement. It usually takes less than a millisecond and runs in place. Only if another process has the file locked, the
    /// runtime is told that this one blocks. (Telling it each time would start a thread for each lease of a round, while those before
    /// wait for a processor.)
    fn run<T>(&self, action: &'static str, run: impl Fn(&Connection) -> rusqlite::Result<T>) -> Result<T, LeaseError> {
        let connection = self.lock();
        let within = |patience| connection.busy_timeout(patience).and_then(|()| run(&connection));
        let outcome = match within(Duration::ZERO) {
            Err(error) if is_busy(&error) => blocking(|| within(BUSY)),
            done => done,
        };
        let place = || place(&self.directory);
        outcome.map_err(|error| match is_busy(&error) {
            true => LeaseError::Busy { place: place(), action },
            false => LeaseError::Failed { place: place(), action, cause: error.to_string() },
        })
    }

    /// The values of a lease, in the order of the table's columns.
    fn row<'a>(&'a self, lease: &'a Lease) -> (&'a str, &'a str, Option<&'a str>, Option<&'a str>, i64, bool) {
        let Lease { key, owner, next_owner, counter, ended, .. } = lease;
        (&self.application, key, owner.as_deref(), next_owner.as_deref(), counter.cast_signed(), *ended)
    }

    /// Whether a worker's process has ended. If so, its lock file is removed.
    fn has_ended(&self, worker: &str) -> bool {
        if worker == self.worker {
            return false;
        }
        let path = lock_path(&self.directory, worker);
        let Ok(file) = OpenOptions::new().write(true).open(&path) else {
            // The lock file is gone: the worker ended in good order, or another worker has noticed its end.
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
                .execute(self.row(lease))
                .map(|rows| rows == 1)
        })
    }

    async fn update(&self, lease: &Lease) -> Result<bool, LeaseError> {
        self.run("changing a lease", |c| {
            c.prepare_cached(
                "UPDATE leases SET owner = ?3, next_owner = ?4, counter = counter + 1, ended = ?6 \
                 WHERE application = ?1 AND key = ?2 AND counter = ?5",
            )?
            .execute(self.row(lease))
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
