//! Another engine's commits: properties, expired snapshots, rewritten files, rows put in and taken out again. Each takes place as a whole
//! between two effects of ours, and so also between our loading of a table and our swap. `applied` is kept, as any engine does that keeps
//! properties which it does not know.

use crate::rng::Rng;
use crate::world::World;
use authpulse_engine::rows::{Reason, RejectedRecord};
use authpulse_event::{Position, ShardId};
use authpulse_lake::catalog::SwapOutcome;
use authpulse_lake::encode::encode_rejected;
use authpulse_lake::store::file_io;
use authpulse_lake::{CommitIds, EncodeOptions, LoadedTable, ObjectStore, Table, TablePointers};
use futures::executor::block_on;
use iceberg::spec::{
    DataFile, FormatVersion, MAIN_BRANCH, ManifestFile, ManifestList, ManifestListWriter, ManifestWriterBuilder,
    Operation, Snapshot, Summary, TableMetadata, deserialize_data_file_from_json, serialize_data_file_to_json,
};
use std::collections::HashMap;

/// How the payload of a foreign dead letter begins; the oracle skips it.
pub const PAYLOAD: &[u8] = b"foreign ";
/// A part of the names of files with foreign rows.
const INSERTED: &str = "foreign-rows";

/// Commits something to some table; returns whether there was anything to do.
pub fn commit(world: &World, rng: &mut Rng) -> Result<bool, String> {
    let kind = rng.below(5);
    let table = if kind >= 3 { Table::REJECTED } else { Table::FIRST[rng.below(4) as usize] };
    if block_on(world.catalog.load(table.name())).map_err(|e| e.to_string())?.is_none() {
        return Ok(false);
    }
    let engine = Engine { world, loaded: block_on(world.outside.lake.load(table)).map_err(|e| e.to_string())? };
    let done = block_on(async {
        match kind {
            0 => engine.set_property(rng.next()).await,
            1 => engine.expire().await,
            2 => engine.rewrite(rng).await,
            3 => engine.insert().await,
            _ => engine.delete().await,
        }
    });
    done.map_err(|error| format!("a foreign commit to {table} failed: {error}"))
}

type Outcome = Result<bool, Box<dyn std::error::Error>>;

struct Engine<'a> {
    world: &'a World,
    loaded: LoadedTable,
}

/// A live file, and the manifest that names it.
struct Live {
    manifest: usize,
    file: DataFile,
}

