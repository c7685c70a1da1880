//! Opens a Parquet file in the store: reads its footer first, then only the columns and row groups that are requested.

use super::ids::{FileIds, Wanted};
use crate::encode::TimeRange;
use crate::error::LakeError;
use crate::store::{ObjectStore, StoreError};
use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, TimestampMicrosecondType};
use arrow_array::{Array, BooleanArray, NullArray, RecordBatch, RecordBatchOptions};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use authpulse_event::Day;
use bytes::buf::Reader;
use bytes::{Buf, Bytes};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowPredicateFn, ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowFilter,
};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{FooterTail, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::statistics::Statistics;
use parquet::schema::types::SchemaDescriptor;
use std::ops::Range;
use std::sync::Arc;

/// Rows per batch that is read: large enough for speed, small enough to stream.
pub(crate) const BATCH_ROWS: usize = 16_384;
/// Bytes read from the end of a file to find its footer; a larger footer takes a second read.
const TAIL_BYTES: u64 = 64 << 10;
/// Length of the footer's length and the magic word.
const FOOTER_END: u64 = 8;

/// A file's footer and size.
pub(super) struct Footer {
    /// What the footer states.
    pub(super) metadata: Arc<ParquetMetaData>,
    size: u64,
}

struct Naming<'a> {
    table: &'a str,
    path: &'a str,
}

impl Naming<'_> {
    fn damaged(&self, what: impl Into<String>) -> LakeError {
        LakeError::Damaged { table: self.table.to_owned(), file: self.path.to_owned(), what: what.into() }
    }
    fn store(&self, error: StoreError) -> LakeError {
        LakeError::from_store(self.table, error)
    }
}

/// Reads a file's footer; `bytes` is the size that its table states.
///
/// # Errors
/// The store fails, the file is missing or has another size, or it has no readable Parquet footer.
pub(super) async fn footer(
    store: &dyn ObjectStore,
    table: &str,
    path: &str,
    bytes: Option<u64>,
) -> Result<Footer, LakeError> {
    let named = Naming { table, path };
    let size = store.size(path).await.map_err(|e| named.store(e))?;
    let size = size.ok_or_else(|| named.store(StoreError::NotFound { path: path.to_owned() }))?;
    if let Some(expected) = bytes
        && expected != size
    {
        return Err(named.damaged(format!(
            "it has {size} bytes, and the table says {expected}: it was cut off or edited; restore it"
        )));
    }
    let no_end = || named.damaged("it has no Parquet footer: it was cut off or is no Parquet file; restore it");
    if size < FOOTER_END {
        return Err(no_end());
    }
    let start = size.saturating_sub(TAIL_BYTES);
    let tail = store.get_range(path, start..size).await.map_err(|e| named.store(e))?;
    let end: [u8; FOOTER_END as usize] = tail[tail.len() - FOOTER_END as usize..].try_into().map_err(|_| no_end())?;
    let length = FooterTail::try_from(end).map_err(|_| no_end())?.metadata_length() as u64;
    let begin = (size - FOOTER_END).checked_sub(length).ok_or_else(no_end)?;
    let body = if begin >= start {
        tail.slice((begin - start) as usize..tail.len() - FOOTER_END as usize)
    } else {
        store.get_range(path, begin..size - FOOTER_END).await.map_err(|e| named.store(e))?
    };
    let metadata = ParquetMetaDataReader::decode_metadata(&body)
        .map_err(|e| named.damaged(format!("its Parquet footer cannot be read ({e}); restore it")))?;
    Ok(Footer { metadata: Arc::new(metadata), size })
}

/// A file's rows, batch by batch. What was requested is in memory already; only decoding remains.
pub struct Batches {
    /// Dropped after an error: a reader of a damaged file might fail for ever.
    reader: Option<ParquetRecordBatchReader>,
    table: String,
    path: String,
    /// If columns were requested: the name of each, and its place among the columns that are read.
    shown: Option<Vec<(String, Option<usize>)>>,
    schema: SchemaRef,
}

