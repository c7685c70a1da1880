//! Opening shards that can be worked on now.

use super::{Mode, Service};
use authpulse_event::ShardId;
use authpulse_journal::error::Result;
use authpulse_journal::log::read_tail;
use authpulse_lake::entry::Inherited;
use authpulse_stream::ShardDescription;
use authpulse_worker::begin::{OpenedShard, leave_ended, open_existing, open_new};
use authpulse_worker::input::Input;
use authpulse_worker::worker::{Goal, Start, Worker};
use std::collections::BTreeSet;

/// The log target that operators filter by.
const TARGET: &str = "authpulse_consumer::service";

impl Service {
    /// Opens one shard whose lease is `held`, which can be worked on now and has no worker here yet. Call it until it returns `None`.
    /// It opens one at a time, so that a shard lost to another worker at this moment does not cost the workers opened before.
    ///
    /// # Errors
    /// A shard cannot be taken over or rebuilt; [`ConsumerError::Fenced`](authpulse_journal::error::ConsumerError::Fenced) if another
    /// worker took it over at the same time.
    pub async fn start_next(&mut self, held: &BTreeSet<String>) -> Result<Option<Worker>> {
        for shard in self.shards.clone() {
            let key = self.key(&shard.id);
            if self.started.contains(&shard.id) || !held.contains(key.as_str()) || self.is_finished(&shard) {
                continue;
            }
            let Some(OpenedShard { last, shard: state, inherits }) = self.open_shard(&shard, &key).await? else {
                continue;
            };
            let start = Start {
                key,
                name: shard.id.clone(),
                last,
                inherits,
                shard: state,
                input: Input::Stream {
                    stream: self.stream.clone(),
                    name: self.description.name.clone(),
                    shard: shard.id.clone(),
                },
                goal: self.goal_of(&shard.id),
            };
            let (env, options) = (self.env.clone(), self.options.clone());
            let worker = Worker::new(env, options, self.registry.clone(), self.poison.clone(), start)?;
            self.started.insert(shard.id);
            return Ok(Some(worker));
        }
        Ok(None)
    }

    /// Takes a shard over and rebuilds its state; `None` if it cannot be worked on now.
    async fn open_shard(&mut self, shard: &ShardDescription, key: &ShardId) -> Result<Option<OpenedShard>> {
        let Some(tail) = read_tail(&self.env, key).await? else { return self.open_first(shard, key).await };
        if tail.end {
            // The lease is held here, so no other worker reports this end: without this the shard's children would wait for ever.
            leave_ended(&self.env, &self.registry, &tail).await?;
            self.raw_finished.insert(shard.id.clone());
            self.started.insert(shard.id.clone());
            return Ok(None);
        }
        // Sealed since its journal was last read: taking it over would undo the seal.
        if tail.sealed.is_some() && self.is_finished_now(shard).await? {
            return Ok(None);
        }
        let opened = open_existing(&self.env, &self.options, &self.registry, tail).await?;
        if opened.is_none() {
            self.started.insert(shard.id.clone());
        }
        Ok(opened)
    }

    /// Begins a shard without entries; `None` while its parents have not ended.
    async fn open_first(&self, shard: &ShardDescription, key: &ShardId) -> Result<Option<OpenedShard>> {
        let Some(parents) = self.parents_of_new(shard) else { return Ok(None) };
        let names: Vec<&str> = parents.iter().map(|parent| parent.shard.as_str()).collect();
        let what = how_it_begins(shard, &parents);
        tracing::info!(target: TARGET, shard = %key, parents = names.join(" "), "{what}");
        let source = self.source(&shard.id);
        open_new(&self.env, &self.options, key, source, shard.range, parents).await.map(Some)
    }

    fn goal_of(&self, shard: &ShardId) -> Goal {
        match (self.mode, self.tips.get(shard)) {
            (Mode::UntilCaughtUp, Some(tip)) => Goal::Until(*tip),
            (Mode::Seal, Some(tip)) => Goal::SealAt(*tip),
            _ => Goal::Forever,
        }
    }
}

/// Describes, for the log, where a shard without entries comes from.
fn how_it_begins(shard: &ShardDescription, parents: &[Inherited]) -> &'static str {
    match (shard.parents.len(), parents.is_empty()) {
        (_, true) => "begins",
        (0, false) => "goes on with what the lake read before",
        (1, false) => "goes on for a shard that was split",
        (_, false) => "goes on for shards that were merged",
    }
}
