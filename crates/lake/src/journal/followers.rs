//! Registrations of followers where the journals are: rows of `journal.db`, objects `followers/NAME/N`, a map.

use super::{MemoryJournal, ObjectJournal, PutOutcome, SqliteJournal, bytes, unread};
use crate::followers::{FollowerName, Followers, REGISTRATIONS_KEPT};
use crate::journal::JournalError;
use crate::store::StoreError;
use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, params};
use std::collections::BTreeMap;
use std::sync::PoisonError;

/// The table, which is made with the first registration: whoever opens a lake only to read asks for no right to write.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS followers (name TEXT NOT NULL, n INTEGER NOT NULL, body BLOB NOT NULL, \
                     PRIMARY KEY (name, n)) WITHOUT ROWID";
/// The folder of all registrations in a store of objects.
const FOLDER: &str = "followers/";

fn has_table(c: &Connection) -> rusqlite::Result<bool> {
    c.prepare_cached("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'followers'")?.exists([])
}

fn stray(journal: String, path: &str) -> JournalError {
    let why = format!("{path} is no registration of a follower; nothing else may lie there: move it elsewhere");
    JournalError::Refused { journal, why }
}

#[async_trait]
impl Followers for SqliteJournal {
    async fn registered(&self) -> Result<Vec<(FollowerName, u64, Bytes)>, JournalError> {
        let rows: Vec<(String, i64, Bytes)> = self.read("reading the followers", |c| {
            if !has_table(c)? {
                return Ok(Vec::new());
            }
            // Of a row beside `max`, SQLite takes the one that has it.
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
        put.map_err(|e| super::unusable(self.database.name(), "registering a follower", self.database.failure(e)))
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

impl ObjectJournal {
    /// The numbers that a follower has registrations under, in order.
    async fn registrations(&self, folder: &str) -> Result<Vec<u64>, JournalError> {
        let files = self.store.list(folder).await.map_err(|e| self.failed("listing followers", e))?;
        let number = |file| super::object::number(folder, file);
        files.iter().map(|file| number(file).ok_or_else(|| stray(self.store.uri(FOLDER), &file.path))).collect()
    }
}

fn path(name: &FollowerName, n: u64) -> String {
    format!("{FOLDER}{name}/{n:020}")
}

#[async_trait]
impl Followers for ObjectJournal {
    async fn registered(&self) -> Result<Vec<(FollowerName, u64, Bytes)>, JournalError> {
        let folders = self.store.folders(FOLDER).await.map_err(|e| self.failed("listing followers", e))?;
        let mut found = Vec::new();
        'followers: for folder in folders {
            let name = FollowerName::new(&folder).map_err(|_| stray(self.store.uri(FOLDER), &folder))?;
            let folder = format!("{FOLDER}{folder}/");
            let mut last = 0;
            loop {
                // None: it was forgotten since.
                let Some(n) = self.registrations(&folder).await?.pop() else { continue 'followers };
                match self.store.get(&path(&name, n)).await {
                    Ok(body) => {
                        found.push((name, n, body));
                        continue 'followers;
                    }
                    // It was removed since, for which there are newer ones, or none any more.
                    Err(StoreError::NotFound { .. }) if n != last => last = n,
                    Err(error) => return Err(self.failed("reading a follower", error)),
                }
            }
        }
        found.sort_unstable_by(|(a, ..), (b, ..)| a.cmp(b));
        Ok(found)
    }

    async fn register(&self, name: &FollowerName, n: u64, body: Bytes) -> Result<PutOutcome, JournalError> {
        match self.store.put_new(&path(name, n), body).await {
            Ok(()) => {}
            Err(StoreError::AlreadyExists { .. }) => return Ok(PutOutcome::Taken),
            Err(error) => return Err(self.failed("registering a follower", error)),
        }
        // The oldest of those that stay was the newest three registrations ago, so that one name goes with each; what a crash
        // leaves goes when the follower is forgotten, and nobody reads it.
        if let Some(old) = n.checked_sub(REGISTRATIONS_KEPT).filter(|old| *old > 0) {
            self.remove([path(name, old)]).await?;
        }
        Ok(PutOutcome::Created)
    }

    async fn forget(&self, name: &FollowerName) -> Result<bool, JournalError> {
        let numbers = self.registrations(&format!("{FOLDER}{name}/")).await?;
        let is_known = !numbers.is_empty();
        // The newest last: what is left by a crash is what counted before.
        for n in numbers {
            self.remove([path(name, n)]).await?;
        }
        Ok(is_known)
    }
}

#[async_trait]
impl Followers for MemoryJournal {
    async fn registered(&self) -> Result<Vec<(FollowerName, u64, Bytes)>, JournalError> {
        self.run("followers", "", 0, unread("reading the followers"), |_| {
            let mut newest: BTreeMap<FollowerName, (u64, Bytes)> = BTreeMap::new();
            for ((name, n), body) in &*self.followers.lock().unwrap_or_else(PoisonError::into_inner) {
                newest.insert(name.clone(), (*n, body.clone()));
            }
            newest.into_iter().map(|(name, (n, body))| (name, n, body)).collect()
        })
    }

    async fn register(&self, name: &FollowerName, n: u64, body: Bytes) -> Result<PutOutcome, JournalError> {
        self.run("register", name.as_str(), n, unread("registering a follower"), |_| {
            let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
            let std::collections::btree_map::Entry::Vacant(free) = followers.entry((name.clone(), n)) else {
                return PutOutcome::Taken;
            };
            free.insert(body);
            followers.retain(|(other, m), _| other != name || m + REGISTRATIONS_KEPT > n);
            PutOutcome::Created
        })
    }

    async fn forget(&self, name: &FollowerName) -> Result<bool, JournalError> {
        self.run("forget", name.as_str(), 0, unread("forgetting a follower"), |_| {
            let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
            let before = followers.len();
            followers.retain(|(other, _), _| other != name);
            followers.len() < before
        })
    }
}
