//! Writes batches of one partition as one Parquet file, with its Iceberg description.

use super::file_schema::{FileSchema, is_first};
use super::{EncodeOptions, EncodedFile, TableFile, TimeRange, encode_error};
use crate::error::LakeError;
use crate::schema::{Bounds, Partition};
use arrow_array::{Array, RecordBatch};
use arrow_schema::SchemaRef;
use authpulse_event::Day;
use bytes::Bytes;
use iceberg::spec::{
    DataContentType, DataFileBuilder, DataFileFormat, Datum, FormatVersion, Literal, PrimitiveType, Struct, Type,
    serialize_data_file_to_json,
};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnPath;
use std::collections::HashMap;

/// Characters of a string that a bound keeps: `truncate(16)`, Iceberg's default.
const BOUND_CHARS: usize = 16;

fn properties(schema: &SchemaRef, bounds: impl Fn(&str) -> Bounds, options: &EncodeOptions) -> WriterProperties {
    let level = ZstdLevel::try_new(1).expect("zstd has a level 1");
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(options.row_group_rows.max(1)))
        .set_data_page_row_count_limit(options.page_rows.max(1))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_created_by(concat!("authpulse ", env!("CARGO_PKG_VERSION")).to_owned());
    for field in schema.fields() {
        let path = ColumnPath::from(field.name().as_str());
        match bounds(field.name()) {
            Bounds::Pages => builder = builder.set_column_statistics_enabled(path, EnabledStatistics::Page),
            Bounds::Whole | Bounds::Counts => {}
            // A dictionary would only cost time, and bounds would exclude nothing.
            Bounds::Never => {
                builder = builder
                    .set_column_statistics_enabled(path.clone(), EnabledStatistics::None)
                    .set_column_dictionary_enabled(path, false);
            }
        }
    }
    builder.build()
}

/// Writes batches of one schema into one file. `name` is the table's, for errors.
///
/// # Errors
/// The first error among the batches, or the Parquet writer fails.
pub(crate) fn write(
    (name, schema): (&str, &SchemaRef),
    bounds: impl Fn(&str) -> Bounds,
    batches: impl Iterator<Item = Result<RecordBatch, LakeError>>,
    options: &EncodeOptions,
) -> Result<(Bytes, ParquetMetaData), LakeError> {
    let failed = |e: ParquetError| encode_error(name, e);
    let arrow =
        ArrowWriterOptions::new().with_properties(properties(schema, bounds, options)).with_skip_arrow_metadata(true);
    let mut out = Vec::new();
    let mut writer = ArrowWriter::try_new_with_options(&mut out, schema.clone(), arrow).map_err(failed)?;
    for batch in batches {
        writer.write(&batch?).map_err(failed)?;
    }
    let metadata = writer.close().map_err(failed)?;
    Ok((Bytes::from(out), metadata))
}

/// Writes batches of one partition of a table.
///
/// # Errors
/// Those of [`write()`], or Iceberg refuses the description of the file.
pub(crate) fn table_file(
    schema: &FileSchema,
    partition: Partition,
    batches: impl Iterator<Item = Result<RecordBatch, LakeError>>,
    options: &EncodeOptions,
) -> Result<EncodedFile, LakeError> {
    let (table, name) = (schema.table(), schema.table().name());
    let mut nulls: Vec<u64> = vec![0; schema.arrow().fields().len()];
    let batches = batches.inspect(|batch| {
        if let Ok(batch) = batch {
            for (count, column) in nulls.iter_mut().zip(batch.columns()) {
                *count += column.null_count() as u64;
            }
        }
    });
    let (bytes, metadata) = write((name, schema.arrow()), |column| schema.bounds(column), batches, options)?;
    let rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0);
    let mut facts = Facts::of(schema, &metadata);
    for (field, nulls) in schema.schema().as_struct().fields().iter().zip(nulls) {
        // In a nested column the parts are counted, except for the one column that every curated file has had from the first version on.
        if field.field_type.is_primitive() || is_first(table, field.id) {
            facts.values.insert(field.id, rows);
            facts.nulls.insert(field.id, nulls);
        }
    }
    let partition_value = match partition {
        Partition::Day(day) => Literal::date(day.0),
        Partition::Month(month) => Literal::int(month),
    };
    let mut builder = DataFileBuilder::default();
    builder
        .content(DataContentType::Data)
        .file_path(String::new())
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::from_iter([Some(partition_value)]))
        .partition_spec_id(table.partition_spec().spec_id())
        .record_count(rows)
        .file_size_in_bytes(bytes.len() as u64)
        .column_sizes(facts.sizes)
        .value_counts(facts.values)
        .null_value_counts(facts.nulls)
        .lower_bounds(facts.lower)
        .upper_bounds(facts.upper)
        .split_offsets(Some(facts.split_offsets));
    if !table.sort_order().is_unsorted() {
        builder.sort_order_id(i32::try_from(table.sort_order().order_id).unwrap_or(0));
    }
    let data_file = builder.build().map_err(|e| encode_error(name, e))?;
    let partition_type = table.partition_spec().partition_type(table.schema()).map_err(|e| encode_error(name, e))?;
    let json = serialize_data_file_to_json(data_file, &partition_type, FormatVersion::V2)
        .and_then(|json| in_order(&json))
        .map_err(|e| encode_error(name, e))?;
    let file = TableFile {
        table,
        path: String::new(),
        rows,
        bytes: bytes.len() as u64,
        spec_id: table.partition_spec().spec_id(),
        partition: partition.value(),
        times: facts.times,
        data_file: json,
        sha256: String::new(),
        columns: schema.later().to_vec(),
    };
    Ok(EncodedFile { bytes, file })
}

