//! One run from one seed.

use crate::check;
use crate::counts::Counts;
use crate::drawn::drawn_options;
use crate::follow::{self, Counts as Followed, Kept};
use crate::foreign;
use crate::gate::{Fate, Fault, Next, ProcessId, Struck};
use crate::journals;
use crate::kinesis::{self, Reading};
use crate::newer;
use crate::process::{Kind, Process, STRUCK, is_fault};
use crate::rng::Rng;
use crate::traffic::Traffic;
use crate::world::{Sabotage, World};
use authpulse_event::time::{HOUR, MICROSECOND, SECOND, format_rfc3339};
use authpulse_event::{EventTime, HashRange, Span};
use authpulse_journal::Env;
use authpulse_journal::env::duration;
use authpulse_journal::error::Chain;
use authpulse_lake::maintain::{MaintainReport, Memory};
use authpulse_lake::{CommitSettings, MaintainSettings, Table, TablePointers, maintain};
use authpulse_lease::Fleet;
use authpulse_service::aside::stand_aside;
use authpulse_service::drive::{Ended, run_service};
use authpulse_service::service::{Mode, Service};
use authpulse_settings::Options;
use authpulse_stream::{PutRecord, Record, ShardDescription, Stream, StreamWriter};
use futures::executor::block_on;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How many effects the end of a run may take: a run that stands still would otherwise go on for ever.
const STEPS_AT_THE_END: u64 = 300_000;
/// The most effects after the stream is closed while things still go wrong.
const STEPS_OF_SEALING: u64 = 800;
/// How many rounds of maintenance come after all is stored, and the most effects of each; more if a fault is to strike what comes late in a
/// round.
const ROUNDS_OF_MAINTENANCE: u64 = 3;
const STEPS_OF_MAINTENANCE: u64 = 150;
const STEPS_TO_FOLDING: u64 = 3_000;
/// The most consumers side by side.
const CONSUMERS_MAX: u64 = 3;
/// By how much all clocks go wrong. The cleaner takes the clock of files and its own for equal within an hour.
const ALL_CLOCKS: Span = Span::seconds(25 * 60);
/// By how much a consumer's own clock goes wrong: nothing's correctness rests on it.
const OWN_CLOCK: Span = Span::hours(30);
/// The longest time that a process hangs, and the longest that nothing happens at all. Together with the clocks' errors, this is less than
/// `orphan_age`: a process that takes longer than that from writing a file to naming it finds the file removed.
const HANGS_MAX: Span = HOUR;
const QUIET_MAX: Span = Span::hours(3);
const ORPHAN_AGE: Span = Span::hours(5);
/// Steps between two long quiets.
const BETWEEN_QUIETS: u64 = 400;

/// The result of a run.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    pub trace: u64,
    /// A digest of all rows.
    pub digest: u64,
    pub rows: usize,
    pub counts: Counts,
    pub struck: Struck,
    pub seen: BTreeSet<&'static str>,
}

/// How the stream of a run is read.
fn reading(sabotage: Sabotage, focus: &str, rng: &mut Rng) -> Reading {
    let drawn = match rng.below(4) {
        0 | 1 => Reading::Embedded,
        2 => Reading::Polling,
        _ => Reading::FanOut,
    };
    match focus {
        _ if matches!(sabotage, Sabotage::Iterators | Sabotage::Counter) => Reading::Polling,
        "kinesis consumer" | "kinesis register" | "kinesis subscribe" | "kinesis event" => Reading::FanOut,
        focus if ["kinesis ", "table "].iter().any(|of| focus.starts_with(of)) && drawn == Reading::Embedded => {
            Reading::Polling
        }
        focus if ["stream ", "lease "].iter().any(|of| focus.starts_with(of)) => Reading::Embedded,
        _ => drawn,
    }
}

