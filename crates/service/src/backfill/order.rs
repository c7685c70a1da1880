//! The order of a run's files, looked at before a line is admitted.

use authpulse_engine::settings::ARRIVAL_SLACK;
use authpulse_event::{ArrivalTime, ProcessingTime};
use authpulse_files::{Source, find_disorder};
use authpulse_journal::error::Result;
use authpulse_journal::refusal::Refusal;
use authpulse_settings::options::Options;
use tokio::sync::watch;

/// Refuses files of which one begins below the newest beginning of those named before it, less the tolerance: most of it would be
/// late. What files only overlap by is admitted line by line. `now` is when they arrive: what lies ahead of that is rejected as `future`,
/// and its file begins behind it. `stop` ends it once it holds true.
///
/// # Errors
/// Names both files and times, or one cannot be read, or it was stopped.
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
