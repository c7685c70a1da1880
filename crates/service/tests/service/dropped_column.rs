//! Somebody drops a later column, and it is added again: what merging does with the older files, and what the audit says.

use crate::small_lake::{SmallLake, options};
use authpulse_audit::verify::{VerifyOptions, VerifyReport, verify};
use authpulse_event::EventModel;
use authpulse_lake::maintain::Memory;
use authpulse_lake::store::file_io;
use authpulse_lake::{Lake, MaintainSettings, MemoryCatalog, Table, TablePointers, maintain};
use authpulse_service::committer::commit_all;
use iceberg::spec::{NestedFieldRef, Schema, TableMetadataBuilder};
use std::sync::Arc;

/// Events of each run, all of one day; every second one has a site.
const EVENTS: u64 = 600;

struct World {
    lake: SmallLake,
    catalog: Arc<MemoryCatalog>,
}

impl World {
    /// A lake of one run whose table has the column.
    async fn new() -> World {
        let mut lake = SmallLake::new();
        let catalog = Arc::new(MemoryCatalog::new());
        lake.env.lake = Arc::new(Lake::new(lake.env.store.clone(), catalog.clone()));
        let world = World { lake, catalog };
        world.run(0, true).await;
        world
    }

    /// Loads some events and commits them. The last run seals the lake, so that the day may be merged.
    async fn run(&self, from: u64, keep_open: bool) {
        let line = |n: u64| {
            let site = if n.is_multiple_of(2) { format!(",\"site\":\"s{}\"", n % 7) } else { String::new() };
            format!("{{\"time\":{},\"user\":\"U{}\",\"computer\":\"C{}\"{site}}}\n", 10 + n * 10, n % 5, n % 3)
        };
        let file = self.lake.write_input(&format!("{from}.json"), &(from..from + EVENTS).map(line).collect::<Vec<_>>());
        let mut options = (*options()).clone();
        options.engine.time.event_model = EventModel::Attributes;
        self.lake.backfill(&[file], &Arc::new(options), keep_open).await;
        commit_all(&self.lake.env).await.unwrap();
    }

    /// Changes the table as another engine does.
    async fn alter(&self, change: impl FnOnce(TableMetadataBuilder) -> iceberg::Result<TableMetadataBuilder>) {
        let loaded = self.lake.env.lake.load(Table::CURATED).await.unwrap();
        let builder = loaded.metadata.clone().into_builder(Some(loaded.location.clone()));
        let metadata = change(builder).unwrap().build().unwrap().metadata;
        let location = loaded.location.parse::<iceberg::MetadataLocation>().unwrap().with_next_version().to_string();
        metadata.write_to(&file_io(self.lake.env.store.clone()), &location.parse().unwrap()).await.unwrap();
        let schema = metadata.current_schema();
        self.catalog.swap(Table::CURATED.name(), &loaded.location, &location, schema).await.unwrap();
    }

    async fn fields(&self) -> Vec<NestedFieldRef> {
        let loaded = self.lake.env.lake.load(Table::CURATED).await.unwrap();
        loaded.metadata.current_schema().as_struct().fields().to_vec()
    }

    async fn edit(&self, edit: impl FnOnce(&mut Vec<NestedFieldRef>)) {
        let mut fields = self.fields().await;
        edit(&mut fields);
        let schema = Schema::builder().with_fields(fields).build().unwrap();
        self.alter(|builder| builder.add_current_schema(schema)).await;
    }

    async fn id(&self) -> i32 {
        self.fields().await.iter().find(|field| field.name == "site").unwrap().id
    }

    async fn merge(&self) {
        let settings = MaintainSettings { min_files: 2, ..MaintainSettings::default() };
        let (env, mut memory) = (&self.lake.env, Memory::default());
        let report = maintain(&env.lake, &*env.journal, &settings, false, &mut memory).await;
        assert!(report.is_complete(), "{report:?}");
        assert!(report.tables[0].compacted.before.files > 1, "{report:?}");
    }

    async fn audit(&self) -> VerifyReport {
        verify(&self.lake.env, &VerifyOptions::default()).await.unwrap()
    }
}

fn site_of(fields: &mut [NestedFieldRef]) -> &mut NestedFieldRef {
    fields.iter_mut().find(|field| field.name == "site").unwrap()
}

#[tokio::test]
async fn values_that_went_with_a_dropped_column_are_told_and_no_difference() {
    let world = World::new().await;
    let before = world.id().await;
    world.edit(|fields| fields.retain(|field| field.name != "site")).await;
    world.run(EVENTS, false).await;
    assert!(world.id().await > before, "it was added again");
    // Files that are not merged are read by what their entries say of them.
    let report = world.audit().await;
    assert_eq!((report.difference.clone(), report.notes.len()), (None, 0), "{report}");
    world.merge().await;
    let report = world.audit().await;
    assert_eq!(report.difference, None, "{report}");
    let told = format!("auth_events_curated: {} values of site went when somebody dropped the column", EVENTS / 2);
    assert!(report.notes.iter().any(|note| note.starts_with(&told)), "{:?}", report.notes);
    // Removing the former schemas removes what explains the column.
    let metadata = world.lake.env.lake.load(Table::CURATED).await.unwrap().metadata;
    let old: Vec<i32> = metadata.schemas_iter().map(|schema| schema.schema_id()).collect();
    let old: Vec<i32> = old.into_iter().filter(|id| *id != metadata.current_schema_id()).collect();
    world.alter(|builder| builder.remove_schemas(&old)).await;
    let difference = world.audit().await.difference.expect("nothing tells that it was dropped");
    assert!(difference.to_string().contains("rows were changed when files were replaced"), "{difference}");
}

#[tokio::test]
async fn values_under_the_new_name_of_a_renamed_column_are_all_there() {
    let world = World::new().await;
    world.edit(|fields| Arc::make_mut(site_of(fields)).name = "branch".to_owned()).await;
    world.run(EVENTS, false).await;
    world.merge().await;
    let report = world.audit().await;
    assert_eq!(report.difference, None, "{report}");
    assert!(report.notes.iter().all(|note| !note.contains("site")), "{:?}", report.notes);
    // Then that column is dropped. Merged files still hold its values under its id, but nothing reads them any more.
    world.edit(|fields| fields.retain(|field| field.name != "branch")).await;
    let report = world.audit().await;
    assert_eq!(report.difference, None, "{report}");
    let told = format!("auth_events_curated: {} values of site went when somebody dropped the column", EVENTS / 2);
    assert!(report.notes.iter().any(|note| note.starts_with(&told)), "{:?}", report.notes);
}

#[tokio::test]
async fn values_that_a_file_written_anew_keeps_are_compared() {
    let world = World::new().await;
    // Dropped while entries with it are not appended yet: their files are written again under the new id.
    world.edit(|fields| fields.retain(|field| field.name != "site")).await;
    world.run(EVENTS, true).await;
    world.run(2 * EVENTS, false).await;
    world.merge().await;
    let report = world.audit().await;
    assert_eq!(report.difference, None, "{report}");
    let told = format!("auth_events_curated: {} values of site went", EVENTS / 2);
    assert!(report.notes.iter().any(|note| note.starts_with(&told)), "only those of before: {:?}", report.notes);
}
