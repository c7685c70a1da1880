//! Turns lines into batches, in a thread of its own, ahead of the sending.

use std::thread;
use std::time::Duration;

use authpulse_event::EventTime;
use authpulse_stream::PutRecord;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::live::{Live, Shift};
use super::pace::{Schedule, TICK};
use super::state::Counts;
use super::wire::{Encoded, push_record};
use super::{Pace, ReplayError};
use authpulse_files::tally::Tally;
use authpulse_files::{Line, LineBlocks};

/// Records of one append, unless options say otherwise or a paced replay makes smaller ones.
pub const BATCH_RECORDS_DEFAULT: usize = 10_000;
/// A batch is sent as soon as it holds so many bytes. Even with an overlong line on top, it is far below what a put takes.
pub const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Batches that wait to be sent. With the one being sent and the one being filled, at most three are in memory.
const QUEUE_BATCHES: usize = 1;
/// The guessed bytes of a record: the wire form of a LANL line.
const RECORD_BYTES_GUESS: usize = 64;

/// Records of one append.
pub(super) struct Batch {
    bytes: Bytes,
    records: Vec<Encoded>,
    /// When the last of them is due.
    pub(super) due: Duration,
    /// The job's counts after them.
    pub(super) counts: Counts,
    /// How the times of its events, and of those that follow, are shifted.
    pub(super) shift: Option<Shift>,
    /// Set on the last batch of a run.
    pub(super) end: Option<End>,
    /// Set with `end`: what to warn of in the lines of this run.
    pub(super) warnings: Vec<String>,
}

/// Why nothing follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The input ends here.
    Complete,
    /// There is more, but as many records as were wanted have been sent.
    Limit,
}

impl Batch {
    /// The records to put. They share the batch's bytes.
    pub(super) fn records(&self) -> Vec<PutRecord> {
        let slice = |record: &Encoded| PutRecord {
            payload: self.bytes.slice(record.payload.clone()),
            partition_key: self.bytes.slice(record.partition_key.clone()),
        };
        self.records.iter().map(slice).collect()
    }

    /// The number of the line that a record is.
    pub(super) fn line(&self, record: usize) -> u64 {
        self.records.get(record).map_or(self.counts.lines, |record| record.line)
    }
}

/// What decides how lines become batches.
pub(super) struct BatchOptions {
    /// The job's name, for messages.
    pub(super) job: String,
    /// The time of second 0.
    pub(super) base: EventTime,
    /// How fast records fall due.
    pub(super) pace: Pace,
    /// The most records of a batch.
    pub(super) records: usize,
    /// The most records of the job, over all runs.
    pub(super) limit: Option<u64>,
    /// Set if events get other times than their own.
    pub(super) live: Option<Live>,
}

/// Starts the thread that prepares batches. It ends after the last batch, after an error, or when the receiver is dropped (but while it
/// waits for standard input, it goes on waiting).
///
/// # Errors
/// The thread cannot be started.
pub(super) fn start(
    blocks: LineBlocks,
    before: Counts,
    options: BatchOptions,
) -> Result<mpsc::Receiver<Result<Batch, ReplayError>>, ReplayError> {
    let (sender, receiver) = mpsc::channel(QUEUE_BATCHES);
    let preparer = Preparer {
        tally: Tally::of_sent((0..blocks.sources()).map(|source| blocks.name(source).to_owned()).collect()),
        schedule: Schedule::new(options.pace),
        options,
        sender,
        counts: before,
        bytes: Vec::new(),
        records: Vec::new(),
        first_due: Duration::ZERO,
        due: Duration::ZERO,
    };
    thread::Builder::new()
        .name("authpulse-replay".to_owned())
        // The receiver is gone: nobody wants the rest.
        .spawn(move || drop(preparer.run(blocks)))
        .map_err(|source| ReplayError::Thread { source })?;
    Ok(receiver)
}

struct Preparer {
    options: BatchOptions,
    schedule: Schedule,
    tally: Tally,
    sender: mpsc::Sender<Result<Batch, ReplayError>>,
    /// The job's counts after the records at hand.
    counts: Counts,
    bytes: Vec<u8>,
    records: Vec<Encoded>,
    first_due: Duration,
    due: Duration,
}

