//! Keeps a process's leases while its workers work. It is a task of its own, so that a slow sink or a long entry never costs a lease.

use crate::aside::Aside;
use crate::beside::start_beside;
use authpulse_event::{Position, ShardId, Span};
use authpulse_journal::env::{Env, duration, within};
use authpulse_journal::log::read_tail;
use authpulse_lease::{Checkpoint, Fleet, Holdings, Ticks};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// The log target that operators filter by.
const TARGET: &str = "authpulse_consumer::lease_keeper";

/// What the lease keeper is told to do. The strings are keys of leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseOrder {
    /// Give the lease to the worker that asked for it, or release it: the work on its shard has stopped here.
    HandOver(String),
    /// End the lease: its shard has ended and will never need a worker again.
    End(String),
    /// Forget the lease: another worker has it already.
    Forget(String),
    /// Take no more leases: this process is about to end.
    Leave,
    /// Take no more leases, and give back those that still come this way: this process stands aside, however long it stays up.
    StandAside,
}

/// A handle to the task that keeps the leases.
pub struct LeaseKeeper {
    /// The leases that this process has, as of the last look.
    pub holdings: watch::Receiver<Holdings>,
    wanted: watch::Sender<BTreeSet<String>>,
    stored: watch::Sender<BTreeMap<String, Position>>,
    orders: mpsc::UnboundedSender<LeaseOrder>,
    task: JoinHandle<()>,
}

impl LeaseKeeper {
    /// Begins at once to take leases among `wanted`. The task reports a panic to `panicked`, and to `aside` a shard whose last entry is
    /// too new.
    pub(crate) fn start(
        env: &Env,
        fleet: Fleet,
        wanted: BTreeSet<String>,
        panicked: &watch::Sender<Option<&'static str>>,
        aside: Aside,
    ) -> LeaseKeeper {
        let (held, holdings) = watch::channel(Holdings::default());
        let (want, wanted) = watch::channel(wanted);
        // At most one order per shard and look: the number of shards bounds it.
        let (orders, received) = mpsc::unbounded_channel();
        let (stored, reached) = watch::channel(BTreeMap::new());
        let keep = keep(env.clone(), aside, fleet, wanted, reached, received, held);
        let task = start_beside(panicked, "keeps the leases", keep);
        LeaseKeeper { holdings, wanted: want, stored, orders, task }
    }

    /// Says which leases the stream's shards need, in this process or elsewhere.
    pub fn want(&self, keys: BTreeSet<String>) {
        self.wanted.send_if_modified(|wanted| {
            let changed = *wanted != keys;
            *wanted = keys;
            changed
        });
    }

    /// Says which position each shard's journal has reached; these become the checkpoints of the leases.
    pub fn stored(&self, positions: BTreeMap<String, Position>) {
        self.stored.send_replace(positions);
    }

    /// Gives the keeper an order.
    pub fn tell(&self, order: LeaseOrder) {
        // Sending fails only if the keeper is gone, and its leases with it.
        let _ = self.orders.send(order);
    }

    /// Gives all remaining leases back and ends the task.
    pub async fn finish(self) {
        drop((self.orders, self.wanted, self.stored));
        if let Err(error) = self.task.await {
            tracing::error!(target: TARGET, %error, "leases could not be given back; others take them when they expire");
        }
    }
}

/// How many orders are carried out at a time: few enough that no kept lease expires meanwhile.
const ORDERS_AT_A_TIME: usize = 64;

/// How long a process that is about to end may take to withdraw its requests for other workers' leases. It tries again at the very
/// end.
const WITHDRAW_PATIENCE: Duration = Duration::from_secs(1);

/// A process without any lease looks this many times as often for one.
const IDLE_LOOKS: i64 = 4;

/// Whether this program understands a shard's last entry: only then may it take the shard's lease or ask for it. Any other error
/// shows when the shard is opened; it must not keep leases from being renewed here.
async fn may_have(env: &Env, aside: &Aside, key: &str, patience: Duration) -> bool {
    if aside.met().is_some() {
        return false;
    }
    match within(env, Some(patience), read_tail(env, &ShardId::new(key))).await {
        // The journal did not answer in time: the next look asks again.
        None => false,
        Some(Err(error)) => !aside.meets(&error),
        Some(Ok(_)) => true,
    }
}

/// The time for leases, in microseconds of the tick clock: the lease crate does not know `Tick`.
fn ticks(env: &Env) -> Ticks {
    env.clock.ticks().micros()
}

