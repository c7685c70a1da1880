//! A lake's tables: their files, their pointers, and what a commit needs from outside (time, ids).

use crate::catalog::{SwapOutcome, TablePointers};
use crate::error::{LakeError, Remedy};
use crate::known_columns::KnownColumns;
use crate::metadata;
use crate::schema::{APPLIED, REQUIRES, Table};
use crate::section_list::SectionList;
use crate::shape::Shape;
use crate::store::{ObjectStore, file_io};
use authpulse_event::ProcessingTime;
use authpulse_event::ShardId;
use iceberg::io::FileIO;
use iceberg::spec::TableMetadata;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// Time and names for commits. A simulation hands in its own.
pub trait CommitIds: Send + Sync {
    /// Now, in milliseconds since 1970.
    fn now_ms(&self) -> i64;
    /// A name that no other commit has.
    fn uuid(&self) -> Uuid;
    /// A positive number that no other snapshot of a table has.
    fn snapshot_id(&self) -> i64 {
        let (high, low) = self.uuid().as_u64_pair();
        ((high ^ low) >> 1).cast_signed()
    }
}

/// The computer's clock and random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemIds;

impl CommitIds for SystemIds {
    fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
    fn uuid(&self) -> Uuid {
        Uuid::new_v4()
    }
}

/// How commits keep tables in shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitSettings {
    /// Snapshots that a table keeps, the newest included. Each costs 650 bytes in every metadata file; fewer shorten how far
    /// back a query can travel.
    pub keep_snapshots: usize,
    /// Manifests above which a commit merges the small ones. Each costs a query one more file to open; merging costs a commit
    /// about a millisecond for each.
    pub manifests_max: usize,
    /// Attempts before a commit gives up on a table that others keep changing.
    pub attempts: u32,
    /// Bytes below which a commit merges the files it appends, by partition; 0 appends all as they are.
    pub gather_below: u64,
}

impl Default for CommitSettings {
    fn default() -> Self {
        CommitSettings { keep_snapshots: 200, manifests_max: 100, attempts: 20, gather_below: 0 }
    }
}

/// What this program knows of the names that [`REQUIRES`] may list.
const KNOWN_REQUIREMENTS: [&str; 0] = [];

/// Called with the step that a commit has reached: `gather file before:<table>`, `gather file after:<table>`, `table swap before:<table>`,
/// `table swap after:<table>`, and the same for `fit file` and `columns swap`. Kill tests stop the process there.
pub type Probe = Arc<dyn Fn(&str) + Send + Sync>;

/// The tables of a lake.
#[derive(Clone)]
pub struct Lake {
    /// The files.
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The catalog: which metadata file of a table is the current one.
    pub(crate) pointers: Arc<dyn TablePointers>,
    /// The same files, as the iceberg crate reads them.
    pub(crate) io: FileIO,
    /// Time and names for commits.
    pub(crate) ids: Arc<dyn CommitIds>,
    /// How commits keep tables in shape.
    pub(crate) settings: CommitSettings,
    /// Called at each step of a commit.
    pub(crate) probe: Probe,
    /// The later columns of each table, as they were last seen.
    pub(crate) known_columns: KnownColumns,
    /// The tables and later columns that this program knows.
    pub(crate) shape: Arc<Shape>,
    /// The sections that this program knows.
    pub(crate) sections: SectionList,
}

/// A table as it was at one moment.
#[derive(Clone, Debug)]
pub struct LoadedTable {
    /// Which table.
    pub table: Table,
    /// Its metadata file (a URI).
    pub location: String,
    /// What that file says.
    pub metadata: TableMetadata,
}

impl LoadedTable {
    /// The last entry applied of each shard.
    ///
    /// # Errors
    /// The table's property cannot be read.
    pub fn applied(&self) -> Result<BTreeMap<ShardId, u64>, LakeError> {
        let Some(text) = self.metadata.properties().get(APPLIED) else { return Ok(BTreeMap::new()) };
        let numbers: BTreeMap<String, u64> = serde_json::from_str(text).map_err(|e| LakeError::Damaged {
            table: self.table.name().to_owned(),
            file: self.location.clone(),
            what: format!("property {APPLIED} cannot be read: {e}"),
        })?;
        Ok(numbers.into_iter().map(|(shard, n)| (ShardId::new(shard), n)).collect())
    }
}

impl LoadedTable {
    /// Whether this program knows everything that a program must know to commit to this table.
    ///
    /// # Errors
    /// [`LakeError::TooNew`] names the first thing that it does not know.
    pub fn check_requires(&self) -> Result<(), LakeError> {
        let required = self.metadata.properties().get(REQUIRES).map(String::as_str).unwrap_or_default();
        let mut names = required.split(',').map(str::trim).filter(|name| !name.is_empty());
        match names.find(|name| !KNOWN_REQUIREMENTS.contains(name)) {
            Some(name) => Err(LakeError::TooNew { table: self.table.name().to_owned(), name: name.to_owned() }),
            None => Ok(()),
        }
    }
}

/// The value of the property [`APPLIED`] for these entries.
pub(crate) fn applied_json(applied: &BTreeMap<ShardId, u64>) -> String {
    let numbers: serde_json::Map<String, serde_json::Value> =
        applied.iter().map(|(shard, n)| (shard.to_string(), (*n).into())).collect();
    serde_json::Value::Object(numbers).to_string()
}

impl Lake {
    /// A lake over a store and a catalog, with default settings and the computer's clock.
    pub fn new(store: Arc<dyn ObjectStore>, pointers: Arc<dyn TablePointers>) -> Lake {
        Lake {
            io: file_io(store.clone()),
            store,
            pointers,
            ids: Arc::new(SystemIds),
            settings: CommitSettings::default(),
            probe: Arc::new(|_| {}),
            known_columns: KnownColumns::default(),
            shape: Arc::new(Shape::default()),
            sections: SectionList::default(),
        }
    }

