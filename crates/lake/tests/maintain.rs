//! Maintenance: no row is lost, doubled or changed, `applied` stays, nothing that is referenced goes, whatever fails and whoever
//! else changes the tables.

mod common;

use arrow_array::UInt32Array;
use authpulse_event::time::{DAY, DEFAULT_BASE, HOUR, SECOND};
use authpulse_event::{Micros, ShardId};
use authpulse_lake::entry::{
    Entry as Stored, EntryCounts, FORMAT, FileRef, PieceRef, Place, RawFile, Side, Source, StoredTimeRules,
};
use authpulse_lake::fault::{Faults, Moment, Step};
use authpulse_lake::maintain::{MaintainReport, Memory};
use authpulse_lake::read::LiveFile;
use authpulse_lake::{
    CommitIds, CommitSettings, EntryFiles, Journal, Lake, LocalStore, MaintainSettings, MemoryCatalog, MemoryJournal,
    MemoryStore, ObjectStore, SqliteCatalog, Table, TableFile, maintain,
};
use bytes::Bytes;
use common::{bytes, entry, stored};
use futures::executor::block_on;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use uuid::Uuid;

const ROWS: u64 = 2;

/// Merges whatever there is, and keeps nothing longer than it must.
const TIDY: MaintainSettings = MaintainSettings {
    target_bytes: 1 << 20,
    min_files: 2,
    manifests_max: 1,
    snapshots_max: 100,
    snapshot_age: 0,
    orphan_age: HOUR,
};

/// A clock that is set, and names that count up.
struct SetIds {
    ms: AtomicI64,
    next: AtomicU64,
}

impl CommitIds for SetIds {
    fn now_ms(&self) -> i64 {
        self.ms.load(Ordering::Relaxed)
    }
    fn uuid(&self) -> Uuid {
        Uuid::from_u64_pair(self.next.fetch_add(1, Ordering::Relaxed), 0)
    }
}

struct World {
    lake: Lake,
    store: Arc<MemoryStore>,
    catalog: Arc<MemoryCatalog>,
    journal: MemoryJournal,
    ids: Arc<SetIds>,
    entries: Vec<common::Entry>,
    /// Rows of each table by the entry that brought them.
    rows: BTreeMap<(ShardId, u64), Vec<(Table, String)>>,
}

/// Every row of a file, as text.
fn rows_of(lake: &Lake, file: &LiveFile) -> Vec<(Table, String)> {
    let mut rows = Vec::new();
    macro_rules! read {
        ($read:ident) => {
            for batch in block_on(lake.$read(file, None)).unwrap() {
                rows.extend(batch.unwrap().iter().map(|row| (file.table, format!("{row:?}"))));
            }
        };
    }
    match file.table {
        Table::Curated => read!(read_curated),
        Table::Hourly => read!(read_hourly),
        Table::Daily => read!(read_daily),
        Table::Rejected => read!(read_rejected),
    }
    rows
}

fn all_rows(lake: &Lake) -> Vec<(Table, String)> {
    let files = Table::ALL.into_iter().flat_map(|table| block_on(lake.live_files(table)).unwrap().files);
    let mut rows: Vec<_> = files.flat_map(|file| rows_of(lake, &file)).collect();
    rows.sort_unstable();
    rows
}

