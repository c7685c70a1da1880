//! `backfill --give-up`: ends a backfill whose files cannot be read to their end.

use crate::args::Backfill;
use crate::lake::{Access, LakeLocation, open, options, read_config};
use crate::output::say;
use crate::signals::stop_signal;
use crate::totals::totals;
use anyhow::Result;
use authpulse_journal::ConsumerError;
use authpulse_journal::backfills::given_up_words;
use authpulse_service::backfill::prepare_giving_up;
use authpulse_service::drive::{Ended, run_backfill};
use std::process::ExitCode;

/// Runs `authpulse backfill --give-up`.
///
/// # Errors
/// There is no lake, or none with an unfinished backfill, or it cannot be written to.
pub async fn run(args: Backfill) -> Result<ExitCode> {
    let stop = stop_signal(None)?;
    let config = read_config(args.config.as_deref())?;
    let location = LakeLocation::new(&args.lake, args.catalog.as_deref())?;
    // A lake that is missing must not be made.
    drop(open(&location, &config, Access::Read).await?);
    let lake = open(&location, &config, Access::Write("authpulse backfill --give-up")).await?;
    let options = options(&config);
    let run = match prepare_giving_up(&lake.env, options.clone()).await {
        Ok(run) => run,
        Err(ConsumerError::NothingToDo(words)) => {
            say!("{words}")?;
            return Ok(ExitCode::SUCCESS);
        }
        Err(error) => return Err(error.into()),
    };
    let (backfill, line) = (run.worker.last_entry().backfill.clone().unwrap_or_default(), run.lines_stored);
    let ended = run_backfill(run, &lake.env, &options, stop, |_| ()).await?;
    say!("{}", totals(&lake.env, &options).await?)?;
    match ended {
        Ended::Complete => say!("{}", given_up_words(&backfill, line))?,
        Ended::Stopped => say!("stopped; run the same command again")?,
    }
    Ok(ExitCode::SUCCESS)
}
