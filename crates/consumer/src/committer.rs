//! The tables follow the journals, all four, every commit interval.

use crate::env::Env;
use crate::error::{Chain, ConsumerError, Result};
use crate::log::Entries;
use authpulse_event::ShardId;
use authpulse_lake::entry::Entry;
use authpulse_lake::{EntryFiles, LakeError, Remedy, Table};
use futures::future::join_all;
use futures::stream::{self, StreamExt, TryStreamExt};

/// Entries of one shard in one commit: bounds the memory of a committer that catches up.
const ENTRIES_AT_ONCE: usize = 200;

/// Journals that are listed at the same time.
const JOURNALS_AT_ONCE: usize = 16;

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
            if total.entries > 0 {
                tracing::info!(entries = total.entries, rows = total.rows, "committed to the tables");
            }
            return Ok(total);
        }
    }
}

/// One round, and whether it came to the end of every journal. To look whether a later round would find something costs as many
/// requests as that round; the next interval does.
async fn commit_once(env: &Env) -> Result<(Round, bool)> {
    // On S3 and Glue each step is a wait for the network; the tables and the journals do not wait for each other.
    let tables = env.lake.tables();
    let loads = join_all(tables.iter().map(|table| env.lake.load(*table))).await;
    let applied: Vec<_> = loads.into_iter().map(|table| table?.applied()).collect::<std::result::Result<_, _>>()?;
    let shards = env.journal.shards().await?;
    let mut looks = Vec::with_capacity(shards.len());
    for shard in &shards {
        let lowest = applied.iter().map(|a| a.get(shard).copied().unwrap_or(0)).min().unwrap_or(0);
        looks.push(look(env, shard, lowest));
    }
    let behind: Vec<_> = stream::iter(looks).buffered(JOURNALS_AT_ONCE).try_collect().await?;
    let is_last = behind.iter().all(|found| found.len() < ENTRIES_AT_ONCE);
    let mut entries: Vec<(&ShardId, Entry)> = Vec::new();
    for (shard, found) in shards.iter().zip(behind) {
        entries.extend(found.into_iter().map(|entry| (shard, entry)));
    }
    let mut round = Round { entries: entries.len(), rows: 0 };
    if entries.is_empty() {
        return Ok((round, true));
    }
    let files: Vec<EntryFiles<'_>> =
        entries.iter().map(|(shard, entry)| EntryFiles { shard, n: entry.n, files: &entry.files }).collect();
    // Each is brought to its end, whatever becomes of the others.
    let commits = join_all(tables.iter().map(|table| env.lake.commit(*table, &files))).await;
    for (table, committed) in tables.iter().copied().zip(commits) {
        let committed = committed.map_err(|error| with_context(error, table))?;
        round.rows += committed.rows;
        for note in &committed.notes {
            tracing::warn!(%table, "{note}");
        }
    }
    Ok((round, is_last))
}

/// The entries behind `n`, some hundred at most.
async fn look(env: &Env, shard: &ShardId, n: u64) -> Result<Vec<Entry>> {
    let mut behind = Entries::after(env, shard, n);
    let mut found = Vec::new();
    while found.len() < ENTRIES_AT_ONCE
        && let Some(some) = behind.next().await?
    {
        found.extend(some);
    }
    Ok(found)
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
