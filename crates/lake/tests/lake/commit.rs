//! The tables follow the journal: each entry is applied exactly once, whatever fails and whoever else commits.

use crate::common::{CountingIds, Entry, curated_users, entry, expected_users, memory_lake, stored, views};
use crate::faults::{at, at_first_swap};
use authpulse_event::ShardId;
use authpulse_event::time::hour_of;
use authpulse_lake::catalog::{SwapOutcome, TablePointers};
use authpulse_lake::fault::{Faults, Moment};
use authpulse_lake::schema::APPLIED;
use authpulse_lake::{
    CommitSettings, EntryFiles, Lake, LakeError, LocalStore, MemoryCatalog, MemoryStore, ObjectStore, Remedy,
    SqliteCatalog, Table,
};
use futures::executor::block_on;
use iceberg::spec::Schema;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const ROWS: u64 = 3;
/// More bytes than any file of these tests has.
const GATHER_ALL: u64 = 1 << 20;

fn local_lake(directory: &std::path::Path, seed: u64) -> Lake {
    let store = Arc::new(LocalStore::open(directory).unwrap());
    let catalog = Arc::new(SqliteCatalog::open(directory.join("catalog.db")).unwrap());
    Lake::new(store, catalog).with_ids(CountingIds::new(seed))
}

fn entries(lake: &Lake, shards: &[&str], per_shard: u64) -> Vec<Entry> {
    shards.iter().flat_map(|shard| (1..=per_shard).map(|n| entry(lake, shard, n, ROWS))).collect()
}

fn copy(entry: &Entry) -> Entry {
    Entry { shard: entry.shard.clone(), n: entry.n, files: entry.files.clone() }
}

fn commit_all(lake: &Lake, entries: &[Entry]) -> Result<(), LakeError> {
    for table in Table::FIRST {
        block_on(lake.commit(table, &views(entries)))?;
    }
    Ok(())
}

fn check_tables(lake: &Lake, entries: &[Entry]) {
    for table in Table::FIRST {
        let live = block_on(lake.live_files(table)).unwrap();
        let mut expected: Vec<_> =
            entries.iter().flat_map(|e| &e.files).filter(|f| f.table == table).map(|f| f.path.clone()).collect();
        expected.sort_unstable();
        let found: Vec<_> = live.files.iter().map(|f| f.path.clone()).collect();
        assert_eq!(found, expected, "{table}");
    }
    check_rows(lake, entries);
}

/// Like [`check_tables`], but any files may hold the rows.
fn check_rows(lake: &Lake, entries: &[Entry]) {
    assert_eq!(curated_users(lake), expected_users(entries, ROWS));
    for table in Table::FIRST {
        let live = block_on(lake.live_files(table)).unwrap();
        let brought = entries.iter().flat_map(|e| &e.files).filter(|f| f.table == table).map(|f| f.rows).sum::<u64>();
        assert_eq!(live.files.iter().map(|f| f.rows).sum::<u64>(), brought, "{table}");
        let loaded = block_on(lake.load(table)).unwrap();
        if let Some(snapshot) = loaded.metadata.current_snapshot() {
            let total = |key: &str| snapshot.summary().additional_properties[key].parse::<u64>().unwrap();
            assert_eq!(total("total-records"), live.files.iter().map(|f| f.rows).sum::<u64>(), "{table}");
            assert_eq!(total("total-files-size"), live.files.iter().map(|f| f.bytes).sum::<u64>(), "{table}");
            assert_eq!(total("total-data-files"), live.files.len() as u64, "{table}");
        }
        for entry in entries {
            assert!(live.applied[&entry.shard] >= entry.n, "{table}");
        }
    }
}

