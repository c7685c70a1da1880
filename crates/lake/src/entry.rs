//! The content of a journal entry: everything that becomes true at once when the entry is stored.
//!
//! An entry is JSON under zstd, so that it can be read with common tools:
//! `sqlite3 journal.db "select writefile('e.zst', body) from entries where shard='file' and n=1"; zstdcat e.zst`.
//! The stored types are separate from the engine's, so that a change of the engine changes no stored byte. Fields may be added with a
//! default; anything else needs a new [`FORMAT`].

mod backfill;
mod codec;
mod counts;
mod events;
mod format;
mod spill;
mod time_rules;

pub use backfill::{Backfill, BackfillFile};
pub use codec::EntryError;
pub(crate) use codec::{compress, decode};
pub use counts::EntryCounts;
pub(crate) use counts::is_zero;
pub use events::{StoredAttributes, Unscored, Waiting};
pub use format::{FORMAT, PLAIN_FORMAT};
pub use spill::{Spill, StoredDailyCounts, StoredDay};
pub use time_rules::StoredTimeRules;

use crate::micros;
use crate::sections::{Known, Sections};
use crate::table_file::TableFile;
use authpulse_engine::RestoreFrom;
use authpulse_event::{
    ArrivalTime, Attribute, Day, EventModel, EventTime, HashRange, Position, ProcessingTime, ShardId,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An entry of a shard's journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// See [`FORMAT`].
    pub format: u32,
    /// The shard whose journal it belongs to.
    pub shard: String,
    /// The entry's number, from 1.
    pub n: u64,
    /// Grows with each take-over of the shard; an owner with an older epoch cannot store anything any more.
    pub epoch: u64,
    /// The writer's own id of this entry. After an unclear answer it tells whose entry stands at `n`.
    pub commit_id: String,
    /// When it was written, by the writer's clock.
    #[serde(with = "micros")]
    pub written_at: ProcessingTime,
    /// Whether this entry only takes the shard over. It repeats what is open and publishes nothing, even if its spill file (that of the
    /// entry before) holds daily counts.
    #[serde(default)]
    pub takes_over: bool,
    /// What the shard reads.
    pub source: Source,
    /// The shard's part of the ring, `first-last` in hexadecimal.
    pub range: String,
    /// In the first entry of a child: its parents and their last entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inherits: Vec<Inherited>,
    /// The position after which this entry begins.
    pub from: StoredPosition,
    /// The position up to which it reaches; equal to `from` if it holds no record.
    pub to: StoredPosition,
    /// What became of the records.
    pub counts: EntryCounts,
    /// The watermark after it.
    #[serde(with = "micros::maybe", default)]
    pub watermark: Option<EventTime>,
    /// Advances of the watermark decided within it, in order.
    #[serde(rename = "rises", default, skip_serializing_if = "Vec::is_empty")]
    pub advances: Vec<WatermarkAdvance>,
    /// The newest event time ever accepted in the shard, or inherited.
    #[serde(with = "micros::maybe", default)]
    pub newest_accepted: Option<EventTime>,
    /// Whether the last accepted event was live.
    #[serde(default)]
    pub last_accepted_live: bool,
    /// With this entry every hour that ends here or earlier is written, except for users who still have an unscored event in it.
    #[serde(with = "micros::maybe", default)]
    pub hours_through: Option<EventTime>,
    /// The last day whose logons are published, as days since 1970.
    #[serde(rename = "shares_through")]
    pub counts_through: Option<i32>,
    /// Through which day each part of the range has published its high-risk counts.
    pub score_spans: Vec<Span>,
    /// The last day whose rows of `host_popularity_daily` are written; only in the shard that holds ring position 0.
    #[serde(default)]
    pub daily_through: Option<i32>,
    /// Events that wait.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<Waiting>,
    /// Unscored events and daily counts, if they are small; otherwise they are in `spill_file`.
    #[serde(rename = "side", default, skip_serializing_if = "Spill::is_empty")]
    pub spill: Spill,
    /// The file with unscored events and daily counts, if they are large.
    #[serde(rename = "side_file", default, skip_serializing_if = "Option::is_none")]
    pub spill_file: Option<FileRef>,
    /// The files that each Iceberg table gains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<TableFile>,
    /// The raw records, staged; they get their final names after this entry is stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub raw: Vec<RawFile>,
    /// The raw files of entries up to this one have their final names.
    #[serde(default)]
    pub raw_done: u64,
    /// The pieces of a snapshot of the state after this entry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshot: Vec<PieceRef>,
    /// The newest entry, this one included, that has a snapshot; 0 for none.
    #[serde(default)]
    pub last_snapshot: u64,
    /// Records that the stream no longer held when the shard was to read them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<StoredGap>,
    /// Whether every record that this owner has to read is in this or an earlier entry: the shard is closed in its stream, has reached the
    /// tip at which it is to be sealed, or is a file read to its end.
    #[serde(default)]
    pub read_to_end: bool,
    /// The first step of a seal: what waited is flushed.
    #[serde(rename = "settled", default)]
    pub flushed: bool,
    /// Whether this is the last entry of a shard that was split or merged: its children start from here.
    #[serde(default)]
    pub end: bool,
    /// Set once a seal is complete: the instant below which input is late from then on ([`Seal`](crate::Seal) interprets it).
    #[serde(with = "micros::maybe", default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<EventTime>,
    /// The settings that no later entry may change.
    pub time_rules: StoredTimeRules,
    /// The digest of the thresholds and weights in force.
    pub rule_set: String,
    /// For the shard `file`: the files, and how far they are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backfill: Option<Backfill>,
    /// Sections that older programs do not know ([`sections`](crate::sections)).
    #[serde(default, skip_serializing_if = "Sections::is_empty")]
    pub sections: Sections,
}

