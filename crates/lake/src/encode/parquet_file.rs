//! Batches of one partition become one Parquet file and its Iceberg description.

use super::{EncodeOptions, EncodedFile, TableFile, TimeRange, encode_error};
use crate::error::LakeError;
use crate::schema::{Bounds, Partition, Table, raw_columns};
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
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnPath;
use std::collections::HashMap;

/// Characters of a string that a bound keeps: `truncate(16)`, Iceberg's default.
const BOUND_CHARS: usize = 16;

fn properties(schema: &SchemaRef, table: Option<Table>, options: &EncodeOptions) -> WriterProperties {
    let level = ZstdLevel::try_new(1).expect("zstd has a level 1");
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(options.row_group_rows.max(1)))
        .set_data_page_row_count_limit(options.page_rows.max(1))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_created_by(concat!("authpulse ", env!("CARGO_PKG_VERSION")).to_owned());
    let columns = table.map_or(raw_columns(), Table::columns);
    for field in schema.fields() {
        let name = field.name().as_str();
        let path = ColumnPath::from(name);
        let bounds = columns.iter().find(|column| column.name == name).map_or(Bounds::Whole, |column| column.bounds);
        let paged = bounds == Bounds::Pages || table.is_some_and(|t| t.time_column() == name);
        if paged {
            builder = builder.set_column_statistics_enabled(path, EnabledStatistics::Page);
        } else if bounds == Bounds::Never {
            // Hashes and payloads: a dictionary only costs time, and bounds prune nothing.
            builder = builder
                .set_column_statistics_enabled(path.clone(), EnabledStatistics::None)
                .set_column_dictionary_enabled(path, false);
        }
    }
    builder.build()
}

/// Writes batches of one schema into one file.
pub(crate) fn write(
    schema: &SchemaRef,
    table: Option<Table>,
    batches: impl Iterator<Item = Result<RecordBatch, LakeError>>,
    options: &EncodeOptions,
) -> Result<(Bytes, ParquetMetaData), LakeError> {
    let name = table.map_or(crate::schema::RAW, Table::name);
    let failed = |e: ParquetError| encode_error(name, e);
    let arrow =
        ArrowWriterOptions::new().with_properties(properties(schema, table, options)).with_skip_arrow_metadata(true);
    let mut out = Vec::new();
    let mut writer = ArrowWriter::try_new_with_options(&mut out, schema.clone(), arrow).map_err(failed)?;
    for batch in batches {
        writer.write(&batch?).map_err(failed)?;
    }
    let metadata = writer.close().map_err(failed)?;
    Ok((Bytes::from(out), metadata))
}

/// Writes batches of one partition of a table.
pub(crate) fn table_file(
    table: Table,
    partition: Partition,
    batches: impl Iterator<Item = Result<RecordBatch, LakeError>>,
    options: &EncodeOptions,
) -> Result<EncodedFile, LakeError> {
    let mut nulls: Vec<u64> = vec![0; table.arrow_schema().fields().len()];
    let batches = batches.inspect(|batch| {
        if let Ok(batch) = batch {
            for (count, column) in nulls.iter_mut().zip(batch.columns()) {
                *count += column.null_count() as u64;
            }
        }
    });
    let (bytes, metadata) = write(table.arrow_schema(), Some(table), batches, options)?;
    let facts = Facts::of(table, &metadata);
    let rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0);
    let ids = || (1..).zip(&nulls);
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
        .value_counts(ids().map(|(id, _)| (id, rows)).collect())
        .null_value_counts(ids().map(|(id, nulls)| (id, *nulls)).collect())
        .lower_bounds(facts.lower)
        .upper_bounds(facts.upper)
        .split_offsets(Some(facts.split_offsets));
    if !table.sort_order().is_unsorted() {
        builder.sort_order_id(i32::try_from(table.sort_order().order_id).unwrap_or(0));
    }
    let name = table.name();
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
        columns: Vec::new(),
    };
    Ok(EncodedFile { bytes, file })
}

/// Puts the maps of a description (written as lists of key and value, in no order) in order of key: equal rows, equal bytes.
fn in_order(json: &str) -> iceberg::Result<String> {
    let mut value: serde_json::Value = serde_json::from_str(json)?;
    for list in value.as_object_mut().into_iter().flat_map(|o| o.values_mut()).filter_map(|v| v.as_array_mut()) {
        list.sort_by_key(|pair| pair.get("key").and_then(serde_json::Value::as_i64));
    }
    Ok(value.to_string())
}

/// What the footer says, by field id.
#[derive(Default)]
struct Facts {
    sizes: HashMap<i32, u64>,
    lower: HashMap<i32, Datum>,
    upper: HashMap<i32, Datum>,
    split_offsets: Vec<i64>,
    times: Option<TimeRange>,
}

impl Facts {
    fn of(table: Table, metadata: &ParquetMetaData) -> Facts {
        let mut facts = Facts::default();
        for group in metadata.row_groups() {
            facts.split_offsets.extend(group.columns().first().map(|c| c.byte_range().0.cast_signed()));
            for column in group.columns() {
                let info = column.column_descr().self_type().get_basic_info();
                if !info.has_id() {
                    continue;
                }
                let id = info.id();
                *facts.sizes.entry(id).or_default() += u64::try_from(column.compressed_size()).unwrap_or(0);
                let Some(field) = table.schema().as_struct().field_by_id(id) else { continue };
                let Type::Primitive(kind) = field.field_type.as_ref() else { continue };
                let Some(statistics) = column.statistics() else { continue };
                if field.name == table.time_column() {
                    facts.add_times(statistics);
                }
                if table.columns().iter().all(|column| column.name != field.name || column.has_bounds()) {
                    let (low, high) = bounds(statistics, kind);
                    merge(&mut facts.lower, id, low, |new, old| new < old);
                    merge(&mut facts.upper, id, high, |new, old| new > old);
                }
            }
        }
        facts
    }

    fn add_times(&mut self, statistics: &Statistics) {
        let range = match statistics {
            Statistics::Int64(s) => s.min_opt().zip(s.max_opt()).map(|(min, max)| TimeRange { min: *min, max: *max }),
            Statistics::Int32(s) => s
                .min_opt()
                .zip(s.max_opt())
                .map(|(min, max)| TimeRange { min: Day(*min).start(), max: Day(*max).start() }),
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
        (Statistics::ByteArray(s), PrimitiveType::String) => {
            let low = s.min_opt().and_then(|v| std::str::from_utf8(v.data()).ok()).map(lower_text);
            let high = s.max_opt().and_then(|v| std::str::from_utf8(v.data()).ok()).and_then(upper_text);
            (low.map(Datum::string), high.map(Datum::string))
        }
        _ => (None, None),
    }
}

/// The first characters of a text: never above it.
fn lower_text(text: &str) -> &str {
    text.char_indices().nth(BOUND_CHARS).map_or(text, |(end, _)| &text[..end])
}

/// A short text that is not below a text and all that was cut from it; none where there is no such text.
fn upper_text(text: &str) -> Option<String> {
    let kept = lower_text(text);
    if kept.len() == text.len() {
        return Some(text.to_owned());
    }
    let mut chars: Vec<char> = kept.chars().collect();
    while let Some(last) = chars.pop() {
        // The next character; U+D800 to U+DFFF are none.
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
