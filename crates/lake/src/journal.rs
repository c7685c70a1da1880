//! A row of numbered entries per shard, each stored whole or not at all, and only if its number is free.
//!
//! This is the one atomic step that the lake stands on. The content of an entry is none of the journal's business.
//! Entries count from 1.

mod followers;
mod object;

pub use object::ObjectJournal;

use crate::error::Remedy;
use crate::fault::Faults;
use crate::followers::{FollowerName, Followers};
use crate::sqlite::{self, Database};
use async_trait::async_trait;
use authpulse_event::ShardId;
use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What became of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// The entry is stored, durably.
    Created,
    /// The number was taken; what is stored there is unchanged, and may be an earlier attempt of the caller itself.
    Taken,
}

/// Why the journal did not answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// The entry may be stored or not: read its number before doing anything else.
    #[error(
        "entry {n} of shard {shard} may be stored or not ({cause}): start again, it is looked up before anything is written"
    )]
    Unclear {
        /// The shard.
        shard: ShardId,
        /// The number.
        n: u64,
        /// What the store said.
        cause: String,
    },
    /// The journal could not be opened or read; what is stored in it is as it was.
    #[error("journal {journal}: {action} failed: {cause}")]
    Failed {
        /// Where it is.
        journal: String,
        /// What was tried.
        action: &'static str,
        /// What the store said.
        cause: String,
    },
    /// Another process, which hangs or is stopped while it writes, keeps the journal from being written to; nothing happened.
    #[error("journal {journal}: {action} failed: {cause}")]
    Busy {
        /// Where it is.
        journal: String,
        /// What was tried.
        action: &'static str,
        /// What the store said, and who it is, where that is known.
        cause: String,
    },
    /// The journal's file is no journal, or is damaged.
    #[error("journal {journal} cannot be used: {cause}: restore the file from a copy, or start a new lake")]
    Damaged {
        /// Where it is.
        journal: String,
        /// What is wrong.
        cause: String,
    },
    /// The journal cannot be used as it is set up; nothing happened, and it would not the next time either.
    #[error("journal {journal}: {why}")]
    Refused {
        /// Where it is.
        journal: String,
        /// Why, and what would do.
        why: String,
    },
    /// A number below 1 or beyond what the journal can hold.
    #[error("shard {shard}: {n} is no entry number: entries count from 1")]
    Number {
        /// The shard.
        shard: ShardId,
        /// The number.
        n: u64,
    },
}

impl JournalError {
    /// What to do about it.
    pub fn remedy(&self) -> Remedy {
        match self {
            JournalError::Unclear { .. } => Remedy::Look,
            JournalError::Failed { .. } | JournalError::Busy { .. } => Remedy::Retry,
            JournalError::Damaged { .. } => Remedy::Restore,
            JournalError::Refused { .. } | JournalError::Number { .. } => Remedy::Correct,
        }
    }
}

/// The journals of all shards of a lake.
///
/// Beside its entries a journal has bases. One that is stored for a number stands for all entries up to it (see [`crate::base`]); the
/// last entry of a journal is never among them. Entries that a base stands for may be removed, after which their numbers may be
/// free: what is put there counts for nothing.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Stores entry `n` if that number is free; durable when it returns.
    async fn put(&self, shard: &ShardId, n: u64, body: Bytes) -> Result<PutOutcome, JournalError>;
    /// Entry `n`, if it is stored.
    async fn get(&self, shard: &ShardId, n: u64) -> Result<Option<Bytes>, JournalError>;
    /// The highest number stored.
    async fn tail(&self, shard: &ShardId) -> Result<Option<u64>, JournalError>;
    /// All shards that have an entry, in order of name.
    async fn shards(&self) -> Result<Vec<ShardId>, JournalError>;
    /// The entries numbered `from` and above, in order, at most `limit` of them.
    async fn list(&self, shard: &ShardId, from: u64, limit: usize) -> Result<Vec<(u64, Bytes)>, JournalError>;
    /// The newest base, and the number of the last entry that it stands for.
    async fn base(&self, shard: &ShardId) -> Result<Option<(u64, Bytes)>, JournalError>;
    /// Stores the base of the entries up to `n`; one that is stored already stays.
    async fn put_base(&self, shard: &ShardId, n: u64, body: Bytes) -> Result<(), JournalError>;
    /// Removes the entries up to `n`, the oldest first, and all bases but the newest two. Returns how many entries there were.
    ///
    /// # Errors
    /// [`JournalError::Refused`] where no base stands for entry `n`.
    async fn remove_through(&self, shard: &ShardId, n: u64) -> Result<u64, JournalError>;
    /// Who follows these journals beside the tables.
    fn followers(&self) -> &dyn Followers;
}

