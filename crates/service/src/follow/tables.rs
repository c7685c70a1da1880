//! The Iceberg tables as followers, each with its own position, which its metadata hold.

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

/// One table as it was loaded. It is never behind what is kept: nothing is folded that a table lacks.
pub struct TableFollower {
    lake: Arc<Lake>,
    table: Table,
    applied: Applied,
    /// Entries up to which a shard's checkpoint holds nothing of it, where it lacks some of them.
    folded: Applied,
}

impl TableFollower {
    /// All tables of a lake that are there, each with its own position.
    ///
    /// # Errors
    /// A table cannot be loaded, or a checkpoint that a later table may pass over cannot be read.
    pub async fn load_all(env: &Env) -> Result<Vec<TableFollower>> {
        let known = env.lake.tables();
        // On S3 and Glue each step is a wait for the network; the tables do not wait for each other.
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

    /// Which table.
    pub fn table(&self) -> Table {
        self.table
    }

    /// The last entry of a shard that it holds, or need not hold.
    fn holds(&self, shard: &ShardId) -> u64 {
        let of = |numbers: &Applied| numbers.get(shard).copied().unwrap_or(0);
        of(&self.applied).max(of(&self.folded))
    }
}

/// A later table may lack entries that others have folded who do not know it. They named no file of it, as the checkpoint tells: it need not
/// hold them. The checkpoint is looked at only where a later table is behind the first four.
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
        // It looks again where the table is: others may have gone on since.
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
