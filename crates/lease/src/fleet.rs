//! One worker's part in the fleet: it renews its leases, takes those that nobody renews, and hands over those that others ask for.

use crate::coordinator::{Coordinator, Wish};
use crate::{Checkpoint, Lease, LeaseError, LeaseSettings, LeaseStore, Ticks};
use futures::future::join;
use futures::stream::{self, StreamExt, TryStreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, OnceLock};

/// How many leases are taken, renewed or released at a time: with a slow store, so many take as long as one.
const AT_A_TIME: usize = 64;

/// A round of requests to a store. If another process is writing and does not finish, only the first request waits for it; those not yet
/// sent fail at once with the same error.
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

/// The leases that a worker has, and those of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Leases to work on.
    pub held: BTreeSet<String>,
    /// Those of `held` that other workers ask for: finish the work on them and hand them over ([`Fleet::hand_over`]).
    pub asked_for: BTreeSet<String>,
    /// Leases of other living workers, as of the last look.
    pub others: BTreeSet<String>,
}

#[derive(Clone, Debug)]
struct HeldLease {
    lease: Lease,
    renewed: Ticks,
}

/// The lease as the store has it, with the checkpoint that the work has reached meanwhile.
fn at_its_place(held: &Lease, lease: Lease) -> Lease {
    Lease { checkpoint: held.checkpoint.clone().or(lease.checkpoint), ..lease }
}

/// One worker's leases. Its owner calls [`Fleet::renew`] and [`Fleet::scan`] often enough, apart from the work itself.
pub struct Fleet {
    store: Arc<dyn LeaseStore>,
    coordinator: Coordinator,
    held: BTreeMap<String, HeldLease>,
    others: BTreeSet<String>,
}

impl Fleet {
    /// A worker that has no lease yet. No other worker may ever have had its name.
    pub fn new(store: Arc<dyn LeaseStore>, worker: impl Into<String>, settings: LeaseSettings) -> Fleet {
        Fleet { store, coordinator: Coordinator::new(worker, settings), held: BTreeMap::new(), others: BTreeSet::new() }
    }

    /// How leases are shared between workers.
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

    /// The leases it has, and those of others.
    pub fn holdings(&self) -> Holdings {
        let asked = self.held.iter().filter(|(_, held)| held.lease.next_owner.is_some());
        Holdings {
            held: self.held.keys().cloned().collect(),
            asked_for: asked.map(|(key, _)| key.clone()).collect(),
            others: self.others.clone(),
        }
    }

    /// Says how far the work on a lease has come. The next change of the lease stores it. A checkpoint never goes back.
    pub fn reached(&mut self, key: &str, checkpoint: Checkpoint) {
        let Some(held) = self.held.get_mut(key) else { return };
        if held.lease.checkpoint.as_ref().is_none_or(|before| before.is_before(&checkpoint)) {
            held.lease.checkpoint = Some(checkpoint);
        }
    }

    /// Renews every lease. It gives up a lease that another worker has taken, and one that it could not renew for the lease duration:
    /// others may regard that one as expired. Many are renewed at a time, so that with a slow store no lease waits for those before it.
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

    /// Looks at all leases, makes those of `keys` that are missing, and takes or asks for those that this worker should have. `clock` is
    /// read again after each look, which may take seconds: a counter that was read late did not stand still meanwhile.
    ///
    /// # Errors
    /// The store fails; leases taken before stay.
    pub async fn scan(
        &mut self,
        clock: &(dyn Fn() -> Ticks + Sync),
        keys: &BTreeSet<String>,
    ) -> Result<(), LeaseError> {
        self.scan_those(clock, keys, |_| std::future::ready(true)).await
    }

