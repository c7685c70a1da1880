//! What every store, journal and catalog must do. Each function takes a fresh one; the tests of this crate and of `authpulse-aws` call
//! them.

use authpulse_event::{ProcessingTime, ShardId};
use authpulse_lake::Table;
use authpulse_lake::catalog::{SwapOutcome, TablePointers};
use authpulse_lake::followers::{self, FollowerName, Registration};
use authpulse_lake::journal::{Journal, JournalError};
use authpulse_lake::lock::Monotonic;
use authpulse_lake::{CommitterLock, ObjectStore, PutOutcome, StoreError};
use bytes::Bytes;
use futures::executor;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;

/// Waits for futures on any thread, in a runtime if the thing under test needs one.
#[derive(Clone, Default)]
pub struct Wait(pub Option<Handle>);

impl Wait {
    pub fn on<F: Future>(&self, future: F) -> F::Output {
        match &self.0 {
            Some(runtime) => runtime.block_on(future),
            None => executor::block_on(future),
        }
    }
}

pub type StoreContract = fn(&Wait, &dyn ObjectStore);
pub type JournalContract = fn(&Wait, &dyn Journal);

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn stored(wait: &Wait, store: &dyn ObjectStore, prefix: &str) -> Vec<String> {
    wait.on(store.list(prefix)).unwrap().into_iter().map(|file| file.path).collect()
}

pub fn a_file_is_put_once_and_read_back(wait: &Wait, store: &dyn ObjectStore) {
    wait.on(store.put_new("a/b/c.bin", bytes("hello"))).unwrap();
    let again = wait.on(store.put_new("a/b/c.bin", bytes("other")));
    assert!(matches!(again, Err(StoreError::AlreadyExists { path }) if path == "a/b/c.bin"));
    assert_eq!(wait.on(store.get("a/b/c.bin")).unwrap(), "hello");
    assert_eq!(wait.on(store.get_range("a/b/c.bin", 1..3)).unwrap(), "el");
    assert_eq!(wait.on(store.get_range("a/b/c.bin", 5..5)).unwrap(), "");
    let beyond = wait.on(store.get_range("a/b/c.bin", 3..6)).unwrap_err();
    assert!(beyond.to_string().contains("cut off"), "{beyond}");
    assert_eq!(wait.on(store.size("a/b/c.bin")).unwrap(), Some(5));
    wait.on(store.put_new("empty", Bytes::new())).unwrap();
    assert_eq!(wait.on(store.get("empty")).unwrap(), "");
}

pub fn a_missing_file_is_told_from_a_failure(wait: &Wait, store: &dyn ObjectStore) {
    assert!(matches!(wait.on(store.get("no/such")), Err(StoreError::NotFound { path }) if path == "no/such"));
    assert!(matches!(wait.on(store.get_range("no", 0..1)), Err(StoreError::NotFound { .. })));
    assert!(matches!(wait.on(store.copy_new("no", "to")), Err(StoreError::NotFound { path }) if path == "no"));
    assert_eq!(wait.on(store.size("no/such")).unwrap(), None);
    wait.on(store.delete("no/such")).unwrap();
    assert!(stored(wait, store, "no/").is_empty());
}

pub fn a_copy_survives_its_origin(wait: &Wait, store: &dyn ObjectStore) {
    wait.on(store.put_new("from", bytes("x"))).unwrap();
    wait.on(store.copy_new("from", "deep/er/to")).unwrap();
    assert!(matches!(wait.on(store.copy_new("from", "deep/er/to")), Err(StoreError::AlreadyExists { .. })));
    wait.on(store.delete("from")).unwrap();
    assert_eq!(wait.on(store.get("deep/er/to")).unwrap(), "x");
    assert_eq!(stored(wait, store, ""), ["deep/er/to"]);
}

pub fn listings_go_by_prefix_in_order_of_path(wait: &Wait, store: &dyn ObjectStore) {
    for path in ["w/b", "w/a/2", "w/a/1", "w/ab", "x"] {
        wait.on(store.put_new(path, bytes(path))).unwrap();
    }
    assert_eq!(stored(wait, store, "w/a"), ["w/a/1", "w/a/2", "w/ab"]);
    assert_eq!(stored(wait, store, "w/a/"), ["w/a/1", "w/a/2"]);
    assert_eq!(stored(wait, store, ""), ["w/a/1", "w/a/2", "w/ab", "w/b", "x"]);
    assert_eq!(wait.on(store.list("w/ab")).unwrap()[0].size, 4);
    let from = |after: &str, limit| -> Vec<String> {
        wait.on(store.list_from("w/", after, limit)).unwrap().into_iter().map(|file| file.path).collect()
    };
    assert_eq!(from("", 2), ["w/a/1", "w/a/2"]);
    assert_eq!(from("w/a/1", 99), ["w/a/2", "w/ab", "w/b"]);
    assert_eq!(from("w/a/15", 1), ["w/a/2"]);
    assert!(from("w/b", 99).is_empty());
    assert_eq!(wait.on(store.folders("")).unwrap(), ["w"]);
    assert_eq!(wait.on(store.folders("w/")).unwrap(), ["a"]);
    assert!(wait.on(store.folders("none/")).unwrap().is_empty());
}

