//! The long-running consumer of a stream: which shards to work on, when heirs start, when it is done.

use crate::forgotten::with_forgotten;
use authpulse_event::time::HOUR;
use authpulse_event::{Day, Position, ProcessingTime, ShardId};
use authpulse_journal::backfills::names;
use authpulse_journal::env::Env;
use authpulse_journal::error::{ConsumerError, Result};
use authpulse_journal::log::read_tail;
use authpulse_journal::open::{Opened, follow_shard, journal_key, open_lake, read_shard};
use authpulse_journal::registry::{Registry, ShardView};
use authpulse_lake::entry::{Entry, Inherited, Source};
use authpulse_settings::options::Options;
use authpulse_stream::{ShardDescription, Stream, StreamDescription, StreamError};
use authpulse_worker::begin::{finish_raw_to, leave_ended, open_existing, open_new};
use authpulse_worker::input::Input;
use authpulse_worker::poison::Poison;
use authpulse_worker::worker::{Goal, Start, Worker};
use futures::{StreamExt, TryStreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// The log target that operators filter by.
const TARGET: &str = "authpulse_consumer::service";

/// Journals of others that are looked at at the same time: on S3 each look takes some 20 ms.
const LOOKS_AT_ONCE: usize = 16;

/// When the service ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only when the stream is closed, and then sealed.
    Run,
    /// At the tips found at its start; what is open stays open.
    UntilCaughtUp,
    /// At the tips found at its start; seals.
    Seal,
}

/// See the module.
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
    /// Shards that have a worker here, or had one that is done.
    started: BTreeSet<ShardId>,
    /// Shards that are done, and whose raw files have their final names.
    settled: BTreeSet<ShardId>,
    /// When the journals of others were last looked at.
    followed_at: AtomicI64,
    /// Where the shards of a closed stream end.
    ends: BTreeMap<ShardId, Position>,
}

