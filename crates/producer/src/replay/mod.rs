//! Sends the lines of an input into a stream, in order, at a given pace, each exactly once.
//!
//! ```text
//!  thread "authpulse-input"    thread "authpulse-replay"                  the caller's task
//!  LineBlocks ---------------> parse, wire form, Batch ---- 1 queued ---> Pacer, put + note, progress
//!              4 blocks        (batch, wire, Schedule)                    (pace, send, state)
//! ```
//!
//! - **What is sent.** Every line that is a record (a blank one is none), so that a consumer decides about it as a
//!   backfill of the same file would; `wire.rs` says how.
//! - **Order.** That of the input: within a shard, records lie in the order of their lines.
//! - **Exactly once.** Each append stores, with its records, a note of how far the job is. A replay of the same bytes (the
//!   job: size and SHA-256 of every input, in order; names do not matter) goes on after the last line that is in the stream, however the
//!   earlier one ended. A job that was sent to its end sends nothing more. Standard input and pipes cannot be read again: there nothing is
//!   resumed, but each line is still sent once. Two replays of one input at the same time know nothing of each other and send it twice.
//! - **Clock.** Events are sent with their own times, or with times that make the first of them now ([`Shift`]; it is noted as well).
//!   The same input with its own times and with others are two jobs.
//! - **Base.** It only decides whether an integer time lies before the year 10000. Give the consumer's: under another, a line
//!   with such a time may fare otherwise than in a backfill.

mod batch;
mod error;
mod live;
mod pace;
mod send;
mod state;
#[cfg(test)]
mod tests;
mod wire;

use std::io::Read;
use std::time::Duration;

use authpulse_event::EventTime;
use authpulse_event::time::DEFAULT_BASE;
use authpulse_stream::StreamWriter;
use authpulse_stream::limits::MAX_PUT_RECORDS;
use tokio::sync::{oneshot, watch};

use authpulse_files::{self, InputError, InputOptions, LineBlocks, Source};
pub use batch::{BATCH_BYTES, BATCH_RECORDS_DEFAULT};
use batch::{BatchOptions, End};
pub use error::ReplayError;
use live::Live;
pub use live::{Clock, LIVE_WAIT_MAX, Shift};
pub use pace::{
    BURST, PACE_MAX, PACE_MIN, Pace, PaceClock, RATE_DEFAULT, SPEED_RESTART, SPEED_WAIT_MAX, SystemPace, TICK,
};
use pace::{Pacer, stopped};
pub use send::{BACKOFF_FIRST, BACKOFF_MAX, PROBE_AFTER, PROBE_BEFORE, PUT_ATTEMPTS, STOP_PATIENCE};
pub use state::Counts;
use state::Job;
pub use wire::record_of;

/// Speeds whose ratio differs from 1 by no more than this are the same: a note holds them as decimals.
const SAME_SPEED: f64 = 1e-9;

/// How to send.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayOptions {
    /// How fast.
    pub pace: Pace,
    /// The most records of the input to send, over all runs of the job: a run that continues stops at the same line. A larger number, given
    /// later, sends more.
    pub max_events: Option<u64>,
    /// The most records of one append, 1 to [`MAX_PUT_RECORDS`]; [`BATCH_RECORDS_DEFAULT`] by default. A paced replay appends what falls
    /// due within a [`TICK`], if that is less.
    pub batch_size: Option<usize>,
    /// Close the stream when everything (or as much as `max_events` says) is sent. A replay that is stopped does not.
    pub close: bool,
    /// The time of second 0, as the consumer has it set.
    pub base: EventTime,
    /// Which times events are sent with.
    pub clock: Clock,
}

impl Default for ReplayOptions {
    fn default() -> Self {
        ReplayOptions {
            pace: Pace::default(),
            max_events: None,
            batch_size: None,
            close: false,
            base: DEFAULT_BASE,
            clock: Clock::Input,
        }
    }
}

impl ReplayOptions {
    /// Refuses options that no replay can follow; a command does this before it makes a stream.
    ///
    /// # Errors
    /// [`ReplayError::Pace`], [`ReplayError::Clock`] or [`ReplayError::BatchSize`].
    pub fn check(&self) -> Result<(), ReplayError> {
        if let Some((what, value)) = self.pace.out_of_range() {
            return Err(ReplayError::Pace { what, value });
        }
        self.live_speed()?;
        self.batch_records().map(drop)
    }

    /// By how much event time is sped up, if times are to be now.
    fn live_speed(&self) -> Result<Option<f64>, ReplayError> {
        match (self.clock, self.pace) {
            (Clock::Input, _) => Ok(None),
            (Clock::Now, Pace::Speed(speed)) => Ok(Some(speed)),
            (Clock::Now, _) => Err(ReplayError::Clock),
        }
    }

