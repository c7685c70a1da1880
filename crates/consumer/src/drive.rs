//! Running workers for real: one tokio task each, a committer beside them, and an orderly end.

use crate::backfill::{BackfillRun, mark_complete};
use crate::committer::commit_all;
use crate::env::{Clock, Env};
use crate::error::{Chain, ConsumerError, Result};
use crate::options::Options;
use crate::service::Service;
use crate::worker::{Progress, Worker};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How often the service looks for new shards.
const REFRESH: Duration = Duration::from_secs(1);
/// How long the last commit at the end may be tried again.
const LAST_COMMIT_ATTEMPTS: u32 = 10;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything that was to be done is done.
    Complete,
    /// It was stopped; what is open stays open and continues.
    Stopped,
}

fn duration(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// Steps a worker until it is done or told to stop.
async fn drive(
    mut worker: Worker,
    clock: Arc<dyn Clock>,
    poll: Duration,
    mut stop: watch::Receiver<bool>,
    mut changes: watch::Receiver<u64>,
) -> (Worker, Result<()>) {
    loop {
        if *stop.borrow() {
            let stopped = worker.stop().await;
            return (worker, stopped);
        }
        match worker.step().await {
            Ok(Progress::Worked) => tokio::task::yield_now().await,
            Ok(Progress::Idle) => {
                tokio::select! {
                    () = clock.sleep(poll) => {}
                    _ = changes.changed() => {}
                    _ = stop.changed() => {}
                }
            }
            Ok(Progress::Done) => return (worker, Ok(())),
            Err(error) => return (worker, Err(error)),
        }
    }
}

/// Commits every interval until told to stop.
async fn commit_regularly(env: Env, interval: Duration, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        tokio::select! {
            () = env.clock.sleep(interval) => {}
            _ = stop.changed() => break,
        }
        match env.committer.hold().await {
            Ok(true) => {}
            Ok(false) => continue,
            // Two committers do no harm, none at all would.
            Err(error) => tracing::warn!(%error, "whether another worker commits is unknown; committing all the same"),
        }
        if let Err(error) = commit_all(&env).await {
            tracing::warn!(error = %Chain(&error), "the tables could not follow the journal; trying again at the next interval");
        }
    }
}

/// The committer beside a run; ends with it.
struct Committer {
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Committer {
    fn start(env: &Env, options: &Options) -> Committer {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(commit_regularly(env.clone(), duration(options.commit_interval), stopped));
        Committer { stop, task }
    }

    /// Ends it, and brings the tables up to the journal.
    async fn finish(self, env: &Env) -> Result<()> {
        // Nobody listens only where the task is gone already.
        let _ = self.stop.send(true);
        let _ = self.task.await;
        // Whoever has the lock: a run that ends leaves nothing for another to do.
        let mut attempt = 1;
        loop {
            match commit_all(env).await {
                Ok(_) => {
                    env.committer.release().await;
                    return Ok(());
                }
                Err(error) if attempt == LAST_COMMIT_ATTEMPTS => return Err(error),
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), attempt, "the last commit did not succeed; trying again");
                    attempt += 1;
                    env.clock.sleep(Duration::from_millis(300)).await;
                }
            }
        }
    }
}

/// Runs a service until its mode says that it is done, or until `stop` holds true.
///
/// # Errors
/// A shard cannot go on; the others are stopped in order first, and what is stored stays.
pub async fn run_service(
    mut service: Service,
    env: &Env,
    options: &Options,
    stop: watch::Receiver<bool>,
) -> Result<Ended> {
    let committer = Committer::start(env, options);
    let outcome = run_workers(&mut service, env, options, stop).await;
    let committed = committer.finish(env).await;
    let ended = outcome?;
    committed?;
    Ok(ended)
}

async fn run_workers(
    service: &mut Service,
    env: &Env,
    options: &Options,
    stop: watch::Receiver<bool>,
) -> Result<Ended> {
    // Workers listen to a channel of their own, so that the failure of one can stop the others.
    let (halt, halted) = watch::channel(false);
    let mut outside = stop.clone();
    let mut tasks = JoinSet::new();
    let mut done = Vec::new();
    let mut failure = None;
    loop {
        let stopping = *halted.borrow();
        if !stopping {
            for worker in service.start_ready().await? {
                tracing::info!(shard = %worker.key(), position = %worker.position(), "working on shard");
                let changes = service.registry().changes();
                tasks.spawn(drive(worker, env.clock.clone(), duration(options.poll_interval), halted.clone(), changes));
            }
        }
        if tasks.is_empty() {
            break;
        }
        tokio::select! {
            joined = tasks.join_next() => match joined {
                Some(Ok((worker, Ok(())))) => {
                    tracing::info!(shard = %worker.key(), position = %worker.position(), "done with shard");
                    done.push(worker);
                }
                Some(Ok((worker, Err(error @ ConsumerError::Panicked { .. })))) => {
                    tracing::error!(error = %Chain(&error), "rebuilding the shard and trying the record again");
                    service.restart(worker.key());
                }
                Some(Ok((_, Err(error)))) => {
                    failure.get_or_insert(error);
                    let _ = halt.send(true);
                }
                Some(Err(error)) => {
                    failure.get_or_insert(ConsumerError::Refused(format!("a worker ended by a bug in this program: {error}")));
                    let _ = halt.send(true);
                }
                None => {}
            },
            () = env.clock.sleep(REFRESH) => service.refresh().await?,
            _ = outside.changed(), if !stopping => {
                let _ = halt.send(true);
            }
        }
    }
    if let Some(error) = failure {
        return Err(error);
    }
    if *stop.borrow() {
        return Ok(Ended::Stopped);
    }
    // Whoever reached its goal first may have left scores open that the others' shares allow now.
    loop {
        let mut changed = false;
        for worker in &mut done {
            if worker.reached_goal_open() {
                changed |= worker.store_what_became_ready().await?;
            }
        }
        if !changed {
            return Ok(Ended::Complete);
        }
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
    let committer = Committer::start(env, options);
    let outcome: Result<(Ended, u64)> = async {
        loop {
            if *stop.borrow() {
                run.worker.stop().await?;
                return Ok((Ended::Stopped, run.worker.last_entry().n));
            }
            match run.worker.step().await {
                Ok(Progress::Done) => return Ok((Ended::Complete, run.worker.last_entry().n)),
                Ok(Progress::Idle) => env.clock.sleep(duration(options.poll_interval)).await,
                Ok(Progress::Worked) => {}
                Err(error @ ConsumerError::Panicked { .. }) => {
                    tracing::error!(error = %Chain(&error), "rebuilding the shard and trying the line again");
                    run = run.rebuild(env).await?;
                }
                Err(error) => return Err(error),
            }
            report(run.progress.read_bytes());
        }
    }
    .await;
    let committed = committer.finish(env).await;
    let (ended, last) = outcome?;
    committed?;
    if ended == Ended::Complete {
        mark_complete(env, last).await?;
    }
    Ok(ended)
}