pub fn paths_cannot_leave_the_lake_and_uris_lead_back(wait: &Wait, store: &dyn ObjectStore) {
    for path in ["../x", "/x", "a//b", "a/../b", "", "a/", "./a", "a\\b"] {
        assert!(matches!(wait.on(store.put_new(path, Bytes::new())), Err(StoreError::Refused { .. })), "{path}");
    }
    let uri = store.uri("warehouse/t/data/x.parquet");
    assert!(uri.contains("://"), "{uri}");
    assert_eq!(store.relative(&uri).unwrap(), "warehouse/t/data/x.parquet");
    assert!(store.relative("file:///elsewhere/x").is_err());
    assert!(store.relative(&store.uri("../x")).is_err());
}

pub fn threads_that_put_one_name_have_one_winner(wait: &Wait, store: &dyn ObjectStore) {
    std::thread::scope(|scope| {
        let puts: Vec<_> =
            (0..8).map(|i| scope.spawn(move || wait.on(store.put_new("d/same", bytes(&i.to_string()))))).collect();
        let won = puts.into_iter().filter_map(|put| put.join().unwrap().ok()).count();
        assert_eq!(won, 1);
    });
}

pub fn an_entry_is_created_once(wait: &Wait, journal: &dyn Journal) {
    let shard = ShardId::new("shard-0");
    assert_eq!(wait.on(journal.tail(&shard)).unwrap(), None);
    assert_eq!(wait.on(journal.put(&shard, 1, bytes("one"))).unwrap(), PutOutcome::Created);
    assert_eq!(wait.on(journal.put(&shard, 1, bytes("other"))).unwrap(), PutOutcome::Taken);
    assert_eq!(wait.on(journal.get(&shard, 1)).unwrap().unwrap(), "one");
    assert_eq!(wait.on(journal.get(&shard, 2)).unwrap(), None);
    assert!(matches!(wait.on(journal.put(&shard, 0, bytes(""))), Err(JournalError::Number { .. })));
}

pub fn entries_are_listed_by_shard_and_in_order(wait: &Wait, journal: &dyn Journal) {
    let (a, b) = (ShardId::new("a"), ShardId::new("b"));
    for n in [3, 1, 2, 10] {
        wait.on(journal.put(&a, n, bytes(&n.to_string()))).unwrap();
    }
    wait.on(journal.put(&b, 1, bytes("b"))).unwrap();
    assert_eq!(wait.on(journal.tail(&a)).unwrap(), Some(10));
    assert_eq!(wait.on(journal.shards()).unwrap(), [a.clone(), b]);
    let numbers = |from, limit| -> Vec<u64> {
        wait.on(journal.list(&a, from, limit)).unwrap().into_iter().map(|(n, _)| n).collect()
    };
    assert_eq!((numbers(0, 99), numbers(2, 2), numbers(11, 9)), (vec![1, 2, 3, 10], vec![2, 3], vec![]));
}

