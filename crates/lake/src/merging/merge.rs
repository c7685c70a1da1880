//! Merges sorted files of one partition into one sorted file, row by row, without holding all rows at once.
//!
//! The columns are the table's own, including those that this program does not know (`align.rs`).
//!
//! In memory are the files' compressed bytes (a group is at most as large as its target), one decoded batch of each, and the file under
//! construction. A file that turns out not to be sorted, as another engine may have written it, is decoded as a whole.

use super::align::{Alignment, align};
use super::plan::Group;
use crate::encode::{EncodeOptions, EncodedFile, FileSchema, table_file};
use crate::error::LakeError;
use crate::lake::{Lake, LoadedTable};
use crate::read::{Batches, LiveFile};
use crate::schema::{Order, Table};
use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::{ArrowError, DataType};
use arrow_select::concat::concat_batches;
use arrow_select::interleave::interleave_record_batch;
use arrow_select::take::take_record_batch;
use authpulse_event::time::HOUR;
use futures::stream::{self, StreamExt, TryStreamExt};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// Rows per batch for the writer.
const OUT_ROWS: usize = 65_536;
/// Most batches whose rows wait to be handed to the writer.
const SLOTS_MAX: usize = 4_096;

/// Files that are fetched at the same time: on S3 each takes a few waits of 20 to 100 ms.
const READS_AT_ONCE: usize = 16;

/// What became of a group.
pub(crate) enum Merged {
    /// Its rows in one file, with all columns that the table has, whoever added them.
    File {
        /// The file.
        file: EncodedFile,
        /// Values that are not in the file, counted by column: those that an entry states but the table has no place for.
        left_out: BTreeMap<String, u64>,
    },
    /// The path of a file that this program cannot rewrite without losing something, and why.
    PassOver(String, String),
}

/// Merges the files of a group into one, with the table's current columns.
///
/// # Errors
/// A file is missing or damaged, a file stays out of order, or the merged file would have another number of rows.
pub(crate) async fn merge(lake: &Lake, loaded: &LoadedTable, group: &Group) -> Result<Merged, LakeError> {
    let table = loaded.table;
    let options = EncodeOptions::default();
    let mut whole = BTreeSet::new();
    loop {
        let reads: Vec<_> = group.files.iter().map(|file| lake.read_columns(file, None, None)).collect();
        let read: Vec<Batches> = stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
        let files: Vec<(&LiveFile, &Batches)> = group.files.iter().zip(&read).collect();
        let (schema, alignments) = match align(lake, loaded, &files)? {
            Ok(aligned) => aligned,
            Err((path, why)) => return Ok(Merged::PassOver(path, why)),
        };
        let inputs = read.into_iter().zip(&group.files).zip(alignments).enumerate();
        let inputs = inputs.map(|(index, ((batches, file), alignment))| {
            let whole = whole.contains(&index);
            Input { batches, file, alignment, whole, current: None }
        });
        let mut rows = MergedRows::new(&schema, inputs.collect());
        let encoded = table_file(&schema, group.partition, &mut rows, &options);
        let left_out = std::mem::take(&mut rows.left_out);
        match rows.stopped.take() {
            Some(Stop::Unsorted(index)) if whole.insert(index) => continue,
            Some(Stop::Unsorted(index)) => {
                let what = format!("file {} has no order", group.files[index].path);
                return Err(LakeError::Encode { table: table.name().to_owned(), what });
            }
            Some(Stop::Foreign(path, why)) => return Ok(Merged::PassOver(path, why)),
            None => {}
        }
        let encoded = encoded?;
        if encoded.rows() != group.rows() {
            let what = format!("{} rows were merged into {}", group.rows(), encoded.rows());
            return Err(LakeError::Encode { table: table.name().to_owned(), what });
        }
        return Ok(Merged::File { file: encoded, left_out });
    }
}

/// Why merging stopped.
enum Stop {
    /// This input's rows are not in order.
    Unsorted(usize),
    /// This file's columns cannot be converted: its path, and why.
    Foreign(String, String),
}

/// A place in the table's sort order; nulls come first.
type Key = (i64, Vec<u8>, i64);

/// The columns by which the table is sorted.
struct Keys {
    time: Vec<i64>,
    name: ArrayRef,
    by_time_last: bool,
}

impl Keys {
    fn of(table: Table, batch: &RecordBatch) -> Option<Keys> {
        let times = |name: &str| -> Option<Vec<i64>> {
            let column = batch.column_by_name(name)?;
            match column.data_type() {
                DataType::Date32 => {
                    let days = column.as_primitive_opt::<Date32Type>()?;
                    Some(days.iter().map(|d| d.map_or(i64::MIN, i64::from)).collect())
                }
                _ => {
                    let times = column.as_primitive_opt::<TimestampMicrosecondType>()?;
                    Some(times.iter().map(|t| t.unwrap_or(i64::MIN)).collect())
                }
            }
        };
        let (name, by_time_last) = match table.def().order {
            Order::Arrival => return None,
            Order::Time(name) => (name, false),
            Order::Hour(name) => (name, true),
        };
        let name = batch.column_by_name(name)?.clone();
        Some(Keys { time: times(table.time_column())?, name, by_time_last })
    }

    fn at(&self, row: usize) -> Key {
        let time = self.time[row];
        let names = self.name.as_string::<i32>();
        let name = if names.is_null(row) { Vec::new() } else { names.value(row).as_bytes().to_vec() };
        if self.by_time_last { (time.div_euclid(HOUR.micros()), name, time) } else { (time, name, 0) }
    }
}

