//! Later columns: which of them a file carries, by which id they are found, and what becomes of them when files are merged.

use super::common::{self, Entry, Names, events, memory_lake, put};
use authpulse_engine::rows::{DayRow, ScoredEvent};
use authpulse_engine::rules::RuleSet;
use authpulse_event::time::DEFAULT_BASE;
use authpulse_event::{Day, ShardId, Span};
use authpulse_lake::encode::{CuratedRows, Later, LaterGroup, encode_curated, encode_daily, groups_needed};
use authpulse_lake::read::{FileIds, LiveFile, Value};
use authpulse_lake::schema::{Bounds, Column, Group, Kind};
use authpulse_lake::{
    ColumnIds, EncodeOptions, EncodedFile, Journal, Lake, MaintainSettings, MemoryCatalog, MemoryJournal, Shape, Table,
    TableFile, TablePointers, maintain,
};
use bytes::Bytes;
use futures::executor::block_on;
use iceberg::spec::{NestedField, NestedFieldRef, PrimitiveType, Schema, StructType, TableMetadataBuilder, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const PLACE: Group = Group::Named("place");
const DEVICE: Group = Group::Named("device");

/// Two groups of columns: `place` has values in rows with a score, `device` in rows with one above 20.
fn groups() -> Vec<LaterGroup<ScoredEvent>> {
    let place = vec![
        Column::later(PLACE, "site", Kind::Text, "the branch"),
        Column::later(PLACE, "hops", Kind::Long, "gateways on the way").counting(),
        Column::later(PLACE, "tags", Kind::Texts, "words"),
        Column::later(PLACE, "latitude", Kind::Double, "degrees").bounds(Bounds::Counts),
    ];
    let device = vec![Column::later(DEVICE, "device_kind", Kind::Int, "a number")];
    vec![
        LaterGroup::new(
            place,
            |row: &ScoredEvent| row.score > 0,
            |row, nth| match nth {
                0 => Some(Value::Text(SITES[usize::from(row.score / 10) % 2])),
                // Only rows with a score of 30 have hops.
                1 => Some(Value::Long(i64::from(row.score / 30))),
                2 => (row.score == 20).then(|| Value::Texts(SITES.to_vec())),
                _ => Some(Value::Double(f64::from(row.score) / 4.0)),
            },
        ),
        LaterGroup::new(device, |row: &ScoredEvent| row.score > 20, |row, _| Some(Value::Int(i32::from(row.score)))),
    ]
}

const SITES: [&str; 2] = ["north", "south"];

fn shape() -> Shape {
    Shape { curated: groups(), ..Shape::default() }
}

/// A row's later columns, as [`groups`] fills them.
fn expected(score: u8) -> String {
    let site = SITES[usize::from(score / 10) % 2];
    match score {
        0 => "None None None None None".to_owned(),
        10 => format!("{:?} None None {:?} None", Some(Value::Text(site)), Some(Value::Double(2.5))),
        20 => format!(
            "{:?} None {:?} {:?} None",
            Some(Value::Text(site)),
            Some(Value::Texts(SITES.to_vec())),
            Some(Value::Double(5.0))
        ),
        _ => format!(
            "{:?} {:?} None {:?} {:?}",
            Some(Value::Text(site)),
            Some(Value::Long(1)),
            Some(Value::Double(7.5)),
            Some(Value::Int(30))
        ),
    }
}

const NAMES: [&str; 6] = ["user_id", "site", "hops", "tags", "latitude", "device_kind"];

fn encode(rows: &[ScoredEvent], names: &Names, later: Option<&Later<ScoredEvent>>) -> Vec<EncodedFile> {
    let input = CuratedRows {
        rows,
        users: &names.users.view(),
        computers: &names.computers.view(),
        base: DEFAULT_BASE,
        rules: &RuleSet::default(),
        rule_set: "abc",
        processing_time: common::PROCESSED,
        later,
    };
    encode_curated(&input, &EncodeOptions::default()).unwrap()
}

/// The user and the later columns of a file's rows.
fn values(lake: &Lake, file: &LiveFile, names: &[&str]) -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    for batch in block_on(lake.read_values(file, names, None)).unwrap() {
        let batch = batch.unwrap();
        for row in 0..batch.len() {
            let Some(Value::Text(user)) = batch.value(row, 0) else { panic!("a row has a user") };
            let later: Vec<String> = (1..names.len()).map(|nth| format!("{:?}", batch.value(row, nth))).collect();
            rows.insert(user.to_owned(), later.join(" "));
        }
    }
    rows
}

