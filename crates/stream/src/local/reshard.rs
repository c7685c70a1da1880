//! Splitting, merging, closing: carries out what `shards.rs` decides.

use super::failure::Failure;
use super::schema;
use crate::StreamError;
use crate::request::closed;
use crate::shards::{Reshard, Shard, plan_merge, plan_split};
use authpulse_event::ShardId;
use rusqlite::Transaction;

/// Closes a shard and opens two children, the second beginning at `at`.
///
/// # Errors
/// The stream is closed, [`plan_split`] refuses, or the database cannot be changed.
pub(super) fn split(tx: &Transaction<'_>, shard: &ShardId, at: u128) -> Result<[ShardId; 2], Failure> {
    let opened = carry_out(tx, |shards| plan_split(shards, shard, at))?;
    opened.try_into().map_err(|_| Failure::Damaged("a split has two heirs".to_owned()))
}

/// Closes two shards and opens their child.
///
/// # Errors
/// The stream is closed, [`plan_merge`] refuses, or the database cannot be changed.
pub(super) fn merge(tx: &Transaction<'_>, left: &ShardId, right: &ShardId) -> Result<ShardId, Failure> {
    let mut opened = carry_out(tx, |shards| plan_merge(shards, left, right))?;
    opened.pop().ok_or_else(|| Failure::Damaged("a merge has an heir".to_owned()))
}

/// Closes the stream and all its shards.
///
/// # Errors
/// The database cannot be changed.
pub(super) fn close(tx: &Transaction<'_>) -> Result<(), Failure> {
    tx.execute("UPDATE stream SET closed = 1", [])?;
    tx.execute("UPDATE shard SET closed = 1", [])?;
    Ok(())
}

fn carry_out(
    tx: &Transaction<'_>,
    plan: impl FnOnce(&[Shard]) -> Result<Reshard, StreamError>,
) -> Result<Vec<ShardId>, Failure> {
    let head = schema::head(tx)?;
    if head.closed {
        return Err(closed(&head.name).into());
    }
    let Reshard { close, open } = plan(&schema::shards(tx)?)?;
    for number in close {
        tx.execute("UPDATE shard SET closed = 1 WHERE number = ?1", [number])?;
    }
    for shard in &open {
        schema::insert_shard(tx, shard)?;
    }
    Ok(open.iter().map(Shard::id).collect())
}
