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

/// Entries of one shard in one batch: bounds the memory of a follower that catches up.
pub(crate) const ENTRIES_AT_ONCE: usize = 200;

/// Journals that are listed at the same time.
const JOURNALS_AT_ONCE: usize = 16;

/// An entry and whose it is.
#[derive(Clone, Debug)]
pub struct Followed {
    /// The journal.
    pub shard: ShardId,
    /// The entry, whole but for what lies in files.
    pub entry: Entry,
}

/// Some entries of every shard, those of a shard one behind the other. Sides and files are read when they are asked for, one
/// file at a time, so that a batch takes little memory.
pub struct Batch<'a> {
    env: &'a Env,
    entries: Vec<Followed>,
    is_last: bool,
}

impl<'a> Batch<'a> {
    /// Reads the entries behind `applied`, some hundred of each shard at most.
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

    /// All of them, by shard and number.
    pub fn entries(&self) -> &[Followed] {
        &self.entries
    }

    /// Whether it came to the end of every journal.
    pub(super) fn is_last(&self) -> bool {
        self.is_last
    }

    /// Those that `follower` lacks, which holds `applied`.
    ///
    /// # Errors
    /// [`ConsumerError::Refused`] where one is missing before them.
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

    /// Unscored events and daily counts of an entry, wherever they are.
    ///
    /// # Errors
    /// [`ConsumerError::Behind`] if they are gone, or they cannot be read.
    pub async fn spill(&self, of: &Followed) -> Result<Spill> {
        match read_spill(self.env, &of.entry).await {
            Err(ConsumerError::Store(StoreError::NotFound { .. })) => Err(behind(of)),
            other => other,
        }
    }

    /// Rows of a file of `auth_events_curated` that the entry names, in the file's order.
    ///
    /// # Errors
    /// [`ConsumerError::Behind`] if the file is gone, or it cannot be read.
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

    /// Reads a file as its entry describes it: the table need not hold it, and may hold another in its place.
    async fn rows<T>(
        &self,
        of: &Followed,
        file: &TableFile,
        read: impl AsyncFnOnce(&Lake, &LiveFile) -> std::result::Result<T, LakeError>,
    ) -> Result<T> {
        match read(&self.env.lake, &LiveFile::from(file)).await {
            // Damaged, or gone: only the second is for tables that follow to make good.
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

/// The entries behind `n`, some hundred at most.
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
