//! The Iceberg tables as followers, each with its own position, which its metadata hold.

use super::{Applied, Batch, Follower, Version};
use crate::env::Env;
use crate::error::{Chain, ConsumerError, Result};
use async_trait::async_trait;
use authpulse_lake::{EntryFiles, Lake, LakeError, Remedy, Table};
use std::sync::Arc;

/// One table. It is never behind what is kept: nothing is folded that a table lacks.
pub struct TableFollower {
    lake: Arc<Lake>,
    table: Table,
}

impl TableFollower {
    /// A table of the lake.
    pub fn new(env: &Env, table: Table) -> TableFollower {
        TableFollower { lake: env.lake.clone(), table }
    }
}

#[async_trait]
impl Follower for TableFollower {
    fn name(&self) -> &str {
        self.table.name()
    }

    async fn applied(&self) -> Result<Applied> {
        Ok(self.lake.load(self.table).await?.applied()?)
    }

    async fn apply(&self, batch: &Batch<'_>) -> Result<u64> {
        let table = self.table;
        let entries = batch.entries().iter();
        let files: Vec<EntryFiles<'_>> =
            entries.map(|e| EntryFiles { shard: &e.shard, n: e.entry.n, files: &e.entry.files }).collect();
        let committed = self.lake.commit(table, &files).await.map_err(|error| with_context(error, table))?;
        for note in &committed.notes {
            tracing::warn!(%table, "{note}");
        }
        Ok(committed.rows)
    }

    async fn rebuild(&self, _: &Version) -> Result<()> {
        Err(ConsumerError::Refused(format!(
            "table {} cannot be rebuilt from itself: restore the newest catalog (nothing was changed)",
            self.table
        )))
    }
}

fn with_context(error: LakeError, table: Table) -> ConsumerError {
    if matches!(error.remedy(), Remedy::Retry | Remedy::Look) {
        tracing::warn!(%table, error = %Chain(&error), "a table commit did not succeed; the journal keeps what it was to hold");
    }
    error.into()
}