/// What a shard reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// Backfilled files.
    File,
    /// A shard of a stream. Name and time of creation identify the stream.
    Stream {
        /// The stream's name.
        name: String,
        /// When it was created.
        #[serde(with = "micros")]
        created: ArrivalTime,
        /// The shard's name within the stream.
        shard_id: String,
    },
}

/// A parent and its last entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inherited {
    /// The parent.
    pub shard: String,
    /// The number of its last entry.
    pub n: u64,
}

/// A position. Sequence numbers are strings, because those of Kinesis exceed the integers of every JSON reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPosition {
    /// Decimal sequence number.
    pub sequence: String,
    /// The place within an aggregate.
    #[serde(default)]
    pub sub_sequence: u64,
}

impl From<Position> for StoredPosition {
    fn from(position: Position) -> Self {
        StoredPosition { sequence: position.sequence.to_string(), sub_sequence: position.sub_sequence }
    }
}

impl StoredPosition {
    /// The position as the engine has it.
    ///
    /// # Errors
    /// The sequence number is not a decimal number that fits.
    pub fn position(&self) -> Result<Position, String> {
        Ok(Position { sequence: self.sequence.parse()?, sub_sequence: self.sub_sequence })
    }
}

/// An advance of the watermark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatermarkAdvance {
    /// The position after whose admission it was decided.
    pub after: StoredPosition,
    /// The watermark it advanced to.
    #[serde(with = "micros")]
    pub to: EventTime,
    /// Why: `idle`, `ancestor` or `seal`.
    pub cause: String,
}

/// A part of the ring and the last day it has published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The part.
    pub range: String,
    /// The day, as days since 1970.
    pub through: Option<i32>,
}

/// A file of the lake with its checksum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef {
    /// Path relative to the lake.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Hexadecimal SHA-256 of its bytes.
    pub sha256: String,
}

/// A file of raw records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawFile {
    /// Where it was written before the entry.
    pub staged: String,
    /// Where it belongs.
    pub path: String,
    /// Records in it.
    pub rows: u64,
    /// Its length.
    pub bytes: u64,
}

/// A piece of a state snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PieceRef {
    /// The users within it.
    pub range: String,
    /// How many users.
    pub users: u64,
    /// The sections in it: whether each must be understood, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sections: BTreeMap<String, bool>,
    /// The file.
    #[serde(flatten)]
    pub file: FileRef,
}

/// Records lost to retention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredGap {
    /// After this position.
    pub after: StoredPosition,
    /// Before this one.
    pub before: StoredPosition,
    /// How many records, if the stream can tell.
    pub records: Option<u64>,
}

/// Converts spans to their stored form.
pub fn spans(spans: &[(HashRange, Option<Day>)]) -> Vec<Span> {
    spans.iter().map(|(range, through)| Span { range: range.to_string(), through: through.map(|d| d.0) }).collect()
}

