//! The contracts of store, journal, catalog and lock, over the S3, Glue and DynamoDB of an emulator.

#[path = "../../lake/tests/lake/contract/mod.rs"]
mod contract;
mod support;

use authpulse_aws::{DynamoDbCommitterLock, GlueCatalog, LOCK_TABLE};
use authpulse_event::ShardId;
use authpulse_lake::catalog::SwapOutcome;
use authpulse_lake::{EntryFiles, Journal, Lake, ObjectJournal, ObjectStore, PutOutcome, Table, TablePointers};
use bytes::Bytes;
use contract::{JournalContract, StoreContract, Wait};
use iceberg::spec::{ListType, NestedField, PrimitiveType, Schema, StructType, Type};
use std::sync::Arc;
use support::Emulator;

const STORE: &[(&str, StoreContract)] = &[
    ("put", contract::a_file_is_put_once_and_read_back),
    ("missing", contract::a_missing_file_is_told_from_a_failure),
    ("copy", contract::a_copy_survives_its_origin),
    ("listings", contract::listings_go_by_prefix_in_order_of_path),
    ("paths", contract::paths_cannot_leave_the_lake_and_uris_lead_back),
    ("threads", contract::threads_that_put_one_name_have_one_winner),
];

const JOURNAL: &[(&str, JournalContract)] = &[
    ("once", contract::an_entry_is_created_once),
    ("order", contract::entries_are_listed_by_shard_and_in_order),
    ("folding", contract::folded_entries_go_and_the_newest_checkpoint_stands_for_them),
    ("followers", contract::the_highest_registration_of_a_follower_counts_and_three_stay),
    ("processes of a follower", contract::processes_of_one_follower_get_numbers_of_their_own),
    ("one winner", contract::writers_of_one_number_have_one_winner),
];

fn wait(emulator: &Emulator) -> Wait {
    Wait(Some(emulator.runtime.handle().clone()))
}

#[test]
fn files_and_journals_on_s3_keep_the_contracts() {
    let emulator = Emulator::start();
    let wait = wait(&emulator);
    for (name, test) in STORE {
        eprintln!("store: {name}");
        test(&wait, &emulator.store("contracts", &format!("store/{name}")));
    }
    for (name, test) in JOURNAL {
        eprintln!("journal: {name}");
        let store = emulator.store("contracts", &format!("journal-{}", name.replace(' ', "-")));
        test(&wait, &ObjectJournal::new(Arc::new(store)));
    }
}

#[test]
fn large_files_go_up_in_parts_and_long_listings_come_in_pages() {
    let emulator = Emulator::start();
    let wait = wait(&emulator);
    let store = emulator.store("large", "lake");
    let body: Bytes = (0..20u32 << 20).map(|i| (i / 251) as u8).collect::<Vec<u8>>().into();
    wait.on(store.put_new("a/large", body.clone())).unwrap();
    assert_eq!(wait.on(store.get("a/large")).unwrap(), body);
    assert_eq!(wait.on(store.get_range("a/large", 9_000_000..9_000_010)).unwrap(), body.slice(9_000_000..9_000_010));
    let again = wait.on(store.put_new("a/large", body.slice(..17 << 20))).unwrap_err();
    assert!(matches!(again, authpulse_lake::StoreError::AlreadyExists { .. }), "{again}");
    assert_eq!(wait.on(store.size("a/large")).unwrap(), Some(body.len() as u64));
    // Nothing is left of the refused upload.
    let config = aws_sdk_s3::config::Builder::from(emulator.aws().sdk()).force_path_style(true).build();
    let uploads = aws_sdk_s3::Client::from_conf(config).list_multipart_uploads().bucket("large").send();
    assert!(wait.on(uploads).unwrap().uploads().is_empty());

    let journal = ObjectJournal::new(Arc::new(store.clone()));
    let shard = ShardId::new("s");
    wait.on(async {
        let puts = (1..=1_203).map(|n| journal.put(&shard, n, Bytes::from_static(b"x")));
        futures::future::join_all(puts)
            .await
            .into_iter()
            .for_each(|outcome| assert_eq!(outcome.unwrap(), PutOutcome::Created));
    });
    let fresh = ObjectJournal::new(Arc::new(store));
    assert_eq!(wait.on(fresh.tail(&shard)).unwrap(), Some(1_203));
    assert_eq!(wait.on(fresh.list(&shard, 1, 2_000)).unwrap().len(), 1_203);
}

