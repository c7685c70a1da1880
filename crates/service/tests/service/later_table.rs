//! A table behind the first four. Workers make and fill it; the committer makes it again if it was dropped; and it passes over entries
//! that older programs have folded.

use crate::logons_to_come::LOGONS;
use crate::small_lake::audit::report;
use crate::small_lake::{SmallLake, lines, options};
use authpulse_event::{ShardId, Span};
use authpulse_journal::Env;
use authpulse_lake::entry::{Entry, Spill};
use authpulse_lake::fault::{Faults, Moment};
use authpulse_lake::maintain::Memory;
use authpulse_lake::read::Value;
use authpulse_lake::schema::TableDef;
use authpulse_lake::{
    Checkpoint, Lake, MaintainSettings, MemoryCatalog, SectionList, Shape, Table, TableFile, TablePointers, maintain,
};
use authpulse_service::committer::commit_all;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

/// It has the columns of another table, so that its files are made like that one's.
static DEF: LazyLock<TableDef> = LazyLock::new(|| {
    let daily = Table::DAILY.def();
    TableDef {
        name: "health_to_come",
        columns: daily.columns,
        time_column: daily.time_column,
        partitioning: daily.partitioning,
        order: daily.order,
        closing: daily.closing,
        fill: None,
    }
});

struct World {
    lake: SmallLake,
    table: Table,
    tables: Arc<Lake>,
    catalog: Arc<MemoryCatalog>,
    entries: Vec<Entry>,
    /// Rows in those files of the table that the entries name.
    rows: u64,
}

impl World {
    /// A lake whose entries name two files of the table, the first in the seventh entry; no table has anything yet.
    async fn new() -> World {
        let lake = SmallLake::backfilled(false).await;
        let table = Table::new(&DEF).unwrap();
        let mut entries = lake.entries("file").await;
        assert!(entries.len() > 10);
        let daily =
            entries.iter().flat_map(|entry| &entry.files).find(|file| file.table == Table::DAILY).unwrap().clone();
        for n in [7, 9] {
            let path = table.data_path(daily.partition(), &format!("{n}"));
            lake.env.store.copy_new(&daily.path, &path).await.unwrap();
            entries[n - 1].files.push(TableFile { table, path, ..daily.clone() });
        }
        let tables = Table::FIRST.into_iter().chain([table]).collect();
        let catalog = Arc::new(MemoryCatalog::new());
        let tables =
            Lake::new(lake.env.store.clone(), catalog.clone()).with_shape(Shape { tables, ..Shape::default() });
        tables.ensure_tables().await.unwrap();
        World { lake, table, tables: Arc::new(tables), catalog, entries, rows: 2 * daily.rows }
    }

    /// The world of a program over a journal of these entries. It knows the table or does not.
    async fn env(&self, entries: &[Entry], knows: bool) -> Env {
        let lake = if knows { (*self.tables).clone() } else { (*self.tables).clone().with_shape(Shape::default()) };
        Env { lake: Arc::new(lake), ..self.lake.with_entries(entries).await }
    }

    async fn applied(&self) -> BTreeMap<ShardId, u64> {
        self.tables.load(self.table).await.unwrap().applied().unwrap()
    }

    async fn check(&self) {
        let tail = self.entries.len() as u64;
        assert_eq!(self.applied().await, BTreeMap::from([(ShardId::new("file"), tail)]));
        let live = self.tables.live_files(self.table).await.unwrap();
        assert_eq!(live.files.iter().map(|file| file.rows).sum::<u64>(), self.rows);
    }
}

#[tokio::test]
async fn a_table_that_is_gone_is_made_again_and_filled_from_the_first_entry_that_names_it() {
    let world = World::new().await;
    let env = world.env(&world.entries, true).await;
    assert_eq!(env.lake.made_tables().await.unwrap(), Table::FIRST);
    commit_all(&env).await.unwrap();
    world.check().await;
    // A program that does not know the table leaves it alone, and has nothing to do.
    let other = world.env(&world.entries, false).await;
    assert_eq!(commit_all(&other).await.unwrap().entries, 0);
    world.check().await;
}

