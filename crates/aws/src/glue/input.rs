//! The descriptions of tables that Glue gets, in the form that Iceberg's own Glue catalog writes: Athena reads no other.

use super::{ICEBERG, KIND, LOCATION, PREVIOUS};
use authpulse_lake::schema::{DOC_BYTES_MAX, RAW, raw_arrow_schema};
use aws_sdk_glue::error::BuildError;
use aws_sdk_glue::types::{Column, SerDeInfo, StorageDescriptor, Table, TableInput};
use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};
use std::collections::HashMap;

/// How many days back Athena looks for raw files, and how. `ddl/auth_events_raw.sql` says the same.
const PROJECTION: [(&str, &str); 6] = [
    ("projection.enabled", "true"),
    ("projection.ingest_date.type", "date"),
    ("projection.ingest_date.format", "yyyy-MM-dd"),
    ("projection.ingest_date.range", "NOW-1095DAYS,NOW"),
    ("projection.ingest_date.interval", "1"),
    ("projection.ingest_date.interval.unit", "DAYS"),
];

/// The parameter of a column that says whether the table's current schema has it.
const CURRENT: &str = "iceberg.field.current";
/// The longest name of a column, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// The description of a new Iceberg table.
///
/// # Errors
/// A required field is missing, which does not happen for the tables of a lake.
pub(super) fn iceberg(name: &str, location: &str, schema: &Schema) -> Result<TableInput, BuildError> {
    let columns = with_lacking(&[], schema)?;
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

/// The description of an existing table after a swap from `old` to `new`, with the columns that its list lacks. Everything else stays as
/// it was read.
///
/// # Errors
/// A required field is missing, which does not happen for the tables of a lake.
pub(super) fn moved(table: &Table, old: &str, new: &str, schema: &Schema) -> Result<TableInput, BuildError> {
    let mut storage = table.storage_descriptor.clone();
    if let Some(storage) = &mut storage {
        storage.columns = Some(with_lacking(storage.columns(), schema)?);
    }
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
        .set_storage_descriptor(storage)
        .set_partition_keys(Some(table.partition_keys().to_vec()))
        .set_view_original_text(table.view_original_text.clone())
        .set_view_expanded_text(table.view_expanded_text.clone())
        .set_table_type(table.table_type.clone())
        .set_parameters(Some(parameters))
        .set_target_table(table.target_table.clone())
        .build()
}

/// The description of the raw zone as a table; `lake` is the lake's URI.
///
/// # Errors
/// A required field is missing, which does not happen for the tables of a lake.
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

/// Glue's list of columns, followed by the columns of the schema that it lacks. Glue and Athena ignore the case of names. A column that
/// the list has as dropped comes back in its place, with its comment. A column whose parts have changed gets its new type.
fn with_lacking(list: &[Column], schema: &Schema) -> Result<Vec<Column>, BuildError> {
    let mut columns = list.to_vec();
    let places = columns.iter().enumerate().map(|(at, column)| (column.name().to_lowercase(), at));
    let mut places: HashMap<String, usize> = places.collect();
    for field in schema.as_struct().fields() {
        if !fits(&field.name, NAME_BYTES_MAX) {
            // Glue would refuse the whole table because of it; Athena reads the columns from Iceberg's metadata all the same.
            continue;
        }
        match places.get(&field.name.to_lowercase()) {
            None => {
                places.insert(field.name.to_lowercase(), columns.len());
                columns.push(column(field)?);
            }
            Some(at) => {
                let theirs = &mut columns[*at];
                let said = |key: &str| theirs.parameters().and_then(|p| p.get(key)).map(String::as_str);
                let kind = hive(&field.field_type);
                if said(CURRENT).is_some_and(|current| current.eq_ignore_ascii_case("false")) {
                    let mut back = column(field)?;
                    back.comment = theirs.comment.take().filter(|words| !words.is_empty()).or(back.comment);
                    let mut parameters = theirs.parameters.take().unwrap_or_default();
                    parameters.extend(back.parameters.take().unwrap_or_default());
                    back.parameters = Some(parameters);
                    *theirs = back;
                } else if kind.contains("struct<") && theirs.r#type() != Some(kind.as_str()) {
                    theirs.r#type = Some(kind);
                }
            }
        }
    }
    Ok(columns)
}

fn column(field: &NestedField) -> Result<Column, BuildError> {
    Column::builder()
        .name(&field.name)
        .r#type(hive(&field.field_type))
        .set_comment(field.doc.as_deref().map(comment))
        .parameters("iceberg.field.id", field.id.to_string())
        .parameters("iceberg.field.optional", (!field.required).to_string())
        .parameters(CURRENT, "true")
        .build()
}

/// A column's comment in the form that Glue takes, one line of limited length. Another engine may have made the column, with a longer
/// text.
fn comment(doc: &str) -> String {
    let line: String = doc.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut end = line.len().min(DOC_BYTES_MAX);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line[..end].to_owned()
}

/// Whether Glue takes a text, where it takes at most this many bytes.
fn fits(text: &str, bytes: usize) -> bool {
    (1..=bytes).contains(&text.len()) && !text.contains(char::is_control)
}

