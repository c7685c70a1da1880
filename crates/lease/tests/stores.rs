//! All stores keep the same contract, and a fleet over each of them shares leases, takes over and hands over.

use async_trait::async_trait;
use authpulse_lease::{
    Checkpoint, Fleet, Known, Lease, LeaseError, LeaseSettings, LeaseStore, LocalLeases, MemoryLeases, Ticks,
};
use futures::executor::block_on;
use futures::future::poll_fn;
use rusqlite::Connection;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Poll;
use std::time::{Duration, Instant};

const SECOND: Ticks = 1_000_000;

fn keys(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn what_was_reached_goes_along_with_renewals_and_hand_overs() {
    block_on(async {
        let store = Arc::new(MemoryLeases::new());
        let mut one = Fleet::new(store.clone(), "w1", LeaseSettings::default());
        one.scan(&|| 0, &keys(&["a"])).await.unwrap();
        let at = |sequence: &str| Checkpoint { sequence: sequence.to_owned(), sub_sequence: 3 };
        one.reached("a", at("17"));
        assert_eq!(store.get("a").await.unwrap().unwrap().checkpoint, None, "not by itself");
        one.renew(SECOND).await;
        assert_eq!(store.get("a").await.unwrap().unwrap().checkpoint, Some(at("17")));
        one.reached("a", at("18"));
        one.reached("a", at("9"));
        // Reading the leases in between does not lose it, and an older checkpoint said later does not replace it.
        one.scan(&|| 2 * SECOND, &keys(&["a"])).await.unwrap();
        one.hand_over(&keys(&["a"])).await;
        let left = store.get("a").await.unwrap().unwrap();
        assert_eq!((left.owner, left.checkpoint), (None, Some(at("18"))));
        one.reached("a", at("19"));
        let mut two = Fleet::new(store.clone(), "w2", LeaseSettings::default());
        two.scan(&|| 3 * SECOND, &keys(&["a"])).await.unwrap();
        two.renew(4 * SECOND).await;
        assert_eq!(store.get("a").await.unwrap().unwrap().checkpoint, Some(at("18")), "it goes over to the next owner");
    });
}

async fn keeps_the_contract(store: &dyn LeaseStore) {
    assert_eq!(store.list().await.unwrap(), []);
    assert_eq!(store.get("a").await.unwrap(), None);
    let lease = Lease::new("a");
    assert!(!store.update(&lease).await.unwrap(), "what is not there cannot change");
    assert!(store.create(&lease).await.unwrap());
    assert!(!store.create(&Lease { ended: true, ..lease.clone() }).await.unwrap());
    assert_eq!(store.get("a").await.unwrap(), Some(lease.clone()));
    let mine = Lease { owner: Some("me".to_owned()), next_owner: Some("you".to_owned()), ..lease.clone() };
    assert!(store.update(&mine).await.unwrap());
    assert!(!store.update(&mine).await.unwrap(), "its counter has moved");
    assert_eq!(store.get("a").await.unwrap(), Some(Lease { counter: 1, ..mine }));
    let ended = Lease { counter: 1, ended: true, ..lease };
    assert!(store.update(&ended).await.unwrap());
    let now = Lease { counter: 2, ..ended.clone() };
    assert_eq!(store.list().await.unwrap(), std::slice::from_ref(&now));
    assert!(!store.remove(&ended).await.unwrap(), "its counter has moved");
    assert_eq!(store.list().await.unwrap(), std::slice::from_ref(&now));
    assert!(store.remove(&now).await.unwrap());
    assert!(!store.remove(&now).await.unwrap(), "it is gone");
    assert_eq!((store.list().await.unwrap(), store.get("a").await.unwrap()), (vec![], None));
    assert!(store.create(&Lease::new("a")).await.unwrap(), "and can be made again");
    assert!(store.remove(&Lease::new("a")).await.unwrap());
}

#[test]
fn memory_keeps_the_contract() {
    block_on(keeps_the_contract(&MemoryLeases::new()));
}

#[test]
fn a_local_file_keeps_the_contract_for_each_application_alone() {
    let place = tempfile::tempdir().unwrap();
    let one = LocalLeases::open(place.path(), "lake one", "w1").unwrap();
    let two = LocalLeases::open(place.path(), "lake two", "w2").unwrap();
    block_on(keeps_the_contract(&one));
    block_on(keeps_the_contract(&two));
}

#[test]
fn where_an_application_stores_is_noted_once() {
    let place = tempfile::tempdir().unwrap();
    let known = |application: &str| LocalLeases::known(place.path(), application).unwrap();
    let destination = |name: &str| Some(Known { destination: Some(name.to_owned()) });
    assert_eq!(known("lake one"), None);
    assert!(!LocalLeases::exist(place.path()), "looking makes nothing");
    let open = |application: &str, worker: &str| LocalLeases::open(place.path(), application, worker).unwrap();
    let (one, two, other) = (open("lake one", "w1"), open("lake one", "w2"), open("lake two", "w3"));
    assert_eq!(known("lake one"), None);
    assert_eq!(
        [one.bound_for("a").unwrap(), two.bound_for("b").unwrap(), one.bound_for("a").unwrap()],
        ["a", "a", "a"]
    );
    assert_eq!((known("lake one"), known("lake two")), (destination("a"), None));
    // A former program left leases only.
    assert!(block_on(other.create(&Lease::new("s"))).unwrap());
    assert_eq!(known("lake two"), Some(Known { destination: None }));
    assert_eq!(other.bound_for("c").unwrap(), "c");
    assert_eq!(LocalLeases::applications(place.path()).unwrap(), ["lake one", "lake two"]);
    one.forget_destination().unwrap();
    assert_eq!((known("lake one"), known("lake two")), (None, destination("c")));
    assert_eq!(two.bound_for("b").unwrap(), "b");
}

#[test]
fn damage_is_told_from_failure() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("leases.db"), [7; 5000]).unwrap();
    let error = LocalLeases::open(place.path(), "lake", "w").err().unwrap().to_string();
    assert!(error.contains("cannot be used") && error.contains("leases.db"), "{error}");
    let error = LocalLeases::open(place.path().join("nowhere"), "lake", "w").err().unwrap().to_string();
    assert!(error.contains("failed"), "{error}");
}