/// Bases that are kept: of a reader that has just looked up the newest, the next one must not take it away.
const BASES_KEPT: usize = 2;

fn not_folded(journal: String, shard: &ShardId, n: u64) -> JournalError {
    let why = format!("entries of shard {shard} up to {n} are not folded and cannot be removed");
    JournalError::Refused { journal, why }
}

fn check(shard: &ShardId, n: u64) -> Result<i64, JournalError> {
    match i64::try_from(n) {
        Ok(number) if number >= 1 => Ok(number),
        _ => Err(JournalError::Number { shard: shard.clone(), n }),
    }
}

/// A journal in an SQLite database: WAL, full sync, primary key (shard, n).
pub struct SqliteJournal {
    database: Database,
}

impl SqliteJournal {
    /// Opens a journal, making it where it is missing.
    ///
    /// # Errors
    /// [`JournalError::Failed`] if the disk, its rights or another process is in the way, `Damaged` if the file is no journal.
    pub fn open(path: impl AsRef<Path>) -> Result<SqliteJournal, JournalError> {
        let table = |name: &str| {
            format!(
                "CREATE TABLE IF NOT EXISTS {name} (shard TEXT NOT NULL, n INTEGER NOT NULL, body BLOB NOT NULL, \
                 PRIMARY KEY (shard, n)) WITHOUT ROWID;"
            )
        };
        let schema = &(table("entries") + &table("bases"));
        let is_made = "SELECT count(*) FROM (SELECT 1 FROM entries UNION ALL SELECT 1 FROM bases LIMIT 1)";
        let path = path.as_ref();
        let database = Database::open(path, schema, is_made);
        let database = database.map_err(|failure| unusable(path.display().to_string(), "opening it", failure))?;
        Ok(SqliteJournal { database })
    }

    fn read<T>(
        &self,
        action: &'static str,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        self.database.read(query).map_err(|failure| unusable(self.database.name(), action, failure))
    }

    async fn write<T>(
        &self,
        action: &'static str,
        statement: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        let written = self.database.write(statement).await;
        written.map_err(|error| unusable(self.database.name(), action, self.database.failure(error)))
    }
}

fn unusable(journal: String, action: &'static str, failure: sqlite::Failure) -> JournalError {
    let cause = failure.cause;
    match (failure.damaged, failure.busy) {
        (true, _) => JournalError::Damaged { journal, cause },
        (_, true) => JournalError::Busy { journal, action, cause },
        _ => JournalError::Failed { journal, action, cause },
    }
}