/// A run under way.
pub struct Simulation {
    rng: Rng,
    pub world: World,
    pub options: Arc<Options>,
    pub fate: Fate,
    traffic: Traffic,
    /// The shards as an aggregating producer last saw them.
    map: Vec<ShardDescription>,
    processes: Vec<Process>,
    started: usize,
    counts: Counts,
    /// Whether a consumer said that everything is done.
    complete: bool,
    quiet_at: u64,
    tidied: Arc<std::sync::Mutex<Counts>>,
    /// What the follower keeps.
    kept: Arc<std::sync::Mutex<Kept>>,
}

const COMPLETE: &str = "complete";

async fn consume(
    env: Env,
    options: Arc<Options>,
    stream: Arc<dyn Stream>,
    fleet: Fleet,
    scores_wait: bool,
    stop: tokio::sync::watch::Receiver<bool>,
) -> Result<String, String> {
    let run = async {
        let service = match Service::open(env.clone(), options.clone(), stream, Mode::Run).await {
            Err(error) if error.is_too_new() => {
                stand_aside(&*env.clock, &error.to_string(), stop).await;
                return Ok(Ended::Stopped);
            }
            service => service?,
        };
        if !scores_wait {
            service.registry().with_popularity(|popularity| popularity.seal(HashRange::FULL, None, None));
        }
        run_service(service, &env, &options, fleet, stop).await
    };
    match run.await {
        Ok(Ended::Complete) => Ok(COMPLETE.to_owned()),
        Ok(Ended::Stopped) => Ok("stopped".to_owned()),
        Err(error) if is_fault(&error) => Ok(STRUCK.to_owned()),
        Err(error) => Err(format!("a consumer failed without a fault: {}", Chain(&error))),
    }
}

/// What a report of maintenance complains of and no fault explains.
fn complaint(report: &MaintainReport) -> Option<String> {
    let failures = report.tables.iter().filter_map(|table| table.failed.clone());
    let failures = failures.chain(report.folded.failed.clone()).chain(report.cleaned.stopped.clone());
    // The maintainer of an older program says so, and leaves the lake to newer programs.
    let explained = ["unanswered", "could not be maintained", "run a newer version of authpulse"];
    let mut unexplained = failures.filter(|why| !explained.iter().any(|words| why.contains(words)));
    unexplained.next()
}

/// A random span below this one.
fn drawn(rng: &mut Rng, below: Span) -> Span {
    rng.below(below.micros().unsigned_abs()) as i64 * MICROSECOND
}

async fn keep_in_shape(
    env: Env,
    settings: MaintainSettings,
    every: Span,
    tidied: Arc<std::sync::Mutex<Counts>>,
    stop: tokio::sync::watch::Receiver<bool>,
) -> Result<String, String> {
    let mut memory = Memory::default();
    while !*stop.borrow() {
        let report = maintain(&env.lake, env.journal.as_ref(), &settings, false, &mut memory).await;
        take_down(&report, &mut tidied.lock().unwrap());
        if let Some(why) = complaint(&report) {
            return Err(format!("maintenance failed without a fault: {why}"));
        }
        env.clock.sleep(duration(every)).await;
    }
    Ok("stopped".to_owned())
}

fn take_down(report: &MaintainReport, counts: &mut Counts) {
    for table in &report.tables {
        counts.compacted += table.compacted.before.files;
        counts.expired += table.expired;
    }
    counts.removed += report.cleaned.removed.files;
    counts.folded += report.folded.entries;
    counts.forgotten += report.folded.removed;
}

impl Simulation {
    pub fn new(seed: u64, sabotage: Sabotage) -> Simulation {
        let root = Rng::new(seed);
        let mut rng = root.child(2);
        let commits = CommitSettings {
            keep_snapshots: 3 + rng.below(30) as usize,
            manifests_max: 3 + rng.below(20) as usize,
            gather_below: if rng.per_mille(500) { 1 << 20 } else { 0 },
            ..CommitSettings::default()
        };
        let fate = Fate::new(root.child(1), seed);
        let reading = reading(sabotage, fate.focus(), &mut root.child(5));
        let world = World::new(1 + rng.below(4) as u32, root.child(4).next(), sabotage, commits, reading);
        Simulation {
            fate,
            map: Vec::new(),
            traffic: Traffic::new(root.child(3)),
            options: Arc::new(drawn_options(&mut rng, ORPHAN_AGE)),
            rng,
            world,
            processes: Vec::new(),
            started: 0,
            counts: Counts::default(),
            complete: false,
            quiet_at: 0,
            tidied: Arc::default(),
            kept: Arc::default(),
        }
    }