/// Changes a table as another engine would.
fn alter(
    lake: &Lake,
    catalog: &MemoryCatalog,
    table: Table,
    change: impl FnOnce(TableMetadataBuilder) -> iceberg::Result<TableMetadataBuilder>,
) {
    let loaded = block_on(lake.load(table)).unwrap();
    let builder = loaded.metadata.clone().into_builder(Some(loaded.location.clone()));
    let metadata = change(builder).unwrap().build().unwrap().metadata;
    let location = loaded.location.parse::<iceberg::MetadataLocation>().unwrap().with_next_version().to_string();
    let io = authpulse_lake::store::file_io(lake.store().clone());
    block_on(metadata.write_to(&io, &location.parse().unwrap())).unwrap();
    block_on(catalog.swap(table.name(), &loaded.location, &location, metadata.current_schema())).unwrap();
}

/// Replaces a table's later columns by others.
fn set_later(lake: &Lake, catalog: &MemoryCatalog, table: Table, later: Vec<NestedFieldRef>) {
    let fields = table.schema().as_struct().fields().iter().cloned().chain(later);
    let schema = Schema::builder().with_fields(fields).build().unwrap();
    alter(lake, catalog, table, |builder| builder.add_current_schema(schema));
}

fn field(id: i32, name: &str, kind: PrimitiveType) -> NestedFieldRef {
    NestedField::optional(id, name, Type::Primitive(kind)).into()
}

/// The later columns as they are in a table in which somebody took id 22 before.
fn later_fields() -> Vec<NestedFieldRef> {
    let columns = shape().later(Table::CURATED);
    let mut fields = vec![field(22, "analyst", PrimitiveType::String)];
    fields.extend(columns.iter().zip([23, 24, 25, 27, 28]).map(|(column, id)| column.field(id, 26)));
    fields
}

fn ids(lake: &Lake) -> ColumnIds {
    let columns = shape().later(Table::CURATED);
    ColumnIds::in_schema(block_on(lake.load(Table::CURATED)).unwrap().metadata.current_schema(), &columns)
}

#[test]
fn rows_without_values_make_the_files_that_they_always_made() {
    let (lake, _, catalog) = memory_lake();
    set_later(&lake, &catalog, Table::CURATED, later_fields());
    let later = Later::new(&groups(), &ids(&lake));
    assert_eq!(later.left_out(), []);
    let mut names = Names::default();
    let mut rows = events("a", 1, 9, &mut names);
    rows.iter_mut().for_each(|row| row.score = 0);
    assert_eq!(groups_needed(&rows, &groups()), BTreeSet::new());
    let (with, without) = (encode(&rows, &names, Some(&later)), encode(&rows, &names, None));
    for (with, without) in with.into_iter().zip(without) {
        let (with, without) = (with.finish("x".to_owned()), without.finish("x".to_owned()));
        assert_eq!(with, without);
        assert!(!serde_json::to_string(&with.0).unwrap().contains("columns"));
    }
}