/// A type in the syntax of Hive.
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
    use authpulse_lake::Table as LakeTable;
    use iceberg::spec::{ListType, StructType};
    use std::collections::BTreeMap;
    use std::path::Path;

    /// The columns of a statement below `ddl/`: name and type, in order.
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
            let input = iceberg(table.name(), "s3://b/lake/warehouse/t/metadata/1.json", table.schema()).unwrap();
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
        let input = moved(&table, "a", "b", LakeTable::DAILY.schema()).unwrap();
        let parameters = input.parameters().unwrap();
        assert_eq!((parameters[LOCATION].as_str(), parameters[PREVIOUS].as_str()), ("b", "a"));
        assert_eq!((parameters["owner_team"].as_str(), parameters["table_type"].as_str()), ("soc", "iceberg"));
        assert_eq!((input.description(), input.retention()), (Some("by hand"), 7));
        assert_eq!(input.storage_descriptor().unwrap().location(), Some("s3://b/t"));
    }

    /// A table in Glue with these columns: name, type, comment, and whether it is current.
    fn listed(columns: &[(&str, &str, Option<&str>, bool)]) -> Table {
        let column = |(name, kind, words, current): &(&str, &str, Option<&str>, bool)| {
            let built = Column::builder()
                .name(*name)
                .r#type(*kind)
                .set_comment(words.map(str::to_owned))
                .parameters(CURRENT, current.to_string())
                .parameters("team", "soc");
            built.build().unwrap()
        };
        let storage = StorageDescriptor::builder().set_columns(Some(columns.iter().map(column).collect()));
        Table::builder().name("t").storage_descriptor(storage.build()).build().unwrap()
    }

    fn schema(fields: Vec<NestedField>) -> Schema {
        Schema::builder().with_fields(fields.into_iter().map(Into::into)).build().unwrap()
    }

    fn text(id: i32, name: &str) -> NestedField {
        NestedField::optional(id, name, Type::Primitive(PrimitiveType::String))
    }

    fn evidence(names: &[&str]) -> NestedField {
        let parts = names.iter().zip(41..).map(|(name, id)| text(id, name).into()).collect();
        let element = NestedField::list_element(40, Type::Struct(StructType::new(parts)), false);
        NestedField::optional(30, "evidence", Type::List(ListType::new(element.into())))
    }

    /// The name, type, comment and parameters of a column.
    type ColumnAfter = (String, String, Option<String>, BTreeMap<String, String>);

    /// Each column after a swap to this schema.
    fn after(table: &Table, schema: &Schema) -> Vec<ColumnAfter> {
        let input = moved(table, "a", "b", schema).unwrap();
        let column = |c: &Column| {
            let parameters = c.parameters().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
            (c.name().to_owned(), c.r#type().unwrap().to_owned(), c.comment().map(str::to_owned), parameters)
        };
        input.storage_descriptor().unwrap().columns().iter().map(column).collect()
    }

    #[test]
    fn a_move_adds_the_columns_that_the_list_lacks_behind_the_last_one() {
        let table = listed(&[
            ("EVENT_ID", "string", Some("their words"), true),
            ("gone", "int", Some("kept words"), false),
            ("by_hand", "string", None, true),
            ("bare", "string", None, false),
        ]);
        let long = format!("first\nsecond {}", "é".repeat(200));
        let schema = schema(vec![
            text(1, "event_id").with_doc("ours"),
            text(23, "gone").with_doc("ours"),
            text(24, "bare").with_doc("ours"),
            text(25, "new").with_doc(&long),
            text(26, "New"),
            evidence(&["computer_id"]),
            text(27, "two\nlines"),
        ]);
        let found = after(&table, &schema);
        let told: Vec<_> = found.iter().map(|(n, k, c, _)| (n.as_str(), k.as_str(), c.as_deref())).collect();
        // Glue takes one line of at most 255 bytes; "first second " and 121 letters of two bytes are 255.
        let cut = format!("first second {}", "é".repeat(121));
        assert_eq!(
            told,
            [
                ("EVENT_ID", "string", Some("their words")),
                ("gone", "string", Some("kept words")),
                ("by_hand", "string", None),
                ("bare", "string", Some("ours")),
                ("new", "string", Some(cut.as_str())),
                ("evidence", "array<struct<computer_id:string>>", None),
            ]
        );
        assert_eq!(cut.len(), 255);
        let of = |at: usize, key: &str| found[at].3.get(key).map(String::as_str);
        assert_eq!((of(0, "iceberg.field.id"), of(0, "team")), (None, Some("soc")), "what is there stays as it is");
        assert_eq!((of(1, "iceberg.field.id"), of(1, CURRENT), of(1, "team")), (Some("23"), Some("true"), Some("soc")));
        assert_eq!((of(4, "iceberg.field.id"), of(4, "iceberg.field.optional")), (Some("25"), Some("true")));
    }

    #[test]
    fn a_column_that_has_gained_parts_gets_its_new_type_and_nothing_else_changes() {
        let before = "array<struct<computer_id:string>>";
        let table = listed(&[("evidence", before, Some("their words"), true), ("odd", "varchar(9)", None, true)]);
        let found = after(&table, &schema(vec![evidence(&["computer_id", "reason"]), text(50, "odd")]));
        assert_eq!(found[0].1, "array<struct<computer_id:string,reason:string>>");
        assert_eq!((found[0].2.as_deref(), found[0].3["team"].as_str()), (Some("their words"), "soc"));
        assert_eq!((found[1].1.as_str(), found.len()), ("varchar(9)", 2));
        // If the list lacks nothing, it is returned as it was read.
        let same = moved(&table, "a", "b", &schema(vec![evidence(&["computer_id"]), text(50, "odd")])).unwrap();
        assert_eq!(same.storage_descriptor, table.storage_descriptor);
    }
}