#[test]
fn pointers_in_glue_keep_the_contract_and_what_others_set() {
    let emulator = Emulator::start();
    let wait = wait(&emulator);
    let daily = Table::DAILY.schema();
    let catalog = |database: &str| GlueCatalog::new(&emulator.aws(), database).unwrap();
    let refused = wait.on(catalog("nowhere").create("t", "s3://b/t/metadata/1.json", daily)).unwrap_err();
    assert!(refused.to_string().contains("there is no Glue database nowhere"), "{refused}");
    for _ in 0..2 {
        wait.on(catalog("contracts").ensure_database("s3://contracts/warehouse")).unwrap();
        wait.on(catalog("contracts").ensure_raw("s3://contracts/lake")).unwrap();
    }
    contract::a_pointer_moves_only_from_where_it_was_seen(&wait, &catalog("contracts"));

    // A change by DDL between two commits is kept. One that another committer made in between is a conflict.
    let glue = aws_sdk_glue::Client::new(emulator.aws().sdk());
    let (one, two) = (catalog("contracts"), catalog("contracts"));
    let (first, second, third) = ("s3://b/u/metadata/1.json", "s3://b/u/metadata/2.json", "s3://b/u/metadata/3.json");
    wait.on(one.create("u", first, daily)).unwrap();
    assert_eq!(wait.on(one.load("u")).unwrap().as_deref(), Some(first));
    let table = || wait.on(glue.get_table().database_name("contracts").name("u").send()).unwrap().table.unwrap();
    let mut parameters = table().parameters.unwrap();
    parameters.insert("owner_team".to_owned(), "soc".to_owned());
    let input = aws_sdk_glue::types::TableInput::builder()
        .name("u")
        .set_storage_descriptor(table().storage_descriptor)
        .set_parameters(Some(parameters));
    wait.on(glue.update_table().database_name("contracts").table_input(input.build().unwrap()).send()).unwrap();
    assert_eq!(
        wait.on(one.swap("u", first, second, daily)).unwrap(),
        SwapOutcome::Conflict,
        "the version that was read is gone"
    );
    assert_eq!(wait.on(two.swap("u", first, second, daily)).unwrap(), SwapOutcome::Swapped);
    assert_eq!(table().parameters.unwrap()["owner_team"], "soc");
    assert_eq!(wait.on(one.swap("u", first, third, daily)).unwrap(), SwapOutcome::Conflict);
    // Somebody else has deleted it.
    wait.on(one.load("u")).unwrap();
    wait.on(glue.delete_table().database_name("contracts").name("u").send()).unwrap();
    assert_eq!(wait.on(one.swap("u", second, third, daily)).unwrap(), SwapOutcome::Conflict);
    assert_eq!(wait.on(one.load("u")).unwrap(), None);
    // A table that is no Iceberg table is reported, and not overwritten.
    let told = wait.on(one.load("auth_events_raw")).unwrap_err();
    assert!(told.to_string().contains("not as an Iceberg table"), "{told}");
}

