//! Everything of a commit except its swap: manifests, manifest list and metadata, written under names that nobody else uses.

use super::EntryFiles;
use super::snapshots;
use crate::encode::TableFile;
use crate::error::LakeError;
use crate::lake::{Lake, LoadedTable, applied_json};
use crate::metadata;
use crate::schema::{APPLIED, Table};
use authpulse_event::ShardId;
use iceberg::spec::{
    DataFile, FormatVersion, MAIN_BRANCH, ManifestContentType, ManifestEntry, ManifestFile, ManifestList,
    ManifestListWriter, ManifestWriterBuilder, Operation, Schema, SchemaRef, Snapshot, StructType, Summary,
    TableMetadata, UNASSIGNED_SEQUENCE_NUMBER, deserialize_data_file_from_json,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Manifests of at least this size are not merged: reading them again and again would cost more than they do.
pub(super) const MERGE_BELOW_BYTES: i64 = 4 << 20;

/// The entries that a table does not hold yet.
pub(super) struct Pending<'a> {
    /// How many entries are to be applied.
    pub(super) entries: usize,
    /// How many entries the table holds already.
    pub(super) skipped: usize,
    /// Whether folded entries are skipped, which have nothing for the table.
    pub(super) passed_folded: bool,
    /// The files to append.
    pub(super) files: Vec<&'a TableFile>,
    /// The last entry applied of each shard, after this commit.
    pub(super) applied: BTreeMap<ShardId, u64>,
}

impl<'a> Pending<'a> {
    /// Selects the entries that the table lacks, and their files for it. A later table skips the entries in `folded`.
    ///
    /// # Errors
    /// [`LakeError::EntryMissing`] if the entries leave a gap, [`LakeError::Damaged`] if the table's property cannot be read.
    pub(super) fn select(
        loaded: &LoadedTable,
        folded: &BTreeMap<ShardId, u64>,
        entries: &[EntryFiles<'a>],
    ) -> Result<Pending<'a>, LakeError> {
        let applied = loaded.applied()?;
        let mut pending = Pending { entries: 0, skipped: 0, passed_folded: false, files: Vec::new(), applied };
        for (shard, through) in folded.iter().filter(|_| !loaded.table.is_first()) {
            let applied = pending.applied.entry(shard.clone()).or_default();
            pending.passed_folded |= *through > *applied;
            *applied = (*through).max(*applied);
        }
        let mut entries: Vec<_> = entries.iter().collect();
        entries.sort_by_key(|entry| (entry.shard, entry.n));
        for entry in entries {
            let applied = pending.applied.get(entry.shard).copied().unwrap_or(0);
            if entry.n <= applied {
                pending.skipped += 1;
                continue;
            }
            if entry.n != applied + 1 {
                return Err(LakeError::EntryMissing {
                    table: loaded.table.name().to_owned(),
                    shard: entry.shard.to_string(),
                    applied,
                    got: entry.n,
                });
            }
            pending.applied.insert(entry.shard.clone(), entry.n);
            pending.files.extend(entry.files.iter().filter(|file| file.table == loaded.table));
            pending.entries += 1;
        }
        Ok(pending)
    }
}

/// What changes from one version of a table's metadata to the next.
#[derive(Default)]
pub(super) struct Next<'a> {
    /// A new schema.
    pub(super) schema: Option<Schema>,
    /// A new snapshot.
    pub(super) snapshot: Option<Snapshot>,
    /// Properties to set.
    pub(super) properties: HashMap<String, String>,
    /// Snapshots to remove.
    pub(super) dropped: &'a [i64],
}

/// New metadata that waits for its swap.
pub(super) struct Prepared {
    /// Where it was written (a URI).
    pub(super) location: String,
    /// The new snapshot, if there is one.
    pub(super) snapshot_id: Option<i64>,
    /// Its current schema.
    pub(super) schema: SchemaRef,
    /// Files (URIs) that nothing names once the swap has taken place.
    pub(super) unreachable: Vec<String>,
}

/// One attempt of a commit: the table from which it starts, and the name in all files that it writes.
pub(super) struct Attempt<'a> {
    lake: &'a Lake,
    table: Table,
    base: &'a TableMetadata,
    /// The id of the new snapshot.
    pub(super) snapshot_id: i64,
    name: uuid::Uuid,
    manifests_written: usize,
}

