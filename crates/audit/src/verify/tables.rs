//! Compares the tables' live files with the files that entries name.

use super::journal::{Journals, NamedFile};
use super::report::{TableTotals, VerifyReport};
use super::stop::{Check, RESTORE_FILE, ROLL_BACK, differ};
use authpulse_event::ShardId;
use authpulse_journal::env::Env;
use authpulse_lake::read::{LiveFile, LiveTable};
use authpulse_lake::{LoadedTable, Table};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// The tables at one moment.
pub(super) type Live = BTreeMap<Table, (LoadedTable, LiveTable)>;

/// The files that the tables have, or will have once they have followed the journals.
pub(super) struct Files {
    /// The files of each table, in order of path.
    pub files: BTreeMap<Table, Vec<AuditedFile>>,
    /// For each table, the files that were replaced and those that replaced them.
    pub replaced: BTreeMap<Table, Replaced>,
}

/// A file to audit.
#[derive(Clone)]
pub(super) struct AuditedFile {
    pub live: LiveFile,
    /// The digest of its bytes; empty if its writer stored none.
    pub sha256: String,
    /// The entry that names it; `None` for a file that another engine wrote, or that a merge made.
    pub entry: Option<(ShardId, u64)>,
}

impl AuditedFile {
    fn named(named: &NamedFile) -> AuditedFile {
        AuditedFile {
            live: named.live.clone(),
            sha256: named.sha256.clone(),
            entry: Some((named.shard.clone(), named.n)),
        }
    }

    /// Names the file in words.
    pub fn place(&self) -> String {
        let of = match &self.entry {
            Some((shard, n)) => format!(" (entry {n} of shard {shard})"),
            None => " (of no entry)".to_owned(),
        };
        format!("table {}, file {}{of}", self.live.table, self.live.path)
    }
}

/// Files of entries that are no longer live, and live files that no entry names.
#[derive(Default)]
pub(super) struct Replaced {
    pub gone: Vec<AuditedFile>,
    pub new: Vec<AuditedFile>,
    /// How many rows of folded entries are in files that are gone. Nobody knows any more which files these were.
    pub folded: u64,
    /// Ids of columns that the table once had and no longer has.
    pub dropped: BTreeSet<i32>,
}

/// Reads the schema and the live files of all tables.
pub(super) async fn read(env: &Env) -> Check<Live> {
    let mut live = BTreeMap::new();
    for table in env.lake.made_tables().await? {
        // The table is loaded a second time; if it moves on in between, its columns stay the same.
        let loaded = env.lake.load(table).await?;
        live.insert(table, (loaded, env.lake.live_files(table).await?));
    }
    Ok(live)
}

/// Compares the tables with the journals.
pub(super) async fn compare(env: &Env, live: &Live, journals: &Journals, report: &mut VerifyReport) -> Check<Files> {
    let mut files = Files { files: BTreeMap::new(), replaced: BTreeMap::new() };
    for (table, (loaded, live)) in live {
        check_schema(loaded)?;
        let applied = check_applied(journals, live)?;
        let mut totals = TableTotals { table: table.to_string(), entries_behind: applied.behind, ..Default::default() };
        let mut audited = Vec::new();
        let mut replaced = Replaced { dropped: dropped(loaded), ..Replaced::default() };
        let mut paths = HashSet::new();
        for file in &live.files {
            if !paths.insert(file.path.as_str()) {
                let place = format!("table {table}, file {}", file.path);
                return Err(differ("a table lists a file twice", place, "each file once", "twice", ROLL_BACK));
            }
            totals.files += 1;
            totals.rows += file.rows;
            totals.bytes += file.bytes;
            match journals.files.get(&file.path) {
                Some(named) => audited.push(check_live(live, named, file)?),
                None => {
                    let file = AuditedFile { live: file.clone(), sha256: String::new(), entry: None };
                    replaced.new.push(file.clone());
                    audited.push(file);
                }
            }
        }
        let mut named: Vec<&NamedFile> = journals.files.values().filter(|f| f.live.table == *table).collect();
        named.sort_unstable_by(|a, b| a.live.path.cmp(&b.live.path));
        for named in named {
            let is_applied = named.n <= live.applied.get(&named.shard).copied().unwrap_or(0);
            if !is_applied {
                totals.rows_behind += named.live.rows;
                audited.push(AuditedFile::named(named));
            } else if !paths.contains(named.live.path.as_str()) {
                replaced.gone.push(AuditedFile::named(named));
            }
        }
        totals.replaced = replaced.gone.len() as u64;
        report.tables.push(totals);
        let folded: BTreeMap<i32, u64> = journals
            .folded_rows
            .iter()
            .filter(|((of, _), _)| of == table)
            .map(|((_, partition), rows)| (*partition, *rows))
            .collect();
        check_numbers(*table, &replaced, &folded)?;
        replaced.folded = folded.values().sum();
        audited.sort_by(|a, b| a.live.path.cmp(&b.live.path));
        files.files.insert(*table, audited);
        files.replaced.insert(*table, replaced);
    }
    for file in files.files.values().flatten() {
        // A quick look before rows are read, so that a missing file is named first.
        if env.store.size(&file.live.path).await?.is_none() {
            return Err(differ("a file is missing", file.place(), "the file", "no file of this name", RESTORE_FILE));
        }
    }
    Ok(files)
}

