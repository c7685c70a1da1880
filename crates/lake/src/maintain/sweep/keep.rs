//! Which files stay although no table names them any more and no pending entry does.

use super::super::held::{self, KeptForFollowers};
use super::super::journals::Shards;
use super::super::report::{CleanReport, Tally};
use super::{Candidates, Reason, Rows};
use crate::error::LakeError;
use crate::journal::Journal;
use crate::lake::Lake;
use crate::schema::Table;
use authpulse_event::{ProcessingTime, Span};
use std::collections::{BTreeMap, BTreeSet};

/// Keeps files of applied entries if their table's number of rows differs from what the entries brought: the files may be the only copy of
/// rows that another engine dropped.
pub(super) fn what_is_missing(candidates: &mut Candidates, live: &Rows, named: &Rows, report: &mut CleanReport) {
    let mut kept: BTreeMap<Table, Tally> = BTreeMap::new();
    // If a live file states no partition, only the whole table can be compared.
    let whole: BTreeSet<Table> = live.keys().filter(|(_, p)| p.is_none()).map(|(table, _)| *table).collect();
    let sum = |rows: &Rows, table: Table| rows.iter().filter(|((t, _), _)| *t == table).map(|(_, n)| n).sum::<u64>();
    let same = |table: Table, partition: Option<i32>| {
        if whole.contains(&table) || partition.is_none() {
            return sum(live, table) == sum(named, table);
        }
        live.get(&(table, partition)).copied().unwrap_or(0) == named.get(&(table, partition)).copied().unwrap_or(0)
    };
    candidates.retain(|_, (meta, reason)| match reason {
        Reason::Replaced(table, partition) if !same(*table, *partition) => {
            kept.entry(*table).or_default().add(meta.size);
            false
        }
        _ => true,
    });
    for (table, tally) in kept {
        report.notes.push(format!(
            "{} files of {table} ({} bytes) stay, although the table names them no more: it holds other than the rows that \
             entries brought; run `authpulse verify`",
            tally.files, tally.bytes
        ));
    }
}

/// Keeps files of entries that a follower lacks, even if they were gathered or replaced, because the follower reads entry by entry. Runs
/// last, so that the registry is read as late as possible.
///
/// # Errors
/// The registry or a journal cannot be read.
pub(super) async fn what_is_held(
    lake: &Lake,
    journal: &dyn Journal,
    times: (ProcessingTime, Span),
    candidates: &mut Candidates,
    report: &mut CleanReport,
) -> Result<(), LakeError> {
    if !candidates.keys().any(|path| held::is_of_entry(path)) {
        return Ok(());
    }
    let shards = Shards::read(lake.store.as_ref(), journal, lake.sections()).await?;
    let held = KeptForFollowers::read(journal, &shards, times, |_| 0).await?.files(journal, &shards).await?;
    candidates.retain(|path, (meta, _)| {
        let is_held = held.contains(path);
        if is_held {
            report.held.add(meta.size);
        }
        !is_held
    });
    Ok(())
}
