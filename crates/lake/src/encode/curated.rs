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
        return Err(encode_error(Table::CURATED.name(), "more than 2^27 rows at once: encode them in parts"));
    }
    let ranks = rank_users(input);
    let mut days: BTreeMap<Day, Vec<(u64, u32)>> = BTreeMap::new();
    for (index, row) in (0u32..).zip(input.rows) {
        let time = row.event.event_time;
        let day = Day::of(time);
        let in_day = (time - day.start()).cast_unsigned();
        let hour = in_day / HOUR.cast_unsigned();
        let rank = u64::from(ranks[row.event.user as usize]);
        let place = (((hour << RANK_BITS) | rank) << MICROS_BITS) | (in_day % HOUR.cast_unsigned());
        // Most chunks are of one day.
        let expected = if days.is_empty() { input.rows.len() } else { 0 };
        days.entry(day).or_insert_with(|| Vec::with_capacity(expected)).push((place, index));
    }
    let mut files = Vec::new();
    for (day, mut places) in days {
        places.sort_unstable();
        for part in places.chunks(options.max_rows_per_file.max(1)) {
            let batches = part
                .chunks(BATCH_ROWS)
                .map(|rows| batch(input, day, rows).map_err(|e| encode_error(Table::CURATED.name(), e)));
            files.push(parquet_file::table_file(Table::CURATED, Partition::Day(day), batches, options)?);
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

/// Columns under construction. One pass fills them all: the rows lie scattered in memory, and each is fetched once.
struct Columns {
    event_id: Text,
    event_time: Vec<i64>,
    user_id: Text,
    computer_id: Text,
    ingestion_time: Vec<i64>,
    windows: [Vec<i64>; 4],
    flags: [Vec<i32>; 4],
    flag_names: Text,
    flag_ends: Vec<i32>,
    score: Vec<i32>,
    level: Text,
    popularity: Vec<Option<i64>>,
    /// The canonical line at hand.
    line: Vec<u8>,
}

impl Columns {
    fn with_capacity(count: usize) -> Columns {
        let mut flag_ends = Vec::with_capacity(count + 1);
        flag_ends.push(0);
        Columns {
            event_id: Text::with_capacity(count, count * 64),
            event_time: Vec::with_capacity(count),
            user_id: Text::with_capacity(count, count * 8),
            computer_id: Text::with_capacity(count, count * 8),
            ingestion_time: Vec::with_capacity(count),
            windows: std::array::from_fn(|_| Vec::with_capacity(count)),
            flags: std::array::from_fn(|_| Vec::with_capacity(count)),
            flag_names: Text::with_capacity(count / 4, count * 4),
            flag_ends,
            score: Vec::with_capacity(count),
            level: Text::with_capacity(count, count * 4),
            popularity: Vec::with_capacity(count),
            line: Vec::new(),
        }
    }

    fn push(&mut self, row: &ScoredEvent, input: &CuratedRows<'_>) {
        let event = &row.event;
        let (user, computer) = (input.users.get(event.user), input.computers.get(event.computer));
        match &event.id {
            EventId::Own(id) => self.event_id.push(id.as_bytes()),
            EventId::Content(form) => {
                canonical_line(&mut self.line, input.base, event.event_time, *form, user, computer);
                self.event_id.push(&content_id(&self.line));
            }
        }
        self.event_time.push(event.event_time);
        self.user_id.push(user.as_bytes());
        self.computer_id.push(computer.as_bytes());
        self.ingestion_time.push(event.ingestion_time);
        let windows = &event.windows;
        let counts = [windows.logins_1h, windows.logins_24h, windows.computers_1h, windows.computers_24h];
        self.windows.iter_mut().zip(counts).for_each(|(column, count)| column.push(i64::from(count)));
        let mut names = 0;
        for (column, flag) in self.flags.iter_mut().zip(Flag::ALL) {
            let fires = row.flags.has(flag);
            column.push(i32::from(fires));
            if fires {
                self.flag_names.push(flag.name().as_bytes());
                names += 1;
            }
        }
        let end = self.flag_ends.last().copied().unwrap_or(0);
        self.flag_ends.push(end + names);
        self.score.push(i32::from(row.score));
        self.level.push(RiskLevel::of(row.score).name().as_bytes());
        self.popularity.push(row.popularity.map(long));
    }
}

fn batch(input: &CuratedRows<'_>, day: Day, rows: &[(u64, u32)]) -> Result<RecordBatch, ArrowError> {
    let count = rows.len();
    let mut columns = Columns::with_capacity(count);
    for (_, index) in rows {
        columns.push(&input.rows[*index as usize], input);
    }
    let schema = Table::CURATED.arrow_schema().clone();
    let DataType::List(element) = schema.field_with_name("risk_flags")?.data_type().clone() else {
        return Err(ArrowError::SchemaError("risk_flags is no list".to_owned()));
    };
    let flag_names = columns.flag_names.string_column()?;
    let risk_flags = ListArray::try_new(element, offsets(columns.flag_ends), flag_names, None)?;
    let [logins_1h, logins_24h, computers_1h, computers_24h] = columns.windows.map(longs);
    let [new_device, burst_login, lateral_movement, rare_host] = columns.flags.map(ints);
    let columns: Vec<ArrayRef> = vec![
        columns.event_id.string_column()?,
        times(columns.event_time),
        columns.user_id.string_column()?,
        columns.computer_id.string_column()?,
        times(columns.ingestion_time),
        logins_1h,
        logins_24h,
        computers_1h,
        computers_24h,
        new_device,
        burst_login,
        lateral_movement,
        rare_host,
        Arc::new(risk_flags),
        ints(columns.score),
        columns.level.string_column()?,
        times(vec![input.processing_time; count]),
        dates(vec![day.0; count]),
        Arc::new(Int64Array::from(columns.popularity)),
        Text::repeated(input.rule_set, count).string_column()?,
    ];
    RecordBatch::try_new(schema, columns)
}
