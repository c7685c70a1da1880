//! Merges the small files of a partition into few, sorted ones, in one `replace` snapshot per batch of groups.
//!
//! A group's new file is written first, under a name that nobody else uses. Then the table is changed, if all of the group's files are
//! still in it. If another change came first the group is pointless, and its new file is removed again. A crash in between leaves a file
//! that the cleaner finds later.

use super::report::TableReport;
use crate::commit::change::Change;
use crate::commit::changed::Changed;
use crate::commit::replace::Replacement;
use crate::encode::TableFile;
use crate::error::LakeError;
use crate::lake::Lake;
use crate::merging::{Group, Merged, PlanLimits, groups, merge, unsuitable};
use crate::schema::{Partition, Table};
use crate::store::put_once;
use std::collections::BTreeSet;

/// Bytes that are rewritten before they are committed: the most that a crash can cost.
const COMMIT_BYTES: u64 = 1 << 30;
/// Most groups that are rewritten before they are committed.
const COMMIT_GROUPS: usize = 64;
/// How often a table's files are planned at most: each round leaves fewer.
const ROUNDS_MAX: u32 = 20;

/// Compacts a table. `closed` tells which partitions get no more rows.
///
/// # Errors
/// The store or the catalog fails, a file is damaged, the table needs a newer program, or other commits came first in every attempt.
pub(super) async fn compact(
    lake: &Lake,
    table: Table,
    limits: &PlanLimits,
    closed: impl Fn(Partition) -> bool,
    dry_run: bool,
    report: &mut TableReport,
) -> Result<(), LakeError> {
    let loaded = lake.load_to_commit(table).await?;
    if let Some(why) = unsuitable(table, &loaded.metadata) {
        report.notes.push(format!("its files are not compacted: {why}"));
        return Ok(());
    }
    let mut passed_over = BTreeSet::new();
    for _ in 0..ROUNDS_MAX {
        let live = match lake.live_files(table).await {
            Ok(live) => live,
            Err(LakeError::Unsuitable { what, .. }) => {
                report.notes.push(format!("its files are not compacted: {what}"));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let planned = groups(table, &live.files, limits, &closed, &passed_over);
        if planned.is_empty() {
            return Ok(());
        }
        if dry_run {
            for group in planned {
                report.compacted.add(&group, None);
            }
            return Ok(());
        }
        let mut rest = planned.as_slice();
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(batch_len(rest));
            rest = later;
            rewrite(lake, table, batch, &mut passed_over, report).await?;
        }
    }
    Ok(())
}

/// How many of the first groups are committed together.
fn batch_len(groups: &[Group]) -> usize {
    let mut bytes = 0;
    let within = groups.iter().take(COMMIT_GROUPS).take_while(|group| {
        bytes += group.bytes();
        bytes <= COMMIT_BYTES
    });
    within.count().max(1)
}

async fn rewrite(
    lake: &Lake,
    table: Table,
    batch: &[Group],
    passed_over: &mut BTreeSet<String>,
    report: &mut TableReport,
) -> Result<(), LakeError> {
    let mut replacements = Vec::new();
    let mut groups = Vec::new();
    // If a column is added meanwhile it is null in these rows, whether their file has it or not.
    let loaded = lake.load(table).await?;
    for group in batch {
        let encoded = match merge(lake, &loaded, group).await {
            Ok(Merged::File { file, .. }) => file,
            Ok(Merged::PassOver(path, why)) => {
                report.notes.push(format!("{path} is left as it is: {why}"));
                passed_over.insert(path);
                continue;
            }
            // Another engine may have replaced the files and removed them after they were listed.
            Err(error @ LakeError::Damaged { .. }) => {
                let live = lake.live_files(table).await?;
                let alive = |path: &String| live.files.binary_search_by(|f| f.path.cmp(path)).is_ok();
                if group.files.iter().all(|file| alive(&file.path)) {
                    return Err(error);
                }
                report.compacted.dropped += 1;
                continue;
            }
            Err(error) => return Err(error),
        };
        let path = encoded.path(&format!("compact-{}", lake.ids.uuid().simple()));
        let (file, bytes) = encoded.finish(path);
        (lake.probe)(&format!("compact file before:{table}"));
        put_once(lake.store.as_ref(), &file.path, bytes)
            .await
            .map_err(|source| LakeError::Store { table: table.name().to_owned(), source })?;
        (lake.probe)(&format!("compact file after:{table}"));
        replacements.push(Replacement { gone: group.files.iter().map(|f| f.path.clone()).collect(), new: vec![file] });
        groups.push(group);
    }
    if replacements.is_empty() {
        return Ok(());
    }
    let change = Change::Replace { replacements: &replacements, manifests_max: usize::MAX };
    let changed = lake.change(table, change).await?;
    for ((group, replacement), taken) in groups.into_iter().zip(&replacements).zip(&changed.taken) {
        if *taken {
            report.compacted.add(group, replacement.new.first());
        } else {
            report.compacted.dropped += 1;
            remove_unused(lake, &changed, &replacement.new).await;
            // Not again in this run: whoever changed the table may still be changing it.
            passed_over.extend(replacement.gone.iter().cloned());
        }
    }
    report.notes.extend(changed.why_not);
    super::remove_unreached(lake, table, changed.unreached, report).await;
    Ok(())
}

/// Removes new files that no table names. After an unclear answer a table might name them; then they are left to the cleaner.
async fn remove_unused(lake: &Lake, changed: &Changed, files: &[TableFile]) {
    if changed.doubtful {
        return;
    }
    for file in files {
        // Failing here loses nothing: the cleaner finds the file later.
        let _ = lake.store.delete(&file.path).await;
    }
}
