//! Changes of a table that add no rows: files take the place of others, manifests are merged, snapshots expire.
//!
//! Each is a commit like any other: written beside the table, then swapped in if the table is still what was loaded. Properties
//! are carried on, `applied` among them.

use super::holds;
use super::prepare::{Attempt, MERGE_BELOW_BYTES, Next, Prepared, live_totals};
use super::snapshots;
use crate::catalog::SwapOutcome;
use crate::encode::TableFile;
use crate::error::{LakeError, Remedy};
use crate::lake::{Lake, LoadedTable};
use crate::read::partition_of;
use crate::schema::Table;
use iceberg::spec::{
    ManifestContentType, ManifestEntryRef, ManifestFile, ManifestStatus, Operation, Summary, TableMetadata,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Files that a rewritten manifest describes at most: somewhat more than what counts as a small manifest.
const MANIFEST_FILES: usize = 10_000;

/// Files that hold the same rows as those they replace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replacement {
    /// Paths, relative to the lake.
    pub gone: BTreeSet<String>,
    pub new: Vec<TableFile>,
}

/// When a snapshot goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expiry<'a> {
    /// Most snapshots of the main branch that stay.
    pub keep: usize,
    /// Older ones go, in milliseconds since 1970.
    pub before_ms: i64,
    /// Data files that stay although no snapshot reaches them any more.
    pub needed: &'a BTreeSet<String>,
}

/// What is to be done to a table.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change<'a> {
    /// Files take the place of others; where more than this many small manifests are left, they are merged on the way.
    Replace { replacements: &'a [Replacement], manifests_max: usize },
    /// Snapshots go.
    Expire(Expiry<'a>),
}

/// A file that nothing reaches any more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Unreached {
    /// Relative to the lake.
    pub path: String,
    /// Bytes, where the table tells.
    pub bytes: u64,
}

/// What a change came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changed {
    /// Whether the table was changed.
    pub done: bool,
    /// Which of the replacements took place.
    pub taken: Vec<bool>,
    /// Whether some swap was never answered clearly: what was written for it may be named by the table.
    pub doubtful: bool,
    /// Snapshots that went.
    pub expired: usize,
    /// Manifests merged into fewer.
    pub merged: usize,
    /// Files that nothing reaches any more, to be removed by the caller.
    pub unreached: Vec<Unreached>,
    /// Why nothing, or not all, was done.
    pub why_not: Option<String>,
}

impl Lake {
    /// Makes a change. Where it has become pointless by the time of the swap, nothing is done, and that is no error.
    pub(crate) async fn change(&self, table: Table, change: Change<'_>) -> Result<Changed, LakeError> {
        let mut unclear: Option<(Changed, String, LakeError)> = None;
        let mut doubtful = false;
        for _ in 0..self.settings.attempts.max(1) {
            let loaded = self.load_to_commit(table).await?;
            if let Some((changed, location, _)) = unclear.take()
                && holds(&loaded, &location)
            {
                return Ok(Changed { done: true, doubtful, ..changed });
            }
            let planned = match self.plan_change(&loaded, change).await {
                Ok(planned) => planned,
                // Another committer may have removed what this one was reading.
                Err(e) if e.remedy() == Remedy::Restore => {
                    if self.pointers.load(table.name()).await?.as_ref() == Some(&loaded.location) {
                        return Err(e);
                    }
                    continue;
                }
                Err(e) => return Err(e),
            };
            let (prepared, mut changed) = match planned {
                (Some(prepared), changed) => (prepared, changed),
                (None, changed) => return Ok(Changed { doubtful, ..changed }),
            };
            for uri in &prepared.unreachable {
                if let Ok(path) = self.store.relative(uri) {
                    changed.unreached.push(Unreached { path, bytes: 0 });
                }
            }
            (self.probe)(&format!("maintain swap before:{table}"));
            match self.pointers.swap(table.name(), &loaded.location, &prepared.location, &prepared.schema).await {
                Ok(SwapOutcome::Swapped) => {
                    (self.probe)(&format!("maintain swap after:{table}"));
                    return Ok(Changed { done: true, doubtful, ..changed });
                }
                Ok(SwapOutcome::Conflict) => {}
                Err(e) if e.remedy() == Remedy::Look => {
                    doubtful = true;
                    unclear = Some((changed, prepared.location, e.into()));
                }
                Err(e) => return Err(e.into()),
            }
        }
        match unclear {
            Some((_, _, error)) => Err(error),
            None => Err(LakeError::Contended { table: table.name().to_owned(), attempts: self.settings.attempts }),
        }
    }

