//! Running workers for real: one tokio task each, a committer beside them, and an orderly end.

use crate::aside::{Aside, Reminder};
use crate::backfill::{BackfillRun, mark_complete};
use crate::committer::{Round, commit_all};
use crate::lease_keeper::{LeaseKeeper, Parting};
use crate::service::{Mode, Service};
use authpulse_event::{ShardId, Span};
use authpulse_files::InputError;
use authpulse_journal::env::{Clock, Env, duration, start, within};
use authpulse_journal::error::{Chain, ConsumerError, Result};
use authpulse_journal::stop::unless_stopped;
use authpulse_lease::{Fleet, Holdings};
use authpulse_settings::options::Options;
use authpulse_worker::worker::{Progress, Worker};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// The log target that operators filter by.
const TARGET: &str = "authpulse_consumer::drive";

/// How often the last commit at the end is tried.
const LAST_COMMIT_ATTEMPTS: u32 = 10;
/// How long a service that was told to stop takes to give leases back. Others take them when they expire.
const GIVE_BACK_PATIENCE: Duration = Duration::from_secs(6);
/// How long a service that was told to stop brings the tables up: what it has stored others commit as well, or it does when it runs
/// again.
const LAST_COMMIT_PATIENCE: Duration = Duration::from_secs(8);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything that was to be done is done.
    Complete,
    /// It was stopped; what is open stays open and continues.
    Stopped,
}

/// How a worker came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parted {
    /// It has nothing more to do.
    Done,
    /// It was told to stop, and stored what it could.
    Stopped,
}

/// Steps a worker until it is done or told to stop.
async fn drive(
    mut worker: Worker,
    clock: Arc<dyn Clock>,
    poll: Duration,
    mut stop: watch::Receiver<bool>,
    mut changes: watch::Receiver<u64>,
) -> (Worker, Result<Parted>) {
    worker.read_until(stop.clone());
    loop {
        if *stop.borrow() {
            let stopped = worker.stop().await;
            return (worker, or_unstored(stopped).map(|()| Parted::Stopped));
        }
        match worker.step().await {
            Ok(Progress::Worked) => tokio::task::yield_now().await,
            Ok(Progress::Idle) => {
                // In this order (`biased`): what happens next is then never up to chance, and one seed can simulate it.
                tokio::select! {
                    biased;
                    _ = stop.changed() => {}
                    _ = changes.changed() => {}
                    () = clock.sleep(poll) => {}
                }
            }
            Ok(Progress::Done) => return (worker, Ok(Parted::Done)),
            // It was told to stop as it waited.
            Err(error @ ConsumerError::Unstored { .. }) => {
                return (worker, or_unstored(Err(error)).map(|()| Parted::Stopped));
            }
            Err(error) => return (worker, Err(error)),
        }
    }
}

/// What a stop came to: that something could not be stored is no failure, whoever reads on reads it again.
fn or_unstored(stopped: Result<()>) -> Result<()> {
    match stopped {
        Err(error @ ConsumerError::Unstored { .. }) => {
            tracing::warn!(target: TARGET, error = %Chain(&error), "dropped what was not stored");
            Ok(())
        }
        other => other,
    }
}

/// Keeps the committer's lock while it is ours, and looks for it while it is not, until told to stop or something is met that is too
/// new for this program: then others have it. A task of its own, so that a commit that takes long does not cost it.
async fn keep_lock(
    env: Env,
    every: Duration,
    ours: watch::Sender<bool>,
    aside: Aside,
    mut stop: watch::Receiver<bool>,
) {
    let mut is_known = true;
    let mut met = aside.watch();
    while !*stop.borrow() {
        if met.borrow_and_update().is_some() {
            ours.send_replace(false);
            return env.committer.release().await;
        }
        match env.committer.hold().await {
            Ok(held) => {
                is_known = true;
                if let Some(silent) = env.committer.taken_over_from() {
                    tracing::warn!(target: TARGET, from = %silent, "took the committer's lock over: its holder was silent for as long as a lease lasts");
                }
                if ours.send_replace(held) && !held {
                    tracing::warn!(
                        target: TARGET,
                        "another worker has taken the committer's lock over, as this one was silent; its commits are not needed"
                    );
                }
            }
            // Two committers do no harm, none at all would.
            Err(error) => {
                if is_known {
                    tracing::warn!(target: TARGET, error = %Chain(&error), "whether another worker commits is unknown; committing all the same")
                }
                is_known = false;
                ours.send_replace(true);
            }
        }
        tokio::select! {
            biased;
            _ = stop.changed() => {}
            _ = met.changed() => {}
            () = env.clock.sleep(every) => {}
        }
    }
}