#[tokio::test]
async fn what_others_have_folded_without_a_file_of_it_is_passed_over() {
    let world = World::new().await;
    let shard = ShardId::new("file");
    // The table was made when there were two entries.
    let begun = world.env(&world.entries[..2], true).await;
    assert!(begun.lake.ensure_later_table(&*begun.journal, world.table).await.unwrap());
    assert_eq!(world.applied().await[&shard], 2);
    // Older programs, which do not know it, bring their tables up and fold what they can.
    let other = world.env(&world.entries, false).await;
    commit_all(&other).await.unwrap();
    let mut checkpoint = Checkpoint::new(world.entries[0].clone(), &Spill::default());
    world.entries[1..5].iter().for_each(|entry| checkpoint.add(entry.clone(), &Spill::default()));
    other.journal.put_checkpoint(&shard, 5, checkpoint.encode()).await.unwrap();
    other.journal.remove_through(&shard, 5).await.unwrap();
    let env = Env { lake: world.tables.clone(), ..other };
    commit_all(&env).await.unwrap();
    world.check().await;
}

#[tokio::test]
async fn where_the_first_of_its_files_is_folded_the_committer_refuses() {
    let world = World::new().await;
    let shard = ShardId::new("file");
    let env = world.env(&world.entries, true).await;
    commit_all(&env).await.unwrap();
    let mut checkpoint = Checkpoint::new(world.entries[0].clone(), &Spill::default());
    world.entries[1..9].iter().for_each(|entry| checkpoint.add(entry.clone(), &Spill::default()));
    env.journal.put_checkpoint(&shard, 9, checkpoint.encode()).await.unwrap();
    env.journal.remove_through(&shard, 9).await.unwrap();
    // Dropped, and made again by the worker that is about to store a file of it.
    world.catalog.drop_table(world.table.name());
    assert!(env.lake.ensure_later_table(&*env.journal, world.table).await.unwrap());
    assert_eq!(world.applied().await, BTreeMap::from([(shard, 6)]));
    let error = commit_all(&env).await.unwrap_err();
    assert!(error.to_string().contains("which every table held when it was folded"), "{error}");
}

type Logons = BTreeMap<(i64, String), i64>;

/// A lake of four tables with a folded journal, and the rest of its input.
struct Grown {
    lake: SmallLake,
    catalog: Arc<MemoryCatalog>,
    table: Table,
    rest: Vec<PathBuf>,
    tail: u64,
}

impl Grown {
    async fn new() -> Grown {
        let mut lake = SmallLake::new();
        let catalog = Arc::new(MemoryCatalog::new());
        lake.env.lake = Arc::new(Lake::new(lake.env.store.clone(), catalog.clone()));
        let lines = lines(7_200);
        let parts = lines.chunks(lines.len() / 12 + 1).enumerate();
        let files: Vec<PathBuf> = parts.map(|(i, part)| lake.write_input(&format!("auth-{i:02}.txt"), part)).collect();
        lake.backfill(&files[..10], &options(), true).await;
        commit_all(&lake.env).await.unwrap();
        let fold = MaintainSettings {
            fold_entries: 1,
            entry_age: Span::ZERO,
            min_files: 1_000,
            ..MaintainSettings::default()
        };
        let report = maintain(&lake.env.lake, &*lake.env.journal, &fold, false, &mut Memory::default()).await;
        assert!(report.is_complete() && report.folded.removed > 0, "{report:?}");
        let entries = lake.entries("file").await;
        assert!(entries[0].n > 1, "the first are folded and removed");
        let table = Table::new(&LOGONS).unwrap();
        Grown { table, rest: files[10..].to_vec(), tail: entries.last().unwrap().n, lake, catalog }
    }

    /// From now on the program has the table in its list.
    fn upgrade(&mut self) {
        let tables = Table::FIRST.into_iter().chain([self.table]).collect();
        let shape = Shape { tables, ..Shape::default() };
        self.lake.env.lake = Arc::new((*self.lake.env.lake).clone().with_shape(shape));
    }

    async fn new_entries(&self) -> Vec<Entry> {
        self.lake.entries("file").await.into_iter().filter(|entry| entry.n > self.tail).collect()
    }

