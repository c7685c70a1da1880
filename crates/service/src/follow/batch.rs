//! Entries on their way to followers, with their spills and files.

use super::{Applied, gap};
use authpulse_event::ShardId;
use authpulse_journal::env::Env;
use authpulse_journal::error::{ConsumerError, Result};
use authpulse_journal::log::{Entries, read_spill};
use authpulse_lake::entry::{Entry, Spill};
use authpulse_lake::read::{CuratedBatch, DailyBatch, HourlyBatch, LiveFile, RejectedBatch, Rows};
use authpulse_lake::{Lake, LakeError, StoreError, TableFile};
use futures::stream::{self, StreamExt, TryStreamExt};

/// After how many entries of one shard a batch is full: bounds the memory of a follower that catches up.
pub(crate) const ENTRIES_AT_ONCE: usize = 200;

/// How many journals are read at the same time.
const JOURNALS_AT_ONCE: usize = 16;

/// An entry and the shard that it belongs to.
#[derive(Clone, Debug)]
pub struct Followed {
    /// The name of the shard's journal.
    pub shard: ShardId,
    /// The entry, without its spill and rows if these are in files.
    pub entry: Entry,
}

/// Some entries of every shard, in order and without a gap within a shard. Spills and files are read only when asked for, one file at a
/// time, so that a batch takes little memory.
pub struct Batch<'a> {
    env: &'a Env,
    entries: Vec<Followed>,
    is_last: bool,
}

impl<'a> Batch<'a> {
    /// Reads the entries behind `applied`, some hundred of each shard at most.
    ///
    /// # Errors
    /// A journal cannot be read, or an entry behind `applied` was folded and removed
    /// ([`Outdated`](ConsumerError::Outdated)).
    pub(super) async fn read(env: &'a Env, applied: impl Fn(&ShardId) -> u64) -> Result<Batch<'a>> {
        let shards = env.journal.shards().await?;
        let mut looks = Vec::with_capacity(shards.len());
        for shard in &shards {
            looks.push(look(env, shard, applied(shard)));
        }
        let behind: Vec<_> = stream::iter(looks).buffered(JOURNALS_AT_ONCE).try_collect().await?;
        let is_last = behind.iter().all(|found: &Vec<Entry>| found.len() < ENTRIES_AT_ONCE);
        let mut entries = Vec::new();
        for (shard, found) in shards.iter().zip(behind) {
            entries.extend(found.into_iter().map(|entry| Followed { shard: shard.clone(), entry }));
        }
        Ok(Batch { env, entries, is_last })
    }

    /// All entries, by shard and number.
    pub fn entries(&self) -> &[Followed] {
        &self.entries
    }

    /// Whether the batch reached the end of every journal.
    pub(super) fn is_last(&self) -> bool {
        self.is_last
    }

    /// The entries that a follower lacks. `applied` is its position, `follower` its name for the error.
    ///
    /// # Errors
    /// [`ConsumerError::Refused`] if an entry between `applied` and those of the batch is missing.
    pub fn behind(&self, follower: &str, applied: &Applied) -> Result<Vec<&Followed>> {
        let mut at = applied.clone();
        let mut lacked = Vec::new();
        for followed in &self.entries {
            let last = at.entry(followed.shard.clone()).or_default();
            let n = followed.entry.n;
            if n <= *last {
                continue;
            }
            if n != *last + 1 {
                return Err(gap(follower, &followed.shard, *last, n));
            }
            *last = n;
            lacked.push(followed);
        }
        Ok(lacked)
    }

    /// The spill of an entry, from the entry itself or from a file of its own: unscored events and daily counts.
    ///
    /// # Errors
    /// [`ConsumerError::Behind`] if its file is gone, another error if it cannot be read.
    pub async fn spill(&self, of: &Followed) -> Result<Spill> {
        match read_spill(self.env, &of.entry).await {
            Err(ConsumerError::Store(StoreError::NotFound { .. })) => Err(behind(of)),
            other => other,
        }
    }

    /// Rows of a file of `auth_events_curated` that the entry names, in the file's order.
    ///
    /// # Errors
    /// [`ConsumerError::Behind`] if the file is gone, another error if it cannot be read.
    pub async fn curated(&self, of: &Followed, file: &TableFile) -> Result<Rows<CuratedBatch>> {
        self.rows(of, file, async |lake, file| lake.read_curated(file, None).await).await
    }

    /// Rows of a file of `user_behavior_hourly`.
    ///
    /// # Errors
    /// See [`Batch::curated`].
    pub async fn hourly(&self, of: &Followed, file: &TableFile) -> Result<Rows<HourlyBatch>> {
        self.rows(of, file, async |lake, file| lake.read_hourly(file, None).await).await
    }

    /// Rows of a file of `host_popularity_daily`.
    ///
    /// # Errors
    /// See [`Batch::curated`].
    pub async fn daily(&self, of: &Followed, file: &TableFile) -> Result<Rows<DailyBatch>> {
        self.rows(of, file, async |lake, file| lake.read_daily(file, None).await).await
    }

    /// Rows of a file of `auth_events_rejected`.
    ///
    /// # Errors
    /// See [`Batch::curated`].
    pub async fn rejected(&self, of: &Followed, file: &TableFile) -> Result<Rows<RejectedBatch>> {
        self.rows(of, file, async |lake, file| lake.read_rejected(file, None).await).await
    }

    /// Reads a file as its entry describes it. The table need not have it: it may lack it, or have a merged file in its place.
    async fn rows<T>(
        &self,
        of: &Followed,
        file: &TableFile,
        read: impl AsyncFnOnce(&Lake, &LiveFile) -> std::result::Result<T, LakeError>,
    ) -> Result<T> {
        match read(&self.env.lake, &LiveFile::from(file)).await {
            // A file that is gone also shows as damaged. Only a missing one is made good by rebuilding the follower from the tables.
            Err(error @ LakeError::Damaged { .. }) => match self.env.store.size(&file.path).await? {
                None => Err(behind(of)),
                Some(_) => Err(error.into()),
            },
            Err(error) => Err(error.into()),
            Ok(rows) => Ok(rows),
        }
    }
}

fn behind(of: &Followed) -> ConsumerError {
    ConsumerError::Behind { shard: of.shard.clone(), through: of.entry.n }
}

/// The entries of a shard behind entry `n`, some hundred at most.
async fn look(env: &Env, shard: &ShardId, n: u64) -> Result<Vec<Entry>> {
    let mut behind = Entries::after(env, shard, n);
    let mut found = Vec::new();
    while found.len() < ENTRIES_AT_ONCE
        && let Some(some) = behind.next().await?
    {
        found.extend(some);
    }
    Ok(found)
}