/// Commits every interval where the lock is ours, until told to stop or something is met that is too new for this program.
async fn commit_regularly(
    env: Env,
    interval: Span,
    ours: watch::Receiver<bool>,
    aside: Aside,
    mut stop: watch::Receiver<bool>,
) {
    let mut next = env.clock.ticks();
    loop {
        // From one begin to the next: how long a commit takes makes rows no older. One that takes longer is followed at once.
        next = (next + interval).max(env.clock.ticks());
        tokio::select! {
            biased;
            _ = stop.changed() => return,
            () = env.clock.sleep(duration(next - env.clock.ticks())) => {}
        }
        if aside.met().is_some() {
            return;
        }
        if !*ours.borrow() {
            continue;
        }
        if let Err(error) = commit_beside(&env).await.expect("whoever panics says so and ends the run")
            && !aside.meets(&error)
        {
            tracing::warn!(target: TARGET, error = %Chain(&error), "the tables could not follow the journal; trying again at the next interval");
        }
    }
}

/// Commits on another thread, as merging files takes up to a second, in which a thread of the runtime could not decide anything.
/// `None` if it panicked.
async fn commit_beside(env: &Env) -> Option<Result<Round>> {
    let (env, work) = (env.clone(), env.work.clone());
    start(&*work, async move { commit_all(&env).await }).await
}

/// Says that a task beside the workers panicked: without it the run must not go on as if nothing were.
struct TellsOfPanic {
    trouble: watch::Sender<Option<&'static str>>,
    what: &'static str,
}

impl Drop for TellsOfPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.trouble.send_replace(Some(self.what));
        }
    }
}

/// Starts a task beside the workers; `trouble` hears what it did, if it panics.
pub(crate) fn start_beside(
    trouble: &watch::Sender<Option<&'static str>>,
    what: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let tells = TellsOfPanic { trouble: trouble.clone(), what };
    tokio::spawn(async move {
        let _tells = tells;
        task.await;
    })
}

/// What a task does, if it is to be named in an error.
const COMMITS: &str = "brings the tables up";

fn bug(what: &str) -> ConsumerError {
    let words = "ended by a bug in this program; restart it to go on from the last entries, and report this";
    ConsumerError::Refused(format!("the task that {what} {words}"))
}

/// The committer beside a run; ends with it.
struct Committer {
    stop: watch::Sender<bool>,
    tasks: [JoinHandle<()>; 2],
    trouble: watch::Sender<Option<&'static str>>,
}

impl Committer {
    /// Starts it; `aside` hears of what is too new for this program, and keeps it from committing.
    fn start(env: &Env, options: &Options, aside: &Aside) -> Committer {
        let (stop, stopped) = watch::channel(false);
        let (hold, ours) = watch::channel(false);
        let every = duration(Span::from_micros(options.leases.renew_every()));
        let trouble = watch::Sender::new(None);
        let lock = keep_lock(env.clone(), every, hold, aside.clone(), stopped.clone());
        let lock = start_beside(&trouble, "keeps the committer's lock", lock);
        let commits = commit_regularly(env.clone(), options.commit_interval, ours, aside.clone(), stopped);
        let commits = start_beside(&trouble, COMMITS, commits);
        Committer { stop, tasks: [lock, commits], trouble }
    }

    /// Ends it, and brings the tables up to the journal; not where this process `stands_aside`: then others do.
    async fn finish(self, env: &Env, stands_aside: bool) -> Result<()> {
        // Nobody listens only where the task is gone already.
        let _ = self.stop.send(true);
        for task in self.tasks {
            let _ = task.await;
        }
        let trouble = *self.trouble.borrow();
        if stands_aside {
            env.committer.release().await;
            return trouble.map_or(Ok(()), |what| Err(bug(what)));
        }
        // Whoever has the lock: a run that ends leaves nothing for another to do.
        let mut attempt = 1;
        loop {
            match commit_beside(env).await.unwrap_or_else(|| Err(bug(COMMITS))) {
                Ok(_) => {
                    env.committer.release().await;
                    return trouble.map_or(Ok(()), |what| Err(bug(what)));
                }
                Err(error) if attempt == LAST_COMMIT_ATTEMPTS || error.is_too_new() => return Err(error),
                Err(error) => {
                    tracing::warn!(target: TARGET, error = %Chain(&error), attempt, "the last commit did not succeed; trying again");
                    attempt += 1;
                    env.clock.sleep(Duration::from_millis(300)).await;
                }
            }
        }
    }
}

