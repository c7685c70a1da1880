use super::*;
use crate::commit::test_world::{TABLE, World, ask, text};
use crate::commit::{CommitReport, EntryFiles};
use crate::encode::{EncodeOptions, encode_daily, write_batches};
use crate::error::Remedy;
use crate::schema::{Bounds, Group};
use crate::store::ObjectStore;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, Int32Array, ListArray, RecordBatch, StringArray, StructArray};
use arrow_schema::{DataType, Field, FieldRef, SchemaRef as ArrowSchemaRef};
use authpulse_engine::rows::DayRow;
use authpulse_event::id::sha256_hex;
use authpulse_event::{Day, ShardId};
use bytes::Bytes;
use futures::executor::block_on;
use iceberg::spec::{ListType, NestedField, NestedFieldRef, PrimitiveType, StructType, Type};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const ROWS: usize = 3;

fn reader(bytes: Bytes) -> ParquetRecordBatchReader {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options).unwrap().build().unwrap()
}

fn field_id(field: &Field) -> Option<i32> {
    field.metadata().get(PARQUET_FIELD_ID_META_KEY)?.parse().ok()
}

fn primitive(kind: PrimitiveType) -> Type {
    Type::Primitive(kind)
}

/// A list of structs with these fields; ids count from `first`.
fn evidence(first: i32, parts: &[(&str, PrimitiveType)]) -> Type {
    let fields = parts.iter().zip(first + 1..);
    let fields = fields.map(|((name, kind), id)| NestedField::optional(id, *name, primitive(kind.clone())).into());
    let element = NestedField::list_element(first, Type::Struct(StructType::new(fields.collect())), false);
    Type::List(ListType::new(element.into()))
}

const REASON: &[(&str, PrimitiveType)] = &[("reason", PrimitiveType::String), ("points", PrimitiveType::Int)];

/// Three values of a column of this type; the second is null.
fn values(field: &FieldRef) -> ArrayRef {
    match field.data_type() {
        DataType::Utf8 => Arc::new(StringArray::from(vec![Some("one"), None, Some("three")])),
        DataType::Int32 => Arc::new(Int32Array::from(vec![Some(1), None, Some(70_000)])),
        DataType::List(part) => {
            let inner = values(part);
            let offsets = arrow_buffer::OffsetBuffer::new(vec![0, 2, 2, 3].into());
            Arc::new(ListArray::new(part.clone(), offsets, inner, Some(vec![true, false, true].into())))
        }
        DataType::Struct(parts) => Arc::new(StructArray::new(parts.clone(), parts.iter().map(values).collect(), None)),
        other => panic!("{other}"),
    }
}

/// A file of an entry: three rows of the table's first columns, and of these later ones.
fn file(world: &World, name: &str, columns: &[FileColumn]) -> TableFile {
    let rows: Vec<DayRow> = (0..ROWS)
        .map(|k| DayRow {
            day: Day(16_436),
            computer: format!("{name}-{k}"),
            unique_users: 1,
            total_logins: k as u64,
            high_risk_events: 0,
        })
        .collect();
    let encoded = encode_daily(&rows, None, &EncodeOptions::default()).unwrap().remove(0);
    let path = encoded.path(name);
    let (plain, bytes) = encoded.finish(path);
    let fields: Vec<NestedFieldRef> = TABLE.schema().as_struct().fields().to_vec();
    let later = columns.iter().map(|c| NestedField::optional(c.id, &c.name, c.kind.clone()).into());
    let schema = Schema::builder().with_fields(fields.into_iter().chain(later)).build().unwrap();
    let schema: ArrowSchemaRef = Arc::new(iceberg::arrow::schema_to_arrow_schema(&schema).unwrap());
    let batch = reader(bytes).next().unwrap().unwrap();
    let first = batch.num_columns();
    let mut all: Vec<ArrayRef> = batch.columns().to_vec();
    all.extend(schema.fields()[first..].iter().map(values));
    let batch = RecordBatch::try_new(schema.clone(), all).unwrap();
    let batches = std::iter::once(Ok(batch));
    let (bytes, _) =
        write_batches((TABLE.name(), &schema), |_| Bounds::Whole, batches, &EncodeOptions::default()).unwrap();
    let mut json: Value = serde_json::from_str(&plain.data_file).unwrap();
    json["file_size_in_bytes"] = json!(bytes.len());
    for column in columns {
        let add = |json: &mut Value, map: &str, value: Value| {
            json[map].as_array_mut().unwrap().push(json!({ "key": column.id, "value": value }));
        };
        add(&mut json, "value_counts", json!(ROWS));
        add(&mut json, "null_value_counts", json!(1));
        if column.kind == primitive(PrimitiveType::Int) {
            add(&mut json, "lower_bounds", json!([1, 0, 0, 0]));
            add(&mut json, "upper_bounds", json!([112, 17, 1, 0]));
        }
    }
    let file = TableFile {
        bytes: bytes.len() as u64,
        sha256: sha256_hex(&bytes),
        data_file: json.to_string(),
        columns: columns.to_vec(),
        ..plain
    };
    block_on(world.store.put_new(&file.path, bytes)).unwrap();
    file
}