#[test]
fn entries_are_applied_once_on_both_kinds_of_lake() {
    let directory = tempfile::tempdir().unwrap();
    let local = local_lake(directory.path(), 7);
    block_on(local.ensure_tables()).unwrap();
    block_on(local.ensure_tables()).unwrap();
    for lake in [memory_lake().0, local] {
        let entries = entries(&lake, &["a", "b"], 3);
        let first = block_on(lake.commit(Table::CURATED, &views(&entries[..2]))).unwrap();
        assert_eq!((first.entries, first.skipped, first.files, first.rows, first.attempts), (2, 0, 2, 6, 1));
        let again = block_on(lake.commit(Table::CURATED, &views(&entries[..2]))).unwrap();
        assert_eq!((again.entries, again.skipped, again.snapshot_id), (0, 2, None));
        assert_eq!(again.metadata_location, first.metadata_location);
        let rest = block_on(lake.commit(Table::CURATED, &views(&entries))).unwrap();
        assert_eq!((rest.entries, rest.skipped, rest.applied[&ShardId::new("a")]), (4, 2, 3));
        commit_all(&lake, &entries).unwrap();
        check_tables(&lake, &entries);
    }
}

#[test]
fn small_files_of_one_commit_become_one_a_partition() {
    let (lake, store, _) = memory_lake();
    let lake = lake.with_settings(CommitSettings { gather_below: GATHER_ALL, ..CommitSettings::default() });
    let entries = entries(&lake, &["a", "b", "c"], 4);
    // Nine small files with rows of one day in one commit, then three more: each time they are gathered into one.
    let begin: Vec<Entry> = (0..3).flat_map(|s| (0..3).map(move |n| 4 * s + n)).map(|at| copy(&entries[at])).collect();
    for (part, files) in [(&begin, 1), (&entries, 2)] {
        let report = block_on(lake.commit(Table::CURATED, &views(part))).unwrap();
        assert_eq!((report.files, report.notes.len()), (1, 0));
        let live = block_on(lake.live_files(Table::CURATED)).unwrap();
        assert_eq!(live.files.len(), files);
        // Sorted like the table: by hour, user, time.
        for file in &live.files {
            let batches = block_on(lake.read_curated(file, None)).unwrap();
            let keys: Vec<_> = batches
                .flat_map(|b| {
                    b.unwrap()
                        .iter()
                        .map(|r| (hour_of(r.event_time), r.user_id.to_owned(), r.event_time))
                        .collect::<Vec<_>>()
                })
                .collect();
            assert!(keys.is_sorted(), "{keys:?}");
        }
    }
    commit_all(&lake, &entries).unwrap();
    check_rows(&lake, &entries);
    // State is rebuilt from the entries' own files, so they must still exist.
    for file in entries.iter().flat_map(|entry| &entry.files) {
        assert!(block_on(store.size(&file.path)).unwrap().is_some(), "{}", file.path);
    }
}

#[test]
fn what_cannot_be_gathered_is_appended_as_it_is() {
    let (lake, store, _) = memory_lake();
    let entries = entries(&lake, &["a", "b"], 2);
    let sizes = || entries.iter().flat_map(|e| &e.files).filter(|f| f.table == Table::CURATED).map(|f| f.bytes);
    // With this setting none of them is small.
    let larger = lake
        .clone()
        .with_settings(CommitSettings { gather_below: sizes().min().unwrap(), ..CommitSettings::default() });
    let report = block_on(larger.commit(Table::CURATED, &views(&entries[..1]))).unwrap();
    assert_eq!((report.files, report.notes.len()), (1, 0));
    // One file is missing: that alone must not stop a commit.
    let lake = lake.with_settings(CommitSettings { gather_below: GATHER_ALL, ..CommitSettings::default() });
    let lost = entries[2].files.iter().find(|f| f.table == Table::CURATED).unwrap();
    block_on(store.delete(&lost.path)).unwrap();
    let report = block_on(lake.commit(Table::CURATED, &views(&entries))).unwrap();
    assert_eq!((report.files, report.notes.len()), (3, 1));
    assert!(report.notes[0].contains(&lost.path), "{}", report.notes[0]);
}

#[test]
fn a_hole_in_the_entries_is_refused() {
    let (lake, _, _) = memory_lake();
    let entries = entries(&lake, &["a"], 3);
    let hole = block_on(lake.commit(Table::CURATED, &views(&entries[1..]))).unwrap_err();
    assert_eq!(hole.remedy(), Remedy::Correct);
    assert!(hole.to_string().contains("hand over entry 1 first"), "{hole}");
    let two_holes = [entries[0].view(), entries[2].view()];
    assert!(matches!(
        block_on(lake.commit(Table::CURATED, &two_holes)),
        Err(LakeError::EntryMissing { applied: 1, got: 3, .. })
    ));
    assert!(curated_users(&lake).is_empty());
}

