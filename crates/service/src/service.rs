//! The long-running consumer of a stream: which shards to work on, when children start, when it is done.

mod parents;
mod refuse;
mod starting;

use crate::forgotten::with_forgotten;
use authpulse_event::time::HOUR;
use authpulse_event::{Position, ProcessingTime, ShardId};
use authpulse_journal::env::Env;
use authpulse_journal::error::Result;
use authpulse_journal::log::read_tail;
use authpulse_journal::open::{OpenedLake, follow_shard, journal_key, open_lake, read_shard};
use authpulse_journal::registry::{Registry, ShardView};
use authpulse_lake::entry::Source;
use authpulse_settings::options::Options;
use authpulse_stream::{ShardDescription, Stream, StreamDescription, StreamError};
use authpulse_worker::begin::finish_raw_to;
use authpulse_worker::poison::Poison;
use futures::{StreamExt, TryStreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// How many journals of other workers are read at the same time: on S3 each read takes some 20 ms.
const LOOKS_AT_ONCE: usize = 16;

/// When the service ends without being told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only once the stream is closed; its shards are sealed then.
    Run,
    /// At the tips that each shard had at the start. Open days stay open.
    UntilCaughtUp,
    /// At the tips that each shard had at the start. The shards are sealed there.
    Seal,
}

/// The consumer of one stream: knows its shards, and opens workers for those whose leases it has.
pub struct Service {
    env: Env,
    options: Arc<Options>,
    stream: Arc<dyn Stream>,
    description: StreamDescription,
    mode: Mode,
    registry: Arc<Registry>,
    poison: Arc<Poison>,
    shards: Vec<ShardDescription>,
    tips: BTreeMap<ShardId, Position>,
    /// Shards that have a worker in this process, or had one that is done.
    started: BTreeSet<ShardId>,
    /// Finished shards whose raw files already have their final names.
    raw_finished: BTreeSet<ShardId>,
    /// When the journals of other workers were last read: processing time in microseconds.
    followed_at: AtomicI64,
    /// Where the shards of a closed stream end. Empty while the stream is open.
    ends: BTreeMap<ShardId, Position>,
}

impl Service {
    /// Reads the lake and the stream, and checks that the lake can go on with this stream.
    ///
    /// # Errors
    /// It cannot: the lake follows another stream that is not sealed, or has an unfinished backfill. Or the lake or the stream cannot be
    /// read.
    pub async fn open(env: Env, options: Arc<Options>, stream: Arc<dyn Stream>, mode: Mode) -> Result<Service> {
        env.lake.ensure_tables().await?;
        let OpenedLake { registry, tails, options } = open_lake(&env, &options).await?;
        refuse::unfinished_backfill(&tails)?;
        let description = stream.describe().await?;
        let shards = stream.shards().await?;
        let mut tips = BTreeMap::new();
        if mode != Mode::Run {
            for shard in &shards {
                tips.insert(shard.id.clone(), stream.tip(&shard.id).await?);
            }
        }
        let mut service = Service {
            env,
            options,
            stream,
            description,
            mode,
            registry,
            poison: Arc::default(),
            shards,
            tips,
            started: BTreeSet::new(),
            raw_finished: BTreeSet::new(),
            followed_at: AtomicI64::new(0),
            ends: BTreeMap::new(),
        };
        let listed = std::mem::take(&mut service.shards);
        service.shards = service.with_forgotten(listed);
        service.publish_topology();
        refuse::other_open_stream(&service)?;
        service.find_ends().await?;
        Ok(service)
    }

    /// What shards know of each other.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// When the service ends without being told to.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The stream as it was when it was last described.
    pub fn description(&self) -> &StreamDescription {
        &self.description
    }

    /// The name of a shard's journal. It contains the stream: a shard of the same name in another stream is another shard.
    pub fn key(&self, shard: &ShardId) -> ShardId {
        journal_key(&self.description, shard)
    }

