//! Brings all tables up to the journals.

pub use crate::follow::Round;
use crate::follow::{Follower, TableFollower, apply, next};
use authpulse_event::ShardId;
use authpulse_journal::env::Env;
use authpulse_journal::error::{ConsumerError, Result};
use authpulse_journal::refusal::Refusal;
use authpulse_lake::Table;

/// The log target that operators filter by.
const TARGET: &str = "authpulse_consumer::committer";

/// Brings each table up to the journals, each entry exactly once. Two committers at a time do no harm.
///
/// # Errors
/// A journal, a file or the catalog fails, or a table lacks an entry that was folded and removed. What is applied stays applied; the
/// call can be repeated.
pub async fn commit_all(env: &Env) -> Result<Round> {
    let mut total = Round::default();
    let mut outdated = None;
    loop {
        let (round, is_last) = match commit_once(env).await {
            // Since the tables were loaded, another committer may have applied these entries and maintenance removed them.
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
                tracing::info!(target: TARGET, entries = total.entries, rows = total.rows, "committed to the tables");
            }
            return Ok(total);
        }
    }
}

/// Does one round and returns whether it reached the end of every journal. If it did, nobody checks for later entries until the next
/// interval: the check costs as many requests as a round.
async fn commit_once(env: &Env) -> Result<(Round, bool)> {
    let tables = TableFollower::load_all(env).await?;
    let followers: Vec<&dyn Follower> = tables.iter().map(|table| table as &dyn Follower).collect();
    let batch = next(env, &followers).await?;
    let is_lacking = |table: &Table| !table.is_first() && tables.iter().all(|follows| follows.table() != *table);
    let named = batch.entries().iter().flat_map(|followed| &followed.entry.files).map(|file| file.table);
    if let Some(dropped) = named.filter(|table| env.lake.knows(*table)).find(is_lacking) {
        tracing::warn!(target: TARGET, table = %dropped, "the table is gone; it is made again and filled from the journals");
        env.lake.ensure_later_table(&*env.journal, dropped).await?;
        return Ok((Round::default(), false));
    }
    apply(&batch, &followers).await
}

fn lacks_folded(shard: &ShardId, n: u64) -> ConsumerError {
    Refusal::TableLacks { shard: shard.clone(), n }.into()
}
