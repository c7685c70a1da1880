//! What became of a run: whether anything of it was accepted.

use authpulse_event::ShardId;
use authpulse_journal::env::Env;
use authpulse_journal::error::Result;
use authpulse_journal::log::{Entries, read_checkpoint, read_tail};

/// Whether the run that the lake's last entry belongs to had records, and every one of them is rejected, by its entries and the checkpoint
/// that stands for folded ones.
///
/// # Errors
/// The journal cannot be read.
pub async fn nothing_accepted(env: &Env) -> Result<bool> {
    let key = ShardId::file();
    let run = read_tail(env, &key).await?.and_then(|tail| tail.backfill).map(|backfill| backfill.run_started);
    let checkpoint = read_checkpoint(env, &key).await?;
    let (mut received, mut curated) = (0, 0);
    // Events of before the run that were not scored then are none that it accepted; nor are those that had waited and are rejected in it.
    let (mut unscored_before, mut unscored, mut waiting) = (None, 0, 0);
    if let Some(checkpoint) =
        checkpoint.as_ref().filter(|checkpoint| checkpoint.last.backfill.as_ref().map(|b| b.run_started) == run)
    {
        (received, curated, unscored_before) = (checkpoint.received, checkpoint.curated, Some(0));
    }
    let mut entries = Entries::after(env, &key, checkpoint.map_or(0, |checkpoint| checkpoint.through));
    while let Some(some) = entries.next().await? {
        for entry in some.iter().filter(|entry| entry.backfill.as_ref().map(|b| b.run_started) == run) {
            received += entry.counts.received;
            curated += entry.counts.curated;
            unscored_before.get_or_insert(entry.counts.unscored_before);
            (unscored, waiting) = (entry.counts.unscored, entry.counts.waiting);
        }
    }
    Ok(received > 0 && waiting == 0 && curated + unscored == unscored_before.unwrap_or(0))
}
