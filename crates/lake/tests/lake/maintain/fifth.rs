//! A table that a lake gains after its first four: where it starts, what programs do that do not know it, and what happens when it is
//! dropped.

use super::world::{TIDY, World};
use crate::common;
use authpulse_engine::rows::DayRow;
use authpulse_event::time::{DAY, DEFAULT_BASE, HOUR};
use authpulse_event::{Day, ShardId};
use authpulse_lake::encode::encode_daily;
use authpulse_lake::maintain::Memory;
use authpulse_lake::schema::{Table, TableDef};
use authpulse_lake::{
    Checkpoint, CommitReport, EncodeOptions, EntryFiles, Journal, Lake, LakeError, MaintainSettings, ObjectStore,
    SectionList, Shape, TableFile, maintain,
};
use futures::executor::block_on;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Has the columns of another table, so that its files can be made in the same way.
static DEF: LazyLock<TableDef> = LazyLock::new(|| {
    let daily = Table::DAILY.def();
    TableDef {
        name: "service_health_to_come",
        columns: daily.columns,
        time_column: daily.time_column,
        partitioning: daily.partitioning,
        order: daily.order,
        closing: daily.closing,
        fill: None,
    }
});

fn fifth() -> Table {
    Table::new(&DEF).unwrap()
}

/// The lake for a program that knows the table.
fn newer(world: &World) -> Lake {
    let tables = Table::FIRST.into_iter().chain([fifth()]).collect();
    world.lake.clone().with_shape(Shape { tables, ..Shape::default() })
}

/// A file of the table with one row.
fn file(world: &World, name: String) -> Vec<TableFile> {
    let day = DayRow {
        day: Day::of(DEFAULT_BASE),
        computer: name.clone(),
        unique_users: 1,
        total_logins: 1,
        high_risk_events: 0,
    };
    let encoded = encode_daily(&[day], None, &EncodeOptions::default()).unwrap().remove(0);
    let path = fifth().data_path(encoded.partition(), &name);
    let (file, bytes) = encoded.finish(path);
    block_on(world.store.put_new(&file.path, bytes)).unwrap();
    vec![TableFile { table: fifth(), ..file }]
}

fn store_with(world: &mut World, shard: &str) {
    let name = |n: u64| format!("{shard}-{n}");
    world.store_entry_with(shard, |world, n| file(world, name(n)));
}

fn of(numbers: &[(&str, u64)]) -> BTreeMap<ShardId, u64> {
    numbers.iter().map(|(shard, n)| (ShardId::new(*shard), *n)).collect()
}

fn applied(lake: &Lake) -> BTreeMap<ShardId, u64> {
    block_on(lake.load(fifth())).unwrap().applied().unwrap()
}

/// The rows of the table: the computers' names.
fn rows(lake: &Lake) -> Vec<String> {
    let files = block_on(lake.live_files(fifth())).unwrap().files;
    let mut rows = Vec::new();
    for file in files {
        for batch in block_on(lake.read_daily(&file, None)).unwrap() {
            rows.extend(batch.unwrap().iter().map(|row| row.computer_id.to_owned()));
        }
    }
    rows.sort_unstable();
    rows
}

/// Applies the entries of each shard after `from`.
fn follow(
    world: &World,
    lake: &Lake,
    folded: &BTreeMap<ShardId, u64>,
    from: impl Fn(&ShardId) -> u64,
) -> Result<CommitReport, LakeError> {
    let entries = world.entries.iter().filter(|entry| entry.n > from(&entry.shard));
    let views: Vec<EntryFiles<'_>> = entries.map(common::Entry::view).collect();
    block_on(lake.commit_after(fifth(), folded, &views))
}

fn folded_through(world: &World, shard: &str) -> u64 {
    block_on(world.journal.checkpoint(&ShardId::new(shard))).unwrap().map_or(0, |(through, _)| through)
}

fn fold(world: &World, lake: &Lake) {
    let settings = MaintainSettings { min_files: usize::MAX, ..TIDY };
    let report = block_on(maintain(lake, &*world.journal, &settings, false, &mut Memory::default()));
    assert!(report.is_complete(), "{report:?}");
}

/// A lake of this version whose journals are folded up to entry 11 of each shard.
fn folded() -> World {
    let world = World::grown(12);
    world.pass(3 * DAY);
    fold(&world, &world.lake);
    world.pass(3 * HOUR);
    fold(&world, &world.lake);
    assert_eq!(folded_through(&world, "a"), 11);
    assert!(block_on(world.journal.get(&ShardId::new("a"), 1)).unwrap().is_none(), "folded and removed");
    world
}

#[test]
fn a_later_table_starts_at_the_tails_as_they_were() {
    let mut world = folded();
    let lake = newer(&world);
    // The table is not created with a lake, and no other table is missing.
    assert!(block_on(lake.ensure_tables()).unwrap().is_empty());
    assert_eq!(block_on(lake.made_tables()).unwrap(), Table::FIRST);
    assert!(block_on(lake.ensure_later_table(&*world.journal, fifth())).unwrap());
    assert_eq!(applied(&lake), of(&[("a", 12), ("b", 12)]));
    assert!(!block_on(lake.ensure_later_table(&*world.journal, fifth())).unwrap());
    store_with(&mut world, "a");
    world.store_entry("b");
    store_with(&mut world, "c");
    let report = follow(&world, &lake, &BTreeMap::new(), |_| 0).unwrap();
    assert_eq!((report.entries, report.rows), (3, 2));
    assert_eq!(rows(&lake), ["a-13", "c-1"]);
    world.commit();
    assert_eq!(world.applied()[&Table::CURATED], of(&[("a", 13), ("b", 13), ("c", 1)]));
}

