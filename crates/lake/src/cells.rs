//! For each type of value: how a column of it is built, and how it is read back.

use crate::kind::Kind;
use arrow_array::builder::{
    Date32Builder, Float64Builder, Int32Builder, Int64Builder, LargeBinaryBuilder, ListBuilder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, BinaryArray, Date32Array, Float64Array, Int32Array, Int64Array, LargeBinaryArray, ListArray,
    StringArray, TimestampMicrosecondArray,
};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field};
use authpulse_event::time::{InMicros, OnCalendar};
use authpulse_event::{ArrivalTime, Day, EventTime, ProcessingTime};
use std::marker::PhantomData;
use std::sync::Arc;

/// A column of one type, as it is read. It holds no nulls unless it is [`NULLABLE`](Cell::NULLABLE).
pub trait Cell: Sized {
    /// The type of its values.
    const KIND: Kind;
    /// Whether it may hold nulls.
    const NULLABLE: bool;
    /// The value of one row.
    type Value<'a>
    where
        Self: 'a;
    /// A column under construction.
    type Building: Building;
    /// Takes a column; `None` if it has another type, or nulls that it must not have.
    fn of(column: &dyn Array) -> Option<Self>;
    /// The value of a row; `row` must be below the number of rows.
    fn value(&self, row: usize) -> Self::Value<'_>;
}

/// A column under construction: plain vectors that become Arrow columns without copying.
pub trait Building: Sized {
    /// An empty column with room for so many rows.
    fn with_capacity(rows: usize) -> Self;
    /// The finished column, with the type of this field.
    ///
    /// # Errors
    /// The values do not make a valid column of that type.
    fn finish(self, field: &Field) -> Result<ArrayRef, ArrowError>;
}

/// Strings or bytes under construction.
pub struct Bytes {
    rows: usize,
    bytes: Vec<u8>,
    ends: Vec<i32>,
}

/// Most bytes per value for which room is reserved in advance.
const ROOM_BYTES: usize = 64;

impl Bytes {
    /// Appends a value. The caller keeps a column below 2 GiB; see `EncodeOptions`.
    pub fn push(&mut self, value: &[u8]) {
        if self.bytes.capacity() == 0 {
            // The other values are likely to be as long.
            self.bytes.reserve(self.rows.saturating_mul(value.len().min(ROOM_BYTES)));
        }
        self.bytes.extend_from_slice(value);
        self.ends.push(i32::try_from(self.bytes.len()).expect("a batch is cut long before 2 GiB"));
    }

    fn strings(self) -> Result<StringArray, ArrowError> {
        StringArray::try_new(offsets(self.ends), Buffer::from_vec(self.bytes), None)
    }
}

impl Building for Bytes {
    fn with_capacity(rows: usize) -> Bytes {
        Bytes { rows, bytes: Vec::new(), ends: from_zero(rows) }
    }
    fn finish(self, field: &Field) -> Result<ArrayRef, ArrowError> {
        if field.data_type() != &DataType::LargeBinary {
            return Ok(Arc::new(self.strings()?));
        }
        // Iceberg's binary is LargeBinary in Arrow; in Parquet both are the same.
        let ends: Vec<i64> = self.ends.into_iter().map(i64::from).collect();
        let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
        Ok(Arc::new(LargeBinaryArray::try_new(offsets, Buffer::from_vec(self.bytes), None)?))
    }
}

/// Lists of texts under construction.
pub struct Lists {
    texts: Bytes,
    ends: Vec<i32>,
}

impl Lists {
    /// Appends a list.
    pub fn push<'a>(&mut self, texts: impl Iterator<Item = &'a str>) {
        texts.for_each(|text| self.texts.push(text.as_bytes()));
        self.ends.push(i32::try_from(self.texts.ends.len() - 1).expect("a batch is cut long before 2^31 texts"));
    }
}

impl Building for Lists {
    fn with_capacity(rows: usize) -> Lists {
        Lists { texts: Bytes::with_capacity(rows / 4), ends: from_zero(rows) }
    }
    fn finish(self, field: &Field) -> Result<ArrayRef, ArrowError> {
        let DataType::List(element) = field.data_type() else {
            return Err(ArrowError::SchemaError(format!("{} is no list", field.name())));
        };
        let texts = Arc::new(self.texts.strings()?);
        Ok(Arc::new(ListArray::try_new(element.clone(), offsets(self.ends), texts, None)?))
    }
}

fn from_zero(rows: usize) -> Vec<i32> {
    let mut ends = Vec::with_capacity(rows + 1);
    ends.push(0);
    ends
}