pub fn folded_entries_go_and_the_newest_checkpoint_stands_for_them(wait: &Wait, journal: &dyn Journal) {
    let (a, b) = (ShardId::new("shardId-000000000000@demo.17"), ShardId::new("b"));
    for n in 1..=20 {
        wait.on(journal.put(&a, n, bytes(&n.to_string()))).unwrap();
    }
    wait.on(journal.put(&b, 1, bytes("b"))).unwrap();
    assert_eq!(wait.on(journal.checkpoint(&a)).unwrap(), None);
    let refused = |n: u64| matches!(wait.on(journal.remove_through(&a, n)), Err(JournalError::Refused { .. }));
    assert!(refused(1), "nothing is folded");
    wait.on(journal.put_checkpoint(&a, 5, bytes("five"))).unwrap();
    wait.on(journal.put_checkpoint(&a, 12, bytes("twelve"))).unwrap();
    wait.on(journal.put_checkpoint(&a, 12, bytes("other"))).unwrap();
    assert_eq!(wait.on(journal.checkpoint(&a)).unwrap().unwrap(), (12, bytes("twelve")), "what is stored stays");
    assert!(refused(13));
    let numbers =
        |shard| -> Vec<u64> { wait.on(journal.list(shard, 1, 99)).unwrap().into_iter().map(|(n, _)| n).collect() };
    // A checkpoint does not hide the entries for which it stands: a later run of maintenance removes them.
    assert_eq!(numbers(&a).len(), 20);
    assert_eq!(wait.on(journal.remove_through(&a, 10)).unwrap(), 10);
    assert_eq!(wait.on(journal.remove_through(&a, 10)).unwrap(), 0);
    assert_eq!(numbers(&a), (11..=20).collect::<Vec<_>>());
    assert_eq!((wait.on(journal.tail(&a)).unwrap(), wait.on(journal.get(&a, 10)).unwrap()), (Some(20), None));
    assert_eq!((numbers(&b), wait.on(journal.checkpoint(&b)).unwrap()), (vec![1], None));
    for n in [14, 16] {
        wait.on(journal.put_checkpoint(&a, n, bytes(&n.to_string()))).unwrap();
    }
    assert_eq!(wait.on(journal.remove_through(&a, 13)).unwrap(), 3);
    assert_eq!(wait.on(journal.checkpoint(&a)).unwrap().unwrap(), (16, bytes("16")));
    // An entry from a writer that was away for too long is ignored, and removed next time.
    wait.on(journal.put(&a, 3, bytes("late"))).unwrap();
    assert_eq!(wait.on(journal.tail(&a)).unwrap(), Some(20));
    wait.on(journal.remove_through(&a, 16)).unwrap();
    assert_eq!(numbers(&a), [17, 18, 19, 20]);
    assert!(matches!(wait.on(journal.put_checkpoint(&a, 0, bytes(""))), Err(JournalError::Number { .. })));
}

pub fn the_highest_registration_of_a_follower_counts_and_three_stay(wait: &Wait, journal: &dyn Journal) {
    let name = |text: &str| FollowerName::new(text).unwrap();
    let (a, b) = (name("counts-1"), name("Alerts_2"));
    let followers = journal.followers();
    let newest = || -> Vec<(String, u64, Bytes)> {
        let all = wait.on(followers.registered()).unwrap();
        all.into_iter().map(|(name, n, body)| (name.to_string(), n, body)).collect()
    };
    assert!(newest().is_empty());
    assert!(!wait.on(followers.forget(&a)).unwrap(), "nobody to forget");
    let register = |who: &FollowerName, n: u64, body: &str| wait.on(followers.register(who, n, bytes(body))).unwrap();
    assert_eq!(register(&a, 1, "one"), PutOutcome::Created);
    assert_eq!(register(&a, 1, "other"), PutOutcome::Taken);
    assert_eq!(newest(), [("counts-1".to_owned(), 1, bytes("one"))], "what is stored stays");
    for n in 2..=11 {
        assert_eq!(register(&a, n, &n.to_string()), PutOutcome::Created);
    }
    assert_eq!(register(&b, 1, "b"), PutOutcome::Created);
    let both = [("Alerts_2".to_owned(), 1, bytes("b")), ("counts-1".to_owned(), 11, bytes("11"))];
    assert_eq!(newest(), both, "11 is more than 9, and names are in order");
    // The three newest numbers are taken; the older registrations are gone.
    assert_eq!([9, 10, 11].map(|n| register(&a, n, "late")), [PutOutcome::Taken; 3]);
    assert_eq!(register(&a, 8, "late"), PutOutcome::Created);
    assert_eq!(newest(), both, "a late one of a lower number counts for nothing");
    assert!(wait.on(followers.forget(&a)).unwrap());
    assert_eq!(newest(), both[..1]);
    assert_eq!(register(&a, 12, "again"), PutOutcome::Created);
    assert_eq!(newest().len(), 2);
    // Registrations are not entries.
    assert!(wait.on(journal.shards()).unwrap().is_empty());
}

pub fn processes_of_one_follower_get_numbers_of_their_own(wait: &Wait, journal: &dyn Journal) {
    let name = FollowerName::new("counts").unwrap();
    let applied = |n| std::collections::BTreeMap::from([(ShardId::new("a"), n)]);
    let put = |n: u64, last| {
        let registration = Registration::new(&name, ProcessingTime::from_micros(7), &applied(n));
        wait.on(followers::put(journal.followers(), &name, &registration, last)).unwrap()
    };
    // Two processes that do not know of each other: the second finds its number taken.
    assert_eq!([put(10, 0), put(20, 0), put(30, 1), put(40, 3)], [1, 2, 3, 4]);
    let known = wait.on(followers::read(journal.followers())).unwrap();
    assert_eq!(known, [(name.clone(), Registration::new(&name, ProcessingTime::from_micros(7), &applied(40)))]);
    assert_eq!(known[0].1.of(&ShardId::new("b")), 0);
}

