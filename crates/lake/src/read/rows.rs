//! Rows as they stand in files: a batch of columns, and views of single rows that borrow from it.

use super::Batches;
use crate::cells::{self, Value};
use crate::error::LakeError;
use arrow_array::{Array, RecordBatch};
use std::marker::PhantomData;

pub use crate::schema::batch::RowBatch;
pub use crate::schema::tables::curated::{CuratedBatch, CuratedRow};
pub use crate::schema::tables::daily::{DailyBatch, DailyRow};
pub use crate::schema::tables::hourly::{HourlyBatch, HourlyRow};
pub use crate::schema::tables::pairs::{PairBatch, PairRow};
pub use crate::schema::tables::raw::{RawBatch, RawRow};
pub use crate::schema::tables::rejected::{RejectedBatch, RejectedRow};

/// A file's rows, batch by batch.
pub struct Rows<B> {
    batches: Batches,
    kind: PhantomData<B>,
}

impl<B> Rows<B> {
    /// The rows in these batches.
    pub(super) fn new(batches: Batches) -> Rows<B> {
        Rows { batches, kind: PhantomData }
    }
}

impl<B: RowBatch> Iterator for Rows<B> {
    type Item = Result<B, LakeError>;
    fn next(&mut self) -> Option<Self::Item> {
        let batch = match self.batches.next()? {
            Ok(batch) => batch,
            Err(e) => return Some(Err(e)),
        };
        Some(B::of(&batch).map_err(|what| self.batches.damaged(what)))
    }
}

/// Values of columns that were requested by name, of any group.
pub struct Values {
    rows: usize,
    columns: Vec<Option<cells::Column>>,
}

impl Values {
    /// The values of a batch's columns after the first `behind`; the error is a text.
    fn of(batch: &RecordBatch, behind: usize) -> Result<Values, String> {
        let mut columns = Vec::with_capacity(batch.num_columns().saturating_sub(behind));
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()).skip(behind) {
            // A column that the file lacks is read with the type Null.
            if column.logical_null_count() == column.len() {
                columns.push(None);
                continue;
            }
            let not_read = || format!("column {} has type {}, which is not read", field.name(), column.data_type());
            columns.push(Some(cells::Column::of(column).ok_or_else(not_read)?));
        }
        Ok(Values { rows: batch.num_rows(), columns })
    }

    /// Rows in it.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The value of a row in the `nth` requested column; `None` if it is null. `row` must be below the number of rows.
    pub fn value(&self, row: usize, nth: usize) -> Option<Value<'_>> {
        self.columns.get(nth)?.as_ref()?.value(row)
    }
}

/// The requested values of a file, batch by batch.
pub struct ValueRows(Batches);

impl ValueRows {
    /// The values in these batches.
    pub(super) fn new(batches: Batches) -> ValueRows {
        ValueRows(batches)
    }
}

impl Iterator for ValueRows {
    type Item = Result<Values, LakeError>;
    fn next(&mut self) -> Option<Self::Item> {
        let batch = match self.0.next()? {
            Ok(batch) => batch,
            Err(e) => return Some(Err(e)),
        };
        Some(Values::of(&batch, 0).map_err(|what| self.0.damaged(what)))
    }
}

/// Rows of one kind, each batch with the values of some later columns of the same rows.
pub struct RowsAnd<B> {
    batches: Batches,
    /// How many columns the rows' kind has.
    own: usize,
    kind: PhantomData<B>,
}

impl<B: RowBatch> RowsAnd<B> {
    /// The rows in these batches, with the later columns that they have.
    pub(super) fn new(batches: Batches) -> RowsAnd<B> {
        RowsAnd { batches, own: B::columns().len(), kind: PhantomData }
    }
}

impl<B: RowBatch> Iterator for RowsAnd<B> {
    type Item = Result<(B, Values), LakeError>;
    fn next(&mut self) -> Option<Self::Item> {
        let batch = match self.batches.next()? {
            Ok(batch) => batch,
            Err(e) => return Some(Err(e)),
        };
        let rows = B::of(&batch).and_then(|rows| Ok((rows, Values::of(&batch, self.own)?)));
        Some(rows.map_err(|what| self.batches.damaged(what)))
    }
}
