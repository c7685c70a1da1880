//! The tables follow the journal: each entry's files are appended exactly once, however often a commit is tried, and by whomever.
//!
//! A commit loads a table's metadata and reads from it which entry of each shard was applied last. It appends the files of all later
//! entries as one snapshot, writes the new numbers into the same metadata, and swaps the pointer if that still points to what was loaded.
//! Check and swap concern the same metadata, so anyone may repeat a commit after any error.

pub(crate) mod change;
pub(crate) mod changed;
pub(crate) mod evolve;
pub(crate) mod expire;
mod gather;
mod later;
mod manifests;
mod prepare;
pub(crate) mod replace;
mod rewrite;
pub(crate) mod snapshots;
#[cfg(test)]
mod test_world;

pub use crate::lake::{CommitIds, CommitSettings, Lake, LoadedTable, Probe, SystemIds};
pub use crate::schema::ColumnIds;
pub use evolve::COLUMNS_KNOWN_FOR_MS;

use crate::catalog::SwapOutcome;
use crate::encode::TableFile;
use crate::error::{LakeError, Remedy};
use crate::schema::Table;
use authpulse_event::ShardId;
use gather::Gathered;
use prepare::{Pending, Prepared};
use rewrite::{Fitted, lacking};
use std::collections::BTreeMap;

/// What tables need of an entry. Entries count from 1.
#[derive(Clone, Copy, Debug)]
pub struct EntryFiles<'a> {
    /// The shard whose entry it is.
    pub shard: &'a ShardId,
    /// The entry's number.
    pub n: u64,
    /// Its files for all tables; a commit takes those of its own table.
    pub files: &'a [TableFile],
}

/// What a commit did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitReport {
    /// Entries that this call applied.
    pub entries: usize,
    /// Entries that the table held already.
    pub skipped: usize,
    /// Files appended.
    pub files: usize,
    /// Rows appended.
    pub rows: u64,
    /// The new snapshot; `None` if no row was appended.
    pub snapshot_id: Option<i64>,
    /// The table's metadata file (a URI) after this commit.
    pub metadata_location: String,
    /// The last entry applied of each shard, after this commit.
    pub applied: BTreeMap<ShardId, u64>,
    /// Messages for the log.
    pub notes: Vec<String>,
    /// How often the table was loaded; more than 1 if others changed it meanwhile, or an answer was lost.
    pub attempts: u32,
}

impl Lake {
    /// Brings one table up to the given entries. Entries that it holds already are skipped; the others must follow them without a gap.
    /// Every shard's number advances, even if an entry has no file of this table.
    ///
    /// # Errors
    /// The store or the catalog fails, the table needs a newer program, an entry is missing or cannot be used, or other commits came first
    /// in every attempt. In each case the call can be repeated with the same or more entries once the cause is gone.
    pub async fn commit(&self, table: Table, entries: &[EntryFiles<'_>]) -> Result<CommitReport, LakeError> {
        self.commit_after(table, &BTreeMap::new(), entries).await
    }

    /// The same for a table that lacks folded entries. `folded` says for each shard up to which entry none names a file of the table,
    /// according to its checkpoint. Only a later table may lack folded entries: those of the first four are folded only after the tables
    /// hold them.
    ///
    /// # Errors
    /// As for [`Lake::commit`].
    pub async fn commit_after(
        &self,
        table: Table,
        folded: &BTreeMap<ShardId, u64>,
        entries: &[EntryFiles<'_>],
    ) -> Result<CommitReport, LakeError> {
        // A swap whose answer was lost: the next look at the table shows whether it took place.
        let mut unclear: Option<(CommitReport, LakeError)> = None;
        let (mut fitted, mut gathered) = (Fitted::default(), Gathered::default());
        for attempt in 1..=self.settings.attempts.max(1) {
            let mut loaded = self.load_to_commit(table).await?;
            if let Some((report, _)) = unclear.take()
                && holds(&loaded, &report.metadata_location)
            {
                return Ok(CommitReport { attempts: attempt, ..report });
            }
            let mut pending = Pending::select(&loaded, folded, entries)?;
            if pending.entries == 0 && !pending.passed_folded {
                return Ok(CommitReport {
                    skipped: pending.skipped,
                    metadata_location: loaded.location,
                    applied: pending.applied,
                    attempts: attempt,
                    ..CommitReport::default()
                });
            }
            let wanted = lacking(loaded.metadata.current_schema(), &pending.files);
            if !wanted.is_empty() {
                loaded = self.with_columns(table, &self.described(table, wanted)).await?;
                pending = Pending::select(&loaded, folded, entries)?;
            }
            fitted = self.fit(&loaded, &pending.files, fitted).await?;
            gathered = self.gather(&loaded, &fitted.files.iter().collect::<Vec<_>>(), gathered).await;
            let pending = Pending { files: gathered.files.iter().collect(), ..pending };
            let prepared = match self.prepare(&loaded, &pending).await {
                Ok(prepared) => prepared,
                // Another committer may have removed what this one was reading.
                Err(e) if e.remedy() == Remedy::Restore => {
                    if self.pointers.load(table.name()).await?.as_ref() == Some(&loaded.location) {
                        return Err(e);
                    }
                    continue;
                }
                Err(e) => return Err(e),
            };
            let report = CommitReport {
                entries: pending.entries,
                skipped: pending.skipped,
                files: pending.files.len(),
                rows: pending.files.iter().map(|file| file.rows).sum(),
                snapshot_id: prepared.snapshot_id,
                metadata_location: prepared.location.clone(),
                applied: pending.applied,
                notes: fitted.notes.iter().chain(&gathered.notes).cloned().collect(),
                attempts: attempt,
            };
            (self.probe)(&format!("table swap before:{table}"));
            match self.pointers.swap(table.name(), &loaded.location, &prepared.location, &prepared.schema).await {
                Ok(SwapOutcome::Swapped) => {
                    (self.probe)(&format!("table swap after:{table}"));
                    self.remove_unreachable(&prepared).await;
                    return Ok(report);
                }
                // What was written for this attempt stays: only a cleaner that knows the whole table may remove it.
                Ok(SwapOutcome::Conflict) => {}
                Err(e) if e.remedy() == Remedy::Look => unclear = Some((report, e.into())),
                Err(e) => return Err(e.into()),
            }
        }
        match unclear {
            Some((_, error)) => Err(error),
            None => Err(LakeError::Contended { table: table.name().to_owned(), attempts: self.settings.attempts }),
        }
    }

    /// Removes files that no metadata names any more. Failing here loses nothing: a cleaner finds them later.
    async fn remove_unreachable(&self, prepared: &Prepared) {
        for uri in &prepared.unreachable {
            if let Ok(path) = self.store.relative(uri) {
                let _ = self.store.delete(&path).await;
            }
        }
    }
}

/// Whether a table's history contains this metadata file.
fn holds(loaded: &LoadedTable, location: &str) -> bool {
    loaded.location == location || loaded.metadata.metadata_log().iter().any(|log| log.metadata_file == location)
}
