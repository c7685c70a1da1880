//! Rewrites files of entries whose later columns the table by now has under other ids, or has no more. They are written again under the
//! table's ids before they are appended. The entries stay as they were stored, and the files that they name stay where they are.
//!
//! Rows, their order and their values are the same, except in a column whose name somebody else has taken: its values are left out. A
//! file's columns become the table's in the same way as when files are merged (`merging/align.rs`): here a group has one file.

use crate::encode::TableFile;
use crate::error::LakeError;
use crate::lake::{Lake, LoadedTable};
use crate::merging::{Group, Merged, merge};
use crate::read::LiveFile;
use crate::schema::FileColumn;
use crate::schema::compare::{ColumnMatch, Wanted, find};
use crate::store::put_once;
use iceberg::spec::Schema;
use std::collections::BTreeMap;

/// What an attempt has made of the files to append; the next attempt reuses what still fits the table.
#[derive(Default)]
pub(super) struct Fitted {
    /// Rewritten files, by the path of the file that an entry names.
    rewritten: BTreeMap<String, Rewritten>,
    /// The files to append.
    pub(super) files: Vec<TableFile>,
    /// What was rewritten, for people.
    pub(super) notes: Vec<String>,
}

struct Rewritten {
    /// The columns that stayed, with the table's ids.
    columns: Vec<FileColumn>,
    file: TableFile,
    note: String,
}

/// What becomes of a file's later columns.
struct Plan {
    /// Columns that stay, as they are in the file and in the table.
    stay: Vec<(FileColumn, FileColumn)>,
    /// Columns that are left out, each with the reason.
    go: Vec<(FileColumn, String)>,
    /// Whether the table lacks a column, which must be added first.
    is_lacking: bool,
}

/// The later columns of these files that a table's schema lacks: each once, in the order of the files.
pub(super) fn lacking(schema: &Schema, files: &[&TableFile]) -> Vec<Wanted> {
    let mut lacking: Vec<Wanted> = Vec::new();
    for column in files.iter().flat_map(|file| &file.columns) {
        let wanted = Wanted::from(column);
        let is_new = lacking.iter().all(|known| known.name != wanted.name);
        if is_new && find(schema, &wanted) == ColumnMatch::Lacking {
            lacking.push(wanted);
        }
    }
    lacking
}

/// What is to be done with a file; `None` if it can be appended as it is.
fn plan(schema: &Schema, file: &TableFile) -> Option<Plan> {
    let mut plan = Plan { stay: Vec::new(), go: Vec::new(), is_lacking: false };
    for column in &file.columns {
        match find(schema, &Wanted::from(column)) {
            ColumnMatch::Ours(found) => plan.stay.push((column.clone(), found)),
            ColumnMatch::Taken(why) => plan.go.push((column.clone(), why)),
            ColumnMatch::Lacking => plan.is_lacking = true,
        }
    }
    let fits = !plan.is_lacking && plan.go.is_empty() && plan.stay.iter().all(|(own, theirs)| own == theirs);
    (!fits).then_some(plan)
}

impl Lake {
    /// The files to append instead of `files`. `before` is the result of the previous attempt.
    ///
    /// # Errors
    /// A file cannot be read, merged or written, or others keep dropping the columns that are added.
    pub(super) async fn fit(
        &self,
        loaded: &LoadedTable,
        files: &[&TableFile],
        before: Fitted,
    ) -> Result<Fitted, LakeError> {
        let mut before = before.rewritten;
        let mut fitted = Fitted::default();
        for file in files {
            let Some(plan) = plan(loaded.metadata.current_schema(), file) else {
                fitted.files.push((*file).clone());
                continue;
            };
            if plan.is_lacking {
                // Others keep dropping what is added here.
                let table = loaded.table.name().to_owned();
                return Err(LakeError::Contended { table, attempts: self.settings.attempts });
            }
            let columns: Vec<FileColumn> = plan.stay.iter().map(|(_, theirs)| theirs.clone()).collect();
            let rewritten = match before.remove(&file.path).filter(|known| known.columns == columns) {
                Some(known) => known,
                None => self.rewrite(loaded, file, &plan, columns).await?,
            };
            fitted.files.push(rewritten.file.clone());
            fitted.notes.push(rewritten.note.clone());
            fitted.rewritten.insert(file.path.clone(), rewritten);
        }
        Ok(fitted)
    }

    async fn rewrite(
        &self,
        loaded: &LoadedTable,
        file: &TableFile,
        plan: &Plan,
        columns: Vec<FileColumn>,
    ) -> Result<Rewritten, LakeError> {
        let table = file.table;
        let group = Group { partition: file.partition(), files: vec![LiveFile::from(file)] };
        let (encoded, left_out) = match merge(self, loaded, &group).await? {
            Merged::File { file, left_out } => (file, left_out),
            Merged::PassOver(path, what) => {
                return Err(LakeError::Damaged { table: table.name().to_owned(), file: path, what });
            }
        };
        let path = encoded.path(&format!("fit-{}", self.ids.uuid().simple()));
        let note = note(&path, plan, file, &left_out);
        let (file, bytes) = encoded.finish(path);
        (self.probe)(&format!("fit file before:{table}"));
        put_once(self.store.as_ref(), &file.path, bytes)
            .await
            .map_err(|source| LakeError::Store { table: table.name().to_owned(), source })?;
        (self.probe)(&format!("fit file after:{table}"));
        Ok(Rewritten { columns, file, note })
    }
}

/// The note about a file that was rewritten as `path`.
fn note(path: &str, plan: &Plan, file: &TableFile, left_out: &BTreeMap<String, u64>) -> String {
    let names: Vec<&str> = plan.stay.iter().filter(|(a, b)| a != b).map(|(own, _)| own.name.as_str()).collect();
    let mut words = Vec::new();
    if !names.is_empty() {
        words.push(format!("the table has {} under another id by now", names.join(", ")));
    }
    for (column, why) in &plan.go {
        let values = left_out.get(&column.name).copied().unwrap_or(0);
        words.push(format!("{values} values of {} are left out: {why}", column.name));
    }
    format!("{} was written anew as {path}: {}", file.path, words.join("; "))
}

#[cfg(test)]
mod tests;