/// Runs a service until its mode says that it is done, or until `stop` holds true. One that is to run for ever and meets something that
/// is too new for this program stands aside ([`aside`](crate::aside)) until then.
///
/// # Errors
/// A shard cannot go on; the others are stopped in order first, and what is stored stays. In a mode with an end also where something is
/// too new: nobody would wait for that end.
pub async fn run_service(
    mut service: Service,
    env: &Env,
    options: &Options,
    fleet: Fleet,
    stop: watch::Receiver<bool>,
) -> Result<Ended> {
    let aside = Aside::new();
    let committer = Committer::start(env, options, &aside);
    let leases = LeaseKeeper::start(env, fleet, service.wanted_leases(), &committer.trouble, aside.clone());
    let trouble = committer.trouble.subscribe();
    let outcome = run_workers(&mut service, env, options, &leases, &aside, stop, trouble).await;
    let stands_aside = aside.met().is_some();
    service.registry().columns_said().tell_left_out();
    leases.stored(service.positions());
    // The entries are stored: others can go on with the shards while the tables follow.
    let was_stopped = matches!(outcome, Ok(Ended::Stopped));
    if within(env, was_stopped.then_some(GIVE_BACK_PATIENCE), leases.finish()).await.is_none() {
        tracing::warn!(target: TARGET, "leases could not be given back in time; others take them when they expire");
    }
    let committed = within(env, was_stopped.then_some(LAST_COMMIT_PATIENCE), committer.finish(env, stands_aside)).await;
    let committed = committed.unwrap_or_else(|| {
        tracing::warn!(target: TARGET, "the tables could not follow the last entries in time; they will, when a worker commits again");
        Ok(())
    });
    let ended = outcome?;
    match committed {
        // A service that was told to end has ended in order, whoever brings the tables up.
        Err(error) if service.mode() == Mode::Run && aside.meets(&error) => {
            Reminder::default().say(env.clock.ticks(), &Chain(&error).to_string());
        }
        committed => committed?,
    }
    Ok(ended)
}

/// How often in a row, without an entry of its own in between, a worker may lose a shard to another that has no lease for it, before it
/// gives up.
const FENCED_MAX: u32 = 5;

/// The workers of a service and what is to become of them.
struct Crew {
    tasks: JoinSet<(Worker, Result<Parted>)>,
    /// Tells a shard's worker to stop.
    stops: BTreeMap<ShardId, watch::Sender<bool>>,
    /// Workers that stop because their lease goes, or went, to another.
    leaving: BTreeSet<ShardId>,
    done: Vec<Worker>,
    /// How often a shard was lost.
    fenced: BTreeMap<ShardId, u32>,
    failure: Option<ConsumerError>,
    aside: Aside,
}

impl Crew {
    fn stop_all(&self) {
        for stop in self.stops.values() {
            stop.send_replace(true);
        }
    }

    /// Takes in what a look at the lake or a worker failed with. What is too new makes the run stand aside, or fail, in its time.
    fn fail(&mut self, error: ConsumerError) {
        if !self.aside.meets(&error) {
            self.failure.get_or_insert(error);
        }
    }

    /// Gives back the leases that no worker here is at any more.
    fn give_back(&self, holdings: &Holdings, leases: &LeaseKeeper) {
        for key in holdings.held.iter().filter(|key| !self.stops.contains_key(&ShardId::new(*key))) {
            leases.tell(Parting::HandOver(key.clone()));
        }
    }

    /// Stops the workers whose leases others ask for or have.
    fn part_with(&mut self, holdings: &Holdings, service: &mut Service, leases: &LeaseKeeper) {
        for (key, stop) in &self.stops {
            if holdings.asked_for.contains(key.as_str()) || !holdings.held.contains(key.as_str()) {
                self.leaving.insert(key.clone());
                stop.send_replace(true);
            }
        }
        for key in &holdings.held {
            let shard = ShardId::new(key);
            if self.stops.contains_key(&shard) {
                continue;
            }
            // Its last owner had stored the end and went before it had said so.
            if service.has_ended(&shard) {
                leases.tell(Parting::End(key.clone()));
            } else if holdings.asked_for.contains(key) {
                // What was done here may be begun anew there, and come back undone.
                self.done.retain(|worker| *worker.key() != shard);
                service.restart(&shard);
                leases.tell(Parting::HandOver(key.clone()));
            }
        }
    }