fn journal_entry(shard: &str, n: u64, files: Vec<TableFile>, watermark: Micros, now: Micros) -> Stored {
    let place = |n: u64| Place { sequence: n.to_string(), sub_sequence: 0 };
    let name = |k: u32| format!("{shard}-{n}-{k}");
    let raw = RawFile {
        staged: format!("staging/raw/{}.parquet", name(0)),
        path: format!("raw/ingest_date=2015-01-01/{}.parquet", name(0)),
        rows: 1,
        bytes: 3,
    };
    let file = |path: String| FileRef { path, bytes: 3, sha256: String::new() };
    let snapshot = n.is_multiple_of(5).then(|| PieceRef {
        range: authpulse_event::HashRange::FULL.to_string(),
        users: 1,
        file: file(format!("state/{}.apst.zst", name(0))),
    });
    Stored {
        format: FORMAT,
        shard: shard.to_owned(),
        n,
        epoch: 1,
        commit_id: name(0),
        written_at: now,
        takes_over: false,
        source: Source::File,
        range: authpulse_event::HashRange::FULL.to_string(),
        inherits: Vec::new(),
        from: place(n - 1),
        to: place(n),
        counts: EntryCounts::default(),
        watermark: Some(watermark),
        rises: Vec::new(),
        newest_accepted: Some(watermark),
        last_accepted_live: false,
        hours_through: Some(watermark),
        shares_through: None,
        score_spans: Vec::new(),
        daily_through: None,
        waiting: Vec::new(),
        side: Side::default(),
        // Every entry's side but that of the last is only read by those who read all entries.
        side_file: None,
        files,
        raw: vec![raw],
        raw_done: n - 1,
        snapshot: snapshot.into_iter().collect(),
        last_snapshot: n / 5 * 5,
        gaps: Vec::new(),
        read_to_end: false,
        settled: false,
        end: false,
        sealed: None,
        time_rules: StoredTimeRules { base: DEFAULT_BASE, tolerance: SECOND, lookback_days: 30, settle: SECOND },
        rule_set: "abc".to_owned(),
        backfill: None,
    }
}

impl World {
    fn new() -> World {
        let (store, catalog) = (Arc::new(MemoryStore::new()), Arc::new(MemoryCatalog::new()));
        let ids = Arc::new(SetIds { ms: AtomicI64::new(1_600_000_000_000), next: AtomicU64::new(1) });
        let settings = CommitSettings { keep_snapshots: 6, manifests_max: 8, attempts: 20 };
        let lake = Lake::new(store.clone(), catalog.clone()).with_ids(ids.clone()).with_settings(settings);
        block_on(lake.ensure_tables()).unwrap();
        let journal = MemoryJournal::new();
        let world = World { lake, store, catalog, journal, ids, entries: Vec::new(), rows: BTreeMap::new() };
        world.pass(0);
        world
    }

    /// Lets time go by.
    fn pass(&self, micros: Micros) {
        let now = self.ids.ms.fetch_add(micros / 1_000, Ordering::Relaxed) + micros / 1_000;
        self.store.set_clock(now * 1_000);
    }

    fn now(&self) -> Micros {
        self.ids.now_ms() * 1_000
    }

    /// Stores the next entry of a shard with all that belongs to it.
    fn store_entry(&mut self, shard: &str) {
        let n = 1 + self.entries.iter().filter(|e| e.shard.as_str() == shard).count() as u64;
        let found = entry(&self.lake, shard, n, ROWS);
        let watermark = DEFAULT_BASE + (n * 1000) as Micros * 7 * SECOND;
        let stored = journal_entry(shard, n, found.files.clone(), watermark, self.now());
        for raw in &stored.raw {
            block_on(self.store.put_new(&raw.path, bytes("raw"))).unwrap();
        }
        for piece in &stored.snapshot {
            block_on(self.store.put_new(&piece.file.path, bytes("piece"))).unwrap();
        }
        block_on(self.journal.put(&found.shard, n, stored.encode())).unwrap();
        let rows = found.files.iter().flat_map(|file| rows_of(&self.lake, &LiveFile::from(file))).collect();
        self.rows.insert((found.shard.clone(), n), rows);
        self.entries.push(found);
    }

    fn commit(&self) {
        let views: Vec<EntryFiles<'_>> = self.entries.iter().map(common::Entry::view).collect();
        for table in Table::ALL {
            block_on(self.lake.commit(table, &views)).unwrap();
        }
    }

    /// A lake of some days in many small commits; the last entries are not applied.
    fn grown(entries: u64) -> World {
        let mut world = World::new();
        for n in 1..=entries {
            for shard in ["a", "b"] {
                world.store_entry(shard);
            }
            if n < entries {
                world.commit();
            }
            world.pass(HOUR);
        }
        world
    }

    fn maintain(&self, settings: &MaintainSettings, memory: &mut Memory) -> MaintainReport {
        block_on(maintain(&self.lake, &self.journal, settings, false, memory))
    }

    fn set_faults(&self, faults: &Faults) {
        self.store.set_faults(faults.clone());
        self.catalog.set_faults(faults.clone());
        self.journal.set_faults(faults.clone());
    }

