//! Maintenance: no row is lost, doubled or changed, `applied` stays, and nothing that is referenced is removed, whatever fails and whoever
//! else changes the tables.

mod fifth;
mod world;

use crate::common::{self, bytes, entry, stored};
use crate::faults::{at, at_first_swap};
use arrow_array::UInt32Array;
use authpulse_event::time::{DAY, DEFAULT_BASE, HOUR, SECOND, hour_of};
use authpulse_event::{ProcessingTime, ShardId};
use authpulse_lake::fault::{Faults, Moment};
use authpulse_lake::maintain::{MaintainReport, Memory};
use authpulse_lake::read::LiveFile;
use authpulse_lake::{
    CommitIds, CommitSettings, Journal, Lake, LocalStore, MaintainSettings, MemoryJournal, ObjectStore, SqliteCatalog,
    Table, TablePointers, maintain,
};
use bytes::Bytes;
use futures::executor::block_on;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use world::{ROWS, TIDY, World, all_rows, journal_entry, named_by};

fn merged_files(report: &MaintainReport) -> u64 {
    report.tables.iter().map(|table| table.compacted.before.files).sum()
}

#[test]
fn small_files_become_few_and_a_second_run_has_nothing_to_do() {
    let world = World::grown(30);
    let applied = world.applied();
    let before = block_on(world.lake.live_files(Table::CURATED)).unwrap().files.len();
    world.pass(3 * DAY);
    let dry = block_on(maintain(&world.lake, world.journal.as_ref(), &TIDY, true, &mut Memory::default()));
    assert!(dry.dry_run && dry.is_complete() && merged_files(&dry) > 0);
    assert!(!dry.cleaned.paths.is_empty() && dry.cleaned.removed.files == 0);
    let files = stored(world.store.as_ref(), "");
    let report = world.maintain(&TIDY, &mut Memory::default());
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(merged_files(&report), merged_files(&dry), "a dry run tells what would be done");
    // Of 30 entries 29 are applied; the newest two snapshots of state are in entries 25 and 30.
    let (folded, told) = (&report.folded, &dry.folded);
    assert_eq!((folded.shards, folded.entries, told.entries), (2, 58, 58));
    assert_eq!((folded.removed, told.removed), (0, 0), "only now are they folded");
    world.check(&applied, "after one run");
    let data = |files: &[String]| files.iter().filter(|f| f.starts_with("warehouse/auth_events_curated/data/")).count();
    assert!(data(&stored(world.store.as_ref(), "")) < data(&files) / 2, "replaced files are gone");
    let again = world.maintain(&TIDY, &mut Memory::default());
    assert!(again.is_idle(), "{again:?}");
    world.pass(2 * HOUR);
    assert_eq!(world.maintain(&TIDY, &mut Memory::default()).folded.removed, 2 * 24);
    world.check(&applied, "after folded entries were removed");
    let live = block_on(world.lake.live_files(Table::CURATED)).unwrap();
    // Thirty entries of 7,000 seconds reach into the third day, which still gets rows.
    let closed: Vec<_> = live.files.iter().filter(|f| f.path.contains("compact-")).collect();
    assert_eq!(closed.len(), 2, "one file a closed day");
    assert!(live.files.len() < before / 2);
    for file in closed {
        let mut last = None;
        for batch in block_on(world.lake.read_curated(file, None)).unwrap() {
            for row in batch.unwrap().iter() {
                let place = (hour_of(row.event_time), row.user_id.to_owned(), row.event_time);
                assert!(last.as_ref() <= Some(&place), "a merged file is sorted");
                last = Some(place);
            }
        }
    }
    let metadata = block_on(world.lake.load(Table::CURATED)).unwrap().metadata;
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
        let pointers = Table::FIRST.map(|table| block_on(world.lake.load(table)).unwrap().location);
        let journal = block_on(world.journal.list(&ShardId::new("a"), 1, 99)).unwrap();
        (
            stored(world.store.as_ref(), ""),
            pointers,
            journal,
            block_on(world.journal.checkpoint(&ShardId::new("a"))).unwrap(),
        )
    };
    let before = look();
    block_on(maintain(&world.lake, world.journal.as_ref(), &TIDY, true, &mut Memory::default()));
    assert_eq!(look(), before);
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
        // Now the leftovers of the crash are old enough to be examined.
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
        // Steps are similar from table to table, so not every one is tried.
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
        world.catalog.set_faults(at_first_swap(moment));
        let report = world.maintain(&TIDY, &mut Memory::default());
        assert!(report.is_complete() && report.tables[0].compacted.dropped == 0, "{moment:?}: {report:?}");
        assert!(report.tables[0].compacted.before.files > 0);
        world.check(&applied, "a lost answer");
    }
}