#[test]
fn a_file_carries_the_columns_in_which_one_of_its_rows_has_a_value() {
    let (lake, _, catalog) = memory_lake();
    let mut names = Names::default();
    let rows = events("a", 1, 8, &mut names);
    assert_eq!(groups_needed(&rows, &groups()), BTreeSet::from([PLACE, DEVICE]));
    assert_eq!(groups_needed(&rows[..3], &groups()), BTreeSet::from([PLACE]));
    // While the table lacks the columns, their values are not written, and the encoder says so.
    let lacking = Later::new(&groups(), &ids(&lake));
    assert_eq!(lacking.left_out().len(), 5);
    assert_eq!(encode(&rows, &names, Some(&lacking))[0].bytes, encode(&rows, &names, None)[0].bytes);
    set_later(&lake, &catalog, Table::CURATED, later_fields());
    let later = Later::new(&groups(), &ids(&lake));
    let some = put(&lake, encode(&rows[..2], &names, Some(&later)), "some").unwrap().remove(0);
    let carried = |file: &TableFile| file.columns.iter().map(|c| (c.name.clone(), c.id)).collect::<Vec<_>>();
    // Scores 0 and 10: no hops (a count of 0 is no value), no tags, no device.
    assert_eq!(carried(&some), [("site".to_owned(), 23), ("latitude".to_owned(), 27)]);
    let all = put(&lake, encode(&rows, &names, Some(&later)), "all").unwrap().remove(0);
    assert_eq!(carried(&all).len(), 5);
    for (file, rows) in [(&some, &rows[..2]), (&all, &rows[..])] {
        let back: TableFile = serde_json::from_str(&serde_json::to_string(file).unwrap()).unwrap();
        assert_eq!(&back, file);
        let found = values(&lake, &LiveFile::from(file), &NAMES);
        let expected: BTreeMap<String, String> =
            rows.iter().map(|row| (names.users.get(row.event.user).to_owned(), expected(row.score))).collect();
        assert_eq!(found, expected);
        // The first version's columns are read as before.
        let read = block_on(lake.read_curated(&LiveFile::from(file), None)).unwrap();
        assert_eq!(read.map(|batch| batch.unwrap().len()).sum::<usize>(), rows.len());
    }
    // A column's statistics are under its id: 25 is a list, whose element is 26.
    let told: serde_json::Value = serde_json::from_str(&all.data_file).unwrap();
    let of = |list: &str, id: i64| {
        let pairs = told[list].as_array().unwrap();
        pairs.iter().find(|pair| pair["key"] == id).map(|pair| pair["value"].clone())
    };
    assert_eq!((of("value_counts", 23), of("null_value_counts", 23)), (Some(8.into()), Some(2.into())));
    assert_eq!((of("value_counts", 24), of("null_value_counts", 24)), (Some(8.into()), Some(6.into())));
    assert_eq!((of("value_counts", 25), of("value_counts", 26)), (None, Some(10.into())));
    assert_eq!((of("value_counts", 28), of("null_value_counts", 28)), (Some(8.into()), Some(6.into())));
    assert!(of("column_sizes", 26).is_some() && of("lower_bounds", 26).is_none());
    assert!(of("lower_bounds", 23).is_some() && of("lower_bounds", 27).is_none(), "of latitude only counts are told");
    // For the first version's columns as before: the list itself is counted, not its element.
    assert_eq!((of("value_counts", 14), of("value_counts", 21)), (Some(8.into()), None));
}