    pub fn start_consumer(&mut self) {
        let newer = self.world.versions.are_two() && self.rng.per_mille(500);
        self.start_consumer_of(newer);
    }

    /// Starts a consumer, of the newer or the older program if there are two.
    pub fn start_consumer_of(&mut self, newer: bool) {
        self.started += 1;
        let id = self.started;
        self.world.versions.run(id, newer);
        let (env, stream) = (self.world.env(id), self.world.stream(id));
        let options = self.world.versions.options(id, &self.options);
        let fleet = Fleet::new(self.world.leases(id), format!("worker {id}"), options.leases);
        let scores_wait = self.world.sabotage != Sabotage::DailyCounts;
        let main = |stop| consume(env, options, stream, fleet, scores_wait, stop);
        self.processes.push(Process::start(id, Kind::Consumer, main));
    }

    /// Whether all tables are made.
    fn has_tables(&self) -> bool {
        let tables = Table::FIRST.map(|table| block_on(self.world.catalog.load(table.name())).unwrap());
        tables.iter().all(Option::is_some)
    }

    fn start_follower(&mut self) {
        if !self.has_tables() {
            return;
        }
        self.started += 1;
        let id = self.started;
        // Of the newer program, if there are two: an older one that cannot read what is new could only say so.
        self.world.versions.run(id, true);
        let (env, every) = (self.world.env(id), (1 + self.rng.below(60) as i64) * SECOND);
        let follower = Followed { kept: self.kept.clone(), door: Some(self.world.door(id)) };
        let main = |stop| follow::run(env, follower, every, stop);
        self.processes.push(Process::start(id, Kind::Follower, main));
    }

    fn start_maintainer(&mut self) {
        if !self.has_tables() {
            return;
        }
        self.started += 1;
        let (id, settings) = (self.started, self.options.maintain);
        if self.world.versions.are_two() {
            let newer = self.rng.per_mille(500);
            self.world.versions.run(id, newer);
        }
        let (env, every, tidied) =
            (self.world.env(id), (300 + self.rng.below(3_300) as i64) * SECOND, self.tidied.clone());
        let main = |stop| keep_in_shape(env, settings, every, tidied, stop);
        self.processes.push(Process::start(id, Kind::Maintainer, main));
    }

    fn running(&self, kind: Kind) -> usize {
        self.processes.iter().filter(|p| p.kind == kind && p.asleep_until.is_none()).count()
    }

    /// Consumers of the newest program there is.
    fn running_newest(&self) -> usize {
        let newest = |p: &&Process| p.kind == Kind::Consumer && p.asleep_until.is_none();
        self.processes.iter().filter(newest).filter(|p| self.world.versions.is_newest(p.id)).count()
    }

    /// Ends a process as SIGKILL would.
    fn crash(&mut self, id: ProcessId) {
        self.fate.tell(|| format!("process {id} crashes"));
        self.processes.retain(|process| process.id != id);
        self.counts.crashes += 1;
    }