impl Lake {
    /// Writes all that a commit of the pending entries needs before its swap.
    ///
    /// # Errors
    /// The store fails, a manifest cannot be read, or a file's description cannot be used.
    pub(super) async fn prepare(&self, loaded: &LoadedTable, pending: &Pending<'_>) -> Result<Prepared, LakeError> {
        let now = self.ids.now_ms().max(loaded.metadata.last_updated_ms());
        let properties = HashMap::from([(APPLIED.to_owned(), applied_json(&pending.applied))]);
        if pending.files.is_empty() {
            return self.write_metadata(loaded, Next { properties, ..Next::default() }, now).await;
        }
        let snapshot = self.write_snapshot(loaded, pending, now).await?;
        let dropped = snapshots::to_drop(&loaded.metadata, self.settings.keep_snapshots);
        let next = Next { snapshot: Some(snapshot), properties, dropped: &dropped, ..Next::default() };
        self.write_metadata(loaded, next, now).await
    }

    /// Writes the metadata that follow `loaded`. `now` is in milliseconds since 1970.
    ///
    /// # Errors
    /// The store fails, or Iceberg refuses the change.
    pub(super) async fn write_metadata(
        &self,
        loaded: &LoadedTable,
        next: Next<'_>,
        now: i64,
    ) -> Result<Prepared, LakeError> {
        let Next { schema, snapshot, properties, dropped } = next;
        let (table, base) = (loaded.table, &loaded.metadata);
        let failed = |e: iceberg::Error| LakeError::from_iceberg(table.name(), &loaded.location, &e);
        let snapshot_id = snapshot.as_ref().map(Snapshot::snapshot_id);
        let mut builder = base.clone().into_builder(Some(loaded.location.clone()));
        if let Some(schema) = schema {
            builder = builder.add_current_schema(schema).map_err(failed)?;
        }
        if !properties.is_empty() {
            builder = builder.set_properties(properties).map_err(failed)?;
        }
        if let Some(snapshot) = snapshot {
            builder = builder.set_branch_snapshot(snapshot, MAIN_BRANCH).map_err(failed)?;
        }
        let lists = dropped.iter().filter_map(|id| base.snapshot_by_id(*id));
        let mut unreachable: Vec<String> = lists.map(|snapshot| snapshot.manifest_list().to_owned()).collect();
        for id in dropped {
            builder = builder.remove_statistics(*id).remove_partition_statistics(*id);
        }
        let built = builder.remove_snapshots(dropped).build().map_err(failed)?;
        if built.metadata.properties().get("write.metadata.delete-after-commit.enabled").is_some_and(|v| v == "true") {
            unreachable.extend(built.expired_metadata_logs.into_iter().map(|log| log.metadata_file));
        }
        let location = metadata::next_location(base.location(), Some(&loaded.location), self.ids.uuid());
        let body = metadata::encode(table, &built.metadata, snapshot_id.is_none().then_some(now))?;
        self.put_metadata(table, &location, body).await?;
        let schema = built.metadata.current_schema().clone();
        Ok(Prepared { location, snapshot_id, schema, unreachable })
    }

    /// Writes the manifests and the manifest list of a snapshot that appends the pending files.
    async fn write_snapshot(
        &self,
        loaded: &LoadedTable,
        pending: &Pending<'_>,
        now: i64,
    ) -> Result<Snapshot, LakeError> {
        let base = &loaded.metadata;
        let mut attempt = self.attempt(loaded);
        let old = match base.current_snapshot() {
            Some(parent) => self.manifests(loaded, parent.manifest_list()).await?,
            None => Vec::new(),
        };
        let mut manifests = attempt.write_added(&pending.files).await?;
        if old.len() + manifests.len() > self.settings.manifests_max {
            manifests.extend(attempt.merge(old).await?);
        } else {
            manifests.extend(old);
        }
        let summary = summary(base, pending, &manifests);
        attempt.finish(manifests, summary, now).await
    }

    /// Begins a new snapshot of a table.
    pub(super) fn attempt<'a>(&'a self, loaded: &'a LoadedTable) -> Attempt<'a> {
        let base = &loaded.metadata;
        let mut snapshot_id = self.ids.snapshot_id();
        while base.snapshot_by_id(snapshot_id).is_some() {
            snapshot_id = self.ids.snapshot_id();
        }
        Attempt { lake: self, table: loaded.table, base, snapshot_id, name: self.ids.uuid(), manifests_written: 0 }
    }

    /// The manifests that a manifest list names.
    ///
    /// # Errors
    /// The list cannot be read.
    pub(crate) async fn manifests(&self, loaded: &LoadedTable, list: &str) -> Result<Vec<ManifestFile>, LakeError> {
        let read = async {
            let body = self.io.new_input(list)?.read().await?;
            ManifestList::parse_with_version(&body, FormatVersion::V2)
        };
        let parsed = read.await.map_err(|e| LakeError::from_iceberg(loaded.table.name(), list, &e))?;
        Ok(parsed.entries().to_vec())
    }
}