#[test]
fn an_entry_without_rows_advances_the_table_by_its_properties_alone() {
    let (lake, _, _) = memory_lake();
    let shard = ShardId::new("a");
    let empty = |n| EntryFiles { shard: &shard, n, files: &[] };
    let report = block_on(lake.commit(Table::REJECTED, &[empty(2), empty(1)])).unwrap();
    assert_eq!((report.entries, report.snapshot_id), (2, None));
    let loaded = block_on(lake.load(Table::REJECTED)).unwrap();
    assert!(loaded.metadata.current_snapshot().is_none());
    assert_eq!(loaded.metadata.properties()[APPLIED], r#"{"a":2}"#);
    // The clock of the test, not the computer's.
    assert!(loaded.metadata.last_updated_ms() < 1_700_000_100_000);
}

/// The `nth` step and all after it fail, as if the process were gone.
#[test]
fn a_crash_at_any_step_neither_loses_nor_doubles_rows() {
    crash_at_each_step(0);
}

#[test]
fn a_crash_at_any_step_of_gathering_neither_loses_nor_doubles_rows() {
    crash_at_each_step(GATHER_ALL);
}

fn crash_at_each_step(gather_below: u64) {
    let check = if gather_below == 0 { check_tables } else { check_rows };
    let mut finished = false;
    for nth in 0.. {
        let (lake, store, catalog) = memory_lake();
        let lake =
            lake.with_settings(CommitSettings { keep_snapshots: 2, manifests_max: 2, attempts: 20, gather_below });
        let entries = entries(&lake, &["a", "b"], 4);
        // A few commits first, so that the tested one merges manifests and drops snapshots.
        for n in 1..=3 {
            commit_all(&lake, &entries[..n]).unwrap();
        }
        let (faults, _) = at(nth, true);
        store.set_faults(faults.clone());
        catalog.set_faults(faults);
        let outcome = commit_all(&lake, &entries[..4]).and_then(|()| commit_all(&lake, &entries));
        store.set_faults(Faults::none());
        catalog.set_faults(Faults::none());
        if let Err(e) = &outcome {
            assert!(matches!(e.remedy(), Remedy::Retry | Remedy::Look), "step {nth}: {e}");
        }
        commit_all(&lake, &entries).unwrap();
        check(&lake, &entries);
        if outcome.is_ok() {
            finished = true;
            break;
        }
        assert!(nth < 500, "the commit never succeeds");
    }
    assert!(finished);
}

#[test]
fn a_single_failure_at_any_step_neither_loses_nor_doubles_rows() {
    for nth in 0.. {
        let (lake, store, catalog) = memory_lake();
        let entries = entries(&lake, &["a"], 2);
        commit_all(&lake, &entries[..1]).unwrap();
        let (faults, steps) = at(nth, false);
        store.set_faults(faults.clone());
        catalog.set_faults(faults);
        // One repetition is always enough.
        let outcome = block_on(lake.commit(Table::CURATED, &views(&entries)));
        if outcome.is_err() {
            block_on(lake.commit(Table::CURATED, &views(&entries))).unwrap();
        }
        let happened = steps.load(Ordering::Relaxed) > nth;
        store.set_faults(Faults::none());
        catalog.set_faults(Faults::none());
        assert_eq!(curated_users(&lake), expected_users(&entries, ROWS), "step {nth}");
        if !happened {
            return;
        }
    }
}

#[test]
fn a_lost_answer_to_the_swap_is_found_and_counted_once() {
    for moment in [Moment::Before, Moment::After] {
        let (lake, _, catalog) = memory_lake();
        let entries = entries(&lake, &["a"], 1);
        catalog.set_faults(at_first_swap(moment));
        let report = block_on(lake.commit(Table::CURATED, &views(&entries))).unwrap();
        assert_eq!((report.entries, report.rows, report.attempts), (1, ROWS, 2), "{moment:?}");
        assert_eq!(curated_users(&lake), expected_users(&entries, ROWS));
        let history = block_on(lake.load(Table::CURATED)).unwrap();
        assert_eq!(history.metadata.snapshots().count(), 1);
    }
}

#[test]
fn an_answer_that_stays_lost_is_unclear_and_a_table_that_never_rests_is_contended() {
    let (lake, _, catalog) = memory_lake();
    let entries = entries(&lake, &["a"], 1);
    catalog.set_faults(Faults::new(|step| {
        if step.operation == "swap" && step.moment == Moment::Before { Err("reset".to_owned()) } else { Ok(()) }
    }));
    let unclear = block_on(lake.commit(Table::CURATED, &views(&entries))).unwrap_err();
    assert_eq!(unclear.remedy(), Remedy::Look, "{unclear}");
    catalog.set_faults(Faults::none());

    let busy = Lake::new(lake.store().clone(), Arc::new(AlwaysBeaten(catalog)));
    let contended = block_on(busy.commit(Table::CURATED, &views(&entries))).unwrap_err();
    assert!(matches!(contended, LakeError::Contended { attempts: 20, .. }), "{contended}");
    assert_eq!(contended.remedy(), Remedy::Retry);
}

struct AlwaysBeaten(Arc<MemoryCatalog>);

#[async_trait::async_trait]
impl TablePointers for AlwaysBeaten {
    async fn load(&self, table: &str) -> Result<Option<String>, authpulse_lake::catalog::CatalogError> {
        self.0.load(table).await
    }
    async fn create(
        &self,
        table: &str,
        location: &str,
        schema: &Schema,
    ) -> Result<SwapOutcome, authpulse_lake::catalog::CatalogError> {
        self.0.create(table, location, schema).await
    }
    async fn swap(
        &self,
        _: &str,
        _: &str,
        _: &str,
        _: &Schema,
    ) -> Result<SwapOutcome, authpulse_lake::catalog::CatalogError> {
        Ok(SwapOutcome::Conflict)
    }
}

/// Runs on its own thread: a probe is called within an executor, and executors do not nest.
fn elsewhere<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(run).join().unwrap())
}