    /// Lets one effect take place, or lets time go by until there is one; returns false if nothing will ever happen.
    fn step(&mut self) -> Result<bool, String> {
        self.counts.steps += 1;
        let now = self.world.gate.time.ticks();
        for process in &mut self.processes {
            process.asleep_until = process.asleep_until.filter(|until| *until > now);
        }
        let asleep = |id| self.processes.iter().any(|p| p.id == id && p.asleep_until.is_some());
        let wakes = self.processes.iter().filter_map(|p| p.asleep_until).min();
        let ready = match (self.world.gate.next(asleep), wakes) {
            (Next::Ready(ready), _) => ready,
            (Next::At(at), wakes) => {
                self.world.pass(wakes.map_or(at, |wakes| wakes.min(at)) - now);
                return Ok(true);
            }
            (Next::Nothing, Some(wakes)) => {
                self.world.pass(wakes - now);
                return Ok(true);
            }
            (Next::Nothing, None) => return Ok(false),
        };
        let ticket = ready[self.rng.below(ready.len() as u64) as usize];
        let (id, effect) = self.world.gate.look(ticket);
        let fault = match &effect {
            Some((effect, subject)) => {
                self.world.pass(self.rng.below(40_000) as i64 * MICROSECOND);
                self.fate.decide(id, effect, subject)
            }
            None => {
                self.fate.note("pause", "", id as u64);
                None
            }
        };
        if fault == Some(Fault::CrashBefore) {
            self.crash(id);
            return Ok(true);
        }
        self.world.gate.grant(ticket, fault);
        self.run(id)?;
        Ok(true)
    }

    /// Runs a process until all of its tasks wait, and handles its end if it has ended.
    fn run(&mut self, id: ProcessId) -> Result<(), String> {
        let Some(at) = self.processes.iter().position(|p| p.id == id) else { return Ok(()) };
        self.processes[at].run();
        if self.world.gate.is_ending(id) {
            self.crash(id);
            return Ok(());
        }
        let Some(outcome) = self.processes[at].outcome() else { return Ok(()) };
        self.processes.remove(at);
        self.fate.tell(|| format!("process {id} ends: {outcome:?}"));
        match outcome?.as_str() {
            COMPLETE => {
                if !block_on(journals::is_complete(&self.world))? {
                    return Err("a consumer says that all is done, and it is not".to_owned());
                }
                self.complete = true;
            }
            STRUCK => self.counts.failed += 1,
            _ => self.counts.stopped += 1,
        }
        Ok(())
    }

    pub fn steps(&mut self, n: u64) -> Result<(), String> {
        for _ in 0..n {
            if !self.step()? {
                break;
            }
        }
        Ok(())
    }

    /// Lets time go by; at first things go on meanwhile.
    fn let_pass(&mut self, span: Span) -> Result<(), String> {
        let until = self.world.gate.time.ticks() + span;
        for _ in 0..30 {
            if self.world.gate.time.ticks() >= until || !self.step()? {
                break;
            }
        }
        self.world.pass((until - self.world.gate.time.ticks()).max(Span::ZERO));
        Ok(())
    }

    /// Puts some records into the stream; returns how many.
    pub fn put_records(&mut self) -> usize {
        let mut records = self.traffic.batch(EventTime::made_at(self.world.now()));
        let n = records.len();
        if self.world.reading != Reading::Embedded && self.rng.per_mille(600) {
            let is_unknown = self.map.is_empty();
            if is_unknown || self.rng.per_mille(500) {
                self.map = block_on(self.world.stream.shards()).unwrap();
                self.map.retain(|shard| !shard.closed);
            }
            records = kinesis::aggregated(records, &self.map);
        }
        if self.world.reading != Reading::Embedded && self.rng.per_mille(50) {
            // The answer was lost, and all is sent again.
            records.extend(records.clone());
        }
        for record in records {
            // Each arrives at an instant of its own: semantics.md leaves the order of equal arrivals in two parents open.
            self.world.pass(MICROSECOND);
            block_on(self.world.stream.put(vec![record], None)).unwrap();
        }
        n
    }

    /// Puts a record of something that happens at this moment.
    pub fn put_record(&mut self, user: &str) {
        let time = format_rfc3339(self.world.now());
        let payload = format!("{{\"time\":\"{time}\",\"user\":\"{user}\",\"computer\":\"C1\"}}");
        let record = PutRecord { payload: payload.into(), partition_key: user.to_owned().into() };
        block_on(self.world.stream.put(vec![record], None)).unwrap();
    }

