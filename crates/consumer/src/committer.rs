//! The tables follow the journals, all four, every commit interval.

use crate::env::Env;
use crate::error::{Chain, ConsumerError, Result};
use crate::log::Entries;
use authpulse_event::ShardId;
use authpulse_lake::entry::Entry;
use authpulse_lake::{EntryFiles, LakeError, Remedy, Table};
use std::collections::BTreeMap;

/// Entries of one shard in one commit: bounds the memory of a committer that catches up.
const ENTRIES_AT_ONCE: usize = 200;

/// What one round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Entries applied to at least one table.
    pub entries: usize,
    /// Rows appended, over all tables.
    pub rows: u64,
}

/// Brings each table up to the journals, each entry exactly once. Two at a time do no harm.
///
/// # Errors
/// A journal, a file or the catalog fails. What is applied stays applied; the call can be repeated.
pub async fn commit_all(env: &Env) -> Result<Round> {
    let mut total = Round::default();
    let mut outdated = None;
    loop {
        let (round, is_last) = match commit_once(env).await {
            // Another committer may have applied them, and maintenance removed them, since the tables were looked at.
            Err(ConsumerError::Outdated { shard, n }) => {
                let lacking = Some((shard.clone(), n));
                if outdated == lacking {
                    return Err(lacks_folded(&shard, n));
                }
                outdated = lacking;
                continue;
            }
            other => other?,
        };
        total.entries += round.entries;
        total.rows += round.rows;
        if is_last {
            return Ok(total);
        }
    }
}

/// One round, and whether it came to the end of every journal. To look whether a later round would find something costs as many
/// requests as that round; the next interval does.
async fn commit_once(env: &Env) -> Result<(Round, bool)> {
    let mut applied: BTreeMap<Table, BTreeMap<ShardId, u64>> = BTreeMap::new();
    for table in Table::ALL {
        applied.insert(table, env.lake.load(table).await?.applied()?);
    }
    let mut entries: Vec<(ShardId, Entry)> = Vec::new();
    let mut is_last = true;
    for shard in env.journal.shards().await? {
        let lowest = applied.values().map(|a| a.get(&shard).copied().unwrap_or(0)).min().unwrap_or(0);
        let mut behind = Entries::after(env, &shard, lowest);
        let mut found = 0;
        while found < ENTRIES_AT_ONCE
            && let Some(some) = behind.next().await?
        {
            found += some.len();
            entries.extend(some.into_iter().map(|entry| (shard.clone(), entry)));
        }
        is_last &= found < ENTRIES_AT_ONCE;
    }
    let mut round = Round { entries: entries.len(), rows: 0 };
    if entries.is_empty() {
        return Ok((round, true));
    }
    let files: Vec<EntryFiles<'_>> =
        entries.iter().map(|(shard, entry)| EntryFiles { shard, n: entry.n, files: &entry.files }).collect();
    for table in Table::ALL {
        match env.lake.commit(table, &files).await {
            Ok(report) => round.rows += report.rows,
            Err(error) => return Err(with_context(error, table)),
        }
    }
    Ok((round, is_last))
}

fn lacks_folded(shard: &ShardId, n: u64) -> ConsumerError {
    ConsumerError::Refused(format!(
        "a table lacks entry {n} of shard {shard}, which every table held when it was folded: the catalog was replaced by an older \
         copy, or the table rolled back with its properties; restore the newest catalog (nothing was changed)"
    ))
}

fn with_context(error: LakeError, table: Table) -> ConsumerError {
    if matches!(error.remedy(), Remedy::Retry | Remedy::Look) {
        tracing::warn!(%table, error = %Chain(&error), "a table commit did not succeed; the journal keeps what it was to hold");
    }
    error.into()
}
