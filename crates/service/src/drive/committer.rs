//! The committer of a run: it keeps the committer's lock, brings the tables up every interval, and once more at the end.

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

/// How many times the last commit is tried at the end.
const LAST_COMMIT_ATTEMPTS: u32 = 10;

/// How an error names the task that commits.
const COMMITS: &str = "brings the tables up";

/// The two tasks that commit beside the workers of a run: one keeps the lock, one commits.
pub(super) struct Committer {
    stop: watch::Sender<bool>,
    tasks: [JoinHandle<()>; 2],
    /// What a task beside the workers does, once it has panicked.
    pub panicked: watch::Sender<Option<&'static str>>,
}

impl Committer {
    /// Starts both tasks. They report to `aside` what is too new for this program, and stop committing once it has met something.
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

    /// Ends both tasks and brings the tables up to the journals. A process that `stands_aside` does not commit: newer programs do.
    ///
    /// # Errors
    /// The last commit failed ten times, or met something too new; or one of the tasks has panicked.
    pub async fn finish(self, env: &Env, stands_aside: bool) -> Result<()> {
        // Sending fails only if both tasks are gone already.
        let _ = self.stop.send(true);
        for task in self.tasks {
            let _ = task.await;
        }
        let panicked = *self.panicked.borrow();
        if stands_aside {
            env.committer.release().await;
            return panicked.map_or(Ok(()), |what| Err(bug(what)));
        }
        // It commits even without the lock: a run that ends leaves nothing for others to do.
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

/// Keeps the committer's lock, or tries for it while another process has it. Ends when told to stop; ends and releases the lock when
/// `aside` has met something too new. It is a task of its own, so that the lock does not expire during a long commit.
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
            // Two committers do no harm, but having none would.
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

/// Commits every interval while this process has the lock, until told to stop or `aside` has met something too new.
async fn commit_regularly(
    env: Env,
    interval: Span,
    ours: watch::Receiver<bool>,
    aside: Aside,
    mut stop: watch::Receiver<bool>,
) {
    let mut next = env.clock.ticks();
    loop {
        // Intervals run from begin to begin, so that long commits do not make rows older. A commit longer than one is followed at once.
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

/// Commits on another thread: merging files takes up to a second, for which it would block a thread of the runtime.
/// `None` if it panicked.
async fn commit_beside(env: &Env) -> Option<Result<Round>> {
    let (env, work) = (env.clone(), env.work.clone());
    start(&*work, async move { commit_all(&env).await }).await
}
