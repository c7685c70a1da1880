//! Files straight into a lake, through the same worker as a stream's shard: one shard, `file`, over the whole ring.

mod give_up;
mod order;
mod outcome;
mod passed;
mod sorting;

pub use give_up::prepare_giving_up;
pub use order::refuse_disorder;
pub use outcome::nothing_accepted;
pub use sorting::Sorting;

use crate::committer::commit_all;
use authpulse_event::time::format_rfc3339;
use authpulse_event::{ArrivalTime, EventTime, HashRange, ShardId};
use authpulse_files::tally::Tally;
use authpulse_files::{self as input, InputOptions, LineBlocks, Progress, Sorted};
use authpulse_journal::backfills::{given_up_words, names};
use authpulse_journal::env::Env;
use authpulse_journal::error::{ConsumerError, Result};
use authpulse_journal::open::{Opened, open_lake};
use authpulse_journal::registry::Registry;
use authpulse_lake::entry::{Backfill, BackfillFile, Entry, Source};
use authpulse_lake::{Seal, StoreError};
use authpulse_settings::options::Options;
use authpulse_worker::begin::{OpenedShard, finish_raw_to, open_existing, open_new};
use authpulse_worker::input::Input;
use authpulse_worker::poison::Poison;
use authpulse_worker::worker::{Goal, Origins, SharedTally, Start, Worker};
use passed::{Passed, pass_over, stored_lines};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::watch;

/// What to load.
#[derive(Clone, Debug)]
pub struct BackfillRequest {
    /// The files, in order.
    pub files: Vec<input::Source>,
    /// Whether what is open stays open, for a later run or a stream that continues.
    pub keep_open: bool,
    /// Orders the lines of all files by event time before they are judged.
    pub sort: Option<Sorting>,
    /// Ends what comes before the first line is judged, once it holds true: files are read up to three times by then.
    pub stop: watch::Receiver<bool>,
}

impl BackfillRequest {
    /// Files as they are, sealed at their end, which nobody stops.
    pub fn new(files: Vec<input::Source>) -> BackfillRequest {
        BackfillRequest { files, keep_open: false, sort: None, stop: watch::channel(false).1 }
    }

    /// Whether nobody has stopped it yet.
    fn goes_on(&self) -> bool {
        !*self.stop.borrow()
    }
}

/// A backfill that is ready to run.
pub struct BackfillRun {
    /// The worker to step until it is done.
    pub worker: Worker,
    /// What shards know of each other (there is one).
    pub registry: Arc<Registry>,
    /// How far the files are read.
    pub progress: Arc<Progress>,
    /// Lines of this run that an interrupted attempt stored already.
    pub lines_stored: u64,
    /// What became of the lines of this run.
    pub tally: SharedTally,
    pub(crate) what: What,
    pub(crate) options: Arc<Options>,
    pub(crate) poison: Arc<Poison>,
}

/// What a run does.
pub(crate) enum What {
    /// Loads files, whose lines may be sorted already.
    Load(BackfillRequest, Option<Arc<Sorted>>),
    /// Gives up what is unfinished.
    GiveUp,
}