fn dropped(loaded: &LoadedTable) -> BTreeSet<i32> {
    let metadata = &loaded.metadata;
    let all = metadata.schemas_iter().flat_map(|schema| schema.as_struct().fields().iter().map(|field| field.id));
    all.filter(|id| metadata.current_schema().field_by_id(*id).is_none()).collect()
}

/// Loading has refused what cannot be used. This finds what can be used but is not as documented.
fn check_schema(loaded: &LoadedTable) -> Check<()> {
    let (table, metadata) = (loaded.table, &loaded.metadata);
    let place = || format!("table {table}");
    let remedy = "undo what another engine changed about the table";
    let ours: Vec<&str> = table.schema().as_struct().fields().iter().map(|f| f.name.as_str()).collect();
    let theirs: Vec<&str> = metadata.current_schema().as_struct().fields().iter().map(|f| f.name.as_str()).collect();
    if !theirs.starts_with(&ours) {
        let (expected, found) = (ours.join(", "), theirs.join(", "));
        return Err(differ("a table's columns are not in the documented order", place(), expected, found, remedy));
    }
    let spec = metadata.default_partition_spec();
    if !spec.is_compatible_with(table.partition_spec()) {
        let (expected, found) = (format!("{:?}", table.partition_spec().fields()), format!("{:?}", spec.fields()));
        return Err(differ("a table is not partitioned as documented", place(), expected, found, remedy));
    }
    Ok(())
}

struct Applied {
    behind: u64,
}

/// Checks that the table has no entries that the journals lack, and all folded ones; counts the entries that it lacks.
fn check_applied(journals: &Journals, live: &LiveTable) -> Check<Applied> {
    for (shard, n) in &live.applied {
        let tail = journals.shards.get(shard).map_or(0, |s| s.tail.n);
        if *n > tail {
            return Err(differ(
                "a table holds entries that no journal has",
                format!("table {}, shard {shard}", live.table),
                format!("at most entry {tail}, the journal's last"),
                format!("entry {n}"),
                "restore the journal's last entries from a copy; if somebody else committed to the table, roll it back",
            ));
        }
    }
    for (key, shard) in &journals.shards {
        let (folded, applied) = (shard.folded.0, live.applied.get(key).copied().unwrap_or(0));
        if folded > applied {
            let what = "a table lacks entries that are folded because every table held them";
            let place = format!("table {}, shard {key}", live.table);
            let (expected, found) = (format!("entry {folded} or a later one"), format!("entry {applied}"));
            return Err(differ(what, place, expected, found, ROLL_BACK).or_folded());
        }
    }
    let behind = journals.shards.iter().map(|(key, s)| s.tail.n - live.applied.get(key).copied().unwrap_or(0));
    Ok(Applied { behind: behind.sum() })
}

/// Checks that a live file is as its entry says, and that this entry is applied.
fn check_live(live: &LiveTable, named: &NamedFile, file: &LiveFile) -> Check<AuditedFile> {
    let audited = AuditedFile::named(named);
    let applied = live.applied.get(&named.shard).copied().unwrap_or(0);
    if named.n > applied || named.live.table != live.table {
        let expected = format!("files of entries up to {applied} of shard {}", named.shard);
        let what = "a table holds a file before its entry is applied";
        return Err(differ(what, audited.place(), expected, format!("a file of entry {}", named.n), ROLL_BACK));
    }
    let facts = |f: &LiveFile| format!("{} rows, {} bytes, partition {:?}", f.rows, f.bytes, f.partition);
    if (file.rows, file.bytes, file.partition) != (named.live.rows, named.live.bytes, named.live.partition) {
        let what = "a table describes a file otherwise than its entry";
        return Err(differ(what, audited.place(), facts(&named.live), facts(file), ROLL_BACK));
    }
    Ok(audited)
}

/// Checks that files that are gone were replaced by as many rows, partition by partition.
fn check_numbers(table: Table, replaced: &Replaced, folded: &BTreeMap<i32, u64>) -> Check<()> {
    let mut rows: BTreeMap<Option<i32>, (u128, u128)> = BTreeMap::new();
    let whole = replaced.new.iter().any(|f| f.live.partition.is_none());
    let key = |f: &AuditedFile| f.live.partition.filter(|_| !whole);
    for file in &replaced.gone {
        rows.entry(key(file)).or_default().0 += u128::from(file.live.rows);
    }
    for (partition, n) in folded {
        rows.entry(Some(*partition).filter(|_| !whole)).or_default().0 += u128::from(*n);
    }
    for file in &replaced.new {
        rows.entry(key(file)).or_default().1 += u128::from(file.live.rows);
    }
    let Some((partition, (gone, new))) = rows.into_iter().find(|(_, (gone, new))| gone != new) else { return Ok(()) };
    let name =
        partition.map_or("the whole table".to_owned(), |p| format!("partition {}", table.partition_from_value(p)));
    let of = |files: &[AuditedFile]| files.iter().find(|f| key(f) == partition).map(AuditedFile::place);
    if gone > new {
        let place = of(&replaced.gone).unwrap_or_else(|| format!("table {table}, files of folded entries"));
        let expected = format!("the file in the table, or its rows in a file that replaced it ({name})");
        let found = format!("{gone} rows are gone, {new} rows came for them");
        return Err(differ("rows of an entry are not in the table", place, expected, found, ROLL_BACK));
    }
    let place = of(&replaced.new).unwrap_or_default();
    let found = format!("{new} rows that no entry names, where {gone} rows are gone ({name})");
    Err(differ("a table holds a file that no entry names", place, "only rows of entries", found, ROLL_BACK))
}
