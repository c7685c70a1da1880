//! Runs a backfill's worker, with a committer beside it.

use super::Ended;
use super::TARGET;
use super::committer::Committer;
use super::worker::or_unstored;
use crate::aside::Aside;
use crate::backfill::{BackfillRun, mark_complete};
use authpulse_files::InputError;
use authpulse_journal::env::{Env, duration};
use authpulse_journal::error::{Chain, ConsumerError, Result};
use authpulse_settings::options::Options;
use authpulse_worker::worker::StepOutcome;
use tokio::sync::watch;

/// Runs a backfill to its end, or until `stop` holds true.
///
/// # Errors
/// The input or the lake fails, or the last commit does. Stored entries stay, and the same backfill continues after them.
pub async fn run_backfill(
    mut run: BackfillRun,
    env: &Env,
    options: &Options,
    stop: watch::Receiver<bool>,
    mut report: impl FnMut(u64),
) -> Result<Ended> {
    run.worker.read_until(stop.clone());
    let columns_said = run.worker.columns_said().clone();
    // A backfill does not stand aside: its user waits for the end and gets what is too new as an error.
    let committer = Committer::start(env, options, &Aside::new());
    let outcome: Result<(Ended, u64)> = async {
        loop {
            if *stop.borrow() {
                or_unstored(run.worker.stop().await)?;
                return Ok((Ended::Stopped, run.worker.last_entry().n));
            }
            match run.worker.step().await {
                Ok(StepOutcome::Done) => return Ok((Ended::Complete, run.worker.last_entry().n)),
                Ok(StepOutcome::Idle) => env.clock.sleep(duration(options.poll_interval)).await,
                Ok(StepOutcome::Worked) => {}
                Err(error @ ConsumerError::Panicked { .. }) => {
                    tracing::error!(target: TARGET, error = %Chain(&error), "rebuilding the shard and trying the line again");
                    run = match run.rebuild(env).await {
                        // The next run reads again what the dropped worker had not stored.
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