fn show(array: &ArrayRef, row: usize) -> String {
    if array.is_null(row) {
        return "null".to_owned();
    }
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::List(_) => {
            let list = array.as_list::<i32>().value(row);
            format!("[{}]", (0..list.len()).map(|at| show(&list, at)).collect::<Vec<_>>().join(","))
        }
        DataType::Struct(_) => {
            let all = array.as_struct();
            let parts = all.column_names().into_iter().zip(all.columns());
            let ids = all.fields().iter().map(|f| field_id(f).unwrap());
            let parts = parts.zip(ids).map(|((name, part), id)| format!("{name}#{id}={}", show(part, row)));
            format!("{{{}}}", parts.collect::<Vec<_>>().join(" "))
        }
        other => panic!("{other}"),
    }
}

/// Rows as a reader by ids sees them: the computer, and by name each column of its file after the first ones.
fn rows(world: &World) -> BTreeMap<String, String> {
    let metadata = world.metadata();
    let mut rows = BTreeMap::new();
    for file in block_on(world.lake.live_files(TABLE)).unwrap().files {
        for batch in reader(block_on(world.store.get(&file.path)).unwrap()) {
            let batch = batch.unwrap();
            let schema = batch.schema();
            for row in 0..batch.num_rows() {
                let computer = batch.column_by_name("computer_id").unwrap().as_string::<i32>().value(row).to_owned();
                let mut told = Vec::new();
                for (field, column) in schema.fields().iter().zip(batch.columns()).skip(5) {
                    let name = metadata.current_schema().name_by_field_id(field_id(field).unwrap());
                    told.push(format!("{}={}", name.unwrap_or("?"), show(column, row)));
                }
                told.sort_unstable();
                assert!(rows.insert(computer, told.join(" ")).is_none(), "a row is there twice");
            }
        }
    }
    rows
}

/// The table's description of its one file: the number of nulls by id, and the ids for which it states sizes.
fn described(world: &World) -> (BTreeMap<i32, u64>, BTreeSet<i32>) {
    let loaded = block_on(world.lake.load(TABLE)).unwrap();
    let list = loaded.metadata.current_snapshot().unwrap().manifest_list().to_owned();
    let manifests = block_on(world.lake.manifests(&loaded, &list)).unwrap();
    let files: Vec<_> = manifests.iter().flat_map(|m| block_on(world.lake.alive(&loaded, m)).unwrap()).collect();
    assert_eq!(files.len(), 1);
    let file = files[0].data_file();
    assert_eq!(file.split_offsets(), Some(&[4][..]));
    let nulls = file.null_value_counts().iter().map(|(id, n)| (*id, *n)).filter(|(id, _)| *id > 5).collect();
    (nulls, file.column_sizes().keys().copied().filter(|id| *id > 5).collect())
}

/// The text of [`rows`] for the rows of one file.
fn told(world: &World, name: &str) -> Vec<String> {
    rows(world).into_iter().filter(|(row, _)| row.starts_with(name)).map(|(_, told)| told).collect()
}

/// Appends files as the second entry of the shard.
fn commit(world: &World, files: &[TableFile]) -> CommitReport {
    let shard = ShardId::new("s");
    block_on(world.lake.commit(TABLE, &[EntryFiles { shard: &shard, n: 2, files }])).unwrap()
}

fn paths(world: &World) -> Vec<String> {
    block_on(world.lake.live_files(TABLE)).unwrap().files.into_iter().map(|file| file.path).collect()
}

