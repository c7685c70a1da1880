//! What the tables hold now: their live files, and the rows in them, column by column. Used to rebuild state and by `verify`.
//!
//! If a file is missing, truncated, or differs in size or row count from what its table says, the error names the file and the table.

mod ids;
mod parquet_file;
mod rows;

pub use crate::cells::Value;
pub use ids::FileIds;
pub(crate) use ids::mapped;
pub(crate) use parquet_file::BATCH_ROWS;
pub use parquet_file::Batches;
pub use rows::{
    CuratedBatch, CuratedRow, DailyBatch, DailyRow, HourlyBatch, HourlyRow, PairBatch, PairRow, RawBatch, RawRow,
    RejectedBatch, RejectedRow, RowBatch, Rows, RowsAnd, ValueRows, Values,
};

use ids::Wanted;

use crate::encode::{TableFile, TimeRange};
use crate::error::LakeError;
use crate::lake::{Lake, LoadedTable};
use crate::schema::{RAW, Table};
use authpulse_event::{Day, ShardId};
use iceberg::spec::{DataContentType, Datum, Literal, ManifestContentType, ManifestEntry, PrimitiveLiteral};
use std::collections::BTreeMap;

/// A file as its table describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveFile {
    /// The table.
    pub table: Table,
    /// Where it is, relative to the lake.
    pub path: String,
    /// Rows in it.
    pub rows: u64,
    /// Bytes of it.
    pub bytes: u64,
    /// The partition spec of `partition`.
    pub spec_id: i32,
    /// Days or months since 1970; `None` if another engine wrote the file without such a partition.
    pub partition: Option<i32>,
    /// The range of the table's time column; `None` if another engine wrote no bounds.
    pub times: Option<TimeRange>,
    /// The snapshot that added it.
    pub snapshot_id: Option<i64>,
    /// That snapshot's sequence number.
    pub sequence_number: Option<i64>,
    /// The ids by which its columns are found.
    pub ids: FileIds,
}

impl From<&TableFile> for LiveFile {
    /// Describes a file of an entry, which the table may not hold yet.
    fn from(file: &TableFile) -> LiveFile {
        LiveFile {
            table: file.table,
            path: file.path.clone(),
            rows: file.rows,
            bytes: file.bytes,
            spec_id: file.spec_id,
            partition: Some(file.partition),
            times: file.times,
            snapshot_id: None,
            sequence_number: None,
            ids: FileIds::of_entry(&file.columns),
        }
    }
}

/// What a table holds at one moment.
#[derive(Clone, Debug)]
pub struct LiveTable {
    /// Which table.
    pub table: Table,
    /// Its current snapshot.
    pub snapshot_id: Option<i64>,
    /// The last entry applied of each shard: the files hold the rows up to it.
    pub applied: BTreeMap<ShardId, u64>,
    /// Its files, in order of path.
    pub files: Vec<LiveFile>,
}

impl Lake {
    /// The files of a table, and the entries whose rows they hold.
    ///
    /// # Errors
    /// The table or one of its manifests cannot be read, or another engine deleted single rows, which this crate cannot follow.
    pub async fn live_files(&self, table: Table) -> Result<LiveTable, LakeError> {
        loop {
            let loaded = self.load(table).await?;
            match self.files_of(&loaded).await {
                // Another committer may have removed what was being read.
                Err(LakeError::Damaged { .. })
                    if self.pointers.load(table.name()).await?.as_ref() != Some(&loaded.location) => {}
                other => return other,
            }
        }
    }

