//! Tables as Glue is told of them, in the form that Iceberg's own Glue catalog writes: Athena reads no other.

use super::{ICEBERG, KIND, LOCATION, PREVIOUS};
use authpulse_lake::Table as LakeTable;
use authpulse_lake::schema::{RAW, raw_arrow_schema};
use aws_sdk_glue::error::BuildError;
use aws_sdk_glue::types::{Column, SerDeInfo, StorageDescriptor, Table, TableInput};
use iceberg::spec::{NestedField, PrimitiveType, Type};
use std::collections::HashMap;

/// How many days back Athena looks for raw files, and how: `ddl/auth_events_raw.sql` says the same.
const PROJECTION: [(&str, &str); 6] = [
    ("projection.enabled", "true"),
    ("projection.ingest_date.type", "date"),
    ("projection.ingest_date.format", "yyyy-MM-dd"),
    ("projection.ingest_date.range", "NOW-1095DAYS,NOW"),
    ("projection.ingest_date.interval", "1"),
    ("projection.ingest_date.interval.unit", "DAYS"),
];

/// A new Iceberg table.
pub(super) fn iceberg(name: &str, location: &str) -> Result<TableInput, BuildError> {
    let known = LakeTable::known(name);
    let fields = known.iter().flat_map(|table| table.schema().as_struct().fields());
    let columns = fields.map(|field| column(field)).collect::<Result<Vec<_>, _>>()?;
    // TABLE/metadata/FILE
    let root = location.rsplit_once("/metadata/").map_or(location, |(root, _)| root);
    let storage = StorageDescriptor::builder().location(root).set_columns(Some(columns)).build();
    TableInput::builder()
        .name(name)
        .table_type("EXTERNAL_TABLE")
        .storage_descriptor(storage)
        .set_partition_keys(Some(Vec::new()))
        .parameters("EXTERNAL", "TRUE")
        .parameters(KIND, ICEBERG)
        .parameters(LOCATION, location)
        .build()
}

/// A table that exists, pointed elsewhere; all else is kept as it was read.
pub(super) fn moved(table: &Table, old: &str, new: &str) -> Result<TableInput, BuildError> {
    let mut parameters = table.parameters.clone().unwrap_or_default();
    parameters.insert(LOCATION.to_owned(), new.to_owned());
    parameters.insert(PREVIOUS.to_owned(), old.to_owned());
    TableInput::builder()
        .name(table.name())
        .set_description(table.description.clone())
        .set_owner(table.owner.clone())
        .set_last_access_time(table.last_access_time)
        .set_last_analyzed_time(table.last_analyzed_time)
        .retention(table.retention)
        .set_storage_descriptor(table.storage_descriptor.clone())
        .set_partition_keys(Some(table.partition_keys().to_vec()))
        .set_view_original_text(table.view_original_text.clone())
        .set_view_expanded_text(table.view_expanded_text.clone())
        .set_table_type(table.table_type.clone())
        .set_parameters(Some(parameters))
        .set_target_table(table.target_table.clone())
        .build()
}