/// An attribute becomes a column because it is in the list of attributes; nothing else is needed.
#[test]
fn attributes_become_columns_of_the_rows_that_have_them() {
    use authpulse_event::ATTRIBUTES;
    use authpulse_event::attributes::Given;
    let (lake, _, _) = memory_lake();
    let groups = Shape::default().curated;
    let mut names = Names::default();
    let mut rows = events("a", 1, 6, &mut names);
    assert_eq!(groups_needed(&rows, &groups), BTreeSet::new());
    let carry = |given: &[(&str, Given<'static>)]| {
        let of = |at: usize| given.iter().find(|(key, _)| *key == ATTRIBUTES[at].key).map(|(_, value)| value.clone());
        authpulse_event::Attributes::take(ATTRIBUTES, |at| of(at).unwrap_or(Given::Nothing)).0
    };
    rows[1].event.attributes = carry(&[("outcome", Given::Text("FAILURE".into())), ("mfa", Given::Bool(false))]);
    rows[4].event.attributes = carry(&[("lat", Given::Number("47.376".into())), ("kind", Given::Text("web".into()))]);
    let needed: Vec<Group> = groups_needed(&rows, &groups).into_iter().collect();
    assert_eq!(needed, [Group::Attributes]);
    // The table gains all columns of the group, in the list's order and with their descriptions; the file has those with a value.
    let ids = block_on(lake.columns(Table::CURATED, &needed)).unwrap();
    let loaded = block_on(lake.load(Table::CURATED)).unwrap();
    let fields = loaded.metadata.current_schema().as_struct().fields();
    let added: Vec<(&str, Option<&str>)> = fields[20..].iter().map(|f| (f.name.as_str(), f.doc.as_deref())).collect();
    assert_eq!(added, ATTRIBUTES.iter().map(|a| (a.column, Some(a.doc))).collect::<Vec<_>>());
    let later = Later::new(&groups, &ids);
    let file = put(&lake, encode(&rows, &names, Some(&later)), "a-1").unwrap().remove(0);
    let carried: Vec<&str> = file.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(carried, ["outcome", "logon_kind", "is_mfa", "source_lat"]);
    let found =
        values(&lake, &LiveFile::from(&file), &["user_id", "outcome", "logon_kind", "is_mfa", "source_lat", "app"]);
    assert_eq!(found["a-1-0"], "None None None None None");
    // This is not a count, so 0 is a value.
    assert_eq!(found["a-1-1"], "Some(Text(\"failure\")) None Some(Int(0)) None None");
    assert_eq!(found["a-1-4"], "None Some(Text(\"web\")) None Some(Double(47.38)) None");
}

#[test]
fn aggregates_have_later_columns_as_well() {
    let (lake, _, _) = memory_lake();
    let column = Column::later(PLACE, "failures", Kind::Long, "logons that failed").counting();
    let groups =
        vec![LaterGroup::new(vec![column], |_: &DayRow| true, |row, _| Some(Value::Long(row.high_risk_events as i64)))];
    let schema = Schema::builder()
        .with_fields(Table::DAILY.schema().as_struct().fields().iter().cloned().chain([column.field(30, 0)]))
        .build()
        .unwrap();
    let later = Later::new(&groups, &ColumnIds::in_schema(&schema, &[column]));
    let day = |day: i32, high: u64| DayRow {
        day: Day(day),
        computer: format!("C{high}"),
        unique_users: 1,
        total_logins: 1,
        high_risk_events: high,
    };
    let files = encode_daily(&[day(0, 0), day(1, 7), day(400, 0)], Some(&later), &EncodeOptions::default()).unwrap();
    let files = put(&lake, files, "d").unwrap();
    assert_eq!(files.iter().map(|file| file.columns.len()).collect::<Vec<_>>(), [1, 0], "the second month has none");
    let found = values(&lake, &LiveFile::from(&files[0]), &["computer_id", "failures"]);
    assert_eq!(found["C0"], "None");
    assert_eq!(found["C7"], format!("{:?}", Some(Value::Long(7))));
}

#[test]
fn columns_are_found_by_id_whatever_they_are_called_now() {
    let (lake, _, catalog) = memory_lake();
    set_later(&lake, &catalog, Table::CURATED, later_fields());
    let later = Later::new(&groups(), &ids(&lake));
    let mut names = Names::default();
    let rows = events("a", 1, 8, &mut names);
    let files = put(&lake, encode(&rows, &names, Some(&later)), "a-1").unwrap();
    let entry = Entry { shard: ShardId::new("a"), n: 1, files };
    block_on(lake.commit(Table::CURATED, &[entry.view()])).unwrap();
    // Another engine renames `site` to `branch`, drops `device_kind`, adds another column of that name, and makes `hops` the first.
    let fields = later_fields();
    let renamed = NestedField::optional(23, "branch", Type::Primitive(PrimitiveType::String));
    let again = field(31, "device_kind", PrimitiveType::Int);
    let changed =
        vec![fields[2].clone(), renamed.into(), fields[0].clone(), fields[3].clone(), fields[4].clone(), again];
    set_later(&lake, &catalog, Table::CURATED, changed);
    let live = block_on(lake.live_files(Table::CURATED)).unwrap().files.remove(0);
    let now = ["user_id", "branch", "hops", "tags", "latitude", "device_kind"];
    let by_table = values(&lake, &live, &now);
    let by_entry = values(&lake, &LiveFile::from(&entry.files[0]), &NAMES);
    for (user, row) in &by_entry {
        let (kept, device) = row.rsplit_once(' ').unwrap();
        assert_eq!(by_table[user], format!("{kept} None"), "the file has no column 31, and 28 is {device}");
    }
    assert!(by_entry.values().any(|row| row.contains("Int(30)")), "by its entry it has one");
    // A column that nobody has is null, not an error.
    assert!(values(&lake, &live, &["user_id", "site"]).values().all(|row| row == "None"));
    assert_eq!(live.ids.later().len(), 6);
    assert_eq!(block_on(lake.read_curated(&live, None)).unwrap().map(|b| b.unwrap().len()).sum::<usize>(), 8);
}

/// The same rows without ids in the file, as some writers produce them.
fn without_ids(body: &Bytes, rename: impl Fn(&str) -> String) -> Bytes {
    use arrow_schema::{DataType, Field, Schema};
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(body.clone()).unwrap();
    fn bare(field: &Field) -> Field {
        let kind = match field.data_type() {
            DataType::List(element) => DataType::List(Arc::new(bare(element))),
            other => other.clone(),
        };
        Field::new(field.name(), kind, field.is_nullable())
    }
    let fields = reader.schema().fields().iter().map(|field| bare(field).with_name(rename(field.name())));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let mut out = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut out, schema.clone(), None).unwrap();
    for batch in reader.build().unwrap() {
        let batch = batch.unwrap();
        let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| match field.data_type() {
            DataType::List(element) => {
                let (_, offsets, values, nulls) =
                    arrow_array::cast::AsArray::as_list::<i32>(column.as_ref()).clone().into_parts();
                Arc::new(arrow_array::ListArray::new(element.clone(), offsets, values, nulls)) as arrow_array::ArrayRef
            }
            _ => column.clone(),
        });
        writer.write(&arrow_array::RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()).unwrap();
    }
    writer.close().unwrap();
    out.into()
}