/// The columns of the group, as the table gave them: `outcome` 6, `tags` 7 with 8, `port` 9.
fn columns(world: &World) -> Vec<FileColumn> {
    let ids = ask(&world.lake, &[Group::Attributes]).unwrap();
    ["outcome", "tags", "port"].map(|name| ids.get(name).unwrap().clone()).to_vec()
}

fn ids(world: &World) -> Vec<(i32, String)> {
    world.metadata().current_schema().as_struct().fields()[5..].iter().map(|f| (f.id, f.name.clone())).collect()
}

const WHOLE: [&str; 3] =
    ["outcome=one port=1 tags=[one,null]", "outcome=null port=null tags=null", "outcome=three port=70000 tags=[three]"];

/// Commits a file with all three columns after `edit` by others. Returns the world, the notes of the report, the rows, and whether the file
/// was appended as it is.
fn after(edit: impl FnOnce(&mut Vec<NestedFieldRef>, i32)) -> (World, Vec<String>, Vec<String>, bool) {
    let world = World::new();
    let file = file(&world, "f", &columns(&world));
    world.foreign(edit, &[]);
    let report = commit(&world, std::slice::from_ref(&file));
    assert_eq!((report.files, report.rows), (1, ROWS as u64));
    // The file that the entry names is unchanged, whatever the table holds.
    assert_eq!(sha256_hex(&block_on(world.store.get(&file.path)).unwrap()), file.sha256);
    let as_it_is = paths(&world) == [file.path];
    assert_eq!(report.notes.is_empty(), as_it_is, "{:?}", report.notes);
    let told = told(&world, "f");
    (world, report.notes, told, as_it_is)
}

fn edit(fields: &mut [NestedFieldRef], name: &str, edit: impl FnOnce(&mut NestedField)) {
    let field = fields.iter_mut().find(|field| field.name == name).unwrap();
    edit(Arc::make_mut(field));
}

#[test]
fn a_file_that_fits_is_appended_as_it_is() {
    let (_, _, told, as_it_is) = after(|fields, next| fields.push(text(next, "their_note")));
    assert!(as_it_is);
    assert_eq!(told, WHOLE);
    // Wider than our type: every reader promotes it, including the bounds.
    let wider = |fields: &mut Vec<NestedFieldRef>, _: i32| {
        edit(fields, "port", |field| *field.field_type = primitive(PrimitiveType::Long));
    };
    let (_, _, told, as_it_is) = after(wider);
    assert!(as_it_is);
    assert_eq!(told, WHOLE);
}

#[test]
fn a_column_that_was_renamed_or_dropped_comes_again_and_the_file_is_written_under_its_new_id() {
    let rename =
        |fields: &mut Vec<NestedFieldRef>, _: i32| edit(fields, "outcome", |field| field.name = "result".into());
    let drop = |fields: &mut Vec<NestedFieldRef>, _: i32| fields.retain(|field| field.name != "outcome");
    let (world, notes, told, as_it_is) = after(rename);
    assert!(!as_it_is);
    assert_eq!(told, WHOLE);
    let expected = [(6, "result"), (7, "tags"), (9, "port"), (10, "outcome")].map(|(id, name)| (id, name.to_owned()));
    assert_eq!(ids(&world), expected);
    assert!(notes[0].contains("/f.parquet was written anew as") && notes[0].contains("has outcome under another id"));
    assert!(paths(&world)[0].contains("/fit-"));
    // No statistic of the file is under the id that now belongs to another column. For a list, its element is counted.
    assert_eq!(described(&world), (BTreeMap::from([(8, 2), (9, 1), (10, 1)]), BTreeSet::from([8, 9, 10])));
    let (world, _, told, _) = after(drop);
    assert_eq!(told, WHOLE);
    assert_eq!(ids(&world), expected[1..]);
    // With the description from the program's list, if it has one.
    let added = world.metadata().current_schema().field_by_name("outcome").unwrap().doc.clone();
    assert_eq!(added.as_deref(), Some("what it says"));
}

