//! `auth_events_curated`: most rows by far, so this is the encoder where speed matters.

use super::later::{Carried, Later, finish};
use super::{BATCH_ROWS, EncodeOptions, EncodedFile, encode_error, parquet_file};
use crate::error::LakeError;
use crate::lines::{CuratedLine, Scoring};
use crate::schema::tables::curated::Building;
use crate::schema::{Partition, Table};
use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use authpulse_engine::names::{ComputerNamesView, UserNamesView};
use authpulse_engine::rows::ScoredEvent;
use authpulse_engine::rules::RuleSet;
use authpulse_event::time::{HOUR, time_of_day};
use authpulse_event::{Day, EventTime, ProcessingTime};
use std::collections::BTreeMap;

/// A row's place in the sort order fits 64 bits: hour of the day, rank of the user's name, microsecond of the hour.
const RANK_BITS: u32 = 27;
const MICROS_BITS: u32 = 32;
const HOUR_MICROS: u64 = HOUR.micros().cast_unsigned();
const _: () = assert!(HOUR_MICROS < 1 << MICROS_BITS && 24 < 1 << (64 - RANK_BITS - MICROS_BITS));

/// Scored events, with what is needed to write them out in full.
#[derive(Clone, Copy)]
pub struct CuratedRows<'a> {
    /// The events, in any order.
    pub rows: &'a [ScoredEvent],
    /// The names of users.
    pub users: &'a UserNamesView,
    /// The names of computers.
    pub computers: &'a ComputerNamesView,
    /// The time of second 0 in records whose times are integers.
    pub base: EventTime,
    /// The rules that scored the events.
    pub rules: &'a RuleSet,
    /// The digest of `rules`.
    pub rule_set: &'a str,
    /// When the rows were scored.
    pub processing_time: ProcessingTime,
    /// Later columns that the table has; `None` if the program knows none.
    pub later: Option<&'a Later<ScoredEvent>>,
}

/// Encodes scored events: one file or more per day of event time, each sorted by hour, user and time.
///
/// # Errors
/// There are 2^27 rows or more, or the Parquet writer fails.
pub fn encode_curated(input: &CuratedRows<'_>, options: &EncodeOptions) -> Result<Vec<EncodedFile>, LakeError> {
    if input.rows.len() >= 1 << RANK_BITS {
        return Err(encode_error(Table::CURATED.name(), "more than 2^27 rows at once: encode them in parts"));
    }
    let ranks = rank_users(input);
    let mut days: BTreeMap<Day, Vec<(u64, u32)>> = BTreeMap::new();
    for (index, row) in (0u32..).zip(input.rows) {
        let time = row.event.event_time;
        let day = Day::of(time);
        let in_day = time_of_day(time).micros().cast_unsigned();
        let hour = in_day / HOUR_MICROS;
        let rank = u64::from(ranks[row.event.user.index()]);
        let place = (((hour << RANK_BITS) | rank) << MICROS_BITS) | (in_day % HOUR_MICROS);
        // Most calls have events of one day only.
        let expected = if days.is_empty() { input.rows.len() } else { 0 };
        days.entry(day).or_insert_with(|| Vec::with_capacity(expected)).push((place, index));
    }
    let mut files = Vec::new();
    let no_later = Later::default();
    for (day, mut places) in days {
        places.sort_unstable();
        for part in places.chunks(options.max_rows_per_file.max(1)) {
            let rows = part.iter().map(|(_, index)| &input.rows[*index as usize]);
            let carried = input.later.unwrap_or(&no_later).carried(Table::CURATED, rows)?;
            let batches = part
                .chunks(BATCH_ROWS)
                .map(|rows| batch(input, &carried, day, rows).map_err(|e| encode_error(Table::CURATED.name(), e)));
            files.push(parquet_file::table_file(&carried.schema, Partition::Day(day), batches, options)?);
        }
    }
    Ok(files)
}

/// For each user, by number, the rank of the name among those of the rows.
fn rank_users(input: &CuratedRows<'_>) -> Vec<u32> {
    let highest = input.rows.iter().map(|row| row.event.user.index()).max().unwrap_or(0);
    // Zeroed memory is not touched before it is used, so many known users cost nothing here.
    let mut ranks = vec![0u32; highest + 1];
    let mut users = Vec::new();
    for row in input.rows {
        let seen = &mut ranks[row.event.user.index()];
        if *seen == 0 {
            *seen = 1;
            users.push(row.event.user);
        }
    }
    users.sort_unstable_by_key(|user| input.users.get(*user));
    for (rank, user) in (0u32..).zip(users) {
        ranks[user.index()] = rank;
    }
    ranks
}

fn batch(
    input: &CuratedRows<'_>,
    carried: &Carried<'_, ScoredEvent>,
    day: Day,
    rows: &[(u64, u32)],
) -> Result<RecordBatch, ArrowError> {
    let mut columns = Building::with_capacity(rows.len());
    let mut later = carried.building();
    let CuratedRows { base, rules, rule_set, processing_time, .. } = *input;
    let scoring = &Scoring { base, rules, rule_set, processing_time };
    let line = &mut Vec::new();
    for (_, index) in rows {
        let row = &input.rows[*index as usize];
        let (user, computer) = (input.users.get(row.event.user), input.computers.get(row.event.computer));
        columns.push(&mut CuratedLine { row, user, computer, scoring, day, line });
        carried.push(&mut later, row)?;
    }
    let mut arrays = columns.finish(Table::CURATED.arrow_schema())?;
    arrays.extend(finish(later));
    RecordBatch::try_new(carried.schema.arrow().clone(), arrays)
}