    /// Like [`Fleet::scan`], but it takes or asks for a lease only if `may_have` allows its key. Many keys are checked at a time.
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
                // A request to another worker that failed is made again by the next look.
                Ok(_) => {}
                Err(error) => failure = Err(error),
            }
        }
        failure
    }

    /// The lease as the wish would have it.
    fn wished(&self, wish: Wish) -> Lease {
        let worker = Some(self.worker().to_owned());
        match wish {
            Wish::Take(lease) => Lease { owner: worker, next_owner: None, ..lease },
            Wish::Ask(lease) => Lease { next_owner: worker, ..lease },
        }
    }

    async fn look(&mut self, clock: &(dyn Fn() -> Ticks + Sync)) -> Result<(), LeaseError> {
        // The age of our own leases counts from before the request; the counters of others are as new as the answer.
        let now = clock();
        let leases = self.store.list().await?;
        for lease in &leases {
            let ours = lease.owner.as_deref() == Some(self.coordinator.worker());
            match self.held.get_mut(&lease.key) {
                // An earlier call took this lease, but its answer was lost.
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

    /// Hands leases to the workers that asked for them, or releases them. The work on them must have stopped here.
    pub async fn hand_over(&mut self, keys: &BTreeSet<String>) {
        self.give_up(keys, false).await;
    }

    /// Ends leases: nothing will ever be left to do for them.
    pub async fn end(&mut self, keys: &BTreeSet<String>) {
        self.give_up(keys, true).await;
    }

    async fn give_up(&mut self, keys: &BTreeSet<String>, ended: bool) {
        let given: Vec<HeldLease> = keys.iter().filter_map(|key| self.held.remove(key)).collect();
        give_all(&*self.store, self.coordinator.worker(), given, ended).await;
    }

    /// Releases all leases and withdraws all requests for more: others can go on at once.
    pub async fn release_all(&mut self) {
        let (store, worker) = (&*self.store, self.coordinator.worker());
        let held = std::mem::take(&mut self.held);
        let rest = leave_unseen(store, worker, &held);
        let given = give_all(store, worker, held.values().cloned(), false);
        if let (_, Err(error)) = join(given, rest).await {
            tracing::debug!(%error, "leases on their way to this worker could not be left to others");
        }
    }

    /// Withdraws this worker's requests for leases of others: it is about to end.
    ///
    /// # Errors
    /// The store fails; some requests may be withdrawn already.
    pub async fn withdraw(&mut self) -> Result<(), LeaseError> {
        let (store, worker) = (&*self.store, self.coordinator.worker());
        let asked = store.list().await?.into_iter().filter(|lease| lease.next_owner.as_deref() == Some(worker));
        leave_to_others(store, worker, asked).await
    }

    /// Releases leases that were handed to this worker since its last look, and withdraws its requests. For a worker that stays up but is
    /// to have no lease.
    ///
    /// # Errors
    /// The store fails; some leases may be released already.
    pub async fn leave_strays(&self) -> Result<(), LeaseError> {
        leave_unseen(&*self.store, self.coordinator.worker(), &self.held).await
    }

    /// Drops a lease and leaves the store as it is: another worker has taken the work over.
    pub fn forget(&mut self, key: &str) {
        self.held.remove(key);
    }
}

/// Withdraws this worker's requests, and releases leases that were handed to it since its last look.
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

/// Releases leases that this worker owns or has asked for. If one changes meanwhile, it is left, and expires like any other.
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

/// The outcome of a renewal.
enum Renewal {
    /// The lease as it is now.
    Renewed(Lease),
    /// Another worker has it, or nobody.
    Taken(Option<String>),
}

async fn renew(store: &dyn LeaseStore, worker: &str, mut lease: Lease) -> Result<Renewal, LeaseError> {
    if store.update(&lease).await? {
        lease.counter += 1;
        return Ok(Renewal::Renewed(lease));
    }
    // Another worker has asked for it, or an earlier renewal took effect but its answer was lost. Or another worker has taken it.
    Ok(match store.get(&lease.key).await? {
        Some(now) if now.owner.as_deref() == Some(worker) => Renewal::Renewed(at_its_place(&lease, now)),
        other => Renewal::Taken(other.and_then(|lease| lease.owner)),
    })
}

/// Hands leases to the workers that asked for them, or releases them, or ends them.
async fn give_all(store: &dyn LeaseStore, worker: &str, held: impl IntoIterator<Item = HeldLease>, ended: bool) {
    let round = &Round::default();
    let given = held.into_iter().map(|held| give(store, round, worker, held.lease, ended));
    stream::iter(given).buffer_unordered(AT_A_TIME).collect::<()>().await;
}

/// Hands over, releases or ends one lease.
async fn give(store: &dyn LeaseStore, round: &Round, worker: &str, mut lease: Lease, ended: bool) {
    let key = lease.key.clone();
    // Tried once more if the counter has moved: another worker has just asked for the lease.
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