    async fn plan_change(
        &self,
        loaded: &LoadedTable,
        change: Change<'_>,
    ) -> Result<(Option<Prepared>, Changed), LakeError> {
        match change {
            Change::Replace { replacements, manifests_max } => {
                self.plan_replacement(loaded, replacements, manifests_max).await
            }
            Change::Expire(expiry) => {
                let changed = self.unreached_after(loaded, expiry).await?;
                if changed.expired == 0 {
                    return Ok((None, changed));
                }
                let now = self.ids.now_ms().max(loaded.metadata.last_updated_ms());
                let gone = snapshots::to_expire(&loaded.metadata, expiry.keep, expiry.before_ms);
                let prepared = self.write_metadata(loaded, Next { dropped: &gone, ..Next::default() }, now).await?;
                Ok((Some(prepared), changed))
            }
        }
    }

    async fn plan_replacement(
        &self,
        loaded: &LoadedTable,
        replacements: &[Replacement],
        manifests_max: usize,
    ) -> Result<(Option<Prepared>, Changed), LakeError> {
        let mut changed = Changed { taken: vec![false; replacements.len()], ..Changed::default() };
        let Some(parent) = loaded.metadata.current_snapshot() else {
            changed.why_not = Some("the table has no snapshot any more".to_owned());
            return Ok((None, changed));
        };
        let old = self.manifests(loaded, parent.manifest_list()).await?;
        if old.iter().any(|m| m.content == ManifestContentType::Deletes && has_files(m)) {
            changed.why_not = Some("another engine deleted single rows meanwhile".to_owned());
            return Ok((None, changed));
        }
        let is_small = |m: &ManifestFile| m.manifest_length < MERGE_BELOW_BYTES;
        let merge = old.iter().filter(|m| is_small(m) && has_files(m)).count() > manifests_max.max(1);
        let wanted: BTreeSet<&str> = replacements.iter().flat_map(|r| &r.gone).map(String::as_str).collect();
        let mut rows: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        let mut read: Vec<(ManifestFile, Vec<ManifestEntryRef>)> = Vec::new();
        let mut kept = Vec::new();
        for manifest in old {
            if !has_files(&manifest) {
                // Its files went with an earlier snapshot; nobody needs to open it again.
                continue;
            }
            if wanted.is_empty() && !(merge && is_small(&manifest)) {
                kept.push(manifest);
                continue;
            }
            let entries = self.alive(loaded, &manifest).await?;
            let mut touched = merge && is_small(&manifest);
            for entry in &entries {
                let path = self.store.relative(entry.file_path()).ok();
                if let Some(path) = path.as_deref().and_then(|path| wanted.get(path)) {
                    rows.insert(path, (entry.record_count(), entry.file_size_in_bytes()));
                    touched = true;
                }
            }
            if touched { read.push((manifest, entries)) } else { kept.push(manifest) }
        }
        let mut gone: BTreeSet<&str> = BTreeSet::new();
        let mut new: Vec<&TableFile> = Vec::new();
        for (replacement, taken) in replacements.iter().zip(&mut changed.taken) {
            if !replacement.gone.iter().all(|path| rows.contains_key(path.as_str())) {
                changed.why_not = Some("files to replace are gone from the table: another change was first".to_owned());
                continue;
            }
            let before: u64 = replacement.gone.iter().filter_map(|path| rows.get(path.as_str())).map(|(n, _)| n).sum();
            let after: u64 = replacement.new.iter().map(|file| file.rows).sum();
            if before != after {
                let what = format!("files of {before} rows were rewritten as {after}: they are left as they are");
                return Err(LakeError::Encode { table: loaded.table.name().to_owned(), what });
            }
            *taken = true;
            gone.extend(replacement.gone.iter().map(String::as_str));
            new.extend(&replacement.new);
        }
        // A manifest that was read for a replacement that does not take place goes on as it is.
        let is_touched = |entries: &[ManifestEntryRef]| {
            let path = |e: &ManifestEntryRef| self.store.relative(e.file_path()).ok();
            entries.iter().filter_map(path).any(|path| gone.contains(path.as_str()))
        };
        let (rewritten, untouched): (Vec<_>, Vec<_>) =
            read.into_iter().partition(|(m, entries)| (merge && is_small(m)) || is_touched(entries));
        kept.extend(untouched.into_iter().map(|(manifest, _)| manifest));
        if new.is_empty() && !merge {
            return Ok((None, changed));
        }
        changed.merged = if merge { rewritten.len() } else { 0 };
        let now = self.ids.now_ms().max(loaded.metadata.last_updated_ms());
        let mut attempt = self.attempt(loaded);
        let mut manifests = attempt.write_added(&new).await?;
        manifests.extend(attempt.rewrite(rewritten, &gone, |uri| self.store.relative(uri).ok()).await?);
        manifests.extend(kept);
        let gone_bytes = gone.iter().filter_map(|path| rows.get(path)).map(|(_, bytes)| bytes).sum();
        let summary = summary(&loaded.metadata, &new, (gone.len(), gone_bytes), &manifests);
        let snapshot = attempt.finish(manifests, summary, now).await?;
        let next = Next { snapshot: Some(snapshot), ..Next::default() };
        let prepared = self.write_metadata(loaded, next, now).await?;
        Ok((Some(prepared), changed))
    }

