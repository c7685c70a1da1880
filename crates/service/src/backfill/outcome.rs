//! Whether anything of a run was accepted.

use authpulse_event::ShardId;
use authpulse_journal::env::Env;
use authpulse_journal::error::Result;
use authpulse_journal::log::{Entries, read_checkpoint, read_tail};

/// Whether the run of the lake's last entry had records and all of them were rejected. It counts the run's entries, and the checkpoint
/// that stands for folded ones.
///
/// # Errors
/// The journal cannot be read.
pub async fn nothing_accepted(env: &Env) -> Result<bool> {
    let key = ShardId::file();
    let run = read_tail(env, &key).await?.and_then(|tail| tail.backfill).map(|backfill| backfill.run_started);
    let checkpoint = read_checkpoint(env, &key).await?;
    let (mut received, mut curated) = (0, 0);
    // The run did not accept events that were accepted before it and not yet scored, nor events that had waited and that it rejected.
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