impl Attempt<'_> {
    /// Writes the list of the snapshot's manifests, and describes the snapshot.
    ///
    /// # Errors
    /// The list cannot be written.
    pub(super) async fn finish(
        self,
        manifests: Vec<ManifestFile>,
        summary: Summary,
        now: i64,
    ) -> Result<Snapshot, LakeError> {
        let Attempt { lake, table, base, snapshot_id, name, .. } = self;
        let sequence_number = base.next_sequence_number();
        let parent_id = base.current_snapshot().map(|p| p.snapshot_id());
        let list = format!("{}/metadata/snap-{snapshot_id}-0-{name}.avro", base.location());
        let write = async {
            let writer = lake.io.new_output(&list)?.writer().await?;
            let mut writer = ManifestListWriter::v2(writer, snapshot_id, parent_id, sequence_number);
            writer.add_manifests(manifests.into_iter())?;
            writer.close().await
        };
        write.await.map_err(|e| LakeError::from_iceberg(table.name(), &list, &e))?;
        Ok(Snapshot::builder()
            .with_snapshot_id(snapshot_id)
            .with_parent_snapshot_id(parent_id)
            .with_sequence_number(sequence_number)
            .with_timestamp_ms(now)
            .with_manifest_list(list)
            .with_summary(summary)
            .with_schema_id(base.current_schema_id())
            .build())
    }

    /// Converts an error of the iceberg crate about this file.
    pub(super) fn failed(&self, file: &str) -> impl Fn(iceberg::Error) -> LakeError {
        let (table, file) = (self.table.name(), file.to_owned());
        move |e| LakeError::from_iceberg(table, &file, &e)
    }

    /// Starts a manifest for files of one partition spec; returns its path as well.
    ///
    /// # Errors
    /// [`LakeError::Unsuitable`] if the table does not have the spec, or the iceberg crate's error if it cannot start the file.
    pub(super) fn manifest(&mut self, spec_id: i32) -> Result<(iceberg::spec::ManifestWriter, String), LakeError> {
        let path = format!("{}/metadata/{}-m{}.avro", self.base.location(), self.name, self.manifests_written);
        self.manifests_written += 1;
        let spec = self.base.partition_spec_by_id(spec_id).ok_or_else(|| LakeError::Unsuitable {
            table: self.table.name().to_owned(),
            what: format!("it has no partition spec {spec_id}, which a file to append was written for"),
        })?;
        let output = self.lake.io.new_output(&path).map_err(self.failed(&path))?;
        let schema = self.base.current_schema().clone();
        let builder = ManifestWriterBuilder::new(output, Some(self.snapshot_id), schema, spec.as_ref().clone());
        Ok((builder.build_v2_data(), path))
    }

    /// Writes the manifests of the files to append, one per partition spec.
    ///
    /// # Errors
    /// The table lacks a spec, a file's description cannot be used, or the store fails.
    pub(super) async fn write_added(&mut self, files: &[&TableFile]) -> Result<Vec<ManifestFile>, LakeError> {
        let specs: BTreeSet<i32> = files.iter().map(|file| file.spec_id).collect();
        let mut manifests = Vec::new();
        for spec_id in specs {
            let (mut writer, path) = self.manifest(spec_id)?;
            for file in files.iter().filter(|file| file.spec_id == spec_id) {
                let data_file = self.data_file(file)?;
                writer.add_file(data_file, UNASSIGNED_SEQUENCE_NUMBER).map_err(self.failed(&path))?;
            }
            manifests.push(writer.write_manifest_file().await.map_err(self.failed(&path))?);
        }
        Ok(manifests)
    }

    fn data_file(&self, file: &TableFile) -> Result<DataFile, LakeError> {
        let schema = self.base.current_schema();
        let spec = self.base.partition_spec_by_id(file.spec_id).expect("the manifest of this spec was started");
        let partition_type = spec.partition_type(schema).map_err(self.failed(&file.path))?;
        let order = self.table.sort_order();
        let sorted = self.base.sort_order_by_id(order.order_id).is_some_and(|theirs| theirs.as_ref() == order);
        to_data_file(file, &self.lake.store.uri(&file.path), &partition_type, schema, sorted)
    }

    /// The snapshot and the sequence number with which a file was added; it keeps them in whichever manifest describes it.
    ///
    /// # Errors
    /// [`LakeError::Damaged`] if the manifest states none.
    pub(super) fn numbers(&self, manifest: &str, entry: &ManifestEntry) -> Result<(i64, i64), LakeError> {
        entry.snapshot_id.zip(entry.sequence_number).ok_or_else(|| LakeError::Damaged {
            table: self.table.name().to_owned(),
            file: manifest.to_owned(),
            what: "an entry has no snapshot or sequence number".to_owned(),
        })
    }

    /// Merges the small manifests among `old` into one per partition spec; the others stay as they are.
    async fn merge(&mut self, old: Vec<ManifestFile>) -> Result<Vec<ManifestFile>, LakeError> {
        let mut kept = Vec::new();
        let mut small: BTreeMap<i32, Vec<ManifestFile>> = BTreeMap::new();
        for manifest in old {
            if manifest.content == ManifestContentType::Data && manifest.manifest_length < MERGE_BELOW_BYTES {
                small.entry(manifest.partition_spec_id).or_default().push(manifest);
            } else {
                kept.push(manifest);
            }
        }
        for (spec_id, group) in small {
            if group.len() < 2 {
                kept.extend(group);
                continue;
            }
            let (mut writer, path) = self.manifest(spec_id)?;
            let mut alive = false;
            for manifest in &group {
                let loaded = manifest.load_manifest(&self.lake.io).await;
                let loaded = loaded.map_err(self.failed(&manifest.manifest_path))?;
                for entry in loaded.entries().iter().filter(|entry| entry.is_alive()) {
                    let (snapshot, sequence) = self.numbers(&manifest.manifest_path, entry)?;
                    let file = entry.data_file.clone();
                    writer
                        .add_existing_file(file, snapshot, sequence, entry.file_sequence_number)
                        .map_err(self.failed(&path))?;
                    alive = true;
                }
            }
            if alive {
                kept.push(writer.write_manifest_file().await.map_err(self.failed(&path))?);
            }
        }
        Ok(kept)
    }
}

