//! Loads files straight into a lake, through the same worker as a stream's shard. There is one shard, `file`, over the whole ring.

mod files;
mod give_up;
mod order;
mod outcome;
mod passed;
mod refuse;
mod sorting;

pub use files::check_files;
pub use give_up::prepare_giving_up;
pub use order::refuse_disorder;
pub use outcome::nothing_accepted;
pub use sorting::Sorting;

use crate::committer::commit_all;
use authpulse_event::{ArrivalTime, HashRange, ShardId};
use authpulse_files::tally::Tally;
use authpulse_files::{self as input, InputOptions, LineBlocks, ReadProgress, Sorted};
use authpulse_journal::env::Env;
use authpulse_journal::error::{ConsumerError, Result};
use authpulse_journal::open::{OpenedLake, open_lake};
use authpulse_journal::registry::Registry;
use authpulse_lake::StoreError;
use authpulse_lake::entry::{Backfill, BackfillFile, Entry, Source};
use authpulse_settings::options::Options;
use authpulse_worker::begin::{OpenedShard, finish_raw_to, open_existing, open_new};
use authpulse_worker::input::Input;
use authpulse_worker::poison::Poison;
use authpulse_worker::worker::{Goal, Origins, SharedTally, Start, Worker};
use files::{identify, same_content};
use passed::{Passed, pass_over};
use refuse::{continues, passed_by, refuse_late_beginning, refuse_other_lines, refuse_stream, refuse_what_is_there};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::watch;

/// Which files a backfill loads, and how.
#[derive(Clone, Debug)]
pub struct BackfillRequest {
    /// The files, in the order in which they are read.
    pub files: Vec<input::Source>,
    /// Leave the last days open for a later run or a stream. Otherwise the lake is sealed at the end.
    pub keep_open: bool,
    /// Sort the lines of all files by event time before they are admitted.
    pub sort: Option<Sorting>,
    /// Ends the preparation once it holds true: the files are read up to three times before the first line is admitted.
    pub stop: watch::Receiver<bool>,
}

impl BackfillRequest {
    /// Files as they are, unsorted, sealed at the end. Nothing stops it.
    pub fn new(files: Vec<input::Source>) -> BackfillRequest {
        BackfillRequest { files, keep_open: false, sort: None, stop: watch::channel(false).1 }
    }

    /// Whether it was not told to stop yet.
    fn goes_on(&self) -> bool {
        !*self.stop.borrow()
    }
}

/// A backfill that is ready to run.
pub struct BackfillRun {
    /// The worker to step until it is done.
    pub worker: Worker,
    /// The registry, which holds the one shard of files.
    pub registry: Arc<Registry>,
    /// How far the files have been read.
    pub progress: Arc<ReadProgress>,
    /// How many lines of this run an interrupted attempt stored already.
    pub lines_stored: u64,
    /// What became of the lines of this run, counted by file.
    pub tally: SharedTally,
    /// What this run does, so that it can be rebuilt.
    pub(crate) what: What,
    /// The options, with what the lake has stored of them.
    pub(crate) options: Arc<Options>,
    /// Lines at which a worker panicked; kept when the run is rebuilt.
    pub(crate) poison: Arc<Poison>,
}

/// What a run does.
pub(crate) enum What {
    /// Loads files. With their sorted lines, if sorting was asked for.
    Load(BackfillRequest, Option<Arc<Sorted>>),
    /// Gives the unfinished run up.
    GiveUp,
}

impl BackfillRun {
    /// The same run with a new worker, whose shard is rebuilt from its journal. For use after a panic.
    ///
    /// # Errors
    /// As for [`prepare`], or for a run that gives up as for [`prepare_giving_up`].
    pub async fn rebuild(self, env: &Env) -> Result<BackfillRun> {
        let BackfillRun { what, options, poison, worker, tally, .. } = self;
        drop(worker);
        let mut run = match what {
            What::Load(request, sorted) => prepare_with(env, options, &request, sorted, poison).await?,
            What::GiveUp => give_up::prepare_with(env, options, poison).await?,
        };
        run.worker.count_lines(tally.clone());
        run.tally = tally;
        Ok(run)
    }
}

