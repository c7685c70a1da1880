//! One version of the tables, from which a follower is rebuilt.

use super::Applied;
use authpulse_journal::env::Env;
use authpulse_journal::error::Result;
use authpulse_journal::log::{Entries, read_checkpoint};
use authpulse_lake::read::{CuratedBatch, DailyBatch, HourlyBatch, LiveFile, LiveTable, RejectedBatch, Rows};
use authpulse_lake::{Lake, Table};
use futures::future::join_all;
use std::sync::Arc;

/// All rows of all tables as they are after the entries in [`Version::applied`], and no others.
///
/// Each table is committed by itself, so their positions differ a little. If a table lacks entries that another one has, the files that
/// these entries name are added to those of the table. The entries are still there: maintenance folds no entry that a table lacks.
pub struct Version {
    lake: Arc<Lake>,
    applied: Applied,
    tables: Vec<LiveTable>,
}

impl Version {
    /// Loads the newest version.
    ///
    /// # Errors
    /// A table, a checkpoint or an entry cannot be read, or an entry was folded and removed meanwhile
    /// ([`Outdated`](authpulse_journal::error::ConsumerError::Outdated)).
    pub(super) async fn load(env: &Env) -> Result<Version> {
        let made = env.lake.made_tables().await?;
        let tables = join_all(made.into_iter().map(|table| env.lake.live_files(table))).await;
        let mut tables: Vec<LiveTable> = tables.into_iter().collect::<std::result::Result<_, _>>()?;
        let mut applied = Applied::new();
        for (shard, n) in tables.iter().flat_map(|table| &table.applied) {
            let through = applied.entry(shard.clone()).or_default();
            *through = (*through).max(*n);
        }
        for (shard, through) in &applied {
            let of = |table: &LiveTable| table.applied.get(shard).copied().unwrap_or(0);
            if tables.iter().any(|table| !table.table.is_first() && of(table) < *through)
                && let Some(checkpoint) = read_checkpoint(env, shard).await?
            {
                // Older programs, which do not know this table, have folded entries without a file of it: it lacks nothing of those.
                let in_checkpoint = checkpoint.tables();
                for table in tables.iter_mut().filter(|t| !t.table.is_first() && !in_checkpoint.contains(&t.table)) {
                    let passed = of(table).max(checkpoint.through);
                    table.applied.insert(shard.clone(), passed);
                }
            }
            let lowest = tables.iter().map(of).min().unwrap_or(0);
            if lowest == *through {
                continue;
            }
            let mut entries = Entries::after(env, shard, lowest);
            'all: while let Some(batch) = entries.next().await? {
                for entry in batch {
                    if entry.n > *through {
                        break 'all;
                    }
                    for table in tables.iter_mut().filter(|table| of(table) < entry.n) {
                        let name = table.table;
                        table.files.extend(entry.files.iter().filter(|file| file.table == name).map(LiveFile::from));
                    }
                }
            }
        }
        Ok(Version { lake: env.lake.clone(), applied, tables })
    }

    /// The last entry of each shard whose rows are in this version: the follower goes on behind these.
    pub fn applied(&self) -> &Applied {
        &self.applied
    }

    /// The files of a table in this version; none if the lake does not have the table.
    pub fn files(&self, table: Table) -> &[LiveFile] {
        self.tables.iter().find(|found| found.table == table).map_or(&[], |found| &found.files)
    }

    /// Rows of a file of `auth_events_curated`, in the file's order.
    ///
    /// # Errors
    /// The file cannot be read, or maintenance has merged it away meanwhile; then the follower is rebuilt from a newer version.
    pub async fn curated(&self, file: &LiveFile) -> Result<Rows<CuratedBatch>> {
        Ok(self.lake.read_curated(file, None).await?)
    }

    /// Rows of a file of `user_behavior_hourly`.
    ///
    /// # Errors
    /// See [`Version::curated`].
    pub async fn hourly(&self, file: &LiveFile) -> Result<Rows<HourlyBatch>> {
        Ok(self.lake.read_hourly(file, None).await?)
    }

    /// Rows of a file of `host_popularity_daily`.
    ///
    /// # Errors
    /// See [`Version::curated`].
    pub async fn daily(&self, file: &LiveFile) -> Result<Rows<DailyBatch>> {
        Ok(self.lake.read_daily(file, None).await?)
    }

    /// Rows of a file of `auth_events_rejected`.
    ///
    /// # Errors
    /// See [`Version::curated`].
    pub async fn rejected(&self, file: &LiveFile) -> Result<Rows<RejectedBatch>> {
        Ok(self.lake.read_rejected(file, None).await?)
    }
}
