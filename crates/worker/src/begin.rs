//! How work on one shard of a lake begins: the shard is taken over from its former owner, or begun empty, or begun as the child of other
//! shards.

use crate::entry_files::finish_raw;
use crate::restore::{restore, restore_parents, source_kind};
use authpulse_engine::Shard;
use authpulse_event::{HashRange, ShardId};
use authpulse_journal::env::Env;
use authpulse_journal::error::Result;
use authpulse_journal::log::{Taken, entry_of, read_entry, take_over};
use authpulse_journal::open::{entry_zero, read_shard};
use authpulse_journal::registry::Registry;
use authpulse_lake::entry::{Entry, Inherited, Source};
use authpulse_settings::options::Options;

/// A shard's last entry and its state as of that entry.
pub struct OpenedShard {
    /// The last entry, or [`entry_zero`].
    pub last: Entry,
    /// The state.
    pub shard: Shard,
    /// For a child without an entry: the parents that it inherits from, each with its last entry.
    pub inherits: Vec<Inherited>,
}

/// Takes over a shard that has entries: fences the former owner, finishes its raw files, rebuilds the state. Returns `None` if the former
/// owner has ended the shard meanwhile.
///
/// # Errors
/// Another owner was first, or something stored cannot be read.
pub async fn open_existing(
    env: &Env,
    options: &Options,
    registry: &Registry,
    tail: Entry,
) -> Result<Option<OpenedShard>> {
    let key = ShardId::new(&tail.shard);
    let before = tail.clone();
    let last = match take_over(env, &key, tail).await? {
        Taken::Over(last) => last,
        Taken::Ended(end) => {
            leave_ended(env, registry, &end).await?;
            return Ok(None);
        }
    };
    let range = last.hash_range()?;
    // None of these needs another, and each waits for the network. Nobody decides anything about the shard until they are done.
    let (_, _, shard) = futures::try_join!(
        finish_raw_to(env, &before, last.n - 1),
        // What the former owner stored since the registry was filled, and the entry that fences it.
        read_shard(env, registry, &key),
        restore(env, &options.engine, &last, range),
    )?;
    Ok(Some(OpenedShard { last, shard, inherits: Vec::new() }))
}

/// Finishes what the owner of an ended shard may have left undone. It may have stopped after it stored the end and before it gave its raw
/// files their final names. The registry may not know of the end, either.
///
/// # Errors
/// An entry or a file cannot be read.
pub async fn leave_ended(env: &Env, registry: &Registry, end: &Entry) -> Result<()> {
    finish_raw_to(env, end, end.n).await?;
    read_shard(env, registry, &ShardId::new(&end.shard)).await
}

/// Gives the raw files of a shard's entries up to `last` their final names; `tail` says which have them already.
///
/// # Errors
/// An entry cannot be read, or a file cannot be renamed.
pub async fn finish_raw_to(env: &Env, tail: &Entry, last: u64) -> Result<()> {
    let key = ShardId::new(&tail.shard);
    for n in tail.raw_done + 1..=last {
        if let Some(entry) = read_entry(env, &key, n).await? {
            finish_raw(env, &entry).await?;
        }
    }
    Ok(())
}

/// Begins a shard that has no entry: empty, or as the child of `parents`.
///
/// # Errors
/// A parent's last entry cannot be read, or its state cannot be rebuilt.
pub async fn open_new(
    env: &Env,
    options: &Options,
    key: &ShardId,
    source: Source,
    range: HashRange,
    parents: Vec<Inherited>,
) -> Result<OpenedShard> {
    let mut last = entry_zero(key, source.clone(), range, options);
    if parents.is_empty() {
        let shard = Shard::new(options.engine.clone(), source_kind(&source), range);
        return Ok(OpenedShard { last, shard, inherits: Vec::new() });
    }
    let mut ends = Vec::with_capacity(parents.len());
    for parent in &parents {
        let end = entry_of(env, &ShardId::new(&parent.shard), parent.n).await?;
        // The child's first entry needs the format that its parents' last entries needed. The sections that each entry repeats come from
        // all parents.
        last.format = last.format.max(end.format);
        last.sections.join(end.sections.carried());
        if range.first == 0 {
            last.daily_through = last.daily_through.max(end.daily_through);
        }
        ends.push(end);
    }
    let states = restore_parents(env, &options.engine, &ends, range).await?;
    let shard = Shard::inherit(options.engine.clone(), range, states);
    last.counts.waiting = shard.waiting().len() as u64;
    last.counts.unscored = shard.unscored_len() as u64;
    Ok(OpenedShard { last, shard, inherits: parents })
}