/// Checks the files against the lake, and begins or continues a run.
///
/// # Errors
/// The files cannot be read, are not those of an unfinished run, are not in order of time, begin below the lake's watermark, or are in
/// the lake already. The lake follows a stream, or cannot be read. If stopped, it ends with
/// [`InputError::ToldToEnd`](input::InputError::ToldToEnd); the next run continues from what the lake holds.
pub async fn prepare(env: &Env, options: Arc<Options>, request: &BackfillRequest) -> Result<BackfillRun> {
    prepare_with(env, options, request, None, Arc::default()).await
}

async fn prepare_with(
    env: &Env,
    options: Arc<Options>,
    request: &BackfillRequest,
    sorted: Option<Arc<Sorted>>,
    poison: Arc<Poison>,
) -> Result<BackfillRun> {
    let files = identify(request)?;
    env.lake.ensure_tables().await?;
    let OpenedLake { registry, mut tails, options } = open_lake(env, &options).await?;
    // An earlier run may have ended after its last entry and before the tables had it.
    commit_all(env).await?;
    refuse_stream(&tails)?;
    let tail = tails.remove(&ShardId::file());
    let continued = tail.as_ref().map_or(Ok(false), |tail| continues(tail, &files, request))?;
    let other = tail.as_ref().filter(|_| !continued);
    if let Some(other) = other {
        complete(env, other, &files).await?;
    }
    let sorted = sort_behind(env, other, request, &options, sorted).await?;
    let Unread { before, progress, passed } = unread(tail.as_ref(), continued, request, sorted.as_ref())?;
    let mut begun_with = None;
    if let Some(tail) = tail.as_ref().filter(|_| continued) {
        refuse_other_lines(tail, &files, &passed)?;
        begun_with = tail.backfill.as_ref().map(|run| &run.files);
    }
    // The files that a run began with are in order, which was checked then. If files were repaired or changed since, it is checked again.
    if request.sort.is_none() && begun_with.is_none_or(|begun_with| !same_content(begun_with, &files)) {
        refuse_disorder(&request.files, &options, env.clock.now(), &request.stop)?;
    }
    let opened = open_shard(env, &options, &registry, tail).await?;
    let keep_open = request.keep_open;
    let backfill = match &opened.last.backfill {
        // A repaired file has other bytes, and perhaps another name.
        Some(backfill) if continued => Backfill { keep_open, files, ..backfill.clone() },
        _ => Backfill {
            run_started: env.clock.now(),
            files,
            lines_before: before,
            keep_open,
            sorted: sorted.is_some(),
            ..Backfill::default()
        },
    };
    let Passed { rest, blocks, digest, lines: lines_stored, waiting } = passed;
    let input = Input::File {
        blocks: Some(blocks),
        next: rest,
        arrival: ArrivalTime::of_run(backfill.run_started),
        name: backfill.files.iter().map(|f| f.name.as_str()).collect::<Vec<_>>().join(","),
    };
    let start = start_of(opened, input, if keep_open { Goal::EndKeepOpen } else { Goal::Forever });
    let mut worker = Worker::new(env.clone(), options.clone(), registry.clone(), poison.clone(), start)?;
    worker.set_backfill(backfill, digest);
    if let Some(sorted) = &sorted {
        worker.set_origins(Origins::new(sorted.clone(), waiting));
    }
    let tally = tally_of(request, sorted.is_some());
    worker.count_lines(tally.clone());
    let what = What::Load(request.clone(), sorted);
    Ok(BackfillRun { worker, registry, progress, lines_stored, tally, what, options, poison })
}

/// Completes the earlier run whose last entry is `other`, and refuses to load its files again.
async fn complete(env: &Env, other: &Entry, files: &[BackfillFile]) -> Result<()> {
    finish_raw_to(env, other, other.n).await?;
    let completed = env.store.size(&completion_mark(other.n)).await?.is_some();
    if !completed {
        mark_complete(env, other.n).await?;
    }
    refuse_what_is_there(other, files, completed)
}