impl Engine<'_> {
    fn name(&self) -> uuid::Uuid {
        self.world.names().uuid()
    }

    fn now_ms(&self) -> i64 {
        (self.world.now().micros() / 1_000).max(self.loaded.metadata.last_updated_ms())
    }

    async fn swap(&self, metadata: TableMetadata) -> Outcome {
        let mut json = serde_json::to_value(&metadata)?;
        json["last-updated-ms"] = self.now_ms().into();
        let location = format!("{}/metadata/99999-{}.metadata.json", metadata.location(), self.name());
        let store = &self.world.store;
        store.put_new(&store.relative(&location)?, serde_json::to_vec(&json)?.into()).await?;
        let swapped = self
            .world
            .catalog
            .swap(self.loaded.table.name(), &self.loaded.location, &location, metadata.current_schema())
            .await?;
        assert_eq!(swapped, SwapOutcome::Swapped, "nobody else acts meanwhile");
        if std::env::var("AUTHPULSE_TOLD").is_ok() {
            println!("another engine: {location}");
        }
        Ok(true)
    }

    fn builder(&self) -> iceberg::spec::TableMetadataBuilder {
        self.loaded.metadata.clone().into_builder(Some(self.loaded.location.clone()))
    }

    async fn set_property(&self, value: u64) -> Outcome {
        let property = HashMap::from([("foreign.note".to_owned(), value.to_string())]);
        self.swap(self.builder().set_properties(property)?.build()?.metadata).await
    }

    /// Expires all snapshots but the current one, and with them their lists.
    async fn expire(&self) -> Outcome {
        let metadata = &self.loaded.metadata;
        let current = metadata.current_snapshot_id();
        let old: Vec<_> = metadata.snapshots().filter(|s| Some(s.snapshot_id()) != current).cloned().collect();
        if old.is_empty() {
            return Ok(false);
        }
        let ids: Vec<i64> = old.iter().map(|s| s.snapshot_id()).collect();
        self.swap(self.builder().remove_snapshots(&ids).build()?.metadata).await?;
        for snapshot in old {
            self.world.store.delete(&self.world.store.relative(snapshot.manifest_list())?).await?;
        }
        Ok(true)
    }

    async fn manifests(&self) -> Result<Vec<ManifestFile>, Box<dyn std::error::Error>> {
        let Some(snapshot) = self.loaded.metadata.current_snapshot() else { return Ok(Vec::new()) };
        let body = file_io(self.world.store.clone()).new_input(snapshot.manifest_list())?.read().await?;
        Ok(ManifestList::parse_with_version(&body, FormatVersion::V2)?.entries().to_vec())
    }

    async fn live(&self, manifests: &[ManifestFile]) -> Result<Vec<Live>, Box<dyn std::error::Error>> {
        let io = file_io(self.world.store.clone());
        let mut live = Vec::new();
        for (at, manifest) in manifests.iter().enumerate() {
            let read = manifest.load_manifest(&io).await?;
            let alive = read.entries().iter().filter(|entry| entry.is_alive());
            live.extend(alive.map(|entry| Live { manifest: at, file: entry.data_file().clone() }));
        }
        Ok(live)
    }

    /// Replaces a file by the same content under another name: what another engine's compaction looks like from outside.
    async fn rewrite(&self, rng: &mut Rng) -> Outcome {
        let manifests = self.manifests().await?;
        let live = self.live(&manifests).await?;
        if live.is_empty() {
            return Ok(false);
        }
        let Live { manifest, file } = &live[rng.below(live.len() as u64) as usize];
        let store = &self.world.store;
        let old = store.relative(file.file_path())?;
        let inserted = if old.contains(INSERTED) { INSERTED } else { "foreign-rewrite" };
        let new = format!("{}/{inserted}-{}.parquet", old.rsplit_once('/').ok_or("no folder")?.0, self.name());
        store.put_new(&new, store.get(&old).await?).await?;
        let spec = manifests[*manifest].partition_spec_id;
        let file = self.renamed(file, spec, &store.uri(&new))?;
        self.change(manifests, Some((*manifest, &old)), Some((spec, file)), Operation::Replace).await
    }

    fn renamed(&self, file: &DataFile, spec: i32, uri: &str) -> Result<DataFile, Box<dyn std::error::Error>> {
        let metadata = &self.loaded.metadata;
        let schema = metadata.current_schema();
        let partition = metadata.partition_spec_by_id(spec).ok_or("no such spec")?.partition_type(schema)?;
        let json = serialize_data_file_to_json(file.clone(), &partition, FormatVersion::V2)?;
        let mut json: serde_json::Value = serde_json::from_str(&json)?;
        json["file_path"] = uri.into();
        Ok(deserialize_data_file_from_json(&json.to_string(), spec, &partition, schema)?)
    }

    /// Adds a dead letter of its own.
    async fn insert(&self) -> Outcome {
        let name = self.name();
        let payload = [PAYLOAD, name.to_string().as_bytes()].concat();
        let row = RejectedRecord {
            reason: Reason::Invalid,
            detail: "put in by another engine".to_owned(),
            payload_bytes: payload.len() as u64,
            payload,
            position: Position::START,
            ingestion_time: self.world.now().as_arrival_bound(),
        };
        let shard = ShardId::new("foreign");
        for encoded in encode_rejected(&[row], &shard, self.world.now(), None, &EncodeOptions::default())? {
            let path = encoded.path(&format!("{INSERTED}-{name}"));
            let (file, body) = encoded.finish(path);
            self.world.store.put_new(&file.path, body).await?;
            let metadata = &self.loaded.metadata;
            let schema = metadata.current_schema();
            let spec = metadata.partition_spec_by_id(file.spec_id).ok_or("no such spec")?;
            let mut json: serde_json::Value = serde_json::from_str(&file.data_file)?;
            json["file_path"] = self.world.store.uri(&file.path).into();
            let described = json.to_string();
            let partition = spec.partition_type(schema)?;
            let data_file = deserialize_data_file_from_json(&described, file.spec_id, &partition, schema)?;
            self.change(self.manifests().await?, None, Some((file.spec_id, data_file)), Operation::Append).await?;
        }
        Ok(true)
    }

    /// Takes a file of foreign rows out again, if there is one that was not merged with others.
    async fn delete(&self) -> Outcome {
        let manifests = self.manifests().await?;
        let live = self.live(&manifests).await?;
        let Some(Live { manifest, file }) = live.iter().find(|live| live.file.file_path().contains(INSERTED)) else {
            return Ok(false);
        };
        let gone = self.world.store.relative(file.file_path())?;
        self.change(manifests, Some((*manifest, &gone)), None, Operation::Delete).await
    }

    /// Commits a snapshot without one file, or with one more.
    async fn change(
        &self,
        mut manifests: Vec<ManifestFile>,
        gone: Option<(usize, &str)>,
        new: Option<(i32, DataFile)>,
        operation: Operation,
    ) -> Outcome {
        let (base, store, io) = (&self.loaded.metadata, &self.world.store, file_io(self.world.store.clone()));
        let id = self.world.names().snapshot_id();
        let name = self.name();
        let writer = |spec: i32, part: &str| -> Result<_, Box<dyn std::error::Error>> {
            let output = io.new_output(format!("{}/metadata/foreign-{name}-{part}.avro", base.location()))?;
            let spec = base.partition_spec_by_id(spec).ok_or("no such spec")?.as_ref().clone();
            Ok(ManifestWriterBuilder::new(output, Some(id), base.current_schema().clone(), spec).build_v2_data())
        };
        if std::env::var("AUTHPULSE_TOLD").is_ok() {
            println!(
                "another engine: {operation:?} without {gone:?}, with {:?}",
                new.as_ref().map(|(_, f)| f.file_path())
            );
        }
        if let Some((at, path)) = gone {
            let manifest = manifests.remove(at);
            let mut rest = writer(manifest.partition_spec_id, "rest")?;
            for entry in manifest.load_manifest(&io).await?.entries().iter().filter(|entry| entry.is_alive()) {
                let sequence = entry.sequence_number().ok_or("no sequence number")?;
                let (file, of_file) = (entry.data_file().clone(), entry.file_sequence_number);
                if store.relative(entry.file_path())? == path {
                    rest.add_delete_file(file, sequence, of_file)?;
                } else {
                    let snapshot = entry.snapshot_id().ok_or("no snapshot")?;
                    rest.add_existing_file(file, snapshot, sequence, of_file)?;
                }
            }
            manifests.push(rest.write_manifest_file().await?);
        }
        if let Some((spec, file)) = new {
            let mut added = writer(spec, "new")?;
            added.add_file(file, iceberg::spec::UNASSIGNED_SEQUENCE_NUMBER)?;
            manifests.push(added.write_manifest_file().await?);
        }
        let list = format!("{}/metadata/snap-{id}-foreign-{name}.avro", base.location());
        let sequence = base.next_sequence_number();
        let parent = base.current_snapshot_id();
        let mut lists = ManifestListWriter::v2(io.new_output(&list)?.writer().await?, id, parent, sequence);
        lists.add_manifests(manifests.into_iter())?;
        lists.close().await?;
        let snapshot = Snapshot::builder()
            .with_snapshot_id(id)
            .with_parent_snapshot_id(parent)
            .with_sequence_number(sequence)
            .with_timestamp_ms(self.now_ms())
            .with_manifest_list(list)
            .with_summary(Summary { operation, additional_properties: HashMap::new() })
            .with_schema_id(base.current_schema_id())
            .build();
        self.swap(self.builder().set_branch_snapshot(snapshot, MAIN_BRANCH)?.build()?.metadata).await
    }
}
