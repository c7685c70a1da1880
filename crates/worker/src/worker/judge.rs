//! Judging what was read: a few dozen records are parsed and looked up together, then judged one by one.
//!
//! A panic is attributed to its record, or to the event that waited and that its record let go on. The state may then be half changed:
//! the worker is dropped and the shard rebuilt from its journal; after three times the record is a dead letter.

use super::Worker;
use crate::input::{Batch, Input, line_position, rest_from};
use crate::poison::{Moment, words};
use authpulse_engine::{Incoming, Known, Output, Shard};
use authpulse_event::parse::too_long;
use authpulse_event::{ArrivalTime, Invalid, MAX_RECORD_BYTES, ParsedEvent, Position, parse_line, parse_record};
use authpulse_files::LineBlock;
use authpulse_journal::error::{ConsumerError, Result};
use authpulse_lake::RawRecord;
use authpulse_stream::Record;
use bytes::Bytes;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Records that are looked up together. From 16 to 128 make no difference (`engine_speed`).
const LOOK_AHEAD: usize = 32;

/// A record on its way to be judged.
struct Seen<'a> {
    incoming: Incoming<'a>,
    /// `None` for a record that is given up.
    parsed: Option<std::result::Result<ParsedEvent<'a>, Invalid>>,
}

impl Worker {
    /// Judges at most `most` records and puts the rest back; tells how many.
    pub(super) fn judge_records(&mut self, mut records: std::vec::IntoIter<Record>, most: usize) -> Result<usize> {
        let mut n = 0;
        while n < most && !records.as_slice().is_empty() {
            let run = records.as_slice().len().min(LOOK_AHEAD).min(most - n);
            let mut seen = Vec::with_capacity(run);
            for record in &records.as_slice()[..run] {
                let incoming = Incoming {
                    payload: &record.payload,
                    payload_bytes: record.payload.len() as u64,
                    position: record.position,
                    arrival: record.arrival,
                };
                seen.push(self.see(incoming, Some(&record.partition_key))?);
            }
            self.judge_seen(seen)?;
            for record in records.by_ref().take(run) {
                if self.options.raw {
                    self.keep_raw(record.payload, record.partition_key, record.position, record.arrival);
                }
            }
            n += run;
        }
        if !records.as_slice().is_empty() {
            self.batch = Batch::Records(records);
        }
        self.tell_of_ids(false);
        Ok(n)
    }

    /// Judges at most `most` lines and puts the rest back; tells how many.
    pub(super) fn judge_lines(&mut self, block: LineBlock, most: usize) -> Result<usize> {
        let Input::File { arrival, .. } = self.input else { return Ok(0) };
        if let Some(origins) = &mut self.origins {
            origins.at(&block);
        }
        let mut n = 0;
        let mut lines = block.lines();
        while n < most {
            let run = LOOK_AHEAD.min(most - n);
            let mut seen = Vec::with_capacity(run);
            for line in lines.by_ref().take(run) {
                let position = line_position(line.number);
                let incoming = Incoming { payload: line.bytes, payload_bytes: line.length, position, arrival };
                seen.push(self.see(incoming, None)?);
                if self.options.raw {
                    self.keep_raw(block.bytes.slice_ref(line.bytes), Bytes::new(), position, arrival);
                }
            }
            if seen.is_empty() {
                break;
            }
            n += seen.len();
            self.count_lines_of(&block, seen.len());
            self.judge_seen(seen)?;
        }
        // Blank lines that follow belong to the rest: the position and the digest stand for the same lines.
        let rest = lines.position();
        let ended = lines.next().is_none();
        if let Some(digest) = &mut self.digest {
            if ended { digest.add_all(&block) } else { digest.add(&block, rest.offset) }
        }
        if ended {
            self.position = line_position(block.first_line + block.line_count - 1);
        } else {
            self.batch = Batch::Lines(rest_from(&block, rest.number, rest.offset));
        }
        Ok(n.max(1))
    }

