//! Checkpoints: what stands for a journal's oldest entries once they are folded.
//!
//! A checkpoint stands for the entries 1 to [`Checkpoint::through`] of one shard, all of which every table holds. Readers begin with it and
//! continue with the entry after it, so opening a lake takes as long after years as after a day. Its content depends only on the entries,
//! on which files were live when it was made, and on the day below which nobody asks for popularity any more.
//!
//! Like an entry it is JSON under zstd, with its own format number.

use crate::entry::{
    self, Entry, EntryError, Inherited, Spill, StoredDailyCounts, StoredDay, StoredPosition, compress, decode,
};
use crate::micros;
use crate::schema::{Table, raw_day};
use crate::sections::{Known, Sections};
use crate::table_file::TableFile;
use authpulse_event::{Day, EventTime, ProcessingTime, ShardId, Span};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The newest format that this program reads. Format 2 is written once the checkpoint has sections, or one of the entries is newer than
/// [`entry::PLAIN_FORMAT`].
pub const FORMAT: u32 = 2;
/// The format of a checkpoint that holds nothing new, and stands for nothing new: byte for byte what older programs write.
pub const PLAIN_FORMAT: u32 = 1;

/// Gaps that are kept one by one; of older ones only the sum is kept.
pub const GAPS_KEPT: usize = 1_000;

/// What stands for the oldest entries of a journal; see the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// See [`FORMAT`].
    pub format: u32,
    /// The shard whose journal it belongs to.
    pub shard: String,
    /// The number of the last entry it stands for.
    pub through: u64,
    /// When entries were folded, and up to which, by the clock of the program that folded. From this follows which entries are folded long
    /// enough to be removed.
    pub marks: Vec<Mark>,
    /// What only the first entry holds.
    pub first: First,
    /// The last entry it stands for, as it was stored.
    pub last: Entry,
    /// Records read by all the entries.
    pub received: u64,
    /// Rows of the curated table.
    pub curated: u64,
    /// Dead letters by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rejected: BTreeMap<String, u64>,
    /// Attributes that were left out.
    #[serde(default, skip_serializing_if = "entry::is_zero")]
    pub fields_dropped: u64,
    /// Records lost to the stream's retention: the newest [`GAPS_KEPT`] gaps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<FoldedGap>,
    /// The gaps before those: how many, and how many records as far as the stream could tell.
    #[serde(default)]
    pub older_gaps: (u64, u64),
    /// Daily counts of logons that were published; spans that follow each other are joined.
    #[serde(rename = "shares", default, skip_serializing_if = "Vec::is_empty")]
    pub daily_counts: Vec<StoredDailyCounts>,
    /// Daily counts of high-risk events that were published, joined likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<StoredDailyCounts>,
    /// The sums of days in `daily_counts` and `scores` that nobody asks for any more, by day since 1970.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub past: BTreeMap<i32, DayTotals>,
    /// Files that were live in their tables when the checkpoint was made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FoldedFile>,
    /// Rows of all other files, which have been replaced since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<PartitionRows>,
    /// Raw files by `ingest_date`, as days since 1970.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<i32, RawTotals>,
    /// Sections that older programs do not know. A program that folds keeps a section that it does not know and need not understand as it
    /// is: the section itself says through which entry it reaches.
    #[serde(default, skip_serializing_if = "Sections::is_empty")]
    pub sections: Sections,
}

/// When entries were folded, and up to which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The moment.
    #[serde(with = "micros")]
    pub at: ProcessingTime,
    /// The last entry that was folded at that moment.
    pub through: u64,
}

/// What only a journal's first entry holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct First {
    /// See [`Entry::inherits`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inherits: Vec<Inherited>,
    /// Events that waited before the entry.
    pub waiting_before: u64,
    /// Events that were accepted but not scored before the entry.
    pub unscored_before: u64,
    /// The watermark after the entry.
    #[serde(with = "micros::maybe", default)]
    pub watermark: Option<EventTime>,
}

/// Records lost to the stream's retention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoldedGap {
    /// The number of the entry that reports it.
    pub n: u64,
    /// The position before the gap.
    pub after: StoredPosition,
    /// The position after the gap.
    pub before: StoredPosition,
    /// How many records, if the stream could tell.
    pub records: Option<u64>,
}

/// The sums of a day over all computers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayTotals {
    /// Logons on all computers.
    #[serde(rename = "logins")]
    pub logons: u64,
    /// Distinct users, summed over computers.
    pub users: u64,
    /// High-risk events.
    pub high_risk: u64,
}