/// A column that the table gains is put into Glue's list by the same update that moves the pointer. Comments that people wrote there
/// stay.
#[test]
fn glue_lists_the_columns_that_a_table_gains() {
    let emulator = Emulator::start();
    let wait = wait(&emulator);
    let catalog = GlueCatalog::new(&emulator.aws(), "columns").unwrap();
    wait.on(catalog.ensure_database("s3://columns/warehouse")).unwrap();
    let (first, second) = ("s3://b/t/metadata/1.json", "s3://b/t/metadata/2.json");
    let daily = Table::DAILY.schema();
    wait.on(catalog.create("t", first, daily)).unwrap();

    let glue = aws_sdk_glue::Client::new(emulator.aws().sdk());
    let table = || wait.on(glue.get_table().database_name("columns").name("t").send()).unwrap().table.unwrap();
    let mut storage = table().storage_descriptor.unwrap();
    storage.columns.as_mut().unwrap()[1].comment = Some("by hand".to_owned());
    let input = aws_sdk_glue::types::TableInput::builder()
        .name("t")
        .set_storage_descriptor(Some(storage))
        .set_parameters(table().parameters);
    wait.on(glue.update_table().database_name("columns").table_input(input.build().unwrap()).send()).unwrap();

    let part = NestedField::optional(9, "reason", Type::Primitive(PrimitiveType::String)).into();
    let element = NestedField::list_element(8, Type::Struct(StructType::new(vec![part])), false);
    let more = [
        NestedField::optional(6, "outcome", Type::Primitive(PrimitiveType::String)).with_doc("how it went"),
        NestedField::optional(7, "evidence", Type::List(ListType::new(element.into()))),
    ];
    let fields = daily.as_struct().fields().iter().cloned().chain(more.map(Into::into));
    let schema = Schema::builder().with_fields(fields).build().unwrap();
    wait.on(catalog.load("t")).unwrap();
    assert_eq!(wait.on(catalog.swap("t", first, second, &schema)).unwrap(), SwapOutcome::Swapped);
    let found = table();
    assert_eq!(found.parameters.as_ref().unwrap()["metadata_location"], second);
    let columns = found.storage_descriptor.unwrap().columns.unwrap();
    let told: Vec<_> = columns.iter().map(|c| (c.name(), c.r#type().unwrap(), c.comment())).collect();
    assert_eq!(told[1], ("computer_id", "string", Some("by hand")));
    assert_eq!(
        told[5..],
        [("outcome", "string", Some("how it went")), ("evidence", "array<struct<reason:string>>", None)]
    );
    assert_eq!(columns[5].parameters().unwrap()["iceberg.field.id"], "6");
}

#[test]
fn two_committers_on_glue_apply_each_entry_once() {
    let emulator = Emulator::start();
    let wait = wait(&emulator);
    let store: Arc<dyn ObjectStore> = Arc::new(emulator.store("commits", "lake"));
    let lake = || Lake::new(store.clone(), Arc::new(GlueCatalog::new(&emulator.aws(), "commits").unwrap()));
    wait.on(GlueCatalog::new(&emulator.aws(), "commits").unwrap().ensure_database("s3://commits/lake")).unwrap();
    wait.on(lake().ensure_tables()).unwrap();
    let shard = ShardId::new("s");
    const ENTRIES: u64 = 12;
    let commit = |lake: Lake| {
        let mut applied = 0;
        for n in 1..=ENTRIES {
            let entries: Vec<_> = (1..=n).map(|n| EntryFiles { shard: &shard, n, files: &[] }).collect();
            applied += wait.on(lake.commit(Table::DAILY, &entries)).unwrap().entries as u64;
        }
        applied
    };
    let applied: u64 = std::thread::scope(|scope| {
        let both: Vec<_> = [lake(), lake()].map(|lake| scope.spawn(|| commit(lake))).into();
        both.into_iter().map(|one| one.join().unwrap()).sum()
    });
    assert_eq!(applied, ENTRIES);
    let table = wait.on(lake().load(Table::DAILY)).unwrap();
    assert_eq!(table.applied().unwrap()[&shard], ENTRIES);
}

#[test]
fn a_lock_is_taken_over_only_from_the_silent() {
    let emulator = Emulator::start();
    let wait = wait(&emulator);
    let aws = emulator.aws();
    // The first worker that asks makes the table.
    contract::a_lock_is_taken_over_only_from_the_silent(&wait, &|name, lease, now| {
        Box::new(DynamoDbCommitterLock::with_clock(&aws, LOCK_TABLE, "s3://b/lake", name, lease, now))
    });
}
