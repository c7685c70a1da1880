//! The Iceberg tables as followers. Each has a position of its own, in its metadata.

use super::{Applied, Batch, Follower, Version};
use async_trait::async_trait;
use authpulse_event::ShardId;
use authpulse_journal::env::Env;
use authpulse_journal::error::{Chain, ConsumerError, Result};
use authpulse_journal::log::read_checkpoint;
use authpulse_journal::refusal::Refusal;
use authpulse_lake::{EntryFiles, Lake, LakeError, Remedy, Table};
use futures::future::join_all;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The log target that operators filter by.
const TARGET: &str = "authpulse_consumer::follow::tables";

/// One table as it was loaded. It always finds the entries that it lacks: maintenance folds no entry that a table lacks.
pub struct TableFollower {
    lake: Arc<Lake>,
    table: Table,
    applied: Applied,
    /// The last entry of a shard's checkpoint, if the table lacks folded entries but the checkpoint says that they name no file of it.
    folded: Applied,
}

impl TableFollower {
    /// All tables that the lake has, each with its own position.
    ///
    /// # Errors
    /// A table cannot be loaded, or a checkpoint that a later table may pass over cannot be read.
    pub async fn load_all(env: &Env) -> Result<Vec<TableFollower>> {
        let known = env.lake.tables();
        // On S3 and Glue each step waits for the network: all tables are loaded at the same time.
        let loads = join_all(known.iter().map(|table| env.lake.load_later(*table))).await;
        let mut tables = Vec::with_capacity(known.len());
        for (table, loaded) in known.iter().copied().zip(loads) {
            if let Some(loaded) = loaded? {
                let (applied, folded) = (loaded.applied()?, Applied::new());
                tables.push(TableFollower { lake: env.lake.clone(), table, applied, folded });
            }
        }
        pass_folded(env, &mut tables).await?;
        Ok(tables)
    }

    /// The table that this follower brings up.
    pub fn table(&self) -> Table {
        self.table
    }

    /// The last entry of a shard that the table has, or need not have.
    fn holds(&self, shard: &ShardId) -> u64 {
        let of = |numbers: &Applied| numbers.get(shard).copied().unwrap_or(0);
        of(&self.applied).max(of(&self.folded))
    }
}

/// Older programs, which do not know a later table, may have folded entries that this table lacks. If the checkpoint says that those
/// entries name no file of the table, it need not have them. The checkpoint is read only if a later table is behind the first four.
async fn pass_folded(env: &Env, tables: &mut [TableFollower]) -> Result<()> {
    let first = |table: &&TableFollower| table.table.is_first();
    let shards: BTreeSet<ShardId> =
        tables.iter().filter(first).flat_map(|table| table.applied.keys().cloned()).collect();
    for shard in shards {
        let lowest = tables.iter().filter(first).map(|table| table.holds(&shard)).min();
        let behind = |table: &TableFollower| !table.table.is_first() && Some(table.holds(&shard)) < lowest;
        if !tables.iter().any(behind) {
            continue;
        }
        let Some(checkpoint) = read_checkpoint(env, &shard).await? else { continue };
        let in_checkpoint = checkpoint.tables();
        for table in tables.iter_mut().filter(|table| behind(table) && !in_checkpoint.contains(&table.table)) {
            table.folded.insert(shard.clone(), checkpoint.through);
        }
    }
    Ok(())
}

#[async_trait]
impl Follower for TableFollower {
    fn name(&self) -> &str {
        self.table.name()
    }

    async fn applied(&self) -> Result<Applied> {
        let mut applied = self.applied.clone();
        for (shard, n) in &self.folded {
            let held = applied.entry(shard.clone()).or_default();
            *held = (*held).max(*n);
        }
        Ok(applied)
    }

    async fn apply(&self, batch: &Batch<'_>) -> Result<u64> {
        let table = self.table;
        let entries = batch.entries().iter();
        let files: Vec<EntryFiles<'_>> =
            entries.map(|e| EntryFiles { shard: &e.shard, n: e.entry.n, files: &e.entry.files }).collect();
        // The commit checks the table's position again: another committer may have moved it since.
        let committed = self.lake.commit_after(table, &self.folded, &files).await;
        let committed = committed.map_err(|error| with_context(error, table))?;
        for note in &committed.notes {
            tracing::warn!(target: TARGET, %table, "{note}");
        }
        Ok(committed.rows)
    }

    async fn rebuild(&self, _: &Version) -> Result<()> {
        Err(Refusal::TableRebuilt(self.table).into())
    }
}

fn with_context(error: LakeError, table: Table) -> ConsumerError {
    if matches!(error.remedy(), Remedy::Retry | Remedy::Look) {
        tracing::warn!(target: TARGET, %table, error = %Chain(&error), "a table commit did not succeed; the journal keeps what it was to hold");
    }
    error.into()
}
