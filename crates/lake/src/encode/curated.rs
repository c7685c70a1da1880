//! `auth_events_curated`: most of all rows, so the one encoder where speed matters.

use super::columns::{Text, dates, ints, long, longs, offsets, times};
use super::{BATCH_ROWS, EncodeOptions, EncodedFile, encode_error, parquet_file};
use crate::error::LakeError;
use crate::schema::{Partition, Table};
use arrow_array::{ArrayRef, Int64Array, ListArray, RecordBatch};
use arrow_schema::{ArrowError, DataType};
use authpulse_engine::names::NamesView;
use authpulse_engine::rows::{EventId, Flag, RiskLevel, ScoredEvent};
use authpulse_event::id::{canonical_line, content_id};
use authpulse_event::time::HOUR;
use authpulse_event::{Day, Micros};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A row's place in the sort order fits 64 bits: hour of the day, rank of the user's name, microsecond of the hour.
const RANK_BITS: u32 = 27;
const MICROS_BITS: u32 = 32;
const _: () = assert!(HOUR < 1 << MICROS_BITS && 24 < 1 << (64 - RANK_BITS - MICROS_BITS));

/// Scored events and what it takes to spell them out.
#[derive(Clone, Copy)]
pub struct CuratedRows<'a> {
    /// The events, in any order.
    pub rows: &'a [ScoredEvent],
    /// Names of users.
    pub users: &'a NamesView,
    /// Names of computers.
    pub computers: &'a NamesView,
    /// Second 0 of integer times.
    pub base: Micros,
    /// Digest of the thresholds and weights.
    pub rule_set: &'a str,
    /// When the rows were scored.
    pub processing_time: Micros,
}

/// Encodes scored events: one file or more per day of event time, each sorted by hour, user and time.
///
/// # Errors
/// More rows than a call may hold (2^27).
pub fn encode_curated(input: &CuratedRows<'_>, options: &EncodeOptions) -> Result<Vec<EncodedFile>, LakeError> {
    if input.rows.len() >= 1 << RANK_BITS {
        return Err(encode_error(Table::Curated.name(), "more than 2^27 rows at once: encode them in parts"));
    }
    let ranks = rank_users(input);
    let mut days: BTreeMap<Day, Vec<(u64, u32)>> = BTreeMap::new();
    for (index, row) in (0u32..).zip(input.rows) {
        let time = row.event.event_time;
        let day = Day::of(time);
        let in_day = (time - day.start()).cast_unsigned();
        let hour = in_day / HOUR.cast_unsigned();
        let rank = u64::from(ranks[row.event.user as usize]);
        let place = (hour << RANK_BITS | rank) << MICROS_BITS | in_day % HOUR.cast_unsigned();
        days.entry(day).or_default().push((place, index));
    }
    let mut files = Vec::new();
    for (day, mut places) in days {
        places.sort_unstable();
        for part in places.chunks(options.max_rows_per_file.max(1)) {
            let batches = part.chunks(BATCH_ROWS).map(|rows| {
                batch(input, day, rows.iter().map(|(_, index)| &input.rows[*index as usize]))
                    .map_err(|e| encode_error(Table::Curated.name(), e))
            });
            files.push(parquet_file::table_file(Table::Curated, Partition::Day(day), batches, options)?);
        }
    }
    Ok(files)
}

/// For each user of the rows its rank among their names, by number.
fn rank_users(input: &CuratedRows<'_>) -> Vec<u32> {
    let highest = input.rows.iter().map(|row| row.event.user).max().unwrap_or(0);
    // Zeroed memory is not touched before it is used: many known users cost nothing here.
    let mut ranks = vec![0u32; highest as usize + 1];
    let mut users = Vec::new();
    for row in input.rows {
        let seen = &mut ranks[row.event.user as usize];
        if *seen == 0 {
            *seen = 1;
            users.push(row.event.user);
        }
    }
    users.sort_unstable_by_key(|user| input.users.get(*user));
    for (rank, user) in (0u32..).zip(users) {
        ranks[user as usize] = rank;
    }
    ranks
}

fn batch<'a>(
    input: &CuratedRows<'_>,
    day: Day,
    rows: impl ExactSizeIterator<Item = &'a ScoredEvent> + Clone,
) -> Result<RecordBatch, ArrowError> {
    let count = rows.len();
    let mut event_id = Text::with_capacity(count, count * 64);
    let (mut user_id, mut computer_id) = (Text::with_capacity(count, count * 8), Text::with_capacity(count, count * 8));
    let mut flag_names = Text::with_capacity(count / 4, count * 4);
    let mut flag_ends = Vec::with_capacity(count + 1);
    flag_ends.push(0i32);
    let mut level = Text::with_capacity(count, count * 4);
    let mut popularity = Vec::with_capacity(count);
    let mut line = Vec::new();
    let mut flag_count = 0i32;
    for row in rows.clone() {
        let event = &row.event;
        let (user, computer) = (input.users.get(event.user), input.computers.get(event.computer));
        match &event.id {
            EventId::Own(id) => event_id.push(id.as_bytes()),
            EventId::Content(form) => {
                canonical_line(&mut line, input.base, event.event_time, *form, user, computer);
                event_id.push(&content_id(&line));
            }
        }
        user_id.push(user.as_bytes());
        computer_id.push(computer.as_bytes());
        for flag in row.flags.iter() {
            flag_names.push(flag.name().as_bytes());
            flag_count += 1;
        }
        flag_ends.push(flag_count);
        level.push(RiskLevel::of(row.score).name().as_bytes());
        popularity.push(row.popularity.map(long));
    }
    let mut rule_set = Text::with_capacity(count, count * input.rule_set.len());
    (0..count).for_each(|_| rule_set.push(input.rule_set.as_bytes()));

    let time = |pick: fn(&ScoredEvent) -> Micros| times(rows.clone().map(pick).collect());
    let counted = |pick: fn(&ScoredEvent) -> u32| longs(rows.clone().map(|row| i64::from(pick(row))).collect());
    let flag = |flag: Flag| ints(rows.clone().map(|row| i32::from(row.flags.has(flag))).collect());
    let schema = Table::Curated.arrow_schema().clone();
    let DataType::List(element) = schema.field_with_name("risk_flags")?.data_type().clone() else {
        return Err(ArrowError::SchemaError("risk_flags is no list".to_owned()));
    };
    let risk_flags = ListArray::try_new(element, offsets(flag_ends), flag_names.string_column()?, None)?;
    let columns: Vec<ArrayRef> = vec![
        event_id.string_column()?,
        time(|row| row.event.event_time),
        user_id.string_column()?,
        computer_id.string_column()?,
        time(|row| row.event.ingestion_time),
        counted(|row| row.event.windows.logins_1h),
        counted(|row| row.event.windows.logins_24h),
        counted(|row| row.event.windows.computers_1h),
        counted(|row| row.event.windows.computers_24h),
        flag(Flag::NewDevice),
        flag(Flag::BurstLogin),
        flag(Flag::LateralMovement),
        flag(Flag::RareHost),
        Arc::new(risk_flags),
        ints(rows.clone().map(|row| i32::from(row.score)).collect()),
        level.string_column()?,
        times(vec![input.processing_time; count]),
        dates(vec![day.0; count]),
        Arc::new(Int64Array::from(popularity)),
        rule_set.string_column()?,
    ];
    RecordBatch::try_new(schema, columns)
}
