//! Reads what a shard's owners have stored into a registry.

use crate::env::Env;
use crate::error::Result;
use crate::log::{Entries, read_checkpoint, read_entry, read_spill};
use crate::registry::Registry;
use authpulse_event::ShardId;
use authpulse_lake::entry::{Entry, Spill};

/// Entries that are asked for by number before the journal is listed.
const NEXT_ENTRIES: usize = 3;

/// Takes what a shard's owners have stored since the registry last heard of it, however much that is.
///
/// # Errors
/// An entry cannot be read.
pub async fn read_shard(env: &Env, registry: &Registry, shard: &ShardId) -> Result<()> {
    let mut known = registry.view(shard).map_or(0, |view| view.last);
    if known == 0
        && let Some(checkpoint) = read_checkpoint(env, shard).await?
    {
        registry.folded(&checkpoint)?;
        known = checkpoint.through;
    }
    let mut entries = Entries::after(env, shard, known);
    while let Some(some) = entries.next().await? {
        for entry in some {
            take_in(env, registry, &entry).await?;
        }
    }
    Ok(())
}

/// As [`read_shard`], for a shard that is looked at often. Mostly nothing is new, or one entry is; on S3 a listing that says so costs more
/// than ten times what asking for the next entry does.
///
/// # Errors
/// An entry cannot be read.
pub async fn follow_shard(env: &Env, registry: &Registry, shard: &ShardId) -> Result<()> {
    for _ in 0..NEXT_ENTRIES {
        let known = registry.view(shard).map_or(0, |view| view.last);
        let Some(entry) = read_entry(env, shard, known + 1).await? else { return Ok(()) };
        take_in(env, registry, &entry).await?;
    }
    read_shard(env, registry, shard).await
}

async fn take_in(env: &Env, registry: &Registry, entry: &Entry) -> Result<()> {
    let spill = if entry.takes_over { Spill::default() } else { read_spill(env, entry).await? };
    registry.stored(entry, &spill)
}
