//! A table behind the first four, as the committer meets it: made again where it was dropped, and past what others have folded.

use crate::small_lake::SmallLake;
use authpulse_event::ShardId;
use authpulse_journal::Env;
use authpulse_lake::entry::{Entry, Side};
use authpulse_lake::schema::TableDef;
use authpulse_lake::{Base, Lake, MemoryCatalog, Shape, Table, TableFile};
use authpulse_service::committer::commit_all;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// With the columns of another, so that its files are made as that one's are.
static DEF: LazyLock<TableDef> = LazyLock::new(|| {
    let daily = Table::DAILY.def();
    TableDef {
        name: "health_to_come",
        columns: daily.columns,
        time_column: daily.time_column,
        partitioning: daily.partitioning,
        order: daily.order,
        closing: daily.closing,
    }
});

struct World {
    lake: SmallLake,
    table: Table,
    tables: Arc<Lake>,
    catalog: Arc<MemoryCatalog>,
    entries: Vec<Entry>,
    /// Rows of the entries' files of the table.
    rows: u64,
}

impl World {
    /// A lake whose entries name two files of the table, the first in the seventh entry; no table holds anything yet.
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

    /// The world of a program over a journal of these entries, which knows the table or does not.
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
    // Whoever does not know it leaves it alone, and has nothing to do.
    let other = world.env(&world.entries, false).await;
    assert_eq!(commit_all(&other).await.unwrap().entries, 0);
    world.check().await;
}

#[tokio::test]
async fn what_others_have_folded_without_a_file_of_it_is_passed_over() {
    let world = World::new().await;
    let shard = ShardId::new("file");
    // Made when there were two entries.
    let begun = world.env(&world.entries[..2], true).await;
    assert!(begun.lake.ensure_later_table(&*begun.journal, world.table).await.unwrap());
    assert_eq!(world.applied().await[&shard], 2);
    // Others, who do not know it, bring their tables up, and fold what they can.
    let other = world.env(&world.entries, false).await;
    commit_all(&other).await.unwrap();
    let mut base = Base::new(world.entries[0].clone(), &Side::default());
    world.entries[1..5].iter().for_each(|entry| base.add(entry.clone(), &Side::default()));
    other.journal.put_base(&shard, 5, base.encode()).await.unwrap();
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
    let mut base = Base::new(world.entries[0].clone(), &Side::default());
    world.entries[1..9].iter().for_each(|entry| base.add(entry.clone(), &Side::default()));
    env.journal.put_base(&shard, 9, base.encode()).await.unwrap();
    env.journal.remove_through(&shard, 9).await.unwrap();
    // Dropped, and made again by whoever is about to store a file of it.
    world.catalog.drop_table(world.table.name());
    assert!(env.lake.ensure_later_table(&*env.journal, world.table).await.unwrap());
    assert_eq!(world.applied().await, BTreeMap::from([(shard, 6)]));
    let error = commit_all(&env).await.unwrap_err();
    assert!(error.to_string().contains("which every table held when it was folded"), "{error}");
}
