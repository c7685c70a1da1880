//! What became of a run: whether anything of it was accepted.

use crate::env::Env;
use crate::error::Result;
use crate::log::{Entries, read_base, read_tail};
use crate::worker::SharedTally;
use authpulse_event::ShardId;
use std::sync::PoisonError;

/// Whether the run that the lake's last entry belongs to had records, and every one of them is rejected. `tally` has what this
/// process counted; where an earlier one had stored lines of the run (`lines_stored`), its entries tell.
///
/// # Errors
/// The journal cannot be read.
pub async fn nothing_accepted(env: &Env, tally: &SharedTally, lines_stored: u64) -> Result<bool> {
    let (mut records, mut rejected) = tally.lock().unwrap_or_else(PoisonError::into_inner).records();
    if lines_stored > 0 {
        (records, rejected) = of_entries(env).await?;
    }
    Ok(records > 0 && records == rejected)
}

/// Records of the last run, and those rejected, by its entries and the base that stands for folded ones.
async fn of_entries(env: &Env) -> Result<(u64, u64)> {
    let key = ShardId::file();
    let run = read_tail(env, &key).await?.and_then(|tail| tail.backfill).map(|backfill| backfill.run_started);
    let base = read_base(env, &key).await?;
    let (mut records, mut rejected) = (0, 0);
    if let Some(base) = base.as_ref().filter(|base| base.last.backfill.as_ref().map(|b| b.run_started) == run) {
        records += base.received;
        rejected += base.rejected.values().sum::<u64>();
    }
    let mut entries = Entries::after(env, &key, base.map_or(0, |base| base.through));
    while let Some(some) = entries.next().await? {
        for entry in some.iter().filter(|entry| entry.backfill.as_ref().map(|b| b.run_started) == run) {
            records += entry.counts.received;
            rejected += entry.counts.rejected.values().sum::<u64>();
        }
    }
    Ok((records, rejected))
}