pub fn writers_of_one_number_have_one_winner(wait: &Wait, journal: &dyn Journal) {
    let shard = ShardId::new("shardId-000000000000@demo.17");
    std::thread::scope(|scope| {
        let put = |i: u32| wait.on(journal.put(&shard, 1, bytes(&i.to_string()))).unwrap();
        let puts: Vec<_> = (0..8).map(|i| scope.spawn(move || (i, put(i)))).collect();
        let outcomes: Vec<_> = puts.into_iter().map(|put| put.join().unwrap()).collect();
        let won: Vec<u32> = outcomes.iter().filter(|(_, o)| *o == PutOutcome::Created).map(|(i, _)| *i).collect();
        assert_eq!(won.len(), 1, "{outcomes:?}");
        assert_eq!(wait.on(journal.get(&shard, 1)).unwrap().unwrap(), won[0].to_string());
        assert_eq!(wait.on(journal.shards()).unwrap(), std::slice::from_ref(&shard));
    });
}

pub fn a_pointer_moves_only_from_where_it_was_seen(wait: &Wait, catalog: &dyn TablePointers) {
    let schema = Table::DAILY.schema();
    assert_eq!(wait.on(catalog.load("t")).unwrap(), None);
    assert_eq!(wait.on(catalog.swap("t", "a", "b", schema)).unwrap(), SwapOutcome::Conflict);
    assert_eq!(wait.on(catalog.create("t", "a", schema)).unwrap(), SwapOutcome::Swapped);
    assert_eq!(wait.on(catalog.create("t", "z", schema)).unwrap(), SwapOutcome::Conflict);
    assert_eq!(wait.on(catalog.swap("t", "a", "b", schema)).unwrap(), SwapOutcome::Swapped);
    assert_eq!(wait.on(catalog.swap("t", "a", "b", schema)).unwrap(), SwapOutcome::Conflict);
    assert_eq!(wait.on(catalog.load("t")).unwrap().as_deref(), Some("b"));
    assert_eq!(wait.on(catalog.load("other")).unwrap(), None);
}

/// Makes a lock of one lake: its holder's name, its lease, its clock.
pub type NewLock<'a> = &'a dyn Fn(&str, Duration, Monotonic) -> Box<dyn CommitterLock>;

pub fn a_lock_is_taken_over_only_from_the_silent(wait: &Wait, new: NewLock<'_>) {
    let seconds = Arc::new(AtomicU64::new(0));
    let pass = |more| seconds.fetch_add(more, Ordering::Relaxed);
    let lock = |name: &str| {
        let seconds = seconds.clone();
        new(name, Duration::from_secs(60), Arc::new(move || Duration::from_secs(seconds.load(Ordering::Relaxed))))
    };
    let (one, two, three) = (lock("one"), lock("two"), lock("three"));
    let holds = |lock: &dyn CommitterLock| wait.on(lock.hold()).unwrap();
    assert_eq!((holds(&*one), holds(&*two), holds(&*one)), (true, false, true));
    assert!(!two.is_renewed_by_another(), "one look tells nothing");
    // A holder that renews its lock keeps it, however long. The lease begins when its counter is first seen to stand still.
    for _ in 0..5 {
        pass(50);
        assert_eq!((holds(&*one), holds(&*two)), (true, false));
        assert!(two.is_renewed_by_another());
    }
    pass(59);
    assert_eq!((holds(&*two), holds(&*three)), (false, false));
    pass(2);
    // The third has watched for only two seconds.
    assert_eq!((holds(&*three), holds(&*two)), (false, true));
    let silent = [two.taken_over_from(), two.taken_over_from(), three.taken_over_from()];
    assert_eq!(silent, [Some("one".to_owned()), None, None]);
    // The holder that was silent notices it, and watches like the others.
    assert_eq!((holds(&*one), holds(&*two)), (false, true));
    pass(50);
    assert_eq!((holds(&*two), holds(&*one), holds(&*three)), (true, false, false));
    pass(50);
    assert_eq!((holds(&*one), holds(&*three)), (false, false), "it has moved since");
    wait.on(two.release());
    assert_eq!((holds(&*three), holds(&*two), holds(&*one)), (true, false, false));
    assert_eq!(three.taken_over_from(), None, "who has let go was not silent");
}
