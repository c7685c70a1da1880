//! `user_behavior_hourly` and `host_popularity_daily`.

use super::later::{Carried, Later, finish};
use super::{BATCH_ROWS, EncodeOptions, EncodedFile, encode_error, parquet_file};
use crate::error::LakeError;
use crate::lines::HourlyLine;
use crate::schema::tables::{daily, hourly};
use crate::schema::{Partition, Table};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::ArrowError;
use authpulse_engine::names::UserNamesView;
use authpulse_engine::rows::{DayRow, HourRow};
use std::collections::BTreeMap;

/// Divides rows by partition, sorts each part and cuts it into files. `arrays` makes the columns with which the table is created.
fn by_partition<'a, R, K: Ord>(
    table: Table,
    rows: &'a [R],
    (later, options): (Option<&Later<R>>, &EncodeOptions),
    partition: impl Fn(&R) -> Partition,
    place: impl Fn(&'a R) -> K,
    arrays: impl Fn(&[&'a R]) -> Result<Vec<ArrayRef>, ArrowError>,
) -> Result<Vec<EncodedFile>, LakeError> {
    let mut parts: BTreeMap<Partition, Vec<&'a R>> = BTreeMap::new();
    for row in rows {
        parts.entry(partition(row)).or_default().push(row);
    }
    let mut files = Vec::new();
    let no_later = Later::default();
    for (partition, mut rows) in parts {
        rows.sort_by_key(|row| place(row));
        for rows in rows.chunks(options.max_rows_per_file.max(1)) {
            let carried = later.unwrap_or(&no_later).carried(table, rows.iter().copied())?;
            let batch = |rows: &[&'a R]| batch(&carried, rows, arrays(rows)?);
            let batches = rows.chunks(BATCH_ROWS).map(|rows| batch(rows).map_err(|e| encode_error(table.name(), e)));
            files.push(parquet_file::table_file(&carried.schema, partition, batches, options)?);
        }
    }
    Ok(files)
}

/// Adds the later columns of some rows to their other columns.
///
/// # Errors
/// A later value has another type than its column, or the columns do not match the file's schema.
pub(super) fn batch<R>(
    carried: &Carried<'_, R>,
    rows: &[&R],
    mut arrays: Vec<ArrayRef>,
) -> Result<RecordBatch, ArrowError> {
    let mut later = carried.building();
    if !later.is_empty() {
        for row in rows {
            carried.push(&mut later, row)?;
        }
    }
    arrays.extend(finish(later));
    RecordBatch::try_new(carried.schema.arrow().clone(), arrays)
}

/// Encodes rows of `user_behavior_hourly`: one file or more per day, sorted by hour and user.
///
/// # Errors
/// The Parquet writer fails.
pub fn encode_hourly(
    rows: &[HourRow],
    users: &UserNamesView,
    later: Option<&Later<HourRow>>,
    options: &EncodeOptions,
) -> Result<Vec<EncodedFile>, LakeError> {
    let arrays = |rows: &[&HourRow]| {
        let mut columns = hourly::Building::with_capacity(rows.len());
        for row in rows {
            columns.push(&mut HourlyLine { row, user: users.get(row.user) });
        }
        columns.finish(Table::HOURLY.arrow_schema())
    };
    let partition = |row: &HourRow| Table::HOURLY.partition_of(row.window_start);
    let order = |row: &HourRow| (row.window_start, users.get(row.user));
    by_partition(Table::HOURLY, rows, (later, options), partition, order, arrays)
}

/// Encodes rows of `host_popularity_daily`: one file or more per month, sorted by day and computer.
///
/// # Errors
/// The Parquet writer fails.
pub fn encode_daily(
    rows: &[DayRow],
    later: Option<&Later<DayRow>>,
    options: &EncodeOptions,
) -> Result<Vec<EncodedFile>, LakeError> {
    let arrays = |rows: &[&DayRow]| {
        let mut columns = daily::Building::with_capacity(rows.len());
        for row in rows {
            columns.push(&mut &**row);
        }
        columns.finish(Table::DAILY.arrow_schema())
    };
    let partition = |row: &DayRow| Table::DAILY.partition_of(row.day.start());
    by_partition(Table::DAILY, rows, (later, options), partition, |row| (row.day, row.computer.as_str()), arrays)
}
