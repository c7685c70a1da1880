//! Encodes rows of tables after the first four. A worker makes them from what an entry stores, with the function in the table's definition.

use super::{BATCH_ROWS, EncodeOptions, EncodedFile, encode_batches, encode_error};
use crate::cells::{LaterBuilding, Value};
use crate::error::LakeError;
use crate::schema::{EntryRows, LaterRow, Order, Partition, Table};
use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use authpulse_event::Day;
use authpulse_event::time::HOUR;
use std::collections::BTreeMap;

/// The files of a later table that an entry brings: one or more for each partition, each in the table's order. Empty for a table without a
/// [`Fill`](crate::schema::Fill).
///
/// # Errors
/// A row does not fit the table, or the Parquet writer fails.
pub fn encode_later_table(
    table: Table,
    rows: &EntryRows<'_>,
    options: &EncodeOptions,
) -> Result<Vec<EncodedFile>, LakeError> {
    let Some(fill) = table.def().fill else { return Ok(Vec::new()) };
    let mut parts: BTreeMap<Partition, Vec<(i64, LaterRow<'_>)>> = BTreeMap::new();
    let time_at = place(table, table.time_column());
    for row in fill(rows) {
        let time = time_of(table, &row, time_at)?;
        parts.entry(table.partition_of_day(Day::of_micros(time))).or_default().push((time, row));
    }
    let order = table.def().order;
    let text_at = match order {
        Order::Arrival => None,
        Order::Time(column) | Order::Hour(column) => place(table, column),
    };
    let mut files = Vec::new();
    for (partition, mut rows) in parts {
        // Rows with equal keys keep the order in which they were made.
        rows.sort_by(|a, b| standing(order, text_at, a).cmp(&standing(order, text_at, b)));
        for rows in rows.chunks(options.max_rows_per_file.max(1)) {
            let batches = rows.chunks(BATCH_ROWS).map(|rows| batch(table, rows));
            let batches = batches.collect::<Result<_, ArrowError>>().map_err(|e| encode_error(table.name(), e))?;
            files.push(encode_batches(table, partition, batches, options)?);
        }
    }
    Ok(files)
}

fn place(table: Table, name: &str) -> Option<usize> {
    table.columns().iter().position(|column| column.name == name)
}

/// A row's time in microseconds, from the table's time column.
fn time_of(table: Table, row: &LaterRow<'_>, at: Option<usize>) -> Result<i64, LakeError> {
    match at.and_then(|at| row.get(at)?.as_ref()) {
        Some(Value::Time(time)) => Ok(*time),
        Some(Value::Date(day)) => Ok(day.start().micros()),
        _ => Err(encode_error(table.name(), format!("a row has no time in {}", table.time_column()))),
    }
}

/// The sort key of a row within its file. `text_at` is the column of its text; a row without a text comes before those with one.
fn standing<'a>(
    order: Order,
    text_at: Option<usize>,
    (time, row): &'a (i64, LaterRow<'_>),
) -> (i64, Option<&'a str>, i64) {
    let text = match text_at.and_then(|at| row.get(at)?.as_ref()) {
        Some(Value::Text(text)) => Some(*text),
        _ => None,
    };
    match order {
        Order::Arrival => (0, None, 0),
        Order::Time(_) => (*time, text, 0),
        Order::Hour(_) => (time.div_euclid(HOUR.micros()), text, *time),
    }
}

fn batch(table: Table, rows: &[(i64, LaterRow<'_>)]) -> Result<RecordBatch, ArrowError> {
    let schema = table.arrow_schema();
    let fields = table.columns().iter().zip(schema.fields());
    let mut building: Vec<LaterBuilding> =
        fields.map(|(column, field)| LaterBuilding::new(column.kind, field)).collect();
    for (_, row) in rows {
        if row.len() != building.len() {
            let what = format!("a row has {} values, and the table {} columns", row.len(), building.len());
            return Err(ArrowError::SchemaError(what));
        }
        for (column, value) in building.iter_mut().zip(row) {
            column.push(value.clone())?;
        }
    }
    RecordBatch::try_new(schema.clone(), building.into_iter().map(LaterBuilding::finish).collect())
}