/// Replaces the body of an entry's file.
fn rewritten(lake: &Lake, file: &TableFile, body: Bytes) -> TableFile {
    let mut json: serde_json::Value = serde_json::from_str(&file.data_file).unwrap();
    json["file_size_in_bytes"] = body.len().into();
    json["sort_order_id"] = serde_json::Value::Null;
    let path = file.path.replace(".parquet", "-other.parquet");
    let file = TableFile {
        path,
        bytes: body.len() as u64,
        data_file: json.to_string(),
        sha256: String::new(),
        ..file.clone()
    };
    block_on(lake.store().put_new(&file.path, body)).unwrap();
    file
}

#[test]
fn without_ids_the_mapping_tells_and_else_the_name_of_what_was_there_from_the_first_version_on() {
    let (lake, _, catalog) = memory_lake();
    set_later(&lake, &catalog, Table::CURATED, later_fields());
    let later = Later::new(&groups(), &ids(&lake));
    let mut names = Names::default();
    let rows = events("a", 1, 8, &mut names);
    let file = put(&lake, encode(&rows, &names, Some(&later)), "a-1").unwrap().remove(0);
    let body = block_on(lake.store().get(&file.path)).unwrap();
    let bare = without_ids(&body, |name| if name == "site" { "SITE_OLD".to_owned() } else { name.to_owned() });
    let entry = Entry { shard: ShardId::new("a"), n: 1, files: vec![rewritten(&lake, &file, bare)] };
    block_on(lake.commit(Table::CURATED, &[entry.view()])).unwrap();
    let live = || block_on(lake.live_files(Table::CURATED)).unwrap().files.remove(0);
    let users = |file: &LiveFile| -> usize {
        block_on(lake.read_curated(file, None)).unwrap().map(|batch| batch.unwrap().len()).sum()
    };
    assert_eq!(users(&live()), 8);
    assert!(values(&lake, &live(), &NAMES).values().all(|row| row == "None None None None None"));
    let mut mapping: Vec<serde_json::Value> = Table::CURATED
        .columns()
        .iter()
        .zip(1..)
        .map(|(column, id)| serde_json::json!({ "field-id": id, "names": [column.name] }))
        .collect();
    mapping.push(serde_json::json!({ "field-id": 23, "names": ["site", "SITE_OLD"] }));
    let property = ("schema.name-mapping.default".to_owned(), serde_json::json!(mapping).to_string());
    alter(&lake, &catalog, Table::CURATED, |builder| builder.set_properties([property].into()));
    assert_eq!(users(&live()), 8);
    for (user, row) in values(&lake, &live(), &["user_id", "site", "hops"]) {
        let score = rows.iter().find(|row| names.users.get(row.event.user) == user).unwrap().score;
        let site = expected(score).split(' ').next().unwrap().to_owned();
        assert_eq!(row, format!("{site} None"), "hops are not in the mapping");
    }
    // If there is a mapping, only the mapping counts, even for columns of the first version.
    let mapping = serde_json::json!([{ "field-id": 3, "names": ["user_id"] }]).to_string();
    let property = ("schema.name-mapping.default".to_owned(), mapping);
    alter(&lake, &catalog, Table::CURATED, |builder| builder.set_properties([property].into()));
    let lacks = block_on(lake.read_curated(&live(), None)).err().unwrap().to_string();
    assert!(lacks.contains("it has no column event_id"), "{lacks}");
    assert_eq!(FileIds::default().later(), []);
}

/// A column of another engine: a struct of a number and a list of structs.
fn foreign(number: PrimitiveType) -> NestedFieldRef {
    let part =
        StructType::new(vec![field(43, "word", PrimitiveType::String), field(44, "weight", PrimitiveType::Double)]);
    let list = iceberg::spec::ListType::new(NestedField::list_element(42, Type::Struct(part), false).into());
    let parts = vec![field(45, "number", number), NestedField::optional(41, "words", Type::List(list)).into()];
    NestedField::optional(40, "foreign_notes", Type::Struct(StructType::new(parts))).into()
}

