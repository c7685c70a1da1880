//! A follower that is not a table: counts each user's curated rows, in SQLite.

use async_trait::async_trait;
use authpulse_event::ShardId;
use authpulse_journal::error::Result;
use authpulse_journal::{ConsumerError, Env};
use authpulse_lake::Table;
use authpulse_lake::read::{CuratedBatch, Rows};
use authpulse_service::follow::{Applied, Batch, Follower, Version};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Users and the number of their rows.
pub type Users = BTreeMap<String, u64>;

/// Called around the end of each transaction; an error there stands for the end of the process.
pub type Kill = Arc<dyn Fn(&str) -> std::result::Result<(), String> + Send + Sync>;

pub struct Counts {
    db: Mutex<Connection>,
    kill: Kill,
    /// How often it was rebuilt.
    pub rebuilt: AtomicUsize,
    /// How many spills it has read.
    pub spills: AtomicUsize,
}

fn refused(error: impl std::fmt::Display) -> ConsumerError {
    ConsumerError::Follower { name: "counts".to_owned(), source: error.to_string().into() }
}

impl Counts {
    /// Opens the database as a new process does.
    pub fn open(path: &Path, kill: Kill) -> Counts {
        let db = Connection::open(path).unwrap();
        db.execute_batch(
            "PRAGMA synchronous = OFF;
             CREATE TABLE IF NOT EXISTS users (name TEXT PRIMARY KEY, n INTEGER NOT NULL);
             CREATE TABLE IF NOT EXISTS applied (shard TEXT PRIMARY KEY, n INTEGER NOT NULL);",
        )
        .unwrap();
        Counts { db: Mutex::new(db), kill, rebuilt: AtomicUsize::new(0), spills: AtomicUsize::new(0) }
    }

    /// The counts that it keeps.
    pub fn users(&self) -> Users {
        let db = self.db.lock().unwrap();
        let mut read = db.prepare("SELECT name, n FROM users").unwrap();
        let rows = read.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64))).unwrap();
        rows.map(std::result::Result::unwrap).collect()
    }

    fn transact(&self, change: impl FnOnce(&Transaction<'_>) -> Result<()>) -> Result<()> {
        let mut db = self.db.lock().unwrap();
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(refused)?;
        change(&transaction)?;
        (self.kill)("before").map_err(refused)?;
        transaction.commit().map_err(refused)?;
        (self.kill)("after").map_err(refused)
    }
}

fn applied_in(db: &Connection) -> Result<Applied> {
    let mut read = db.prepare("SELECT shard, n FROM applied").map_err(refused)?;
    let rows = read.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)? as u64)));
    let rows = rows.map_err(refused)?;
    rows.map(|row| row.map(|(shard, n)| (ShardId::new(shard), n)).map_err(refused)).collect()
}

fn add(to: &Transaction<'_>, users: &Users) -> Result<()> {
    for (name, n) in users {
        let add = "INSERT INTO users VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET n = n + ?2";
        to.execute(add, params![name, *n as i64]).map_err(refused)?;
    }
    Ok(())
}

fn set(to: &Transaction<'_>, shard: &ShardId, n: u64) -> Result<()> {
    to.execute("INSERT OR REPLACE INTO applied VALUES (?1, ?2)", params![shard.as_str(), n as i64]).map_err(refused)?;
    Ok(())
}

/// Counts rows by user.
pub fn count(rows: Rows<CuratedBatch>, users: &mut Users) -> Result<()> {
    for batch in rows {
        for row in batch?.iter() {
            *users.entry(row.user_id.to_owned()).or_default() += 1;
        }
    }
    Ok(())
}

#[async_trait]
impl Follower for Counts {
    fn name(&self) -> &str {
        "counts"
    }

    async fn applied(&self) -> Result<Applied> {
        applied_in(&self.db.lock().unwrap())
    }

    async fn apply(&self, batch: &Batch<'_>) -> Result<u64> {
        let mut entries = Vec::new();
        for followed in batch.behind(self.name(), &self.applied().await?)? {
            batch.spill(followed).await?;
            self.spills.fetch_add(1, Ordering::Relaxed);
            let mut users = Users::new();
            for file in followed.entry.files.iter().filter(|file| file.table == Table::CURATED) {
                count(batch.curated(followed, file).await?, &mut users)?;
            }
            entries.push((followed, users));
        }
        let mut rows = 0;
        self.transact(|transaction| {
            // Another process of this follower may have committed since.
            let now = applied_in(transaction)?;
            for (followed, users) in &entries {
                if followed.entry.n > now.get(&followed.shard).copied().unwrap_or(0) {
                    add(transaction, users)?;
                    set(transaction, &followed.shard, followed.entry.n)?;
                    rows += users.values().sum::<u64>();
                }
            }
            Ok(())
        })?;
        Ok(rows)
    }

    async fn rebuild(&self, version: &Version) -> Result<()> {
        let mut users = Users::new();
        for file in version.files(Table::CURATED) {
            count(version.curated(file).await?, &mut users)?;
        }
        self.transact(|transaction| {
            transaction.execute_batch("DELETE FROM users; DELETE FROM applied;").map_err(refused)?;
            add(transaction, &users)?;
            version.applied().iter().try_for_each(|(shard, n)| set(transaction, shard, *n))
        })?;
        self.rebuilt.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// The same counts, from the lake's table.
pub async fn counted(env: &Env) -> Users {
    let mut users = Users::new();
    for file in env.lake.live_files(Table::CURATED).await.unwrap().files {
        count(env.lake.read_curated(&file, None).await.unwrap(), &mut users).unwrap();
    }
    users
}
