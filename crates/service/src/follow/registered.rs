//! Drives a follower that is not a table. It is registered, so that maintenance keeps the entries and files that it lacks, and it is
//! rebuilt if they are gone all the same.

use super::{Applied, Batch, Follower, Round, Version};
use authpulse_event::time::HOUR;
use authpulse_event::{ProcessingTime, ShardId, Span, Tick};
use authpulse_journal::env::Env;
use authpulse_journal::error::{Chain, ConsumerError, Result};
use authpulse_journal::refusal::Refusal;
use authpulse_journal::stop::unless_stopped;
use authpulse_lake::followers::{self, FollowerName, Registration};
use authpulse_lake::{LakeError, Remedy};
use futures::stream::{self, StreamExt, TryStreamExt};
use std::time::Duration;
use tokio::sync::watch;

/// The log target that operators filter by.
const TARGET: &str = "authpulse_consumer::follow::registered";

/// The shortest time between two registrations of a follower's positions.
pub const REGISTER_EVERY: Span = Span::seconds(10);
/// How often the driver checks whether a journal is folded beyond the follower: folded entries may be removed, and then their numbers
/// are free again. Far less than the age at which entries are removed.
const LOOK_AT_CHECKPOINTS_EVERY: Span = HOUR;
/// How many checkpoints are read at the same time.
const CHECKPOINTS_AT_ONCE: usize = 16;
/// How many times a rebuild is tried in one round: files of the version may be merged away while the follower reads them.
const REBUILD_ATTEMPTS: u32 = 3;

/// Registers one follower, feeds it entries, and has it rebuilt when it must be.
pub struct Registered<F> {
    env: Env,
    follower: F,
    name: FollowerName,
    /// The last registration of this process: its number, its time, and the registered positions.
    last: Option<(u64, Tick, Applied)>,
    /// When the checkpoints were last looked at, by both clocks.
    looked_at: Option<(ProcessingTime, Tick)>,
}

impl<F: Follower> Registered<F> {
    /// Takes a follower; nothing is read or written yet.
    ///
    /// # Errors
    /// [`ConsumerError::Refused`] if its name is not a valid [`FollowerName`].
    pub fn new(env: Env, follower: F) -> Result<Registered<F>> {
        let name = FollowerName::new(follower.name()).map_err(Refusal::FollowerName)?;
        Ok(Registered { env, follower, name, last: None, looked_at: None })
    }

    /// The follower that this value drives.
    pub fn follower(&self) -> &F {
        &self.follower
    }

    /// Applies one batch, or rebuilds the follower. Returns what was done, and whether nothing more is to be done now.
    ///
    /// # Errors
    /// The journal, the registry, a file or the follower fails. What is applied stays applied; the call can be repeated.
    pub async fn round(&mut self) -> Result<(Round, bool)> {
        let applied = self.follower.applied().await?;
        // It registers before it looks for the entries, so that maintenance keeps them from then on.
        self.register(&applied).await?;
        match self.follow(&applied).await {
            Err(ConsumerError::Behind { shard, through }) => {
                tracing::warn!(
                target: TARGET, follower = %self.name, %shard, through,
                                    "entries that the follower lacks are folded, or their files removed; it is rebuilt from the tables"
                                );
                self.rebuild(&shard, through).await?;
                Ok((Round::default(), false))
            }
            other => other,
        }
    }

    /// Does rounds until nothing more is to be done.
    ///
    /// # Errors
    /// See [`Registered::round`].
    pub async fn catch_up(&mut self) -> Result<Round> {
        let mut total = Round::default();
        loop {
            let (round, is_last) = self.round().await?;
            total.entries += round.entries;
            total.rows += round.rows;
            if is_last {
                return Ok(total);
            }
        }
    }