/// A file that an entry named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoldedFile {
    /// The number of the entry.
    pub n: u64,
    /// The file without Iceberg's description, which the table has already.
    #[serde(flatten)]
    pub file: TableFile,
}

/// Rows in one partition of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionRows {
    /// The table.
    pub table: Table,
    /// The partition: days or months since 1970.
    pub partition: i32,
    /// How many rows.
    pub rows: u64,
}

/// Raw files of one day of arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawTotals {
    /// Raw files of the day.
    pub files: u64,
    /// Records in them.
    pub records: u64,
    /// Their length.
    pub bytes: u64,
}

impl Checkpoint {
    /// The checkpoint of a journal's first entry alone. `spill` is what the entry or its spill file holds.
    pub fn new(first: Entry, spill: &Spill) -> Checkpoint {
        let mut checkpoint = Checkpoint {
            format: PLAIN_FORMAT,
            shard: first.shard.clone(),
            through: 0,
            marks: Vec::new(),
            first: First {
                inherits: first.inherits.clone(),
                waiting_before: first.counts.waiting_before,
                unscored_before: first.counts.unscored_before,
                watermark: first.watermark,
            },
            last: first.clone(),
            received: 0,
            curated: 0,
            rejected: BTreeMap::new(),
            fields_dropped: 0,
            gaps: Vec::new(),
            older_gaps: (0, 0),
            daily_counts: Vec::new(),
            scores: Vec::new(),
            past: BTreeMap::new(),
            files: Vec::new(),
            rows: Vec::new(),
            raw: BTreeMap::new(),
            sections: Sections::default(),
        };
        checkpoint.add(first, spill);
        checkpoint
    }

    /// Adds the entry after [`Checkpoint::through`].
    pub fn add(&mut self, entry: Entry, spill: &Spill) {
        if entry.format > entry::PLAIN_FORMAT {
            self.format = FORMAT;
        }
        self.through = entry.n;
        self.received = self.received.saturating_add(entry.counts.received);
        self.fields_dropped = self.fields_dropped.saturating_add(entry.counts.fields_dropped);
        self.curated = self.curated.saturating_add(entry.counts.curated);
        for (reason, n) in &entry.counts.rejected {
            let sum = self.rejected.entry(reason.clone()).or_default();
            *sum = sum.saturating_add(*n);
        }
        for gap in &entry.gaps {
            let (after, before) = (gap.after.clone(), gap.before.clone());
            self.gaps.push(FoldedGap { n: entry.n, after, before, records: gap.records });
        }
        let older = self.gaps.len().saturating_sub(GAPS_KEPT);
        for gap in self.gaps.drain(..older) {
            self.older_gaps.0 += 1;
            self.older_gaps.1 = self.older_gaps.1.saturating_add(gap.records.unwrap_or(0));
        }
        // A take-over repeats the spill of the entry before it, which has published it already.
        if !entry.takes_over {
            spill.daily_counts.iter().for_each(|counts| join(&mut self.daily_counts, counts));
            spill.scores.iter().for_each(|counts| join(&mut self.scores, counts));
        }
        let bare = |file: &TableFile| TableFile { data_file: String::new(), ..file.clone() };
        self.files.extend(entry.files.iter().map(|file| FoldedFile { n: entry.n, file: bare(file) }));
        for raw in &entry.raw {
            let of_day = self.raw.entry(raw_day(&raw.path).map_or(0, |day| day.0)).or_default();
            of_day.files += 1;
            of_day.records += raw.rows;
            of_day.bytes += raw.bytes;
        }
        self.last = entry;
    }

    /// Leaves out what nobody asks for any more: files that are not live, whose rows are still counted, and the popularity of days before
    /// `oldest`, whose sums stay. `live` has the paths of all tables' files.
    pub fn shrink(&mut self, live: &BTreeSet<String>, oldest: Option<Day>) {
        let mut rows: BTreeMap<(Table, i32), u64> =
            self.rows.iter().map(|r| ((r.table, r.partition), r.rows)).collect();
        self.files.retain(|FoldedFile { file, .. }| {
            let is_live = live.contains(&file.path);
            if !is_live {
                *rows.entry((file.table, file.partition)).or_default() += file.rows;
            }
            is_live
        });
        self.rows =
            rows.into_iter().map(|((table, partition), rows)| PartitionRows { table, partition, rows }).collect();
        let Some(oldest) = oldest else { return };
        let past = &mut self.past;
        take_past(&mut self.daily_counts, oldest, |day, logons, users| {
            let totals = past.entry(day).or_default();
            totals.logons = totals.logons.saturating_add(logons);
            totals.users = totals.users.saturating_add(users);
        });
        take_past(&mut self.scores, oldest, |day, high_risk, _| {
            let totals = past.entry(day).or_default();
            totals.high_risk = totals.high_risk.saturating_add(high_risk);
        });
    }

