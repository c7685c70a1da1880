//! What every store, journal and catalog must do, run against each implementation.

mod common;

use authpulse_event::ShardId;
use authpulse_lake::catalog::{CatalogError, SwapOutcome, TablePointers};
use authpulse_lake::fault::{Faults, Moment};
use authpulse_lake::journal::{Journal, JournalError};
use authpulse_lake::{
    LocalStore, MemoryCatalog, MemoryJournal, MemoryStore, ObjectStore, PutOutcome, Remedy, SqliteCatalog,
    SqliteJournal, StoreError,
};
use bytes::Bytes;
use common::{bytes, stored};
use futures::executor::block_on;
use std::sync::Arc;

fn stores(test: impl Fn(&dyn ObjectStore)) {
    test(&MemoryStore::new());
    let directory = tempfile::tempdir().unwrap();
    test(&LocalStore::open(directory.path().join("new/lake")).unwrap());
}

#[test]
fn a_file_is_put_once_and_read_back() {
    stores(|store| {
        block_on(store.put_new("a/b/c.bin", bytes("hello"))).unwrap();
        let again = block_on(store.put_new("a/b/c.bin", bytes("other")));
        assert!(matches!(again, Err(StoreError::AlreadyExists { path }) if path == "a/b/c.bin"));
        assert_eq!(block_on(store.get("a/b/c.bin")).unwrap(), "hello");
        assert_eq!(block_on(store.get_range("a/b/c.bin", 1..3)).unwrap(), "el");
        assert_eq!(block_on(store.get_range("a/b/c.bin", 5..5)).unwrap(), "");
        let beyond = block_on(store.get_range("a/b/c.bin", 3..6)).unwrap_err();
        assert!(beyond.to_string().contains("cut off"), "{beyond}");
        assert_eq!(block_on(store.size("a/b/c.bin")).unwrap(), Some(5));
        block_on(store.put_new("empty", Bytes::new())).unwrap();
        assert_eq!(block_on(store.get("empty")).unwrap(), "");
    });
}

#[test]
fn a_missing_file_is_told_from_a_failure() {
    stores(|store| {
        assert!(matches!(block_on(store.get("no/such")), Err(StoreError::NotFound { path }) if path == "no/such"));
        assert!(matches!(block_on(store.get_range("no", 0..1)), Err(StoreError::NotFound { .. })));
        assert!(matches!(block_on(store.copy_new("no", "to")), Err(StoreError::NotFound { path }) if path == "no"));
        assert_eq!(block_on(store.size("no/such")).unwrap(), None);
        block_on(store.delete("no/such")).unwrap();
        assert!(stored(store, "no/").is_empty());
    });
}

#[test]
fn a_copy_survives_its_origin() {
    stores(|store| {
        block_on(store.put_new("from", bytes("x"))).unwrap();
        block_on(store.copy_new("from", "deep/er/to")).unwrap();
        assert!(matches!(block_on(store.copy_new("from", "deep/er/to")), Err(StoreError::AlreadyExists { .. })));
        block_on(store.delete("from")).unwrap();
        assert_eq!(block_on(store.get("deep/er/to")).unwrap(), "x");
        assert_eq!(stored(store, ""), ["deep/er/to"]);
    });
}

#[test]
fn listings_go_by_prefix_in_order_of_path() {
    stores(|store| {
        for path in ["w/b", "w/a/2", "w/a/1", "w/ab", "x"] {
            block_on(store.put_new(path, bytes(path))).unwrap();
        }
        assert_eq!(stored(store, "w/a"), ["w/a/1", "w/a/2", "w/ab"]);
        assert_eq!(stored(store, "w/a/"), ["w/a/1", "w/a/2"]);
        assert_eq!(stored(store, ""), ["w/a/1", "w/a/2", "w/ab", "w/b", "x"]);
        assert_eq!(block_on(store.list("w/ab")).unwrap()[0].size, 4);
    });
}