/// The raw zone.
pub(super) fn raw(lake: &str) -> Result<TableInput, BuildError> {
    let columns = raw_arrow_schema().fields().iter().map(|field| {
        let kind = match field.data_type().to_string() {
            text if text == "Utf8" || text == "LargeUtf8" => "string",
            text if text == "Int64" => "bigint",
            text if text.starts_with("Timestamp") => "timestamp",
            _ => "binary",
        };
        Column::builder().name(field.name()).r#type(kind).build()
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let serde = SerDeInfo::builder()
        .serialization_library("org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe")
        .parameters("serialization.format", "1")
        .build();
    let storage = StorageDescriptor::builder()
        .location(format!("{lake}/raw/"))
        .set_columns(Some(columns))
        .input_format("org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat")
        .output_format("org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat")
        .serde_info(serde)
        .build();
    let mut parameters: HashMap<String, String> =
        PROJECTION.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    parameters.insert("EXTERNAL".to_owned(), "TRUE".to_owned());
    parameters.insert("classification".to_owned(), "parquet".to_owned());
    parameters.insert("storage.location.template".to_owned(), format!("{lake}/raw/ingest_date=${{ingest_date}}"));
    TableInput::builder()
        .name(RAW)
        .table_type("EXTERNAL_TABLE")
        .storage_descriptor(storage)
        .partition_keys(Column::builder().name("ingest_date").r#type("string").build()?)
        .set_parameters(Some(parameters))
        .build()
}

fn column(field: &NestedField) -> Result<Column, BuildError> {
    Column::builder()
        .name(&field.name)
        .r#type(hive(&field.field_type))
        .set_comment(field.doc.clone())
        .parameters("iceberg.field.id", field.id.to_string())
        .parameters("iceberg.field.optional", (!field.required).to_string())
        .parameters("iceberg.field.current", "true")
        .build()
}

/// A type as Hive writes it.
fn hive(kind: &Type) -> String {
    match kind {
        Type::Primitive(primitive) => match primitive {
            PrimitiveType::Boolean => "boolean".to_owned(),
            PrimitiveType::Int => "int".to_owned(),
            PrimitiveType::Long => "bigint".to_owned(),
            PrimitiveType::Float => "float".to_owned(),
            PrimitiveType::Double => "double".to_owned(),
            PrimitiveType::Date => "date".to_owned(),
            PrimitiveType::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
            PrimitiveType::Timestamp
            | PrimitiveType::Timestamptz
            | PrimitiveType::TimestampNs
            | PrimitiveType::TimestamptzNs => "timestamp".to_owned(),
            PrimitiveType::String | PrimitiveType::Time | PrimitiveType::Uuid => "string".to_owned(),
            PrimitiveType::Binary | PrimitiveType::Fixed(_) => "binary".to_owned(),
        },
        Type::List(list) => format!("array<{}>", hive(&list.element_field.field_type)),
        Type::Map(map) => format!("map<{},{}>", hive(&map.key_field.field_type), hive(&map.value_field.field_type)),
        Type::Struct(fields) => {
            let fields: Vec<String> =
                fields.fields().iter().map(|f| format!("{}:{}", f.name, hive(&f.field_type))).collect();
            format!("struct<{}>", fields.join(","))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::path::Path;

    /// The columns of a statement under `ddl/`: name and type, in order.
    fn of_ddl(table: &str) -> (String, Vec<(String, String)>) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../ddl/{table}.sql"));
        let text = std::fs::read_to_string(path).unwrap();
        let columns = text.split_once("(\n").unwrap().1.split_once("\n)").unwrap().0.to_owned();
        let columns = columns.lines().map(|line| {
            let mut words = line.split_whitespace();
            let (name, kind) = (words.next().unwrap(), words.next().unwrap());
            (name.trim_matches('`').to_owned(), kind.trim_end_matches(',').to_owned())
        });
        (text.clone(), columns.collect())
    }

    fn columns(input: &TableInput) -> Vec<(String, String)> {
        let columns = input.storage_descriptor().unwrap().columns();
        columns.iter().map(|c| (c.name().to_owned(), c.r#type().unwrap_or_default().to_owned())).collect()
    }

    #[test]
    fn glue_is_told_the_columns_of_the_statements() {
        for table in LakeTable::FIRST {
            let input = iceberg(table.name(), "s3://b/lake/warehouse/t/metadata/1.json").unwrap();
            assert_eq!(columns(&input), of_ddl(table.name()).1, "{table}");
            let storage = input.storage_descriptor().unwrap();
            assert_eq!(storage.location(), Some("s3://b/lake/warehouse/t"));
            let first = storage.columns()[0].parameters().unwrap();
            assert_eq!(
                first.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<BTreeMap<_, _>>(),
                BTreeMap::from([
                    ("iceberg.field.id", "1"),
                    ("iceberg.field.optional", "true"),
                    ("iceberg.field.current", "true")
                ])
            );
        }
    }

    #[test]
    fn the_raw_zone_is_told_as_its_statement_says() {
        let (text, expected) = of_ddl(RAW);
        let input = raw("LAKE").unwrap();
        assert_eq!(columns(&input), expected);
        assert!(text.contains("PARTITIONED BY (ingest_date string"));
        let mut stated = 0;
        for (key, value) in input.parameters().unwrap() {
            if key.starts_with("projection") || key.starts_with("storage") {
                assert!(text.contains(&format!("'{key}' = '{value}'")), "{key} = {value}");
                stated += 1;
            }
        }
        assert_eq!(text.matches("' = '").count(), stated);
        assert!(text.contains(&format!("LOCATION '{}'", input.storage_descriptor().unwrap().location().unwrap())));
    }

    #[test]
    fn a_move_keeps_what_others_have_set() {
        let table = Table::builder()
            .name("t")
            .description("by hand")
            .retention(7)
            .table_type("EXTERNAL_TABLE")
            .storage_descriptor(StorageDescriptor::builder().location("s3://b/t").build())
            .parameters("table_type", "iceberg")
            .parameters(LOCATION, "a")
            .parameters("owner_team", "soc")
            .build()
            .unwrap();
        let input = moved(&table, "a", "b").unwrap();
        let parameters = input.parameters().unwrap();
        assert_eq!((parameters[LOCATION].as_str(), parameters[PREVIOUS].as_str()), ("b", "a"));
        assert_eq!((parameters["owner_team"].as_str(), parameters["table_type"].as_str()), ("soc", "iceberg"));
        assert_eq!((input.description(), input.retention()), (Some("by hand"), 7));
        assert_eq!(input.storage_descriptor().unwrap().location(), Some("s3://b/t"));
    }
}