    /// Notes that all of these entries are folded now, and drops older marks that are not needed to tell what has been folded for `age`.
    pub fn mark(&mut self, now: ProcessingTime, age: Span) {
        let through = self.through;
        let old = self.folded_by(now.saturating_sub(age));
        self.marks.retain(|mark| mark.through >= old);
        self.marks.push(Mark { at: now, through });
    }

    /// The last entry that was already folded at that time; 0 for none.
    pub fn folded_by(&self, time: ProcessingTime) -> u64 {
        self.marks.iter().filter(|mark| mark.at <= time).map(|mark| mark.through).max().unwrap_or(0)
    }

    /// What the entries published, as far as it is kept; a reader adds it together with [`Checkpoint::last`].
    pub fn spill(&self) -> Spill {
        Spill { daily_counts: self.daily_counts.clone(), scores: self.scores.clone(), ..Spill::default() }
    }

    /// The tables for which the entries named files, whether those files still exist or not.
    pub fn tables(&self) -> BTreeSet<Table> {
        self.files.iter().map(|folded| folded.file.table).chain(self.rows.iter().map(|rows| rows.table)).collect()
    }

    /// Rows of all the entries, by table and partition.
    pub fn rows(&self) -> BTreeMap<(Table, i32), u64> {
        let replaced = self.rows.iter().map(|r| ((r.table, r.partition), r.rows));
        let mut sums = BTreeMap::new();
        for (key, rows) in
            replaced.chain(self.files.iter().map(|FoldedFile { file, .. }| ((file.table, file.partition), file.rows)))
        {
            *sums.entry(key).or_default() += rows;
        }
        sums
    }

    /// The bytes to store.
    pub fn encode(&self) -> Bytes {
        compress(&serde_json::to_vec(self).expect("a base has string keys only and serialises"))
    }

    /// Adds sections; they replace those of the same names.
    pub fn add_sections(&mut self, sections: Sections) {
        if !sections.is_empty() {
            self.format = FORMAT;
            self.sections.extend(sections);
        }
    }

    /// Reads a stored checkpoint; `known` are the sections that the reader knows.
    ///
    /// # Errors
    /// It was written by a newer version, holds an unknown section that must be understood, or is damaged.
    pub fn decode(shard: &ShardId, through: u64, bytes: &[u8], known: &dyn Known) -> Result<Checkpoint, EntryError> {
        let what = || format!("the base of entries up to {through} of shard {shard}");
        let damaged = |cause: String| EntryError::Damaged { what: what(), cause };
        let checkpoint: Checkpoint = decode(bytes, FORMAT, what)?;
        if checkpoint.shard != shard.as_str() || checkpoint.through != through || checkpoint.last.n != through {
            return Err(damaged(format!(
                "it says it is that of entries up to {} of {}",
                checkpoint.through, checkpoint.shard
            )));
        }
        if checkpoint.last.format > entry::FORMAT {
            let what = format!("the last entry in {}", what());
            return Err(EntryError::Newer { what, format: checkpoint.last.format, newest: entry::FORMAT });
        }
        if let Some(section) = checkpoint.sections.beyond(known) {
            return Err(EntryError::Section { what: what(), section: section.to_owned() });
        }
        checkpoint.last.check_sections(known, || format!("the last entry in {}", what()))?;
        checkpoint.last.event_model()?;
        Ok(checkpoint)
    }
}

/// Adds daily counts. Those that continue others of the same range are joined to them.
fn join(daily_counts: &mut Vec<StoredDailyCounts>, counts: &StoredDailyCounts) {
    match daily_counts.iter_mut().find(|s| s.range == counts.range && Some(s.through) == counts.after) {
        Some(before) => {
            before.through = counts.through;
            before.days.extend(counts.days.iter().cloned());
        }
        None => daily_counts.push(counts.clone()),
    }
}

/// Takes the days before `oldest` out of the counts and passes on the sums of each. How far they were published stays recorded.
fn take_past(daily_counts: &mut [StoredDailyCounts], oldest: Day, mut add: impl FnMut(i32, u64, u64)) {
    for counts in daily_counts {
        counts.days.retain(|StoredDay { day, computers }| {
            let is_past = *day < oldest.0;
            if is_past {
                let sums = computers.iter().fold((0u64, 0u64), |(a, b), (_, count, users)| {
                    (a.saturating_add(*count), b.saturating_add(*users))
                });
                add(*day, sums.0, sums.1);
            }
            !is_past
        });
    }
}