    async fn files_of(&self, loaded: &LoadedTable) -> Result<LiveTable, LakeError> {
        let table = loaded.table;
        let snapshot = loaded.metadata.current_snapshot();
        let manifests = match snapshot {
            Some(snapshot) => self.manifests(loaded, snapshot.manifest_list()).await?,
            None => Vec::new(),
        };
        let mut files = Vec::new();
        let ids = FileIds::of_table(loaded);
        for manifest in manifests {
            let read = manifest.load_manifest(&self.io).await;
            let read = read.map_err(|e| LakeError::from_iceberg(table.name(), &manifest.manifest_path, &e))?;
            for entry in read.entries().iter().filter(|entry| entry.is_alive()) {
                if manifest.content != ManifestContentType::Data || entry.content_type() != DataContentType::Data {
                    return Err(LakeError::Unsuitable {
                        table: table.name().to_owned(),
                        what: "another engine deleted single rows of it: compact the table with that engine first \
                               (Athena: OPTIMIZE … REWRITE DATA)"
                            .to_owned(),
                    });
                }
                files.push(self.live_file(table, &ids, manifest.partition_spec_id, entry)?);
            }
        }
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let snapshot_id = snapshot.map(|s| s.snapshot_id());
        Ok(LiveTable { table, snapshot_id, applied: loaded.applied()?, files })
    }

    /// A file as a manifest describes it.
    ///
    /// # Errors
    /// [`LakeError::Store`] if the file lies outside of the lake.
    pub(crate) fn live_file(
        &self,
        table: Table,
        ids: &FileIds,
        spec_id: i32,
        entry: &ManifestEntry,
    ) -> Result<LiveFile, LakeError> {
        let file = &entry.data_file;
        let path = self.store.relative(file.file_path());
        let path = path.map_err(|source| LakeError::Store { table: table.name().to_owned(), source })?;
        let partition = partition_of(entry);
        let id = table.schema().field_id_by_name(table.time_column());
        let bound = |bounds: &std::collections::HashMap<i32, Datum>| bounds.get(&id?).and_then(time_of);
        let times = bound(file.lower_bounds()).zip(bound(file.upper_bounds()));
        Ok(LiveFile {
            table,
            path,
            rows: file.record_count(),
            bytes: file.file_size_in_bytes(),
            spec_id,
            partition,
            times: times.map(|(min, max)| TimeRange { min, max }),
            snapshot_id: entry.snapshot_id,
            sequence_number: entry.sequence_number,
            ids: ids.clone(),
        })
    }

    /// How many rows a file really holds, according to its footer.
    ///
    /// # Errors
    /// The file is missing, truncated, or has another size than its description.
    pub async fn count_rows(&self, file: &LiveFile) -> Result<u64, LakeError> {
        let name = file.table.name();
        let footer = parquet_file::footer(self.store.as_ref(), name, &file.path, Some(file.bytes)).await?;
        Ok(u64::try_from(footer.metadata.file_metadata().num_rows()).unwrap_or(0))
    }

    /// A file's rows as Arrow batches. `columns` are the columns to read, under these names and in this order; all of the file's columns if
    /// `None`. `times` limits the rows; all rows if `None`. Only what is requested is read. A column that the file lacks is null.
    ///
    /// # Errors
    /// The file is missing, truncated, differs from its description, or lacks a column that may not be null.
    pub async fn read_columns(
        &self,
        file: &LiveFile,
        columns: Option<&[&str]>,
        times: Option<TimeRange>,
    ) -> Result<Batches, LakeError> {
        let named = |names: &[&str]| names.iter().map(|name| Wanted::named(file.table, &file.ids, name)).collect();
        self.open(file, columns.map(named), times).await
    }

    async fn open(
        &self,
        file: &LiveFile,
        wanted: Option<Vec<Wanted>>,
        times: Option<TimeRange>,
    ) -> Result<Batches, LakeError> {
        let filter = times.map(|times| (Wanted::named(file.table, &file.ids, file.table.time_column()), times));
        let expected = Some((file.rows, file.bytes));
        let names = (file.table.name(), file.path.as_str());
        Batches::open(self.store.as_ref(), names, &file.ids, expected, wanted, filter).await
    }

    async fn read_rows<B: RowBatch>(&self, file: &LiveFile, times: Option<TimeRange>) -> Result<Rows<B>, LakeError> {
        let wanted = B::columns().into_iter().map(Wanted::first).collect();
        Ok(Rows::new(self.open(file, Some(wanted), times).await?))
    }