    /// The rows are those of the applied entries, and whatever anything names is there.
    fn check(&self, applied: &BTreeMap<Table, BTreeMap<ShardId, u64>>, what: &str) {
        let mut expected: Vec<(Table, String)> = Vec::new();
        for ((shard, n), rows) in &self.rows {
            let is_in = |table: &Table| applied[table].get(shard).is_some_and(|last| n <= last);
            expected.extend(rows.iter().filter(|(table, _)| is_in(table)).cloned());
        }
        expected.sort_unstable();
        assert_eq!(all_rows(&self.lake), expected, "rows, {what}");
        let files: BTreeSet<String> = stored(self.store.as_ref(), "").into_iter().collect();
        let there = |path: &str| assert!(files.contains(path), "{path} is gone, {what}");
        for table in Table::ALL {
            let loaded = block_on(self.lake.load(table)).unwrap();
            assert_eq!(loaded.applied().unwrap(), applied[&table], "{table}, {what}");
            for uri in named_by(&self.lake, &loaded) {
                there(&self.store.relative(&uri).unwrap());
            }
            if let Some(snapshot) = loaded.metadata.current_snapshot() {
                let live = block_on(self.lake.live_files(table)).unwrap();
                let total = |key: &str| snapshot.summary().additional_properties[key].parse::<u64>().unwrap();
                assert_eq!(total("total-records"), live.files.iter().map(|f| f.rows).sum::<u64>(), "{table}, {what}");
                assert_eq!(total("total-files-size"), live.files.iter().map(|f| f.bytes).sum::<u64>(), "{table}");
                assert_eq!(total("total-data-files"), live.files.len() as u64, "{table}, {what}");
            }
        }
        for entry in &self.entries {
            for file in &entry.files {
                if applied[&file.table].get(&entry.shard).is_none_or(|last| entry.n > *last) {
                    there(&file.path);
                }
            }
            there(&format!("raw/ingest_date=2015-01-01/{}-{}-0.parquet", entry.shard, entry.n));
            let last = self.entries.iter().filter(|e| e.shard == entry.shard).count() as u64;
            if entry.n.is_multiple_of(5) && entry.n + 10 > last / 5 * 5 {
                there(&format!("state/{}-{}-0.apst.zst", entry.shard, entry.n));
            }
            // On top of its newest snapshot a shard reads what came since.
            if entry.n > last / 5 * 5 && last >= 5 {
                entry.files.iter().filter(|f| f.table == Table::Curated).for_each(|file| there(&file.path));
            }
        }
    }

    fn applied(&self) -> BTreeMap<Table, BTreeMap<ShardId, u64>> {
        Table::ALL
            .into_iter()
            .map(|table| (table, block_on(self.lake.load(table)).unwrap().applied().unwrap()))
            .collect()
    }
}

/// All that a table's metadata reaches, through every snapshot.
fn named_by(lake: &Lake, loaded: &authpulse_lake::LoadedTable) -> BTreeSet<String> {
    let io = authpulse_lake::store::file_io(lake.store().clone());
    let mut named = BTreeSet::from([loaded.location.clone()]);
    named.extend(loaded.metadata.metadata_log().iter().map(|log| log.metadata_file.clone()));
    for snapshot in loaded.metadata.snapshots() {
        let list = snapshot.manifest_list().to_owned();
        let body = block_on(io.new_input(&list).unwrap().read()).unwrap();
        named.insert(list);
        let parsed = iceberg::spec::ManifestList::parse_with_version(&body, iceberg::spec::FormatVersion::V2).unwrap();
        for manifest in parsed.entries() {
            named.insert(manifest.manifest_path.clone());
            let read = block_on(manifest.load_manifest(&io)).unwrap();
            named.extend(read.entries().iter().filter(|e| e.is_alive()).map(|e| e.file_path().to_owned()));
        }
    }
    named
}

fn merged_files(report: &MaintainReport) -> u64 {
    report.tables.iter().map(|table| table.compacted.before.files).sum()
}