#[test]
fn an_owner_whose_process_has_ended_owns_nothing() {
    let place = tempfile::tempdir().unwrap();
    let open = |worker: &str| Arc::new(LocalLeases::open(place.path(), "lake", worker).unwrap());
    let (one, two) = (open("w1"), open("w2"));
    block_on(async {
        let mut first = Fleet::new(one.clone(), "w1", LeaseSettings::default());
        first.scan(&|| 0, &keys(&["a"])).await.unwrap();
        assert_eq!(first.holdings().held, keys(&["a"]));
        let mut second = Fleet::new(two, "w2", LeaseSettings::default());
        second.scan(&|| 0, &keys(&["a"])).await.unwrap();
        assert_eq!(second.holdings().held, keys(&[]), "its owner lives");
        drop((first, one));
        second.scan(&|| 1, &keys(&["a"])).await.unwrap();
        assert_eq!(second.holdings().held, keys(&["a"]));
    });
}

/// Lets two workers live for a while: both renew and scan once a second, and hand over what others ask for.
async fn live(fleets: &mut [&mut Fleet], from: i64, to: i64, all: &BTreeSet<String>) {
    for second in from..to {
        for fleet in fleets.iter_mut() {
            fleet.renew(second * SECOND).await;
            fleet.scan(&|| second * SECOND, all).await.unwrap();
            fleet.hand_over(&fleet.holdings().asked_for).await;
        }
    }
}

