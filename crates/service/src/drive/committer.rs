//! The committer beside a run: it keeps its lock, brings the tables up every interval, and once more at the end.

use super::TARGET;
use crate::aside::Aside;
use crate::beside::{bug, start_beside};
use crate::committer::{Round, commit_all};
use authpulse_event::Span;
use authpulse_journal::env::{Env, duration, start};
use authpulse_journal::error::{Chain, Result};
use authpulse_settings::options::Options;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How often the last commit at the end is tried.
const LAST_COMMIT_ATTEMPTS: u32 = 10;

/// What a task does, if it is to be named in an error.
const COMMITS: &str = "brings the tables up";

/// The committer beside a run; ends with it.
pub(super) struct Committer {
    stop: watch::Sender<bool>,
    tasks: [JoinHandle<()>; 2],
    /// Says what a task beside the workers did that panicked.
    pub panicked: watch::Sender<Option<&'static str>>,
}

impl Committer {
    /// Starts it; `aside` hears of what is too new for this program, and keeps it from committing.
    pub fn start(env: &Env, options: &Options, aside: &Aside) -> Committer {
        let (stop, stopped) = watch::channel(false);
        let (hold, ours) = watch::channel(false);
        let every = duration(Span::from_micros(options.leases.renew_every()));
        let panicked = watch::Sender::new(None);
        let lock = keep_lock(env.clone(), every, hold, aside.clone(), stopped.clone());
        let lock = start_beside(&panicked, "keeps the committer's lock", lock);
        let commits = commit_regularly(env.clone(), options.commit_interval, ours, aside.clone(), stopped);
        let commits = start_beside(&panicked, COMMITS, commits);
        Committer { stop, tasks: [lock, commits], panicked }
    }

    /// Ends it, and brings the tables up to the journal; not where this process `stands_aside`: then others do.
    pub async fn finish(self, env: &Env, stands_aside: bool) -> Result<()> {
        // Nobody listens only where the task is gone already.
        let _ = self.stop.send(true);
        for task in self.tasks {
            let _ = task.await;
        }
        let panicked = *self.panicked.borrow();
        if stands_aside {
            env.committer.release().await;
            return panicked.map_or(Ok(()), |what| Err(bug(what)));
        }
        // Whoever has the lock: a run that ends leaves nothing for another to do.
        let mut attempt = 1;
        loop {
            match commit_beside(env).await.unwrap_or_else(|| Err(bug(COMMITS))) {
                Ok(_) => {
                    env.committer.release().await;
                    return panicked.map_or(Ok(()), |what| Err(bug(what)));
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
