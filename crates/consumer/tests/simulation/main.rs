//! One seed simulates the whole pipe: a stream that is split and merged, workers that share it by leases, processes that crash,
//! hang and come back as zombies, answers that get lost, quiet times, a clock that jumps. The code under it is the shipped one; the lake must in the end equal
//! the dumb evaluator's rows.
//!
//! `AUTHPULSE_SEEDS=N` runs N seeds, `AUTHPULSE_SEED=S` that one alone.

mod check;
mod rng;
mod sabotage;
mod traffic;
mod world;

use authpulse_consumer::committer::commit_all;
use authpulse_consumer::error::Chain;
use authpulse_consumer::service::{Mode, Service};
use authpulse_consumer::worker::{Progress, Worker};
use authpulse_consumer::{ConsumerError, Options};
use authpulse_event::HashRange;
use authpulse_event::time::{HOUR, SECOND};
use authpulse_lake::LakeError;
use authpulse_lease::{Fleet, LeaseSettings};
use authpulse_stream::{Stream, StreamWriter};
use futures::executor::block_on;
use rng::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use world::{Sabotage, World};

/// Steps without any progress after which a run counts as stuck.
const STUCK_AFTER: u32 = 2_000;

/// Processes that work side by side, at most.
const PROCESSES_MAX: u64 = 3;

struct Process {
    id: usize,
    service: Service,
    workers: Vec<Worker>,
    fleet: Fleet,
}

/// What a run was.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    trace: u64,
    rows: usize,
    crashes: u64,
    handed_over: u64,
    fenced: u64,
    struck: BTreeMap<(String, &'static str), u64>,
    seen: BTreeSet<String>,
}

fn options(rng: &mut Rng) -> Options {
    let mut options = Options {
        entry_rows: 20 + rng.below(60),
        chunk_rows: 5 + rng.below(30) as usize,
        read_records: 1 + rng.below(40) as usize,
        snapshot_rows: 40 + rng.below(200),
        snapshot_piece_bytes: 200,
        raw: rng.per_mille(300),
        ..Options::default()
    };
    options.engine.time.lookback_days = 1 + rng.below(3) as u32;
    options.engine.rules.min_hosts = 1 + rng.below(4) as u32;
    options.engine.rules.burst_over = 3 + rng.below(4) as u32;
    options.engine.rules.lateral_from = 3 + rng.below(2) as u32;
    options
}

struct Simulation {
    rng: Rng,
    world: World,
    options: Arc<Options>,
    processes: usize,
    crashes: u64,
    handed_over: u64,
    fenced: u64,
}

impl Simulation {
    /// Starts a process; `None` where it crashed at once.
    fn start(&mut self) -> Option<Process> {
        self.processes += 1;
        let id = self.processes;
        self.world.act_as(id);
        let stream: Arc<dyn Stream> = self.world.stream.clone();
        let opened = block_on(Service::open(self.world.env.clone(), self.options.clone(), stream, Mode::Run));
        match opened {
            Ok(service) => {
                if self.world.sabotage == Sabotage::Shares {
                    service.registry().with_board(|board| board.seal(HashRange::FULL, None, None));
                }
                let settings = LeaseSettings { hand_over_within: 15 * SECOND, ..LeaseSettings::default() };
                let fleet = Fleet::new(self.world.leases.clone(), format!("worker {id}"), settings);
                Some(Process { id, service, workers: Vec::new(), fleet })
            }
            Err(error) => {
                assert!(is_fault(&error), "a process could not start: {}", Chain(&error));
                self.crashes += 1;
                None
            }
        }
    }

