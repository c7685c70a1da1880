//! Whether a backfill of these files can go on with what the lake holds, and if not, why.

use super::BackfillRequest;
use super::files::{describe, same_content};
use super::passed::{Passed, stored_lines};
use authpulse_event::time::format_rfc3339;
use authpulse_event::{EventTime, ShardId};
use authpulse_files as input;
use authpulse_journal::backfills::{given_up_words, names};
use authpulse_journal::error::{ConsumerError, Result};
use authpulse_journal::refusal::{LinesDiffer, Refusal};
use authpulse_lake::Seal;
use authpulse_lake::entry::{BackfillFile, Entry, Source};
use authpulse_settings::options::Options;
use std::collections::BTreeMap;

/// Whether this request continues the run of the lake's last entry. If that run has a digest of its lines, they are still to be
/// compared ([`refuse_other_lines`]).
///
/// # Errors
/// The run is unfinished, but began with the other choice of `--sort`, or has no digest and these files are others.
pub(super) fn continues(tail: &Entry, files: &[BackfillFile], request: &BackfillRequest) -> Result<bool> {
    let Some(backfill) = &tail.backfill else { return Ok(false) };
    let same = same_content(&backfill.files, files);
    let open = match (backfill.finished, backfill.given_up) {
        (false, _) => true,
        (true, Some(_)) => false,
        (true, None) => same && tail.sealed.is_none() && !(request.keep_open && backfill.keep_open),
    };
    if open && backfill.sorted != request.sort.is_some() {
        return Err(Refusal::OtherOrder { files: names(&backfill.files), sorted: backfill.sorted }.into());
    }
    if open && !same && backfill.digest.is_none() {
        return Err(Refusal::OtherFiles { files: describe(&backfill.files), others: describe(files) }.into());
    }
    Ok(open)
}

/// An unfinished run is continued only with the lines that it began with. How the files are packed does not matter.
///
/// # Errors
/// The files do not begin with the lines that are stored, or the entry is damaged.
pub(super) fn refuse_other_lines(tail: &Entry, files: &[BackfillFile], passed: &Passed) -> Result<()> {
    let Some(backfill) = &tail.backfill else { return Ok(()) };
    // An older program stored no digest; for its runs, `continues` has compared the files.
    let Some(digest) = &backfill.digest else { return Ok(()) };
    let stored = stored_lines(tail, backfill)?;
    let lines = if passed.lines < stored {
        LinesDiffer::Fewer { lines: passed.lines, stored }
    } else if *digest != passed.digest.hex() {
        LinesDiffer::Others { stored }
    } else {
        return Ok(());
    };
    Err(Refusal::OtherLines { files: describe(&backfill.files), lines, others: describe(files) }.into())
}

/// Refuses a lake that follows a stream: it cannot take history any more.
///
/// # Errors
/// [`ConsumerError::Refused`] if one of the last entries is of a stream.
pub(super) fn refuse_stream(tails: &BTreeMap<ShardId, Entry>) -> Result<()> {
    let stream = tails.values().find_map(|tail| match &tail.source {
        Source::Stream { name, .. } => Some(name),
        Source::File => None,
    });
    match stream {
        Some(name) => Err(Refusal::ContinuedByStream(name.to_string()).into()),
        None => Ok(()),
    }
}

/// Refuses files that are in the lake already.
///
/// # Errors
/// They are: [`ConsumerError::NothingToDo`] if the run was not `completed` before, otherwise [`ConsumerError::Refused`]. Or the entry is
/// damaged.
pub(super) fn refuse_what_is_there(tail: &Entry, files: &[BackfillFile], completed: bool) -> Result<()> {
    let Some(backfill) = tail.backfill.as_ref().filter(|backfill| same_content(&backfill.files, files)) else {
        return Ok(());
    };
    if let Some(line) = backfill.given_up {
        return Err(Refusal::GivenUp(given_up_words(backfill, line)).into());
    }
    // All files without a line are equal, and put nothing into the lake: they may be loaded again.
    let holds_lines = tail.position()?.sequence.as_u64() != Some(backfill.lines_before);
    if !holds_lines {
        return Ok(());
    }
    let name = |(ours, theirs): (&BackfillFile, &BackfillFile)| match ours.name == theirs.name {
        true => ours.name.clone(),
        false => format!("{} (loaded as {})", ours.name, theirs.name),
    };
    let names: Vec<String> = files.iter().zip(&backfill.files).map(name).collect();
    let words = format!("{} is in the lake already; nothing to do", names.join(", "));
    // Repeating a run that was interrupted after its last entry completes it; that is no error.
    Err(if completed { Refusal::InLakeAlready(words).into() } else { ConsumerError::NothingToDo(words) })
}

/// How a lake came by its watermark, in words for an error.
pub(super) fn passed_by(tail: &Entry) -> &'static str {
    if tail.seal().and_then(Seal::up_to).is_some() { "is sealed up to" } else { "has passed" }
}

/// The first event of a further run must not be late; in a run that is to be sorted, the first event of no file may be. `open_from` is
/// the lake's watermark and how it came by it.
///
/// # Errors
/// The first event lies below the watermark, a file cannot be read, or the request was stopped.
pub(super) fn refuse_late_beginning(
    open_from: Option<(EventTime, &str)>,
    request: &BackfillRequest,
    options: &Options,
) -> Result<()> {
    let Some((open_from, what)) = open_from else { return Ok(()) };
    // Each file of a sorted run is checked; otherwise only the first event of all files.
    let parts = request.files.chunks(if request.sort.is_some() { 1 } else { request.files.len().max(1) });
    for files in parts {
        let Some(first) = input::first_event(files, options.engine.time.base, EventTime::MAX, &|| request.goes_on())?
        else {
            continue;
        };
        if first < open_from {
            return Err(Refusal::LateBeginning(format!(
                "the first event lies at {}, but the lake {what} {}: everything below would be late; load files in order of time, \
                 or use another lake",
                format_rfc3339(first),
                format_rfc3339(open_from)
            ))
            .into());
        }
    }
    Ok(())
}