    fn reshard(&mut self) {
        let shards = block_on(self.world.stream.shards()).unwrap();
        let mut open: Vec<_> = shards.into_iter().filter(|s| !s.closed).collect();
        open.sort_by_key(|s| s.range.first);
        let at = self.rng.below(open.len() as u64) as usize;
        if open.len() > 1 && self.rng.per_mille(500) {
            let at = at.min(open.len() - 2);
            block_on(self.world.stream.merge(&open[at].id, &open[at + 1].id)).unwrap();
            self.counts.merges += 1;
        } else if open.len() < 6 {
            let range = open[at].range;
            let middle = range.first + (range.last - range.first) / 2 + 1;
            block_on(self.world.stream.split(&open[at].id, middle)).unwrap();
            self.counts.splits += 1;
        }
    }

    /// Lets retention take what is read and stored of a shard: a worker that opens it finds the last record gone, and nothing else missing.
    fn trim(&mut self) -> Result<(), String> {
        let journals = block_on(journals::journals(&self.world))?;
        if self.world.reading == Reading::Embedded || journals.is_empty() {
            return Ok(());
        }
        let (shard, _, entries) = &journals[self.rng.below(journals.len() as u64) as usize];
        let Some(entry) = entries.last() else { return Ok(()) };
        let position = entry.position().map_err(|e| e.to_string())?;
        let records = block_on(journals::records(&self.world, &shard.id))?;
        let whole = |r: &&Record| {
            r.position <= position
                && records.iter().all(|o| o.position.sequence != r.position.sequence || o.position <= position)
        };
        if let Some(last) = records.iter().rfind(whole) {
            self.world.kinesis.trim(&shard.id, last.position.sequence);
            self.counts.trimmed += 1;
        }
        Ok(())
    }

    fn any(&mut self) -> Option<usize> {
        let n = self.processes.len() as u64;
        (n > 0).then(|| self.rng.below(n) as usize)
    }

    /// Makes something happen to the world.
    fn event(&mut self, most: usize) -> Result<(), String> {
        let running = self.running(Kind::Consumer);
        if running == 0 || (running < most && self.rng.per_mille(150)) {
            self.start_consumer();
        }
        let what = self.rng.below(100);
        self.fate.note("event", "", what);
        self.fate.tell(|| format!("event {what}"));
        match what {
            0..=29 => drop(self.put_records()),
            30..=44 => {
                let ahead = self.rng.below(20) as i64;
                self.let_pass(ahead * SECOND)?;
            }
            45..=52 => {
                let ahead = 61 + self.rng.below(1_000) as i64;
                self.let_pass(ahead * SECOND)?;
            }
            53..=55 if self.counts.steps > self.quiet_at + BETWEEN_QUIETS => {
                self.quiet_at = self.counts.steps;
                let ahead = drawn(&mut self.rng, QUIET_MAX);
                self.let_pass(ahead)?;
            }
            56..=58 => self.reshard(),
            59..=60 => {
                if let Some(at) = self.any() {
                    self.crash(self.processes[at].id);
                }
            }
            61..=64 => {
                // The process hangs. Others take its place, and later it goes on as if nothing had happened.
                if let Some(at) = self.any()
                    && self.processes.iter().all(|p| p.asleep_until.is_none())
                {
                    let most = if self.rng.per_mille(500) { 60 * SECOND } else { HANGS_MAX };
                    let until = self.world.gate.time.ticks() + drawn(&mut self.rng, most);
                    self.processes[at].asleep_until = Some(until);
                    self.counts.hung += 1;
                }
            }
            65..=66 => {
                if let Some(at) = self.any() {
                    self.processes[at].stop.send_replace(true);
                    self.run(self.processes[at].id)?;
                }
            }
            67..=71 => {
                self.counts.clocks_set += 1;
                let sign = if self.rng.per_mille(500) { 1 } else { -1 };
                let own = self.any().map(|at| &self.processes[at]).filter(|p| p.kind == Kind::Consumer).map(|p| p.id);
                let time = &self.world.gate.time;
                match own.filter(|_| self.rng.per_mille(600)) {
                    Some(id) => time.set(Some(id), sign * drawn(&mut self.rng, OWN_CLOCK), OWN_CLOCK),
                    None => time.set(None, sign * drawn(&mut self.rng, 2 * ALL_CLOCKS), ALL_CLOCKS),
                }
                self.world.pass(Span::ZERO);
            }
            72..=75 => {
                let most = if self.rng.per_mille(200) { 2 } else { 1 };
                if self.running(Kind::Maintainer) < most {
                    self.start_maintainer();
                }
            }
            86..=88 => self.trim()?,
            89..=91 if self.running(Kind::Follower) == 0 || self.rng.per_mille(100) => self.start_follower(),
            76..=85 => self.counts.foreign += u64::from(foreign::commit(&self.world, &mut self.rng)?),
            _ => {}
        }
        let steps = self.rng.below(30);
        self.steps(steps)
    }

