//! A run whose lines are sorted before they are admitted.

use super::BackfillRequest;
use authpulse_event::EventTime;
use authpulse_event::time::format_rfc3339;
use authpulse_files::{self as input, SortOptions, Sorted};
use authpulse_journal::env::{Env, start};
use authpulse_journal::error::{ConsumerError, Result};
use authpulse_journal::refusal::Refusal;
use authpulse_settings::options::Options;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// How the lines of a run are sorted.
#[derive(Clone)]
pub struct Sorting {
    /// The directory for temporary files.
    pub dir: PathBuf,
    /// Called with the bytes read so far, and with `None` when sorting has ended.
    pub progress: Arc<dyn Fn(Option<u64>) + Send + Sync>,
}

impl fmt::Debug for Sorting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sorting").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// Sorts the lines of a request's files on another thread.
///
/// # Errors
/// A file or a temporary file cannot be read or written, the request was stopped, or sorting panicked.
pub(super) async fn sort(
    env: &Env,
    sorting: &Sorting,
    request: &BackfillRequest,
    options: &Options,
) -> Result<Arc<Sorted>> {
    let (files, stop, Sorting { dir, progress }) = (request.files.clone(), request.stop.clone(), sorting.clone());
    let how = SortOptions::new(&dir, options.engine.time.base);
    let sorted = start(&*env.work, async move {
        input::sort(&files, &how, |read_bytes| {
            progress(Some(read_bytes));
            !*stop.borrow()
        })
    });
    let bug = || ConsumerError::Bug("sorting".to_owned());
    let sorted = sorted.await;
    (sorting.progress)(None);
    Ok(Arc::new(sorted.ok_or_else(bug)??))
}

/// Refuses a further sorted run whose earliest event would be late. `what` says how the lake came by its watermark.
///
/// # Errors
/// [`ConsumerError::Refused`] if that event lies below the watermark `open_from`.
pub(super) fn refuse_late_beginning(sorted: &Sorted, open_from: EventTime, what: &str) -> Result<()> {
    match sorted.first_event() {
        Some((time, origin)) if time < open_from => Err(Refusal::LateBeginning(format!(
            "the earliest event, in line {} of {}, lies at {}, but the lake {what} {}: everything below would be late; use another lake, \
             or leave out what lies below",
            origin.line,
            sorted.name(origin.source),
            format_rfc3339(time),
            format_rfc3339(open_from)
        ))
        .into()),
        _ => Ok(()),
    }
}
