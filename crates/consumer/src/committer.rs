//! The tables follow the journals, all of them, every commit interval.

use crate::env::Env;
use crate::error::{Chain, ConsumerError, Result};
use crate::log::{Entries, read_base};
use authpulse_event::ShardId;
use authpulse_lake::entry::Entry;
use authpulse_lake::{EntryFiles, LakeError, Remedy, Table};
use futures::future::join_all;
use futures::stream::{self, StreamExt, TryStreamExt};
use std::collections::BTreeMap;

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
    let known = env.lake.tables();
    let loads = join_all(known.iter().map(|table| env.lake.load_later(*table))).await;
    let mut tables = Vec::with_capacity(known.len());
    for (table, loaded) in known.iter().copied().zip(loads) {
        if let Some(loaded) = loaded? {
            tables.push(Follows { table, applied: loaded.applied()?, folded: BTreeMap::new() });
        }
    }
    let shards = env.journal.shards().await?;
    let mut looks = Vec::with_capacity(shards.len());
    for shard in &shards {
        pass_folded(env, shard, &mut tables).await?;
        let lowest = tables.iter().map(|follows| follows.holds(shard)).min().unwrap_or(0);
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
    let is_lacking = |table: &Table| !table.is_first() && tables.iter().all(|follows| follows.table != *table);
    let named = entries.iter().flat_map(|(_, entry)| &entry.files).map(|file| file.table);
    if let Some(dropped) = named.filter(|table| env.lake.knows(*table)).find(is_lacking) {
        tracing::warn!(table = %dropped, "the table is gone; it is made again and filled from the journals");
        env.lake.ensure_later_table(&*env.journal, dropped).await?;
        return Ok((Round::default(), false));
    }
    let files: Vec<EntryFiles<'_>> =
        entries.iter().map(|(shard, entry)| EntryFiles { shard, n: entry.n, files: &entry.files }).collect();
    // Each is brought to its end, whatever becomes of the others.
    let commits = tables.iter().map(|follows| env.lake.commit_after(follows.table, &follows.folded, &files));
    let commits = join_all(commits).await;
    for (table, committed) in tables.iter().map(|follows| follows.table).zip(commits) {
        let committed = committed.map_err(|error| with_context(error, table))?;
        round.rows += committed.rows;
        for note in &committed.notes {
            tracing::warn!(%table, "{note}");
        }
    }
    Ok((round, is_last))
}

/// A table and where it is.
struct Follows {
    table: Table,
    applied: BTreeMap<ShardId, u64>,
    /// Entries up to which a shard's base holds nothing of it, where it lacks some of them.
    folded: BTreeMap<ShardId, u64>,
}

impl Follows {
    /// The last entry of a shard that it holds, or need not hold.
    fn holds(&self, shard: &ShardId) -> u64 {
        let of = |numbers: &BTreeMap<ShardId, u64>| numbers.get(shard).copied().unwrap_or(0);
        of(&self.applied).max(of(&self.folded))
    }
}

/// A later table may lack entries that others have folded who do not know it. They named no file of it, as the base tells: it need not
/// hold them. The base is looked at only where a later table is behind the first four.
async fn pass_folded(env: &Env, shard: &ShardId, tables: &mut [Follows]) -> Result<()> {
    let first = tables.iter().filter(|follows| follows.table.is_first()).map(|follows| follows.holds(shard)).min();
    let behind = |follows: &Follows| !follows.table.is_first() && Some(follows.holds(shard)) < first;
    if !tables.iter().any(behind) {
        return Ok(());
    }
    let Some(base) = read_base(env, shard).await? else { return Ok(()) };
    let in_base = base.tables();
    for follows in tables.iter_mut().filter(|follows| behind(follows) && !in_base.contains(&follows.table)) {
        follows.folded.insert(shard.clone(), base.through);
    }
    Ok(())
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