struct Input<'a> {
    batches: Batches,
    file: &'a LiveFile,
    alignment: Alignment,
    /// Decoded and sorted as a whole.
    whole: bool,
    current: Option<Current>,
}

/// The batch from which an input's rows are being taken.
struct Current {
    keys: Option<Keys>,
    rows: usize,
    row: usize,
    /// The index of the batch in `slots`.
    slot: usize,
}

/// The rows of all inputs in order, as batches for the writer.
struct MergedRows<'a> {
    table: Table,
    schema: &'a FileSchema,
    inputs: Vec<Input<'a>>,
    /// The next row of each input. Equal rows come in the order of their files, so that the same files give the same bytes.
    heap: BinaryHeap<Reverse<(Key, usize)>>,
    slots: Vec<RecordBatch>,
    picks: Vec<(usize, usize)>,
    begun: bool,
    stopped: Option<Stop>,
    left_out: BTreeMap<String, u64>,
}

impl<'a> MergedRows<'a> {
    fn new(schema: &'a FileSchema, inputs: Vec<Input<'a>>) -> MergedRows<'a> {
        MergedRows {
            table: schema.table(),
            schema,
            inputs,
            heap: BinaryHeap::new(),
            slots: Vec::new(),
            picks: Vec::new(),
            begun: false,
            stopped: None,
            left_out: BTreeMap::new(),
        }
    }

    fn encode_error(&self, error: &ArrowError) -> LakeError {
        LakeError::Encode { table: self.table.name().to_owned(), what: error.to_string() }
    }

    /// Notes why merging cannot continue: the writer gets an error, the caller reads the reason.
    fn stop(&mut self, stop: Stop) -> LakeError {
        self.stopped = Some(stop);
        LakeError::Encode { table: self.table.name().to_owned(), what: "merging stopped".to_owned() }
    }

    /// The next batch of an input, with the table's columns.
    fn read(&mut self, index: usize) -> Result<Option<RecordBatch>, LakeError> {
        let schema = self.schema.arrow().clone();
        let mut read = Vec::new();
        while let Some(batch) = self.inputs[index].batches.next() {
            let input = &self.inputs[index];
            match input.alignment.apply(self.schema, input.file, &batch?, &mut self.left_out) {
                Ok(batch) => read.push(batch),
                Err(why) => {
                    let path = self.inputs[index].file.path.clone();
                    return Err(self.stop(Stop::Foreign(path, why)));
                }
            }
            if !self.inputs[index].whole {
                return Ok(read.pop());
            }
        }
        if read.is_empty() {
            return Ok(None);
        }
        let batch = concat_batches(&schema, &read).map_err(|e| self.encode_error(&e))?;
        let Some(keys) = Keys::of(self.table, &batch) else { return Ok(Some(batch)) };
        let mut order: Vec<u32> = (0..u32::try_from(batch.num_rows()).unwrap_or(u32::MAX)).collect();
        order.sort_by_cached_key(|row| keys.at(*row as usize));
        take_record_batch(&batch, &UInt32Array::from(order)).map(Some).map_err(|e| self.encode_error(&e))
    }

    /// Moves an input to its next row, and queues that.
    fn advance(&mut self, index: usize, last: Option<Key>) -> Result<(), LakeError> {
        let exhausted = match &mut self.inputs[index].current {
            Some(current) => {
                current.row += 1;
                current.row >= current.rows
            }
            None => true,
        };
        if exhausted {
            self.inputs[index].current = None;
            let batch = loop {
                match self.read(index)? {
                    None => return Ok(()),
                    Some(batch) if batch.num_rows() > 0 => break batch,
                    Some(_) => {}
                }
            };
            let keys = Keys::of(self.table, &batch);
            let current = Current { keys, rows: batch.num_rows(), row: 0, slot: self.slots.len() };
            self.slots.push(batch);
            self.inputs[index].current = Some(current);
        }
        let current = self.inputs[index].current.as_ref().expect("it was just read");
        let key = current.keys.as_ref().map_or((0, Vec::new(), 0), |keys| keys.at(current.row));
        if last.is_some_and(|last| key < last) {
            return Err(self.stop(Stop::Unsorted(index)));
        }
        self.heap.push(Reverse((key, index)));
        Ok(())
    }

    fn fill(&mut self) -> Result<Option<RecordBatch>, LakeError> {
        if !self.begun {
            self.begun = true;
            for index in 0..self.inputs.len() {
                self.advance(index, None)?;
            }
        }
        while self.picks.len() < OUT_ROWS && self.slots.len() < SLOTS_MAX {
            let Some(Reverse((key, index))) = self.heap.pop() else { break };
            let current = self.inputs[index].current.as_ref().expect("an input in the queue has a row");
            self.picks.push((current.slot, current.row));
            self.advance(index, Some(key))?;
        }
        if self.picks.is_empty() {
            return Ok(None);
        }
        let slots: Vec<&RecordBatch> = self.slots.iter().collect();
        let batch = interleave_record_batch(&slots, &self.picks).map_err(|e| self.encode_error(&e))?;
        self.picks.clear();
        // Keep only the batches that inputs are still taking rows from.
        let old = std::mem::take(&mut self.slots);
        for current in self.inputs.iter_mut().filter_map(|input| input.current.as_mut()) {
            self.slots.push(old[current.slot].clone());
            current.slot = self.slots.len() - 1;
        }
        Ok(Some(batch))
    }
}

impl Iterator for MergedRows<'_> {
    type Item = Result<RecordBatch, LakeError>;
    fn next(&mut self) -> Option<Self::Item> {
        self.fill().transpose()
    }
}