#[test]
fn paths_cannot_leave_the_lake_and_uris_lead_back() {
    stores(|store| {
        for path in ["../x", "/x", "a//b", "a/../b", "", "a/", "./a", "a\\b"] {
            assert!(matches!(block_on(store.put_new(path, Bytes::new())), Err(StoreError::Refused { .. })), "{path}");
        }
        let uri = store.uri("warehouse/t/data/x.parquet");
        assert!(uri.contains(":///"), "{uri}");
        assert_eq!(store.relative(&uri).unwrap(), "warehouse/t/data/x.parquet");
        assert!(store.relative("file:///elsewhere/x").is_err());
        assert!(store.relative(&store.uri("../x")).is_err());
    });
}

#[test]
fn a_local_store_leaves_no_temporary_files_and_reads_other_spellings() {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::open(directory.path()).unwrap();
    block_on(store.put_new("a/b", bytes("x"))).unwrap();
    block_on(store.put_new("a/b", bytes("y"))).unwrap_err();
    assert_eq!(std::fs::read_dir(store.root().join("a")).unwrap().count(), 1);
    std::fs::write(store.root().join("a/.c.1-0.tmp"), "half").unwrap();
    assert_eq!(stored(&store, ""), ["a/b"]);
    let bare = store.root().join("a/b").display().to_string();
    for uri in [bare.clone(), format!("file:{bare}"), format!("file://{bare}")] {
        assert_eq!(store.relative(&uri).unwrap(), "a/b");
    }
    assert!(LocalStore::open(directory.path().join("what?")).is_err());
}

#[test]
fn threads_that_put_one_name_have_one_winner() {
    stores(|store| {
        std::thread::scope(|scope| {
            let puts: Vec<_> =
                (0..8).map(|i| scope.spawn(move || block_on(store.put_new("d/same", bytes(&i.to_string()))))).collect();
            let won = puts.into_iter().filter_map(|put| put.join().unwrap().ok()).count();
            assert_eq!(won, 1);
        });
    });
}

fn journals(test: impl Fn(&dyn Journal)) {
    test(&MemoryJournal::new());
    let directory = tempfile::tempdir().unwrap();
    test(&SqliteJournal::open(directory.path().join("journal.db")).unwrap());
}

#[test]
fn an_entry_is_created_once() {
    journals(|journal| {
        let shard = ShardId::new("shard-0");
        assert_eq!(block_on(journal.tail(&shard)).unwrap(), None);
        assert_eq!(block_on(journal.put(&shard, 1, bytes("one"))).unwrap(), PutOutcome::Created);
        assert_eq!(block_on(journal.put(&shard, 1, bytes("other"))).unwrap(), PutOutcome::Taken);
        assert_eq!(block_on(journal.get(&shard, 1)).unwrap().unwrap(), "one");
        assert_eq!(block_on(journal.get(&shard, 2)).unwrap(), None);
        assert!(matches!(block_on(journal.put(&shard, 0, bytes(""))), Err(JournalError::Number { .. })));
    });
}

#[test]
fn entries_are_listed_by_shard_and_in_order() {
    journals(|journal| {
        let (a, b) = (ShardId::new("a"), ShardId::new("b"));
        for n in [3, 1, 2, 10] {
            block_on(journal.put(&a, n, bytes(&n.to_string()))).unwrap();
        }
        block_on(journal.put(&b, 1, bytes("b"))).unwrap();
        assert_eq!(block_on(journal.tail(&a)).unwrap(), Some(10));
        assert_eq!(block_on(journal.shards()).unwrap(), [a.clone(), b]);
        let numbers = |from, limit| -> Vec<u64> {
            block_on(journal.list(&a, from, limit)).unwrap().into_iter().map(|(n, _)| n).collect()
        };
        assert_eq!((numbers(0, 99), numbers(2, 2), numbers(11, 9)), (vec![1, 2, 3, 10], vec![2, 3], vec![]));
    });
}

