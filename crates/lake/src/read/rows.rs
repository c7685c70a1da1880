//! Rows as they stand in files: a batch of columns, and views of single rows that borrow from it.

use super::Batches;
use crate::error::LakeError;
use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, BinaryArray, Date32Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use authpulse_event::{Day, Micros};
use std::marker::PhantomData;

/// Rows of one kind, column by column.
pub trait RowBatch: Sized {
    /// The columns that are read.
    const COLUMNS: &'static [&'static str];
    /// Takes the columns out of a batch; the error is in words.
    #[doc(hidden)]
    fn of(batch: &RecordBatch) -> Result<Self, String>;
}

/// A file's rows, batch by batch.
pub struct Rows<B> {
    batches: Batches,
    kind: PhantomData<B>,
}

impl<B> Rows<B> {
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

/// A column of one type; only `MaybeLong` may hold nulls.
trait Column: Sized {
    type Value<'a>
    where
        Self: 'a;
    fn of(column: &dyn Array) -> Option<Self>;
    fn value(&self, row: usize) -> Self::Value<'_>;
}

fn whole<A: Array>(array: &A) -> bool {
    array.null_count() == 0
}

macro_rules! column {
    ($name:ident<$life:lifetime>, $array:ty => $value:ty, $cast:ident::<$kind:ty>, $wrap:expr) => {
        struct $name($array);
        impl Column for $name {
            type Value<$life> = $value;
            fn of(column: &dyn Array) -> Option<Self> {
                column.$cast::<$kind>().filter(|array| whole(*array)).cloned().map($name)
            }
            fn value<$life>(&$life self, row: usize) -> $value {
                $wrap(self.0.value(row))
            }
        }
    };
}

column!(Text<'a>, StringArray => &'a str, as_string_opt::<i32>, std::convert::identity);
column!(Time<'a>, TimestampMicrosecondArray => Micros, as_primitive_opt::<TimestampMicrosecondType>, std::convert::identity);
column!(Date<'a>, Date32Array => Day, as_primitive_opt::<Date32Type>, Day);
column!(Int<'a>, Int32Array => i32, as_primitive_opt::<Int32Type>, std::convert::identity);
column!(Long<'a>, Int64Array => i64, as_primitive_opt::<Int64Type>, std::convert::identity);
column!(Binary<'a>, BinaryArray => &'a [u8], as_binary_opt::<i32>, std::convert::identity);

struct MaybeLong(Int64Array);

impl Column for MaybeLong {
    type Value<'a> = Option<i64>;
    fn of(column: &dyn Array) -> Option<Self> {
        column.as_primitive_opt::<Int64Type>().cloned().map(MaybeLong)
    }
    fn value(&self, row: usize) -> Option<i64> {
        (!self.0.is_null(row)).then(|| self.0.value(row))
    }
}

struct Texts {
    lists: ListArray,
    texts: StringArray,
}

impl Column for Texts {
    type Value<'a> = Vec<&'a str>;
    fn of(column: &dyn Array) -> Option<Self> {
        let lists = column.as_list_opt::<i32>().filter(|lists| whole(*lists))?.clone();
        let texts = lists.values().as_string_opt::<i32>().filter(|texts| whole(*texts))?.clone();
        Some(Texts { lists, texts })
    }
    fn value(&self, row: usize) -> Vec<&str> {
        let ends = self.lists.value_offsets();
        (ends[row] as usize..ends[row + 1] as usize).map(|i| self.texts.value(i)).collect()
    }
}

fn take<C: Column>(batch: &RecordBatch, name: &str) -> Result<C, String> {
    let column = batch.column_by_name(name).ok_or_else(|| format!("it has no column {name}; restore it"))?;
    C::of(column).ok_or_else(|| {
        format!("column {name} has type {} with {} nulls; restore it", column.data_type(), column.null_count())
    })
}

/// Declares a batch and its row from the columns, in order.
macro_rules! rows {
    ($batch:ident, $row:ident<$life:lifetime>, $about:literal, { $($column:ident: $kind:ident => $value:ty),+ $(,)? }) => {
        #[doc = concat!("Columns of ", $about, ".")]
        pub struct $batch {
            rows: usize,
            $($column: $kind,)+
        }

        #[doc = concat!("A row of ", $about, ", as it stands in its file.")]
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "the columns of the tables, named and explained in the semantics")]
        pub struct $row<$life> {
            $(pub $column: $value,)+
        }

        impl RowBatch for $batch {
            const COLUMNS: &'static [&'static str] = &[$(stringify!($column)),+];
            fn of(batch: &RecordBatch) -> Result<Self, String> {
                Ok($batch { rows: batch.num_rows(), $($column: take(batch, stringify!($column))?,)+ })
            }
        }

        impl $batch {
            /// Rows in it.
            pub fn len(&self) -> usize {
                self.rows
            }
            /// Whether it has none.
            pub fn is_empty(&self) -> bool {
                self.rows == 0
            }
            /// One row; `index` is below the number of rows.
            pub fn row(&self, index: usize) -> $row<'_> {
                $row { $($column: self.$column.value(index),)+ }
            }
            /// All rows, in order.
            pub fn iter(&self) -> impl ExactSizeIterator<Item = $row<'_>> {
                (0..self.rows).map(|index| self.row(index))
            }
        }
    };
}

