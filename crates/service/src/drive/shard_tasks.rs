//! The workers of a service, and what becomes of one that ends, is fenced or loses its lease.

use super::TARGET;
use super::worker::{WorkerEnd, drive};
use crate::aside::Aside;
use crate::lease_keeper::{LeaseKeeper, LeaseOrder};
use crate::service::Service;
use authpulse_event::ShardId;
use authpulse_journal::env::{Env, duration};
use authpulse_journal::error::{Chain, ConsumerError, Result};
use authpulse_lease::Holdings;
use authpulse_settings::options::Options;
use authpulse_worker::worker::Worker;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

/// How often in a row, without an entry of its own in between, a worker may lose a shard to another that has no lease for it, before it
/// gives up.
const FENCED_MAX: u32 = 5;

/// How a worker's task ended.
pub(super) type Joined = std::result::Result<(Worker, Result<WorkerEnd>), JoinError>;

/// See the module.
pub(super) struct ShardTasks {
    /// The workers that work.
    pub tasks: JoinSet<(Worker, Result<WorkerEnd>)>,
    /// Tells a shard's worker to stop.
    stops: BTreeMap<ShardId, watch::Sender<bool>>,
    /// Workers that stop because their lease goes, or went, to another.
    leaving: BTreeSet<ShardId>,
    /// Workers that have come to their end.
    done: Vec<Worker>,
    /// How often a shard was lost.
    fenced: BTreeMap<ShardId, u32>,
    /// Why the run ends before its time.
    pub failure: Option<ConsumerError>,
    aside: Aside,
}

impl ShardTasks {
    /// Nobody works yet.
    pub fn new(aside: Aside) -> ShardTasks {
        ShardTasks {
            tasks: JoinSet::new(),
            stops: BTreeMap::new(),
            leaving: BTreeSet::new(),
            done: Vec::new(),
            fenced: BTreeMap::new(),
            failure: None,
            aside,
        }
    }

    /// Tells of a shard whether its worker is at work here. (It borrows no more than that: workers cannot be looked at from elsewhere.)
    pub fn at_work(&self) -> impl Fn(&ShardId) -> bool + use<'_> {
        let stops = &self.stops;
        |shard| stops.contains_key(shard)
    }

    /// Tells all workers to stop.
    pub fn stop_all(&self) {
        for stop in self.stops.values() {
            stop.send_replace(true);
        }
    }

    /// Takes in what a look at the lake or a worker failed with. What is too new makes the run stand aside, or fail, in its time.
    pub fn fail(&mut self, error: ConsumerError) {
        if !self.aside.meets(&error) {
            self.failure.get_or_insert(error);
        }
    }

    /// Forgets the workers that are done, and gives back the leases that no worker here is at any more.
    pub fn give_back(&mut self, holdings: &Holdings, leases: &LeaseKeeper) {
        for key in holdings.held.iter().filter(|key| !self.stops.contains_key(&ShardId::new(*key))) {
            leases.tell(LeaseOrder::HandOver(key.clone()));
        }
        self.done.clear();
    }

    /// Stops the workers whose leases others ask for or have.
    pub fn release(&mut self, holdings: &Holdings, service: &mut Service, leases: &LeaseKeeper) {
        for (key, stop) in &self.stops {
            if holdings.asked_for.contains(key.as_str()) || !holdings.held.contains(key.as_str()) {
                self.leaving.insert(key.clone());
                stop.send_replace(true);
            }
        }
        for key in &holdings.held {
            let shard = ShardId::new(key);
            if self.stops.contains_key(&shard) {
                continue;
            }
            // Its last owner had stored the end and went before it had said so.
            if service.has_ended(&shard) {
                leases.tell(LeaseOrder::End(key.clone()));
            } else if holdings.asked_for.contains(key) {
                // What was done here may be begun anew there, and come back undone.
                self.done.retain(|worker| *worker.key() != shard);
                service.restart(&shard);
                leases.tell(LeaseOrder::HandOver(key.clone()));
            }
        }
    }

    /// Takes in how a worker's task ended.
    pub fn joined(&mut self, joined: Joined, service: &mut Service, leases: &LeaseKeeper) {
        let (worker, outcome) = match joined {
            Ok(joined) => joined,
            Err(error) => {
                self.failure.get_or_insert(ConsumerError::Bug(format!("a worker ({error})")));
                return;
            }
        };
        let key = worker.key().clone();
        self.stops.remove(&key);
        let left = self.leaving.remove(&key);
        match outcome {
            Ok(WorkerEnd::Stopped) if left => {
                tracing::info!(target: TARGET, shard = %key, position = %worker.position(), "handing the shard over");
                service.restart(&key);
                leases.tell(LeaseOrder::HandOver(key.to_string()));
            }
            Ok(WorkerEnd::Stopped) => {
                tracing::info!(target: TARGET, shard = %key, position = %worker.position(), "stopped; giving the shard back");
                // Others need not wait for the slowest of this worker's shards.
                leases.tell(LeaseOrder::HandOver(key.to_string()));
                self.done.push(worker);
            }
            Ok(_) => {
                tracing::info!(target: TARGET, shard = %key, position = %worker.position(), "done with shard");
                if worker.last_entry().end {
                    leases.tell(LeaseOrder::End(key.to_string()));
                }
                self.done.push(worker);
            }
            Err(error @ ConsumerError::Panicked { .. }) => {
                tracing::error!(target: TARGET, error = %Chain(&error), "rebuilding the shard and trying the record again");
                service.restart(&key);
            }
            Err(error @ ConsumerError::Fenced { .. }) => {
                service.restart(&key);
                self.lost(&key, worker.has_stored(), error, leases);
            }
            Err(error) => self.fail(error),
        }
    }

    /// Another worker has the shard: what was not stored here never happened. `had_stored` tells whether some was.
    pub fn lost(&mut self, key: &ShardId, had_stored: bool, error: ConsumerError, leases: &LeaseKeeper) {
        let times = self.fenced.entry(key.clone()).or_default();
        *times = if had_stored { 1 } else { *times + 1 };
        if *times >= FENCED_MAX {
            self.failure.get_or_insert(error);
            return;
        }
        tracing::warn!(target: TARGET, error = %Chain(&error), "another worker has the shard; what was not stored here is dropped");
        leases.tell(LeaseOrder::Forget(key.to_string()));
    }

    /// Starts every shard that can be worked on now. What was started before an error stays.
    pub async fn start_all(
        &mut self,
        ready: &BTreeSet<String>,
        service: &mut Service,
        env: &Env,
        options: &Options,
    ) -> Result<()> {
        while let Some(worker) = service.start_next(ready).await? {
            tracing::info!(target: TARGET, shard = %worker.key(), position = %worker.position(), "working on shard");
            let (stop, stopped) = watch::channel(false);
            self.stops.insert(worker.key().clone(), stop);
            let changes = service.registry().changes();
            self.tasks.spawn(drive(worker, env.clock.clone(), duration(options.poll_interval), stopped, changes));
        }
        Ok(())
    }

    /// Whoever reached its goal first may have left scores open that the others' counts allow now: stores until nothing more becomes ready.
    ///
    /// # Errors
    /// Something cannot be stored.
    pub async fn store_what_became_ready(&mut self) -> Result<()> {
        loop {
            let mut changed = false;
            for worker in &mut self.done {
                if worker.reached_goal_open() {
                    changed |= worker.store_what_became_ready().await?;
                }
            }
            if !changed {
                return Ok(());
            }
        }
    }
}
