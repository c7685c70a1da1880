//! A follower that is no table: registered, so that folding and cleaning keep what it lacks, and rebuilt where they could not.

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

/// How often a follower's positions are registered, at most, while it goes on.
pub const REGISTER_EVERY: Span = Span::seconds(10);
/// How often it is looked whether a journal is folded beyond the follower: entries that are folded may be removed, and their
/// numbers be free again. Far less than the age at which entries are removed.
const LOOK_AT_CHECKPOINTS_EVERY: Span = HOUR;
/// Checkpoints that are read at the same time.
const CHECKPOINTS_AT_ONCE: usize = 16;
/// How often a follower is rebuilt in one round, where files of the version are merged away while it reads them.
const REBUILD_ATTEMPTS: u32 = 3;

/// Drives one follower.
pub struct Registered<F> {
    env: Env,
    follower: F,
    name: FollowerName,
    /// The last registration of this process: its number, when (in ticks), and what it said.
    last: Option<(u64, Tick, Applied)>,
    /// When the checkpoints were looked at, by both clocks.
    looked_at: Option<(ProcessingTime, Tick)>,
}

impl<F: Follower> Registered<F> {
    /// Takes a follower; nothing is read or written yet.
    ///
    /// # Errors
    /// [`ConsumerError::Refused`] if its name is none.
    pub fn new(env: Env, follower: F) -> Result<Registered<F>> {
        let name = FollowerName::new(follower.name()).map_err(Refusal::FollowerName)?;
        Ok(Registered { env, follower, name, last: None, looked_at: None })
    }

    /// The follower.
    pub fn follower(&self) -> &F {
        &self.follower
    }

    /// Goes on by one batch, or is rebuilt. Returns what was done, and whether there was nothing more to do.
    ///
    /// # Errors
    /// The journal, the registry, a file or the follower fails. What is applied stays applied; the call can be repeated.
    pub async fn round(&mut self) -> Result<(Round, bool)> {
        let applied = self.follower.applied().await?;
        // First it says what it lacks, then it looks whether that is there.
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

    /// Goes on until there is nothing more to do.
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

    /// Follows until told to stop, and looks for new entries this often. What fails is logged and tried again.
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

    /// Looks, now and then, whether entries behind the follower are folded. One that is kept for never finds any.
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

    /// Registers positions, unless that was done a moment ago or says nothing new.
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

    /// Has the follower rebuilt; it was behind `through` of a shard.
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
        // What comes behind the version is kept while it is read.
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

/// Whether something that a version of the tables names was removed since it was loaded.
fn is_gone(error: &ConsumerError) -> bool {
    match error {
        ConsumerError::Lake(error) => matches!(error, LakeError::Damaged { .. }) || error.remedy() == Remedy::Restore,
        ConsumerError::Outdated { .. } => true,
        _ => false,
    }
}