impl Entry {
    /// The made-up entry before a shard's first. It holds no records, files or state.
    pub fn zero(
        shard: &ShardId,
        source: Source,
        range: HashRange,
        time_rules: StoredTimeRules,
        rule_set: String,
    ) -> Entry {
        Entry {
            format: PLAIN_FORMAT,
            shard: shard.to_string(),
            n: 0,
            epoch: 1,
            commit_id: String::new(),
            written_at: ProcessingTime::default(),
            takes_over: false,
            source,
            range: range.to_string(),
            inherits: Vec::new(),
            from: Position::START.into(),
            to: Position::START.into(),
            counts: EntryCounts::default(),
            watermark: None,
            advances: Vec::new(),
            newest_accepted: None,
            last_accepted_live: false,
            hours_through: None,
            counts_through: None,
            score_spans: spans(&[(range, None)]),
            daily_through: None,
            waiting: Vec::new(),
            spill: Spill::default(),
            spill_file: None,
            files: Vec::new(),
            raw: Vec::new(),
            raw_done: 0,
            snapshot: Vec::new(),
            last_snapshot: 0,
            gaps: Vec::new(),
            read_to_end: false,
            flushed: false,
            end: false,
            sealed: None,
            time_rules,
            rule_set,
            backfill: None,
            sections: Sections::default(),
        }
    }

    /// The bytes to store. Encode once and keep them: a repeated put must carry the same bytes.
    pub fn encode(&self) -> Bytes {
        compress(&serde_json::to_vec(self).expect("an entry has string keys only and serialises"))
    }

    /// Reads a stored entry; `known` are the sections that the reader knows.
    ///
    /// # Errors
    /// It was written by a newer version, holds an unknown section that must be understood, or is damaged.
    pub fn decode(shard: &ShardId, n: u64, bytes: &[u8], known: &dyn Known) -> Result<Entry, EntryError> {
        let what = || format!("entry {n} of shard {shard}");
        let damaged = |cause: String| EntryError::Damaged { what: what(), cause };
        let entry: Entry = decode(bytes, FORMAT, what)?;
        if entry.shard != shard.as_str() || entry.n != n {
            return Err(damaged(format!("it says it is entry {} of shard {}", entry.n, entry.shard)));
        }
        entry.check_sections(known, what)?;
        entry.event_model()?;
        Ok(entry)
    }

    /// The shard's part of the ring.
    ///
    /// # Errors
    /// The stored range cannot be parsed.
    pub fn hash_range(&self) -> Result<HashRange, EntryError> {
        self.range.parse().map_err(|cause| self.damaged(cause))
    }

    /// The event model of this lake: which fields its events have.
    ///
    /// # Errors
    /// [`EntryError::Newer`] if this program does not know the model.
    pub fn event_model(&self) -> Result<EventModel, EntryError> {
        let number = self.time_rules.event_model;
        EventModel::from_number(number).ok_or_else(|| EntryError::Newer {
            what: format!("the event model of entry {} of shard {}", self.n, self.shard),
            format: number,
            newest: EventModel::NEWEST.number(),
        })
    }

    /// The position up to which the entry reaches.
    ///
    /// # Errors
    /// The stored position cannot be parsed.
    pub fn position(&self) -> Result<Position, EntryError> {
        self.to.position().map_err(|cause| self.damaged(cause))
    }

    /// What is needed to rebuild a shard as of this entry. `spill` is what [`Entry::spill`] or its file holds. Events keep only the
    /// attributes in the list.
    ///
    /// # Errors
    /// A stored range, position or payload cannot be parsed.
    pub fn restore_from(&self, spill: &Spill, attributes: &'static [Attribute]) -> Result<RestoreFrom, EntryError> {
        let mut score_spans = Vec::new();
        for span in &self.score_spans {
            let range = span.range.parse().map_err(|cause| self.damaged(cause))?;
            score_spans.push((range, span.through.map(Day)));
        }
        Ok(RestoreFrom {
            watermark: self.watermark,
            newest_accepted: self.newest_accepted,
            last_accepted_live: self.last_accepted_live,
            waiting: self
                .waiting
                .iter()
                .map(|waiting| waiting.to_event(attributes))
                .collect::<Result<_, _>>()
                .map_err(|cause| self.damaged(cause))?,
            unscored: spill.unscored.iter().map(|event| event.to_event(attributes)).collect(),
            hours_through: self.hours_through,
            counts_through: self.counts_through.map(Day),
            score_spans,
        })
    }

    /// The error for an entry in which something cannot be used.
    pub fn damaged(&self, cause: String) -> EntryError {
        EntryError::Damaged { what: format!("entry {} of shard {}", self.n, self.shard), cause }
    }
}

#[cfg(test)]
pub(crate) mod tests;