/// Files and rows that these manifests describe as live.
pub(super) fn live_totals(manifests: &[ManifestFile]) -> (u64, u64) {
    let data = || manifests.iter().filter(|m| m.content == ManifestContentType::Data);
    let files = data()
        .map(|m| u64::from(m.added_files_count.unwrap_or(0)) + u64::from(m.existing_files_count.unwrap_or(0)))
        .sum();
    (files, data().map(|m| m.added_rows_count.unwrap_or(0) + m.existing_rows_count.unwrap_or(0)).sum())
}

/// The snapshot's summary, with totals as Iceberg's own writers keep them.
fn summary(base: &TableMetadata, pending: &Pending<'_>, manifests: &[ManifestFile]) -> Summary {
    let added_rows: u64 = pending.files.iter().map(|file| file.rows).sum();
    let added_bytes: u64 = pending.files.iter().map(|file| file.bytes).sum();
    let partitions: BTreeSet<_> = pending.files.iter().map(|file| (file.spec_id, file.partition)).collect();
    let (total_files, total_rows) = live_totals(manifests);
    let mut properties = HashMap::from([
        ("added-data-files".to_owned(), pending.files.len().to_string()),
        ("added-records".to_owned(), added_rows.to_string()),
        ("added-files-size".to_owned(), added_bytes.to_string()),
        ("changed-partition-count".to_owned(), partitions.len().to_string()),
        ("total-data-files".to_owned(), total_files.to_string()),
        ("total-records".to_owned(), total_rows.to_string()),
        ("authpulse.entries".to_owned(), pending.entries.to_string()),
    ]);
    let before = |key: &str| match base.current_snapshot() {
        None => Some(0),
        Some(parent) => parent.summary().additional_properties.get(key).and_then(|v| v.parse::<u64>().ok()),
    };
    // A total that the parent lacks could only be found by opening every manifest: it is left out.
    let totals = [
        ("total-files-size", added_bytes),
        ("total-delete-files", 0),
        ("total-position-deletes", 0),
        ("total-equality-deletes", 0),
    ];
    for (key, added) in totals {
        if let Some(before) = before(key) {
            properties.insert(key.to_owned(), (before + added).to_string());
        }
    }
    Summary { operation: Operation::Append, additional_properties: properties }
}

/// Iceberg's description of a file, with this URI. `sorted` says whether the table has the sort order under its number.
fn to_data_file(
    file: &TableFile,
    uri: &str,
    partition_type: &StructType,
    schema: &Schema,
    sorted: bool,
) -> Result<DataFile, LakeError> {
    let unreadable = |what: String| LakeError::Damaged {
        table: file.table.name().to_owned(),
        file: file.path.clone(),
        what: format!("its description in the journal cannot be read: {what}"),
    };
    let mut json: serde_json::Value = serde_json::from_str(&file.data_file).map_err(|e| unreadable(e.to_string()))?;
    json["file_path"] = uri.into();
    if !sorted {
        json["sort_order_id"] = serde_json::Value::Null;
    }
    deserialize_data_file_from_json(&json.to_string(), file.spec_id, partition_type, schema)
        .map_err(|e| unreadable(e.to_string()))
}