    /// Lets a process do something; false if it is to be dropped.
    fn step(&mut self, process: &mut Process) -> bool {
        self.world.act_as(process.id);
        self.tend_leases(process);
        let holdings = process.fleet.holdings();
        if self.rng.per_mille(400)
            && let Err(error) = block_on(process.service.follow(&holdings.held))
        {
            return self.failed(&error);
        }
        let leaves = |key: &str| holdings.asked_for.contains(key) || !holdings.held.contains(key);
        while let Some(at) = process.workers.iter().position(|worker| leaves(worker.key().as_str())) {
            let mut worker = process.workers.remove(at);
            let stopped = block_on(worker.stop());
            if !self.parted(process, &worker, stopped) {
                return false;
            }
        }
        if let Err(error) = block_on(process.service.settle()) {
            return self.failed(&error);
        }
        let ready = holdings.held.difference(&holdings.asked_for).cloned().collect();
        loop {
            match block_on(process.service.start_next(&ready)) {
                Ok(Some(worker)) => process.workers.push(worker),
                Ok(None) => break,
                Err(ConsumerError::Fenced { shard, .. }) => {
                    process.fleet.forget(shard.as_str());
                    break;
                }
                Err(error) => return self.failed(&error),
            }
        }
        if process.workers.is_empty() {
            return !self.world.fate.lock().unwrap().is_dead(process.id);
        }
        let at = self.rng.below(process.workers.len() as u64) as usize;
        for _ in 0..=self.rng.below(6) {
            match block_on(process.workers[at].step()) {
                Ok(Progress::Worked) => {}
                Ok(Progress::Idle) => break,
                Ok(Progress::Done) => {
                    let worker = process.workers.remove(at);
                    if worker.last_entry().end {
                        block_on(process.fleet.end(worker.key().as_str()));
                    }
                    break;
                }
                Err(error) => {
                    let worker = process.workers.remove(at);
                    if !self.parted(process, &worker, Err(error)) {
                        return false;
                    }
                    break;
                }
            }
        }
        let alive = !self.world.fate.lock().unwrap().is_dead(process.id);
        self.crashes += u64::from(!alive);
        alive
    }

    /// A worker left: it handed its shard over, or lost it; any other failure is the process's end.
    fn parted(&mut self, process: &mut Process, worker: &Worker, outcome: authpulse_consumer::Result<()>) -> bool {
        let key = worker.key();
        match outcome {
            Ok(()) => {
                self.handed_over += 1;
                process.service.restart(key);
                block_on(process.fleet.hand_over(key.as_str()));
                true
            }
            Err(ConsumerError::Fenced { .. }) => {
                self.fenced += 1;
                process.service.restart(key);
                process.fleet.forget(key.as_str());
                true
            }
            Err(error) => self.failed(&error),
        }
    }

    /// Now and then, too often or too late.
    fn tend_leases(&mut self, process: &mut Process) {
        let now = self.world.clock.0.load(Ordering::SeqCst);
        if self.rng.per_mille(500) {
            block_on(process.fleet.renew(now));
        }
        if self.rng.per_mille(500) {
            // What it could not do it does at the next look.
            let _ = block_on(process.fleet.scan(now, &process.service.wanted_leases()));
        }
    }

    fn failed(&mut self, error: &ConsumerError) -> bool {
        assert!(is_fault(error) || self.world.sabotage != Sabotage::None, "not an injected fault: {}", Chain(error));
        self.crashes += 1;
        false
    }

    fn reshard(&mut self) {
        let shards = block_on(self.world.stream.shards()).unwrap();
        let mut open: Vec<_> = shards.into_iter().filter(|s| !s.closed).collect();
        open.sort_by_key(|s| s.range.first);
        let at = self.rng.below(open.len() as u64) as usize;
        if open.len() > 1 && self.rng.per_mille(500) {
            let at = at.min(open.len() - 2);
            block_on(self.world.stream.merge(&open[at].id, &open[at + 1].id)).unwrap();
        } else if open.len() < 6 {
            let range = open[at].range;
            block_on(self.world.stream.split(&open[at].id, range.first + (range.last - range.first) / 2 + 1)).unwrap();
        }
    }
}

/// Whether an error comes from what the simulation does to the process.
fn is_fault(error: &ConsumerError) -> bool {
    let text = Chain(error).to_string();
    matches!(error, ConsumerError::Fenced { .. })
        || text.contains("unanswered")
        || text.contains("crash")
        || text.contains("may be stored or not")
}

