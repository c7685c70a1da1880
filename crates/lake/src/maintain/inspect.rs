//! Describes a table, and how it differs from what this program would create.

use super::report::{Extent, Tally};
use crate::error::LakeError;
use crate::lake::{Lake, LoadedTable};
use crate::merging::PlanLimits;
use crate::read::{FileIds, LiveFile};
use crate::schema::{APPLIED, Column, Table};
use authpulse_event::ShardId;
use iceberg::spec::ManifestContentType;
use serde::Serialize;
use std::collections::BTreeMap;

/// A table's description.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TableInfo {
    /// Its name.
    pub table: String,
    /// Its directory (a URI).
    pub location: String,
    /// Its current metadata file (a URI).
    pub metadata_location: String,
    /// Columns: name and type.
    pub columns: Vec<(String, String)>,
    /// Partition fields: name and transform.
    pub partitioned_by: Vec<(String, String)>,
    /// Sort fields: column and transform.
    pub sorted_by: Vec<(String, String)>,
    /// Properties, except `applied`.
    pub properties: BTreeMap<String, String>,
    /// The last entry applied of each shard.
    pub applied: BTreeMap<String, u64>,
    /// Partitions that hold rows.
    pub partitions: u64,
    /// Its files, manifests and snapshots.
    pub shape: Extent,
    /// How it differs from a table that this program creates.
    pub differences: Vec<String>,
}

/// Describes a table and compares it with one that this program creates.
///
/// # Errors
/// The table does not exist, cannot be used, or cannot be read.
pub async fn inspect(lake: &Lake, table: Table, limits: &PlanLimits) -> Result<TableInfo, LakeError> {
    let loaded = lake.load(table).await?;
    let metadata = &loaded.metadata;
    let schema = metadata.current_schema();
    let column = |id: i32| schema.name_by_field_id(id).unwrap_or("?").to_owned();
    let fields = schema.as_struct().fields();
    let sort = metadata.default_sort_order();
    let (shape, files) = shape_of(lake, &loaded, limits).await?;
    let mut partitions: Vec<_> = files.iter().map(|file| (file.spec_id, file.partition)).collect();
    partitions.sort_unstable();
    partitions.dedup();
    let applied = loaded.applied()?;
    Ok(TableInfo {
        table: table.to_string(),
        location: metadata.location().to_owned(),
        metadata_location: loaded.location.clone(),
        columns: fields.iter().map(|f| (f.name.clone(), f.field_type.to_string())).collect(),
        partitioned_by: metadata
            .default_partition_spec()
            .fields()
            .iter()
            .map(|f| (f.name.clone(), format!("{}({})", f.transform, column(f.source_id))))
            .collect(),
        sorted_by: sort.fields.iter().map(|f| (column(f.source_id), f.transform.to_string())).collect(),
        properties: metadata
            .properties()
            .iter()
            .filter(|(key, _)| *key != APPLIED)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        applied: applied.iter().map(|(shard, n): (&ShardId, &u64)| (shard.to_string(), *n)).collect(),
        partitions: partitions.len() as u64,
        shape,
        differences: differences(&loaded, &lake.shape.later(table)),
    })
}

/// How the table differs from one that this program would have created, though it can be used (otherwise loading would have refused it).
fn differences(loaded: &LoadedTable, later: &[Column]) -> Vec<String> {
    let (table, metadata) = (loaded.table, &loaded.metadata);
    let mut found = Vec::new();
    let names = |fields: &[iceberg::spec::NestedFieldRef]| fields.iter().map(|f| f.name.clone()).collect::<Vec<_>>();
    let ours = names(table.schema().as_struct().fields());
    let mut theirs = names(metadata.current_schema().as_struct().fields());
    // Later columns of this program are added when they are needed.
    theirs.retain(|name| !later.iter().any(|column| column.name == name));
    if ours != theirs {
        found.push(format!("columns are {}; expected {}", theirs.join(", "), ours.join(", ")));
    }
    if !metadata.default_partition_spec().is_compatible_with(table.partition_spec()) {
        found.push("new files of other engines are partitioned otherwise".to_owned());
    }
    let order = table.sort_order();
    let knows_order = metadata.sort_order_by_id(order.order_id).is_some_and(|theirs| theirs.as_ref() == order);
    if !knows_order {
        found.push("the table does not know the order in which its files are sorted".to_owned());
    }
    for (key, value) in table.properties().into_iter().filter(|(key, _)| key != APPLIED) {
        match metadata.properties().get(&key) {
            Some(theirs) if *theirs == value => {}
            Some(theirs) => found.push(format!("property {key} is {theirs}; expected {value}")),
            None => found.push(format!("property {key} is not set; expected {value}")),
        }
    }
    if !metadata.properties().contains_key(APPLIED) {
        found.push(format!("property {APPLIED} is not set: entries would be applied from the first on"));
    }
    found.sort_unstable();
    found
}

/// The extent of a table: its files, manifests and snapshots.
///
/// # Errors
/// The table does not exist or cannot be read, or the store fails.
pub(super) async fn shape(lake: &Lake, table: Table, limits: &PlanLimits) -> Result<Extent, LakeError> {
    let loaded = lake.load(table).await?;
    Ok(shape_of(lake, &loaded, limits).await?.0)
}

async fn shape_of(
    lake: &Lake,
    loaded: &LoadedTable,
    limits: &PlanLimits,
) -> Result<(Extent, Vec<LiveFile>), LakeError> {
    let table = loaded.table;
    let store_error = |source| LakeError::Store { table: table.name().to_owned(), source };
    let mut shape = Extent { snapshots: loaded.metadata.snapshots().len() as u64, ..Extent::default() };
    for file in lake.store.list(&format!("{}/", table.location())).await.map_err(store_error)? {
        shape.stored.add(file.size);
    }
    if let Ok(path) = lake.store.relative(&loaded.location) {
        shape.metadata_bytes = lake.store.size(&path).await.map_err(store_error)?.unwrap_or(0);
    }
    let mut live = Vec::new();
    let ids = FileIds::of_table(loaded);
    if let Some(snapshot) = loaded.metadata.current_snapshot() {
        for manifest in lake.manifests(loaded, snapshot.manifest_list()).await? {
            shape.manifests += 1;
            if manifest.content != ManifestContentType::Data {
                continue;
            }
            for entry in lake.alive(loaded, &manifest).await? {
                live.push(lake.live_file(table, &ids, manifest.partition_spec_id, &entry)?);
            }
        }
    }
    shape.live = live.iter().fold(Tally::default(), |mut tally, file| {
        tally.add(file.bytes);
        tally
    });
    shape.rows = live.iter().map(|file| file.rows).sum();
    shape.small_files = live.iter().filter(|file| limits.is_small(file)).count() as u64;
    Ok((shape, live))
}
