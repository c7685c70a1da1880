//! Plain vectors that become Arrow columns without copying.

use arrow_array::{
    ArrayRef, Date32Array, Int32Array, Int64Array, LargeBinaryArray, StringArray, TimestampMicrosecondArray,
};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::ArrowError;
use std::sync::Arc;

/// A column of strings or bytes under construction.
pub(super) struct Text {
    bytes: Vec<u8>,
    ends: Vec<i32>,
}

impl Text {
    pub(super) fn with_capacity(rows: usize, bytes: usize) -> Text {
        let mut ends = Vec::with_capacity(rows + 1);
        ends.push(0);
        Text { bytes: Vec::with_capacity(bytes), ends }
    }

    /// One value in every row.
    pub(super) fn repeated(value: &str, rows: usize) -> Text {
        let mut column = Text::with_capacity(rows, rows * value.len());
        (0..rows).for_each(|_| column.push(value.as_bytes()));
        column
    }

    /// Appends a value. The caller keeps a column below 2 GiB; see `EncodeOptions`.
    pub(super) fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.ends.push(i32::try_from(self.bytes.len()).expect("a batch is cut long before 2 GiB"));
    }

    pub(super) fn strings(self) -> Result<StringArray, ArrowError> {
        StringArray::try_new(offsets(self.ends), Buffer::from_vec(self.bytes), None)
    }

    pub(super) fn string_column(self) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(self.strings()?))
    }

    pub(super) fn binary_column(self) -> Result<ArrayRef, ArrowError> {
        // Iceberg's binary is LargeBinary in Arrow; in Parquet both are the same.
        let ends: Vec<i64> = self.ends.into_iter().map(i64::from).collect();
        let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
        Ok(Arc::new(LargeBinaryArray::try_new(offsets, Buffer::from_vec(self.bytes), None)?))
    }
}

pub(super) fn offsets(ends: Vec<i32>) -> OffsetBuffer<i32> {
    OffsetBuffer::new(ScalarBuffer::from(ends))
}

pub(super) fn times(values: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(values))
}

pub(super) fn dates(values: Vec<i32>) -> ArrayRef {
    Arc::new(Date32Array::from(values))
}

pub(super) fn ints(values: Vec<i32>) -> ArrayRef {
    Arc::new(Int32Array::from(values))
}

pub(super) fn longs(values: Vec<i64>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}

/// Counts stay far below 2^63; one that does not is a bug, and stands out as the largest number there is.
pub(super) fn long(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