/// What another engine may do: a change that knows nothing of entries.
fn set_foreign_property(lake: &Lake, catalog: &MemoryCatalog) {
    let loaded = block_on(lake.load(Table::CURATED)).unwrap();
    let builder = loaded.metadata.into_builder(Some(loaded.location.clone()));
    let built = builder.set_properties([("owner".to_owned(), "them".to_owned())].into()).unwrap().build().unwrap();
    let location: iceberg::MetadataLocation = loaded.location.parse().unwrap();
    let location = location.with_next_version().to_string();
    let io = authpulse_lake::store::file_io(lake.store().clone());
    block_on(built.metadata.write_to(&io, &location.parse().unwrap())).unwrap();
    let swap = catalog.swap(Table::CURATED.name(), &loaded.location, &location, built.metadata.current_schema());
    assert_eq!(block_on(swap).unwrap(), SwapOutcome::Swapped);
}

#[test]
fn commits_of_others_in_between_are_carried_on() {
    let (lake, store, catalog) = memory_lake();
    let entries = Arc::new(entries(&lake, &["a", "b"], 1));
    let other = Lake::new(store, catalog.clone()).with_ids(CountingIds::new(9));
    let looks = AtomicUsize::new(0);
    let hook = {
        let entries = entries.clone();
        move |point: &str| match looks.fetch_add(1, Ordering::Relaxed) {
            0 => {
                assert_eq!(point, "table swap before:auth_events_curated");
                elsewhere(|| block_on(other.commit(Table::CURATED, &[entries[1].view()])).unwrap());
            }
            1 => elsewhere(|| set_foreign_property(&other, &catalog)),
            _ => {}
        }
    };
    let report = block_on(lake.clone().with_probe(Arc::new(hook)).commit(Table::CURATED, &views(&entries))).unwrap();
    assert_eq!((report.entries, report.skipped, report.attempts), (1, 1, 3));
    assert_eq!(curated_users(&lake), expected_users(&entries, ROWS));
    assert_eq!(block_on(lake.load(Table::CURATED)).unwrap().metadata.properties()["owner"], "them");
}

