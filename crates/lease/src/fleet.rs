//! One worker's part in the fleet: renews what it has, takes what nobody renews, hands over what others ask for.

use crate::coordinator::{Coordinator, Wish};
use crate::{Checkpoint, Lease, LeaseError, LeaseSettings, LeaseStore, Ticks};
use futures::future::{join, join_all, try_join_all};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The leases a worker has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// To work on.
    pub held: BTreeSet<String>,
    /// Those among them that others ask for: to be brought to an end and handed over ([`Fleet::hand_over`]).
    pub asked_for: BTreeSet<String>,
    /// Those of other workers that live, as far as is known.
    pub others: BTreeSet<String>,
}

#[derive(Clone, Debug)]
struct Held {
    lease: Lease,
    renewed: Ticks,
}

impl Held {
    /// A lease as the store has it, with the place that the work has reached meanwhile.
    fn at_its_place(&self, lease: Lease) -> Lease {
        Lease { checkpoint: self.lease.checkpoint.clone().or(lease.checkpoint), ..lease }
    }
}

/// See the module. Whoever owns it calls [`Fleet::renew`] and [`Fleet::scan`] often enough, apart from the work itself.
pub struct Fleet {
    store: Arc<dyn LeaseStore>,
    coordinator: Coordinator,
    held: BTreeMap<String, Held>,
    others: BTreeSet<String>,
}

impl Fleet {
    /// A worker that has no lease yet. Its name must be its own among all workers, ever.
    pub fn new(store: Arc<dyn LeaseStore>, worker: impl Into<String>, settings: LeaseSettings) -> Fleet {
        Fleet { store, coordinator: Coordinator::new(worker, settings), held: BTreeMap::new(), others: BTreeSet::new() }
    }

    /// How leases are shared.
    pub fn settings(&self) -> &LeaseSettings {
        self.coordinator.settings()
    }

    /// The worker's name.
    pub fn worker(&self) -> &str {
        self.coordinator.worker()
    }

    /// Whether it has no lease.
    pub fn is_idle(&self) -> bool {
        self.held.is_empty()
    }

    /// The leases it has.
    pub fn holdings(&self) -> Holdings {
        let asked = self.held.iter().filter(|(_, held)| held.lease.next_owner.is_some());
        Holdings {
            held: self.held.keys().cloned().collect(),
            asked_for: asked.map(|(key, _)| key.clone()).collect(),
            others: self.others.clone(),
        }
    }

    /// Says how far the work on a lease has come; the next change of the lease carries it. It never goes back.
    pub fn reached(&mut self, key: &str, checkpoint: Checkpoint) {
        let Some(held) = self.held.get_mut(key) else { return };
        if held.lease.checkpoint.as_ref().is_none_or(|before| before.is_before(&checkpoint)) {
            held.lease.checkpoint = Some(checkpoint);
        }
    }

    /// Renews every lease. One that another has taken is gone, and so is one that could not be renewed for its duration: others
    /// may think the same.
    pub async fn renew(&mut self, now: Ticks) {
        for key in self.held.keys().cloned().collect::<Vec<_>>() {
            if let Err(error) = self.renew_one(&key, now).await {
                tracing::warn!(lease = %key, %error, "a lease could not be renewed");
            }
            let duration = self.settings().duration;
            if self.held.get(&key).is_some_and(|held| now - held.renewed >= duration) {
                tracing::warn!(lease = %key, "the lease expired without being renewed; its work is given up");
                self.held.remove(&key);
            }
        }
    }

    async fn renew_one(&mut self, key: &str, now: Ticks) -> Result<(), LeaseError> {
        let Some(held) = self.held.get_mut(key) else { return Ok(()) };
        if self.store.update(&held.lease).await? {
            held.lease.counter += 1;
            held.renewed = now;
            return Ok(());
        }
        // Somebody asked for it, or an earlier renewal took effect though its answer was lost; or it is another's by now.
        match self.store.get(key).await? {
            Some(lease) if lease.owner.as_deref() == Some(self.coordinator.worker()) => {
                *held = Held { lease: held.at_its_place(lease), renewed: now };
            }
            other => {
                let owner = other.and_then(|lease| lease.owner);
                tracing::warn!(lease = %key, owner = owner.as_deref().unwrap_or("nobody"), "the lease was taken");
                self.held.remove(key);
            }
        }
        Ok(())
    }

    /// Looks at all leases, makes those of `keys` that are missing, takes and asks for what this worker should have. `clock` tells the
    /// time again behind each look, which may take seconds: a counter that was read late did not stand still meanwhile.
    ///
    /// # Errors
    /// The store fails; what was taken before stays.
    pub async fn scan(
        &mut self,
        clock: &(dyn Fn() -> Ticks + Sync),
        keys: &BTreeSet<String>,
    ) -> Result<(), LeaseError> {
        self.look(clock).await?;
        let missing: Vec<Lease> = keys.iter().filter(|key| !self.coordinator.knows(key)).map(Lease::new).collect();
        if !missing.is_empty() {
            self.store.create_all(&missing).await?;
            self.look(clock).await?;
        }
        let now = clock();
        let held = self.held.keys().cloned().collect();
        for wish in self.coordinator.wishes(now, &held) {
            match wish {
                Wish::Take(lease) => {
                    let taken = Lease { owner: Some(self.worker().to_owned()), next_owner: None, ..lease };
                    self.write(taken, now).await?;
                }
                Wish::Ask(lease) => {
                    let asked = Lease { next_owner: Some(self.worker().to_owned()), ..lease };
                    // A failed question is asked again by the next look.
                    self.store.update(&asked).await?;
                }
            }
        }
        Ok(())
    }

