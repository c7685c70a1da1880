//! Which files tables reach.

use super::super::READ_ATTEMPTS;
use super::{Candidates, Rows};
use crate::commit::snapshots;
use crate::error::LakeError;
use crate::lake::{Lake, LoadedTable};
use crate::read::partition_of;
use crate::schema::Table;
use authpulse_event::ShardId;
use std::collections::{BTreeMap, BTreeSet};

/// Removes from the candidates what a table reaches through any of its snapshots, and adds the table's live rows to `live`. Returns the
/// last entry applied of each shard.
///
/// # Errors
/// The table, or a manifest of any of its snapshots, cannot be read.
pub(super) async fn read_table(
    lake: &Lake,
    table: Table,
    candidates: &mut Candidates,
    live: &mut Rows,
) -> Result<BTreeMap<ShardId, u64>, LakeError> {
    let mut attempt = 1;
    loop {
        let loaded = lake.load(table).await?;
        match reached(lake, &loaded, candidates).await {
            Ok(rows) => {
                live.extend(rows);
                return loaded.applied();
            }
            // Another committer removed what was being read: read the table as it is now.
            Err(LakeError::Damaged { .. })
                if attempt < READ_ATTEMPTS
                    && lake.pointers.load(table.name()).await?.as_ref() != Some(&loaded.location) =>
            {
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn reached(lake: &Lake, loaded: &LoadedTable, candidates: &mut Candidates) -> Result<Rows, LakeError> {
    let metadata = &loaded.metadata;
    let mut take = |uri: &str| {
        if let Ok(path) = lake.store.relative(uri) {
            candidates.remove(&path);
        }
    };
    take(&loaded.location);
    metadata.metadata_log().iter().for_each(|log| take(&log.metadata_file));
    metadata.statistics_iter().for_each(|s| take(&s.statistics_path));
    metadata.partition_statistics_iter().for_each(|s| take(&s.statistics_path));
    let current = metadata.current_snapshot_id();
    let mut read = BTreeSet::new();
    let mut rows = Rows::new();
    for snapshot in snapshots::in_order(metadata) {
        take(snapshot.manifest_list());
        let is_current = Some(snapshot.snapshot_id()) == current;
        for manifest in lake.manifests(loaded, snapshot.manifest_list()).await? {
            if !read.insert(manifest.manifest_path.clone()) && !is_current {
                continue;
            }
            take(&manifest.manifest_path);
            for entry in lake.alive(loaded, &manifest).await? {
                take(entry.file_path());
                if is_current {
                    let partition = partition_of(&entry);
                    *rows.entry((loaded.table, partition)).or_default() += entry.record_count();
                }
            }
        }
    }
    Ok(rows)
}
