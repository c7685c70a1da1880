//! The simulated world: doubles in memory, and for each process its own doors to them.

use crate::doors::{
    Archive, Beside, CatalogDoor, ClockDoor, Door, JournalDoor, LeaseDoor, SimIds, StoreDoor, StreamDoor, Writers,
};
use crate::gate::{Gate, ProcessId};
use crate::kinesis::{self, Kinesis, Reading};
use crate::leases::{self, Table};
use crate::order::Decisions;
use crate::sabotage::{ForgetsApplied, HidesParents, Overwrites, TakesForItsOwn};
use crate::versions::Versions;
use authpulse_event::{ArrivalTime, ProcessingTime, Span};
use authpulse_journal::Env;
use authpulse_lake::{
    CommitSettings, Journal, Lake, MemoryCatalog, MemoryJournal, MemoryStore, ObjectStore, SoleCommitter,
};
use authpulse_lease::{LeaseStore, MemoryLeases};
use authpulse_stream::memory::MemoryStream;
use authpulse_stream::{CreateOptions, Stream};
use futures::executor::block_on;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// What is broken on purpose, to see that the simulation notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    None,
    /// The journal lets a second entry replace the first.
    Fence,
    /// A writer takes whatever stands at its entry's number after a put for its own entry.
    CommitId,
    /// Children start before their parents have ended.
    ParentsFirst,
    /// Scores do not wait for counts.
    DailyCounts,
    /// Tables forget which entries they hold.
    Applied,
    /// Iterators of Kinesis that go on after a record skip the next one.
    Iterators,
    /// The table of leases does not check the counter of a change.
    Counter,
}

/// No process of ours: it looks at the lake from outside, and works on it as another engine.
pub const OUTSIDE: ProcessId = 0;

pub struct World {
    pub gate: Arc<Gate>,
    pub stream: Arc<MemoryStream>,
    /// The same stream, as Kinesis gives it.
    pub kinesis: Arc<Kinesis>,
    pub reading: Reading,
    /// The leases of consumers that read it through Kinesis.
    pub table: Arc<Table>,
    pub store: Arc<MemoryStore>,
    pub catalog: Arc<MemoryCatalog>,
    pub archive: Archive,
    pub writers: Arc<Mutex<Writers>>,
    pub decisions: Arc<Decisions>,
    pub sabotage: Sabotage,
    pub commits: CommitSettings,
    /// The world, seen from outside and without a gate.
    pub outside: Env,
    /// Which programs the processes run.
    pub versions: Versions,
    journal: Arc<dyn Journal>,
    /// The leases of consumers that read it as an embedded stream.
    pub leases: Arc<MemoryLeases>,
    names: Arc<AtomicU64>,
    ids: Arc<SimIds>,
    slowness: Arc<AtomicU64>,
}