fn bytes(row: &rusqlite::Row<'_>, index: usize) -> rusqlite::Result<Bytes> {
    row.get::<_, Vec<u8>>(index).map(Bytes::from)
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn put(&self, shard: &ShardId, n: u64, body: Bytes) -> Result<PutOutcome, JournalError> {
        let number = check(shard, n)?;
        // Here, unlike on S3, a number that was folded can be kept from being given anew.
        let insert = self.database.write(|c| {
            c.prepare_cached(
                "INSERT INTO entries (shard, n, body) SELECT ?1, ?2, ?3 \
                 WHERE NOT EXISTS (SELECT 1 FROM bases WHERE shard = ?1 AND n >= ?2)",
            )?
            .execute(params![shard.as_str(), number, &body[..]])
        });
        let insert = insert.await;
        match insert {
            Ok(0) => Ok(PutOutcome::Taken),
            Ok(_) => Ok(PutOutcome::Created),
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => Ok(PutOutcome::Taken),
            Err(e) => {
                // Nothing is stored in a file that is damaged or busy, and looking again tells no more.
                Err(match unusable(self.database.name(), "storing an entry", self.database.failure(e)) {
                    JournalError::Failed { cause, .. } => JournalError::Unclear { shard: shard.clone(), n, cause },
                    known => known,
                })
            }
        }
    }

    async fn get(&self, shard: &ShardId, n: u64) -> Result<Option<Bytes>, JournalError> {
        let number = check(shard, n)?;
        self.read("reading an entry", |c| {
            c.prepare_cached("SELECT body FROM entries WHERE shard = ?1 AND n = ?2")?
                .query_row(params![shard.as_str(), number], |row| bytes(row, 0))
                .optional()
        })
    }

    async fn tail(&self, shard: &ShardId) -> Result<Option<u64>, JournalError> {
        self.read("reading the tail", |c| {
            c.prepare_cached("SELECT max(n) FROM entries WHERE shard = ?1")?
                .query_row([shard.as_str()], |row| row.get::<_, Option<i64>>(0))
                .map(|n| n.map(i64::cast_unsigned))
        })
    }

    async fn shards(&self) -> Result<Vec<ShardId>, JournalError> {
        self.read("listing the shards", |c| {
            c.prepare_cached("SELECT DISTINCT shard FROM entries ORDER BY shard")?
                .query_map([], |row| row.get::<_, String>(0).map(ShardId::new))?
                .collect()
        })
    }

    async fn list(&self, shard: &ShardId, from: u64, limit: usize) -> Result<Vec<(u64, Bytes)>, JournalError> {
        let (from, limit) = (i64::try_from(from).unwrap_or(i64::MAX), i64::try_from(limit).unwrap_or(i64::MAX));
        self.read("listing entries", |c| {
            c.prepare_cached("SELECT n, body FROM entries WHERE shard = ?1 AND n >= ?2 ORDER BY n LIMIT ?3")?
                .query_map(params![shard.as_str(), from, limit], |row| {
                    Ok((row.get::<_, i64>(0)?.cast_unsigned(), bytes(row, 1)?))
                })?
                .collect()
        })
    }

    async fn base(&self, shard: &ShardId) -> Result<Option<(u64, Bytes)>, JournalError> {
        self.read("reading a base", |c| {
            c.prepare_cached("SELECT n, body FROM bases WHERE shard = ?1 ORDER BY n DESC LIMIT 1")?
                .query_row([shard.as_str()], |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), bytes(row, 1)?)))
                .optional()
        })
    }

    async fn put_base(&self, shard: &ShardId, n: u64, body: Bytes) -> Result<(), JournalError> {
        let number = check(shard, n)?;
        self.write("storing a base", |c| {
            c.prepare_cached("INSERT OR IGNORE INTO bases (shard, n, body) VALUES (?1, ?2, ?3)")?
                .execute(params![shard.as_str(), number, &body[..]])
                .map(drop)
        })
        .await
    }

    async fn remove_through(&self, shard: &ShardId, n: u64) -> Result<u64, JournalError> {
        let number = check(shard, n)?;
        if self.base(shard).await?.is_none_or(|(through, _)| through < n) {
            return Err(not_folded(self.database.name(), shard, n));
        }
        let mut removed = 0;
        loop {
            // Some at a time, so that nobody who wants to store an entry waits for long.
            let some = self.write("removing folded entries", |c| {
                c.prepare_cached(
                    "DELETE FROM entries WHERE shard = ?1 AND n IN \
                     (SELECT n FROM entries WHERE shard = ?1 AND n <= ?2 ORDER BY n LIMIT 1000)",
                )?
                .execute(params![shard.as_str(), number])
            });
            let some = some.await?;
            removed += some as u64;
            if some == 0 {
                break;
            }
        }
        self.write("removing old bases", |c| {
            c.prepare_cached(
                "DELETE FROM bases WHERE shard = ?1 AND n NOT IN \
                 (SELECT n FROM bases WHERE shard = ?1 ORDER BY n DESC LIMIT ?2)",
            )?
            .execute(params![shard.as_str(), BASES_KEPT as i64])
        })
        .await?;
        Ok(removed)
    }

    fn followers(&self) -> &dyn Followers {
        self
    }
}

/// A journal in a map: the deterministic double, with faults.
#[derive(Default)]
pub struct MemoryJournal {
    entries: Mutex<Numbered>,
    bases: Mutex<Numbered>,
    followers: Mutex<BTreeMap<(FollowerName, u64), Bytes>>,
    faults: Mutex<Faults>,
}

type Numbered = BTreeMap<(ShardId, u64), Bytes>;

