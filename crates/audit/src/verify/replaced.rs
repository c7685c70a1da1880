//! Compares files that another engine, or a compaction, put in the place of files that entries name: they must have the same rows.

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

/// Two sums over the rows of some files; the order of the rows does not matter.
type Digest = (u64, u64);
/// The keys of the digests of rows.
type Keys = (RandomState, RandomState);

/// Compares the rows of replaced files with those of the files that replaced them, if the former can still be read.
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
        let columns = Columns::of(*table, replaced);
        // If one new file has no partition, only all rows of the table can be compared.
        let whole = replaced.new.iter().any(|f| f.live.partition.is_none());
        let key = |file: &AuditedFile| file.live.partition.filter(|_| !whole);
        let mut parts: BTreeMap<Option<i32>, Part> = BTreeMap::new();
        for file in &replaced.gone {
            columns.add_gone(env, file, &keys, parts.entry(key(file)).or_default()).await?;
        }
        for file in &replaced.new {
            columns.add_new(env, file, &keys, parts.entry(key(file)).or_default()).await?;
        }
        let mut lost: BTreeMap<&str, u64> = BTreeMap::new();
        for (partition, part) in parts {
            let same = part.gone == part.new && part.moved.values().all(Values::hold);
            if !same {
                let name = partition.map(|p| format!(", partition {}", table.partition_from_value(p)));
                let place = format!("table {table}{}", name.unwrap_or_default());
                let what = "rows were changed when files were replaced";
                let new = replaced.new.iter().filter(|f| key(f) == partition);
                let names: Vec<&str> = new.map(|f| f.live.path.as_str()).collect();
                let found = format!("others in {}", names.join(", "));
                return Err(differ(what, place, "the rows that entries stored", found, ROLL_BACK));
            }
            for ((column, _), values) in part.moved {
                *lost.entry(columns.moved[column].name.as_str()).or_default() += values.gone.unsigned_abs();
            }
        }
        for (column, values) in lost.into_iter().filter(|(_, values)| *values > 0) {
            report.notes.push(format!(
                "{table}: {values} values of {column} went when somebody dropped the column, which was added again since: merged files \
                 have none of them, files of entries still do"
            ));
        }
    }
    Ok(())
}

/// The rows of a partition: in files that are gone, and in files that replaced them.
#[derive(Default)]
struct Part {
    gone: Digest,
    new: Digest,
    /// For each moved column (its index) and each digest of a row with its value, how often it occurs.
    moved: BTreeMap<(usize, u64), Values>,
}

/// How often a row with one value of a moved column occurs.
#[derive(Default)]
struct Values {
    /// In files that are gone, less in those that replaced them.
    gone: i64,
    /// How many of those in files that are gone may be null by now, because their column was dropped.
    may_go: i64,
}

impl Values {
    fn hold(&self) -> bool {
        (0..=self.may_go).contains(&self.gone)
    }
}

/// The columns to compare. These are the columns with which the table is made, and those later columns that an entry names and the table
/// still has, with the same type or one to which theirs may be promoted.
struct Columns<'a> {
    /// Columns that the files that are gone have under the table's id, if they have them.
    same: Vec<String>,
    /// Columns that some of these files have under another id.
    moved: Vec<Moved>,
    replaced: &'a Replaced,
}

/// A later column that was renamed or dropped, and then added again: files appended before have it under another id.
struct Moved {
    name: String,
    /// The column's id in the table.
    id: i32,
    /// The table's present names of the columns with the former ids, if it still has them.
    renamed: Vec<String>,
}

impl Columns<'_> {
    fn of(table: Table, replaced: &Replaced) -> Columns<'_> {
        let mut same: Vec<String> = table.columns().iter().map(|column| column.name.to_owned()).collect();
        let mut moved: BTreeMap<String, Moved> = BTreeMap::new();
        let now = replaced.new.first().map_or(&[][..], |file| file.live.ids.later());
        let mut kept: BTreeSet<String> = BTreeSet::new();
        for column in replaced.gone.iter().flat_map(|file| file.live.ids.later()) {
            let same = |theirs: &&FileColumn| theirs.name == column.name && becomes(&column.kind, &theirs.kind);
            let Some(theirs) = now.iter().find(same) else { continue };
            kept.insert(column.name.clone());
            if theirs.id != column.id {
                let (name, id) = (column.name.clone(), theirs.id);
                let moved = moved.entry(name.clone()).or_insert(Moved { name, id, renamed: Vec::new() });
                let renamed = now.iter().find(|theirs| theirs.id == column.id).map(|theirs| theirs.name.clone());
                moved.renamed.extend(renamed.filter(|name| !moved.renamed.contains(name)));
            }
        }
        same.extend(kept.into_iter().filter(|name| !moved.contains_key(name)));
        Columns { same, moved: moved.into_values().collect(), replaced }
    }

    async fn add_gone(&self, env: &Env, file: &AuditedFile, keys: &Keys, part: &mut Part) -> Check<()> {
        let own = |moved: &Moved| file.live.ids.later().iter().find(|column| column.name == moved.name);
        let names: Vec<&str> = self.moved.iter().map(|moved| moved.name.as_str()).collect();
        let may_go: Vec<bool> = self
            .moved
            .iter()
            .map(|moved| own(moved).is_some_and(|own| own.id != moved.id && self.replaced.dropped.contains(&own.id)))
            .collect();
        self.add(env, file, &names, keys, &mut part.gone, |at, digest| {
            let values = part.moved.entry((at, digest)).or_default();
            values.gone += 1;
            values.may_go += i64::from(may_go[at]);
        })
        .await
    }

    async fn add_new(&self, env: &Env, file: &AuditedFile, keys: &Keys, part: &mut Part) -> Check<()> {
        // A row has its value either in the column or in a column that has one of its former ids.
        let places: Vec<usize> =
            self.moved.iter().enumerate().flat_map(|(at, moved)| vec![at; 1 + moved.renamed.len()]).collect();
        let names = self.moved.iter().flat_map(|moved| std::iter::once(&moved.name).chain(&moved.renamed));
        let names: Vec<&str> = names.map(String::as_str).collect();
        self.add(env, file, &names, keys, &mut part.new, |at, digest| {
            part.moved.entry((places[at], digest)).or_default().gone -= 1;
        })
        .await
    }

    /// Adds the rows of a file: the columns `same` to the sums, and for each column in `moved` its value together with the row.
    async fn add(
        &self,
        env: &Env,
        file: &AuditedFile,
        moved: &[&str],
        keys: &Keys,
        sums: &mut Digest,
        mut value: impl FnMut(usize, u64),
    ) -> Check<()> {
        let failed = lake_error(file);
        let columns: Vec<&str> = self.same.iter().map(String::as_str).chain(moved.iter().copied()).collect();
        for batch in env.lake.read_values(&file.live, &columns, None).await.map_err(&failed)? {
            let batch = batch.map_err(&failed)?;
            for row in 0..batch.len() {
                let of = |nth: usize| match batch.value(row, nth) {
                    // The table may have promoted the column from int to long.
                    Some(Value::Int(n)) => Some(Value::Long(n.into())),
                    other => other,
                };
                let text = format!("{:?}", (0..self.same.len()).map(of).collect::<Vec<_>>());
                sums.0 = sums.0.wrapping_add(keys.0.hash_one(&text));
                sums.1 = sums.1.wrapping_add(keys.1.hash_one(&text));
                for at in 0..moved.len() {
                    if let Some(of_row) = of(self.same.len() + at) {
                        value(at, keys.0.hash_one(format!("{text}{of_row:?}")));
                    }
                }
            }
        }
        Ok(())
    }
}