    /// What the live files of a table hold; panics if one is out of order.
    async fn read(&self, table: Table, names: [&str; 3]) -> Logons {
        let mut found = Logons::new();
        for file in self.lake.env.lake.live_files(table).await.unwrap().files {
            let mut last = None;
            for batch in self.lake.env.lake.read_values(&file, &names, None).await.unwrap() {
                let batch = batch.unwrap();
                for row in 0..batch.len() {
                    let (Some(Value::Time(hour)), Some(Value::Text(user)), Some(Value::Long(n))) =
                        (batch.value(row, 0), batch.value(row, 1), batch.value(row, 2))
                    else {
                        panic!("a value is missing");
                    };
                    let place = (hour, user.to_owned());
                    assert!(last < Some(place.clone()), "{} is out of order", file.path);
                    assert_eq!(found.insert(place.clone(), n), None, "{place:?} is there twice");
                    last = Some(place);
                }
            }
        }
        found
    }
}

#[tokio::test]
async fn a_table_that_is_added_to_the_list_is_made_and_filled_by_the_worker_in_a_lake_whose_journal_is_folded() {
    let mut grown = Grown::new().await;
    let before = grown.read(Table::HOURLY, ["window_start", "user_id", "total_logins"]).await;
    grown.upgrade();
    // Entries that name a file of the table and were put while it was not there.
    let (catalog, shard, too_early) = (grown.catalog.clone(), ShardId::file(), Arc::new(AtomicUsize::new(0)));
    let (journal, counted) = (grown.lake.env.journal.clone(), too_early.clone());
    grown.lake.env.probe = Arc::new(move |point, _| {
        if point == "entry put after" {
            // On a thread of its own: executors do not nest.
            let early = || {
                futures::executor::block_on(async {
                    let tail = journal.tail(&shard).await.unwrap().unwrap();
                    let (_, body) = journal.list(&shard, tail, 1).await.unwrap().remove(0);
                    let entry = Entry::decode(&shard, tail, &body, &SectionList::default()).unwrap();
                    let names_it = entry.files.iter().any(|file| file.table.name() == LOGONS.name);
                    names_it && catalog.load(LOGONS.name).await.unwrap().is_none()
                })
            };
            let early = std::thread::scope(|scope| scope.spawn(early).join().unwrap());
            counted.fetch_add(usize::from(early), Ordering::SeqCst);
        }
    });
    // The catalog does not answer at first: the worker waits, and then goes on.
    let fails = AtomicUsize::new(0);
    grown.catalog.set_faults(Faults::new(move |step| {
        let creates = (step.operation, step.moment) == ("create", Moment::Before);
        if creates && fails.fetch_add(1, Ordering::SeqCst) < 2 { Err("nobody answers".to_owned()) } else { Ok(()) }
    }));
    grown.lake.backfill(&grown.rest, &options(), false).await;
    assert_eq!(too_early.load(Ordering::SeqCst), 0, "the table comes before the entry");

    let entries = grown.new_entries().await;
    let naming = entries.iter().filter(|entry| entry.files.iter().any(|file| file.table == grown.table));
    let naming: Vec<u64> = naming.map(|entry| entry.n).collect();
    assert!(naming.len() > 1, "{naming:?}");
    let applied = grown.lake.env.lake.load(grown.table).await.unwrap().applied().unwrap();
    assert_eq!(applied, BTreeMap::from([(ShardId::file(), naming[0] - 1)]), "the tail as it was");

    commit_all(&grown.lake.env).await.unwrap();
    let mut expected = grown.read(Table::HOURLY, ["window_start", "user_id", "total_logins"]).await;
    expected.retain(|place, _| !before.contains_key(place));
    assert!(expected.len() > 100, "{}", expected.len());
    assert_eq!(grown.read(grown.table, ["hour", "user_id", "logons"]).await, expected);
    let report = report(&grown.lake.env).await;
    assert_eq!(report.difference, None, "{report}");
    assert!(report.tables.iter().any(|table| table.table == LOGONS.name && table.rows == expected.len() as u64));
}

#[tokio::test]
async fn a_program_without_the_table_in_its_list_makes_none() {
    let grown = Grown::new().await;
    grown.lake.backfill(&grown.rest, &options(), false).await;
    assert!(grown.new_entries().await.iter().flat_map(|entry| &entry.files).all(|file| file.table.is_first()));
    assert!(grown.catalog.load(LOGONS.name).await.unwrap().is_none());
}
