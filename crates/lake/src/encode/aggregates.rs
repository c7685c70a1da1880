//! `user_behavior_hourly` and `host_popularity_daily`.

use super::columns::{Text, dates, ints, long, longs, times};
use super::{BATCH_ROWS, EncodeOptions, EncodedFile, encode_error, parquet_file};
use crate::error::LakeError;
use crate::schema::{Partition, Table};
use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use authpulse_engine::names::NamesView;
use authpulse_engine::rows::{DayRow, HourRow};
use authpulse_event::time::HOUR;
use std::collections::BTreeMap;

/// Divides rows by partition, sorts each part and cuts it into files.
fn by_partition<'a, R, K: Ord>(
    table: Table,
    rows: &'a [R],
    options: &EncodeOptions,
    partition: impl Fn(&R) -> Partition,
    place: impl Fn(&'a R) -> K,
    batch: impl Fn(&[&'a R]) -> Result<RecordBatch, ArrowError>,
) -> Result<Vec<EncodedFile>, LakeError> {
    let mut parts: BTreeMap<Partition, Vec<&'a R>> = BTreeMap::new();
    for row in rows {
        parts.entry(partition(row)).or_default().push(row);
    }
    let mut files = Vec::new();
    for (partition, mut rows) in parts {
        rows.sort_by_key(|row| place(row));
        for rows in rows.chunks(options.max_rows_per_file.max(1)) {
            let batches = rows.chunks(BATCH_ROWS).map(|rows| batch(rows).map_err(|e| encode_error(table.name(), e)));
            files.push(parquet_file::table_file(table, partition, batches, options)?);
        }
    }
    Ok(files)
}

/// Encodes rows of `user_behavior_hourly`: one file or more per day, sorted by hour and user.
///
/// # Errors
/// The Parquet writer fails.
pub fn encode_hourly(
    rows: &[HourRow],
    users: &NamesView,
    options: &EncodeOptions,
) -> Result<Vec<EncodedFile>, LakeError> {
    let batch = |rows: &[&HourRow]| {
        let mut user_id = Text::with_capacity(rows.len(), rows.len() * 8);
        rows.iter().for_each(|row| user_id.push(users.get(row.user).as_bytes()));
        let counted = |pick: fn(&HourRow) -> u64| longs(rows.iter().map(|row| long(pick(row))).collect());
        let columns = vec![
            times(rows.iter().map(|row| row.window_start).collect()),
            times(rows.iter().map(|row| row.window_start + HOUR).collect()),
            user_id.string_column()?,
            counted(|row| row.total_logins),
            counted(|row| row.unique_computers),
            counted(|row| row.anomaly_count),
            counted(|row| row.total_risk_score),
            ints(rows.iter().map(|row| i32::from(row.max_risk_score)).collect()),
        ];
        RecordBatch::try_new(Table::HOURLY.arrow_schema().clone(), columns)
    };
    let partition = |row: &HourRow| Table::HOURLY.partition_of(row.window_start);
    by_partition(Table::HOURLY, rows, options, partition, |row| (row.window_start, users.get(row.user)), batch)
}

/// Encodes rows of `host_popularity_daily`: one file or more per month, sorted by day and computer.
///
/// # Errors
/// The Parquet writer fails.
pub fn encode_daily(rows: &[DayRow], options: &EncodeOptions) -> Result<Vec<EncodedFile>, LakeError> {
    let batch = |rows: &[&DayRow]| {
        let mut computer_id = Text::with_capacity(rows.len(), rows.len() * 8);
        rows.iter().for_each(|row| computer_id.push(row.computer.as_bytes()));
        let counted = |pick: fn(&DayRow) -> u64| longs(rows.iter().map(|row| long(pick(row))).collect());
        let columns = vec![
            dates(rows.iter().map(|row| row.day.0).collect()),
            computer_id.string_column()?,
            counted(|row| row.unique_users),
            counted(|row| row.total_logins),
            counted(|row| row.high_risk_events),
        ];
        RecordBatch::try_new(Table::DAILY.arrow_schema().clone(), columns)
    };
    let partition = |row: &DayRow| Table::DAILY.partition_of(row.day.start());
    by_partition(Table::DAILY, rows, options, partition, |row| (row.day, row.computer.as_str()), batch)
}