/// Sorts the maps of a description by key (they are written as lists of key and value, in no order), so that equal rows give equal bytes.
fn in_order(json: &str) -> iceberg::Result<String> {
    let mut value: serde_json::Value = serde_json::from_str(json)?;
    for list in value.as_object_mut().into_iter().flat_map(|o| o.values_mut()).filter_map(|v| v.as_array_mut()) {
        list.sort_by_key(|pair| pair.get("key").and_then(serde_json::Value::as_i64));
    }
    Ok(value.to_string())
}

/// What the footer states, by field id.
#[derive(Default)]
struct Facts {
    sizes: HashMap<i32, u64>,
    values: HashMap<i32, u64>,
    nulls: HashMap<i32, u64>,
    lower: HashMap<i32, Datum>,
    upper: HashMap<i32, Datum>,
    split_offsets: Vec<i64>,
    times: Option<TimeRange>,
}

impl Facts {
    fn of(schema: &FileSchema, metadata: &ParquetMetaData) -> Facts {
        let mut facts = Facts::default();
        let table = schema.table();
        let time = table.schema().field_id_by_name(table.time_column());
        for group in metadata.row_groups() {
            facts.split_offsets.extend(group.columns().first().map(|c| c.byte_range().0.cast_signed()));
            for column in group.columns() {
                let info = column.column_descr().self_type().get_basic_info();
                if !info.has_id() {
                    continue;
                }
                let id = info.id();
                *facts.sizes.entry(id).or_default() += u64::try_from(column.compressed_size()).unwrap_or(0);
                let Some(field) = schema.schema().field_by_id(id) else { continue };
                let top = schema.schema().as_struct().field_by_id(id).is_some();
                if !top && !schema.is_of_first(id) {
                    facts.count_part(id, column);
                }
                let Type::Primitive(kind) = field.field_type.as_ref() else { continue };
                let Some(statistics) = column.statistics() else { continue };
                if Some(id) == time {
                    facts.add_times(statistics);
                }
                let is_repeated = column.column_descr().max_rep_level() > 0;
                let name = if top { field.name.as_str() } else { "" };
                if !is_repeated && matches!(schema.bounds(name), Bounds::Pages | Bounds::Whole) {
                    let (low, high) = bounds(statistics, kind);
                    merge(&mut facts.lower, id, low, |new, old| new < old);
                    merge(&mut facts.upper, id, high, |new, old| new > old);
                }
            }
        }
        facts
    }

    /// Counts the values of a part of a nested column, and the nulls among them.
    fn count_part(&mut self, id: i32, column: &ColumnChunkMetaData) {
        *self.values.entry(id).or_default() += u64::try_from(column.num_values()).unwrap_or(0);
        if let Some(nulls) = column.statistics().and_then(Statistics::null_count_opt) {
            *self.nulls.entry(id).or_default() += nulls;
        }
    }

