//! Files that another engine, or a compaction, put in the place of those that entries name: the same rows, or a difference.

use super::files::lake_error;
use super::report::VerifyReport;
use super::stop::{Check, ROLL_BACK, differ};
use super::tables::{AuditedFile, Files, Replaced};
use authpulse_journal::env::Env;
use authpulse_lake::Table;
use authpulse_lake::read::Value;
use authpulse_lake::schema::{FileColumn, becomes};
use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;

/// Two sums over the rows of some files, the same whatever their order.
type Digest = (u64, u64);

/// Compares what is gone with what came for it, where what is gone can still be read.
pub(super) async fn compare(env: &Env, files: &Files, report: &mut VerifyReport) -> Check<()> {
    let keys = (RandomState::new(), RandomState::new());
    for (table, replaced) in &files.replaced {
        let mut unreadable = 0;
        for file in &replaced.gone {
            unreadable += u64::from(env.store.size(&file.live.path).await?.is_none());
        }
        if unreadable > 0 {
            report.notes.push(format!(
                "{table}: {unreadable} of {} files of entries were replaced and are removed: the rows that took their place were \
                 compared by number, and with the other tables",
                replaced.gone.len()
            ));
            continue;
        }
        if replaced.folded > 0 {
            report.notes.push(format!(
                "{table}: {} rows of folded entries lie in files that replaced theirs: they were compared by number, and with the \
                 other tables",
                replaced.folded
            ));
            continue;
        }
        let columns = columns(*table, replaced);
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        // Without partitions there is only the whole.
        let whole = replaced.new.iter().any(|f| f.live.partition.is_none());
        let key = |file: &AuditedFile| file.live.partition.filter(|_| !whole);
        let mut digests: BTreeMap<Option<i32>, (Digest, Digest)> = BTreeMap::new();
        for file in &replaced.gone {
            add_rows(env, file, &columns, &keys, &mut digests.entry(key(file)).or_default().0).await?;
        }
        for file in &replaced.new {
            add_rows(env, file, &columns, &keys, &mut digests.entry(key(file)).or_default().1).await?;
        }
        for (partition, (gone, new)) in digests {
            if gone != new {
                let name = partition.map(|p| format!(", partition {}", table.partition_from_value(p)));
                let place = format!("table {table}{}", name.unwrap_or_default());
                let what = "rows were changed when files were replaced";
                let new = replaced.new.iter().filter(|f| key(f) == partition);
                let names: Vec<&str> = new.map(|f| f.live.path.as_str()).collect();
                let found = format!("others in {}", names.join(", "));
                return Err(differ(what, place, "the rows that entries stored", found, ROLL_BACK));
            }
        }
    }
    Ok(())
}

/// The columns that are compared: those with which the table is made, and those later ones of which an entry tells and which the
/// table still has, of a type to which theirs may have been promoted.
fn columns(table: Table, replaced: &Replaced) -> Vec<String> {
    let mut names: Vec<String> = table.columns().iter().map(|column| column.name.to_owned()).collect();
    let Some(now) = replaced.new.first() else { return names };
    let is_kept = |column: &FileColumn| {
        let same = |theirs: &&FileColumn| theirs.name == column.name && becomes(&column.kind, &theirs.kind);
        now.live.ids.later().iter().any(|theirs| same(&theirs))
    };
    let of_entries = replaced.gone.iter().flat_map(|file| file.live.ids.later());
    let later: BTreeSet<&str> =
        of_entries.filter(|column| is_kept(column)).map(|column| column.name.as_str()).collect();
    names.extend(later.into_iter().map(str::to_owned));
    names
}

async fn add_rows(
    env: &Env,
    file: &AuditedFile,
    columns: &[&str],
    keys: &(RandomState, RandomState),
    sums: &mut Digest,
) -> Check<()> {
    let failed = lake_error(file);
    for batch in env.lake.read_values(&file.live, columns, None).await.map_err(&failed)? {
        let batch = batch.map_err(&failed)?;
        for row in 0..batch.len() {
            let value = |nth: usize| match batch.value(row, nth) {
                // The table may have promoted it.
                Some(Value::Int(n)) => Some(Value::Long(n.into())),
                other => other,
            };
            let text = format!("{:?}", (0..columns.len()).map(value).collect::<Vec<_>>());
            sums.0 = sums.0.wrapping_add(keys.0.hash_one(&text));
            sums.1 = sums.1.wrapping_add(keys.1.hash_one(&text));
        }
    }
    Ok(())
}
