//! One worker's part in the fleet: renews what it has, takes what nobody renews, hands over what others ask for.

use crate::coordinator::{Coordinator, Wish};
use crate::{Checkpoint, Lease, LeaseError, LeaseSettings, LeaseStore, Ticks};
use futures::future::join;
use futures::stream::{self, StreamExt, TryStreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, OnceLock};

/// Leases that are taken, renewed or released at a time: a store that is slow to answer costs as long for one as for so many.
const AT_A_TIME: usize = 64;

/// What is asked of a store one lease after another. Where another process is in the midst of a write and stays there, the first that
/// has waited for it answers for those that have not been asked yet.
#[derive(Default)]
struct Round(OnceLock<LeaseError>);

impl Round {
    async fn ask<T>(&self, question: impl Future<Output = Result<T, LeaseError>>) -> Result<T, LeaseError> {
        if let Some(busy) = self.0.get() {
            return Err(busy.clone());
        }
        let answer = question.await;
        if let Err(busy @ LeaseError::Busy { .. }) = &answer {
            self.0.get_or_init(|| busy.clone());
        }
        answer
    }
}

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
struct HeldLease {
    lease: Lease,
    renewed: Ticks,
}

/// A lease as the store has it, with the place that the work has reached meanwhile.
fn at_its_place(held: &Lease, lease: Lease) -> Lease {
    Lease { checkpoint: held.checkpoint.clone().or(lease.checkpoint), ..lease }
}

/// See the module. Whoever owns it calls [`Fleet::renew`] and [`Fleet::scan`] often enough, apart from the work itself.
pub struct Fleet {
    store: Arc<dyn LeaseStore>,
    coordinator: Coordinator,
    held: BTreeMap<String, HeldLease>,
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
    /// may think the same. Many at a time, so that a store which is slow to answer costs no lease behind the first.
    pub async fn renew(&mut self, now: Ticks) {
        let (store, worker) = (&*self.store, self.coordinator.worker());
        let leases: Vec<Lease> = self.held.values().map(|held| held.lease.clone()).collect();
        let round = &Round::default();
        let renewals = leases.into_iter().map(|lease| async move {
            let key = lease.key.clone();
            (key, round.ask(renew(store, worker, lease)).await)
        });
        let renewed: Vec<_> = stream::iter(renewals).buffer_unordered(AT_A_TIME).collect().await;
        let duration = self.settings().duration;
        for (key, outcome) in renewed {
            let Some(held) = self.held.get_mut(&key) else { continue };
            match outcome {
                Ok(Renewal::Renewed(lease)) => *held = HeldLease { lease, renewed: now },
                Ok(Renewal::Taken(owner)) => {
                    tracing::warn!(lease = %key, owner = owner.as_deref().unwrap_or("nobody"), "the lease was taken");
                    self.held.remove(&key);
                }
                Err(error) => {
                    tracing::warn!(lease = %key, %error, "a lease could not be renewed");
                    if now - held.renewed >= duration {
                        tracing::warn!(lease = %key, "the lease expired without being renewed; its work is given up");
                        self.held.remove(&key);
                    }
                }
            }
        }
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
        self.scan_those(clock, keys, |_| std::future::ready(true)).await
    }

    /// The same, where a lease is neither taken nor asked for unless `may_have` says so of its key. Many are asked about at a time.
    ///
    /// # Errors
    /// As for [`Fleet::scan`].
    pub async fn scan_those<F: Future<Output = bool>>(
        &mut self,
        clock: &(dyn Fn() -> Ticks + Sync),
        keys: &BTreeSet<String>,
        may_have: impl Fn(String) -> F,
    ) -> Result<(), LeaseError> {
        self.look(clock).await?;
        let missing: Vec<Lease> = keys.iter().filter(|key| !self.coordinator.knows(key)).map(Lease::new).collect();
        if !missing.is_empty() {
            self.store.create_all(&missing).await?;
            self.look(clock).await?;
        }
        let now = clock();
        let held = self.held.keys().cloned().collect();
        let store = &*self.store;
        let wishes = self.coordinator.wishes(now, &held).into_iter().map(|wish| self.wished(wish));
        let asked = wishes.map(|lease| {
            let may_have = may_have(lease.key.clone());
            async move { may_have.await.then_some(lease) }
        });
        let asked: Vec<_> = stream::iter(asked.collect::<Vec<_>>()).buffered(AT_A_TIME).collect().await;
        let changes: Vec<Lease> = asked.into_iter().flatten().collect();
        let round = &Round::default();
        let changes = changes.into_iter().map(|lease| async move { (round.ask(store.update(&lease)).await, lease) });
        let changed: Vec<_> = stream::iter(changes).buffer_unordered(AT_A_TIME).collect().await;
        let mut failure = Ok(());
        for (outcome, lease) in changed {
            match outcome {
                Ok(true) if lease.owner.as_deref() == Some(self.coordinator.worker()) => {
                    let lease = Lease { counter: lease.counter + 1, ..lease };
                    self.held.insert(lease.key.clone(), HeldLease { lease, renewed: now });
                }
                // A question that failed is asked again by the next look.
                Ok(_) => {}
                Err(error) => failure = Err(error),
            }
        }
        failure
    }

