//! One seed simulates the whole pipe: a stream that is split and merged, consumers that share it by leases, maintenance beside them, a
//! follower that is no table, and other engines that commit to the same tables; processes that crash, hang and go on, answers that are slow
//! or get lost, clocks that are set. The code under test is the shipped one, loops included. Each process runs in a runtime of its own, and
//! every effect of every process waits at a gate ([`gate`]) until the seed lets it through. In the end the lake must hold the dumb
//! evaluator's rows.
//!
//! `AUTHPULSE_SEEDS=N` runs N seeds, `AUTHPULSE_SEED=S` that one alone.

mod check;
mod checkpoints;
mod counts;
mod doors;
mod drawn;
mod fence;
mod follow;
mod foreign;
mod formats;
mod gate;
mod journals;
mod kinesis;
mod leases;
#[path = "../../../lake/tests/common/logons_to_come.rs"]
mod logons_to_come;
mod newer;
mod order;
mod process;
mod programs;
mod regressions;
mod rng;
mod sabotage;
mod simulate;
mod traffic;
mod two_versions;
mod versions;
mod world;

use counts::Counts;
use gate::{EFFECTS, Fault, RARE, Struck};
use simulate::{Run, simulate};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use world::Sabotage;

/// The same allocator as the program's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How many seeds run by default.
const SEEDS: u64 = 1_000;
/// From this many seeds on (as in `./test`), each fault must have struck each effect that is not rare. Fewer seeds are only a sample.
const SEEDS_THAT_COVER: usize = 200;
/// How many seeds may fail before the rest is skipped.
const FAILURES_SHOWN: usize = 10;

fn seeds(default: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("AUTHPULSE_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("AUTHPULSE_SEEDS").unwrap_or(default)).collect(),
    }
}

/// Runs seeds on as many threads as there are processors, until `most` have failed. Returns the failures, in order.
fn run_all(seeds: &[u64], sabotage: Sabotage, most: usize, each: impl Fn(Run) + Sync) -> BTreeMap<u64, String> {
    run_each(seeds, most, |seed| simulate(seed, sabotage), each)
}

/// The same, with `run` for each seed.
fn run_each(
    seeds: &[u64],
    most: usize,
    run: impl Fn(u64) -> Result<Run, String> + Sync,
    each: impl Fn(Run) + Sync,
) -> BTreeMap<u64, String> {
    let next = AtomicUsize::new(0);
    let failed: Mutex<BTreeMap<u64, String>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::SeqCst)) {
                    if failed.lock().unwrap().len() >= most {
                        return;
                    }
                    // A panic counts as a failure of this seed alone.
                    let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed)));
                    match run.unwrap_or_else(|_| Err("panicked".to_owned())) {
                        Ok(run) => each(run),
                        Err(why) => drop(failed.lock().unwrap().insert(seed, why)),
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap()
}

#[derive(Default)]
struct Totals {
    rows: usize,
    counts: Counts,
    struck: Struck,
    seen: BTreeSet<&'static str>,
}

impl Totals {
    fn add(&mut self, run: Run) {
        self.rows += run.rows;
        self.counts.add(&run.counts);
        self.seen.extend(run.seen);
        for (what, n) in run.struck {
            *self.struck.entry(what).or_default() += n;
        }
    }

    fn print(&mut self) {
        println!("{:>10} rows", self.rows);
        for (name, n) in self.counts.fields_mut() {
            println!("{n:>10} {name}");
        }
        print!("\n{:<18}", "effect");
        Fault::ALL.iter().for_each(|fault| print!("{:>22}", fault.name()));
        println!();
        for effect in EFFECTS {
            print!("{effect:<18}");
            for fault in Fault::ALL {
                print!("{:>22}", self.struck.get(&(effect, fault)).copied().unwrap_or(0));
            }
            println!();
        }
    }
}

#[test]
fn every_seed_stores_what_the_oracle_says() {
    let seeds = seeds(SEEDS);
    let begun = std::time::Instant::now();
    let totals = Mutex::new(Totals::default());
    let failed = run_all(&seeds, Sabotage::None, FAILURES_SHOWN, |run| totals.lock().unwrap().add(run));
    for (seed, why) in &failed {
        println!(
            "seed {seed}: {why}\nagain with:\n  AUTHPULSE_SEED={seed} cargo test --release -p authpulse-simulation \
             every_seed -- --nocapture\n"
        );
    }
    assert!(failed.is_empty(), "seeds {:?} failed", failed.keys());
    let mut totals = totals.into_inner().unwrap();
    println!("{} seeds in {} s", seeds.len(), begun.elapsed().as_secs());
    totals.print();
    let unknown: Vec<_> = totals.seen.iter().filter(|seen| !EFFECTS.contains(seen)).collect();
    assert!(unknown.is_empty(), "effects that the table does not list: {unknown:?}");
    if seeds.len() < SEEDS_THAT_COVER {
        return;
    }
    // A rare effect may be missing from fewer than all seeds, but not from all of them.
    let all = seeds.len() >= SEEDS as usize;
    let never: Vec<String> = EFFECTS
        .iter()
        .filter(|effect| all || !RARE.contains(effect))
        .flat_map(|effect| Fault::ALL.iter().map(move |fault| (*effect, *fault)))
        .filter(|struck| !totals.struck.contains_key(struck))
        .map(|(effect, fault)| format!("{effect}: {}", fault.name()))
        .collect();
    assert!(never.is_empty(), "never happened: {never:?}");
    for effect in EFFECTS {
        assert!(totals.struck.keys().any(|(struck, _)| *struck == effect), "{effect}: nothing ever struck it");
    }
    for (name, n) in totals.counts.fields_mut() {
        assert!(*n >= seeds.len() as u64 / 10, "too little happened: {n} {name}");
    }
    assert!(totals.rows > 100 * seeds.len(), "too little happened: {} rows", totals.rows);
}

#[test]
fn the_same_seed_gives_the_same_trace_and_rows() {
    for seed in [3, 14, 27] {
        assert_eq!(simulate(seed, Sabotage::None), simulate(seed, Sabotage::None));
    }
}

/// Seeds within which each broken promise must be noticed.
const NOTICED_WITHIN: u64 = 200;

fn is_noticed(sabotage: Sabotage) -> bool {
    let seeds: Vec<u64> = (0..NOTICED_WITHIN).collect();
    let noticed = run_all(&seeds, sabotage, 1, drop);
    for (seed, why) in &noticed {
        println!("{sabotage:?} is noticed by seed {seed}: {why}");
    }
    !noticed.is_empty()
}

#[test]
fn a_broken_fence_is_noticed() {
    assert!(is_noticed(Sabotage::Fence));
}

#[test]
fn a_broken_look_up_of_the_commit_id_is_noticed() {
    assert!(is_noticed(Sabotage::CommitId));
}

#[test]
fn children_before_their_parents_are_noticed() {
    assert!(is_noticed(Sabotage::ParentsFirst));
}

#[test]
fn a_broken_rule_of_daily_counts_is_noticed() {
    assert!(is_noticed(Sabotage::DailyCounts));
}

#[test]
fn a_broken_apply_check_is_noticed() {
    assert!(is_noticed(Sabotage::Applied));
}

#[test]
fn a_table_of_leases_that_takes_any_counter_is_noticed() {
    assert!(is_noticed(Sabotage::Counter));
}

#[test]
fn iterators_that_leave_a_record_out_are_noticed() {
    assert!(is_noticed(Sabotage::Iterators));
}