#[test]
fn small_files_become_few_and_a_second_run_has_nothing_to_do() {
    let world = World::grown(30);
    let applied = world.applied();
    let before = block_on(world.lake.live_files(Table::Curated)).unwrap().files.len();
    world.pass(3 * DAY);
    let dry = block_on(maintain(&world.lake, &world.journal, &TIDY, true, &mut Memory::default()));
    assert!(dry.dry_run && dry.is_complete() && merged_files(&dry) > 0);
    assert!(!dry.cleaned.paths.is_empty() && dry.cleaned.removed.files == 0);
    let files = stored(world.store.as_ref(), "");
    let report = world.maintain(&TIDY, &mut Memory::default());
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(merged_files(&report), merged_files(&dry), "a dry run tells what would be done");
    world.check(&applied, "after one run");
    let data = |files: &[String]| files.iter().filter(|f| f.starts_with("warehouse/auth_events_curated/data/")).count();
    assert!(data(&stored(world.store.as_ref(), "")) < data(&files) / 2, "replaced files are gone");
    let again = world.maintain(&TIDY, &mut Memory::default());
    assert!(again.is_idle(), "{again:?}");
    let live = block_on(world.lake.live_files(Table::Curated)).unwrap();
    // Thirty entries of 7,000 seconds reach into the third day, which is still written to.
    let closed: Vec<_> = live.files.iter().filter(|f| f.path.contains("compact-")).collect();
    assert_eq!(closed.len(), 2, "one file a closed day");
    assert!(live.files.len() < before / 2);
    for file in closed {
        let mut last = None;
        for batch in block_on(world.lake.read_curated(file, None)).unwrap() {
            for row in batch.unwrap().iter() {
                let place = (row.event_time.div_euclid(HOUR), row.user_id.to_owned(), row.event_time);
                assert!(last.as_ref() <= Some(&place), "a merged file is sorted");
                last = Some(place);
            }
        }
    }
    let metadata = block_on(world.lake.load(Table::Curated)).unwrap().metadata;
    assert_eq!(
        (metadata.snapshots().count(), metadata.current_snapshot().unwrap().summary().operation.as_str()),
        (1, "replace")
    );
}

#[test]
fn a_dry_run_changes_nothing() {
    let world = World::grown(12);
    world.pass(3 * DAY);
    let look = || {
        let pointers = Table::ALL.map(|table| block_on(world.lake.load(table)).unwrap().location);
        (stored(world.store.as_ref(), ""), pointers)
    };
    let before = look();
    block_on(maintain(&world.lake, &world.journal, &TIDY, true, &mut Memory::default()));
    assert_eq!(look(), before);
}

/// Faults from the `nth` moment on, or at it alone.
fn at(nth: usize, for_good: bool) -> (Faults, Arc<AtomicUsize>) {
    let steps = Arc::new(AtomicUsize::new(0));
    let counter = steps.clone();
    let faults = Faults::new(move |_: &Step<'_>| {
        let step = counter.fetch_add(1, Ordering::Relaxed);
        if step == nth || (for_good && step > nth) { Err("reset".to_owned()) } else { Ok(()) }
    });
    (faults, steps)
}

fn fault_at_every_step(for_good: bool) {
    let mut nth = 0;
    loop {
        let world = World::grown(13);
        let applied = world.applied();
        world.pass(2 * DAY);
        let (faults, steps) = at(nth, for_good);
        world.set_faults(&faults);
        let _ = world.maintain(&TIDY, &mut Memory::default());
        world.set_faults(&Faults::none());
        let happened = steps.load(Ordering::Relaxed) > nth;
        world.check(&applied, &format!("step {nth} failed"));
        // What a crash left behind is old enough to be judged.
        world.pass(2 * HOUR);
        let rest = world.maintain(&TIDY, &mut Memory::default());
        assert!(rest.is_complete(), "step {nth}: {rest:?}");
        world.check(&applied, &format!("step {nth} failed, and another run"));
        world.pass(2 * HOUR);
        world.maintain(&TIDY, &mut Memory::default());
        let last = world.maintain(&TIDY, &mut Memory::default());
        assert!(last.is_idle(), "step {nth}: {last:?}");
        if !happened {
            assert!(nth > 100, "maintenance takes many steps, not {nth}");
            return;
        }
        // Every step near the beginning of each table is like those of the next.
        nth += 1 + nth / 8;
    }
}