#[test]
fn a_name_that_is_taken_is_left_out_and_the_rest_of_each_row_is_written() {
    let another = |fields: &mut Vec<NestedFieldRef>, next: i32| {
        fields.retain(|field| field.name != "outcome");
        fields.push(NestedField::optional(next, "outcome", primitive(PrimitiveType::Int)).into());
    };
    let required = |fields: &mut Vec<NestedFieldRef>, _: i32| edit(fields, "outcome", |field| field.required = true);
    let case =
        |fields: &mut Vec<NestedFieldRef>, _: i32| edit(fields, "outcome", |field| field.name = "Outcome".into());
    type Edit = fn(&mut Vec<NestedFieldRef>, i32);
    let all: [(Edit, &str); 3] = [(another, "it has type int"), (required, "it is required"), (case, "as Outcome")];
    for (edit, why) in all {
        let (world, notes, told, as_it_is) = after(edit);
        assert!(!as_it_is);
        assert_eq!(told, WHOLE.map(|row| row.split_once(' ').unwrap().1), "{why}");
        assert!(notes[0].contains("2 values of outcome are left out") && notes[0].contains(why), "{}", notes[0]);
        assert!(!ids(&world).iter().any(|(id, _)| *id > 10), "nothing is added: {:?}", ids(&world));
        assert_eq!(described(&world), (BTreeMap::from([(8, 2), (9, 1)]), BTreeSet::from([8, 9])), "{why}");
    }
}

/// The id of our column belonged to another before: what was written under it must not be read as the other's.
#[test]
fn an_id_that_another_engine_had_given_before_is_not_ours() {
    let world = World::new();
    let text = |id| FileColumn { name: "outcome".to_owned(), id, kind: primitive(PrimitiveType::String) };
    // Written by a program for which 6 was the next id.
    let file = file(&world, "f", &[text(6)]);
    world.foreign(|fields, next| fields.push(crate::commit::test_world::text(next, "their_note")), &[]);
    let report = commit(&world, &[file]);
    assert_eq!(report.notes.len(), 1);
    let expected = [(6, "their_note"), (7, "outcome")].map(|(id, name)| (id, name.to_owned()));
    assert_eq!(ids(&world), expected);
    assert_eq!(told(&world, "f"), ["outcome=one", "outcome=null", "outcome=three"]);
    let live = &block_on(world.lake.live_files(TABLE)).unwrap().files[0];
    assert_eq!(live.bytes, block_on(world.store.size(&live.path)).unwrap().unwrap());
}

#[test]
fn nested_columns_are_compared_and_written_part_by_part() {
    let world = World::new();
    let column = FileColumn { name: "evidence".to_owned(), id: 6, kind: evidence(7, REASON) };
    let first = file(&world, "f", std::slice::from_ref(&column));
    let rows = |reason: i32, points: i32| {
        let part = |text: &str, number: &str| format!("{{reason#{reason}={text} points#{points}={number}}}");
        [
            format!("evidence=[{},{}]", part("one", "1"), part("null", "null")),
            "evidence=null".to_owned(),
            format!("evidence=[{}]", part("three", "70000")),
        ]
    };
    // The column is added as the file has it.
    assert!(commit(&world, &[first]).notes.is_empty());
    assert_eq!(told(&world, "f"), rows(8, 9));
    // Others rename a part: the part is added to the column again, and gets the values.
    let renamed = evidence(7, &[("because", PrimitiveType::String), ("points", PrimitiveType::Int)]);
    world.foreign(|fields, _| edit(fields, "evidence", |field| *field.field_type = renamed), &[]);
    let second = file(&world, "g", std::slice::from_ref(&column));
    let shard = ShardId::new("s");
    let report = block_on(world.lake.commit(TABLE, &[EntryFiles { shard: &shard, n: 3, files: &[second] }])).unwrap();
    assert_eq!(report.notes.len(), 1);
    // The part that others renamed is null.
    let rows = rows(10, 9).map(|row| {
        let parts = row.replace("reason#10=one points#9=1", "because#8=null points#9=1 reason#10=one");
        let parts = parts.replace("reason#10=null points#9=null", "because#8=null points#9=null reason#10=null");
        parts.replace("reason#10=three points#9=70000", "because#8=null points#9=70000 reason#10=three")
    });
    assert_eq!(told(&world, "g"), rows);
    let metadata = world.metadata();
    let named = |name: &str| metadata.current_schema().field_id_by_name(name);
    assert_eq!(
        (named("evidence.because"), named("evidence.reason"), named("evidence.points")),
        (Some(8), Some(10), Some(9))
    );
    // A part has another type: the whole column is left out.
    let other = evidence(7, &[("reason", PrimitiveType::Double), ("points", PrimitiveType::Int)]);
    world.foreign(|fields, _| edit(fields, "evidence", |field| *field.field_type = other), &[]);
    let third = file(&world, "h", &[column]);
    let report = block_on(world.lake.commit(TABLE, &[EntryFiles { shard: &shard, n: 4, files: &[third] }])).unwrap();
    assert!(report.notes[0].contains("2 values of evidence are left out"), "{:?}", report.notes);
    assert_eq!(told(&world, "h"), ["", "", ""]);
}