    /// The files that a manifest describes as live.
    pub(crate) async fn alive(
        &self,
        loaded: &LoadedTable,
        manifest: &ManifestFile,
    ) -> Result<Vec<ManifestEntryRef>, LakeError> {
        let entries = self.entries(loaded, manifest).await?;
        Ok(entries.into_iter().filter(|entry| entry.is_alive()).collect())
    }

    /// All that a manifest describes, files that went included.
    async fn entries(&self, loaded: &LoadedTable, manifest: &ManifestFile) -> Result<Vec<ManifestEntryRef>, LakeError> {
        let read = manifest.load_manifest(&self.io).await;
        let read = read.map_err(|e| LakeError::from_iceberg(loaded.table.name(), &manifest.manifest_path, &e))?;
        Ok(read.entries().to_vec())
    }

    /// What only the snapshots reach that expire: manifests and data files. (Their lists come with the metadata.)
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
            // What lies outside of the lake is somebody else's.
            if let Ok(path) = self.store.relative(&uri)
                && !expiry.needed.contains(&path)
            {
                changed.unreached.push(Unreached { path, bytes });
            }
        }
        Ok(changed)
    }
}

fn has_files(manifest: &ManifestFile) -> bool {
    manifest.added_files_count != Some(0) || manifest.existing_files_count != Some(0)
}

impl Attempt<'_> {
    /// Describes the files of some manifests anew, in order of partition, those that go as deleted.
    async fn rewrite(
        &mut self,
        manifests: Vec<(ManifestFile, Vec<ManifestEntryRef>)>,
        gone: &BTreeSet<&str>,
        relative: impl Fn(&str) -> Option<String>,
    ) -> Result<Vec<ManifestFile>, LakeError> {
        let mut by_spec: BTreeMap<i32, Vec<(Option<i32>, String, ManifestEntryRef)>> = BTreeMap::new();
        for (manifest, entries) in manifests {
            let files = by_spec.entry(manifest.partition_spec_id).or_default();
            for entry in entries {
                files.push((partition_of(&entry), manifest.manifest_path.clone(), entry));
            }
        }
        let mut written = Vec::new();
        for (spec_id, mut files) in by_spec {
            files.sort_by(|(p, _, a), (q, _, b)| (p, a.file_path()).cmp(&(q, b.file_path())));
            for part in files.chunks(MANIFEST_FILES) {
                let (mut writer, path) = self.manifest(spec_id)?;
                for (_, manifest, entry) in part {
                    let (snapshot, sequence) = self.numbers(manifest, entry)?;
                    debug_assert!(entry.status() != ManifestStatus::Deleted);
                    let file = entry.data_file().clone();
                    let goes = relative(entry.file_path()).is_some_and(|path| gone.contains(path.as_str()));
                    let add = if goes {
                        writer.add_delete_file(file, sequence, entry.file_sequence_number)
                    } else {
                        writer.add_existing_file(file, snapshot, sequence, entry.file_sequence_number)
                    };
                    add.map_err(self.failed(&path))?;
                }
                written.push(writer.write_manifest_file().await.map_err(self.failed(&path))?);
            }
        }
        Ok(written)
    }
}

/// What the snapshot says of itself: rows moved from file to file, none came or went.
fn summary(
    base: &TableMetadata,
    new: &[&TableFile],
    (gone, gone_bytes): (usize, u64),
    manifests: &[ManifestFile],
) -> Summary {
    let rows: u64 = new.iter().map(|file| file.rows).sum();
    let bytes: u64 = new.iter().map(|file| file.bytes).sum();
    let partitions: BTreeSet<_> = new.iter().map(|file| (file.spec_id, file.partition)).collect();
    let (total_files, total_rows) = live_totals(manifests);
    let mut properties = HashMap::from([
        ("added-data-files".to_owned(), new.len().to_string()),
        ("deleted-data-files".to_owned(), gone.to_string()),
        ("added-records".to_owned(), rows.to_string()),
        ("deleted-records".to_owned(), rows.to_string()),
        ("added-files-size".to_owned(), bytes.to_string()),
        ("removed-files-size".to_owned(), gone_bytes.to_string()),
        ("changed-partition-count".to_owned(), partitions.len().to_string()),
        ("total-data-files".to_owned(), total_files.to_string()),
        ("total-records".to_owned(), total_rows.to_string()),
        ("total-delete-files".to_owned(), "0".to_owned()),
        ("total-position-deletes".to_owned(), "0".to_owned()),
        ("total-equality-deletes".to_owned(), "0".to_owned()),
    ]);
    let before = base.current_snapshot().and_then(|parent| {
        parent.summary().additional_properties.get("total-files-size").and_then(|v| v.parse::<u64>().ok())
    });
    if let Some(before) = before {
        properties.insert("total-files-size".to_owned(), (before + bytes).saturating_sub(gone_bytes).to_string());
    }
    Summary { operation: Operation::Replace, additional_properties: properties }
}