fn simulate(seed: u64, sabotage: Sabotage) -> Result<Run, String> {
    let root = Rng::new(seed);
    let mut rng = root.child(2);
    let world = World::new(&root, 1 + rng.below(4) as u32, sabotage);
    let options = Arc::new(options(&mut rng));
    let mut traffic = traffic::Traffic::new(root.child(3));
    let mut sim = Simulation { rng, world, options, processes: 0, crashes: 0, handed_over: 0, fenced: 0 };
    let most = 1 + sim.rng.below(PROCESSES_MAX) as usize;
    let mut active: Vec<Process> = Vec::new();
    let mut zombie: Option<Process> = None;
    let rounds = 150 + sim.rng.below(350);
    for _ in 0..rounds {
        match sim.rng.below(100) {
            0..=24 => {
                // Each record arrives at an instant of its own: the page leaves the order of equal arrivals in two parents open.
                for record in traffic.batch(sim.world.clock.0.load(Ordering::SeqCst)) {
                    sim.world.clock.0.fetch_add(1, Ordering::SeqCst);
                    block_on(sim.world.stream.put(vec![record], None)).unwrap();
                }
            }
            25..=69 => {
                if active.len() < most && (active.is_empty() || sim.rng.per_mille(100)) {
                    active.extend(sim.start());
                }
                if !active.is_empty() {
                    let at = sim.rng.below(active.len() as u64) as usize;
                    if !sim.step(&mut active[at]) {
                        active.remove(at);
                    }
                }
            }
            70..=76 => {
                if let Some(mut process) = zombie.take() {
                    zombie = sim.step(&mut process).then_some(process);
                }
            }
            77..=83 => {
                let id = active.first().or(zombie.as_ref()).map_or(0, |p| p.id);
                sim.world.act_as(id);
                // Before the first process has made the tables there is nothing to commit to.
                if sim.processes > 0
                    && let Err(error) = block_on(commit_all(&sim.world.env))
                    && !matches!(error, ConsumerError::Lake(LakeError::NoTable { .. }))
                {
                    sim.failed(&error);
                }
            }
            84..=92 => {
                let ahead = if sim.rng.per_mille(200) { 61 + sim.rng.below(1000) } else { sim.rng.below(20) };
                sim.world.clock.0.fetch_add(ahead as i64 * SECOND, Ordering::SeqCst);
            }
            93 => {
                let days = sim.rng.below(30) as i64 * HOUR;
                sim.world.clock.0.fetch_add(days, Ordering::SeqCst);
            }
            94 | 95 => sim.reshard(),
            96 | 97 => {
                if let Some(process) = active.pop() {
                    sim.world.fate.lock().unwrap().kill(process.id);
                    sim.crashes += 1;
                }
            }
            _ => {
                // The process hangs; another takes its place, and later it wakes up.
                if zombie.is_none() {
                    zombie = active.pop();
                }
            }
        }
        let world = &sim.world;
        active.retain_mut(|process| {
            world.act_as(process.id);
            block_on(process.service.refresh()).is_ok()
        });
    }
    // Nothing goes wrong any more: everything must land.
    sim.world.fate.lock().unwrap().on = false;
    block_on(sim.world.stream.close()).unwrap();
    if let Some(mut process) = zombie.take() {
        // One last blow of the zombie: whatever it still holds must bounce off.
        for _ in 0..4 {
            if !sim.step(&mut process) {
                break;
            }
        }
    }
    drop(active);
    let mut process = sim.start().ok_or("the last process could not start")?;
    let mut stuck = 0;
    while !(process.workers.is_empty() && process.service.is_complete(&BTreeSet::new())) {
        let before = sim.world.fate.lock().unwrap().trace;
        if !sim.step(&mut process) {
            process = sim.start().ok_or("the last process could not start again")?;
        }
        sim.world.clock.0.fetch_add(SECOND, Ordering::SeqCst);
        stuck = if sim.world.fate.lock().unwrap().trace == before { stuck + 1 } else { stuck };
        if sim.crashes > 10_000 || stuck > STUCK_AFTER {
            return Err("the run is stuck".to_owned());
        }
        stuck += 1;
        if stuck > 20 * STUCK_AFTER {
            let phases: Vec<String> = process
                .workers
                .iter()
                .map(|w| format!("{} {:?} unscored {}", w.key(), w.phase(), w.shard().unscored_len()))
                .collect();
            return Err(format!("the run does not end: {phases:?}"));
        }
    }
    block_on(commit_all(&sim.world.env)).map_err(|e| e.to_string())?;
    let outcome = block_on(check::lake_equals_oracle(&sim.world, &sim.options))?;
    let fate = sim.world.fate.lock().unwrap();
    Ok(Run {
        trace: fate.trace,
        rows: outcome.curated.len(),
        crashes: sim.crashes,
        handed_over: sim.handed_over,
        fenced: sim.fenced,
        struck: fate.struck.clone(),
        seen: fate.seen.clone(),
    })
}

