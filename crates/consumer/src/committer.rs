//! The tables follow the journals, all four, every commit interval.

use crate::env::Env;
use crate::error::{ConsumerError, Result};
pub use crate::follow::Round;
use crate::follow::{Follower, TableFollower, round};
use authpulse_event::ShardId;
use authpulse_lake::Table;

/// Brings each table up to the journals, each entry exactly once. Two at a time do no harm.
///
/// # Errors
/// A journal, a file or the catalog fails. What is applied stays applied; the call can be repeated.
pub async fn commit_all(env: &Env) -> Result<Round> {
    let tables = Table::ALL.map(|table| TableFollower::new(env, table));
    let tables = tables.each_ref().map(|table| table as &dyn Follower);
    let mut total = Round::default();
    let mut outdated = None;
    loop {
        let (round, is_last) = match round(env, &tables).await {
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

fn lacks_folded(shard: &ShardId, n: u64) -> ConsumerError {
    ConsumerError::Refused(format!(
        "a table lacks entry {n} of shard {shard}, which every table held when it was folded: the catalog was replaced by an older \
         copy, or the table rolled back with its properties; restore the newest catalog (nothing was changed)"
    ))
}
