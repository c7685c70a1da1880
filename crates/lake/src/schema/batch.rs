//! Takes the columns of one kind of rows out of a batch that was read.

use super::Column;
use crate::cells::Cell;
use arrow_array::{Array, RecordBatch};

/// Rows of one kind, column by column.
pub trait RowBatch: Sized {
    /// The columns that are read.
    fn columns() -> Vec<&'static Column>;
    /// Takes the columns out of a batch; the error is a text.
    #[doc(hidden)]
    fn of(batch: &RecordBatch) -> Result<Self, String>;
}

/// The column of this name as cells of type `C`.
///
/// # Errors
/// Text: the column is missing, or has another type or nulls.
pub(crate) fn take<C: Cell>(batch: &RecordBatch, name: &str) -> Result<C, String> {
    let column = batch.column_by_name(name).ok_or_else(|| format!("it has no column {name}; restore it"))?;
    C::of(column).ok_or_else(|| {
        format!("column {name} has type {} with {} nulls; restore it", column.data_type(), column.null_count())
    })
}
