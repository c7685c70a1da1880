//! What every store, journal and catalog must do, run against each implementation.

use crate::common::{bytes, stored};
use crate::contract::{self, JournalContract, StoreContract, Wait};
use authpulse_event::ShardId;
use authpulse_lake::catalog::{CatalogError, TablePointers};
use authpulse_lake::fault::{Faults, Moment};
use authpulse_lake::journal::{Journal, JournalError};
use authpulse_lake::{
    FileCommitterLock, FollowerName, LocalStore, MemoryCatalog, MemoryJournal, MemoryStore, ObjectJournal, ObjectStore,
    PutOutcome, Remedy, SqliteCatalog, SqliteJournal,
};
use futures::executor::block_on;
use std::sync::Arc;

fn stores(test: StoreContract) {
    let wait = Wait::default();
    test(&wait, &MemoryStore::new());
    let directory = tempfile::tempdir().unwrap();
    test(&wait, &LocalStore::open(directory.path().join("new/lake")).unwrap());
}

#[test]
fn a_file_is_put_once_and_read_back() {
    stores(contract::a_file_is_put_once_and_read_back);
}

#[test]
fn a_missing_file_is_told_from_a_failure() {
    stores(contract::a_missing_file_is_told_from_a_failure);
}

#[test]
fn a_copy_survives_its_origin() {
    stores(contract::a_copy_survives_its_origin);
}

#[test]
fn listings_go_by_prefix_in_order_of_path() {
    stores(contract::listings_go_by_prefix_in_order_of_path);
}

#[test]
fn paths_cannot_leave_the_lake_and_uris_lead_back() {
    stores(contract::paths_cannot_leave_the_lake_and_uris_lead_back);
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
    stores(contract::threads_that_put_one_name_have_one_winner);
}

fn journals(test: JournalContract) {
    let wait = Wait::default();
    test(&wait, &MemoryJournal::new());
    test(&wait, &ObjectJournal::new(Arc::new(MemoryStore::new())));
    let directory = tempfile::tempdir().unwrap();
    test(&wait, &SqliteJournal::open(directory.path().join("journal.db")).unwrap());
    let store = LocalStore::open(directory.path().join("lake")).unwrap();
    test(&wait, &ObjectJournal::new(Arc::new(store)));
}

#[test]
fn an_entry_is_created_once() {
    journals(contract::an_entry_is_created_once);
}

#[test]
fn entries_are_listed_by_shard_and_in_order() {
    journals(contract::entries_are_listed_by_shard_and_in_order);
}

#[test]
fn folded_entries_go_and_the_newest_checkpoint_stands_for_them() {
    journals(contract::folded_entries_go_and_the_newest_checkpoint_stands_for_them);
}

#[test]
fn writers_of_one_number_have_one_winner() {
    journals(contract::writers_of_one_number_have_one_winner);
}

#[test]
fn the_highest_registration_of_a_follower_counts_and_three_stay() {
    journals(contract::the_highest_registration_of_a_follower_counts_and_three_stay);
}

#[test]
fn processes_of_one_follower_get_numbers_of_their_own() {
    journals(contract::processes_of_one_follower_get_numbers_of_their_own);
}

/// Looking at a lake of an earlier version, or at one that this process may only read, changes nothing.
#[test]
fn looking_for_followers_changes_no_database() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.db");
    let tables = || -> Vec<String> {
        let connection = rusqlite::Connection::open(&path).unwrap();
        let mut named =
            connection.prepare("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").unwrap();
        named.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let journal = SqliteJournal::open(&path).unwrap();
    assert!(block_on(journal.followers().registered()).unwrap().is_empty());
    assert_eq!(tables(), ["bases", "entries"]);
    let name = FollowerName::new("counts").unwrap();
    block_on(journal.followers().register(&name, 1, bytes("x"))).unwrap();
    assert_eq!(tables(), ["bases", "entries", "followers"]);
    // Another process that had opened the journal before finds them as well.
    assert_eq!(block_on(SqliteJournal::open(&path).unwrap().followers().registered()).unwrap().len(), 1);
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

#[test]
fn a_lost_answer_of_the_store_under_a_journal_is_unclear() {
    let store = Arc::new(MemoryStore::new());
    let journal = ObjectJournal::new(store.clone());
    let shard = ShardId::new("s");
    let lose =
        |when| {
            Faults::new(move |step| {
                if step.operation == "put_new" && step.moment == when { Err("reset".to_owned()) } else { Ok(()) }
            })
        };
    for (n, when, is_stored) in [(1, Moment::After, true), (2, Moment::Before, false)] {
        store.set_faults(lose(when));
        let lost = block_on(journal.put(&shard, n, bytes("x"))).unwrap_err();
        assert!(matches!(lost, JournalError::Unclear { n: told, .. } if told == n), "{lost}");
        assert_eq!(block_on(journal.get(&shard, n)).unwrap().is_some(), is_stored);
    }
    store.set_faults(Faults::none());
    assert_eq!(block_on(journal.put(&shard, 1, bytes("y"))).unwrap(), PutOutcome::Taken);
    assert_eq!(block_on(journal.put(&shard, 2, bytes("y"))).unwrap(), PutOutcome::Created);
    store.set_faults(Faults::new(|_| Err("gone".to_owned())));
    for failed in [block_on(journal.tail(&shard)).err(), block_on(journal.get(&shard, 1)).err()] {
        assert_eq!(failed.unwrap().remedy(), Remedy::Retry);
    }
}

fn catalogs(test: fn(&Wait, &dyn TablePointers)) {
    let wait = Wait::default();
    test(&wait, &MemoryCatalog::new());
    let directory = tempfile::tempdir().unwrap();
    test(&wait, &SqliteCatalog::open(directory.path().join("catalog.db")).unwrap());
}

#[test]
fn a_pointer_moves_only_from_where_it_was_seen() {
    catalogs(contract::a_pointer_moves_only_from_where_it_was_seen);
}

#[test]
fn a_lock_is_taken_over_only_from_the_silent() {
    let directory = tempfile::tempdir().unwrap();
    contract::a_lock_is_taken_over_only_from_the_silent(&Wait::default(), &|name, lease, now| {
        Box::new(FileCommitterLock::with_clock(directory.path().join(".lock"), name, lease, now))
    });
}

#[test]
fn what_is_in_the_way_of_a_database_is_not_called_damage() {
    let directory = tempfile::tempdir().unwrap();
    // Nobody can open a directory as a database.
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