    /// Follows until told to stop, and looks for new entries at intervals of `every`. Errors are logged, and the round is tried again.
    pub async fn run(mut self, every: Duration, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            match unless_stopped(&mut stop, self.catch_up()).await {
                None => return,
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    tracing::warn!(target: TARGET, follower = %self.name, error = %Chain(&error), "the follower could not go on; trying again");
                }
            }
            tokio::select! {
                biased;
                _ = stop.changed() => {}
                () = self.env.clock.sleep(every) => {}
            }
        }
    }

    async fn follow(&mut self, applied: &Applied) -> Result<(Round, bool)> {
        let of = |shard: &ShardId| applied.get(shard).copied().unwrap_or(0);
        self.look_at_checkpoints(of).await?;
        let batch = Batch::read(&self.env, of).await.map_err(|error| match error {
            ConsumerError::Outdated { shard, n } => ConsumerError::Behind { shard, through: n },
            other => other,
        })?;
        if batch.entries().is_empty() {
            return Ok((Round::default(), true));
        }
        let rows = self.follower.apply(&batch).await?;
        Ok((Round { entries: batch.entries().len(), rows }, batch.is_last()))
    }

    /// Checks once an hour whether entries that the follower lacks are folded. While maintenance keeps them for it, none is.
    async fn look_at_checkpoints(&mut self, applied: impl Fn(&ShardId) -> u64) -> Result<()> {
        let now = (self.env.clock.now(), self.env.clock.ticks());
        let passed = |(a, b): (ProcessingTime, Tick)| (now.0 - a).abs().max(now.1 - b);
        if self.looked_at.is_some_and(|at| passed(at) < LOOK_AT_CHECKPOINTS_EVERY) {
            return Ok(());
        }
        let journal = &self.env.journal;
        let shards = journal.shards().await?;
        let looks: Vec<_> = shards.iter().map(|shard| journal.checkpoint(shard)).collect();
        let checkpoints: Vec<_> = stream::iter(looks).buffered(CHECKPOINTS_AT_ONCE).try_collect().await?;
        for (shard, checkpoint) in shards.into_iter().zip(checkpoints) {
            if let Some((through, _)) = checkpoint
                && through > applied(&shard)
            {
                return Err(ConsumerError::Behind { shard, through });
            }
        }
        self.looked_at = Some(now);
        Ok(())
    }

    /// Registers positions, unless that was done less than [`REGISTER_EVERY`] ago or they are unchanged.
    async fn register(&mut self, applied: &Applied) -> Result<()> {
        let ticks = self.env.clock.ticks();
        if let Some((_, at, registered)) = &self.last
            && (ticks - *at < REGISTER_EVERY || registered == applied)
        {
            return Ok(());
        }
        self.register_now(applied).await
    }

    async fn register_now(&mut self, applied: &Applied) -> Result<()> {
        let ticks = self.env.clock.ticks();
        let registration = Registration::new(&self.name, self.env.clock.now(), applied);
        let last = self.last.as_ref().map_or(0, |(n, ..)| *n);
        let n = followers::put(self.env.journal.followers(), &self.name, &registration, last).await?;
        self.last = Some((n, ticks, applied.clone()));
        Ok(())
    }

    /// Has the follower rebuilt; entries up to `through` of a shard that it lacks are gone.
    async fn rebuild(&mut self, shard: &ShardId, through: u64) -> Result<()> {
        for attempt in 1.. {
            match self.rebuild_once(shard, through).await {
                Err(error) if attempt < REBUILD_ATTEMPTS && is_gone(&error) => {
                    tracing::warn!(target: TARGET, follower = %self.name, error = %Chain(&error), "the tables have moved on; beginning anew");
                }
                other => return other,
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn rebuild_once(&mut self, shard: &ShardId, through: u64) -> Result<()> {
        let version = Version::load(&self.env).await?;
        let applied = version.applied().clone();
        let held = applied.get(shard).copied().unwrap_or(0);
        if held < through {
            let (follower, shard) = (self.name.to_string(), shard.clone());
            return Err(Refusal::FollowerLost { follower, shard, through, held }.into());
        }
        // Registered before the version is read, so that maintenance keeps the entries behind it meanwhile.
        self.register_now(&applied).await?;
        self.follower.rebuild(&version).await?;
        let now = self.follower.applied().await?;
        if now.iter().any(|(shard, n)| applied.get(shard).copied().unwrap_or(0) > *n) || now.len() < applied.len() {
            return Err(ConsumerError::Bug(format!(
                "rebuilding follower {}, which does not hold what it was rebuilt from,",
                self.name
            )));
        }
        self.looked_at = None;
        tracing::info!(target: TARGET, follower = %self.name, "the follower is rebuilt from the tables");
        Ok(())
    }
}

/// Whether the error says that something a version of the tables names was removed since the version was loaded.
fn is_gone(error: &ConsumerError) -> bool {
    match error {
        ConsumerError::Lake(error) => matches!(error, LakeError::Damaged { .. }) || error.remedy() == Remedy::Restore,
        ConsumerError::Outdated { .. } => true,
        _ => false,
    }
}