    fn joined(
        &mut self,
        joined: std::result::Result<(Worker, Result<Parted>), tokio::task::JoinError>,
        service: &mut Service,
        leases: &LeaseKeeper,
    ) {
        let (worker, outcome) = match joined {
            Ok(joined) => joined,
            Err(error) => {
                let words = format!("a worker ended by a bug in this program: {error}");
                self.failure.get_or_insert(ConsumerError::Refused(words));
                return;
            }
        };
        let key = worker.key().clone();
        self.stops.remove(&key);
        let left = self.leaving.remove(&key);
        match outcome {
            Ok(Parted::Stopped) if left => {
                tracing::info!(target: TARGET, shard = %key, position = %worker.position(), "handing the shard over");
                service.restart(&key);
                leases.tell(Parting::HandOver(key.to_string()));
            }
            Ok(Parted::Stopped) => {
                tracing::info!(target: TARGET, shard = %key, position = %worker.position(), "stopped; giving the shard back");
                // Others need not wait for the slowest of this worker's shards.
                leases.tell(Parting::HandOver(key.to_string()));
                self.done.push(worker);
            }
            Ok(_) => {
                tracing::info!(target: TARGET, shard = %key, position = %worker.position(), "done with shard");
                if worker.last_entry().end {
                    leases.tell(Parting::End(key.to_string()));
                }
                self.done.push(worker);
            }
            Err(error @ ConsumerError::Panicked { .. }) => {
                tracing::error!(target: TARGET, error = %Chain(&error), "rebuilding the shard and trying the record again");
                service.restart(&key);
            }
            Err(error @ ConsumerError::Fenced { .. }) => {
                service.restart(&key);
                self.lost(&key, worker.has_stored(), error, leases);
            }
            Err(error) => self.fail(error),
        }
    }
}

async fn run_workers(
    service: &mut Service,
    env: &Env,
    options: &Options,
    leases: &LeaseKeeper,
    aside: &Aside,
    stop: watch::Receiver<bool>,
    mut trouble: watch::Receiver<Option<&'static str>>,
) -> Result<Ended> {
    let mut outside = stop.clone();
    let mut holdings_changed = leases.holdings.clone();
    let mut stopping = false;
    let mut met = aside.watch();
    let mut standing_aside: Option<Arc<str>> = None;
    let mut reminder = Reminder::default();
    let mut crew = Crew {
        tasks: JoinSet::new(),
        stops: BTreeMap::new(),
        leaving: BTreeSet::new(),
        done: Vec::new(),
        fenced: BTreeMap::new(),
        failure: None,
        aside: aside.clone(),
    };
    let mut refreshed_at = env.clock.ticks();
    loop {
        if let Some(what) = *trouble.borrow_and_update() {
            crew.failure.get_or_insert_with(|| bug(what));
        }
        if let Some(met) = met.borrow_and_update().clone()
            && standing_aside.is_none()
        {
            if service.mode() == Mode::Run {
                leases.tell(Parting::StandAside);
                standing_aside = Some(met);
            } else {
                crew.failure.get_or_insert_with(|| ConsumerError::TooNew(met.to_string()));
            }
        }
        if (crew.failure.is_some() || *outside.borrow_and_update()) && !stopping {
            stopping = true;
            leases.tell(Parting::Leave);
        }
        let holdings = holdings_changed.borrow_and_update().clone();
        if stopping || standing_aside.is_some() {
            crew.stop_all();
            if let Some(met) = &standing_aside {
                reminder.say(env.clock.ticks(), met);
                crew.give_back(&holdings, leases);
                crew.done.clear();
            }
        } else {
            crew.part_with(&holdings, service, leases);
            let ready = holdings.held.difference(&holdings.asked_for).cloned().collect();
            let start = async {
                service.settle().await?;
                crew.start_all(&ready, service, env, options).await
            };
            match unless_stopped(&mut outside, start).await {
                None => continue,
                Some(Ok(())) => {}
                // Another took the shard over while this worker was about to.
                Some(Err(error @ ConsumerError::Fenced { .. })) => {
                    if let ConsumerError::Fenced { shard, .. } = &error {
                        crew.lost(&shard.clone(), false, error, leases);
                    }
                }
                Some(Err(error)) => {
                    crew.fail(error);
                    continue;
                }
            }
        }
        let is_idle = crew.tasks.is_empty();
        if is_idle && (stopping || (standing_aside.is_none() && service.is_complete(&holdings.others))) {
            break;
        }
        leases.stored(service.positions());
        tokio::select! {
            biased;
            Some(joined) = crew.tasks.join_next() => {
                leases.stored(service.positions());
                crew.joined(joined, service, leases);
            }
            _ = outside.changed(), if !stopping => {}
            _ = trouble.changed(), if !stopping => {}
            _ = met.changed(), if !stopping => {}
            // A keeper that is gone has told why.
            Ok(()) = holdings_changed.changed() => {}
            () = env.clock.sleep(duration(options.follow_interval)) => {}
        }
        let now = env.clock.ticks();
        if !stopping && standing_aside.is_none() && now - refreshed_at >= options.follow_interval {
            refreshed_at = now;
            let news = async {
                service.refresh().await?;
                service.follow(|shard| crew.stops.contains_key(shard)).await
            };
            match unless_stopped(&mut outside, news).await {
                Some(Err(error)) if error.may_pass() => {
                    tracing::warn!(target: TARGET, error = %Chain(&error), "the stream could not be looked at; trying again");
                }
                Some(Err(error)) => crew.fail(error),
                Some(Ok(())) => {}
                None => continue,
            }
            leases.want(service.wanted_leases());
        }
    }
    if let Some(error) = crew.failure {
        return Err(error);
    }
    if *stop.borrow() {
        return Ok(Ended::Stopped);
    }
    // Whoever reached its goal first may have left scores open that the others' shares allow now.
    loop {
        let mut changed = false;
        for worker in &mut crew.done {
            if worker.reached_goal_open() {
                changed |= worker.store_what_became_ready().await?;
            }
        }
        if !changed {
            return Ok(Ended::Complete);
        }
    }
}