#[test]
fn two_workers_share_one_takes_over_and_a_released_lease_moves_at_once() {
    let store: Arc<dyn LeaseStore> = Arc::new(MemoryLeases::new());
    let all = keys(&["a", "b", "c", "d"]);
    block_on(async {
        let mut one = Fleet::new(store.clone(), "w1", LeaseSettings::default());
        let mut two = Fleet::new(store.clone(), "w2", LeaseSettings::default());
        live(&mut [&mut one], 0, 3, &all).await;
        assert_eq!(one.holdings().held, all);
        live(&mut [&mut one, &mut two], 3, 6, &all).await;
        assert_eq!((one.holdings().held.len(), two.holdings().held.len()), (2, 2));
        assert!(one.holdings().held.is_disjoint(&two.holdings().held));
        // The first worker falls silent: its leases expire after the duration, not before.
        live(&mut [&mut two], 6, 14, &all).await;
        assert_eq!(two.holdings().held.len(), 2);
        live(&mut [&mut two], 14, 17, &all).await;
        assert_eq!(two.holdings().held, all);
        // It comes back and finds that its leases are gone.
        one.renew(17 * SECOND).await;
        assert_eq!(one.holdings().held, keys(&[]));
        two.release_all().await;
        one.scan(&|| 18 * SECOND, &all).await.unwrap();
        assert_eq!(one.holdings().held, all);
        one.end(&keys(&["a"])).await;
        two.scan(&|| 40 * SECOND, &all).await.unwrap();
        assert!(!two.holdings().held.contains("a"));
    });
}

/// A worker that ended is nowhere in the table any more: not at leases it had, nor at those it asked for, nor at those handed to it
/// meanwhile.
#[test]
fn a_worker_that_ends_leaves_nothing_behind() {
    block_on(async {
        let all = keys(&["a", "b", "c", "d"]);
        for handed_over in [false, true] {
            let store: Arc<dyn LeaseStore> = Arc::new(MemoryLeases::new());
            let mut one = Fleet::new(store.clone(), "w1", LeaseSettings::default());
            let mut two = Fleet::new(store.clone(), "w2", LeaseSettings::default());
            live(&mut [&mut one], 0, 3, &all).await;
            two.scan(&|| 3 * SECOND, &all).await.unwrap();
            let asked = || async {
                let leases = store.list().await.unwrap();
                leases.into_iter().filter(|lease| lease.next_owner.is_some()).map(|lease| lease.key).collect::<Vec<_>>()
            };
            let wanted = asked().await;
            assert_eq!(wanted.len(), 2);
            one.renew(4 * SECOND).await;
            if handed_over {
                one.hand_over(&keys(&[&wanted[0]])).await;
            } else {
                two.withdraw().await.unwrap();
                assert_eq!(asked().await, Vec::<String>::new());
            }
            two.release_all().await;
            let of_two =
                |lease: &Lease| [&lease.owner, &lease.next_owner].into_iter().flatten().any(|name| name == "w2");
            assert!(!store.list().await.unwrap().iter().any(of_two));
            one.renew(5 * SECOND).await;
            assert_eq!(one.holdings().held.len(), if handed_over { 3 } else { 4 });
        }
    });
}

/// Counts how many changes are under way at once: each waits for a turn of the executor.
#[derive(Default)]
struct Slow {
    leases: MemoryLeases,
    under_way: AtomicUsize,
    most: AtomicUsize,
}