#[test]
fn two_committers_at_once_apply_each_entry_once() {
    let directory = tempfile::tempdir().unwrap();
    let lake = local_lake(directory.path(), 1);
    block_on(lake.ensure_tables()).unwrap();
    let entries = entries(&lake, &["a", "b"], 15);
    let settings = CommitSettings { keep_snapshots: 5, manifests_max: 6, attempts: 200, ..CommitSettings::default() };
    std::thread::scope(|scope| {
        for seed in [21, 22] {
            let (entries, directory) = (&entries, directory.path());
            scope.spawn(move || {
                let lake = local_lake(directory, seed).with_settings(settings);
                for n in 1..=15usize {
                    let so_far: Vec<_> = entries.iter().filter(|e| e.n <= n as u64).map(Entry::view).collect();
                    for table in [Table::CURATED, Table::REJECTED] {
                        block_on(lake.commit(table, &so_far)).unwrap();
                    }
                }
            });
        }
    });
    commit_all(&lake, &entries).unwrap();
    check_tables(&lake, &entries);
}

#[test]
fn manifests_are_merged_and_snapshots_dropped_at_their_limits() {
    let (lake, _, _) = memory_lake();
    let lake = lake.with_settings(CommitSettings {
        keep_snapshots: 5,
        manifests_max: 4,
        attempts: 1,
        ..CommitSettings::default()
    });
    let entries = entries(&lake, &["a"], 23);
    let mut most = 0;
    for n in 1..=entries.len() {
        commit_all(&lake, &entries[..n]).unwrap();
        let loaded = block_on(lake.load(Table::CURATED)).unwrap();
        assert!(loaded.metadata.snapshots().count() <= 5);
        assert!(loaded.metadata.history().len() <= 5);
        let lists = stored(lake.store().as_ref(), "warehouse/auth_events_curated/metadata/snap-").len();
        assert!(lists <= 5, "dropped snapshots take their lists along: {lists}");
        most = most.max(lists);
    }
    assert_eq!(most, 5);
    check_tables(&lake, &entries);
    // 23 commits of one manifest each, merged to at most four.
    let live = block_on(lake.live_files(Table::CURATED)).unwrap();
    assert_eq!(live.files.len(), 23);
    let sequences: std::collections::BTreeSet<_> = live.files.iter().map(|f| f.sequence_number.unwrap()).collect();
    assert_eq!(sequences.len(), 23, "merged files keep the number of their commit");
}

#[test]
fn old_metadata_files_go() {
    let (lake, _, _) = memory_lake();
    let shard = ShardId::new("a");
    for n in 1..=130 {
        block_on(lake.commit(Table::HOURLY, &[EntryFiles { shard: &shard, n, files: &[] }])).unwrap();
    }
    let files = stored(lake.store().as_ref(), "warehouse/user_behavior_hourly/metadata/");
    assert_eq!(files.len(), 101);
    assert!(files[100].contains("/00130-"), "{}", files[100]);
}

#[test]
fn equal_histories_make_equal_metadata() {
    let run = || {
        let (lake, _, _) = memory_lake();
        let entries = entries(&lake, &["a", "b"], 3);
        for n in 1..=entries.len() {
            commit_all(&lake, &entries[..n]).unwrap();
        }
        let path = |table| lake.store().relative(&block_on(lake.load(table)).unwrap().location).unwrap();
        Table::FIRST.map(|table| block_on(lake.store().get(&path(table))).unwrap())
    };
    assert_eq!(run(), run());
}

#[test]
fn a_missing_metadata_file_is_named() {
    let store = Arc::new(MemoryStore::new());
    let catalog = Arc::new(MemoryCatalog::new());
    let lake = Lake::new(store, catalog.clone());
    let none = block_on(lake.load(Table::DAILY)).unwrap_err();
    assert!(none.to_string().contains("host_popularity_daily does not exist"), "{none}");
    block_on(catalog.create(
        "host_popularity_daily",
        "memory:///warehouse/t/metadata/00000-x.metadata.json",
        Table::DAILY.schema(),
    ))
    .unwrap();
    let gone = block_on(lake.load(Table::DAILY)).unwrap_err();
    assert_eq!(gone.remedy(), Remedy::Restore);
    assert!(gone.to_string().contains("warehouse/t/metadata/00000-x.metadata.json"), "{gone}");
}