impl World {
    pub fn new(shards: u32, seed: u64, sabotage: Sabotage, commits: CommitSettings, reading: Reading) -> World {
        let gate = Arc::new(Gate::new());
        // The stream's own clock goes on when all clocks are set back: semantics.md leaves the order of equal arrivals in two parents open.
        let (clock, last) = (gate.clone(), AtomicI64::new(0));
        let stream_clock = move || {
            let shown = clock.time.shown(OUTSIDE).micros();
            let next = |last| Some(shown.max(last + 1));
            let last = last.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
            ArrivalTime::from_micros(last.map_or(shown, |last| shown.max(last + 1)))
        };
        let options =
            CreateOptions { name: "sim".to_owned(), shards, clock: Arc::new(stream_clock), ..CreateOptions::default() };
        let stream = Arc::new(MemoryStream::new(options).unwrap());
        let kinesis = Arc::new(Kinesis::new(stream.clone(), seed, sabotage == Sabotage::Iterators));
        let (store, catalog) = (Arc::new(MemoryStore::new()), Arc::new(MemoryCatalog::new()));
        let memory = Arc::new(MemoryJournal::new());
        let journal: Arc<dyn Journal> = match sabotage {
            Sabotage::Fence => Arc::new(Overwrites::new(memory)),
            _ => memory,
        };
        let (names, slowness) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicU64::new(seed)));
        let door = Door { process: OUTSIDE, gate: gate.clone(), slowness: slowness.clone() };
        let clock = Arc::new(ClockDoor(door));
        let ids = Arc::new(SimIds { next: names.clone(), clock: clock.clone() });
        let decisions = Arc::new(Decisions::default());
        let outside = Env {
            lake: Arc::new(Lake::new(store.clone(), catalog.clone()).with_ids(ids.clone()).with_settings(commits)),
            store: store.clone(),
            journal: journal.clone(),
            committer: Arc::new(SoleCommitter),
            clock,
            ids: ids.clone(),
            work: Arc::new(Beside),
            sink: decisions.clone(),
            probe: Arc::new(|_, _| {}),
            inspect: None,
        };
        let world = World {
            gate,
            stream,
            kinesis,
            reading,
            table: Arc::new(Table::new(!seed, sabotage == Sabotage::Counter)),
            store,
            catalog,
            archive: Archive::default(),
            writers: Arc::default(),
            decisions,
            sabotage,
            commits,
            outside,
            versions: Versions::default(),
            journal,
            leases: Arc::new(MemoryLeases::new()),
            names,
            ids,
            slowness,
        };
        world.pass(Span::ZERO);
        world
    }

    /// From now on, processes run programs of two versions; the outside knows what either knows.
    pub fn two_versions(&mut self) {
        self.versions = Versions::two();
        self.outside.lake = Arc::new(self.versions.whole(Lake::clone(&self.outside.lake)));
    }

    /// Lets time go by.
    pub fn pass(&self, span: Span) {
        self.gate.time.pass(span);
        self.store.set_clock(self.now());
    }

    /// The time on a clock that is exactly as wrong as all are.
    pub fn now(&self) -> ProcessingTime {
        self.gate.time.shown(OUTSIDE)
    }

    /// Ids for what is no process of ours.
    pub fn names(&self) -> &Arc<SimIds> {
        &self.ids
    }

    pub fn door(&self, process: ProcessId) -> Door {
        Door { process, gate: self.gate.clone(), slowness: self.slowness.clone() }
    }

    /// The world as a process sees it.
    pub fn env(&self, process: ProcessId) -> Env {
        let store: Arc<dyn ObjectStore> =
            Arc::new(StoreDoor { door: self.door(process), inner: self.store.clone(), archive: self.archive.clone() });
        let store: Arc<dyn ObjectStore> = match self.sabotage {
            Sabotage::Applied => Arc::new(ForgetsApplied(store)),
            _ => store,
        };
        let writers = self.writers.clone();
        let journal: Arc<dyn Journal> =
            Arc::new(JournalDoor { door: self.door(process), inner: self.journal.clone(), writers });
        let journal = match self.sabotage {
            Sabotage::CommitId => Arc::new(TakesForItsOwn::new(journal)),
            _ => journal,
        };
        let catalog = Arc::new(CatalogDoor { door: self.door(process), inner: self.catalog.clone() });
        let clock = Arc::new(ClockDoor(self.door(process)));
        let ids = Arc::new(SimIds { next: self.names.clone(), clock: clock.clone() });
        let lake = Lake::new(store.clone(), catalog).with_ids(ids.clone()).with_settings(self.commits);
        let lake = self.versions.lake(process, lake);
        Env { lake: Arc::new(lake), store, journal, clock, ids, ..self.outside.clone() }
    }

    /// The stream as a process sees it.
    pub fn stream(&self, process: ProcessId) -> Arc<dyn Stream> {
        let stream: Arc<dyn Stream> = match self.reading {
            Reading::Embedded => Arc::new(StreamDoor { door: self.door(process), inner: self.stream.clone() }),
            reading => kinesis::reader(self.door(process), self.kinesis.clone(), reading, process as u64),
        };
        match self.sabotage {
            Sabotage::ParentsFirst => Arc::new(HidesParents(stream)),
            _ => stream,
        }
    }

    /// The leases as a process sees them.
    pub fn leases(&self, process: ProcessId) -> Arc<dyn LeaseStore> {
        match self.reading {
            Reading::Embedded => Arc::new(LeaseDoor { door: self.door(process), inner: self.leases.clone() }),
            Reading::Polling | Reading::FanOut => {
                let description = block_on(self.stream.describe()).expect("memory always answers");
                let stream = self.stream(process);
                Arc::new(leases::leases(self.door(process), self.table.clone(), &description, stream))
            }
        }
    }
}