/// The receiver is gone.
struct Unwanted;

impl Preparer {
    fn run(mut self, mut blocks: LineBlocks) -> Result<(), Unwanted> {
        let before = self.counts.lines;
        let mut last_line = 0;
        loop {
            if !self.records.is_empty() && blocks.may_wait() {
                self.send(None)?;
            }
            let block = match blocks.next() {
                Some(Ok(block)) => block,
                Some(Err(error)) => {
                    self.send(None)?;
                    return self.sender.blocking_send(Err(error.into())).map_err(|_| Unwanted);
                }
                None => break,
            };
            last_line = block.first_line + block.line_count - 1;
            if last_line <= before {
                continue;
            }
            self.tally.lines(&block, 0);
            for line in block.lines().skip_while(|line| line.number <= before) {
                // Checked before the next record, not after the last: an input of exactly so many records is complete.
                if self.limit_reached() {
                    return self.send(Some(End::Limit));
                }
                self.add(&line)?;
            }
            self.counts.lines = last_line;
            if self.limit_reached() && blocks.may_wait() {
                return self.send(Some(End::Limit));
            }
        }
        if last_line < before {
            let why = format!("it stands at line {before}, but the input has {last_line}");
            let error = ReplayError::Note { job: self.options.job, why };
            return self.sender.blocking_send(Err(error)).map_err(|_| Unwanted);
        }
        self.send(Some(End::Complete))
    }

    fn limit_reached(&self) -> bool {
        self.options.limit.is_some_and(|limit| self.counts.records() >= limit)
    }

    fn add(&mut self, line: &Line<'_>) -> Result<(), Unwanted> {
        let start = self.bytes.len();
        let mut record =
            push_record(&mut self.bytes, line, self.options.base, self.options.live.as_mut(), &mut self.tally);
        self.tally.record();
        let due = self.due(record.time);
        if !self.records.is_empty() && due.saturating_sub(self.first_due) >= TICK {
            // The record belongs to the next batch: it takes its bytes along.
            let own = self.bytes.split_off(start);
            self.send(None)?;
            self.bytes.extend_from_slice(&own);
            for range in [&mut record.payload, &mut record.partition_key] {
                *range = range.start - start..range.end - start;
            }
        }
        if self.records.is_empty() {
            self.first_due = due;
        }
        self.due = due;
        self.counts.lines = line.number;
        self.counts.events += u64::from(record.time.is_some());
        self.counts.unparsed += u64::from(record.time.is_none());
        self.counts.shortened += u64::from(line.length > line.bytes.len() as u64);
        self.records.push(record);
        if self.records.len() >= self.options.records || self.bytes.len() >= BATCH_BYTES {
            self.send(None)?;
        }
        Ok(())
    }

    /// When the next record is due. A record that carries the time at which it is sent also waits for that time, whichever run it is in.
    fn due(&mut self, time: Option<EventTime>) -> Duration {
        let due = self.schedule.due(time);
        match (self.options.live, time) {
            (Some(live), Some(time)) => due.max(live.due(time, self.due)),
            _ => due,
        }
        .max(self.due)
    }

    /// Hands over the records at hand; without records only if this is the end.
    fn send(&mut self, end: Option<End>) -> Result<(), Unwanted> {
        if self.records.is_empty() && end.is_none() {
            return Ok(());
        }
        let capacity = self.records.len();
        let bytes = std::mem::replace(&mut self.bytes, Vec::with_capacity(capacity * RECORD_BYTES_GUESS));
        let records = std::mem::replace(&mut self.records, Vec::with_capacity(capacity));
        let shift = self.options.live.and_then(|live| live.shift);
        let warnings = if end.is_some() { self.tally.warnings() } else { Vec::new() };
        let (bytes, due, counts) = (Bytes::from(bytes), self.due, self.counts);
        let batch = Batch { bytes, records, due, counts, shift, end, warnings };
        self.sender.blocking_send(Ok(batch)).map_err(|_| Unwanted)
    }
}
