//! Snapshots that expire, and the files that no other snapshot reaches.

use super::changed::{Changed, Unreached};
use super::snapshots;
use crate::error::LakeError;
use crate::lake::{Lake, LoadedTable};
use iceberg::spec::ManifestFile;
use std::collections::{BTreeMap, BTreeSet};

/// Which snapshots expire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expiry<'a> {
    /// How many snapshots of the main branch stay at most.
    pub keep: usize,
    /// Snapshots from before this expire, in milliseconds since 1970.
    pub before_ms: i64,
    /// Data files that stay even if no snapshot reaches them any more.
    pub needed: &'a BTreeSet<String>,
}

impl Lake {
    /// Manifests and data files that only expiring snapshots reach. (Their manifest lists are removed with the metadata.)
    ///
    /// # Errors
    /// A manifest or a manifest list cannot be read.
    pub(crate) async fn unreached_after(&self, loaded: &LoadedTable, expiry: Expiry<'_>) -> Result<Changed, LakeError> {
        let metadata = &loaded.metadata;
        let gone: BTreeSet<i64> = snapshots::to_expire(metadata, expiry.keep, expiry.before_ms).into_iter().collect();
        let mut changed = Changed { expired: gone.len(), ..Changed::default() };
        if gone.is_empty() {
            return Ok(changed);
        }
        let mut kept: BTreeMap<String, ManifestFile> = BTreeMap::new();
        let mut dropped: BTreeMap<String, ManifestFile> = BTreeMap::new();
        for snapshot in snapshots::in_order(metadata) {
            let side = if gone.contains(&snapshot.snapshot_id()) { &mut dropped } else { &mut kept };
            for manifest in self.manifests(loaded, snapshot.manifest_list()).await? {
                side.entry(manifest.manifest_path.clone()).or_insert(manifest);
            }
        }
        dropped.retain(|path, _| !kept.contains_key(path));
        let mut files: BTreeMap<String, u64> = BTreeMap::new();
        for manifest in dropped.values() {
            for entry in self.entries(loaded, manifest).await? {
                files.insert(entry.file_path().to_owned(), entry.file_size_in_bytes());
            }
            if let Ok(path) = self.store.relative(&manifest.manifest_path) {
                let bytes = u64::try_from(manifest.manifest_length).unwrap_or(0);
                changed.unreached.push(Unreached { path, bytes });
            }
        }
        if !files.is_empty() {
            for manifest in kept.values() {
                for entry in self.alive(loaded, manifest).await? {
                    files.remove(entry.file_path());
                }
            }
        }
        for id in &gone {
            let statistics = metadata.statistics_for_snapshot(*id).map(|s| s.statistics_path.clone());
            let partitions = metadata.partition_statistics_for_snapshot(*id).map(|s| s.statistics_path.clone());
            files.extend(statistics.into_iter().chain(partitions).map(|uri| (uri, 0)));
        }
        for (uri, bytes) in files {
            // A file outside of the lake belongs to somebody else.
            if let Ok(path) = self.store.relative(&uri)
                && !expiry.needed.contains(&path)
            {
                changed.unreached.push(Unreached { path, bytes });
            }
        }
        Ok(changed)
    }
}