fn offsets(ends: Vec<i32>) -> OffsetBuffer<i32> {
    OffsetBuffer::new(ScalarBuffer::from(ends))
}

/// A count as Iceberg's `long`. Counts stay far below 2^63; a larger one is a bug, and shows as the largest number.
pub(crate) fn long(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn whole<A: Array>(array: &A) -> bool {
    array.null_count() == 0
}

macro_rules! cell {
    ($name:ident<$life:lifetime>, $kind:ident, $array:ty => $value:ty, $building:ty, $cast:ident::<$type:ty>, $wrap:expr) => {
        #[doc = concat!("Values of [`Kind::", stringify!($kind), "`], none of them null.")]
        pub struct $name($array);
        impl Cell for $name {
            const KIND: Kind = Kind::$kind;
            const NULLABLE: bool = false;
            type Value<$life> = $value;
            type Building = $building;
            fn of(column: &dyn Array) -> Option<Self> {
                column.$cast::<$type>().filter(|array| whole(*array)).cloned().map($name)
            }
            fn value<$life>(&$life self, row: usize) -> $value {
                $wrap(self.0.value(row))
            }
        }
    };
}

cell!(Text<'a>, Text, StringArray => &'a str, Bytes, as_string_opt::<i32>, std::convert::identity);
cell!(Date<'a>, Date, Date32Array => Day, Dates, as_primitive_opt::<Date32Type>, Day);
cell!(Long<'a>, Long, Int64Array => i64, Longs, as_primitive_opt::<Int64Type>, std::convert::identity);
cell!(Binary<'a>, Binary, BinaryArray => &'a [u8], Bytes, as_binary_opt::<i32>, std::convert::identity);

/// Values of [`Kind::Time`], none of them null, of one kind of time.
pub struct Time<T>(TimestampMicrosecondArray, PhantomData<T>);

/// When events happened.
pub type Happened = Time<EventTime>;
/// When records arrived.
pub type Arrived = Time<ArrivalTime>;
/// When rows were made.
pub type Processed = Time<ProcessingTime>;

impl<T: InMicros> Cell for Time<T> {
    const KIND: Kind = Kind::Time;
    const NULLABLE: bool = false;
    type Value<'a>
        = T
    where
        T: 'a;
    type Building = Times<T>;
    fn of(column: &dyn Array) -> Option<Self> {
        let times = column.as_primitive_opt::<TimestampMicrosecondType>().filter(|array| whole(*array));
        times.cloned().map(|array| Time(array, PhantomData))
    }
    fn value(&self, row: usize) -> T {
        T::of_micros(self.0.value(row))
    }
}

/// A column of times of one kind under construction.
pub struct Times<T>(Vec<i64>, PhantomData<T>);

impl<T: InMicros> Times<T> {
    /// Appends a value.
    #[inline]
    pub fn push(&mut self, value: T) {
        self.0.push(value.in_micros());
    }
}

impl<T: InMicros> Building for Times<T> {
    fn with_capacity(rows: usize) -> Times<T> {
        Times(Vec::with_capacity(rows), PhantomData)
    }
    fn finish(self, _: &Field) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(TimestampMicrosecondArray::from(self.0)))
    }
}

/// Values of [`Kind::Int`], none of them null.
pub struct Int(Int32Array);

impl Cell for Int {
    const KIND: Kind = Kind::Int;
    const NULLABLE: bool = false;
    type Value<'a> = i32;
    type Building = Ints;
    fn of(column: &dyn Array) -> Option<Self> {
        // Another engine may have promoted the column to `long`. A value that does not fit was not written here.
        let narrowed = || {
            let long = column.as_primitive_opt::<Int64Type>()?;
            long.try_unary::<_, Int32Type, _>(i32::try_from).ok()
        };
        let ints = column.as_primitive_opt::<Int32Type>().cloned().or_else(narrowed)?;
        whole(&ints).then_some(Int(ints))
    }
    fn value(&self, row: usize) -> i32 {
        self.0.value(row)
    }
}

macro_rules! building {
    ($name:ident, $value:ty => $array:ty) => {
        #[doc = concat!("A column of `", stringify!($value), "` under construction.")]
        pub struct $name(Vec<$value>);
        impl $name {
            /// Appends a value.
            #[inline]
            pub fn push(&mut self, value: $value) {
                self.0.push(value);
            }
        }
        impl Building for $name {
            fn with_capacity(rows: usize) -> $name {
                $name(Vec::with_capacity(rows))
            }
            fn finish(self, _: &Field) -> Result<ArrayRef, ArrowError> {
                Ok(Arc::new(<$array>::from(self.0)))
            }
        }
    };
}

building!(Dates, i32 => Date32Array);
building!(Ints, i32 => Int32Array);
building!(Longs, i64 => Int64Array);
building!(MaybeLongs, Option<i64> => Int64Array);

/// Values of [`Kind::Long`], and nulls.
pub struct MaybeLong(Int64Array);

impl Cell for MaybeLong {
    const KIND: Kind = Kind::Long;
    const NULLABLE: bool = true;
    type Value<'a> = Option<i64>;
    type Building = MaybeLongs;
    fn of(column: &dyn Array) -> Option<Self> {
        // A column that the file lacks is read with the type Null.
        if column.data_type() == &DataType::Null {
            return Some(MaybeLong(Int64Array::new_null(column.len())));
        }
        column.as_primitive_opt::<Int64Type>().cloned().map(MaybeLong)
    }
    fn value(&self, row: usize) -> Option<i64> {
        (!self.0.is_null(row)).then(|| self.0.value(row))
    }
}

/// Values of [`Kind::Texts`], none of them null.
pub struct Texts {
    lists: ListArray,
    texts: StringArray,
}

impl Cell for Texts {
    const KIND: Kind = Kind::Texts;
    const NULLABLE: bool = false;
    type Value<'a> = Vec<&'a str>;
    type Building = Lists;
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

/// A value of a later column.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub enum Value<'a> {
    /// Of [`Kind::Text`].
    Text(&'a str),
    /// Of [`Kind::Texts`].
    Texts(Vec<&'a str>),
    /// Of [`Kind::Time`]: microseconds since 1970, whichever kind of time the column holds.
    Time(i64),
    /// Of [`Kind::Date`].
    Date(Day),
    /// Of [`Kind::Int`].
    Int(i32),
    /// Of [`Kind::Long`].
    Long(i64),
    /// Of [`Kind::Double`].
    Double(f64),
    /// Of [`Kind::Binary`].
    Binary(&'a [u8]),
}

impl Value<'_> {
    /// A value of [`Kind::Time`].
    pub fn time(time: impl OnCalendar) -> Self {
        Value::Time(time.in_micros())
    }
}

/// A later column as it is read; it may hold nulls.
pub(crate) enum Column {
    Text(StringArray),
    Texts(ListArray, StringArray),
    Time(TimestampMicrosecondArray),
    Date(Date32Array),
    Int(Int32Array),
    Long(Int64Array),
    Double(Float64Array),
    Binary(BinaryArray),
    LargeBinary(LargeBinaryArray),
}

impl Column {
    /// Takes a column; `None` if no later column can have its type.
    pub(crate) fn of(column: &dyn Array) -> Option<Column> {
        let primitive = match column.data_type() {
            DataType::Utf8 => Column::Text(column.as_string_opt::<i32>()?.clone()),
            DataType::Timestamp(..) => Column::Time(column.as_primitive_opt::<TimestampMicrosecondType>()?.clone()),
            DataType::Date32 => Column::Date(column.as_primitive_opt::<Date32Type>()?.clone()),
            DataType::Int32 => Column::Int(column.as_primitive_opt::<Int32Type>()?.clone()),
            DataType::Int64 => Column::Long(column.as_primitive_opt::<Int64Type>()?.clone()),
            DataType::Float64 => Column::Double(column.as_primitive_opt::<Float64Type>()?.clone()),
            DataType::Binary => Column::Binary(column.as_binary_opt::<i32>()?.clone()),
            DataType::LargeBinary => Column::LargeBinary(column.as_binary_opt::<i64>()?.clone()),
            DataType::List(_) => {
                let lists = column.as_list_opt::<i32>()?.clone();
                let texts = lists.values().as_string_opt::<i32>()?.clone();
                Column::Texts(lists, texts)
            }
            _ => return None,
        };
        Some(primitive)
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Column::Text(a) => a.is_null(row),
            Column::Texts(a, _) => a.is_null(row),
            Column::Time(a) => a.is_null(row),
            Column::Date(a) => a.is_null(row),
            Column::Int(a) => a.is_null(row),
            Column::Long(a) => a.is_null(row),
            Column::Double(a) => a.is_null(row),
            Column::Binary(a) => a.is_null(row),
            Column::LargeBinary(a) => a.is_null(row),
        }
    }

    /// The value of a row; `None` if it is null.
    pub(crate) fn value(&self, row: usize) -> Option<Value<'_>> {
        if self.is_null(row) {
            return None;
        }
        Some(match self {
            Column::Text(a) => Value::Text(a.value(row)),
            Column::Texts(lists, texts) => {
                let ends = lists.value_offsets();
                Value::Texts((ends[row] as usize..ends[row + 1] as usize).map(|i| texts.value(i)).collect())
            }
            Column::Time(a) => Value::Time(a.value(row)),
            Column::Date(a) => Value::Date(Day(a.value(row))),
            Column::Int(a) => Value::Int(a.value(row)),
            Column::Long(a) => Value::Long(a.value(row)),
            Column::Double(a) => Value::Double(a.value(row)),
            Column::Binary(a) => Value::Binary(a.value(row)),
            Column::LargeBinary(a) => Value::Binary(a.value(row)),
        })
    }
}

/// A later column under construction.
pub(crate) enum LaterBuilding {
    Text(StringBuilder),
    Texts(ListBuilder<StringBuilder>),
    Time(TimestampMicrosecondBuilder),
    Date(Date32Builder),
    Int(Int32Builder),
    Long(Int64Builder),
    Double(Float64Builder),
    Binary(LargeBinaryBuilder),
}

impl LaterBuilding {
    /// An empty column of this kind; `field` describes it in the schema.
    pub(crate) fn new(kind: Kind, field: &Field) -> LaterBuilding {
        match kind {
            Kind::Text => LaterBuilding::Text(StringBuilder::new()),
            Kind::Texts => {
                let lists = ListBuilder::new(StringBuilder::new());
                LaterBuilding::Texts(match field.data_type() {
                    DataType::List(element) => lists.with_field(element.clone()),
                    _ => lists,
                })
            }
            Kind::Time => LaterBuilding::Time(TimestampMicrosecondBuilder::new()),
            Kind::Date => LaterBuilding::Date(Date32Builder::new()),
            Kind::Int => LaterBuilding::Int(Int32Builder::new()),
            Kind::Long => LaterBuilding::Long(Int64Builder::new()),
            Kind::Double => LaterBuilding::Double(Float64Builder::new()),
            Kind::Binary => LaterBuilding::Binary(LargeBinaryBuilder::new()),
        }
    }

    /// Appends a value, or a null for `None`.
    ///
    /// # Errors
    /// The value has another type than the column: a bug of the caller.
    pub(crate) fn push(&mut self, value: Option<Value<'_>>) -> Result<(), ArrowError> {
        match (self, value) {
            (LaterBuilding::Text(b), Some(Value::Text(v))) => b.append_value(v),
            (LaterBuilding::Text(b), None) => b.append_null(),
            (LaterBuilding::Texts(b), Some(Value::Texts(texts))) => {
                texts.iter().for_each(|text| b.values().append_value(text));
                b.append(true);
            }
            (LaterBuilding::Texts(b), None) => b.append(false),
            (LaterBuilding::Time(b), Some(Value::Time(v))) => b.append_value(v),
            (LaterBuilding::Time(b), None) => b.append_null(),
            (LaterBuilding::Date(b), Some(Value::Date(v))) => b.append_value(v.0),
            (LaterBuilding::Date(b), None) => b.append_null(),
            (LaterBuilding::Int(b), Some(Value::Int(v))) => b.append_value(v),
            (LaterBuilding::Int(b), None) => b.append_null(),
            (LaterBuilding::Long(b), Some(Value::Long(v))) => b.append_value(v),
            (LaterBuilding::Long(b), None) => b.append_null(),
            (LaterBuilding::Double(b), Some(Value::Double(v))) => b.append_value(v),
            (LaterBuilding::Double(b), None) => b.append_null(),
            (LaterBuilding::Binary(b), Some(Value::Binary(v))) => b.append_value(v),
            (LaterBuilding::Binary(b), None) => b.append_null(),
            (_, Some(value)) => {
                return Err(ArrowError::CastError(format!("{value:?} is of another type than its column")));
            }
        }
        Ok(())
    }

    /// The finished column.
    pub(crate) fn finish(self) -> ArrayRef {
        match self {
            LaterBuilding::Text(mut b) => Arc::new(b.finish()),
            LaterBuilding::Texts(mut b) => Arc::new(b.finish()),
            LaterBuilding::Time(mut b) => Arc::new(b.finish()),
            LaterBuilding::Date(mut b) => Arc::new(b.finish()),
            LaterBuilding::Int(mut b) => Arc::new(b.finish()),
            LaterBuilding::Long(mut b) => Arc::new(b.finish()),
            LaterBuilding::Double(mut b) => Arc::new(b.finish()),
            LaterBuilding::Binary(mut b) => Arc::new(b.finish()),
        }
    }
}