/// Sorts the lines, if that is asked for and not done yet. Refuses lines that begin below the watermark of the earlier run `other`.
async fn sort_behind(
    env: &Env,
    other: Option<&Entry>,
    request: &BackfillRequest,
    options: &Options,
    mut sorted: Option<Arc<Sorted>>,
) -> Result<Option<Arc<Sorted>>> {
    let open_from = other.and_then(|other| Some((other.watermark?, passed_by(other))));
    // Checked before sorting as well, because sorting takes long: no file may begin below the watermark.
    refuse_late_beginning(open_from, request, options)?;
    if let (Some(sorting), None) = (&request.sort, &sorted) {
        sorted = Some(sorting::sort(env, sorting, request, options).await?);
    }
    if let (Some(sorted), Some((watermark, what))) = (&sorted, open_from) {
        sorting::refuse_late_beginning(sorted, watermark, what)?;
    }
    Ok(sorted)
}

/// The lines of a run that are not stored yet.
struct Unread {
    /// How many lines of earlier runs come before this run's first line.
    before: u64,
    progress: Arc<ReadProgress>,
    /// The input, behind the lines that are stored.
    passed: Passed,
}

/// Opens the files, or their sorted lines, and passes over the lines that an interrupted attempt stored.
fn unread(
    tail: Option<&Entry>,
    continued: bool,
    request: &BackfillRequest,
    sorted: Option<&Arc<Sorted>>,
) -> Result<Unread> {
    let (mut before, mut through, mut waiting) = (0, 0, BTreeSet::new());
    if let Some(tail) = tail {
        through = tail.position()?.sequence.as_u64().unwrap_or(0);
        before = tail.backfill.as_ref().filter(|_| continued).map_or(through, |run| run.lines_before);
        waiting = waiting_lines(tail)?;
    }
    let how = InputOptions { lines_before: before, ..InputOptions::default() };
    let blocks = match sorted {
        Some(sorted) => LineBlocks::sorted(sorted.clone(), how)?,
        None => LineBlocks::open(request.files.clone(), how)?,
    };
    let progress = blocks.progress();
    let passed = pass_over(blocks, before, through, &waiting, &|| request.goes_on())?;
    Ok(Unread { before, progress, passed })
}

/// Takes over the shard of files, or begins it.
async fn open_shard(env: &Env, options: &Options, registry: &Registry, tail: Option<Entry>) -> Result<OpenedShard> {
    let key = ShardId::file();
    registry.set_topology(BTreeMap::from([(key.clone(), Vec::new())]), true);
    let Some(tail) = tail else {
        return open_new(env, options, &key, Source::File, HashRange::FULL, Vec::new()).await;
    };
    let n = tail.n;
    let opened = open_existing(env, options, registry, tail).await?;
    // The files were passed over up to `tail`: if the entry that takes the shard over is not the next, another process has stored some
    // in between. `None` would mean an ended shard, but only shards of a stream end.
    let opened = opened.filter(|opened| opened.last.n == n + 1);
    opened.ok_or(ConsumerError::Fenced { shard: key, n })
}

/// An empty tally in which the lines of a run are counted by file.
fn tally_of(request: &BackfillRequest, sorted: bool) -> SharedTally {
    let files = match request.files.as_slice() {
        // The sorted lines of several files are mixed, so they are counted together.
        [_, _, ..] if sorted => vec!["the files of this run".to_owned()],
        files => files.iter().map(ToString::to_string).collect(),
    };
    SharedTally::new(Tally::new(files).into())
}

/// How the worker of the shard of files starts: behind its last entry.
fn start_of(opened: OpenedShard, input: Input, goal: Goal) -> Start {
    let OpenedShard { last, shard, inherits } = opened;
    Start { key: ShardId::file(), name: ShardId::file(), last, inherits, shard, input, goal }
}

/// The numbers of the lines whose events wait.
fn waiting_lines(tail: &Entry) -> Result<BTreeSet<u64>> {
    let mut lines = BTreeSet::new();
    for waiting in &tail.waiting {
        let cause = |cause| ConsumerError::Entry(tail.damaged(cause));
        lines.extend(waiting.place().position().map_err(cause)?.sequence.as_u64());
    }
    Ok(lines)
}

/// The file whose existence says that the run with the last entry `n` is complete, tables included.
fn completion_mark(n: u64) -> String {
    format!("state/backfill-{n}.complete")
}

/// Notes that the run with the last entry `n` is complete, tables included. May be repeated.
///
/// # Errors
/// The mark cannot be stored.
pub async fn mark_complete(env: &Env, n: u64) -> Result<()> {
    match env.store.put_new(&completion_mark(n), bytes::Bytes::new()).await {
        Ok(()) | Err(StoreError::AlreadyExists { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
