//! Runs with programs of two versions: what each may do beside the other, and what happens to the older one.

use crate::journals::journals;
use crate::kinesis::Reading;
use crate::programs::NOTES_FROM;
use crate::regressions::{entries, run_for};
use crate::simulate::{Run, Simulation, simulate_versions};
use crate::versions::LEDGER_FROM;
use crate::world::Sabotage;
use async_trait::async_trait;
use authpulse_event::time::{HOUR, SECOND};
use authpulse_event::{EventModel, HashRange, ShardId};
use authpulse_journal::open::{entry_zero, journal_key};
use authpulse_lake::CommitterLock;
use authpulse_lake::entry::{Entry, FORMAT, PLAIN_FORMAT, Source};
use authpulse_lake::lock::LockError;
use authpulse_lease::{Lease, LeaseStore};
use authpulse_stream::Stream;
use futures::executor::block_on;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// How many seeds run with two programs.
const SEEDS: u64 = 150;

#[test]
fn programs_of_two_versions_share_a_lake_and_nobody_dies() {
    let runs: Mutex<Vec<Run>> = Mutex::default();
    let failed: BTreeMap<u64, String> =
        crate::run_each(&crate::seeds(SEEDS), 3, simulate_versions, |run| runs.lock().unwrap().push(run));
    assert!(failed.is_empty(), "{failed:#?}");
    let runs = runs.into_inner().unwrap();
    let sum = |of: fn(&Run) -> u64| runs.iter().map(of).sum::<u64>();
    let (stood_aside, rows) = (sum(|run| run.counts.stood_aside), sum(|run| run.rows as u64));
    let (noted, of_new_table) = (sum(|run| run.counts.noted), sum(|run| run.counts.of_new_table));
    println!("{} runs, {stood_aside} consumers stood aside at the end", runs.len());
    println!(
        "{rows} rows, {noted} with a column that one program knows; {of_new_table} rows of a table that one knows"
    );
    assert!(runs.len() < SEEDS as usize || stood_aside > SEEDS / 4, "only {stood_aside} stood aside");
    let shared = noted > rows / 10 && noted < rows && of_new_table > rows / 20;
    assert!(runs.len() < SEEDS as usize || shared, "{noted} and {of_new_table} of {rows}");
}

/// A committer's lock that counts how often it was asked for and given back.
#[derive(Default)]
struct CountingLock {
    holds: AtomicU64,
    releases: AtomicU64,
}

#[async_trait]
impl CommitterLock for CountingLock {
    async fn hold(&self) -> Result<bool, LockError> {
        self.holds.fetch_add(1, Ordering::SeqCst);
        Ok(true)
    }
    async fn release(&self) {
        self.releases.fetch_add(1, Ordering::SeqCst);
    }
}

/// A run in which nothing goes wrong, over two or more shards, with a committer's lock that counts.
fn calm() -> (Simulation, Arc<CountingLock>) {
    let shards = |sim: &Simulation| block_on(sim.world.stream.shards()).unwrap().len();
    let mut sim = (1..).map(|seed| Simulation::new(seed, Sabotage::None)).find(|sim| shards(sim) > 1).unwrap();
    // Three fields only: attributes by themselves would make entries of the new format.
    Arc::get_mut(&mut sim.options).unwrap().engine.time.event_model = EventModel::ThreeFields;
    sim.fate.on = false;
    sim.world.reading = Reading::Embedded;
    let lock = Arc::new(CountingLock::default());
    sim.world.outside.committer = lock.clone();
    (sim, lock)
}

/// Puts an entry into a journal that no program here can read.
fn put_newer(sim: &Simulation, shard: &ShardId, n: u64) {
    let zero = entry_zero(shard, Source::File, HashRange::FULL, &sim.options);
    let newer = Entry { format: FORMAT + 1, n, ..zero };
    block_on(sim.world.outside.journal.put(shard, n, newer.encode())).unwrap();
}

fn leases(sim: &Simulation) -> BTreeMap<String, Lease> {
    block_on(sim.world.leases.list()).unwrap().into_iter().map(|lease| (lease.key.clone(), lease)).collect()
}

fn keys(sim: &Simulation) -> Vec<ShardId> {
    let description = block_on(sim.world.stream.describe()).unwrap();
    block_on(sim.world.stream.shards()).unwrap().iter().map(|shard| journal_key(&description, &shard.id)).collect()
}

fn received(sim: &Simulation) -> u64 {
    let journals = block_on(journals(&sim.world)).unwrap();
    journals.iter().flat_map(|(_, _, entries)| entries).map(|entry| entry.counts.received).sum()
}

fn applied(sim: &Simulation) -> Vec<BTreeMap<ShardId, u64>> {
    sim.world
        .outside
        .lake
        .tables()
        .iter()
        .map(|table| block_on(sim.world.outside.lake.load(*table)).unwrap().applied().unwrap())
        .collect()
}