impl BackfillRun {
    /// The same run over a shard that is rebuilt from its journal, after a worker was dropped.
    ///
    /// # Errors
    /// As for [`prepare`].
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

/// Checks the files against the lake and begins, or continues, a run.
///
/// # Errors
/// The files cannot be read, are others than an unfinished run's, lie in no order, or begin below what the lake has passed. Stopped it
/// ends with [`InputError::ToldToEnd`](input::InputError::ToldToEnd): what the lake holds is continued by the next run.
pub async fn prepare(env: &Env, options: Arc<Options>, request: &BackfillRequest) -> Result<BackfillRun> {
    prepare_with(env, options, request, None, Arc::default()).await
}

async fn prepare_with(
    env: &Env,
    options: Arc<Options>,
    request: &BackfillRequest,
    mut sorted: Option<Arc<Sorted>>,
    poison: Arc<Poison>,
) -> Result<BackfillRun> {
    let files = identify(request)?;
    env.lake.ensure_tables().await?;
    let Opened { registry, mut tails, options } = open_lake(env, &options).await?;
    // An earlier run may have ended between its last entry and the tables.
    commit_all(env).await?;
    refuse_stream(&tails)?;
    let key = ShardId::file();
    let tail = tails.remove(&key);
    let continued = tail.as_ref().map_or(Ok(false), |tail| continues(tail, &files, request))?;
    let mut open_from = None;
    if !continued {
        if let Some(tail) = &tail {
            finish_raw_to(env, tail, tail.n).await?;
            let completed = env.store.size(&completion_mark(tail.n)).await?.is_some();
            if !completed {
                mark_complete(env, tail.n).await?;
            }
            refuse_what_is_there(tail, &files, completed)?;
            open_from = tail.watermark.map(|watermark| (watermark, passed_by(tail)));
        }
        // Of sorted files, too, none may begin below: better told before they are sorted.
        refuse_late_beginning(open_from, request, &options)?;
    }
    if let (Some(sorting), None) = (&request.sort, &sorted) {
        sorted = Some(sorting::sort(env, sorting, request, &options).await?);
    }
    if let (Some(sorted), Some((watermark, what))) = (&sorted, open_from) {
        sorting::refuse_late_beginning(sorted, watermark, what)?;
    }
    let (before, through) = match &tail {
        Some(tail) => {
            let through = tail.position()?.sequence.as_u64().unwrap_or(0);
            let before = tail.backfill.as_ref().filter(|_| continued).map_or(through, |run| run.lines_before);
            (before, through)
        }
        None => (0, 0),
    };
    let how = InputOptions { lines_before: before, ..InputOptions::default() };
    let blocks = match &sorted {
        Some(sorted) => LineBlocks::sorted(sorted.clone(), how)?,
        None => LineBlocks::open(request.files.clone(), how)?,
    };
    let progress = blocks.progress();
    let waiting = tail.as_ref().map_or(Ok(BTreeSet::new()), waiting_lines)?;
    let passed = pass_over(blocks, before, through, &waiting, &|| request.goes_on())?;
    let mut begun_with = None;
    if let Some(tail) = tail.as_ref().filter(|_| continued) {
        refuse_other_lines(tail, &files, &passed)?;
        begun_with = tail.backfill.as_ref().map(|run| &run.files);
    }
    // What a run began with lies in order; what was mended stays where it was, and what came to it must lie in order as well.
    if request.sort.is_none() && begun_with.is_none_or(|begun_with| !same_content(begun_with, &files)) {
        refuse_disorder(&request.files, &options, env.clock.now(), &request.stop)?;
    }
    registry.set_topology(BTreeMap::from([(key.clone(), Vec::new())]), true);
    let opened = match tail {
        Some(tail) => {
            let n = tail.n;
            let opened = open_existing(env, &options, &registry, tail).await?;
            // Only a stream's shards are ended by their owners; and what was read above ends where the tail did.
            let opened = opened.filter(|opened| opened.last.n == n + 1);
            opened.ok_or_else(|| ConsumerError::Fenced { shard: key.clone(), n })?
        }
        None => open_new(env, &options, &key, Source::File, HashRange::FULL, Vec::new()).await?,
    };
    let keep_open = request.keep_open;
    let backfill = match &opened.last.backfill {
        // A file that was mended has other bytes, and perhaps another name.
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
    // The lines of sorted files are mixed.
    let counted = match (&sorted, request.files.as_slice()) {
        (Some(_), [_, _, ..]) => vec!["the files of this run".to_owned()],
        (_, files) => files.iter().map(ToString::to_string).collect(),
    };
    let tally = SharedTally::new(Tally::new(counted).into());
    worker.count_lines(tally.clone());
    let what = What::Load(request.clone(), sorted);
    Ok(BackfillRun { worker, registry, progress, lines_stored, tally, what, options, poison })
}

/// The one shard of files, from where its last entry ends.
fn start_of(opened: OpenedShard, input: Input, goal: Goal) -> Start {
    let OpenedShard { last, shard, inherits } = opened;
    Start { key: ShardId::file(), name: ShardId::file(), last, inherits, shard, input, goal }
}

/// The lines of a run whose events wait.
fn waiting_lines(tail: &Entry) -> Result<BTreeSet<u64>> {
    let mut lines = BTreeSet::new();
    for waiting in &tail.waiting {
        let cause = |cause| ConsumerError::Entry(tail.damaged(cause));
        lines.extend(waiting.place().position().map_err(cause)?.sequence.as_u64());
    }
    Ok(lines)
}

/// The file that says that a run whose last entry is `n` was brought to its very end, tables and all.
fn completion_mark(n: u64) -> String {
    format!("state/backfill-{n}.complete")
}

/// Notes that a run was brought to its very end.
///
/// # Errors
/// The mark cannot be stored.
pub async fn mark_complete(env: &Env, n: u64) -> Result<()> {
    match env.store.put_new(&completion_mark(n), bytes::Bytes::new()).await {
        Ok(()) | Err(StoreError::AlreadyExists { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Looks at the files without reading them, and refuses what no backfill can load; a command does this before it makes a lake.
///
/// # Errors
/// One is missing, cannot be opened, or is not a regular file.
pub fn check_files(sources: &[input::Source]) -> Result<()> {
    input::check(sources)?;
    for source in sources {
        input::stamp(source)?.ok_or_else(|| not_regular(source))?;
    }
    Ok(())
}

fn not_regular(source: &input::Source) -> ConsumerError {
    ConsumerError::Refused(format!(
        "{source} is not a regular file: a backfill must be able to read it again after an interruption; save it to a \
         file, or replay it into a stream"
    ))
}

fn identify(request: &BackfillRequest) -> Result<Vec<BackfillFile>> {
    let mut files = Vec::new();
    for source in &request.files {
        let identity = input::identify(source, &|| request.goes_on())?.ok_or_else(|| not_regular(source))?;
        files.push(BackfillFile { name: identity.name, bytes: identity.size, sha256: identity.sha256 });
    }
    Ok(files)
}

fn same_content(a: &[BackfillFile], b: &[BackfillFile]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.bytes == b.bytes && a.sha256 == b.sha256)
}

/// Files for people, so that one is told from another of its name.
fn describe(files: &[BackfillFile]) -> String {
    let each =
        |f: &BackfillFile| format!("{} ({} bytes, SHA-256 {}…)", f.name, f.bytes, &f.sha256[..12.min(f.sha256.len())]);
    files.iter().map(each).collect::<Vec<_>>().join(", ")
}

/// What to do where an unfinished run cannot be continued.
const OR_GIVE_UP: &str =
    "or, if they are lost or cannot be read to their end, end that run with `authpulse backfill --give-up`";

/// Whether this request goes on with the run that the lake's last entry belongs to. Where that run has a digest, its lines are still
/// to be compared ([`refuse_other_lines`]).
fn continues(tail: &Entry, files: &[BackfillFile], request: &BackfillRequest) -> Result<bool> {
    let Some(backfill) = &tail.backfill else { return Ok(false) };
    let same = same_content(&backfill.files, files);
    let open = match (backfill.finished, backfill.given_up) {
        (false, _) => true,
        (true, Some(_)) => false,
        (true, None) => same && tail.sealed.is_none() && !(request.keep_open && backfill.keep_open),
    };
    if open && backfill.sorted != request.sort.is_some() {
        let how =
            if backfill.sorted { "with --sort: run it again with it" } else { "without --sort: run it again without" };
        return Err(ConsumerError::Refused(format!(
            "the lake's backfill of {} is not finished, and was begun {how}; {OR_GIVE_UP}",
            names(&backfill.files)
        )));
    }
    if open && !same && backfill.digest.is_none() {
        return Err(ConsumerError::Refused(format!(
            "the lake's backfill of {} is not finished, and these files are others: {}; run it again with its own, unchanged files, \
             {OR_GIVE_UP}",
            describe(&backfill.files),
            describe(files)
        )));
    }
    Ok(open)
}

/// An unfinished run is continued with the lines that it began with, or not at all; how the files are packed does not matter.
fn refuse_other_lines(tail: &Entry, files: &[BackfillFile], passed: &Passed) -> Result<()> {
    let Some(backfill) = &tail.backfill else { return Ok(()) };
    // A run of before has the bytes of its own files to go by.
    let Some(digest) = &backfill.digest else { return Ok(()) };
    let stored = stored_lines(tail, backfill)?;
    let why = if passed.lines < stored {
        format!("these hold only {} of the {stored} lines that are stored", passed.lines)
    } else if *digest != passed.digest.hex() {
        format!("these do not begin with the {stored} lines that are stored")
    } else {
        return Ok(());
    };
    Err(ConsumerError::Refused(format!(
        "the lake's backfill of {} is not finished, and {why}: {}; run it again with its own files, unpacked or fetched again if need \
         be, {OR_GIVE_UP}",
        describe(&backfill.files),
        describe(files)
    )))
}

fn refuse_stream(tails: &BTreeMap<ShardId, Entry>) -> Result<()> {
    let stream = tails.values().find_map(|tail| match &tail.source {
        Source::Stream { name, .. } => Some(name),
        Source::File => None,
    });
    match stream {
        Some(name) => Err(ConsumerError::Refused(format!(
            "the lake is continued by the stream '{name}': history comes first; backfill into another lake"
        ))),
        None => Ok(()),
    }
}

/// Files that are in the lake already are not loaded again.
fn refuse_what_is_there(tail: &Entry, files: &[BackfillFile], completed: bool) -> Result<()> {
    let Some(backfill) = tail.backfill.as_ref().filter(|backfill| same_content(&backfill.files, files)) else {
        return Ok(());
    };
    if let Some(line) = backfill.given_up {
        return Err(ConsumerError::Refused(given_up_words(backfill, line)));
    }
    // Files without a line are alike, and nothing of them is in the lake: another such run is one more.
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
    // A run that was interrupted between its last entry and its end is completed by being repeated; that is no error.
    Err(if completed { ConsumerError::Refused(words) } else { ConsumerError::NothingToDo(words) })
}

/// How a lake came by its watermark.
fn passed_by(tail: &Entry) -> &'static str {
    if tail.seal().and_then(Seal::up_to).is_some() { "is sealed up to" } else { "has passed" }
}

/// A further run must begin where the lake is open: its first event must not be late, nor that of any file that is to be sorted.
fn refuse_late_beginning(
    open_from: Option<(EventTime, &str)>,
    request: &BackfillRequest,
    options: &Options,
) -> Result<()> {
    let Some((open_from, what)) = open_from else { return Ok(()) };
    // Each file of a sorted run by itself, the files of another as one.
    let parts = request.files.chunks(if request.sort.is_some() { 1 } else { request.files.len().max(1) });
    for files in parts {
        let Some(first) = input::first_event(files, options.engine.time.base, EventTime::MAX, &|| request.goes_on())?
        else {
            continue;
        };
        if first < open_from {
            return Err(ConsumerError::Refused(format!(
                "the first event lies at {}, but the lake {what} {}: everything below would be late; load files in order of time, \
                 or use another lake",
                format_rfc3339(first),
                format_rfc3339(open_from)
            )));
        }
    }
    Ok(())
}
