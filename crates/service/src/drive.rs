//! Runs the workers: one tokio task each, a committer and a keeper of leases beside them, and an orderly end.

mod backfill;
mod committer;
mod course;
mod shard_tasks;
mod supervisor;
mod worker;

pub use backfill::run_backfill;

use crate::aside::{Aside, Reminder};
use crate::lease_keeper::LeaseKeeper;
use crate::service::{Mode, Service};
use authpulse_journal::env::{Env, within};
use authpulse_journal::error::{Chain, Result};
use authpulse_lease::Fleet;
use authpulse_settings::options::Options;
use committer::Committer;
use std::time::Duration;
use supervisor::Supervisor;
use tokio::sync::watch;

/// The log target that operators filter by.
const TARGET: &str = "authpulse_consumer::drive";

/// How long a service that was told to stop may take to give its leases back. After that, other workers take them when they expire.
const GIVE_BACK_PATIENCE: Duration = Duration::from_secs(6);
/// How long a service that was told to stop may take for its last commit. After that, another committer commits the stored entries, or
/// this service does when it runs again.
const LAST_COMMIT_PATIENCE: Duration = Duration::from_secs(8);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything that was to be done is done.
    Complete,
    /// It was stopped. Open days stay open; the next run goes on from there.
    Stopped,
}

/// Runs a service until its mode says that it is done, or until `stop` holds true. In [`Mode::Run`], a service that meets something too
/// new for this program stands aside ([`aside`](crate::aside)) until it is stopped.
///
/// # Errors
/// A shard cannot go on, or a task beside the workers panicked. All other workers are stopped in order first, and stored entries stay.
/// In the other modes also if something is too new for this program: a caller who waits for the end must not wait for ever. Also if the
/// last commit fails.
pub async fn run_service(
    mut service: Service,
    env: &Env,
    options: &Options,
    fleet: Fleet,
    stop: watch::Receiver<bool>,
) -> Result<Ended> {
    let aside = Aside::new();
    let committer = Committer::start(env, options, &aside);
    let leases = LeaseKeeper::start(env, fleet, service.wanted_leases(), &committer.panicked, aside.clone());
    let panicked = committer.panicked.subscribe();
    let outcome = Supervisor::new(&mut service, (env, options), &leases, &aside, stop, panicked).run().await;
    let stands_aside = aside.met().is_some();
    service.registry().columns_said().tell_left_out();
    leases.stored(service.positions());
    // The entries are stored: other workers can go on with the shards while this process still commits.
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
        // A newer program will bring the tables up; this service has still ended in order.
        Err(error) if service.mode() == Mode::Run && aside.meets(&error) => {
            Reminder::default().say(env.clock.ticks(), &Chain(&error).to_string());
        }
        committed => committed?,
    }
    Ok(ended)
}