impl Service {
    /// Reads the lake and the stream, and checks that they go together.
    ///
    /// # Errors
    /// They do not, or one cannot be read.
    pub async fn open(env: Env, options: Arc<Options>, stream: Arc<dyn Stream>, mode: Mode) -> Result<Service> {
        env.lake.ensure_tables().await?;
        let Opened { registry, tails, options } = open_lake(&env, &options).await?;
        refuse_unfinished_backfill(&tails)?;
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
            settled: BTreeSet::new(),
            followed_at: AtomicI64::new(0),
            ends: BTreeMap::new(),
        };
        let listed = std::mem::take(&mut service.shards);
        service.shards = service.with_forgotten(listed);
        service.publish_topology();
        service.refuse_other_open_stream()?;
        service.find_ends().await?;
        Ok(service)
    }

    /// What shards know of each other.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// When it ends by itself.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The stream as it was at the last look.
    pub fn description(&self) -> &StreamDescription {
        &self.description
    }

    /// The name of a shard's journal: the same shard name in another stream is another shard.
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

    /// Looks for new shards. Only a service without a goal follows splits and merges that happen after its start.
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

    /// Shards as they are listed, and those that are needed although they are listed no more.
    fn with_forgotten(&self, listed: Vec<ShardDescription>) -> Vec<ShardDescription> {
        let own = self.registry.views().into_iter().filter(|(_, view)| self.is_own(&view.source));
        let name = |view: &ShardView| match &view.source {
            Source::Stream { shard_id, .. } => Some(ShardId::new(shard_id)),
            _ => None,
        };
        let own = own.filter_map(|(_, view)| Some((name(&view)?, view))).collect();
        with_forgotten(listed, &own, |shard| self.key(shard))
    }

    /// Learns what other workers have stored: shares, watermarks, ends. `has_worker` says of which shards the workers here do.
    /// To hold a shard's lease is not enough: the one who had it before may have stored something since it was last looked at.
    ///
    /// # Errors
    /// A journal cannot be read.
    pub async fn follow(&self, has_worker: impl Fn(&ShardId) -> bool) -> Result<()> {
        // Only this stream's journals grow: what the lake read before it is sealed, or finished.
        let all = match self.mode {
            Mode::Run => self.shards.iter().map(|shard| self.key(&shard.id)).collect(),
            // Its view of the stream is that of its start.
            Mode::UntilCaughtUp | Mode::Seal => self.env.journal.shards().await?,
        };
        // Workers report what they store, and behind the end of a shard nothing comes. One that has read everything and waits for
        // others may never store again, by which it would learn that another has taken its shard over.
        let may_grow = |shard: &ShardId| match self.registry.view(shard) {
            Some(view) => !view.end && (view.read_to_end || !has_worker(shard)),
            None => !has_worker(shard),
        };
        let others = all.into_iter().filter(may_grow);
        // After a long stop the next entry may be folded and removed, which only a listing tells from not being there yet.
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

    /// The leases of the shards that somebody has to work on now.
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
        // A seal that is not the one of the newest day was made before more came in elsewhere: it is made anew.
        let seal = self.registry.newest_accepted().map(|t| Day::of(t).end());
        let end = self.ends.get(&shard.id);
        end.is_some_and(|end| view.position >= *end && view.sealed.is_some() && (seal.is_none() || view.sealed >= seal))
    }

    async fn is_finished_now(&self, shard: &ShardDescription) -> Result<bool> {
        read_shard(&self.env, &self.registry, &self.key(&shard.id)).await?;
        Ok(self.is_finished(shard))
    }

    /// Whether nothing is left to do: every shard is done here, or elsewhere. `others` are the leases of other living workers.
    pub fn is_complete(&self, others: &BTreeSet<String>) -> bool {
        // All known shards of an open stream may have ended: then there are heirs that the last look did not see yet.
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

    /// Of a closed stream, where its shards end.
    async fn find_ends(&mut self) -> Result<()> {
        if self.description.closed {
            for shard in &self.shards {
                if !self.ends.contains_key(&shard.id) {
                    match self.stream.tip(&shard.id).await {
                        // It is listed no more.
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
                // A parent that the stream has forgotten is no part of the input any more.
                if self.shards.iter().any(|s| s.id == *parent) {
                    topology.entry(self.key(parent)).or_default().push(self.key(&shard.id));
                }
            }
        }
        // The description was read first: a stream that was closed then has no shard that is not among these.
        self.registry.set_topology(topology, self.description.closed);
    }

    fn refuse_other_open_stream(&self) -> Result<()> {
        for (key, view) in self.registry.leaves() {
            if let Source::Stream { name, .. } = &view.source
                && !self.is_own(&view.source)
                && view.sealed.is_none()
            {
                return Err(ConsumerError::Refused(format!(
                    "the lake follows the stream '{name}' (shard {key}), which is not sealed: seal it first with \
                     `authpulse consume --seal`, or use another lake for this stream"
                )));
            }
        }
        Ok(())
    }

    /// Up to where the journal of each of the stream's shards goes, by the key of its lease.
    pub fn positions(&self) -> BTreeMap<String, Position> {
        let known = self.shards.iter().filter_map(|shard| {
            let key = self.key(&shard.id);
            Some((key.to_string(), self.registry.view(&key)?.position))
        });
        known.collect()
    }

    /// Opens a shard among those leased that can be worked on now and has no worker here yet; call it until there is none. One at
    /// a time: a shard that is lost to another at this moment must not take along the workers of those opened before.
    ///
    /// # Errors
    /// A shard cannot be taken over or rebuilt.
    pub async fn start_next(&mut self, held: &BTreeSet<String>) -> Result<Option<Worker>> {
        for shard in self.shards.clone() {
            let key = self.key(&shard.id);
            if self.started.contains(&shard.id) || !held.contains(key.as_str()) || self.is_finished(&shard) {
                continue;
            }
            let opened = match read_tail(&self.env, &key).await? {
                Some(tail) if tail.end => {
                    // The lease is held here, so nobody else's reports are heard: without this its heirs would wait for ever.
                    leave_ended(&self.env, &self.registry, &tail).await?;
                    self.settled.insert(shard.id.clone());
                    self.started.insert(shard.id);
                    continue;
                }
                // Sealed since the last look: to take it over would undo that.
                Some(tail) if tail.sealed.is_some() && self.is_finished_now(&shard).await? => continue,
                Some(tail) => match open_existing(&self.env, &self.options, &self.registry, tail).await? {
                    Some(opened) => opened,
                    None => {
                        self.started.insert(shard.id);
                        continue;
                    }
                },
                None => {
                    let Some(parents) = self.parents_of_new(&shard)? else { continue };
                    let source = self.source(&shard.id);
                    let names: Vec<&str> = parents.iter().map(|parent| parent.shard.as_str()).collect();
                    let what = match (shard.parents.len(), names.is_empty()) {
                        (_, true) => "begins",
                        (0, false) => "goes on with what the lake read before",
                        (1, false) => "goes on for a shard that was split",
                        (_, false) => "goes on for shards that were merged",
                    };
                    tracing::info!(target: TARGET, shard = %key, parents = names.join(" "), "{what}");
                    open_new(&self.env, &self.options, &key, source, shard.range, parents).await?
                }
            };
            let goal = match (self.mode, self.tips.get(&shard.id)) {
                (Mode::UntilCaughtUp, Some(tip)) => Goal::Until(*tip),
                (Mode::Seal, Some(tip)) => Goal::SealAt(*tip),
                _ => Goal::Forever,
            };
            let start = Start {
                key,
                name: shard.id.clone(),
                last: opened.last,
                inherits: opened.inherits,
                shard: opened.shard,
                input: Input::Stream {
                    stream: self.stream.clone(),
                    name: self.description.name.clone(),
                    shard: shard.id.clone(),
                },
                goal,
            };
            let (env, options) = (self.env.clone(), self.options.clone());
            let worker = Worker::new(env, options, self.registry.clone(), self.poison.clone(), start)?;
            self.started.insert(shard.id);
            return Ok(Some(worker));
        }
        Ok(None)
    }

    /// Whether a shard is ended, as far as is known: no worker will ever be needed for it.
    pub fn has_ended(&self, key: &ShardId) -> bool {
        self.registry.view(key).is_some_and(|view| view.end)
    }

    /// Gives the raw files of shards that others have brought to their end their final names. Their last owner may have been lost
    /// between its last entry and that, and nobody owns them any more. Two that do it at once do no harm.
    ///
    /// # Errors
    /// An entry cannot be read, or a file not be renamed.
    pub async fn settle(&mut self) -> Result<()> {
        for shard in &self.shards {
            if self.started.contains(&shard.id) || self.settled.contains(&shard.id) || !self.is_finished(shard) {
                continue;
            }
            if let Some(tail) = read_tail(&self.env, &self.key(&shard.id)).await? {
                finish_raw_to(&self.env, &tail, tail.n).await?;
            }
            self.settled.insert(shard.id.clone());
        }
        Ok(())
    }

    /// A worker was dropped: its shard is opened anew by the next [`Service::start_next`].
    pub fn restart(&mut self, key: &ShardId) {
        let description = &self.description;
        self.started.retain(|shard| journal_key(description, shard) != *key);
    }

    /// Whether a shard without entries can be worked on.
    fn may_begin(&self, shard: &ShardDescription) -> bool {
        let mut known = shard.parents.iter().filter(|parent| self.shards.iter().any(|s| s.id == **parent));
        known.all(|parent| self.registry.view(&self.key(parent)).is_some_and(|view| view.end))
    }

    /// Whom a shard without entries inherits from; `None` while it cannot start.
    fn parents_of_new(&self, shard: &ShardDescription) -> Result<Option<Vec<Inherited>>> {
        let known: Vec<&ShardId> =
            shard.parents.iter().filter(|parent| self.shards.iter().any(|s| s.id == **parent)).collect();
        if known.is_empty() {
            // A first shard: what the lake read before this stream lives on in it.
            return Ok(Some(self.earlier_input()));
        }
        let mut parents = Vec::new();
        for parent in known {
            match self.registry.view(&self.key(parent)) {
                Some(view) if view.end => parents.push(Inherited { shard: self.key(parent).to_string(), n: view.last }),
                _ => return Ok(None),
            }
        }
        Ok(Some(parents))
    }

    /// The last shards of what the lake read before this stream: a backfill, or an earlier stream.
    fn earlier_input(&self) -> Vec<Inherited> {
        let views = self.registry.views();
        let others: BTreeMap<&ShardId, &ShardView> = views.iter().filter(|(_, v)| !self.is_own(&v.source)).collect();
        let parents: BTreeSet<&ShardId> = others.values().flat_map(|view| &view.inherited).collect();
        let leaves = others.into_iter().filter(|(key, _)| !parents.contains(key));
        leaves.map(|(key, view)| Inherited { shard: key.to_string(), n: view.last }).collect()
    }
}

/// While a backfill is unfinished, its history would come after the stream's events.
fn refuse_unfinished_backfill(tails: &BTreeMap<ShardId, Entry>) -> Result<()> {
    let Some(backfill) = tails.get(&ShardId::file()).and_then(|tail| tail.backfill.as_ref()) else { return Ok(()) };
    if backfill.finished {
        return Ok(());
    }
    Err(ConsumerError::Refused(format!(
        "the lake's backfill of {} is not finished: run the same `authpulse backfill` again first, it continues where it stopped; if \
         its files cannot be read to their end, `authpulse backfill --give-up` ends it",
        names(&backfill.files)
    )))
}