    /// Closes and seals the stream. After a while nothing goes wrong any more, and everything must be stored.
    fn finish(&mut self) -> Result<(), String> {
        block_on(self.world.stream.close()).unwrap();
        self.fate.tell(|| "the stream is closed".to_owned());
        for _ in 0..self.rng.below(STEPS_OF_SEALING) {
            if self.running(Kind::Consumer) == 0 && !self.complete {
                self.start_consumer();
            }
            if !self.step()? {
                break;
            }
        }
        self.fate.on = false;
        *self.world.kinesis.faults.lock().unwrap() = false;
        *self.world.table.faults.lock().unwrap() = false;
        for process in &mut self.processes {
            // Processes that hung go on as well: whatever they still want to write must be refused.
            process.asleep_until = None;
        }
        let begun = self.counts.steps;
        // Consumers that stand aside stay up; others bring the lake to its end beside them.
        while !self.complete || self.running_newest() > 0 {
            if self.running_newest() == 0 {
                self.start_consumer_of(true);
            }
            if !self.step()? {
                return Err("the run is stuck: nobody waits for anything".to_owned());
            }
            if self.counts.steps > begun + STEPS_AT_THE_END {
                return Err("the run does not end".to_owned());
            }
        }
        // They end in order once they are told to.
        let aside: Vec<ProcessId> = self.processes.iter().filter(|p| p.kind == Kind::Consumer).map(|p| p.id).collect();
        for id in aside {
            self.counts.stood_aside += 1;
            self.stop(id)?;
            let begun = self.counts.steps;
            while self.processes.iter().any(|p| p.id == id) {
                if !self.step()? || self.counts.steps > begun + STEPS_AT_THE_END {
                    return Err(format!("process {id} stands aside and does not end when it is told to"));
                }
            }
        }
        self.processes.clear();
        Ok(())
    }

    /// Tells a process to end.
    pub fn stop(&mut self, id: ProcessId) -> Result<(), String> {
        if let Some(process) = self.processes.iter().find(|p| p.id == id) {
            process.stop.send_replace(true);
        }
        self.run(id)
    }

    /// Whether a process is there.
    pub fn is_running(&self, id: ProcessId) -> bool {
        self.processes.iter().any(|p| p.id == id)
    }

    /// Goes on with maintenance under faults after all is stored: most of what it removes is old enough only now.
    fn maintain_with_faults(&mut self) -> Result<(), String> {
        self.fate.on = true;
        let is_late = ["journal base", "journal put base", "journal remove"].contains(&self.fate.focus());
        let steps = if is_late { STEPS_TO_FOLDING } else { STEPS_OF_MAINTENANCE };
        for _ in 0..ROUNDS_OF_MAINTENANCE {
            self.world.pass(ORPHAN_AGE + HOUR);
            if self.running(Kind::Maintainer) == 0 {
                self.start_maintainer();
            }
            self.steps(steps)?;
        }
        self.fate.on = false;
        self.processes.clear();
        Ok(())
    }

