//! Followers: who reads the journals and keeps something of its own up to them, each entry exactly once.
//!
//! ```text
//!  applied() --> entries behind it, some hundred a shard --> apply(batch): rows and position in one transaction
//!     ^                                                          |
//!     '----------------------- rebuild(version of the tables) <--' Behind: an entry is folded, or a file is gone
//! ```
//!
//! A follower holds where it is in the same transaction as what it keeps, so it does not matter when its process ends or how often
//! a batch is handed to it. The Iceberg tables are followers ([`TableFollower`]); all others are registered and driven by
//! [`Registered`], so that what they lack is kept for a while.

mod batch;
mod registered;
mod tables;
mod version;

pub use batch::{Batch, Followed};
pub use registered::{REGISTER_EVERY, Registered};
pub use tables::TableFollower;
pub use version::Version;

use async_trait::async_trait;
use authpulse_event::ShardId;
use authpulse_journal::env::Env;
use authpulse_journal::error::{ConsumerError, Result};
use authpulse_journal::refusal::Refusal;
use futures::future::join_all;
use std::collections::BTreeMap;

/// The last entry of each shard that somebody holds; none of a shard that is not there.
pub type Applied = BTreeMap<ShardId, u64>;

/// See the module. Several processes may work for one follower: its transactions keep them apart.
#[async_trait]
pub trait Follower: Send + Sync {
    /// What it is called, in words for people and, where it is registered, as a
    /// [`FollowerName`](authpulse_lake::FollowerName).
    fn name(&self) -> &str;

    /// The last entry of each shard that it holds.
    async fn applied(&self) -> Result<Applied>;

    /// Takes entries in: of each shard those behind [`Follower::applied`], in order and without a gap; others are skipped
    /// ([`Batch::behind`] tells which). What it keeps of them and the new position become true in one transaction, which looks
    /// once more where it is. Returns how many rows it took in, for people.
    ///
    /// # Errors
    /// Nothing of the batch counts; calling again with the same or more entries is right. [`ConsumerError::Behind`], which the
    /// batch's own readers return where a file is gone, has it rebuilt.
    async fn apply(&self, batch: &Batch<'_>) -> Result<u64>;

    /// Throws away what it keeps and takes in one version of the tables instead, at [`Version::applied`]; all of it in one
    /// transaction.
    ///
    /// # Errors
    /// What it keeps is as it was before.
    async fn rebuild(&self, version: &Version) -> Result<()>;
}

/// What one round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Entries applied to at least one follower.
    pub entries: usize,
    /// Rows that they took in, together.
    pub rows: u64,
}

/// The next entries for some followers, read once for all of them, from where the last of them is.
///
/// # Errors
/// A journal or a follower fails.
pub async fn next<'a>(env: &'a Env, followers: &[&dyn Follower]) -> Result<Batch<'a>> {
    // On S3 and Glue each step is a wait for the network; the followers and the journals do not wait for each other.
    let applied = join_all(followers.iter().map(|follower| follower.applied())).await;
    let applied: Vec<Applied> = applied.into_iter().collect::<Result<_>>()?;
    Batch::read(env, |shard| applied.iter().map(|a| a.get(shard).copied().unwrap_or(0)).min().unwrap_or(0)).await
}

/// Lets each follower take a batch in, at the same time. Returns what was done, and whether the batch came to the end of every
/// journal. To look whether a later one would hold something costs as many requests as that one; the next round does.
///
/// # Errors
/// A follower fails. What is applied stays applied; the call can be repeated.
pub async fn apply(batch: &Batch<'_>, followers: &[&dyn Follower]) -> Result<(Round, bool)> {
    let mut round = Round { entries: batch.entries().len(), rows: 0 };
    if batch.entries().is_empty() {
        return Ok((round, true));
    }
    // Each is brought to its end, whatever becomes of the others.
    for rows in join_all(followers.iter().map(|follower| follower.apply(batch))).await {
        round.rows += rows?;
    }
    Ok((round, batch.is_last()))
}

fn gap(follower: &str, shard: &ShardId, applied: u64, got: u64) -> ConsumerError {
    Refusal::FollowerGap { follower: follower.to_owned(), shard: shard.clone(), applied, got }.into()
}
