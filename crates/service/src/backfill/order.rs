//! Checks the order of a run's files before a line is admitted.

use authpulse_engine::settings::ARRIVAL_SLACK;
use authpulse_event::{ArrivalTime, ProcessingTime};
use authpulse_files::{Source, find_disorder};
use authpulse_journal::error::Result;
use authpulse_journal::refusal::Refusal;
use authpulse_settings::options::Options;
use tokio::sync::watch;

/// Refuses the files if one begins more than the tolerance below the beginning of any file named before it: most of it would be late.
/// Files may overlap otherwise; their lines are admitted one by one. `now` is when the files arrive. Events ahead of it will be rejected
/// as `future`, so they do not count as a file's beginning. `stop` ends the check once it holds true.
///
/// # Errors
/// Two files are out of order (the error names both, with times), a file cannot be read, or the check was stopped.
pub fn refuse_disorder(
    files: &[Source],
    options: &Options,
    now: ProcessingTime,
    stop: &watch::Receiver<bool>,
) -> Result<()> {
    let time = &options.engine.time;
    let at_most = ArrivalTime::of_run(now).as_event_time() + ARRIVAL_SLACK;
    match find_disorder(files, time.base, time.tolerance, at_most, &|| !*stop.borrow())? {
        Some(disorder) => Err(Refusal::Disorder(disorder.to_string()).into()),
        None => Ok(()),
    }
}