    fn batch_records(&self) -> Result<usize, ReplayError> {
        let size = self.batch_size.unwrap_or(BATCH_RECORDS_DEFAULT);
        if (1..=MAX_PUT_RECORDS).contains(&size) { Ok(size) } else { Err(ReplayError::BatchSize { size }) }
    }
}

/// What to send.
pub enum ReplayInput {
    /// Files, or standard input.
    Sources(Vec<Source>),
    /// One source that is no file, treated as standard input is.
    Reader {
        /// For messages.
        name: String,
        /// Its bytes.
        reader: Box<dyn Read + Send>,
    },
}

impl From<Vec<Source>> for ReplayInput {
    fn from(sources: Vec<Source>) -> Self {
        ReplayInput::Sources(sources)
    }
}

impl ReplayInput {
    /// The sources, if they may be possible to read again.
    fn files(&self) -> Option<Vec<Source>> {
        match self {
            ReplayInput::Sources(sources) => Some(sources.clone()),
            ReplayInput::Reader { .. } => None,
        }
    }
}

/// What surrounds a replay.
pub struct Surroundings<'a, C> {
    /// The clock that paces the replay.
    pub clock: &'a C,
    /// Becomes true when the replay is to stop: an append under way is finished, within [`STOP_PATIENCE`], and nothing else is begun.
    pub stop: watch::Receiver<bool>,
    /// Called with [`PROBE_BEFORE`] and [`PROBE_AFTER`] around each append, for kill tests.
    pub probe: &'a (dyn Fn(&str) + Sync),
    /// Called at the start and after each append.
    pub progress: &'a mut (dyn FnMut(Status) + Send),
}

/// How far a replay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Over all runs of the job.
    pub job: Counts,
    /// In this run.
    pub run: Counts,
    /// Bytes of the input read so far, as they lie on disk; a few MiB ahead of what was sent.
    pub read_bytes: u64,
    /// All bytes of the input; `None` for standard input and pipes.
    pub total_bytes: Option<u64>,
    /// [`ReplayOptions::max_events`]
    pub max_events: Option<u64>,
}

impl Status {
    /// How many records the job will probably have, going by the bytes.
    pub fn estimated_records(&self) -> Option<u64> {
        let by_bytes = self.total_bytes.filter(|_| self.read_bytes > 0).map(|total| {
            let records = self.job.records() as f64 * total as f64 / self.read_bytes as f64;
            (records as u64).max(self.job.records())
        });
        by_bytes.into_iter().chain(self.max_events).min()
    }
}

/// How a replay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The input was sent to its end.
    Complete,
    /// An earlier run had sent the input to its end. Nothing was sent.
    AlreadyComplete,
    /// As much was sent, by this run and earlier ones, as [`ReplayOptions::max_events`] says; the input has more.
    LimitReached,
    /// The replay was asked to stop.
    Stopped,
}

/// What a replay did.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplaySummary {
    /// How it ended.
    pub outcome: Outcome,
    /// In this run: lines passed, events and other records sent.
    pub run: Counts,
    /// Over all runs of the job.
    pub job: Counts,
    /// The line after which this run went on, if an earlier one had begun.
    pub resumed_from: Option<u64>,
    /// Whether a further run can go on after this one: not from standard input or a pipe.
    pub resumable: bool,
    /// How long it took by the clock, from the first byte read to identify the input.
    pub elapsed: Duration,
    /// How the times of its events are shifted, with [`Clock::Now`].
    pub shift: Option<Shift>,
    /// Whether this run closed the stream (or found that an earlier one had, having been asked to).
    pub closed: bool,
    /// What to warn of in the lines that this run sent up to the input's end or its limit: lines that are no events, and ids that repeat.
    pub warnings: Vec<String>,
}