    /// Runs maintenance alone: all that can be merged, expired or removed goes.
    fn maintain_alone(&mut self) -> Result<(), String> {
        let (env, settings) = (&self.world.outside, &self.options.maintain);
        let mut memory = Memory::default();
        for _ in 0..2 {
            self.world.pass(2 * ORPHAN_AGE);
            let report = block_on(maintain(&env.lake, env.journal.as_ref(), settings, false, &mut memory));
            take_down(&report, &mut self.tidied.lock().unwrap());
            if !report.is_complete() {
                return Err(format!("maintenance fails where nothing goes wrong: {report:?}"));
            }
        }
        Ok(())
    }
}

/// Runs a seed; the error says what is wrong with the lake, or with a process.
pub fn simulate(seed: u64, sabotage: Sabotage) -> Result<Run, String> {
    run(Simulation::new(seed, sabotage))
}

/// The same with programs of two versions on one lake. The newer one begins to store what the older one does not know: first what that may
/// pass over, then what it must understand.
pub fn simulate_versions(seed: u64) -> Result<Run, String> {
    let mut sim = Simulation::new(seed, Sabotage::None);
    sim.world.two_versions();
    run(sim)
}

fn run(mut sim: Simulation) -> Result<Run, String> {
    let most = 1 + sim.rng.below(CONSUMERS_MAX) as usize;
    let events = 50 + sim.rng.below(90);
    for event in 0..events {
        sim.world.versions.advance(3 * event / events);
        sim.event(most)?;
    }
    let explain = std::env::var("AUTHPULSE_SEED").is_ok();
    if let Err(why) = sim.finish() {
        if explain {
            journals::explain(&block_on(journals::journals(&sim.world))?);
        }
        return Err(why);
    }
    let checked = block_on(check::lake(&sim.world, &sim.options, explain))?;
    follow::agrees(&sim.world, &sim.kept, &checked.outcome)?;
    sim.maintain_with_faults()?;
    sim.maintain_alone()?;
    // A follower that begins only now.
    let late = Arc::default();
    follow::agrees(&sim.world, &late, &checked.outcome).map_err(|why| format!("begun after maintenance, {why}"))?;
    block_on(check::tables_hold(&sim.world, &checked.outcome)).map_err(|why| format!("after maintenance, {why}"))?;
    block_on(check::raw_zone(&sim.world, &sim.options)).map_err(|why| format!("after maintenance, {why}"))?;
    let journals = block_on(journals::journals(&sim.world))?;
    let new = block_on(newer::hold(&sim.world, &journals)).map_err(|why| format!("after maintenance, {why}"))?;
    if new != checked.new {
        return Err("maintenance changed what only one program knows".to_owned());
    }
    let mut counts = sim.counts;
    counts.of_kinesis = u64::from(sim.world.reading != Reading::Embedded);
    let leases = *sim.world.table.happened.lock().unwrap();
    (counts.throttled, counts.late_changes) = (leases.throttled, leases.late);
    (counts.put_twice, counts.changed_twice) = (leases.put_twice, leases.changed_twice);
    counts.add(&sim.tidied.lock().unwrap());
    for kept in [&sim.kept, &late].map(|kept| kept.lock().unwrap()) {
        (counts.followed, counts.rebuilt) = (counts.followed + kept.followed, counts.rebuilt + kept.rebuilt);
    }
    counts.take_overs = checked.take_overs;
    (counts.noted, counts.of_new_table) = checked.new.rows();
    counts.late_puts = sim.world.writers.lock().unwrap().late;
    if sim.world.decisions.0.load(Ordering::SeqCst) < checked.outcome.curated.len() as u64 {
        return Err("fewer decisions were handed over than rows stored".to_owned());
    }
    Ok(Run {
        trace: sim.fate.trace,
        digest: checked.digest,
        rows: checked.outcome.curated.len(),
        counts,
        struck: sim.fate.struck,
        seen: sim.fate.seen,
    })
}
