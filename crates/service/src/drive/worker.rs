//! The task of one worker: steps it until it is done or told to stop.

use super::TARGET;
use authpulse_journal::env::Clock;
use authpulse_journal::error::{Chain, ConsumerError, Result};
use authpulse_worker::worker::{StepOutcome, Worker};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How a worker ended in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WorkerEnd {
    /// It has nothing more to do.
    Done,
    /// It was told to stop, and stored what it could.
    Stopped,
}

/// Steps a worker until it is done or told to stop.
pub(super) async fn drive(
    mut worker: Worker,
    clock: Arc<dyn Clock>,
    poll: Duration,
    mut stop: watch::Receiver<bool>,
    mut changes: watch::Receiver<u64>,
) -> (Worker, Result<WorkerEnd>) {
    worker.read_until(stop.clone());
    loop {
        if *stop.borrow() {
            let stopped = worker.stop().await;
            return (worker, or_unstored(stopped).map(|()| WorkerEnd::Stopped));
        }
        match worker.step().await {
            Ok(StepOutcome::Worked) => tokio::task::yield_now().await,
            Ok(StepOutcome::Idle) => {
                // `biased` polls in this order, so that chance decides nothing and a simulation follows from its seed.
                tokio::select! {
                    biased;
                    _ = stop.changed() => {}
                    _ = changes.changed() => {}
                    () = clock.sleep(poll) => {}
                }
            }
            Ok(StepOutcome::Done) => return (worker, Ok(WorkerEnd::Done)),
            // It was told to stop while it waited for a table's columns.
            Err(error @ ConsumerError::Unstored { .. }) => {
                return (worker, or_unstored(Err(error)).map(|()| WorkerEnd::Stopped));
            }
            Err(error) => return (worker, Err(error)),
        }
    }
}

/// The result of a stop. Records that could not be stored are no failure: the next worker of the shard reads them again.
///
/// # Errors
/// Any error but [`ConsumerError::Unstored`], which is only logged.
pub(super) fn or_unstored(stopped: Result<()>) -> Result<()> {
    match stopped {
        Err(error @ ConsumerError::Unstored { .. }) => {
            tracing::warn!(target: TARGET, error = %Chain(&error), "dropped what was not stored");
            Ok(())
        }
        other => other,
    }
}
