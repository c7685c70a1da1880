//! Gathers the small files of one interval into one file per partition while a commit appends them. Each worker hands in its own files
//! every few seconds, and a query of the current day would have to open all of them.
//!
//! The rows are the same, in the table's order. The files that the entries name stay where they are, because state is rebuilt from them. No
//! table ever names them, and the cleaner removes them when they are old enough. Whatever fails here, the commit continues with the files
//! as they are: fewer files help readers, but nothing is promised about them.

use crate::encode::TableFile;
use crate::error::{Chain, LakeError};
use crate::lake::{Lake, LoadedTable};
use crate::merging::{Group, Merged, PlanLimits, groups, merge, unsuitable};
use crate::read::LiveFile;
use crate::store::put_once;
use std::collections::BTreeSet;

/// Files of a partition from which gathering pays: it reads each of them, and saves a query from opening them.
const FILES_MIN: usize = 3;
/// Most bytes of a gathered file.
const GATHERED_BYTES: u64 = 32 << 20;
/// Most rows that one commit gathers: about a second of work. A committer that catches up must not fall behind further.
const GATHERED_ROWS: u64 = 500_000;

/// What an attempt gathered; the next attempt reuses it if the files are the same.
#[derive(Default)]
pub(super) struct Gathered {
    from: Vec<String>,
    /// The files to append.
    pub(super) files: Vec<TableFile>,
    /// Why some files were left as they are, for people.
    pub(super) notes: Vec<String>,
}

impl Lake {
    /// The files to append instead of `files`. `before` is the result of the previous attempt.
    pub(super) async fn gather(&self, loaded: &LoadedTable, files: &[&TableFile], before: Gathered) -> Gathered {
        let from: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
        if from == before.from {
            return before;
        }
        let mut appended: Vec<TableFile> = files.iter().map(|file| (*file).clone()).collect();
        let mut notes = Vec::new();
        if unsuitable(loaded.table, &loaded.metadata).is_none() {
            for group in self.small_groups(loaded, files) {
                match self.gather_group(loaded, &group).await {
                    Ok(Some(file)) => {
                        let gone: BTreeSet<&str> = group.files.iter().map(|file| file.path.as_str()).collect();
                        appended.retain(|file| !gone.contains(file.path.as_str()));
                        appended.push(file);
                    }
                    Ok(None) => {}
                    Err(error) => {
                        let n = group.files.len();
                        notes.push(format!("{n} small files are appended as they are: {}", Chain(&error)));
                    }
                }
            }
        }
        Gathered { from, files: appended, notes }
    }

    fn small_groups(&self, loaded: &LoadedTable, files: &[&TableFile]) -> Vec<Group> {
        let small = files.iter().filter(|file| file.bytes < self.settings.gather_below);
        let small: Vec<LiveFile> = small.map(|file| LiveFile::from(*file)).collect();
        let limits = PlanLimits { target_bytes: GATHERED_BYTES, min_files: FILES_MIN };
        let mut rows = 0;
        let mut found = groups(loaded.table, &small, &limits, |_| true, &BTreeSet::new());
        found.retain(|group| {
            rows += group.rows();
            rows <= GATHERED_ROWS
        });
        found
    }

    async fn gather_group(&self, loaded: &LoadedTable, group: &Group) -> Result<Option<TableFile>, LakeError> {
        let table = loaded.table;
        let encoded = match merge(self, loaded, group).await? {
            Merged::File { file, left_out } if left_out.is_empty() => file,
            Merged::File { .. } | Merged::PassOver(..) => return Ok(None),
        };
        let path = encoded.path(&format!("gather-{}", self.ids.uuid().simple()));
        let (file, bytes) = encoded.finish(path);
        (self.probe)(&format!("gather file before:{table}"));
        put_once(self.store.as_ref(), &file.path, bytes)
            .await
            .map_err(|source| LakeError::Store { table: table.name().to_owned(), source })?;
        (self.probe)(&format!("gather file after:{table}"));
        Ok(Some(file))
    }
}