#[test]
fn a_failure_at_any_step_neither_loses_nor_doubles_rows() {
    for goes_on in [true, false] {
        for nth in 0.. {
            let world = World::new();
            let files = ["f", "g"].map(|name| file(&world, name, &columns(&world)));
            world.foreign(|fields, _| fields.retain(|field| field.name != "outcome"), &[]);
            let steps = Arc::new(AtomicUsize::new(0));
            let counter = steps.clone();
            world.fail(move |_| {
                let at = counter.fetch_add(1, Ordering::Relaxed);
                if at == nth || (at > nth && !goes_on) { Err("reset".to_owned()) } else { Ok(()) }
            });
            let shard = ShardId::new("s");
            let outcome = block_on(world.lake.commit(TABLE, &[EntryFiles { shard: &shard, n: 2, files: &files }]));
            world.heal();
            if let Err(error) = outcome {
                assert!(matches!(error.remedy(), Remedy::Retry | Remedy::Look), "step {nth}: {error}");
            }
            commit(&world, &files);
            assert_eq!(
                (told(&world, "f"), told(&world, "g")),
                (WHOLE.map(str::to_owned).to_vec(), WHOLE.map(str::to_owned).to_vec()),
                "step {nth}"
            );
            assert_eq!(ids(&world).len(), 3, "step {nth}");
            if steps.load(Ordering::Relaxed) <= nth {
                break;
            }
            assert!(nth < 200, "it never succeeds");
        }
    }
}

#[test]
fn a_file_is_written_anew_once_however_often_others_are_first() {
    let world = World::new();
    let file = file(&world, "f", &columns(&world));
    world.foreign(|fields, _| fields.retain(|field| field.name != "outcome"), &[]);
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let (saw, other) = (
        seen.clone(),
        World {
            lake: world.other(),
            store: world.store.clone(),
            catalog: world.catalog.clone(),
            clock: world.clock.clone(),
        },
    );
    let probe = move |point: &str| {
        let mut saw = saw.lock().unwrap();
        saw.push(point.split(':').next().unwrap().to_owned());
        if point.starts_with("table swap before") && saw.iter().filter(|p| *p == "table swap before").count() < 3 {
            // On its own thread, because executors do not nest.
            let n = saw.len().to_string();
            std::thread::scope(|scope| scope.spawn(|| other.foreign(|_, _| {}, &[("n", &n)])).join().unwrap());
        }
    };
    let lake = world.lake.clone().with_probe(Arc::new(probe));
    let shard = ShardId::new("s");
    let report = block_on(lake.commit(TABLE, &[EntryFiles { shard: &shard, n: 2, files: &[file] }])).unwrap();
    assert_eq!((report.attempts, report.notes.len()), (3, 1));
    let seen = seen.lock().unwrap();
    let times = |point: &str| seen.iter().filter(|seen| *seen == point).count();
    assert_eq!((times("columns swap before"), times("fit file before"), times("table swap before")), (1, 1, 3));
    assert_eq!(told(&world, "f"), WHOLE);
}

#[test]
fn a_file_that_is_gone_is_named() {
    let world = World::new();
    let file = file(&world, "f", &columns(&world));
    world.foreign(|fields, _| fields.retain(|field| field.name != "outcome"), &[]);
    block_on(world.store.delete(&file.path)).unwrap();
    let shard = ShardId::new("s");
    let entries = [EntryFiles { shard: &shard, n: 2, files: std::slice::from_ref(&file) }];
    let error = block_on(world.lake.commit(TABLE, &entries)).unwrap_err();
    assert!(matches!(&error, LakeError::Damaged { file: named, .. } if *named == file.path), "{error}");
}