#[test]
fn who_meets_something_newer_stores_gives_all_back_and_stays_until_it_is_told_to_end() {
    let (mut sim, lock) = calm();
    let options = Arc::get_mut(&mut sim.options).unwrap();
    (options.entry_age, options.entry_rows, options.commit_interval) = (HOUR, 1_000, 20 * SECOND);
    sim.start_consumer();
    run_for(&mut sim, 10 * SECOND);
    assert!(leases(&sim).values().all(|lease| lease.owner.as_deref() == Some("worker 1")));
    let put = sim.put_records() as u64;
    run_for(&mut sim, 15 * SECOND);
    assert!(put > 0 && received(&sim) < put, "what was read is decided and not stored yet");

    // The committer reads all journals.
    put_newer(&sim, &ShardId::new("another"), 1);
    run_for(&mut sim, 60 * SECOND);
    assert_eq!(received(&sim), put, "what was decided is stored");
    let all_given_back = |sim: &Simulation| {
        let leases = leases(sim);
        leases.len() > 1 && leases.values().all(|lease| lease.owner.is_none() && lease.next_owner.is_none())
    };
    assert!(all_given_back(&sim), "{:?}", leases(&sim));
    let asked = |lock: &CountingLock| (lock.holds.load(Ordering::SeqCst), lock.releases.load(Ordering::SeqCst));
    let before = (asked(&lock), leases(&sim), applied(&sim));
    assert!(before.0.0 > 0 && before.0.1 == 1);

    // It does nothing with later records, and does not take what others hand over.
    sim.put_records();
    let key = keys(&sim).remove(0).to_string();
    let handed_over = Lease { owner: Some("worker 1".to_owned()), ..before.1[&key].clone() };
    assert!(block_on(sim.world.leases.update(&handed_over)).unwrap());
    run_for(&mut sim, 300 * SECOND);
    assert!(sim.is_running(1) && all_given_back(&sim), "{:?}", leases(&sim));
    assert_eq!((received(&sim), asked(&lock), applied(&sim)), (put, before.0, before.2.clone()));

    sim.stop(1).unwrap();
    for _ in 0..1_000 {
        sim.steps(1).unwrap();
    }
    assert!(!sim.is_running(1), "it ends in order when it is told to");
    assert_eq!((asked(&lock).0, applied(&sim)), (before.0.0, before.2), "and commits nothing at its end");
}

#[test]
fn who_starts_into_something_newer_stands_aside_from_the_beginning() {
    let (mut sim, lock) = calm();
    sim.put_records();
    put_newer(&sim, &keys(&sim)[0], 1);
    sim.start_consumer();
    run_for(&mut sim, 120 * SECOND);
    assert!(sim.is_running(1) && leases(&sim).is_empty());
    assert_eq!((received_of(&sim, &keys(&sim)[1]), lock.holds.load(Ordering::SeqCst)), (0, 0));
    sim.stop(1).unwrap();
    sim.steps(100).unwrap();
    assert!(!sim.is_running(1));
}

fn received_of(sim: &Simulation, key: &ShardId) -> u64 {
    entries(sim, key).iter().map(|entry| entry.counts.received).sum()
}

#[test]
fn a_shard_whose_last_entry_is_newer_is_never_taken() {
    let (mut sim, _) = calm();
    let options = Arc::get_mut(&mut sim.options).unwrap();
    // A worker looks at what others store only when it is about to take a shard.
    (options.follow_interval, options.commit_interval) = (100 * HOUR, 100 * HOUR);
    let key = keys(&sim).remove(0);
    let of_another = Lease { owner: Some("another".to_owned()), ..Lease::new(key.as_str()) };
    assert!(block_on(sim.world.leases.create(&of_another)).unwrap());
    sim.start_consumer();
    run_for(&mut sim, 5 * SECOND);
    let held = |sim: &Simulation| leases(sim).values().filter(|l| l.owner.as_deref() == Some("worker 1")).count();
    assert_eq!(held(&sim), keys(&sim).len() - 1, "another holds one");
    put_newer(&sim, &key, 1);
    run_for(&mut sim, 120 * SECOND);
    assert_eq!(leases(&sim)[key.as_str()], of_another, "it expired, and nobody took it or asked for it");
    assert!(sim.is_running(1) && held(&sim) == 0);
}

/// Older programs go on beside newer ones until something new is stored; then the newer ones have the lake to themselves.
#[test]
fn what_is_stored_is_in_the_old_format_until_something_new_is() {
    let (mut sim, _) = calm();
    sim.world.two_versions();
    for newer in [false, true] {
        sim.start_consumer_of(newer);
    }
    let formats = |sim: &Simulation| -> BTreeSet<u32> {
        let journals = block_on(journals(&sim.world)).unwrap();
        journals.iter().flat_map(|(_, _, entries)| entries).map(|entry| entry.format).collect()
    };
    for _ in 0..5 {
        sim.put_records();
        run_for(&mut sim, 60 * SECOND);
    }
    assert_eq!(formats(&sim), BTreeSet::from([PLAIN_FORMAT]));
    let owners = |sim: &Simulation| -> BTreeSet<String> { leases(sim).into_values().filter_map(|l| l.owner).collect() };
    assert_eq!(owners(&sim).len(), 2, "both work");
    for stage in [NOTES_FROM, LEDGER_FROM] {
        sim.world.versions.advance(stage);
        for _ in 0..5 {
            sim.put_records();
            run_for(&mut sim, 60 * SECOND);
        }
        assert!(formats(&sim).contains(&FORMAT) && sim.is_running(1) && sim.is_running(2));
        let expected = if stage == NOTES_FROM { 2 } else { 1 };
        assert_eq!(owners(&sim).len(), expected, "stage {stage}: {:?}", owners(&sim));
    }
    assert_eq!(owners(&sim), BTreeSet::from(["worker 2".to_owned()]));
}
