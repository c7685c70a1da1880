//! Tables that a lake gains behind its first four.
//!
//! The first four are made with the lake and start at nothing: one that was dropped is filled again from the journal. A later one is
//! made when there is something for it, in a lake whose journals may be long and folded. It starts where no file of it can have been
//! stored yet, so that nobody need read all that was before.

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
    /// Makes a later table where it is missing, and tells whether it did. To be called before the first entry that names a file of it
    /// is stored.
    ///
    /// The table then says that it holds, of each shard, the entries up to the tail as it was before; where entries name files of it
    /// already, because it was dropped, those before the first of them. Where that one is folded, commits are refused as those of a
    /// dropped table of the first four are.
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

    /// A table, or none where it is a later one that is not made yet.
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

/// Up to which entry of a shard a new table lacks nothing.
async fn held_by_new(
    journal: &dyn Journal,
    known: &SectionList,
    shard: &ShardId,
    table: Table,
) -> Result<u64, LakeError> {
    // Whoever stores a file of it from here on has made the table first, or found it made.
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
            // Others may have folded what was in between: then the new checkpoint tells what a commit needs.
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