/// Adds the foreign column to a file, with the table's type; it is null in every third row.
fn with_foreign(body: &Bytes, number: PrimitiveType, seed: i32) -> Bytes {
    use arrow_array::builder::{Float64Builder, StringBuilder};
    use arrow_array::{ArrayRef, Int32Array, Int64Array, ListArray, RecordBatch, StructArray};
    use arrow_schema::{DataType, Schema as ArrowSchema};
    let iceberg_schema = Schema::builder().with_fields([foreign(number.clone())]).build().unwrap();
    let column = iceberg::arrow::schema_to_arrow_schema(&iceberg_schema).unwrap().field(0).clone();
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(body.clone()).unwrap();
    let fields = reader.schema().fields().iter().map(|f| f.as_ref().clone()).chain([column.clone()]);
    let schema = Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>()));
    let mut out = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut out, schema.clone(), None).unwrap();
    for batch in reader.build().unwrap() {
        let batch = batch.unwrap();
        let rows = batch.num_rows() as i32;
        let DataType::Struct(parts) = column.data_type() else { panic!() };
        let DataType::List(element) = parts[1].data_type() else { panic!() };
        let DataType::Struct(inner) = element.data_type() else { panic!() };
        let (mut words, mut weights) = (StringBuilder::new(), Float64Builder::new());
        for row in 0..2 * rows {
            words.append_value(format!("w{}", seed + row));
            weights.append_option((row % 2 == 0).then_some(f64::from(row) / 2.0));
        }
        let inner = StructArray::new(inner.clone(), vec![Arc::new(words.finish()), Arc::new(weights.finish())], None);
        let offsets = arrow_buffer::OffsetBuffer::from_lengths((0..rows).map(|_| 2));
        let lists = ListArray::new(element.clone(), offsets, Arc::new(inner), None);
        let numbers: ArrayRef = match number {
            PrimitiveType::Int => Arc::new(Int32Array::from_iter_values((0..rows).map(|row| seed + row))),
            _ => Arc::new(Int64Array::from_iter_values((0..rows).map(|row| i64::from(seed + row) << 33))),
        };
        let nulls = arrow_buffer::NullBuffer::from((0..rows).map(|row| row % 3 != 2).collect::<Vec<_>>());
        let notes = StructArray::new(parts.clone(), vec![numbers, Arc::new(lists)], Some(nulls));
        let columns = batch.columns().iter().cloned().chain([Arc::new(notes) as ArrayRef]);
        let batch = RecordBatch::try_new(schema.clone(), columns.collect()).unwrap();
        writer.write(&batch).unwrap();
    }
    writer.close().unwrap();
    out.into()
}

/// Each user's foreign column as text, from the file as it is.
fn notes(lake: &Lake, file: &LiveFile) -> BTreeMap<String, String> {
    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    let mut found = BTreeMap::new();
    for batch in block_on(lake.read_columns(file, Some(&["user_id", "foreign_notes"]), None)).unwrap() {
        let batch = batch.unwrap();
        for row in 0..batch.num_rows() {
            let user = batch.column(0).as_string::<i32>().value(row).to_owned();
            // The parts have the file's type, or the one to which the table has promoted it.
            let text = format!("{:?}", batch.column(1).slice(row, 1)).replace("Int32", "Int64");
            let text = if batch.column(1).data_type() != &arrow_schema::DataType::Null && batch.column(1).is_valid(row)
            {
                text
            } else {
                "null".to_owned()
            };
            found.insert(user, text);
        }
    }
    found
}

/// The journal of a lake that gets no more rows, so that everything may be merged.
fn sealed_journal() -> MemoryJournal {
    let (journal, place) = (MemoryJournal::new(), serde_json::json!({ "sequence": "0" }));
    let entry: authpulse_lake::entry::Entry = serde_json::from_value(serde_json::json!({
        "format": 2, "shard": "z", "n": 1, "epoch": 1, "commit_id": "c", "written_at": 0, "source": { "kind": "file" },
        "range": authpulse_event::HashRange::FULL.to_string(), "from": place, "to": place, "score_spans": [],
        "counts": { "received": 0, "curated": 0, "waiting_before": 0, "unscored_before": 0, "waiting": 0, "unscored": 0 },
        "sealed": 0, "rule_set": "abc", "time_rules": { "base": 0, "tolerance": 0, "lookback_days": 30, "settle": 0 },
    }))
    .unwrap();
    block_on(journal.put(&ShardId::new("z"), 1, entry.encode())).unwrap();
    journal
}