async fn keep(
    env: Env,
    aside: Aside,
    mut fleet: Fleet,
    mut wanted: watch::Receiver<BTreeSet<String>>,
    stored: watch::Receiver<BTreeMap<String, Position>>,
    mut orders: mpsc::UnboundedReceiver<LeaseOrder>,
    holdings: watch::Sender<Holdings>,
) {
    let (renew_every, looks_every) = (fleet.settings().renew_every(), fleet.settings().scan_every);
    let (mut renewed, mut scanned, mut leaving) = (ticks(&env), None, false);
    // When a process that stands aside looks next for leases that came to it all the same.
    let mut strays: Option<Ticks> = None;
    let tail_patience = duration(Span::from_micros(renew_every) / 2);
    let may_have = |key: String| {
        let (env, aside) = (&env, &aside);
        async move { may_have(env, aside, &key, tail_patience).await }
    };
    let mut batch = Vec::new();
    let reach = |fleet: &mut Fleet| {
        for (key, position) in stored.borrow().iter().filter(|(_, position)| **position != Position::START) {
            let (sequence, sub_sequence) = (position.sequence.to_string(), position.sub_sequence);
            fleet.reached(key, Checkpoint { sequence, sub_sequence });
        }
    };
    loop {
        let now = ticks(&env);
        // An idle process is there to take over from one that fails: until it notices, that shard gets no decisions.
        let scan_every = if fleet.is_idle() { (looks_every / IDLE_LOOKS).max(1) } else { looks_every };
        reach(&mut fleet);
        if now - renewed >= renew_every {
            renewed = now;
            fleet.renew(now).await;
        }
        if !leaving && scanned.is_none_or(|scanned| now - scanned >= scan_every) {
            scanned = Some(now);
            let keys = wanted.borrow_and_update().clone();
            if let Err(error) = fleet.scan_those(&|| ticks(&env), &keys, may_have).await {
                tracing::warn!(target: TARGET, %error, "leases could not be looked at; trying again");
            }
        }
        if strays.is_some_and(|next| now >= next) {
            strays = Some(now + fleet.settings().duration);
            if let Err(error) = fleet.leave_strays().await {
                tracing::debug!(target: TARGET, %error, "whether leases came to this worker, which stands aside, is not known yet");
            }
        }
        let have = fleet.holdings();
        holdings.send_if_modified(|known| {
            let changed = *known != have;
            *known = have;
            changed
        });
        let next_scan = scanned.filter(|_| !leaving).map_or(Ticks::MAX, |scanned| scanned + scan_every);
        let pause = (renewed + renew_every).min(next_scan).min(strays.unwrap_or(Ticks::MAX)) - ticks(&env);
        tokio::select! {
            biased;
            told = orders.recv_many(&mut batch, ORDERS_AT_A_TIME) => {
                reach(&mut fleet);
                if told == 0 {
                    break;
                }
                let carried_out = carry_out(&env, &mut fleet, batch.drain(..)).await;
                leaving |= carried_out.leaves;
                if carried_out.stands_aside {
                    strays.get_or_insert_with(|| ticks(&env));
                }
            }
            Ok(()) = wanted.changed() => scanned = None,
            () = env.clock.sleep(duration(Span::from_micros(pause))) => {}
        }
    }
    fleet.release_all().await;
}

/// What the orders of a batch say about the process itself.
#[derive(Clone, Copy, Debug, Default)]
struct CarriedOut {
    /// It takes no more leases.
    leaves: bool,
    /// It takes no more leases, but stays up.
    stands_aside: bool,
}

/// Carries out orders: hands leases over, ends or forgets them.
async fn carry_out(env: &Env, fleet: &mut Fleet, batch: impl Iterator<Item = LeaseOrder>) -> CarriedOut {
    let (mut given, mut ended, mut carried_out) = (BTreeSet::new(), BTreeSet::new(), CarriedOut::default());
    for order in batch {
        match order {
            LeaseOrder::HandOver(key) => drop(given.insert(key)),
            LeaseOrder::End(key) => drop(ended.insert(key)),
            LeaseOrder::Forget(key) => fleet.forget(&key),
            LeaseOrder::Leave => carried_out.leaves = true,
            LeaseOrder::StandAside => carried_out = CarriedOut { leaves: true, stands_aside: true },
        }
    }
    fleet.hand_over(&given).await;
    fleet.end(&ended).await;
    if carried_out.leaves
        && let Some(Err(error)) = within(env, Some(WITHDRAW_PATIENCE), fleet.withdraw()).await
    {
        tracing::debug!(target: TARGET, %error, "what was asked of other workers could not be taken back yet");
    }
    carried_out
}