rows!(CuratedBatch, CuratedRow<'a>, "`auth_events_curated`", {
    event_id: Text => &'a str,
    event_time: Time => Micros,
    user_id: Text => &'a str,
    computer_id: Text => &'a str,
    ingestion_time: Time => Micros,
    login_count_1h: Long => i64,
    login_count_24h: Long => i64,
    unique_computers_1h: Long => i64,
    unique_computers_24h: Long => i64,
    is_new_device: Int => i32,
    is_burst_login: Int => i32,
    is_lateral_movement: Int => i32,
    is_rare_host: Int => i32,
    risk_flags: Texts => Vec<&'a str>,
    risk_score: Int => i32,
    risk_level: Text => &'a str,
    processing_time: Time => Micros,
    event_date: Date => Day,
    host_popularity: MaybeLong => Option<i64>,
    rule_set: Text => &'a str,
});

rows!(PairBatch, PairRow<'a>, "who was where", {
    user_id: Text => &'a str,
    computer_id: Text => &'a str,
});

rows!(HourlyBatch, HourlyRow<'a>, "`user_behavior_hourly`", {
    window_start: Time => Micros,
    window_end: Time => Micros,
    user_id: Text => &'a str,
    total_logins: Long => i64,
    unique_computers: Long => i64,
    anomaly_count: Long => i64,
    total_risk_score: Long => i64,
    max_risk_score: Int => i32,
});

rows!(DailyBatch, DailyRow<'a>, "`host_popularity_daily`", {
    date: Date => Day,
    computer_id: Text => &'a str,
    unique_users: Long => i64,
    total_logins: Long => i64,
    high_risk_events: Long => i64,
});

rows!(RejectedBatch, RejectedRow<'a>, "`auth_events_rejected`", {
    reason: Text => &'a str,
    detail: Text => &'a str,
    payload: Binary => &'a [u8],
    payload_bytes: Long => i64,
    shard_id: Text => &'a str,
    sequence_number: Text => &'a str,
    sub_sequence_number: Long => i64,
    ingestion_time: Time => Micros,
    processing_time: Time => Micros,
    ingest_date: Date => Day,
});

rows!(RawBatch, RawRow<'a>, "the raw zone", {
    stream: Text => &'a str,
    shard_id: Text => &'a str,
    sequence_number: Text => &'a str,
    sub_sequence_number: Long => i64,
    partition_key: Text => &'a str,
    ingestion_time: Time => Micros,
    payload: Binary => &'a [u8],
});
