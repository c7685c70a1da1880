//! Rows together with all that is needed to write them out in full. The lists of columns ([`crate::schema`]) are filled from these.

use crate::cells;
use authpulse_engine::flags::Flag;
use authpulse_engine::rows::{EventId, HourRow, RejectedRecord, ScoredEvent};
use authpulse_engine::rules::RuleSet;
use authpulse_event::id::{canonical_line, content_id};
use authpulse_event::{ArrivalTime, Day, EventTime, Position, ProcessingTime, ShardId};
use bytes::Bytes;

/// What rows of `auth_events_curated` that are encoded together have in common.
pub(crate) struct Scoring<'a> {
    /// The time of second 0 in records whose times are integers.
    pub(crate) base: EventTime,
    /// The rules that scored the rows.
    pub(crate) rules: &'a RuleSet,
    /// The digest of `rules`.
    pub(crate) rule_set: &'a str,
    /// When they were scored.
    pub(crate) processing_time: ProcessingTime,
}

/// A row of `auth_events_curated`, with what is needed to fill the table's columns.
pub(crate) struct CuratedLine<'a> {
    /// The scored event.
    pub(crate) row: &'a ScoredEvent,
    /// The user's name.
    pub(crate) user: &'a str,
    /// The computer's name.
    pub(crate) computer: &'a str,
    /// What it has in common with other rows.
    pub(crate) scoring: &'a Scoring<'a>,
    /// The day of its event time, which is its partition.
    pub(crate) day: Day,
    /// A buffer for the canonical line, reused from row to row.
    pub(crate) line: &'a mut Vec<u8>,
}

impl CuratedLine<'_> {
    /// Writes the producer's own id, or the digest of the event's content.
    #[inline]
    pub(crate) fn event_id(&mut self, out: &mut cells::Bytes) {
        let event = &self.row.event;
        match &event.id {
            EventId::Own(id) => out.push(id.as_bytes()),
            EventId::Content(form) => {
                canonical_line(self.line, self.scoring.base, event.event_time, *form, self.user, self.computer);
                out.push(&content_id(self.line));
            }
        }
    }

    /// 1 if a rule fires, else 0.
    #[inline]
    pub(crate) fn fires(&self, flag: Flag) -> i32 {
        i32::from(self.row.flags.has(flag))
    }
}

/// A row of an hour and the user's name, from which the table's columns are filled.
pub(crate) struct HourlyLine<'a> {
    /// The row.
    pub(crate) row: &'a HourRow,
    /// The user's name.
    pub(crate) user: &'a str,
}

/// A dead letter and where it was rejected, from which the table's columns are filled.
pub(crate) struct RejectedLine<'a> {
    /// The dead letter.
    pub(crate) row: &'a RejectedRecord,
    /// The shard that rejected it.
    pub(crate) shard: &'a ShardId,
    /// When the row was made.
    pub(crate) processing_time: ProcessingTime,
    /// The day of arrival, which is its partition.
    pub(crate) day: Day,
}

/// A record as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRecord {
    /// Its place within the shard.
    pub position: Position,
    /// The key that chose the shard. Bytes that are not UTF-8 are written as replacement characters.
    pub partition_key: Bytes,
    /// When the stream took it.
    pub ingestion_time: ArrivalTime,
    /// The bytes, unchanged.
    pub payload: Bytes,
}

/// The source of raw records that are encoded together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawSource {
    /// The stream's name.
    pub stream: String,
    /// The shard's name.
    pub shard: ShardId,
}

/// A raw record and its source, from which the columns are filled.
pub(crate) struct RawLine<'a> {
    /// The record.
    pub(crate) row: &'a RawRecord,
    /// Its source.
    pub(crate) source: &'a RawSource,
    /// Its sequence number in decimal digits.
    pub(crate) sequence: &'a str,
}