impl Crew {
    /// Another worker has the shard: what was not stored here never happened. `had_stored` tells whether some was.
    fn lost(&mut self, key: &ShardId, had_stored: bool, error: ConsumerError, leases: &LeaseKeeper) {
        let times = self.fenced.entry(key.clone()).or_default();
        *times = if had_stored { 1 } else { *times + 1 };
        if *times >= FENCED_MAX {
            self.failure.get_or_insert(error);
            return;
        }
        tracing::warn!(target: TARGET, error = %Chain(&error), "another worker has the shard; what was not stored here is dropped");
        leases.tell(Parting::Forget(key.to_string()));
    }

    /// Starts every shard that can be worked on now. What was started before an error stays.
    async fn start_all(
        &mut self,
        ready: &BTreeSet<String>,
        service: &mut Service,
        env: &Env,
        options: &Options,
    ) -> Result<()> {
        while let Some(worker) = service.start_next(ready).await? {
            tracing::info!(target: TARGET, shard = %worker.key(), position = %worker.position(), "working on shard");
            let (stop, stopped) = watch::channel(false);
            self.stops.insert(worker.key().clone(), stop);
            let changes = service.registry().changes();
            self.tasks.spawn(drive(worker, env.clock.clone(), duration(options.poll_interval), stopped, changes));
        }
        Ok(())
    }
}

/// Runs a backfill to its end, or until `stop` holds true.
///
/// # Errors
/// The input or the lake fails; what is stored stays, and the same backfill continues.
pub async fn run_backfill(
    mut run: BackfillRun,
    env: &Env,
    options: &Options,
    stop: watch::Receiver<bool>,
    mut report: impl FnMut(u64),
) -> Result<Ended> {
    run.worker.read_until(stop.clone());
    let columns_said = run.worker.columns_said().clone();
    // Whoever loads files waits for the end, and hears what is too new.
    let committer = Committer::start(env, options, &Aside::new());
    let outcome: Result<(Ended, u64)> = async {
        loop {
            if *stop.borrow() {
                or_unstored(run.worker.stop().await)?;
                return Ok((Ended::Stopped, run.worker.last_entry().n));
            }
            match run.worker.step().await {
                Ok(Progress::Done) => return Ok((Ended::Complete, run.worker.last_entry().n)),
                Ok(Progress::Idle) => env.clock.sleep(duration(options.poll_interval)).await,
                Ok(Progress::Worked) => {}
                Err(error @ ConsumerError::Panicked { .. }) => {
                    tracing::error!(target: TARGET, error = %Chain(&error), "rebuilding the shard and trying the line again");
                    run = match run.rebuild(env).await {
                        // What the lost worker had not stored is read again by whoever goes on.
                        Err(ConsumerError::Input(InputError::ToldToEnd)) => return Ok((Ended::Stopped, 0)),
                        rebuilt => rebuilt?,
                    };
                    run.worker.read_until(stop.clone());
                }
                Err(error @ ConsumerError::Unstored { .. }) => {
                    or_unstored(Err(error))?;
                    return Ok((Ended::Stopped, run.worker.last_entry().n));
                }
                Err(error) => return Err(error),
            }
            report(run.progress.read_bytes());
        }
    }
    .await;
    columns_said.tell_left_out();
    let committed = committer.finish(env, false).await;
    let (ended, last) = outcome?;
    committed?;
    if ended == Ended::Complete {
        mark_complete(env, last).await?;
    }
    Ok(ended)
}