    fn add_times(&mut self, statistics: &Statistics) {
        let range = match statistics {
            Statistics::Int64(s) => s.min_opt().zip(s.max_opt()).map(|(min, max)| TimeRange { min: *min, max: *max }),
            Statistics::Int32(s) => s
                .min_opt()
                .zip(s.max_opt())
                .map(|(min, max)| TimeRange { min: Day(*min).start().micros(), max: Day(*max).start().micros() }),
            _ => None,
        };
        self.times = match (self.times, range) {
            (Some(a), Some(b)) => Some(TimeRange { min: a.min.min(b.min), max: a.max.max(b.max) }),
            (a, b) => a.or(b),
        };
    }
}

fn merge(map: &mut HashMap<i32, Datum>, id: i32, value: Option<Datum>, better: impl Fn(&Datum, &Datum) -> bool) {
    if let Some(value) = value
        && map.get(&id).is_none_or(|old| better(&value, old))
    {
        map.insert(id, value);
    }
}

/// Lower and upper bound of a column chunk.
fn bounds(statistics: &Statistics, kind: &PrimitiveType) -> (Option<Datum>, Option<Datum>) {
    match (statistics, kind) {
        (Statistics::Int32(s), PrimitiveType::Int) => {
            (s.min_opt().map(|v| Datum::int(*v)), s.max_opt().map(|v| Datum::int(*v)))
        }
        (Statistics::Int32(s), PrimitiveType::Date) => {
            (s.min_opt().map(|v| Datum::date(*v)), s.max_opt().map(|v| Datum::date(*v)))
        }
        (Statistics::Int64(s), PrimitiveType::Long) => {
            (s.min_opt().map(|v| Datum::long(*v)), s.max_opt().map(|v| Datum::long(*v)))
        }
        (Statistics::Int64(s), PrimitiveType::Timestamp) => {
            (s.min_opt().map(|v| Datum::timestamp_micros(*v)), s.max_opt().map(|v| Datum::timestamp_micros(*v)))
        }
        (Statistics::Int64(s), PrimitiveType::Timestamptz) => {
            (s.min_opt().map(|v| Datum::timestamptz_micros(*v)), s.max_opt().map(|v| Datum::timestamptz_micros(*v)))
        }
        (Statistics::Boolean(s), PrimitiveType::Boolean) => {
            (s.min_opt().map(|v| Datum::bool(*v)), s.max_opt().map(|v| Datum::bool(*v)))
        }
        // The footer ignores NaN; if there is nothing else, there is no bound.
        (Statistics::Float(s), PrimitiveType::Float) => {
            let number = |v: Option<&f32>| v.filter(|v| !v.is_nan()).map(|v| Datum::float(*v));
            (number(s.min_opt()), number(s.max_opt()))
        }
        (Statistics::Double(s), PrimitiveType::Double) => {
            let number = |v: Option<&f64>| v.filter(|v| !v.is_nan()).map(|v| Datum::double(*v));
            (number(s.min_opt()), number(s.max_opt()))
        }
        (Statistics::ByteArray(s), PrimitiveType::String) => {
            let low = s.min_opt().and_then(|v| std::str::from_utf8(v.data()).ok()).map(lower_text);
            let high = s.max_opt().and_then(|v| std::str::from_utf8(v.data()).ok()).and_then(upper_text);
            (low.map(Datum::string), high.map(Datum::string))
        }
        _ => (None, None),
    }
}

/// The first characters of a text; never greater than the text.
fn lower_text(text: &str) -> &str {
    text.char_indices().nth(BOUND_CHARS).map_or(text, |(end, _)| &text[..end])
}

/// A short text that is not less than `text`; `None` if there is no such text.
fn upper_text(text: &str) -> Option<String> {
    let kept = lower_text(text);
    if kept.len() == text.len() {
        return Some(text.to_owned());
    }
    let mut chars: Vec<char> = kept.chars().collect();
    while let Some(last) = chars.pop() {
        // The next character; U+D800 to U+DFFF are not characters.
        let next = if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_bounds_enclose_what_they_cut() {
        let long = "x".repeat(20);
        assert_eq!(lower_text(&long), "x".repeat(16));
        assert_eq!(upper_text(&long), Some("x".repeat(15) + "y"));
        assert_eq!(upper_text("short"), Some("short".to_owned()));
        assert_eq!(upper_text(&("a".to_owned() + &"\u{10ffff}".repeat(20))), Some("b".to_owned()));
        assert_eq!(upper_text(&"\u{10ffff}".repeat(20)), None);
        assert_eq!(upper_text(&("é".repeat(15) + "\u{d7ff}z")), Some("é".repeat(15) + "\u{e000}"));
    }
}
