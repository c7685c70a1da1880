//! Checks the raw zone: every file of every entry is there once, under its final name or still staged, and has each position of its entry
//! at most once.

use super::journal::{Journals, NamedRaw};
use super::report::VerifyReport;
use super::stop::{Check, RESTORE_FILE, Stop, differ};
use authpulse_event::{Day, Position, ShardId};
use authpulse_journal::env::Env;
use authpulse_lake::ObjectStore;
use authpulse_lake::checkpoint::RawTotals;
use authpulse_lake::entry::RawFile;
use authpulse_lake::schema::{RAW, file_name, raw_day, raw_entry};
use authpulse_lake::store::ObjectMeta;
use std::collections::{BTreeMap, BTreeSet};

/// The directory of the files with final names.
const DIRECTORY: &str = "raw/";

/// Lists the files with final names.
pub(super) async fn list(env: &Env) -> Check<Vec<ObjectMeta>> {
    let files = env.store.list(DIRECTORY).await?;
    // Readers of such zones ignore names that begin with '_' or '.'.
    let hidden = |path: &str| path.rsplit('/').next().is_some_and(|name| name.starts_with(['_', '.']));
    Ok(files.into_iter().filter(|file| !hidden(&file.path)).collect())
}

/// Checks the raw zone against the journals.
pub(super) async fn check(
    env: &Env,
    journals: &Journals,
    listed: &[ObjectMeta],
    report: &mut VerifyReport,
) -> Check<()> {
    let mut named = BTreeSet::new();
    for raw in &journals.raw {
        for file in &raw.files {
            if !named.insert(file.path.as_str()) {
                let expected = "each raw file in one entry";
                return Err(differ("two entries name one raw file", place(raw, file), expected, "two", RESTORE_FILE));
            }
        }
    }
    let (folded, unfolded): (Vec<_>, Vec<_>) =
        listed.iter().map(|file| (file, folded(journals, &file.path))).partition(|(_, shard)| shard.is_some());
    if let Some((extra, _)) = unfolded.iter().find(|(file, _)| !named.contains(file.path.as_str())) {
        let (expected, found) =
            ("only files that entries name", "a file that none names: its records would count twice");
        let remedy = "move the file out of the raw zone";
        return Err(differ(
            "the raw zone holds a file too many",
            format!("{RAW}, file {}", extra.path),
            expected,
            found,
            remedy,
        ));
    }
    check_folded(env, journals, &folded, report).await?;
    for raw in &journals.raw {
        let done = journals.shards.get(&raw.shard).map_or(0, |shard| shard.tail.raw_done);
        let name = journals.shards.get(&raw.shard).map_or("", |shard| shard.name());
        let mut positions = Vec::new();
        for file in &raw.files {
            let (path, is_staged) = find(&*env.store, raw, file, raw.n <= done).await?;
            *if is_staged { &mut report.raw.staged } else { &mut report.raw.files } += 1;
            read(env, raw, file, path, name, &mut positions).await?;
        }
        report.raw.records += positions.len() as u64;
        positions.sort_unstable();
        if let Some(twice) = positions.windows(2).find(|pair| pair[0] == pair[1]) {
            let (place, found) = (format!("{RAW}, entry {} of shard {}", raw.n, raw.shard), twice[0]);
            return Err(differ("a record is in the raw zone twice", place, "each position once", found, RESTORE_FILE));
        }
    }
    Ok(())
}

/// The shard of a raw file, if its entry is folded.
fn folded<'a>(journals: &'a Journals, path: &str) -> Option<&'a ShardId> {
    let (name, n) = raw_entry(path)?;
    journals.shards.iter().find(|(key, shard)| n <= shard.folded.0 && file_name(key) == name).map(|(key, _)| key)
}

