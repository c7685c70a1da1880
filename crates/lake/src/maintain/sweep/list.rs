//! Lists the files of the lake that are old enough to be examined.

use super::{Candidates, Memory, Reason};
use crate::error::LakeError;
use crate::lake::Lake;
use crate::schema::Table;
use authpulse_event::ProcessingTime;

/// The files that are old enough, and what unfinished puts have left.
///
/// # Errors
/// The store cannot list files.
pub(super) async fn list(lake: &Lake, older_than: ProcessingTime, memory: &Memory) -> Result<Candidates, LakeError> {
    let tables = lake.tables().iter().map(|table| format!("{}/", table.location()));
    let mut candidates = Candidates::new();
    for prefix in tables.chain(["raw/", "staging/", "state/"].map(str::to_owned)) {
        let listed = lake.store.list(&prefix).await.map_err(|source| of_cleaner(&prefix, source))?;
        let unfinished = lake.store.unfinished(&prefix).await.map_err(|source| of_cleaner(&prefix, source))?;
        // Readers of such zones skip names that begin with '_' or '.', and so does this: such a file holds no records.
        let hidden = |path: &str| path.rsplit('/').next().is_some_and(|name| name.starts_with(['_', '.']));
        let visible = listed.into_iter().filter(|file| !hidden(&file.path));
        for file in visible.chain(unfinished).filter(|file| file.modified <= older_than) {
            let is_examined = memory.examined.is_some_and(|examined| file.modified <= examined);
            let reason = match table_of(lake, &prefix) {
                // If no entry had named it, it would be gone already. Its partition is not known any more.
                Some(table) if is_examined && file.path.contains("/data/") => Reason::Replaced(table, None),
                Some(_) => Reason::Orphan,
                // Other files may be kept there as well.
                None if !is_ours(&file.path) => continue,
                // Which pieces of state are needed is known without reading the entries that named the others.
                None if file.path.ends_with(PIECE) => Reason::OldState,
                None if is_examined => continue,
                None => Reason::Orphan,
            };
            candidates.insert(file.path.clone(), (file, reason));
        }
    }
    Ok(candidates)
}

/// The table in whose directory a file lies.
pub(super) fn table_of(lake: &Lake, path: &str) -> Option<Table> {
    lake.tables().iter().copied().find(|table| path.starts_with(&format!("{}/", table.location())))
}

/// Suffix of the pieces of snapshots of state.
const PIECE: &str = ".apst.zst";

/// Whether a file of the raw zone, the staging area or the state could be named by an entry, or be the beginning of such a file.
fn is_ours(path: &str) -> bool {
    [".parquet", PIECE, ".side.json.zst", ".tmp"].iter().any(|end| path.ends_with(end))
}

fn of_cleaner(prefix: &str, source: crate::store::StoreError) -> LakeError {
    LakeError::Store { table: prefix.trim_end_matches('/').to_owned(), source }
}