impl Batches {
    /// Opens a file of a table. `ids` identify its columns, `expected` are its rows and bytes.
    ///
    /// # Errors
    /// The store fails, the file is missing, damaged or differs from `expected`, or it lacks a column that may not be null.
    pub(super) async fn open(
        store: &dyn ObjectStore,
        (table, path): (&str, &str),
        ids: &FileIds,
        expected: Option<(u64, u64)>,
        wanted: Option<Vec<Wanted>>,
        filter: Option<(Wanted, TimeRange)>,
    ) -> Result<Batches, LakeError> {
        let named = Naming { table, path };
        let footer = footer(store, table, path, expected.map(|(_, bytes)| bytes)).await?;
        let unreadable = |e: ParquetError| named.damaged(format!("it cannot be read ({e}); restore it"));
        let held = footer.metadata.file_metadata().num_rows();
        if let Some((rows, _)) = expected
            && u64::try_from(held) != Ok(rows)
        {
            return Err(named.damaged(format!("it holds {held} rows, and the table says {rows}; restore it")));
        }
        // Types come from the Parquet schema alone, whichever engine wrote the file.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata = ArrowReaderMetadata::try_new(footer.metadata.clone(), options).map_err(unreadable)?;
        let schema = metadata.parquet_schema();
        let root = |wanted: &Wanted| match wanted.root(schema, ids) {
            None if !wanted.nullable => Err(named.damaged(format!("it has no column {}; restore it", wanted.name))),
            found => Ok(found),
        };
        let (mut roots, mut shown) = ((0..schema.root_schema().get_fields().len()).collect::<Vec<_>>(), None);
        if let Some(wanted) = wanted {
            let found = wanted.iter().map(root).collect::<Result<Vec<_>, _>>()?;
            roots = found.iter().flatten().copied().collect();
            // Columns are read in the file's order, each once.
            roots.sort_unstable();
            roots.dedup();
            let place = |root: Option<usize>| root.and_then(|root| roots.iter().position(|read| *read == root));
            shown = Some(wanted.into_iter().zip(found).map(|(wanted, root)| (wanted.name, place(root))).collect());
        }
        let mask = ProjectionMask::roots(schema, roots.iter().copied());
        let mut groups: Vec<usize> = (0..footer.metadata.num_row_groups()).collect();
        let mut row_filter = None;
        if let Some((column, times)) = filter {
            let lacks = || named.damaged(format!("it has no column {}; restore it", column.name));
            let time_root = root(&column)?.ok_or_else(lacks)?;
            let ranges: Vec<_> =
                footer.metadata.row_groups().iter().map(|group| group_times(group, schema, time_root)).collect();
            groups.retain(|g| ranges[*g].is_none_or(|range| range.overlaps(&times)));
            if groups.iter().any(|g| !ranges[*g].is_some_and(|r| times.contains(r.min) && times.contains(r.max))) {
                let within = move |batch: RecordBatch| keep_times(&batch, times);
                let predicate = ArrowPredicateFn::new(ProjectionMask::roots(schema, [time_root]), within);
                row_filter = Some(RowFilter::new(vec![Box::new(predicate)]));
                roots.push(time_root);
            }
        }
        let wanted = wanted_ranges(&footer.metadata, schema, &groups, &roots);
        let body = SparseFile::fetch(store, path, footer.size, wanted).await.map_err(|e| named.store(e))?;
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(body, metadata)
            .with_batch_size(BATCH_ROWS)
            .with_row_groups(groups)
            .with_projection(mask);
        if let Some(filter) = row_filter {
            builder = builder.with_row_filter(filter);
        }
        let schema = builder.schema().clone();
        let reader = builder.build().map_err(unreadable)?;
        Ok(Batches { reader: Some(reader), table: table.to_owned(), path: path.to_owned(), shown, schema })
    }

    /// If all columns were requested: the columns of the batches, with the ids that the file states.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The error that says what is wrong with this file.
    pub(super) fn damaged(&self, what: impl Into<String>) -> LakeError {
        Naming { table: &self.table, path: &self.path }.damaged(what)
    }

