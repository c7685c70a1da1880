//! `authpulse backfill`: reads files straight into a lake.

use crate::args::Backfill;
use crate::give_up;
use crate::lake::{Access, LakeLocation, open, options, read_config, tell_rights};
use crate::output::{print_warnings, say, tell};
use crate::report::{rate, thousands};
use crate::signals::{ended_early, stop_signal};
use crate::totals::{ALL_REJECTED, totals};
use anyhow::{Result, bail};
use authpulse_files::{self as input, InputError, SortOptions, Source};
use authpulse_journal::ConsumerError;
use authpulse_journal::env::{Clock as _, SystemClock};
use authpulse_producer::progress::ProgressReporter;
use authpulse_service::backfill::{BackfillRequest, Sorting, check_files, nothing_accepted, prepare, refuse_disorder};
use authpulse_service::drive::{Ended, run_backfill};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Runs `authpulse backfill`.
///
/// # Errors
/// The configuration, a file or the lake cannot be used, the files are not in order of time, every record was rejected, or the results
/// cannot be written.
pub async fn run(args: Backfill) -> Result<ExitCode> {
    if args.give_up {
        return give_up::run(args).await;
    }
    let stop = stop_signal(None)?;
    let mut config = read_config(args.config.as_deref())?;
    config.options.raw = args.raw;
    let files: Vec<Source> = args.input.iter().map(|text| Source::parse(text)).collect();
    check_files(&files)?;
    let location = LakeLocation::new(&args.lake, args.catalog.as_deref())?;
    tell_rights(&location, None, &config);
    let options = options(&config);
    if location.is_new() && !args.sort {
        match refuse_disorder(&files, &options, SystemClock.now(), &stop) {
            Err(ConsumerError::Input(InputError::ToldToEnd)) => return ended_early(),
            outcome => outcome?,
        }
    }
    if let Some(dir) = &args.sort_dir {
        SortOptions::new(dir, options.engine.time.base).check()?;
    }
    let lake = open(&location, &config, Access::Write("authpulse backfill")).await?;
    let sort = args.sort.then(|| sorting(&location, args.sort_dir, &files));
    let request = BackfillRequest { files, keep_open: args.keep_open, sort, stop: stop.clone() };
    let started = Instant::now();
    let run = match prepare(&lake.env, options.clone(), &request).await {
        Ok(run) => run,
        Err(ConsumerError::Input(InputError::ToldToEnd)) => return ended_early(),
        Err(ConsumerError::NothingToDo(words)) => {
            say!("{words}")?;
            return Ok(ExitCode::SUCCESS);
        }
        Err(error) => return Err(error.into()),
    };
    if run.lines_stored > 0 {
        tell!("continuing: {} lines are stored already", thousands(run.lines_stored));
    }
    let mut progress = ProgressReporter::new("backfill", run.progress.total_bytes(), "bytes");
    let tally = run.tally.clone();
    let ended = run_backfill(run, &lake.env, &options, stop, |bytes| progress.update(bytes)).await?;
    progress.finish();
    let totals = totals(&lake.env, &options).await?;
    let seconds = started.elapsed().as_secs_f64();
    // Before the results: their reader may be gone by then.
    print_warnings(&tally.lock().unwrap_or_else(PoisonError::into_inner).warnings());
    let all_rejected = ended == Ended::Complete && nothing_accepted(&lake.env).await?;
    let said = say!("{totals}").and_then(|()| say!("{:.1} s, {} events/s", seconds, rate(totals.received, seconds)));
    if all_rejected {
        bail!("{ALL_REJECTED}");
    }
    said?;
    if ended == Ended::Stopped {
        return ended_early();
    }
    Ok(ExitCode::SUCCESS)
}

/// How the input is sorted: in `--sort-dir`, or else in the lake's directory, whose disk has the room (for a lake on S3, in the system's
/// directory for temporary files).
fn sorting(location: &LakeLocation, dir: Option<PathBuf>, files: &[Source]) -> Sorting {
    let dir = dir.unwrap_or_else(|| match location {
        LakeLocation::Local(dir) => dir.clone(),
        LakeLocation::S3 { .. } => SortOptions::system_dir(),
    });
    let (total, reporter) = (input::check(files).ok().flatten(), Mutex::new(None::<ProgressReporter>));
    let progress = move |bytes| {
        let mut reporter = reporter.lock().unwrap_or_else(PoisonError::into_inner);
        match bytes {
            Some(bytes) => reporter.get_or_insert_with(|| ProgressReporter::new("sort", total, "bytes")).update(bytes),
            None => reporter.take().iter_mut().for_each(ProgressReporter::finish),
        }
    };
    Sorting { dir, progress: Arc::new(progress) }
}