#[test]
fn nobody_folds_an_entry_with_a_file_of_a_table_that_is_not_known() {
    let mut world = folded();
    let lake = newer(&world);
    block_on(lake.ensure_later_table(&*world.journal, fifth())).unwrap();
    for n in 13..=20 {
        if n == 16 {
            store_with(&mut world, "a")
        } else {
            world.store_entry("a")
        }
        world.store_entry("b");
    }
    world.commit();
    // A program that does not know the table folds only up to the first entry that names a file of it, and removes no such file.
    world.pass(3 * DAY);
    fold(&world, &world.lake);
    assert_eq!((folded_through(&world, "a"), folded_through(&world, "b")), (15, 19));
    let path = world.entries.iter().flat_map(|e| &e.files).find(|f| f.table == fifth()).unwrap().path.clone();
    assert!(block_on(world.store.size(&path)).unwrap().is_some());
    // A program that knows the table, while the table does not hold the entry.
    fold(&world, &lake);
    assert_eq!(folded_through(&world, "a"), 15);
    assert!(block_on(world.store.size(&path)).unwrap().is_some());
    // The table lacks entries that were folded without it, and does not need them: the checkpoints name no file of it.
    let behind = of(&[("a", 15), ("b", 19)]);
    follow(&world, &lake, &behind, |shard| behind[shard]).unwrap();
    assert_eq!((rows(&lake), applied(&lake)), (vec!["a-16".to_owned()], of(&[("a", 20), ("b", 20)])));
    fold(&world, &lake);
    assert_eq!(folded_through(&world, "a"), 19);
    let (n, body) = block_on(world.journal.checkpoint(&ShardId::new("a"))).unwrap().unwrap();
    assert!(
        Checkpoint::decode(&ShardId::new("a"), n, &body, &SectionList::default()).unwrap().tables().contains(&fifth())
    );
    // The program without the table may not extend such a checkpoint: it does not know what to note of the file.
    for _ in 21..=26 {
        world.store_entry("a");
    }
    world.commit();
    world.pass(3 * DAY);
    fold(&world, &world.lake);
    assert_eq!(folded_through(&world, "a"), 19);
    assert_eq!(rows(&lake), ["a-16"]);
}

#[test]
fn what_others_have_folded_without_a_file_of_the_table_is_passed_over() {
    let mut world = folded();
    let lake = newer(&world);
    block_on(lake.ensure_later_table(&*world.journal, fifth())).unwrap();
    for _ in 13..=30 {
        world.store_entry("a");
    }
    world.commit();
    for _ in 0..2 {
        world.pass(3 * DAY);
        fold(&world, &world.lake);
    }
    assert_eq!(folded_through(&world, "a"), 29);
    assert!(block_on(world.journal.get(&ShardId::new("a"), 13)).unwrap().is_none());
    store_with(&mut world, "a");
    let lacking = follow(&world, &lake, &BTreeMap::new(), |_| 29).unwrap_err();
    assert!(matches!(lacking, LakeError::EntryMissing { applied: 12, got: 30, .. }), "{lacking}");
    // Folded entries are skipped alone, and together with entries after them.
    let behind = of(&[("a", 29)]);
    let report = follow(&world, &lake, &behind, |_| u64::MAX).unwrap();
    assert_eq!((report.entries, applied(&lake)), (0, of(&[("a", 29), ("b", 12)])));
    follow(&world, &lake, &behind, |shard| if shard.as_str() == "a" { 29 } else { 12 }).unwrap();
    assert_eq!((rows(&lake), applied(&lake)), (vec!["a-31".to_owned()], of(&[("a", 31), ("b", 12)])));
    // The first four hold everything that was folded, so nothing is ever skipped for them.
    let views: Vec<EntryFiles<'_>> = Vec::new();
    let report = block_on(lake.commit_after(Table::DAILY, &of(&[("z", 7)]), &views)).unwrap();
    assert!(!report.applied.contains_key(&ShardId::new("z")));
}

#[test]
fn a_table_that_was_dropped_starts_before_the_first_file_that_is_named() {
    let mut world = folded();
    let lake = newer(&world);
    block_on(lake.ensure_later_table(&*world.journal, fifth())).unwrap();
    for n in 13..=20 {
        if n % 3 == 0 { store_with(&mut world, "a") } else { world.store_entry("a") }
    }
    world.commit();
    follow(&world, &lake, &BTreeMap::new(), |_| 0).unwrap();
    assert_eq!(rows(&lake), ["a-15", "a-18"]);
    world.catalog.drop_table(fifth().name());
    // Meanwhile no entry with a file of it is folded, and no such file is removed.
    world.pass(3 * DAY);
    fold(&world, &lake);
    assert_eq!(folded_through(&world, "a"), 14);
    block_on(lake.ensure_later_table(&*world.journal, fifth())).unwrap();
    assert_eq!(applied(&lake), of(&[("a", 14), ("b", 12)]));
    follow(&world, &lake, &BTreeMap::new(), |_| 0).unwrap();
    assert_eq!(rows(&lake), ["a-15", "a-18"]);

    // If the first of these entries is folded, the table lacks it, and a commit is refused as for a dropped one of the first four.
    for _ in 0..2 {
        world.pass(3 * DAY);
        fold(&world, &lake);
    }
    assert_eq!(folded_through(&world, "a"), 19);
    world.catalog.drop_table(fifth().name());
    block_on(lake.ensure_later_table(&*world.journal, fifth())).unwrap();
    assert_eq!(applied(&lake), of(&[("a", 14), ("b", 12)]));
    let refused = follow(&world, &lake, &BTreeMap::new(), |_| 19).unwrap_err();
    assert!(matches!(refused, LakeError::EntryMissing { applied: 14, got: 20, .. }), "{refused}");
}