fn seeds(default: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("AUTHPULSE_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("AUTHPULSE_SEEDS").unwrap_or(default)).collect(),
    }
}

fn replay(seed: u64) -> String {
    format!("AUTHPULSE_SEED={seed} cargo test --release -p authpulse-consumer --test simulation every_seed")
}

#[test]
fn every_seed_lands_what_the_oracle_says() {
    let mut rows = 0;
    let (mut crashes, mut handed_over, mut fenced) = (0, 0, 0);
    let mut struck: BTreeMap<(String, &str), u64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let seeds = seeds(100);
    for &seed in &seeds {
        let run = std::panic::catch_unwind(|| simulate(seed, Sabotage::None));
        let run = run.unwrap_or_else(|_| panic!("seed {seed} panicked; again with:\n  {}", replay(seed)));
        let run = run.unwrap_or_else(|why| panic!("seed {seed}: {why}\nagain with:\n  {}", replay(seed)));
        rows += run.rows;
        crashes += run.crashes;
        handed_over += run.handed_over;
        fenced += run.fenced;
        for (fault, n) in run.struck {
            *struck.entry(fault).or_default() += n;
        }
        seen.extend(run.seen);
    }
    println!(
        "{} seeds, {rows} rows, {crashes} crashes, {handed_over} shards handed over, {fenced} lost to another",
        seeds.len()
    );
    for ((operation, kind), n) in &struck {
        println!("{operation:<24} {kind:<22} {n}");
    }
    if seeds.len() >= 100 {
        assert!(rows > 10_000 && crashes > 200, "too little happened: {rows} rows, {crashes} crashes");
        assert!(handed_over > 50 && fenced > 20, "workers seldom met: {handed_over} handed over, {fenced} lost");
        for operation in ["journal put", "store put_new", "catalog swap", "stream read", "lease update"] {
            for kind in ["crash before", "crash after", "unanswered, not done", "unanswered, done"] {
                assert!(struck.contains_key(&(operation.to_owned(), kind)), "{operation}: {kind} never happened");
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_and_rows() {
    for seed in [3, 14] {
        assert_eq!(simulate(seed, Sabotage::None), simulate(seed, Sabotage::None));
    }
}

/// Seeds within which each broken promise must be noticed.
const NOTICED_WITHIN: u64 = 200;

fn is_noticed(sabotage: Sabotage) -> bool {
    (0..NOTICED_WITHIN).any(|seed| {
        let run = std::panic::catch_unwind(|| simulate(seed, sabotage));
        let noticed = !matches!(run, Ok(Ok(_)));
        if noticed {
            println!("{sabotage:?} is noticed by seed {seed}");
        }
        noticed
    })
}

#[test]
fn a_broken_fence_is_noticed() {
    assert!(is_noticed(Sabotage::Fence));
}

#[test]
fn a_broken_share_rule_is_noticed() {
    assert!(is_noticed(Sabotage::Shares));
}

#[test]
fn a_broken_apply_check_is_noticed() {
    assert!(is_noticed(Sabotage::Applied));
}
