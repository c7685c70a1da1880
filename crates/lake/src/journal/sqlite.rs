//! Journals in one SQLite file, for a lake on this machine.

use super::registry::stray;
use super::{
    CHECKPOINTS_KEPT, FollowerName, Followers, Journal, JournalError, PutOutcome, REGISTRATIONS_KEPT, check, not_folded,
};
use crate::sqlite::{Database, Failure};
use async_trait::async_trait;
use authpulse_event::ShardId;
use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use std::path::Path;

/// The table of registrations. It is created with the first one, so that a program that only reads a lake needs no right to write.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS followers (name TEXT NOT NULL, n INTEGER NOT NULL, body BLOB NOT NULL, \
                     PRIMARY KEY (name, n)) WITHOUT ROWID";

/// A journal in an SQLite database: WAL, full sync, primary key (shard, n).
pub struct SqliteJournal {
    database: Database,
}

impl SqliteJournal {
    /// Opens a journal, and creates it if it is missing.
    ///
    /// # Errors
    /// [`JournalError::Failed`] if the disk or its rights are in the way, `Busy` if another process is, `Damaged` if the file is no
    /// journal.
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

fn unusable(journal: String, action: &'static str, failure: Failure) -> JournalError {
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
        // Unlike on S3, the number of a folded entry can be kept from being used again here.
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
                // Nothing is stored in a file that is damaged or busy, so looking again would not help.
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

    async fn checkpoint(&self, shard: &ShardId) -> Result<Option<(u64, Bytes)>, JournalError> {
        self.read("reading a base", |c| {
            c.prepare_cached("SELECT n, body FROM bases WHERE shard = ?1 ORDER BY n DESC LIMIT 1")?
                .query_row([shard.as_str()], |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), bytes(row, 1)?)))
                .optional()
        })
    }

    async fn put_checkpoint(&self, shard: &ShardId, n: u64, body: Bytes) -> Result<(), JournalError> {
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
        if self.checkpoint(shard).await?.is_none_or(|(through, _)| through < n) {
            return Err(not_folded(self.database.name(), shard, n));
        }
        let mut removed = 0;
        loop {
            // In portions, so that a worker that wants to store an entry does not wait for long.
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
            .execute(params![shard.as_str(), CHECKPOINTS_KEPT as i64])
        })
        .await?;
        Ok(removed)
    }

    fn followers(&self) -> &dyn Followers {
        self
    }
}

fn has_table(c: &Connection) -> rusqlite::Result<bool> {
    c.prepare_cached("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'followers'")?.exists([])
}

#[async_trait]
impl Followers for SqliteJournal {
    async fn registered(&self) -> Result<Vec<(FollowerName, u64, Bytes)>, JournalError> {
        let rows: Vec<(String, i64, Bytes)> = self.read("reading the followers", |c| {
            if !has_table(c)? {
                return Ok(Vec::new());
            }
            // For columns beside `max`, SQLite takes the row that has the maximum.
            c.prepare_cached("SELECT name, max(n), body FROM followers GROUP BY name ORDER BY name")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?, bytes(row, 2)?)))?
                .collect()
        })?;
        rows.into_iter()
            .map(|(name, n, body)| {
                let known = FollowerName::new(&name).map_err(|_| stray(self.database.name(), &name))?;
                Ok((known, n.cast_unsigned(), body))
            })
            .collect()
    }

    async fn register(&self, name: &FollowerName, n: u64, body: Bytes) -> Result<PutOutcome, JournalError> {
        let (name, number) = (name.as_str(), i64::try_from(n).unwrap_or(i64::MAX));
        let put = self.database.write(|c| {
            if !has_table(c)? {
                c.execute_batch(TABLE)?;
            }
            let insert = "INSERT INTO followers (name, n, body) VALUES (?1, ?2, ?3)";
            match c.prepare_cached(insert)?.execute(params![name, number, &body[..]]) {
                Ok(_) => {}
                Err(e) if e.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                    return Ok(PutOutcome::Taken);
                }
                Err(e) => return Err(e),
            }
            // What a crash leaves here goes with the next registration.
            let old = number.saturating_sub(REGISTRATIONS_KEPT.cast_signed());
            c.prepare_cached("DELETE FROM followers WHERE name = ?1 AND n <= ?2")?.execute(params![name, old])?;
            Ok(PutOutcome::Created)
        });
        let put = put.await;
        put.map_err(|e| unusable(self.database.name(), "registering a follower", self.database.failure(e)))
    }

    async fn forget(&self, name: &FollowerName) -> Result<bool, JournalError> {
        self.write("forgetting a follower", |c| {
            if !has_table(c)? {
                return Ok(false);
            }
            c.prepare_cached("DELETE FROM followers WHERE name = ?1")?.execute([name.as_str()]).map(|rows| rows > 0)
        })
        .await
    }
}