    fn source(&self, shard: &ShardId) -> Source {
        Source::Stream {
            name: self.description.name.clone(),
            created: self.description.created,
            shard_id: shard.to_string(),
        }
    }

    fn is_own(&self, source: &Source) -> bool {
        matches!(source, Source::Stream { name, created, .. }
            if *name == self.description.name && *created == self.description.created)
    }

    /// Looks for new shards. Only [`Mode::Run`] follows splits and merges that happen after the start.
    ///
    /// # Errors
    /// The stream cannot be read.
    pub async fn refresh(&mut self) -> Result<()> {
        if self.mode == Mode::Run {
            let description = self.stream.describe().await?;
            let shards = self.with_forgotten(self.stream.shards().await?);
            if shards != self.shards || description != self.description {
                (self.shards, self.description) = (shards, description);
                self.publish_topology();
            }
            self.find_ends().await?;
        }
        Ok(())
    }

    /// The listed shards, and those that the stream no longer lists but whose state is still needed.
    fn with_forgotten(&self, listed: Vec<ShardDescription>) -> Vec<ShardDescription> {
        let own = self.registry.views().into_iter().filter(|(_, view)| self.is_own(&view.source));
        let name = |view: &ShardView| match &view.source {
            Source::Stream { shard_id, .. } => Some(ShardId::new(shard_id)),
            _ => None,
        };
        let own = own.filter_map(|(_, view)| Some((name(&view)?, view))).collect();
        with_forgotten(listed, &own, |shard| self.key(shard))
    }

    /// Learns what other workers have stored: counts, watermarks, ends. `has_worker` says whether a shard has a worker in this process,
    /// which reports what it stores itself. Holding the lease is not enough: the former owner may have stored an entry since the
    /// journal was last read.
    ///
    /// # Errors
    /// A journal cannot be read.
    pub async fn follow(&self, has_worker: impl Fn(&ShardId) -> bool) -> Result<()> {
        // Only this stream's journals grow: earlier streams are sealed, and a backfill is finished.
        let all = match self.mode {
            Mode::Run => self.shards.iter().map(|shard| self.key(&shard.id)).collect(),
            // These modes know only the shards that were there at the start; the lake may have journals of newer ones.
            Mode::UntilCaughtUp | Mode::Seal => self.env.journal.shards().await?,
        };
        // Workers here report what they store, and nothing follows the end of a shard. But a worker that has read everything and waits
        // for other shards may never store again, so it would not learn that another worker has taken its shard over.
        let may_grow = |shard: &ShardId| match self.registry.view(shard) {
            Some(view) => !view.end && (view.read_to_end || !has_worker(shard)),
            None => !has_worker(shard),
        };
        let others = all.into_iter().filter(may_grow);
        // After a long stop the next entry may have been folded and removed. Only a listing tells that from an entry not yet stored.
        let now = self.env.clock.now();
        let was_away =
            (now - ProcessingTime::from_micros(self.followed_at.swap(now.micros(), Ordering::Relaxed))).abs() >= HOUR;
        let looks = others.map(|shard| async move {
            match was_away {
                true => read_shard(&self.env, &self.registry, &shard).await,
                false => follow_shard(&self.env, &self.registry, &shard).await,
            }
        });
        futures::stream::iter(looks).buffer_unordered(LOOKS_AT_ONCE).try_collect().await
    }

    /// The leases of all shards that need a worker now, here or elsewhere.
    pub fn wanted_leases(&self) -> BTreeSet<String> {
        let wanted = self.shards.iter().filter(|shard| {
            let key = self.key(&shard.id);
            !self.is_finished(shard) && (self.registry.view(&key).is_some() || self.may_begin(shard))
        });
        wanted.map(|shard| self.key(&shard.id).to_string()).collect()
    }

