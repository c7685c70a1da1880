//! Followers: they read the journals and keep something of their own up to date with them, each entry exactly once.
//!
//! ```text
//!  applied() --> entries behind it, some hundred a shard --> apply(batch): rows and position in one transaction
//!     ^                                                          |
//!     '----------------------- rebuild(version of the tables) <--' Behind: an entry is folded, or a file is gone
//! ```
//!
//! A follower stores its position in the same transaction as its data, so it does not matter when its process ends or how often it is
//! handed a batch. The Iceberg tables are followers ([`TableFollower`]). All others are registered and driven by [`Registered`], so that
//! the entries and files they lack are kept for a while.

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

/// The number of the last applied entry of each shard. A shard that is not in it has none applied.
pub type Applied = BTreeMap<ShardId, u64>;

/// Something that applies entries. Several processes may work for one follower: its transactions keep them apart.
#[async_trait]
pub trait Follower: Send + Sync {
    /// Its name, for people. If it is registered, the name must be a [`FollowerName`](authpulse_lake::FollowerName).
    fn name(&self) -> &str;

    /// The last entry of each shard that it holds.
    async fn applied(&self) -> Result<Applied>;

    /// Applies entries: of each shard those behind [`Follower::applied`], in order and without a gap. It skips the others
    /// ([`Batch::behind`] tells which to apply). Its data and its new position are stored in one transaction, which checks the old
    /// position once more. Returns how many rows were taken in, for people.
    ///
    /// # Errors
    /// Nothing of the batch was applied; it may be called again with the same or more entries. After [`ConsumerError::Behind`], which
    /// the batch's readers return if a file is gone, the follower is rebuilt.
    async fn apply(&self, batch: &Batch<'_>) -> Result<u64>;

    /// Replaces all its data by one version of the tables, and its position by [`Version::applied`], in one transaction.
    ///
    /// # Errors
    /// Its data and its position are as they were before.
    async fn rebuild(&self, version: &Version) -> Result<()>;
}

/// What one round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Entries that at least one follower applied.
    pub entries: usize,
    /// Rows that all followers took in.
    pub rows: u64,
}

/// The next entries for some followers, read once for all of them: from the position of the follower that is furthest behind.
///
/// # Errors
/// A journal or a follower fails.
pub async fn next<'a>(env: &'a Env, followers: &[&dyn Follower]) -> Result<Batch<'a>> {
    // On S3 and Glue each step waits for the network: all followers are asked at the same time.
    let applied = join_all(followers.iter().map(|follower| follower.applied())).await;
    let applied: Vec<Applied> = applied.into_iter().collect::<Result<_>>()?;
    Batch::read(env, |shard| applied.iter().map(|a| a.get(shard).copied().unwrap_or(0)).min().unwrap_or(0)).await
}

/// Lets all followers apply a batch at the same time. Returns what was done, and whether the batch reached the end of every journal.
/// If it did, nobody checks for later entries until the next round: the check costs as many requests as a round.
///
/// # Errors
/// A follower fails. What is applied stays applied; the call can be repeated.
pub async fn apply(batch: &Batch<'_>, followers: &[&dyn Follower]) -> Result<(Round, bool)> {
    let mut round = Round { entries: batch.entries().len(), rows: 0 };
    if batch.entries().is_empty() {
        return Ok((round, true));
    }
    // Each follower finishes, even if another fails.
    for rows in join_all(followers.iter().map(|follower| follower.apply(batch))).await {
        round.rows += rows?;
    }
    Ok((round, batch.is_last()))
}

fn gap(follower: &str, shard: &ShardId, applied: u64, got: u64) -> ConsumerError {
    Refusal::FollowerGap { follower: follower.to_owned(), shard: shard.clone(), applied, got }.into()
}