    fn keep_raw(&mut self, payload: Bytes, partition_key: Bytes, position: Position, ingestion_time: ArrivalTime) {
        self.draft.payload_bytes += (payload.len() + partition_key.len()) as u64;
        self.draft.raw.push(RawRecord { position, partition_key, ingestion_time, payload });
    }

    /// Parses a record, unless it is given up.
    fn see<'a>(&self, incoming: Incoming<'a>, partition_key: Option<&[u8]>) -> Result<Seen<'a>> {
        if self.poison.gives_up(&self.key, incoming.position) {
            return Ok(Seen { incoming, parsed: None });
        }
        let (reading, inspect) = (self.options.engine.reading(), self.env.inspect.as_deref());
        let parsed = self.attributed(incoming.position, || {
            if let Some(inspect) = inspect {
                inspect(incoming.payload);
            }
            if incoming.payload_bytes > MAX_RECORD_BYTES as u64 {
                return Err(too_long(incoming.payload_bytes));
            }
            match partition_key {
                Some(key) => parse_record(incoming.payload, key, reading),
                None => parse_line(incoming.payload, reading),
            }
        })?;
        if let Ok(ParsedEvent { fields_dropped: 1.., .. }) = parsed {
            self.columns_said().drops(&self.key, incoming.payload, partition_key, reading);
        }
        Ok(Seen { incoming, parsed: Some(parsed) })
    }

    fn judge_seen(&mut self, seen: Vec<Seen<'_>>) -> Result<()> {
        let mut known = std::mem::take(&mut self.known);
        let parsed = || seen.iter().map(|seen| seen.parsed.as_ref().and_then(|parsed| parsed.as_ref().ok()));
        self.count_events(parsed());
        // Looking ahead only saves time: if it fails, the record it failed on is found by judging.
        if catch_unwind(AssertUnwindSafe(|| self.shard.look_ahead(parsed(), &mut known))).is_err() {
            known = vec![Known::default(); seen.len()];
        }
        for (Seen { incoming, parsed }, known) in seen.into_iter().zip(&known) {
            let position = incoming.position;
            match parsed {
                Some(parsed) => {
                    let (shard, out) = (&mut self.shard, &mut self.out);
                    let judged = catch_unwind(AssertUnwindSafe(|| shard.judge_known(incoming, parsed, *known, out)));
                    judged.map_err(|panic| self.panicked(position, &*panic))?;
                }
                None => {
                    self.shard.reject_failed(incoming, &mut self.out);
                }
            }
            self.position = position;
        }
        self.known = known;
        Ok(())
    }

    fn attributed<T>(&self, position: Position, work: impl FnOnce() -> T) -> Result<T> {
        catch_unwind(AssertUnwindSafe(work)).map_err(|panic| self.panicked(position, &*panic))
    }

    /// Judges what waited in the parents of an heir that has no entry yet, before its first record.
    pub(super) fn judge_inherited(&mut self) -> Result<()> {
        if self.inherits.is_empty() { Ok(()) } else { self.release(Shard::judge_inherited) }
    }

    /// Does something that lets events go on that waited.
    pub(super) fn release<T>(&mut self, work: impl FnOnce(&mut Shard, &mut Output) -> T) -> Result<T> {
        let (shard, out) = (&mut self.shard, &mut self.out);
        let done = catch_unwind(AssertUnwindSafe(|| work(shard, out)));
        done.map_err(|panic| self.went_on(&*panic).unwrap_or_else(|| resume_unwind(panic)))
    }

    /// The failure of an event that had waited, if it was one.
    fn went_on(&self, panic: &(dyn std::any::Any + Send)) -> Option<ConsumerError> {
        self.shard.failed_on().map(|position| self.blame(Moment::GoesOn, position, panic))
    }

    fn panicked(&self, position: Position, panic: &(dyn std::any::Any + Send)) -> ConsumerError {
        self.went_on(panic).unwrap_or_else(|| self.blame(Moment::Read, position, panic))
    }

    fn blame(&self, moment: Moment, position: Position, panic: &(dyn std::any::Any + Send)) -> ConsumerError {
        self.poison.failed(&self.key, moment, position);
        ConsumerError::Panicked { shard: self.key.clone(), position, words: words(panic) }
    }
}
