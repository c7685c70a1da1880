//! Changes of a table that add no rows: files are replaced by others, manifests are merged, snapshots expire.
//!
//! Each is a commit like any other: it is written beside the table, then swapped in if the table is still the one that was loaded.
//! Properties, `applied` among them, stay as they are.

use super::changed::{Changed, Unreached};
use super::expire::Expiry;
use super::holds;
use super::prepare::{Next, Prepared};
use super::replace::Replacement;
use super::snapshots;
use crate::catalog::SwapOutcome;
use crate::error::{LakeError, Remedy};
use crate::lake::{Lake, LoadedTable};
use crate::schema::Table;

/// A change to make to a table.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change<'a> {
    /// Replaces files by others. If more than `manifests_max` small manifests are left, they are merged as well.
    Replace { replacements: &'a [Replacement], manifests_max: usize },
    /// Removes snapshots.
    Expire(Expiry<'a>),
}

impl Lake {
    /// Makes a change. If it has become pointless by the time of the swap, nothing is done, and that is not an error.
    ///
    /// # Errors
    /// The store or the catalog fails, the table needs a newer program, or other commits came first in every attempt.
    pub(crate) async fn change(&self, table: Table, change: Change<'_>) -> Result<Changed, LakeError> {
        let mut unclear: Option<(Changed, String, LakeError)> = None;
        let mut doubtful = false;
        for _ in 0..self.settings.attempts.max(1) {
            let loaded = self.load_to_commit(table).await?;
            if let Some((changed, location, _)) = unclear.take()
                && holds(&loaded, &location)
            {
                return Ok(Changed { done: true, doubtful, ..changed });
            }
            let planned = match self.plan_change(&loaded, change).await {
                Ok(planned) => planned,
                // Another committer may have removed what this one was reading.
                Err(e) if e.remedy() == Remedy::Restore => {
                    if self.pointers.load(table.name()).await?.as_ref() == Some(&loaded.location) {
                        return Err(e);
                    }
                    continue;
                }
                Err(e) => return Err(e),
            };
            let (prepared, mut changed) = match planned {
                (Some(prepared), changed) => (prepared, changed),
                (None, changed) => return Ok(Changed { doubtful, ..changed }),
            };
            for uri in &prepared.unreachable {
                if let Ok(path) = self.store.relative(uri) {
                    changed.unreached.push(Unreached { path, bytes: 0 });
                }
            }
            (self.probe)(&format!("maintain swap before:{table}"));
            match self.pointers.swap(table.name(), &loaded.location, &prepared.location, &prepared.schema).await {
                Ok(SwapOutcome::Swapped) => {
                    (self.probe)(&format!("maintain swap after:{table}"));
                    return Ok(Changed { done: true, doubtful, ..changed });
                }
                Ok(SwapOutcome::Conflict) => {}
                Err(e) if e.remedy() == Remedy::Look => {
                    doubtful = true;
                    unclear = Some((changed, prepared.location, e.into()));
                }
                Err(e) => return Err(e.into()),
            }
        }
        match unclear {
            Some((_, _, error)) => Err(error),
            None => Err(LakeError::Contended { table: table.name().to_owned(), attempts: self.settings.attempts }),
        }
    }

    async fn plan_change(
        &self,
        loaded: &LoadedTable,
        change: Change<'_>,
    ) -> Result<(Option<Prepared>, Changed), LakeError> {
        match change {
            Change::Replace { replacements, manifests_max } => {
                self.plan_replacement(loaded, replacements, manifests_max).await
            }
            Change::Expire(expiry) => {
                let changed = self.unreached_after(loaded, expiry).await?;
                if changed.expired == 0 {
                    return Ok((None, changed));
                }
                let now = self.ids.now_ms().max(loaded.metadata.last_updated_ms());
                let gone = snapshots::to_expire(&loaded.metadata, expiry.keep, expiry.before_ms);
                let prepared = self.write_metadata(loaded, Next { dropped: &gone, ..Next::default() }, now).await?;
                Ok((Some(prepared), changed))
            }
        }
    }
}