    /// The same lake with another source of time and names.
    #[must_use]
    pub fn with_ids(self, ids: Arc<dyn CommitIds>) -> Lake {
        Lake { ids, ..self }
    }

    /// The same lake with other settings.
    #[must_use]
    pub fn with_settings(self, settings: CommitSettings) -> Lake {
        Lake { settings, ..self }
    }

    /// The same lake with a probe.
    #[must_use]
    pub fn with_probe(self, probe: Probe) -> Lake {
        Lake { probe, ..self }
    }

    /// The same lake with other lists of tables and later columns.
    #[must_use]
    pub fn with_shape(self, shape: Shape) -> Lake {
        Lake { shape: Arc::new(shape), ..self }
    }

    /// The tables and later columns that this program knows.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The current time by the clock of [`CommitIds`].
    pub(crate) fn now(&self) -> ProcessingTime {
        ProcessingTime::from_micros(self.ids.now_ms().saturating_mul(1_000))
    }

    /// The tables that this program works with, in the order in which a commit visits them.
    pub fn tables(&self) -> &[Table] {
        &self.shape.tables
    }

    /// Whether this program works with the table.
    pub fn knows(&self, table: Table) -> bool {
        self.shape.tables.contains(&table)
    }

    /// The same lake for a program that knows these sections.
    #[must_use]
    pub fn with_sections(self, sections: SectionList) -> Lake {
        Lake { sections, ..self }
    }

    /// The sections that this program knows.
    pub fn sections(&self) -> &SectionList {
        &self.sections
    }

    /// The files.
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// Creates those of the first four tables that do not exist, checks the others, and returns those that it created. Later tables are
    /// created when there is something for them: see [`Lake::ensure_later_table`].
    ///
    /// # Errors
    /// The store or the catalog fails, or an existing table cannot be used. The call can be repeated.
    pub async fn ensure_tables(&self) -> Result<Vec<Table>, LakeError> {
        let mut made = Vec::new();
        for table in self.tables().iter().copied().filter(|table| table.is_first()) {
            if self.make_table(table, &BTreeMap::new()).await? {
                made.push(table);
            }
        }
        Ok(made)
    }

    /// Creates a table, unless it exists, that counts these entries as applied; returns whether it was missing.
    ///
    /// # Errors
    /// The store or the catalog fails, or the table that is there afterwards cannot be read or used.
    pub(crate) async fn make_table(&self, table: Table, applied: &BTreeMap<ShardId, u64>) -> Result<bool, LakeError> {
        let is_missing = self.pointers.load(table.name()).await?.is_none();
        if is_missing {
            let location = self.store.uri(&table.location());
            let unsuitable =
                |e: iceberg::Error| LakeError::Unsuitable { table: table.name().to_owned(), what: e.to_string() };
            let mut properties = table.properties();
            properties.insert(APPLIED.to_owned(), applied_json(applied));
            let metadata = metadata::first(table, location.clone(), properties)
                .and_then(|builder| builder.assign_uuid(self.ids.uuid()).build())
                .map_err(unsuitable)?
                .metadata;
            let file = metadata::next_location(&location, None, self.ids.uuid());
            let body = metadata::encode(table, &metadata, Some(self.ids.now_ms()))?;
            self.put_metadata(table, &file, body).await?;
            match self.pointers.create(table.name(), &file, metadata.current_schema()).await {
                // A conflict: another process created it, or this call did and its first answer was lost.
                Ok(SwapOutcome::Swapped | SwapOutcome::Conflict) => {}
                Err(e) if e.remedy() == Remedy::Look && self.pointers.load(table.name()).await?.is_some() => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.load(table).await.map(|_| is_missing)
    }

    /// The table as it is now.
    ///
    /// # Errors
    /// The table does not exist, cannot be read, or is not one that this crate can use.
    pub async fn load(&self, table: Table) -> Result<LoadedTable, LakeError> {
        let name = table.name();
        let mut tried: Option<String> = None;
        loop {
            let location = self.pointers.load(name).await?;
            let location = location.ok_or_else(|| LakeError::NoTable { table: name.to_owned() })?;
            match TableMetadata::read_from(&self.io, &location).await {
                Ok(metadata) => {
                    metadata::check(table, &metadata)?;
                    return Ok(LoadedTable { table, location, metadata });
                }
                // The file may be gone because other committers have moved far ahead: look again, if the pointer has moved.
                Err(e) => {
                    let error = LakeError::from_iceberg(name, &location, &e);
                    if !matches!(error, LakeError::Damaged { .. }) || tried.as_ref() == Some(&location) {
                        return Err(error);
                    }
                    tried = Some(location);
                }
            }
        }
    }

    /// The table as it is now, for a caller that wants to change it.
    ///
    /// # Errors
    /// Those of [`Lake::load`], and [`LakeError::TooNew`] if changing the table takes a newer program.
    pub(crate) async fn load_to_commit(&self, table: Table) -> Result<LoadedTable, LakeError> {
        let loaded = self.load(table).await?;
        loaded.check_requires()?;
        Ok(loaded)
    }

    /// Stores a metadata file under a new name.
    ///
    /// # Errors
    /// [`LakeError::Store`]: the URI lies outside of the store, or the store did not confirm the file.
    pub(crate) async fn put_metadata(&self, table: Table, uri: &str, body: bytes::Bytes) -> Result<(), LakeError> {
        let put = async { self.store.put_new(&self.store.relative(uri)?, body).await };
        put.await.map_err(|source| LakeError::Store { table: table.name().to_owned(), source })
    }
}