    /// A batch with the requested columns.
    fn show(&self, batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
        let Some(shown) = &self.shown else { return Ok(batch) };
        let read = batch.schema();
        let (mut fields, mut columns) = (Vec::with_capacity(shown.len()), Vec::with_capacity(shown.len()));
        for (name, place) in shown {
            match place {
                Some(place) => {
                    fields.push(read.field(*place).clone().with_name(name));
                    columns.push(batch.column(*place).clone());
                }
                None => {
                    fields.push(Field::new(name, DataType::Null, true));
                    columns.push(Arc::new(NullArray::new(batch.num_rows())));
                }
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, LakeError>;
    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.as_mut()?.next()?;
        Some(batch.and_then(|batch| self.show(batch)).map_err(|e| {
            self.reader = None;
            self.damaged(format!("its rows cannot be decoded ({e}); restore it"))
        }))
    }
}

/// The range of a time column within a row group, if the footer states it.
fn group_times(group: &RowGroupMetaData, schema: &SchemaDescriptor, root: usize) -> Option<TimeRange> {
    let leaf = (0..schema.num_columns()).find(|leaf| schema.get_column_root_idx(*leaf) == root)?;
    match group.column(leaf).statistics()? {
        Statistics::Int64(s) => Some(TimeRange { min: *s.min_opt()?, max: *s.max_opt()? }),
        Statistics::Int32(s) => {
            Some(TimeRange { min: Day(*s.min_opt()?).start().micros(), max: Day(*s.max_opt()?).start().micros() })
        }
        _ => None,
    }
}

fn keep_times(batch: &RecordBatch, times: TimeRange) -> Result<BooleanArray, ArrowError> {
    let column = batch.column(0);
    match column.data_type() {
        DataType::Timestamp(_, _) => {
            let values = column
                .as_primitive_opt::<TimestampMicrosecondType>()
                .ok_or_else(|| ArrowError::CastError("times are not in microseconds".to_owned()))?;
            Ok(values.iter().map(|t| Some(t.is_some_and(|t| times.contains(t)))).collect())
        }
        DataType::Date32 => {
            let values = column.as_primitive::<Date32Type>();
            Ok(values.iter().map(|d| Some(d.is_some_and(|d| times.contains(Day(d).start().micros())))).collect())
        }
        other => Err(ArrowError::CastError(format!("a time column has type {other}"))),
    }
}

fn wanted_ranges(
    metadata: &ParquetMetaData,
    schema: &SchemaDescriptor,
    groups: &[usize],
    roots: &[usize],
) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    for group in groups {
        for (leaf, column) in metadata.row_group(*group).columns().iter().enumerate() {
            if roots.contains(&schema.get_column_root_idx(leaf)) {
                let (start, length) = column.byte_range();
                ranges.push(start..start + length);
            }
        }
    }
    ranges.sort_unstable_by_key(|range| range.start);
    ranges
}

/// Parts of a file, by their offset in it.
struct SparseFile {
    size: u64,
    parts: Vec<(u64, Bytes)>,
}

impl SparseFile {
    /// Reads the ranges, which come in order of start; ranges close to each other are read together.
    async fn fetch(
        store: &dyn ObjectStore,
        path: &str,
        size: u64,
        ranges: Vec<Range<u64>>,
    ) -> Result<SparseFile, StoreError> {
        /// A gap that is cheaper to read than to skip.
        const GAP: u64 = 64 << 10;
        let mut joined: Vec<Range<u64>> = Vec::new();
        for range in ranges {
            match joined.last_mut() {
                Some(last) if range.start <= last.end.saturating_add(GAP) => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        let mut parts = Vec::with_capacity(joined.len());
        for range in joined {
            parts.push((range.start, store.get_range(path, range).await?));
        }
        Ok(SparseFile { size, parts })
    }

    fn from(&self, start: u64) -> ParquetResult<Bytes> {
        let part = self.parts.partition_point(|(at, _)| *at <= start).checked_sub(1).map(|i| &self.parts[i]);
        match part {
            Some((at, body)) if start - at <= body.len() as u64 => Ok(body.slice((start - at) as usize..)),
            _ => Err(ParquetError::EOF(format!("byte {start} was not fetched"))),
        }
    }
}

impl Length for SparseFile {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for SparseFile {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let body = self.from(start)?;
        if body.len() < length {
            return Err(ParquetError::EOF(format!("{length} bytes from {start} were not fetched")));
        }
        Ok(body.slice(..length))
    }
}