    /// A lease as it shall be.
    fn wished(&self, wish: Wish) -> Lease {
        let worker = Some(self.worker().to_owned());
        match wish {
            Wish::Take(lease) => Lease { owner: worker, next_owner: None, ..lease },
            Wish::Ask(lease) => Lease { next_owner: worker, ..lease },
        }
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
                    self.held.insert(lease.key.clone(), HeldLease { lease: lease.clone(), renewed: now });
                }
                Some(held) if ours => held.lease = at_its_place(&held.lease, lease.clone()),
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

    /// Gives leases to whoever asked for them, or back; the work on them has come to an end here.
    pub async fn hand_over(&mut self, keys: &BTreeSet<String>) {
        self.give_up(keys, false).await;
    }

    /// Says that nothing is left to do for leases, ever.
    pub async fn end(&mut self, keys: &BTreeSet<String>) {
        self.give_up(keys, true).await;
    }

    async fn give_up(&mut self, keys: &BTreeSet<String>, ended: bool) {
        let given: Vec<HeldLease> = keys.iter().filter_map(|key| self.held.remove(key)).collect();
        give_all(&*self.store, self.coordinator.worker(), given, ended).await;
    }

    /// Gives everything back, and what is on its way here: others can go on at once.
    pub async fn release_all(&mut self) {
        let (store, worker) = (&*self.store, self.coordinator.worker());
        let held = std::mem::take(&mut self.held);
        let rest = leave_unseen(store, worker, &held);
        let given = give_all(store, worker, held.values().cloned(), false);
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

    /// Leaves to others what has come to this worker since it looked for the last time, and what is on its way: it stays, and is to have
    /// nothing.
    ///
    /// # Errors
    /// The store fails.
    pub async fn leave_strays(&self) -> Result<(), LeaseError> {
        leave_unseen(&*self.store, self.coordinator.worker(), &self.held).await
    }

    /// Drops a lease without a word: the work on it was lost to another.
    pub fn forget(&mut self, key: &str) {
        self.held.remove(key);
    }
}

/// Leaves to others what this worker asked for, and what was handed over to it since it looked for the last time.
async fn leave_unseen(
    store: &dyn LeaseStore,
    worker: &str,
    held: &BTreeMap<String, HeldLease>,
) -> Result<(), LeaseError> {
    let mine = store.list().await?.into_iter().filter(|lease| {
        let is_asked_for = lease.next_owner.as_deref() == Some(worker);
        let is_unseen = lease.owner.as_deref() == Some(worker) && !held.contains_key(&lease.key) && !lease.ended;
        is_asked_for || is_unseen
    });
    leave_to_others(store, worker, mine).await
}

/// Leaves leases that are this worker's, or on their way to it, to others. One that moves meanwhile expires as any other.
async fn leave_to_others(
    store: &dyn LeaseStore,
    worker: &str,
    leases: impl Iterator<Item = Lease>,
) -> Result<(), LeaseError> {
    let owner = |lease: &Lease| lease.owner.clone().filter(|owner| owner != worker);
    let without: Vec<_> = leases.map(|lease| Ok(Lease { owner: owner(&lease), next_owner: None, ..lease })).collect();
    let left = |lease: Lease| async move { store.update(&lease).await.map(drop) };
    stream::iter(without).try_for_each_concurrent(AT_A_TIME, left).await
}

/// What came of a renewal.
enum Renewal {
    /// The lease as it is now.
    Renewed(Lease),
    /// Somebody has it, or nobody.
    Taken(Option<String>),
}

async fn renew(store: &dyn LeaseStore, worker: &str, mut lease: Lease) -> Result<Renewal, LeaseError> {
    if store.update(&lease).await? {
        lease.counter += 1;
        return Ok(Renewal::Renewed(lease));
    }
    // Somebody asked for it, or an earlier renewal took effect though its answer was lost; or it is another's by now.
    Ok(match store.get(&lease.key).await? {
        Some(now) if now.owner.as_deref() == Some(worker) => Renewal::Renewed(at_its_place(&lease, now)),
        other => Renewal::Taken(other.and_then(|lease| lease.owner)),
    })
}

/// Gives leases to whoever asked for them, or back, or to their end.
async fn give_all(store: &dyn LeaseStore, worker: &str, held: impl IntoIterator<Item = HeldLease>, ended: bool) {
    let round = &Round::default();
    let given = held.into_iter().map(|held| give(store, round, worker, held.lease, ended));
    stream::iter(given).buffer_unordered(AT_A_TIME).collect::<()>().await;
}

/// One of them.
async fn give(store: &dyn LeaseStore, round: &Round, worker: &str, mut lease: Lease, ended: bool) {
    let key = lease.key.clone();
    // Once more where the counter moved meanwhile: somebody has just asked for it.
    for _ in 0..2 {
        let next = lease.next_owner.clone().filter(|_| !ended);
        let given = Lease { owner: next, next_owner: None, ended: ended || lease.ended, ..lease };
        match round.ask(store.update(&given)).await {
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