/// For folded entries it is known how many files, records and bytes each day has.
async fn check_folded(
    env: &Env,
    journals: &Journals,
    files: &[(&ObjectMeta, Option<&ShardId>)],
    report: &mut VerifyReport,
) -> Check<()> {
    let mut found: BTreeMap<(&ShardId, Day), RawTotals> = BTreeMap::new();
    for (file, shard) in files {
        let Some((key, shard)) = shard.and_then(|key| journals.shards.get_key_value(key)) else { continue };
        let (Some(day), Some((_, n))) = (raw_day(&file.path), raw_entry(&file.path)) else { continue };
        let one = RawFile { staged: String::new(), path: file.path.clone(), rows: 0, bytes: file.size };
        let (from, to) = (Position::START.into(), shard.folded.1.clone());
        let raw = NamedRaw { shard: key.clone(), n, from, to, files: Vec::new() };
        let mut positions = Vec::new();
        read(env, &raw, &one, &one.path, shard.name(), &mut positions).await?;
        let totals = found.entry((key, day)).or_default();
        totals.files += 1;
        totals.records += positions.len() as u64;
        totals.bytes += file.size;
        report.raw.files += 1;
        report.raw.records += positions.len() as u64;
        positions.sort_unstable();
        if positions.windows(2).any(|pair| pair[0] == pair[1]) {
            let place = place(&raw, &one);
            return Err(differ(
                "a record is in the raw zone twice",
                place,
                "each position once",
                "one twice",
                RESTORE_FILE,
            ));
        }
    }
    for (key, shard) in &journals.shards {
        for (day, expected) in &shard.folded_raw {
            let totals = found.remove(&(key, *day)).unwrap_or_default();
            if totals != *expected {
                let place = format!("{RAW}, ingest_date={day}, files of folded entries of shard {key}");
                let what = "the raw zone does not hold what folded entries put there";
                let words = |t: &RawTotals| format!("{} files, {} records, {} bytes", t.files, t.records, t.bytes);
                return Err(differ(what, place, words(expected), words(&totals), RESTORE_FILE).or_folded());
            }
        }
    }
    match found.into_iter().next() {
        None => Ok(()),
        Some(((key, day), _)) => {
            let place = format!("{RAW}, ingest_date={day}, files of folded entries of shard {key}");
            let what = "the raw zone holds a file too many";
            Err(differ(what, place, "no file", "files that no entry put there", RESTORE_FILE))
        }
    }
}

fn place(raw: &NamedRaw, file: &RawFile) -> String {
    format!("{RAW}, file {} (entry {} of shard {})", file.path, raw.n, raw.shard)
}

/// The path at which a file is, and whether that is its staged name.
async fn find<'a>(
    store: &dyn ObjectStore,
    raw: &NamedRaw,
    file: &'a RawFile,
    must_be_final: bool,
) -> Check<(&'a str, bool)> {
    // Its owner may just be giving it the final name, so that name is looked for once more.
    for path in [&file.path, &file.staged, &file.path] {
        let Some(bytes) = store.size(path).await? else { continue };
        if bytes != file.bytes {
            let (expected, found) = (format!("{} bytes", file.bytes), format!("{bytes} bytes in {path}"));
            return Err(differ("a raw file was cut off or edited", place(raw, file), expected, found, RESTORE_FILE));
        }
        let is_staged = path == &file.staged;
        if is_staged && must_be_final {
            let expected = "the file under its final name: later entries say that it has it";
            let remedy = "move the staged file to its final name";
            return Err(differ(
                "a raw file is only staged",
                place(raw, file),
                expected,
                format!("it as {path}"),
                remedy,
            ));
        }
        return Ok((path, is_staged));
    }
    Err(differ("a raw file is missing", place(raw, file), "the file", "no file, final or staged", RESTORE_FILE))
}

/// Reads the file's records, checks each of them, and adds their positions.
async fn read(
    env: &Env,
    raw: &NamedRaw,
    file: &RawFile,
    path: &str,
    shard_name: &str,
    positions: &mut Vec<Position>,
) -> Check<()> {
    let failed = |error| match Stop::from(error) {
        Stop::Difference(mut difference) => {
            difference.place = place(raw, file);
            Stop::Difference(difference)
        }
        stop => stop,
    };
    let wrong =
        |what: &str, expected: String, found: String| differ(what, place(raw, file), expected, found, RESTORE_FILE);
    let bounds = raw.from.position().and_then(|from| Ok((from, raw.to.position()?)));
    let (from, to) = bounds.map_err(|why| wrong("an entry's positions cannot be read", "positions".to_owned(), why))?;
    let mut rows = 0;
    let mut last_day = None;
    for batch in env.lake.read_raw(path).await.map_err(failed)? {
        let batch = batch.map_err(failed)?;
        rows += batch.len() as u64;
        for row in batch.iter() {
            let position = row.sequence_number.parse().ok().zip(u64::try_from(row.sub_sequence_number).ok());
            let position = position.map(|(sequence, sub_sequence)| Position { sequence, sub_sequence });
            let Some(position) = position.filter(|at| *at > from && *at <= to) else {
                let found = format!("{}/{}", row.sequence_number, row.sub_sequence_number);
                return Err(wrong(
                    "a raw record is not of its entry",
                    format!("positions after {from}, up to {to}"),
                    found,
                ));
            };
            if row.shard_id != shard_name {
                let found = row.shard_id.to_owned();
                return Err(wrong("a raw record is of another shard", shard_name.to_owned(), found));
            }
            let day = Day::of_arrival(row.ingestion_time);
            if last_day != Some(day) && !file.path.contains(&format!("/ingest_date={day}/")) {
                return Err(wrong("a raw record lies in the wrong partition", day.to_string(), file.path.clone()));
            }
            last_day = Some(day);
            positions.push(position);
        }
    }
    if !raw.files.is_empty() && rows != file.rows {
        return Err(wrong(
            "a raw file holds more or fewer records",
            format!("{} records", file.rows),
            rows.to_string(),
        ));
    }
    Ok(())
}