const TIDY: MaintainSettings = MaintainSettings {
    target_bytes: 1 << 20,
    min_files: 2,
    manifests_max: 1,
    snapshots_max: 100,
    snapshot_age: Span::ZERO,
    orphan_age: Span::MAX,
    fold_entries: 100,
    entry_age: Span::MAX,
    follower_keep: Span::MAX,
};

#[test]
fn merging_carries_what_others_added_with_all_values_in_the_order_of_the_table() {
    let (lake, _, catalog) = memory_lake();
    let lake = lake.with_shape(shape());
    let mut before = later_fields();
    before.insert(1, foreign(PrimitiveType::Int));
    set_later(&lake, &catalog, Table::CURATED, before);
    let later = Later::new(&groups(), &ids(&lake));
    let mut files = Vec::new();
    let mut all_rows = Vec::new();
    for (n, number) in [(1, Some(PrimitiveType::Int)), (2, None), (3, Some(PrimitiveType::Long))] {
        let mut names = Names::default();
        let rows = events("a", 0, 8 * n, &mut names).split_off(8 * n as usize - 8);
        let file = put(&lake, encode(&rows, &names, Some(&later)), &format!("a-{n}")).unwrap().remove(0);
        all_rows.extend(rows.iter().map(|row| (names.users.get(row.event.user).to_owned(), row.score)));
        let Some(number) = number else {
            files.push(Entry { shard: ShardId::new("a"), n, files: vec![file] });
            continue;
        };
        let body = block_on(lake.store().get(&file.path)).unwrap();
        let file = rewritten(&lake, &file, with_foreign(&body, number, 100 * n as i32));
        // An entry would not name another engine's file; the test has no other way to append it.
        files.push(Entry { shard: ShardId::new("a"), n, files: vec![file] });
    }
    let views: Vec<_> = files.iter().map(Entry::view).collect();
    block_on(lake.commit(Table::CURATED, &views)).unwrap();
    // Meanwhile the struct's number has become a long, and the column is the last one.
    let mut now = later_fields();
    now.push(foreign(PrimitiveType::Long));
    set_later(&lake, &catalog, Table::CURATED, now);
    let live = block_on(lake.live_files(Table::CURATED)).unwrap().files;
    let expected_notes: BTreeMap<String, String> = live.iter().flat_map(|file| notes(&lake, file)).collect();
    let expected_values: BTreeMap<String, String> = live.iter().flat_map(|file| values(&lake, file, &NAMES)).collect();
    assert!(
        expected_notes.values().any(|text| text.contains("w100")) && expected_notes.values().any(|text| text == "null")
    );
    let report = block_on(maintain(&lake, &sealed_journal(), &TIDY, false, &mut Default::default()));
    assert_eq!(report.tables[0].compacted.before.files, 3, "{report:?}");
    assert_eq!(report.tables[0].notes, [""; 0]);
    let merged = block_on(lake.live_files(Table::CURATED)).unwrap().files;
    assert_eq!(merged.len(), 1);
    assert_eq!(values(&lake, &merged[0], &NAMES), expected_values);
    assert_eq!(notes(&lake, &merged[0]), expected_notes);
    for (user, score) in all_rows {
        assert_eq!(expected_values[&user], expected(score));
    }
    let batch = block_on(lake.read_columns(&merged[0], None, None)).unwrap().next().unwrap().unwrap();
    let order: Vec<String> = batch.schema().fields()[20..].iter().map(|f| f.name().clone()).collect();
    // `analyst` has no value in any of the files, so the merged file does not have the column.
    assert_eq!(order, ["site", "hops", "tags", "latitude", "device_kind", "foreign_notes"]);
    // The parts are counted under their ids.
    let told = told(&lake, &merged[0].path);
    assert_eq!((told.value_counts()[&45], told.null_value_counts()[&45]), (24, 8 + 4));
    assert!(told.value_counts().contains_key(&43) && !told.value_counts().contains_key(&40));
    assert!(told.lower_bounds().contains_key(&45) && !told.lower_bounds().contains_key(&43));
}

/// The table's description of a file.
fn told(lake: &Lake, path: &str) -> iceberg::spec::DataFile {
    let loaded = block_on(lake.load(Table::CURATED)).unwrap();
    let io = authpulse_lake::store::file_io(lake.store().clone());
    let list = loaded.metadata.current_snapshot().unwrap().manifest_list();
    let body = block_on(io.new_input(list).unwrap().read()).unwrap();
    let list = iceberg::spec::ManifestList::parse_with_version(&body, iceberg::spec::FormatVersion::V2).unwrap();
    for manifest in list.entries() {
        for entry in block_on(manifest.load_manifest(&io)).unwrap().entries() {
            if entry.is_alive() && entry.file_path().ends_with(path) {
                return entry.data_file().clone();
            }
        }
    }
    panic!("the table has no file {path}")
}