    async fn look(&mut self, clock: &(dyn Fn() -> Ticks + Sync)) -> Result<(), LeaseError> {
        // A lease of ours is as old as the question; the counters of others are as new as the answer.
        let now = clock();
        let leases = self.store.list().await?;
        for lease in &leases {
            let ours = lease.owner.as_deref() == Some(self.coordinator.worker());
            match self.held.get_mut(&lease.key) {
                // A lease that an earlier call took though its answer was lost.
                None if ours && !lease.ended => {
                    self.held.insert(lease.key.clone(), Held { lease: lease.clone(), renewed: now });
                }
                Some(held) if ours => held.lease = held.at_its_place(lease.clone()),
                Some(_) => {
                    self.held.remove(&lease.key);
                }
                None => {}
            }
        }
        let now = clock();
        self.coordinator.observe(now, leases);
        self.others = self.coordinator.of_others(now);
        Ok(())
    }

    async fn write(&mut self, lease: Lease, now: Ticks) -> Result<bool, LeaseError> {
        if !self.store.update(&lease).await? {
            return Ok(false);
        }
        let lease = Lease { counter: lease.counter + 1, ..lease };
        if lease.owner.as_deref() == Some(self.coordinator.worker()) {
            self.held.insert(lease.key.clone(), Held { lease, renewed: now });
        }
        Ok(true)
    }

    /// Gives a lease to whoever asked for it, or back; the work on it has come to an end here.
    pub async fn hand_over(&mut self, key: &str) {
        self.part_from(key, false).await;
    }

    /// Says that nothing is left to do for a lease, ever.
    pub async fn end(&mut self, key: &str) {
        self.part_from(key, true).await;
    }

    async fn part_from(&mut self, key: &str, ended: bool) {
        if let Some(held) = self.held.remove(key) {
            give(&*self.store, self.coordinator.worker(), held.lease, ended).await;
        }
    }

    /// Gives everything back, and what is on its way here: others can go on at once. All at a time, because a store that does not
    /// answer costs as long for one lease as for all.
    pub async fn release_all(&mut self) {
        let (store, worker) = (&*self.store, self.coordinator.worker());
        let held = std::mem::take(&mut self.held);
        let rest = async {
            let leases = store.list().await?;
            let mine = leases.into_iter().filter(|lease| {
                let is_asked_for = lease.next_owner.as_deref() == Some(worker);
                // Handed over since this worker looked for the last time.
                let is_unseen =
                    lease.owner.as_deref() == Some(worker) && !held.contains_key(&lease.key) && !lease.ended;
                is_asked_for || is_unseen
            });
            leave_to_others(store, worker, mine).await
        };
        let given = join_all(held.values().map(|held| give(store, worker, held.lease.clone(), false)));
        if let (_, Err(error)) = join(given, rest).await {
            tracing::debug!(%error, "leases on their way to this worker could not be left to others");
        }
    }

    /// Takes back what was asked of others: this worker is about to end.
    ///
    /// # Errors
    /// The store fails.
    pub async fn withdraw(&mut self) -> Result<(), LeaseError> {
        let (store, worker) = (&*self.store, self.coordinator.worker());
        let asked = store.list().await?.into_iter().filter(|lease| lease.next_owner.as_deref() == Some(worker));
        leave_to_others(store, worker, asked).await
    }

    /// Drops a lease without a word: the work on it was lost to another.
    pub fn forget(&mut self, key: &str) {
        self.held.remove(key);
    }
}

/// Leaves leases that are this worker's, or on their way to it, to others. One that moves meanwhile expires as any other.
async fn leave_to_others(
    store: &dyn LeaseStore,
    worker: &str,
    leases: impl Iterator<Item = Lease>,
) -> Result<(), LeaseError> {
    let owner = |lease: &Lease| lease.owner.clone().filter(|owner| owner != worker);
    let without = leases.map(|lease| Lease { owner: owner(&lease), next_owner: None, ..lease });
    try_join_all(without.map(|lease| async move { store.update(&lease).await })).await.map(drop)
}

/// Gives a lease to whoever asked for it, or back, or to its end.
async fn give(store: &dyn LeaseStore, worker: &str, mut lease: Lease, ended: bool) {
    let key = lease.key.clone();
    // Once more where the counter moved meanwhile: somebody has just asked for it.
    for _ in 0..2 {
        let next = lease.next_owner.clone().filter(|_| !ended);
        let given = Lease { owner: next, next_owner: None, ended: ended || lease.ended, ..lease };
        match store.update(&given).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(lease = %key, %error, "a lease could not be given back; others take it when it expires");
                return;
            }
        }
        match store.get(&key).await {
            Ok(Some(now)) if now.owner.as_deref() == Some(worker) => {
                lease = Lease { checkpoint: given.checkpoint, ..now };
            }
            _ => return,
        }
    }
}
