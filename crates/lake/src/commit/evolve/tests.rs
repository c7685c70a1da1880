use super::*;
use crate::commit::EntryFiles;
use crate::commit::test_world::{TABLE, World, ask, text};
use crate::fault::Moment;
use crate::schema::{APPLIED, Kind, REQUIRES};
use authpulse_event::ShardId;
use futures::executor::block_on;
use iceberg::spec::{NestedField, PrimitiveType, TableMetadata};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn id(ids: &ColumnIds, name: &str) -> Option<i32> {
    ids.get(name).map(|column| column.id)
}

fn names(metadata: &TableMetadata) -> Vec<(i32, String)> {
    let fields = metadata.current_schema().as_struct().fields();
    fields.iter().skip(TABLE.schema().as_struct().fields().len()).map(|f| (f.id, f.name.clone())).collect()
}

fn named(names: &[(i32, &str)]) -> Vec<(i32, String)> {
    names.iter().map(|(id, name)| (*id, (*name).to_owned())).collect()
}

#[test]
fn a_group_comes_in_one_commit_of_the_schema_alone() {
    let world = World::new();
    world.foreign(|fields, next| fields.push(text(next, "their_note")), &[("owner", "soc")]);
    let before = world.metadata();
    let swaps = Arc::new(AtomicUsize::new(0));
    let counted = swaps.clone();
    world.fail(move |step| {
        counted.fetch_add(usize::from((step.operation, step.moment) == ("swap", Moment::Before)), Ordering::Relaxed);
        Ok(())
    });
    let ids = ask(&world.lake, &[Group::Attributes]).unwrap();
    let after = world.metadata();
    // Another engine has taken the first id after ours; a list's element has an id as well.
    assert_eq!(names(&after), named(&[(6, "their_note"), (7, "outcome"), (8, "tags"), (10, "port")]));
    assert_eq!((id(&ids, "outcome"), id(&ids, "tags"), id(&ids, "port")), (Some(7), Some(8), Some(10)));
    assert_eq!(ids.get("tags").unwrap().kind, Kind::Texts.iceberg(9));
    assert_eq!((after.last_column_id(), after.current_schema_id()), (10, before.current_schema_id() + 1));
    let doc = |name: &str| after.current_schema().field_by_name(name).unwrap().doc.clone();
    assert_eq!(doc("port").as_deref(), Some("what it says"));
    assert_eq!((id(&ids, "is_off_hours"), ids.taken().count(), swaps.load(Ordering::Relaxed)), (None, 0, 1));
    assert_eq!(after.current_snapshot_id(), before.current_snapshot_id());
    assert_eq!(
        (&after.properties()[APPLIED], &after.properties()["owner"]),
        (&r#"{"s":1}"#.to_owned(), &"soc".to_owned())
    );
    assert_eq!(after.properties(), before.properties());
    // The rule's column is added when a writer asks for it.
    let ids = ask(&world.lake, &[Group::Rule("OFF_HOURS")]).unwrap();
    assert_eq!((id(&ids, "is_off_hours"), id(&ids, "outcome")), (Some(11), Some(7)));
    assert_eq!(swaps.load(Ordering::Relaxed), 2);
    // Commits still work.
    let shard = ShardId::new("s");
    block_on(world.lake.commit(TABLE, &[EntryFiles { shard: &shard, n: 2, files: &[] }])).unwrap();
    assert_eq!(names(&world.metadata()).len(), 5);
}

#[test]
fn ids_are_remembered_for_a_minute() {
    let world = World::new();
    let ids = ask(&world.lake, &[Group::Attributes]).unwrap();
    // Others drop a column and take a name. That is not seen yet, because the table is not read.
    world.foreign(|fields, _| fields.retain(|f| f.name != "outcome"), &[]);
    world.fail(|step| Err(format!("{step} is not to be asked")));
    world.clock.now.fetch_add(COLUMNS_KNOWN_FOR_MS - 1, Ordering::Relaxed);
    assert_eq!(ask(&world.lake, &[Group::Attributes]).unwrap(), ids);
    // A missing column cannot be looked up; known ones are still used.
    assert!(ask(&world.lake, &[Group::Rule("OFF_HOURS")]).is_err());
    world.clock.now.fetch_add(1, Ordering::Relaxed);
    assert_eq!(ask(&world.lake, &[Group::Attributes]).unwrap(), ids);
    world.heal();
    world.clock.now.fetch_add(COLUMNS_KNOWN_FOR_MS, Ordering::Relaxed);
    let now = ask(&world.lake, &[Group::Attributes]).unwrap();
    assert_eq!((id(&ids, "outcome"), id(&now, "outcome")), (Some(6), Some(10)));
    assert_eq!(id(&now, "port"), id(&ids, "port"));
}

#[test]
fn a_name_that_is_taken_is_told_and_the_others_come() {
    let world = World::new();
    let edit = |fields: &mut Vec<NestedFieldRef>, next: i32| {
        fields.push(text(next, "Outcome"));
        fields.push(text(next + 1, "port"));
    };
    world.foreign(edit, &[]);
    let ids = ask(&world.lake, &[Group::Attributes]).unwrap();
    let taken: Vec<_> = ids.taken().collect();
    assert_eq!(taken.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["outcome", "port"]);
    assert!(taken[0].1.contains("as Outcome") && taken[1].1.contains("type string"), "{taken:?}");
    assert_eq!((id(&ids, "outcome"), id(&ids, "port"), id(&ids, "tags")), (None, None, Some(8)));
    // Asking again makes no new commit.
    let location = block_on(world.lake.load(TABLE)).unwrap().location;
    ask(&world.other(), &[Group::Attributes]).unwrap();
    assert_eq!(block_on(world.lake.load(TABLE)).unwrap().location, location);
}

#[test]
fn a_column_that_was_dropped_comes_again_under_a_new_id_and_a_wider_one_stays() {
    let world = World::new();
    ask(&world.lake, &[Group::Attributes]).unwrap();
    let edit = |fields: &mut Vec<NestedFieldRef>, _: i32| {
        fields.retain(|f| f.name != "outcome");
        let port = fields.iter_mut().find(|f| f.name == "port").unwrap();
        *port = NestedField::optional(port.id, "port", Type::Primitive(PrimitiveType::Long)).into();
    };
    world.foreign(edit, &[]);
    let ids = ask(&world.other(), &[Group::Attributes]).unwrap();
    assert_eq!((id(&ids, "outcome"), id(&ids, "port")), (Some(10), Some(9)));
    // Files continue in our type.
    assert_eq!(ids.get("port").unwrap().kind, Type::Primitive(PrimitiveType::Int));
}

/// However often and wherever it fails, the table is right, and the next call completes the work.
#[test]
fn a_failure_at_any_step_leaves_a_table_that_is_right() {
    for goes_on in [true, false] {
        for nth in 0.. {
            let world = World::new();
            let steps = Arc::new(AtomicUsize::new(0));
            let counter = steps.clone();
            world.fail(move |_| {
                let at = counter.fetch_add(1, Ordering::Relaxed);
                if at == nth || (at > nth && !goes_on) { Err("reset".to_owned()) } else { Ok(()) }
            });
            let first = ask(&world.lake, &[Group::Attributes]);
            world.heal();
            if let Err(error) = &first {
                assert!(matches!(error.remedy(), Remedy::Retry | Remedy::Look), "step {nth}: {error}");
            }
            let between = world.metadata();
            assert!(matches!(names(&between).len(), 0 | 3), "step {nth}: all of them or none");
            assert_eq!(between.properties()[APPLIED], r#"{"s":1}"#);
            let ids = ask(&world.other(), &[Group::Attributes]).unwrap();
            assert_eq!(names(&world.metadata()), named(&[(6, "outcome"), (7, "tags"), (9, "port")]), "step {nth}");
            assert!(first.map_or(true, |first| first == ids), "step {nth}");
            if steps.load(Ordering::Relaxed) <= nth {
                break;
            }
            assert!(nth < 100, "it never succeeds");
        }
    }
}

#[test]
fn whoever_meets_a_conflict_finds_the_columns_there() {
    let world = World::new();
    let (other, met) = (world.other(), AtomicUsize::new(0));
    let probe = move |point: &str| {
        assert!(point.starts_with("columns swap"), "{point}");
        if met.fetch_add(1, Ordering::Relaxed) == 0 {
            // On its own thread, because executors do not nest.
            std::thread::scope(|scope| {
                scope.spawn(|| ask(&other, &[Group::Attributes, Group::Rule("OFF_HOURS")]).unwrap()).join().unwrap()
            });
        }
    };
    let ids = ask(&world.lake.clone().with_probe(Arc::new(probe)), &[Group::Attributes]).unwrap();
    let expected = named(&[(6, "outcome"), (7, "is_off_hours"), (8, "tags"), (10, "port")]);
    assert_eq!((names(&world.metadata()), id(&ids, "port")), (expected, Some(10)));
    // A table that always changes is reported.
    let world = World::new();
    let settings = crate::CommitSettings { attempts: 2, ..Default::default() };
    let (writer, busy) = (World { lake: world.other(), ..world }, AtomicUsize::new(0));
    let lake = writer.other().with_settings(settings);
    let lake = lake.with_probe(Arc::new(move |_: &str| {
        let value = busy.fetch_add(1, Ordering::Relaxed).to_string();
        std::thread::scope(|scope| scope.spawn(|| writer.foreign(|_, _| {}, &[("n", &value)])).join().unwrap());
    }));
    let error = ask(&lake, &[Group::Attributes]).unwrap_err();
    assert!(matches!(error, LakeError::Contended { attempts: 2, .. }), "{error}");
}

#[test]
fn the_tables_mapping_of_names_gains_them_too() {
    let world = World::new();
    // Written by another engine; the column `was` had the name `outcome` before.
    let theirs = r#"[{"field-id":1,"names":["date"]},{"field-id":6,"names":["outcome","was"],"fields":null}]"#;
    world.foreign(|fields, next| fields.push(text(next, "was")), &[(DEFAULT_SCHEMA_NAME_MAPPING, theirs)]);
    ask(&world.lake, &[Group::Attributes]).unwrap();
    let mapping: Value = serde_json::from_str(&world.metadata().properties()[DEFAULT_SCHEMA_NAME_MAPPING]).unwrap();
    let expected = json!([
        { "field-id": 1, "names": ["date"] },
        { "field-id": 6, "names": ["was"], "fields": null },
        { "field-id": 7, "names": ["outcome"] },
        { "field-id": 8, "names": ["tags"], "fields": [{ "field-id": 9, "names": ["element"] }] },
        { "field-id": 10, "names": ["port"] },
    ]);
    assert_eq!(mapping, expected);
    let read: iceberg::spec::NameMapping = serde_json::from_value(mapping).unwrap();
    assert_eq!(read.fields().len(), 5);
    // A text that is not a mapping is left as it is.
    assert_eq!(with_names("{", &[], 0), None);
}

#[test]
fn a_table_that_needs_more_is_read_and_not_changed() {
    let world = World::new();
    world.foreign(|_, _| {}, &[(REQUIRES, " , ledger2,other")]);
    let shard = ShardId::new("s");
    let empty = [EntryFiles { shard: &shard, n: 2, files: &[] }];
    let expiry = crate::commit::expire::Expiry { keep: 1, before_ms: 0, needed: &Default::default() };
    let refused = [
        block_on(world.lake.commit(TABLE, &empty)).unwrap_err(),
        ask(&world.lake, &[Group::Attributes]).unwrap_err(),
        block_on(world.lake.change(TABLE, crate::commit::change::Change::Expire(expiry))).unwrap_err(),
    ];
    for error in refused {
        assert!(error.is_too_new(), "{error}");
        let words = "table host_popularity_daily needs a program that knows ledger2: run a newer version of authpulse";
        assert_eq!(error.to_string(), words);
    }
    assert_eq!(block_on(world.lake.live_files(TABLE)).unwrap().applied[&shard], 1);
    // Even if its ids were known before.
    let world = World::new();
    ask(&world.lake, &[Group::Attributes]).unwrap();
    world.foreign(|_, _| {}, &[(REQUIRES, "ledger2")]);
    world.clock.now.fetch_add(COLUMNS_KNOWN_FOR_MS, Ordering::Relaxed);
    assert!(ask(&world.lake, &[Group::Attributes]).unwrap_err().is_too_new());
    // Nothing is required.
    world.foreign(|_, _| {}, &[(REQUIRES, " ")]);
    ask(&world.lake, &[Group::Attributes]).unwrap();
}