#[async_trait]
impl LeaseStore for Slow {
    async fn list(&self) -> Result<Vec<Lease>, LeaseError> {
        self.leases.list().await
    }
    async fn get(&self, key: &str) -> Result<Option<Lease>, LeaseError> {
        self.leases.get(key).await
    }
    async fn create(&self, lease: &Lease) -> Result<bool, LeaseError> {
        self.leases.create(lease).await
    }
    async fn update(&self, lease: &Lease) -> Result<bool, LeaseError> {
        self.most.fetch_max(self.under_way.fetch_add(1, SeqCst) + 1, SeqCst);
        let mut has_waited = false;
        poll_fn(|context| {
            context.waker().wake_by_ref();
            if std::mem::replace(&mut has_waited, true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        self.under_way.fetch_sub(1, SeqCst);
        self.leases.update(lease).await
    }
    async fn remove(&self, lease: &Lease) -> Result<bool, LeaseError> {
        self.leases.remove(lease).await
    }
}

/// Many changes run at once, but not an unlimited number.
#[test]
fn leases_are_taken_and_renewed_and_released_many_at_a_time() {
    block_on(async {
        let all: BTreeSet<String> = (0..100).map(|n| format!("shard {n}")).collect();
        let store = Arc::new(Slow::default());
        let mut fleet = Fleet::new(store.clone(), "w1", LeaseSettings::default());
        fleet.scan(&|| 0, &all).await.unwrap();
        assert_eq!(store.most.swap(0, SeqCst), 64);
        fleet.renew(SECOND).await;
        assert_eq!(store.most.swap(0, SeqCst), 64);
        assert_eq!(fleet.holdings().held, all);
        fleet.hand_over(&all).await;
        assert_eq!(store.most.swap(0, SeqCst), 64);
        let leases = store.list().await.unwrap();
        assert!(leases.iter().all(|lease| lease.owner.is_none() && lease.counter == 3), "{leases:?}");
    });
}

/// A look may take as long as a lease lasts. A counter that it returns was renewed a moment ago, not when the request was sent.
#[test]
fn leases_that_were_read_late_do_not_stand_still() {
    block_on(async {
        let store: Arc<dyn LeaseStore> = Arc::new(MemoryLeases::new());
        let all = keys(&["a", "b"]);
        let mut one = Fleet::new(store.clone(), "w1", LeaseSettings::default());
        live(&mut [&mut one], 0, 3, &all).await;
        let mut two = Fleet::new(store.clone(), "w2", LeaseSettings { max_leases: 9, ..LeaseSettings::default() });
        // The answer comes 15 s after the question; the next look is a second later, between two renewals.
        let looks = std::sync::atomic::AtomicI64::new(0);
        let clock = || (3 + 15 * looks.fetch_add(1, SeqCst).min(1)) * SECOND;
        two.scan(&clock, &all).await.unwrap();
        two.scan(&|| 19 * SECOND, &all).await.unwrap();
        assert_eq!(two.holdings().held, keys(&[]));
    });
}

#[test]
fn a_lost_answer_neither_loses_nor_doubles_a_lease() {
    let count = std::sync::Mutex::new(0u32);
    let faults = move |_: &'static str, _: &str, after: bool| {
        let mut count = count.lock().unwrap();
        *count += 1;
        // Every seventh moment fails, before its effect or after.
        if count.is_multiple_of(7) { Err(format!("fault {count}, after: {after}")) } else { Ok(()) }
    };
    let store: Arc<dyn LeaseStore> = Arc::new(MemoryLeases::with_faults(Arc::new(faults)));
    let all = keys(&["a", "b", "c"]);
    block_on(async {
        let mut one = Fleet::new(store.clone(), "w1", LeaseSettings::default());
        let mut two = Fleet::new(store.clone(), "w2", LeaseSettings::default());
        for second in 0..60 {
            for fleet in [&mut one, &mut two] {
                fleet.renew(second * SECOND).await;
                let _ = fleet.scan(&|| second * SECOND, &all).await;
                fleet.hand_over(&fleet.holdings().asked_for).await;
            }
            assert!(one.holdings().held.is_disjoint(&two.holdings().held), "second {second}");
        }
        let mut held = one.holdings().held;
        held.extend(two.holdings().held);
        assert_eq!(held, all);
    });
}

/// A released lease has no owner, whatever its former owner does; that worker gets it again only after a look of its own.
async fn operators_release_and_reset(store: Arc<dyn LeaseStore>) {
    use authpulse_lease::operate::{Released, Reset, release, reset};
    let all = keys(&["a", "b"]);
    let mut one = Fleet::new(store.clone(), "w1", LeaseSettings::default());
    one.scan(&|| 0, &all).await.unwrap();
    assert_eq!(release(&*store, "x", None).await.unwrap(), Released::Gone);
    assert_eq!(release(&*store, "a", Some("w9")).await.unwrap(), Released::Moved("w1".to_owned()));
    assert_eq!(one.holdings().held, all);
    assert_eq!(release(&*store, "a", Some("w1")).await.unwrap(), Released::From("w1".to_owned()));
    assert_eq!(release(&*store, "a", None).await.unwrap(), Released::WasFree);
    let mut two = Fleet::new(store.clone(), "w2", LeaseSettings::default());
    two.scan(&|| SECOND, &all).await.unwrap();
    assert_eq!(two.holdings().held, keys(&["a"]), "at once, without waiting for it to expire");
    one.renew(2 * SECOND).await;
    assert_eq!(one.holdings().held, keys(&["b"]), "its owner finds that it is gone");
    let before = store.list().await.unwrap();
    two.renew(3 * SECOND).await;
    let done = reset(&*store, &before).await.unwrap();
    assert_eq!(
        done,
        Reset { removed: vec!["b".to_owned()], left: vec!["a".to_owned()] },
        "a lease that moved is left alone"
    );
    assert_eq!(two.holdings().held, keys(&["a"]));
}

#[test]
fn operators_release_and_reset_in_memory_and_in_a_file() {
    block_on(operators_release_and_reset(Arc::new(MemoryLeases::new())));
    let place = tempfile::tempdir().unwrap();
    let open = |worker: &str| LocalLeases::open(place.path(), "lake", worker).unwrap();
    let _their_processes_live = [open("w1"), open("w2")];
    block_on(operators_release_and_reset(Arc::new(open("operator"))));
}

/// Opens a write to the leases and leaves it open, like a process that was stopped there.
fn stopped_within_a_write(place: &std::path::Path) -> Connection {
    let writer = Connection::open(place.join("leases.db")).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    writer
}

/// However many leases there are, together they wait for such a process no longer than one would.
#[test]
fn a_process_that_is_stopped_within_a_write_is_waited_for_once_a_round() {
    let place = tempfile::tempdir().unwrap();
    let all: BTreeSet<String> = (0..100).map(|n| format!("shard {n}")).collect();
    let mut fleet =
        Fleet::new(Arc::new(LocalLeases::open(place.path(), "lake", "w1").unwrap()), "w1", LeaseSettings::default());
    block_on(fleet.scan(&|| 0, &all)).unwrap();
    let writer = stopped_within_a_write(place.path());
    let begun = Instant::now();
    block_on(fleet.renew(SECOND));
    let waited = begun.elapsed();
    // One second, and far from the 100 of as many leases.
    assert!(waited > Duration::from_millis(500) && waited < Duration::from_secs(20), "{waited:?}");
    assert_eq!(fleet.holdings().held, all, "they have not expired");
    writer.execute_batch("ROLLBACK").unwrap();
    block_on(fleet.renew(2 * SECOND));
    let leases = block_on(LocalLeases::open(place.path(), "lake", "w2").unwrap().list()).unwrap();
    assert!(leases.iter().all(|lease| lease.counter == 2), "{leases:?}");
    // Releasing leases does not wait any longer either.
    let writer = stopped_within_a_write(place.path());
    let begun = Instant::now();
    block_on(fleet.hand_over(&all));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    drop(writer);
}

/// Other tasks of the runtime's only thread go on while a change waits for another process: one of them ends the wait here.
#[test]
fn what_waits_for_another_process_keeps_no_task_waiting() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let place = tempfile::tempdir().unwrap();
    let leases = LocalLeases::open(place.path(), "lake", "w1").unwrap();
    runtime.block_on(async {
        assert!(leases.create(&Lease::new("a")).await.unwrap());
        let writer = stopped_within_a_write(place.path());
        let (begun, waits) = tokio::sync::oneshot::channel();
        let change = tokio::spawn(async move {
            begun.send(()).unwrap();
            leases.update(&Lease::new("a")).await
        });
        waits.await.unwrap();
        tokio::spawn(async move { writer.execute_batch("COMMIT").unwrap() }).await.unwrap();
        assert!(change.await.unwrap().unwrap(), "it was let through");
    });
}

/// Threads cost megabytes, and a worker may have thousands of leases.
#[test]
fn a_round_over_many_leases_begins_no_thread() {
    let begun = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&begun);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .on_thread_start(move || {
            counted.fetch_add(1, SeqCst);
        })
        .build()
        .unwrap();
    let place = tempfile::tempdir().unwrap();
    let store = Arc::new(LocalLeases::open(place.path(), "lake", "w1").unwrap());
    let all: BTreeSet<String> = (0..64).map(|n| format!("shard {n}")).collect();
    let round = async move {
        let mut fleet = Fleet::new(store, "w1", LeaseSettings::default());
        fleet.scan(&|| 0, &all).await.unwrap();
        fleet.renew(SECOND).await;
        fleet.hand_over(&all).await;
    };
    runtime.block_on(runtime.spawn(round)).unwrap();
    assert_eq!(begun.load(SeqCst), 1, "threads of the runtime");
}
