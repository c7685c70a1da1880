//! Files straight into a lake, through the same worker as a stream's shard: one shard, `file`, over the whole ring.

mod outcome;

use crate::committer::commit_all;
use crate::env::Env;
use crate::error::{ConsumerError, Result};
use crate::input::Input;
use crate::open::{Opened, finish_raw_to, open_existing, open_lake, open_new};
use crate::options::Options;
use crate::poison::Poison;
use crate::registry::Registry;
use crate::worker::{Goal, SharedTally, Start, Worker};
use authpulse_event::time::format_rfc3339;
use authpulse_event::{HashRange, ShardId, parse_line};
use authpulse_lake::entry::{Backfill, BackfillFile, Entry, Source};
use authpulse_lake::{Seal, StoreError};
use authpulse_producer::input::{self, InputOptions, LineBlocks, Progress};
use authpulse_producer::tally::Tally;
use std::collections::BTreeMap;
use std::sync::Arc;

pub use outcome::nothing_accepted;

/// What to load.
#[derive(Clone, Debug)]
pub struct BackfillRequest {
    /// The files, in order.
    pub files: Vec<input::Source>,
    /// Whether what is open stays open, for a later run or a stream that continues.
    pub keep_open: bool,
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
    pub(crate) request: BackfillRequest,
    pub(crate) options: Arc<Options>,
    pub(crate) poison: Arc<Poison>,
}

impl BackfillRun {
    /// The same run over a shard that is rebuilt from its journal, after a worker was dropped.
    ///
    /// # Errors
    /// As for [`prepare`].
    pub async fn rebuild(self, env: &Env) -> Result<BackfillRun> {
        let BackfillRun { request, options, poison, worker, tally, .. } = self;
        drop(worker);
        let mut run = prepare_with(env, options, &request, poison).await?;
        run.worker.count_lines(tally.clone());
        run.tally = tally;
        Ok(run)
    }
}

/// Checks the files against the lake and begins, or continues, a run.
///
/// # Errors
/// The files cannot be read, are others than an unfinished run's, or begin below what the lake has passed.
pub async fn prepare(env: &Env, options: Arc<Options>, request: &BackfillRequest) -> Result<BackfillRun> {
    prepare_with(env, options, request, Arc::default()).await
}

async fn prepare_with(
    env: &Env,
    options: Arc<Options>,
    request: &BackfillRequest,
    poison: Arc<Poison>,
) -> Result<BackfillRun> {
    let files = identify(&request.files)?;
    env.lake.ensure_tables().await?;
    let Opened { registry, mut tails } = open_lake(env, &options).await?;
    // An earlier run may have ended between its last entry and the tables.
    commit_all(env).await?;
    refuse_stream(&tails)?;
    let key = ShardId::file();
    let tail = tails.remove(&key);
    let continued = tail.as_ref().is_some_and(|tail| continues(tail, &files, request.keep_open));
    if let Some(tail) = &tail
        && !continued
    {
        finish_raw_to(env, tail, tail.n).await?;
        let completed = env.store.size(&completion_mark(tail.n)).await?.is_some();
        if !completed {
            mark_complete(env, tail.n).await?;
        }
        refuse_others_files(tail, &files, completed)?;
        refuse_late_beginning(tail, &request.files, &options)?;
    }
    registry.set_topology(BTreeMap::from([(key.clone(), Vec::new())]), true);
    let opened = match tail {
        Some(tail) => {
            let n = tail.n;
            let opened = open_existing(env, &options, &registry, tail).await?;
            // Only a stream's shards are ended by their owners.
            opened.ok_or_else(|| ConsumerError::Fenced { shard: key.clone(), n })?
        }
        None => open_new(env, &options, &key, Source::File, HashRange::FULL, Vec::new()).await?,
    };
    let read = opened.last.position()?.sequence.as_u64().unwrap_or(0);
    let backfill = match &opened.last.backfill {
        Some(backfill) if continued => Backfill { keep_open: request.keep_open, ..backfill.clone() },
        _ => Backfill {
            run_started: env.clock.now(),
            files,
            lines_before: read,
            finished: false,
            keep_open: request.keep_open,
        },
    };
    let blocks = LineBlocks::open(
        request.files.clone(),
        InputOptions { lines_before: backfill.lines_before, ..InputOptions::default() },
    )?;
    let progress = blocks.progress();
    let name = backfill.files.iter().map(|f| f.name.as_str()).collect::<Vec<_>>().join(",");
    let start = Start {
        key: key.clone(),
        name: key,
        last: opened.last,
        inherits: Vec::new(),
        shard: opened.shard,
        input: Input::File { blocks: Some(blocks), arrival: backfill.run_started, name },
        goal: if request.keep_open { Goal::EndKeepOpen } else { Goal::Forever },
    };
    let lines_stored = read - backfill.lines_before;
    let mut worker = Worker::new(env.clone(), options.clone(), registry.clone(), poison.clone(), start)?;
    worker.set_backfill(backfill);
    let tally = SharedTally::new(Tally::new(request.files.iter().map(ToString::to_string).collect()).into());
    worker.count_lines(tally.clone());
    let request = request.clone();
    Ok(BackfillRun { worker, registry, progress, lines_stored, tally, request, options, poison })
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

fn identify(sources: &[input::Source]) -> Result<Vec<BackfillFile>> {
    let mut files = Vec::new();
    for source in sources {
        let identity = input::identify(source)?.ok_or_else(|| not_regular(source))?;
        files.push(BackfillFile { name: identity.name, bytes: identity.size, sha256: identity.sha256 });
    }
    Ok(files)
}

fn same_content(a: &[BackfillFile], b: &[BackfillFile]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.bytes == b.bytes && a.sha256 == b.sha256)
}

