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

/// How many times in a row a process may lose a shard to a worker without a lease, storing no entry in between, before the run
/// fails.
const FENCED_MAX: u32 = 5;

/// How a worker's task ended.
pub(super) type Joined = std::result::Result<(Worker, Result<WorkerEnd>), JoinError>;

/// The tasks of a service, one for each shard that it works on.
pub(super) struct ShardTasks {
    /// The tasks of the running workers.
    pub tasks: JoinSet<(Worker, Result<WorkerEnd>)>,
    /// Tells a shard's worker to stop.
    stops: BTreeMap<ShardId, watch::Sender<bool>>,
    /// Shards whose workers were told to stop because another worker asks for the lease, or has it.
    leaving: BTreeSet<ShardId>,
    /// Workers that have ended in order.
    done: Vec<Worker>,
    /// How many times in a row each shard was lost.
    fenced: BTreeMap<ShardId, u32>,
    /// The first failure: why the run ends early.
    pub failure: Option<ConsumerError>,
    aside: Aside,
}

impl ShardTasks {
    /// Without any worker yet. What is too new is reported to `aside`.
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

    /// A function that says whether a shard has a running worker here. (It borrows only `stops`: a future that holds a `&Worker` could
    /// not go to another thread.)
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

    /// Takes in an error of a worker or of reading the lake. Something too new goes to `aside`, after which the run stands aside or
    /// fails; every other error ends the run.
    pub fn fail(&mut self, error: ConsumerError) {
        if !self.aside.meets(&error) {
            self.failure.get_or_insert(error);
        }
    }

    /// Forgets the workers that are done, and gives back the leases that no running worker here uses.
    pub fn give_back(&mut self, holdings: &Holdings, leases: &LeaseKeeper) {
        for key in holdings.held.iter().filter(|key| !self.stops.contains_key(&ShardId::new(*key))) {
            leases.tell(LeaseOrder::HandOver(key.clone()));
        }
        self.done.clear();
    }

    /// Stops the workers whose leases other workers ask for or have.
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
            // The last owner stored the end of the shard, but was lost before it ended the lease.
            if service.has_ended(&shard) {
                leases.tell(LeaseOrder::End(key.clone()));
            } else if holdings.asked_for.contains(key) {
                // The other worker may seal the shard again or read on, so a worker that is done here says nothing any more.
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
                // Each lease goes back at once: other workers need not wait for the slowest shard of this process.
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

    /// Another worker has the shard: what was not stored here never happened. `had_stored` tells whether the worker here had stored
    /// an entry.
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

    /// Starts a worker for each shard in `ready` that can be worked on now. Workers started before an error stay.
    ///
    /// # Errors
    /// A shard cannot be taken over or rebuilt, or another worker took it over at the same time.
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

    /// A worker that reached its goal first may have left events unscored whose counts other workers have stored since. Scores and
    /// stores them, until nothing more becomes ready.
    ///
    /// # Errors
    /// An entry cannot be stored.
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