#[test]
fn a_file_of_which_nobody_can_tell_the_columns_is_left_as_it_is() {
    let (lake, _, catalog) = memory_lake();
    set_later(&lake, &catalog, Table::CURATED, later_fields());
    let later = Later::new(&groups(), &ids(&lake));
    let mut entries = Vec::new();
    for n in 1..=3 {
        let mut names = Names::default();
        let rows = events("a", 0, 8 * n, &mut names).split_off(8 * n as usize - 8);
        let mut file = put(&lake, encode(&rows, &names, Some(&later)), &format!("a-{n}")).unwrap().remove(0);
        if n == 2 {
            let body = block_on(lake.store().get(&file.path)).unwrap();
            file = rewritten(&lake, &file, without_ids(&body, str::to_owned));
        }
        entries.push(Entry { shard: ShardId::new("a"), n, files: vec![file] });
    }
    let views: Vec<_> = entries.iter().map(Entry::view).collect();
    block_on(lake.commit(Table::CURATED, &views)).unwrap();
    let report = block_on(maintain(&lake, &sealed_journal(), &TIDY, false, &mut Default::default()));
    assert!(
        report.tables[0].notes.iter().any(|note| note.contains("nothing tells which column site is")),
        "{report:?}"
    );
    let live = block_on(lake.live_files(Table::CURATED)).unwrap().files;
    assert!(live.iter().any(|file| file.path == entries[1].files[0].path), "its values are where they were");
    assert_eq!(live.len(), 2, "{live:?}");
    assert_eq!(live.iter().map(|file| file.rows).sum::<u64>(), 24);
}

#[test]
fn columns_of_the_first_version_may_be_promoted_by_others_and_what_is_stored_is_read_as_before() {
    let (lake, _, catalog) = memory_lake();
    let commit = |n: u64| {
        let mut names = Names::default();
        let rows = events("a", 0, 8 * n, &mut names).split_off(8 * n as usize - 8);
        let files = put(&lake, encode(&rows, &names, None), &format!("a-{n}")).unwrap();
        let entry = Entry { shard: ShardId::new("a"), n, files };
        block_on(lake.commit(Table::CURATED, &[entry.view()])).unwrap();
    };
    let scores = || {
        let mut rows = BTreeMap::new();
        for file in block_on(lake.live_files(Table::CURATED)).unwrap().files {
            for batch in block_on(lake.read_curated(&file, None)).unwrap() {
                let batch = batch.unwrap();
                rows.extend(batch.iter().map(|row| (row.user_id.to_owned(), (row.risk_score, row.is_new_device))));
            }
        }
        rows
    };
    commit(1);
    let mut fields = Table::CURATED.schema().as_struct().fields().to_vec();
    for field in fields.iter_mut().filter(|field| ["risk_score", "is_new_device"].contains(&field.name.as_str())) {
        *Arc::make_mut(field).field_type = Type::Primitive(PrimitiveType::Long);
    }
    let schema = Schema::builder().with_fields(fields).build().unwrap();
    alter(&lake, &catalog, Table::CURATED, |builder| builder.add_current_schema(schema));
    // Workers continue, and write what they have always written.
    (2..=3).for_each(commit);
    let before = scores();
    assert_eq!(before.len(), 24);
    assert!(before.values().any(|(score, _)| *score == 30));
    let report = block_on(maintain(&lake, &sealed_journal(), &TIDY, false, &mut Default::default()));
    assert_eq!((report.tables[0].compacted.before.files, &report.tables[0].notes[..]), (3, &[][..]), "{report:?}");
    let merged = block_on(lake.live_files(Table::CURATED)).unwrap().files.remove(0);
    let batch = block_on(lake.read_columns(&merged, Some(&["risk_score"]), None)).unwrap().next().unwrap().unwrap();
    assert_eq!(batch.column(0).data_type(), &arrow_schema::DataType::Int64, "merged files have the table's type");
    assert_eq!(scores(), before);
    let bounds = told(&lake, &merged.path);
    let greatest = bounds.upper_bounds()[&15].to_string();
    assert_eq!(greatest, "30");
}