    /// The values of some columns by name, including later ones; [`FileIds::later`] says which later ones there are.
    ///
    /// # Errors
    /// See [`Lake::read_columns`].
    pub async fn read_values(
        &self,
        file: &LiveFile,
        columns: &[&str],
        times: Option<TimeRange>,
    ) -> Result<ValueRows, LakeError> {
        Ok(ValueRows::new(self.read_columns(file, Some(columns), times).await?))
    }

    /// Rows of `auth_events_curated`, those within `times` or all, in the file's order.
    ///
    /// # Errors
    /// See [`Lake::read_columns`].
    pub async fn read_curated(
        &self,
        file: &LiveFile,
        times: Option<TimeRange>,
    ) -> Result<Rows<CuratedBatch>, LakeError> {
        self.read_rows(file, times).await
    }

    /// Rows of `auth_events_curated` with the values of some later columns, by name. In a column that the file lacks they are null.
    ///
    /// # Errors
    /// See [`Lake::read_columns`].
    pub async fn read_curated_and(
        &self,
        file: &LiveFile,
        later: &[&str],
        times: Option<TimeRange>,
    ) -> Result<RowsAnd<CuratedBatch>, LakeError> {
        let first = CuratedBatch::columns().into_iter().map(Wanted::first);
        let wanted = first.chain(later.iter().map(|name| Wanted::named(file.table, &file.ids, name))).collect();
        Ok(RowsAnd::new(self.open(file, Some(wanted), times).await?))
    }

    /// User and computer alone of rows of `auth_events_curated`: which user was ever accepted on which computer.
    ///
    /// # Errors
    /// See [`Lake::read_columns`].
    pub async fn read_pairs(&self, file: &LiveFile, times: Option<TimeRange>) -> Result<Rows<PairBatch>, LakeError> {
        self.read_rows(file, times).await
    }

    /// Rows of `user_behavior_hourly`.
    ///
    /// # Errors
    /// See [`Lake::read_columns`].
    pub async fn read_hourly(&self, file: &LiveFile, times: Option<TimeRange>) -> Result<Rows<HourlyBatch>, LakeError> {
        self.read_rows(file, times).await
    }

    /// Rows of `host_popularity_daily`.
    ///
    /// # Errors
    /// See [`Lake::read_columns`].
    pub async fn read_daily(&self, file: &LiveFile, times: Option<TimeRange>) -> Result<Rows<DailyBatch>, LakeError> {
        self.read_rows(file, times).await
    }

    /// Rows of `auth_events_rejected`.
    ///
    /// # Errors
    /// See [`Lake::read_columns`].
    pub async fn read_rejected(
        &self,
        file: &LiveFile,
        times: Option<TimeRange>,
    ) -> Result<Rows<RejectedBatch>, LakeError> {
        self.read_rows(file, times).await
    }

    /// Records of a raw file.
    ///
    /// # Errors
    /// The file is missing, truncated or not a raw file.
    pub async fn read_raw(&self, path: &str) -> Result<Rows<RawBatch>, LakeError> {
        let wanted = RawBatch::columns().into_iter().map(Wanted::first).collect();
        let ids = FileIds::default();
        Ok(Rows::new(Batches::open(self.store.as_ref(), (RAW, path), &ids, None, Some(wanted), None).await?))
    }
}

/// Days or months since 1970; `None` if another engine wrote the file without such a partition.
pub(crate) fn partition_of(entry: &ManifestEntry) -> Option<i32> {
    match entry.data_file.partition().fields() {
        [Some(Literal::Primitive(PrimitiveLiteral::Int(value)))] => Some(*value),
        _ => None,
    }
}

fn time_of(bound: &Datum) -> Option<i64> {
    match bound.literal() {
        PrimitiveLiteral::Long(micros) => Some(*micros),
        PrimitiveLiteral::Int(day) => Some(Day(*day).start().micros()),
        _ => None,
    }
}