#[test]
fn a_crash_at_any_step_leaves_a_sound_lake() {
    fault_at_every_step(true);
}

#[test]
fn one_failure_or_lost_answer_at_any_step_leaves_a_sound_lake() {
    fault_at_every_step(false);
}

#[test]
fn a_lost_answer_to_a_swap_is_looked_up() {
    for moment in [Moment::Before, Moment::After] {
        let world = World::grown(14);
        let applied = world.applied();
        world.catalog.set_faults({
            let lost = AtomicUsize::new(0);
            Faults::new(move |step| {
                let first =
                    step.operation == "swap" && step.moment == moment && lost.fetch_add(1, Ordering::Relaxed) == 0;
                if first { Err("reset".to_owned()) } else { Ok(()) }
            })
        });
        let report = world.maintain(&TIDY, &mut Memory::default());
        assert!(report.is_complete() && report.tables[0].compacted.dropped == 0, "{moment:?}: {report:?}");
        assert!(report.tables[0].compacted.before.files > 0);
        world.check(&applied, "a lost answer");
    }
}

/// Runs on a thread of its own: a probe is called within an executor, and executors do not nest.
fn elsewhere<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(run).join().unwrap())
}

/// Numbers from a seed.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Entries, commits, maintenance with faults, time, and another compaction in between, in any order from one seed.
#[test]
fn any_order_of_commits_faults_and_foreign_compactions_keeps_every_row() {
    let seeds = std::env::var("AUTHPULSE_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(12u64);
    let first: u64 = std::env::var("AUTHPULSE_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    for seed in first..first + seeds {
        let mut rng = Rng(seed);
        let mut world = World::new();
        let mut memory = Memory::default();
        for step in 0..60 {
            let what = format!("seed {seed}, step {step}");
            match rng.below(10) {
                0..4 => world.store_entry(["a", "b"][rng.below(2) as usize]),
                4..6 => world.commit(),
                6 => world.pass(rng.below(30) as Micros * HOUR),
                7 => {
                    // Another engine merges the same files at the moment of the swap.
                    let before = world.applied();
                    let other = world.lake.clone();
                    let journal = &world.journal;
                    let calls = AtomicUsize::new(0);
                    let nth = rng.below(3) as usize;
                    let settings = MaintainSettings { target_bytes: 20_000 + rng.below(20_000), ..TIDY };
                    let copy = Arc::new(MemoryJournal::new());
                    for shard in block_on(journal.shards()).unwrap() {
                        for (n, body) in block_on(journal.list(&shard, 1, 10_000)).unwrap() {
                            block_on(copy.put(&shard, n, body)).unwrap();
                        }
                    }
                    let hook = move |point: &str| {
                        if point.starts_with("maintain swap before") && calls.fetch_add(1, Ordering::Relaxed) == nth {
                            let run =
                                || block_on(maintain(&other, copy.as_ref(), &settings, false, &mut Memory::default()));
                            assert!(elsewhere(run).is_complete());
                        }
                    };
                    let lake = world.lake.clone().with_probe(Arc::new(hook));
                    let report = block_on(maintain(&lake, &world.journal, &TIDY, false, &mut memory));
                    assert!(report.is_complete(), "{what}: {report:?}");
                    world.check(&before, &what);
                }
                _ => {
                    let before = world.applied();
                    let (faults, _) = at(rng.below(400) as usize, rng.below(2) == 0);
                    world.set_faults(&faults);
                    let mut lost = Memory::default();
                    let keep = rng.below(3) > 0;
                    world.maintain(&TIDY, if keep { &mut memory } else { &mut lost });
                    world.set_faults(&Faults::none());
                    world.check(&before, &what);
                }
            }
        }
        world.commit();
        let applied = world.applied();
        for _ in 0..3 {
            world.pass(2 * DAY);
            let report = world.maintain(&TIDY, &mut memory);
            assert!(report.is_complete(), "seed {seed}: {report:?}");
        }
        world.check(&applied, &format!("seed {seed}, at the end"));
        assert!(world.maintain(&TIDY, &mut memory).is_idle(), "seed {seed}");
        let fresh = world.maintain(&TIDY, &mut Memory::default());
        assert!(fresh.is_idle(), "seed {seed}: who remembers nothing finds nothing more: {fresh:?}");
    }
}

#[test]
fn the_cleaner_removes_what_nothing_names_and_nothing_else() {
    let mut world = World::grown(12);
    let put = |path: &str| block_on(world.store.put_new(path, bytes("x"))).unwrap();
    let orphans = [
        "raw/ingest_date=2015-01-01/lost-0.parquet",
        "staging/raw/lost-0.parquet",
        "state/lost-0.apst.zst",
        "state/lost.side.json.zst",
        "warehouse/auth_events_curated/data/event_date=2015-01-01/lost.parquet",
        "warehouse/auth_events_curated/metadata/00009-lost.metadata.json",
        "warehouse/auth_events_curated/metadata/lost-m0.avro",
    ];
    orphans.iter().for_each(|path| put(path));
    let others = ["state/backfill-4.complete", "raw/_SUCCESS", "warehouse/theirs/data/x.parquet", "lake.json"];
    others.iter().for_each(|path| put(path));
    let long = MaintainSettings { snapshot_age: 30 * DAY, min_files: 1_000, manifests_max: 1_000, ..TIDY };
    let mut memory = Memory::default();
    assert!(world.maintain(&long, &mut memory).is_complete());
    orphans.iter().for_each(|path| assert_eq!(stored(world.store.as_ref(), path).len(), 1, "{path} is young"));
    world.pass(2 * HOUR);
    // An entry that is stored only now, with files from before.
    world.store_entry("a");
    let report = world.maintain(&long, &mut memory);
    for path in orphans {
        assert!(report.cleaned.paths.iter().any(|p| p == path), "{path}");
        assert!(stored(world.store.as_ref(), path).is_empty());
    }
    // The newest snapshots of state are of entries 5 and 10; the one of no entry goes.
    assert_eq!(report.cleaned.old_state.files, 1);
    others.iter().for_each(|path| assert_eq!(stored(world.store.as_ref(), path).len(), 1));
    for _ in 0..5 {
        world.store_entry("a");
    }
    world.pass(2 * DAY);
    let report = world.maintain(&long, &mut memory);
    assert_eq!(report.cleaned.old_state.files, 1, "that of entry 5");
    world.check(&world.applied(), "after cleaning");
}

#[test]
fn what_cannot_be_read_whole_stops_the_cleaner() {
    let world = World::grown(8);
    block_on(world.store.put_new("staging/raw/lost-0.parquet", bytes("x"))).unwrap();
    world.pass(2 * DAY);
    let long = MaintainSettings { snapshot_age: 30 * DAY, min_files: 1_000, manifests_max: 1_000, ..TIDY };
    let metadata = block_on(world.lake.load(Table::Daily)).unwrap().metadata;
    let oldest = metadata.snapshots().min_by_key(|s| s.sequence_number()).unwrap().manifest_list().to_owned();
    let list = world.store.relative(&oldest).unwrap();
    let body = block_on(world.store.get(&list)).unwrap();
    block_on(world.store.delete(&list)).unwrap();
    let report = world.maintain(&long, &mut Memory::default());
    let why = report.cleaned.stopped.unwrap();
    assert!(why.contains(&list) && why.contains("nothing was removed"), "{why}");
    assert_eq!(stored(world.store.as_ref(), "staging/").len(), 1);
    block_on(world.store.put_new(&list, body)).unwrap();
    world.pass(2 * DAY);
    // A journal that cannot be read proves as little.
    block_on(world.journal.put(&ShardId::new("c"), 1, Bytes::from_static(b"no entry"))).unwrap();
    let report = world.maintain(&long, &mut Memory::default());
    assert!(report.cleaned.stopped.unwrap().contains("entry 1 of shard c"));
    assert_eq!(stored(world.store.as_ref(), "staging/").len(), 1);
}

#[test]
fn files_of_entries_stay_where_their_rows_are_missing() {
    let world = World::grown(8);
    // Another engine drops a file, and the snapshots that held it.
    let live = block_on(world.lake.live_files(Table::Curated)).unwrap();
    let lost = live.files[0].path.clone();
    drop_file(&world, &lost);
    world.pass(3 * DAY);
    let report = world.maintain(
        &MaintainSettings { snapshot_age: 30 * DAY, min_files: 1_000, manifests_max: 1_000, ..TIDY },
        &mut Memory::default(),
    );
    assert!(report.cleaned.notes.iter().any(|note| note.contains("run `authpulse verify`")), "{report:?}");
    assert_eq!(stored(world.store.as_ref(), &lost).len(), 1);
}

/// Takes a file out of the table by metadata alone, and forgets every other snapshot.
fn drop_file(world: &World, path: &str) {
    let loaded = block_on(world.lake.load(Table::Curated)).unwrap();
    let io = authpulse_lake::store::file_io(world.lake.store().clone());
    let base = &loaded.metadata;
    let parent = base.current_snapshot().unwrap();
    let body = block_on(io.new_input(parent.manifest_list()).unwrap().read()).unwrap();
    let old = iceberg::spec::ManifestList::parse_with_version(&body, iceberg::spec::FormatVersion::V2).unwrap();
    let at = format!("{}/metadata/foreign-m0.avro", base.location());
    let builder = iceberg::spec::ManifestWriterBuilder::new(
        io.new_output(&at).unwrap(),
        Some(77),
        base.current_schema().clone(),
        base.default_partition_spec().as_ref().clone(),
    );
    let mut writer = builder.build_v2_data();
    for manifest in old.entries() {
        for entry in block_on(manifest.load_manifest(&io)).unwrap().entries().iter().filter(|e| e.is_alive()) {
            if !entry.file_path().ends_with(path) {
                let (snapshot, sequence) = (entry.snapshot_id.unwrap(), entry.sequence_number.unwrap());
                writer
                    .add_existing_file(entry.data_file.clone(), snapshot, sequence, entry.file_sequence_number)
                    .unwrap();
            }
        }
    }
    let manifest = block_on(writer.write_manifest_file()).unwrap();
    let list = format!("{}/metadata/snap-77-foreign.avro", base.location());
    let sequence = base.last_sequence_number() + 1;
    let out = block_on(io.new_output(&list).unwrap().writer()).unwrap();
    let mut writer = iceberg::spec::ManifestListWriter::v2(out, 77, Some(parent.snapshot_id()), sequence);
    writer.add_manifests([manifest].into_iter()).unwrap();
    block_on(writer.close()).unwrap();
    let snapshot = iceberg::spec::Snapshot::builder()
        .with_snapshot_id(77)
        .with_parent_snapshot_id(Some(parent.snapshot_id()))
        .with_sequence_number(sequence)
        .with_timestamp_ms(world.ids.now_ms())
        .with_manifest_list(list)
        .with_summary(iceberg::spec::Summary {
            operation: iceberg::spec::Operation::Delete,
            additional_properties: Default::default(),
        })
        .with_schema_id(base.current_schema_id())
        .build();
    let others: Vec<i64> = base.snapshots().map(|s| s.snapshot_id()).collect();
    let built = base
        .clone()
        .into_builder(Some(loaded.location.clone()))
        .set_branch_snapshot(snapshot, "main")
        .unwrap()
        .remove_snapshots(&others)
        .build()
        .unwrap();
    let location = loaded.location.parse::<iceberg::MetadataLocation>().unwrap().with_next_version().to_string();
    block_on(built.metadata.write_to(&io, &location.parse().unwrap())).unwrap();
    use authpulse_lake::TablePointers;
    block_on(world.catalog.swap(Table::Curated.name(), &loaded.location, &location)).unwrap();
}

/// Another engine may write files in any order of rows: they are sorted on the way.
#[test]
fn unsorted_files_are_merged_in_order() {
    let mut world = World::new();
    for _ in 0..14 {
        world.store_entry("a");
    }
    // The first day's files, each turned around.
    for found in &mut world.entries {
        for file in found.files.iter_mut().filter(|file| file.table == Table::Curated) {
            let read = block_on(world.lake.read_columns(&LiveFile::from(&*file), None, None)).unwrap();
            let mut out = Vec::new();
            let schema = Table::Curated.arrow_schema().clone();
            let mut writer = parquet::arrow::ArrowWriter::try_new(&mut out, schema.clone(), None).unwrap();
            for batch in read {
                let batch = batch.unwrap();
                let back = UInt32Array::from_iter_values((0..batch.num_rows() as u32).rev());
                let turned = arrow_select::take::take_record_batch(&batch, &back).unwrap();
                writer.write(&turned.with_schema(schema.clone()).unwrap()).unwrap();
            }
            writer.close().unwrap();
            let mut json: serde_json::Value = serde_json::from_str(&file.data_file).unwrap();
            json["file_size_in_bytes"] = out.len().into();
            json["sort_order_id"] = serde_json::Value::Null;
            file.path = file.path.replace(".parquet", "-turned.parquet");
            (file.bytes, file.data_file) = (out.len() as u64, json.to_string());
            block_on(world.store.put_new(&file.path, out.into())).unwrap();
        }
    }
    world.commit();
    let before = all_rows(&world.lake);
    let report = world.maintain(&TIDY, &mut Memory::default());
    assert!(report.tables[0].compacted.before.files > 5, "{report:?}");
    assert_eq!(all_rows(&world.lake), before);
    let live = block_on(world.lake.live_files(Table::Curated)).unwrap();
    let merged = live.files.iter().find(|f| f.path.contains("compact-")).unwrap();
    let mut places = Vec::new();
    for batch in block_on(world.lake.read_curated(merged, None)).unwrap() {
        places
            .extend(batch.unwrap().iter().map(|r| (r.event_time.div_euclid(HOUR), r.user_id.to_owned(), r.event_time)));
    }
    assert!(places.is_sorted());
}

#[test]
fn maintenance_beside_a_committer_keeps_every_row() {
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        let store = Arc::new(LocalStore::open(directory.path()).unwrap());
        let catalog = Arc::new(SqliteCatalog::open(directory.path().join("catalog.db")).unwrap());
        Lake::new(store, catalog).with_settings(CommitSettings { keep_snapshots: 5, manifests_max: 4, attempts: 500 })
    };
    let lake = open();
    block_on(lake.ensure_tables()).unwrap();
    let journal = authpulse_lake::SqliteJournal::open(directory.path().join("journal.db")).unwrap();
    let shard = ShardId::new("a");
    let settings = MaintainSettings { snapshots_max: 3, snapshot_age: 30 * DAY, ..TIDY };
    let done = AtomicUsize::new(0);
    let mut entries = Vec::new();
    let mut merged = 0;
    std::thread::scope(|scope| {
        let maintainer = scope.spawn(|| {
            let lake = open();
            let journal = authpulse_lake::SqliteJournal::open(directory.path().join("journal.db")).unwrap();
            let (mut merged, mut memory) = (0, Memory::default());
            while done.load(Ordering::Relaxed) == 0 {
                let report = block_on(maintain(&lake, &journal, &settings, false, &mut memory));
                assert!(report.is_complete(), "{report:?}");
                merged += merged_files(&report);
            }
            merged
        });
        for n in 1..=40 {
            let found = entry(&lake, "a", n, ROWS);
            let watermark = DEFAULT_BASE + (n * 1000) as Micros * 7 * SECOND;
            let stored = journal_entry("a", n, found.files.clone(), watermark, 0);
            block_on(journal.put(&shard, n, stored.encode())).unwrap();
            entries.push(found);
            for table in Table::ALL {
                block_on(lake.commit(table, &[entries[n as usize - 1].view()])).unwrap();
            }
        }
        done.store(1, Ordering::Relaxed);
        merged = maintainer.join().unwrap();
    });
    let report = block_on(maintain(&lake, &journal, &settings, false, &mut Memory::default()));
    assert!(report.is_complete() && merged + merged_files(&report) > 20, "{merged}, {report:?}");
    assert_eq!(common::curated_users(&lake), common::expected_users(&entries, ROWS));
    for table in Table::ALL {
        assert_eq!(block_on(lake.load(table)).unwrap().applied().unwrap()[&shard], 40);
        let files: BTreeSet<String> = stored(lake.store().as_ref(), "").into_iter().collect();
        for uri in named_by(&lake, &block_on(lake.load(table)).unwrap()) {
            assert!(files.contains(&lake.store().relative(&uri).unwrap()), "{uri}");
        }
    }
}