/// Runs on its own thread: a probe is called within an executor, and executors do not nest.
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

/// Entries, commits, maintenance with faults, passing time, and foreign compactions, in any order from one seed.
#[test]
fn any_order_of_commits_faults_and_foreign_compactions_keeps_every_row() {
    let number = |name: &str| std::env::var(name).ok().and_then(|s| s.parse::<u64>().ok());
    // One seed here does as much work as many seeds of the consumer's simulation.
    let seeds = number("AUTHPULSE_SEEDS").map_or(12, |n| (n / 20).max(1));
    let alone = number("AUTHPULSE_SEED");
    for seed in alone.map_or(1..seeds + 1, |seed| seed..seed + 1) {
        let mut rng = Rng(seed);
        let mut world = World::new();
        let mut memory = Memory::default();
        for step in 0..60 {
            let what = format!("seed {seed}, step {step}");
            match rng.below(10) {
                0..4 => world.store_entry(["a", "b"][rng.below(2) as usize]),
                4..6 => world.commit(),
                6 => world.pass(rng.below(30) as i64 * HOUR),
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
                        if let Some((through, body)) = block_on(journal.checkpoint(&shard)).unwrap() {
                            block_on(copy.put_checkpoint(&shard, through, body)).unwrap();
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
                    let report = block_on(maintain(&lake, world.journal.as_ref(), &TIDY, false, &mut memory));
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
    // An entry that is stored only now, with older files.
    world.store_entry("a");
    let report = world.maintain(&long, &mut memory);
    for path in orphans {
        assert!(report.cleaned.paths.iter().any(|p| p == path), "{path}");
        assert!(stored(world.store.as_ref(), path).is_empty());
    }
    // The newest snapshots of state are in entries 5 and 10; the one that belongs to no entry is removed.
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
    let metadata = block_on(world.lake.load(Table::DAILY)).unwrap().metadata;
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
    // Nor does a journal that cannot be read prove anything.
    block_on(world.journal.put(&ShardId::new("c"), 1, Bytes::from_static(b"no entry"))).unwrap();
    let report = world.maintain(&long, &mut Memory::default());
    assert!(report.cleaned.stopped.unwrap().contains("entry 1 of shard c"));
    assert_eq!(stored(world.store.as_ref(), "staging/").len(), 1);
}

#[test]
fn files_of_entries_stay_where_their_rows_are_missing() {
    let world = World::grown(8);
    // Another engine drops a file, and the snapshots that contained it.
    let live = block_on(world.lake.live_files(Table::CURATED)).unwrap();
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

/// Removes a file from the table through its metadata alone, and drops all other snapshots.
fn drop_file(world: &World, path: &str) {
    let loaded = block_on(world.lake.load(Table::CURATED)).unwrap();
    let io = authpulse_lake::store::file_io(world.lake.store().clone());
    let metadata = &loaded.metadata;
    let parent = metadata.current_snapshot().unwrap();
    let body = block_on(io.new_input(parent.manifest_list()).unwrap().read()).unwrap();
    let old = iceberg::spec::ManifestList::parse_with_version(&body, iceberg::spec::FormatVersion::V2).unwrap();
    let at = format!("{}/metadata/foreign-m0.avro", metadata.location());
    let builder = iceberg::spec::ManifestWriterBuilder::new(
        io.new_output(&at).unwrap(),
        Some(77),
        metadata.current_schema().clone(),
        metadata.default_partition_spec().as_ref().clone(),
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
    let list = format!("{}/metadata/snap-77-foreign.avro", metadata.location());
    let sequence = metadata.last_sequence_number() + 1;
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
        .with_schema_id(metadata.current_schema_id())
        .build();
    let others: Vec<i64> = metadata.snapshots().map(|s| s.snapshot_id()).collect();
    let built = metadata
        .clone()
        .into_builder(Some(loaded.location.clone()))
        .set_branch_snapshot(snapshot, "main")
        .unwrap()
        .remove_snapshots(&others)
        .build()
        .unwrap();
    let location = loaded.location.parse::<iceberg::MetadataLocation>().unwrap().with_next_version().to_string();
    block_on(built.metadata.write_to(&io, &location.parse().unwrap())).unwrap();
    block_on(world.catalog.swap(Table::CURATED.name(), &loaded.location, &location, built.metadata.current_schema()))
        .unwrap();
}

/// Another engine may write files with rows in any order: merging sorts them.
#[test]
fn unsorted_files_are_merged_in_order() {
    let mut world = World::new();
    for _ in 0..14 {
        world.store_entry("a");
    }
    // The first day's files, each with its rows reversed.
    for found in &mut world.entries {
        for file in found.files.iter_mut().filter(|file| file.table == Table::CURATED) {
            let read = block_on(world.lake.read_columns(&LiveFile::from(&*file), None, None)).unwrap();
            let mut out = Vec::new();
            let schema = Table::CURATED.arrow_schema().clone();
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
    let live = block_on(world.lake.live_files(Table::CURATED)).unwrap();
    let merged = live.files.iter().find(|f| f.path.contains("compact-")).unwrap();
    let mut places = Vec::new();
    for batch in block_on(world.lake.read_curated(merged, None)).unwrap() {
        places.extend(batch.unwrap().iter().map(|r| (hour_of(r.event_time), r.user_id.to_owned(), r.event_time)));
    }
    assert!(places.is_sorted());
}

#[test]
fn maintenance_beside_a_committer_keeps_every_row() {
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        let store = Arc::new(LocalStore::open(directory.path()).unwrap());
        let catalog = Arc::new(SqliteCatalog::open(directory.path().join("catalog.db")).unwrap());
        Lake::new(store, catalog).with_settings(CommitSettings {
            keep_snapshots: 5,
            manifests_max: 4,
            attempts: 500,
            ..CommitSettings::default()
        })
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
            let watermark = DEFAULT_BASE + (n * 1000) as i64 * 7 * SECOND;
            let stored = journal_entry("a", n, found.files.clone(), watermark, ProcessingTime::default());
            block_on(journal.put(&shard, n, stored.encode())).unwrap();
            entries.push(found);
            for table in Table::FIRST {
                block_on(lake.commit(table, &[entries[n as usize - 1].view()])).unwrap();
            }
        }
        done.store(1, Ordering::Relaxed);
        merged = maintainer.join().unwrap();
    });
    let report = block_on(maintain(&lake, &journal, &settings, false, &mut Memory::default()));
    assert!(report.is_complete() && merged + merged_files(&report) > 20, "{merged}, {report:?}");
    assert_eq!(common::curated_users(&lake), common::expected_users(&entries, ROWS));
    for table in Table::FIRST {
        assert_eq!(block_on(lake.load(table)).unwrap().applied().unwrap()[&shard], 40);
        let files: BTreeSet<String> = stored(lake.store().as_ref(), "").into_iter().collect();
        for uri in named_by(&lake, &block_on(lake.load(table)).unwrap()) {
            assert!(files.contains(&lake.store().relative(&uri).unwrap()), "{uri}");
        }
    }
}