/// Whether this request goes on with the run that the lake's last entry belongs to.
fn continues(tail: &Entry, files: &[BackfillFile], keep_open: bool) -> bool {
    let Some(backfill) = &tail.backfill else { return false };
    let open = !backfill.finished || (tail.sealed.is_none() && !(keep_open && backfill.keep_open));
    open && same_content(&backfill.files, files)
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

/// An unfinished run is continued with its own files or not at all.
fn refuse_others_files(tail: &Entry, files: &[BackfillFile], completed: bool) -> Result<()> {
    let Some(backfill) = &tail.backfill else { return Ok(()) };
    let describe =
        |f: &BackfillFile| format!("{} ({} bytes, SHA-256 {}…)", f.name, f.bytes, &f.sha256[..12.min(f.sha256.len())]);
    if !backfill.finished {
        let theirs: Vec<String> = backfill.files.iter().map(describe).collect();
        let ours: Vec<String> = files.iter().map(describe).collect();
        return Err(ConsumerError::Refused(format!(
            "the lake's backfill of {} is not finished, and these files are others: {}; run it again with its own, unchanged files",
            theirs.join(", "),
            ours.join(", ")
        )));
    }
    // Files without a line are alike, and nothing of them is in the lake: another such run is one more.
    let holds_lines = tail.position()?.sequence.as_u64() != Some(backfill.lines_before);
    if same_content(&backfill.files, files) && holds_lines {
        let name = |(ours, theirs): (&BackfillFile, &BackfillFile)| match ours.name == theirs.name {
            true => ours.name.clone(),
            false => format!("{} (loaded as {})", ours.name, theirs.name),
        };
        let names: Vec<String> = files.iter().zip(&backfill.files).map(name).collect();
        let words = format!("{} is in the lake already; nothing to do", names.join(", "));
        // A run that was interrupted between its last entry and its end is completed by being repeated; that is no error.
        return Err(if completed { ConsumerError::Refused(words) } else { ConsumerError::NothingToDo(words) });
    }
    Ok(())
}

/// A further run must begin where the lake is open: its first event must not be late.
fn refuse_late_beginning(tail: &Entry, files: &[input::Source], options: &Options) -> Result<()> {
    let Some(open_from) = tail.watermark else { return Ok(()) };
    let blocks = LineBlocks::open(files.to_vec(), InputOptions::default())?;
    for block in blocks {
        let block = block?;
        let mut events = block.lines().filter(|line| !line.is_overlong());
        let first = events.find_map(|line| parse_line(line.bytes, options.engine.time.base).ok());
        if let Some(event) = first {
            if event.time >= open_from {
                return Ok(());
            }
            let sealed = tail.seal().and_then(Seal::up_to).is_some();
            let what = if sealed { "is sealed up to" } else { "has passed" };
            return Err(ConsumerError::Refused(format!(
                "the first event lies at {}, but the lake {what} {}: everything below would be late; load files in order of time, \
                 or use another lake",
                format_rfc3339(event.time),
                format_rfc3339(open_from)
            )));
        }
    }
    Ok(())
}