    /// Whether a shard needs no worker any more, here or elsewhere.
    fn is_finished(&self, shard: &ShardDescription) -> bool {
        let Some(view) = self.registry.view(&self.key(&shard.id)) else { return false };
        if view.end {
            return true;
        }
        // A seal below the newest seal was made before another shard received more: this shard has to be sealed again.
        let seal = self.registry.seals_up_to();
        let end = self.ends.get(&shard.id);
        end.is_some_and(|end| view.position >= *end && view.sealed.is_some() && (seal.is_none() || view.sealed >= seal))
    }

    async fn is_finished_now(&self, shard: &ShardDescription) -> Result<bool> {
        read_shard(&self.env, &self.registry, &self.key(&shard.id)).await?;
        Ok(self.is_finished(shard))
    }

    /// Whether nothing is left to do: every shard is done, in this process or elsewhere. `others` are the leases of other living workers.
    pub fn is_complete(&self, others: &BTreeSet<String>) -> bool {
        // If all known shards of an open stream have ended, there are children that are not known yet.
        if self.mode == Mode::Run && !self.description.closed {
            return false;
        }
        self.shards.iter().all(|shard| {
            let key = self.key(&shard.id);
            let reached = || match (self.mode, self.tips.get(&shard.id), self.registry.view(&key)) {
                (Mode::UntilCaughtUp, Some(tip), Some(view)) => view.position >= *tip && others.contains(key.as_str()),
                _ => false,
            };
            self.started.contains(&shard.id) || self.is_finished(shard) || reached()
        })
    }

    /// Finds out where the shards of a closed stream end.
    async fn find_ends(&mut self) -> Result<()> {
        if self.description.closed {
            for shard in &self.shards {
                if !self.ends.contains_key(&shard.id) {
                    match self.stream.tip(&shard.id).await {
                        // The stream no longer lists this shard.
                        Err(StreamError::NotFound { .. }) => {}
                        tip => drop(self.ends.insert(shard.id.clone(), tip?)),
                    }
                }
            }
        }
        Ok(())
    }

    fn publish_topology(&self) {
        let mut topology: BTreeMap<ShardId, Vec<ShardId>> = BTreeMap::new();
        for shard in &self.shards {
            topology.entry(self.key(&shard.id)).or_default();
            for parent in &shard.parents {
                // A parent that the stream has forgotten is not part of the input any more.
                if self.shards.iter().any(|s| s.id == *parent) {
                    topology.entry(self.key(parent)).or_default().push(self.key(&shard.id));
                }
            }
        }
        // The description was read before the list of shards: if it says closed, the list is complete.
        self.registry.set_topology(topology, self.description.closed);
    }

    /// The position that each shard's journal has reached, by the key of the shard's lease.
    pub fn positions(&self) -> BTreeMap<String, Position> {
        let known = self.shards.iter().filter_map(|shard| {
            let key = self.key(&shard.id);
            Some((key.to_string(), self.registry.view(&key)?.position))
        });
        known.collect()
    }

    /// Whether a shard is known to have ended: it will never need a worker again.
    pub fn has_ended(&self, key: &ShardId) -> bool {
        self.registry.view(key).is_some_and(|view| view.end)
    }

    /// Gives the raw files of shards that other workers have finished their final names. The last owner may have been lost between its
    /// last entry and the renaming, and such a shard has no owner any more. Two workers doing this at once do no harm.
    ///
    /// # Errors
    /// A journal cannot be read, or a file cannot be renamed.
    pub async fn finish_raw_of_ended(&mut self) -> Result<()> {
        for shard in &self.shards {
            if self.started.contains(&shard.id) || self.raw_finished.contains(&shard.id) || !self.is_finished(shard) {
                continue;
            }
            if let Some(tail) = read_tail(&self.env, &self.key(&shard.id)).await? {
                finish_raw_to(&self.env, &tail, tail.n).await?;
            }
            self.raw_finished.insert(shard.id.clone());
        }
        Ok(())
    }

    /// To be called when a worker was dropped: the next [`Service::start_next`] opens its shard again.
    pub fn restart(&mut self, key: &ShardId) {
        let description = &self.description;
        self.started.retain(|shard| journal_key(description, shard) != *key);
    }
}