#[test]
fn a_journal_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.db");
    let shard = ShardId::file();
    block_on(SqliteJournal::open(&path).unwrap().put(&shard, 1, bytes("x"))).unwrap();
    let journal = SqliteJournal::open(&path).unwrap();
    assert_eq!(block_on(journal.put(&shard, 1, bytes("y"))).unwrap(), PutOutcome::Taken);
    std::fs::write(directory.path().join("no.db"), "this is no database, but text").unwrap();
    let refused = SqliteJournal::open(directory.path().join("no.db")).err().unwrap();
    assert_eq!(refused.remedy(), Remedy::Restore, "{refused}");
}

#[test]
fn a_lost_answer_of_the_journal_is_unclear() {
    let journal = MemoryJournal::new();
    journal.set_faults(Faults::new(|step| {
        if step.operation == "put" && step.moment == Moment::After { Err("reset".to_owned()) } else { Ok(()) }
    }));
    let shard = ShardId::new("s");
    let lost = block_on(journal.put(&shard, 1, bytes("x"))).unwrap_err();
    assert_eq!(lost.remedy(), Remedy::Look);
    assert_eq!(block_on(journal.get(&shard, 1)).unwrap().unwrap(), "x");
}

fn catalogs(test: impl Fn(Arc<dyn TablePointers>)) {
    test(Arc::new(MemoryCatalog::new()));
    let directory = tempfile::tempdir().unwrap();
    test(Arc::new(SqliteCatalog::open(directory.path().join("catalog.db")).unwrap()));
}

#[test]
fn a_pointer_moves_only_from_where_it_was_seen() {
    catalogs(|catalog| {
        assert_eq!(block_on(catalog.load("t")).unwrap(), None);
        assert_eq!(block_on(catalog.swap("t", "a", "b")).unwrap(), SwapOutcome::Conflict);
        assert_eq!(block_on(catalog.create("t", "a")).unwrap(), SwapOutcome::Swapped);
        assert_eq!(block_on(catalog.create("t", "z")).unwrap(), SwapOutcome::Conflict);
        assert_eq!(block_on(catalog.swap("t", "a", "b")).unwrap(), SwapOutcome::Swapped);
        assert_eq!(block_on(catalog.swap("t", "a", "b")).unwrap(), SwapOutcome::Conflict);
        assert_eq!(block_on(catalog.load("t")).unwrap().as_deref(), Some("b"));
        assert_eq!(block_on(catalog.load("other")).unwrap(), None);
    });
}

#[test]
fn what_is_in_the_way_of_a_database_is_not_called_damage() {
    let directory = tempfile::tempdir().unwrap();
    // A directory under the database's name cannot be opened, whoever asks.
    let path = directory.path().join("taken.db");
    std::fs::create_dir(&path).unwrap();
    let journal = SqliteJournal::open(&path).err().unwrap();
    assert!(matches!(&journal, JournalError::Failed { action: "opening it", .. }), "{journal}");
    let catalog = SqliteCatalog::open(&path).err().unwrap();
    assert!(matches!(&catalog, CatalogError::Unopened { .. }), "{catalog}");
    for (error, remedy) in [(journal.to_string(), journal.remedy()), (catalog.to_string(), catalog.remedy())] {
        assert!(
            error.contains("taken.db") && error.contains("unable to open") && !error.contains("restore"),
            "{error}"
        );
        assert_eq!(remedy, Remedy::Retry, "{error}");
    }
    let path = directory.path().join("other.db");
    std::fs::write(&path, b"no database at all".repeat(1000)).unwrap();
    let journal = SqliteJournal::open(&path).err().unwrap();
    assert!(matches!(&journal, JournalError::Damaged { .. }), "{journal}");
    let catalog = SqliteCatalog::open(&path).err().unwrap();
    assert!(matches!(&catalog, CatalogError::Damaged { .. }), "{catalog}");
}
