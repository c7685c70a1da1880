//! The simulated world: doubles in memory, a clock that only the simulation moves, and faults.

use crate::rng::Rng;
use async_trait::async_trait;
use authpulse_consumer::Env;
use authpulse_consumer::env::{Clock, Ids, Work};
use authpulse_consumer::sink::NoSink;
use authpulse_lake::fault::{Faults, Moment};
use authpulse_lake::{CommitIds, Journal, Lake, MemoryCatalog, MemoryJournal, MemoryStore, ObjectStore, TablePointers};
use authpulse_lease::MemoryLeases;
use authpulse_stream::memory::{MemoryStream, Moment as StreamMoment, Operation};
use authpulse_stream::{CreateOptions, StreamError};
use futures::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// 2024-03-01T00:00:00Z.
const BEGIN: i64 = 1_709_251_200_000_000;

/// Who acts, who is dead, and what is to go wrong.
pub struct Fate {
    rng: Rng,
    /// The process that acts now.
    pub acting: usize,
    dead: BTreeSet<usize>,
    /// Whether anything goes wrong by itself.
    pub on: bool,
    /// Every operation so far, condensed.
    pub trace: u64,
    /// How often which fault struck which operation.
    pub struck: BTreeMap<(String, &'static str), u64>,
    /// Every operation seen, for the report on coverage.
    pub seen: BTreeSet<String>,
}

impl Fate {
    fn decide(&mut self, operation: String, subject: &str, after: bool) -> Result<(), String> {
        for byte in operation.bytes().chain(subject.bytes()).chain([u8::from(after)]) {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
        if self.dead.contains(&self.acting) {
            return Err("the process has crashed".to_owned());
        }
        if self.on {
            self.seen.insert(operation.clone());
            let kind = match (self.rng.below(1000), after) {
                (0..=1, false) => "crash before",
                (0..=1, true) => "crash after",
                (2..=4, false) => "unanswered, not done",
                (2..=4, true) => "unanswered, done",
                _ => return Ok(()),
            };
            *self.struck.entry((operation, kind)).or_default() += 1;
            if kind.starts_with("crash") {
                self.dead.insert(self.acting);
            }
            return Err(kind.to_owned());
        }
        Ok(())
    }
    pub fn is_dead(&self, process: usize) -> bool {
        self.dead.contains(&process)
    }
    pub fn kill(&mut self, process: usize) {
        self.dead.insert(process);
    }
}

pub struct SimClock(pub AtomicI64);

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
    fn ticks(&self) -> i64 {
        self.now()
    }
    async fn sleep(&self, duration: Duration) {
        self.0.fetch_add(duration.as_micros() as i64, Ordering::SeqCst);
    }
}

/// Names in order of request.
pub struct SimIds {
    next: AtomicU64,
    clock: Arc<SimClock>,
}

impl Ids for SimIds {
    fn commit_id(&self) -> String {
        format!("c{:08}", self.next.fetch_add(1, Ordering::SeqCst))
    }
}

impl CommitIds for SimIds {
    fn now_ms(&self) -> i64 {
        self.clock.now() / 1000
    }
    fn uuid(&self) -> uuid::Uuid {
        uuid::Uuid::from_u64_pair(7, self.next.fetch_add(1, Ordering::SeqCst) * 2)
    }
}

/// Work runs when it is waited for.
struct Inline;

impl Work for Inline {
    fn start(&self, work: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        work
    }
}

/// What is broken on purpose, to see that the simulation notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    None,
    /// The journal lets a second entry replace the first.
    Fence,
    /// Scores do not wait for shares.
    Shares,
    /// Tables forget which entries they hold.
    Applied,
}

pub struct World {
    pub clock: Arc<SimClock>,
    pub stream: Arc<MemoryStream>,
    pub env: Env,
    pub leases: Arc<MemoryLeases>,
    pub fate: Arc<Mutex<Fate>>,
    pub sabotage: Sabotage,
}

impl World {
    pub fn new(seed: &Rng, shards: u32, sabotage: Sabotage) -> World {
        let clock = Arc::new(SimClock(AtomicI64::new(BEGIN)));
        let fate = Arc::new(Mutex::new(Fate {
            rng: seed.child(1),
            acting: 0,
            dead: BTreeSet::new(),
            on: true,
            trace: 0xCBF2_9CE4_8422_2325,
            struck: BTreeMap::new(),
            seen: BTreeSet::new(),
        }));
        let faults = || {
            let fate = fate.clone();
            Faults::new(move |step| {
                let operation = format!("{} {}", step.part, step.operation);
                fate.lock().unwrap().decide(operation, step.subject, step.moment == Moment::After)
            })
        };
        let store = Arc::new(MemoryStore::new());
        store.set_faults(faults());
        let journal = Arc::new(MemoryJournal::new());
        journal.set_faults(faults());
        let catalog = Arc::new(MemoryCatalog::new());
        catalog.set_faults(faults());
        let ids = Arc::new(SimIds { next: AtomicU64::new(1), clock: clock.clone() });
        let stream_clock = clock.clone();
        let options = CreateOptions {
            name: "sim".to_owned(),
            shards,
            clock: Arc::new(move || stream_clock.now()),
            ..CreateOptions::default()
        };
        let stream_fate = fate.clone();
        let stream = MemoryStream::new(options).unwrap().with_faults(Arc::new(move |operation: &Operation, moment| {
            let Operation::Read { shard, .. } = operation else { return None };
            let decided = stream_fate.lock().unwrap().decide(
                "stream read".to_owned(),
                shard.as_str(),
                moment == StreamMoment::After,
            );
            let cause = decided.err()?;
            Some(StreamError::Storage { stream: "sim".to_owned(), action: "reading", cause, retry: true })
        }));
        let store: Arc<dyn ObjectStore> = match sabotage {
            Sabotage::Applied => Arc::new(crate::sabotage::ForgetsApplied(store)),
            _ => store,
        };
        let journal: Arc<dyn Journal> = match sabotage {
            Sabotage::Fence => Arc::new(crate::sabotage::Overwrites::new(journal)),
            _ => journal,
        };
        let catalog: Arc<dyn TablePointers> = catalog;
        let env = Env {
            lake: Arc::new(Lake::new(store.clone(), catalog).with_ids(ids.clone())),
            store,
            journal,
            committer: Arc::new(authpulse_lake::SoleCommitter),
            clock: clock.clone(),
            ids,
            work: Arc::new(Inline),
            sink: Arc::new(NoSink),
            probe: Arc::new(|_, _| {}),
            inspect: None,
        };
        let lease_fate = fate.clone();
        let leases = MemoryLeases::with_faults(Arc::new(move |operation, key, after| {
            lease_fate.lock().unwrap().decide(operation.to_owned(), key, after)
        }));
        World { clock, stream: Arc::new(stream), env, leases: Arc::new(leases), fate, sabotage }
    }

    /// From now on it is this process that acts.
    pub fn act_as(&self, process: usize) {
        self.fate.lock().unwrap().acting = process;
    }
}
