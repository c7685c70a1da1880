//! Tables that a lake gains after its first four.
//!
//! The first four are created with the lake and start with nothing applied: one that was dropped is filled again from the journal. A later
//! table is created when there is something for it, in a lake whose journals may be long and folded. It starts at a point where no file of
//! it can have been stored yet, so that nobody has to read all earlier entries.

use crate::checkpoint::Checkpoint;
use crate::entry::Entry;
use crate::error::LakeError;
use crate::journal::Journal;
use crate::lake::{Lake, LoadedTable};
use crate::schema::Table;
use crate::section_list::SectionList;
use authpulse_event::ShardId;
use std::collections::BTreeMap;

/// Entries read from a journal at once.
const ENTRIES_AT_ONCE: usize = 200;

impl Lake {
    /// Creates a later table if it is missing; returns whether it did. To be called before the first entry that names a file of it is
    /// stored.
    ///
    /// For each shard the new table counts as applied the entries up to the journal's tail as it was before. If entries name files of it
    /// already, because it was dropped, it counts only those before the first of them. If that one is folded, commits are refused, as they
    /// are for a dropped table of the first four.
    ///
    /// # Errors
    /// A journal, the store or the catalog fails, or a table of that name cannot be used. The call can be repeated.
    pub async fn ensure_later_table(&self, journal: &dyn Journal, table: Table) -> Result<bool, LakeError> {
        if self.load_later(table).await?.is_some() {
            return Ok(false);
        }
        let mut applied = BTreeMap::new();
        for shard in journal.shards().await? {
            let n = held_by_new(journal, self.sections(), &shard, table).await?;
            if n > 0 {
                applied.insert(shard, n);
            }
        }
        self.make_table(table, &applied).await
    }

    /// A table; `None` if it is a later one that does not exist yet.
    ///
    /// # Errors
    /// As for [`Lake::load`].
    pub async fn load_later(&self, table: Table) -> Result<Option<LoadedTable>, LakeError> {
        match self.load(table).await {
            Ok(loaded) => Ok(Some(loaded)),
            Err(LakeError::NoTable { .. }) if !table.is_first() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The tables of this program's list that the lake has; the first four always.
    ///
    /// # Errors
    /// The catalog fails.
    pub async fn made_tables(&self) -> Result<Vec<Table>, LakeError> {
        let mut made = Vec::new();
        for table in self.tables().iter().copied() {
            if table.is_first() || self.pointers.load(table.name()).await?.is_some() {
                made.push(table);
            }
        }
        Ok(made)
    }
}

/// The last entry of a shard up to which a new table lacks nothing.
async fn held_by_new(
    journal: &dyn Journal,
    known: &SectionList,
    shard: &ShardId,
    table: Table,
) -> Result<u64, LakeError> {
    // From here on, a writer that stores a file of the table has first created the table or found it.
    let Some(tail) = journal.tail(shard).await? else { return Ok(0) };
    let checkpoint = match journal.checkpoint(shard).await? {
        Some((through, body)) => Some(Checkpoint::decode(shard, through, &body, known)?),
        None => None,
    };
    let mut n = 0;
    if let Some(checkpoint) = checkpoint {
        if checkpoint.tables().contains(&table) {
            let counted = checkpoint.rows.iter().any(|rows| rows.table == table);
            let first =
                checkpoint.files.iter().filter(|folded| folded.file.table == table).map(|folded| folded.n).min();
            return Ok(first.filter(|_| !counted).map_or(0, |first| first - 1));
        }
        n = checkpoint.through;
    }
    while n < tail {
        let bodies = journal.list(shard, n + 1, ENTRIES_AT_ONCE).await?;
        if bodies.is_empty() {
            break;
        }
        for (at, body) in bodies {
            // Others may have folded the entries in between; the new checkpoint then has what a commit needs.
            if at != n + 1
                || at > tail
                || Entry::decode(shard, at, &body, known)?.files.iter().any(|file| file.table == table)
            {
                return Ok(n);
            }
            n = at;
        }
    }
    Ok(n)
}