impl MemoryJournal {
    /// An empty journal.
    pub fn new() -> MemoryJournal {
        MemoryJournal::default()
    }
    /// Replaces the faults.
    pub fn set_faults(&self, faults: Faults) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    fn run<T>(
        &self,
        operation: &'static str,
        shard: &str,
        n: u64,
        fault: impl Fn(String) -> JournalError,
        effect: impl FnOnce(&mut Numbered) -> T,
    ) -> Result<T, JournalError> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let entries = || self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        faults.around("journal", operation, &format!("{shard}/{n}"), fault, || Ok(effect(&mut entries())))
    }

    fn bases(&self) -> MutexGuard<'_, Numbered> {
        self.bases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn newest_base(&self, shard: &ShardId) -> Option<(u64, Bytes)> {
        let bases = self.bases();
        let mut of_shard = bases.range((shard.clone(), 0)..=(shard.clone(), u64::MAX));
        of_shard.next_back().map(|((_, n), body)| (*n, body.clone()))
    }
}

fn unread(action: &'static str) -> impl Fn(String) -> JournalError {
    move |cause| JournalError::Failed { journal: "in memory".to_owned(), action, cause }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn put(&self, shard: &ShardId, n: u64, body: Bytes) -> Result<PutOutcome, JournalError> {
        check(shard, n)?;
        let fault = |cause| JournalError::Unclear { shard: shard.clone(), n, cause };
        self.run("put", shard.as_str(), n, fault, |entries| match entries.entry((shard.clone(), n)) {
            std::collections::btree_map::Entry::Occupied(_) => PutOutcome::Taken,
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(body);
                PutOutcome::Created
            }
        })
    }

    async fn get(&self, shard: &ShardId, n: u64) -> Result<Option<Bytes>, JournalError> {
        check(shard, n)?;
        self.run("get", shard.as_str(), n, unread("reading an entry"), |entries| {
            entries.get(&(shard.clone(), n)).cloned()
        })
    }

    async fn tail(&self, shard: &ShardId) -> Result<Option<u64>, JournalError> {
        self.run("tail", shard.as_str(), 0, unread("reading the tail"), |entries| {
            entries.range((shard.clone(), 0)..=(shard.clone(), u64::MAX)).next_back().map(|((_, n), _)| *n)
        })
    }

    async fn shards(&self) -> Result<Vec<ShardId>, JournalError> {
        self.run("shards", "", 0, unread("listing the shards"), |entries| {
            let mut shards: Vec<_> = entries.keys().map(|(shard, _)| shard.clone()).collect();
            shards.dedup();
            shards
        })
    }

    async fn list(&self, shard: &ShardId, from: u64, limit: usize) -> Result<Vec<(u64, Bytes)>, JournalError> {
        self.run("list", shard.as_str(), from, unread("listing entries"), |entries| {
            let range = entries.range((shard.clone(), from)..=(shard.clone(), u64::MAX));
            range.take(limit).map(|((_, n), body)| (*n, body.clone())).collect()
        })
    }

    async fn base(&self, shard: &ShardId) -> Result<Option<(u64, Bytes)>, JournalError> {
        self.run("base", shard.as_str(), 0, unread("reading a base"), |_| self.newest_base(shard))
    }

    async fn put_base(&self, shard: &ShardId, n: u64, body: Bytes) -> Result<(), JournalError> {
        check(shard, n)?;
        self.run("put base", shard.as_str(), n, unread("storing a base"), |_| {
            self.bases().entry((shard.clone(), n)).or_insert(body);
        })
    }

    async fn remove_through(&self, shard: &ShardId, n: u64) -> Result<u64, JournalError> {
        check(shard, n)?;
        if self.newest_base(shard).is_none_or(|(through, _)| through < n) {
            return Err(not_folded("in memory".to_owned(), shard, n));
        }
        let mut removed = 0;
        // One by one, each an effect that may fail: a removal on S3 is as many requests.
        while let Some(next) = self.run("first", shard.as_str(), n, unread("listing entries"), |entries| {
            entries.range((shard.clone(), 0)..=(shard.clone(), n)).next().map(|(key, _)| key.clone())
        })? {
            self.run("remove", shard.as_str(), next.1, unread("removing a folded entry"), |entries| {
                entries.remove(&next);
            })?;
            removed += 1;
        }
        let mut bases = self.bases();
        let mut numbers: Vec<u64> = bases.keys().filter(|(of, _)| of == shard).map(|(_, n)| *n).collect();
        numbers.truncate(numbers.len().saturating_sub(BASES_KEPT));
        numbers.into_iter().for_each(|n| drop(bases.remove(&(shard.clone(), n))));
        Ok(removed)
    }

    fn followers(&self) -> &dyn Followers {
        self
    }
}
