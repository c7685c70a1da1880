//! Rows with all that it takes to spell them out: what the lists of columns ([`crate::schema`]) are filled from.

use crate::cells;
use authpulse_engine::flags::Flag;
use authpulse_engine::rows::{EventId, HourRow, RejectedRecord, ScoredEvent};
use authpulse_engine::rules::RuleSet;
use authpulse_event::id::{canonical_line, content_id};
use authpulse_event::{ArrivalTime, Day, EventTime, Position, ProcessingTime, ShardId};
use bytes::Bytes;

/// What rows of `auth_events_curated` that are encoded at once have in common.
pub(crate) struct Scoring<'a> {
    /// Second 0 of integer times.
    pub(crate) base: EventTime,
    /// The rules that scored them, and their digest.
    pub(crate) rules: &'a RuleSet,
    pub(crate) rule_set: &'a str,
    /// When they were scored.
    pub(crate) processing_time: ProcessingTime,
}

/// A row and what it takes to spell it out: what the list of the table's columns is filled from.
pub(crate) struct CuratedLine<'a> {
    pub(crate) row: &'a ScoredEvent,
    pub(crate) user: &'a str,
    pub(crate) computer: &'a str,
    pub(crate) scoring: &'a Scoring<'a>,
    pub(crate) day: Day,
    /// The canonical line at hand.
    pub(crate) line: &'a mut Vec<u8>,
}

impl CuratedLine<'_> {
    /// The producer's own id, or that of the event's content.
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

/// A row of an hour and the user's name: what the list of the table's columns is filled from.
pub(crate) struct HourlyLine<'a> {
    pub(crate) row: &'a HourRow,
    pub(crate) user: &'a str,
}

/// A dead letter and where it was decided: what the list of the table's columns is filled from.
pub(crate) struct RejectedLine<'a> {
    pub(crate) row: &'a RejectedRecord,
    pub(crate) shard: &'a ShardId,
    pub(crate) processing_time: ProcessingTime,
    pub(crate) day: Day,
}

/// A record as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRecord {
    /// Its place within the shard.
    pub position: Position,
    /// The key that chose the shard. What is not UTF-8 is written with replacement characters.
    pub partition_key: Bytes,
    /// Arrival in the stream.
    pub ingestion_time: ArrivalTime,
    /// The bytes, unchanged.
    pub payload: Bytes,
}

/// Where raw records came from, all of those that are encoded at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawSource {
    /// The stream's name.
    pub stream: String,
    /// The shard's name.
    pub shard: ShardId,
}

/// A raw record, where it came from, and its sequence number in digits: what the list of columns is filled from.
pub(crate) struct RawLine<'a> {
    pub(crate) row: &'a RawRecord,
    pub(crate) source: &'a RawSource,
    pub(crate) sequence: &'a str,
}