/// Sends an input into a stream.
///
/// The future blocks its thread while the stream's puts do; reading and preparing run in threads of their own.
///
/// # Errors
/// See [`ReplayError`]. What was sent before stays sent; run again, a job of files continues after it.
pub async fn replay<C: PaceClock>(
    input: ReplayInput,
    stream: &dyn StreamWriter,
    options: &ReplayOptions,
    mut around: Surroundings<'_, C>,
) -> Result<ReplaySummary, ReplayError> {
    options.check()?;
    let batch_records = options.batch_records()?;
    let begin = around.clock.now();
    let mut summary = ReplaySummary {
        outcome: Outcome::Stopped,
        run: Counts::default(),
        job: Counts::default(),
        resumed_from: None,
        resumable: false,
        elapsed: Duration::ZERO,
        shift: None,
        closed: false,
        warnings: Vec::new(),
    };
    let Some(job) = name_job(input.files(), options.clock, &mut around.stop).await? else {
        // Nothing was read yet.
        summary.resumable = true;
        return Ok(summary);
    };
    summary.resumable = job.resumable;
    let note = send::read_note(stream, &job, &mut around).await?;
    let before = note.as_ref().map_or(Counts::default(), |note| note.counts);
    summary.resumed_from = note.as_ref().map(|note| note.counts.lines);
    summary.job = before;
    summary.shift = note.as_ref().and_then(|note| note.shift);
    let live = options.live_speed()?.map(|speed| Live { start: around.clock.wall(), speed, shift: summary.shift });
    if let Some((Live { speed: given, .. }, Shift { speed: noted, .. })) = live.zip(summary.shift)
        && (given / noted - 1.0).abs() > SAME_SPEED
    {
        return Err(ReplayError::Speed { noted, given });
    }
    summary.outcome = if note.is_some_and(|note| note.complete) {
        Outcome::AlreadyComplete
    } else if options.max_events.is_some_and(|limit| before.records() >= limit) {
        Outcome::LimitReached
    } else {
        let options = BatchOptions {
            job: job.name.clone(),
            base: options.base,
            pace: options.pace,
            records: batch_records,
            limit: options.max_events,
            live,
        };
        send_all(input, stream, &job, options, &mut summary, &mut around).await?
    };
    if options.close && summary.outcome != Outcome::Stopped {
        send::close(stream, &mut around).await?;
        summary.closed = true;
    }
    summary.run = summary.job.since(&before);
    summary.elapsed = around.clock.now().saturating_sub(begin);
    Ok(summary)
}

/// Sends what an earlier run did not; keeps `summary.job` up to date.
async fn send_all<C: PaceClock>(
    input: ReplayInput,
    stream: &dyn StreamWriter,
    job: &Job,
    options: BatchOptions,
    summary: &mut ReplaySummary,
    around: &mut Surroundings<'_, C>,
) -> Result<Outcome, ReplayError> {
    let before = summary.job;
    let max_events = options.limit;
    let blocks = match input {
        ReplayInput::Sources(sources) => LineBlocks::open(sources, InputOptions::default())?,
        ReplayInput::Reader { name, reader } => LineBlocks::from_reader(&name, reader, InputOptions::default())?,
    };
    let reading = blocks.progress();
    let status = |job: Counts| Status {
        job,
        run: job.since(&before),
        read_bytes: reading.read_bytes(),
        total_bytes: reading.total_bytes(),
        max_events,
    };
    let mut batches = batch::start(blocks, before, options)?;
    let mut pacer = Pacer::new(around.clock);
    (around.progress)(status(before));
    loop {
        let batch = tokio::select! {
            biased;
            () = stopped(&mut around.stop) => return Ok(Outcome::Stopped),
            batch = batches.recv() => batch.ok_or(ReplayError::Stopped { line: summary.job.lines })??,
        };
        if !pacer.wait(batch.due, &mut around.stop).await {
            return Ok(Outcome::Stopped);
        }
        if !send::append(stream, job, &batch, summary.job.lines, around).await? {
            return Ok(Outcome::Stopped);
        }
        summary.job = batch.counts;
        summary.shift = batch.shift;
        summary.warnings = batch.warnings;
        (around.progress)(status(batch.counts));
        match batch.end {
            Some(End::Complete) => return Ok(Outcome::Complete),
            Some(End::Limit) => return Ok(Outcome::LimitReached),
            None => {}
        }
    }
}

/// Reads all files once to identify them; `None` if the replay is to stop meanwhile.
async fn name_job(
    files: Option<Vec<Source>>,
    clock: Clock,
    stop: &mut watch::Receiver<bool>,
) -> Result<Option<Job>, ReplayError> {
    let Some(sources) = files else { return Ok(Some(Job::of_this_run())) };
    let (sender, named) = oneshot::channel();
    std::thread::Builder::new()
        .name("authpulse-identify".to_owned())
        // The receiver is gone if the replay stops; then nobody wants the answer.
        .spawn(move || drop(sender.send(identify(&sources, clock))))
        .map_err(|source| ReplayError::Thread { source })?;
    tokio::select! {
        biased;
        () = stopped(stop) => Ok(None),
        job = named => Ok(Some(job.map_err(|_| ReplayError::Stopped { line: 0 })??)),
    }
}

fn identify(sources: &[Source], clock: Clock) -> Result<Job, InputError> {
    // Looks at all of them first: a missing file shows before minutes go into the others.
    for source in sources {
        if authpulse_files::stamp(source)?.is_none() {
            return Ok(Job::of_this_run());
        }
    }
    let mut identities = Vec::with_capacity(sources.len());
    for source in sources {
        match authpulse_files::identify(source, &|| true)? {
            Some(identity) => identities.push(identity),
            None => return Ok(Job::of_this_run()),
        }
    }
    Ok(Job::of_files(&identities, clock))
}
