//! Admitting what was read: a few dozen records are parsed and looked up together, then admitted one by one.

use super::Machine;
use super::bounds::unscored_room;
use super::effects::Effects;
use super::engine::Seen;
use crate::input::{Batch, line_position, rest_from};
use authpulse_engine::Incoming;
use authpulse_event::{ArrivalTime, Position, Tick};
use authpulse_files::LineBlock;
use authpulse_journal::error::Result;
use authpulse_lake::RawRecord;
use authpulse_stream::Record;
use bytes::Bytes;

/// Records admitted between two looks at the popularity index and the entry in the making.
const ADMIT_STRIDE: usize = 1_024;
/// Records that are looked up together. Sizes from 16 to 128 make no difference (`engine_speed`).
const LOOK_AHEAD: usize = 32;

impl Machine {
    /// Admits some of the records at hand and returns how many.
    ///
    /// # Errors
    /// The engine panicked on a record.
    pub(super) fn admit_some(&mut self, now: Tick, out: &mut Effects) -> Result<usize> {
        let unscored = self.engine.shard.unscored_len();
        let most = ADMIT_STRIDE.min(unscored_room(&self.engine.shard)).max(1);
        let n = match std::mem::replace(&mut self.at_hand.batch, Batch::Empty) {
            Batch::Empty => 0,
            Batch::Records(records) => {
                let n = self.admit_records(records, most)?;
                out.ids_repeat = self.input_tally.ids_repeat(false);
                n
            }
            Batch::Lines(block) => self.admit_lines(block, most)?,
        };
        self.at_hand.has_admitted |= n > 0;
        if self.engine.shard.unscored_len() > unscored {
            self.quiet.accepts(now);
        }
        if n > 0 {
            self.builder.open(now);
        }
        Ok(n)
    }

    /// Admits at most `most` records, puts the rest back, and returns how many it admitted.
    fn admit_records(&mut self, mut records: std::vec::IntoIter<Record>, most: usize) -> Result<usize> {
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
            self.admit_seen(seen)?;
            for record in records.by_ref().take(run) {
                if self.options.raw {
                    self.keep_raw(record.payload, record.partition_key, record.position, record.arrival);
                }
            }
            n += run;
        }
        if !records.as_slice().is_empty() {
            self.at_hand.batch = Batch::Records(records);
        }
        Ok(n)
    }

    /// Admits at most `most` lines, puts the rest back, and returns how many it admitted.
    fn admit_lines(&mut self, block: LineBlock, most: usize) -> Result<usize> {
        let Some(arrival) = self.arrival_of_lines else { return Ok(0) };
        self.run.begins(&block);
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
            self.input_tally.lines_of(&block, seen.len());
            self.admit_seen(seen)?;
        }
        // Blank lines that follow belong to the rest: the position and the digest stand for the same lines.
        let rest = lines.position();
        let ended = lines.next().is_none();
        self.run.admitted(&block, (!ended).then_some(rest.offset));
        if ended {
            self.at_hand.position = line_position(block.first_line + block.line_count - 1);
        } else {
            self.at_hand.batch = Batch::Lines(rest_from(&block, rest.number, rest.offset));
        }
        Ok(n.max(1))
    }

    fn keep_raw(&mut self, payload: Bytes, partition_key: Bytes, position: Position, ingestion_time: ArrivalTime) {
        self.builder.add_raw(RawRecord { position, partition_key, ingestion_time, payload });
    }

    fn see<'a>(&self, incoming: Incoming<'a>, partition_key: Option<&[u8]>) -> Result<Seen<'a>> {
        let reading = self.options.engine.reading();
        let seen = self.engine.see(incoming, partition_key, reading)?;
        self.input_tally.drops(&self.key, &seen, partition_key, reading);
        Ok(seen)
    }

    fn admit_seen(&mut self, seen: Vec<Seen<'_>>) -> Result<()> {
        self.input_tally.records(&seen);
        let last = seen.last().map(|seen| seen.incoming.position);
        self.engine.admit(seen)?;
        if let Some(position) = last {
            self.at_hand.position = position;
        }
        Ok(())
    }
}
