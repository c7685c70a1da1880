//! Checks the dead letters: each position once, each row by itself, and as many for each reason as the journals say.

use super::files::{check_bytes, check_time, lake_error};
use super::journal::Journals;
use super::rows::Rows;
use super::stop::{Check, RESTORE_FILE, ROLL_BACK, differ};
use super::tables::{AuditedFile, Files};
use authpulse_engine::rows::Reason;
use authpulse_event::{Day, MAX_DEAD_LETTER_BYTES};
use authpulse_journal::env::Env;
use authpulse_lake::Table;
use authpulse_lake::read::RejectedRow;
use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// The number of dead letters by shard, as rows name it, and reason.
type Tally = BTreeMap<(String, String), u64>;

/// Checks the table of dead letters.
pub(super) async fn check(env: &Env, journals: &Journals, tables: &Files, rows: &mut Rows) -> Check<()> {
    let files = tables.files.get(&Table::REJECTED).map_or(&[][..], Vec::as_slice);
    let mut partitions: BTreeMap<Option<i32>, Vec<&AuditedFile>> = BTreeMap::new();
    for file in files {
        partitions.entry(file.live.partition).or_default().push(file);
    }
    let keys = (RandomState::new(), RandomState::new());
    let mut tally = Tally::new();
    for files in partitions.values() {
        // A record arrives once, so if it were rejected twice, both rows would lie in one partition.
        let mut places: Vec<(u64, u64)> = Vec::new();
        for file in files {
            check_bytes(env, file).await?;
            let failed = lake_error(file);
            for batch in env.lake.read_rejected(&file.live, None).await.map_err(&failed)? {
                let batch = batch.map_err(&failed)?;
                rows.add(Table::REJECTED, batch.len());
                for row in batch.iter() {
                    check_row(file, &row)?;
                    let place = place_of(&row);
                    places.push((keys.0.hash_one(place), keys.1.hash_one(place)));
                    match tally.get_mut(&(row.shard_id.to_owned(), row.reason.to_owned())) {
                        Some(n) => *n += 1,
                        None => {
                            tally.insert((row.shard_id.to_owned(), row.reason.to_owned()), 1);
                        }
                    }
                }
            }
        }
        places.sort_unstable();
        if let Some(twice) = places.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(name_twice(env, files, &keys, twice[0]).await?);
        }
    }
    compare(journals, &tally)
}

/// What identifies a record: its position, and its arrival, because another stream may have the same positions.
fn place_of<'a>(row: &RejectedRow<'a>) -> (&'a str, &'a str, i64, i64) {
    (row.shard_id, row.sequence_number, row.sub_sequence_number, row.ingestion_time.micros())
}

fn check_row(file: &AuditedFile, row: &RejectedRow<'_>) -> Check<()> {
    let name = || format!("row of shard {} at {}/{}", row.shard_id, row.sequence_number, row.sub_sequence_number);
    check_time(file, row.ingestion_time.micros(), name)?;
    let kept = usize::try_from(row.payload_bytes).map(|bytes| bytes.min(MAX_DEAD_LETTER_BYTES));
    let wrong = if !Reason::ALL.iter().any(|reason| reason.name() == row.reason) {
        Some(("a dead letter has no known reason", "a documented reason".to_owned(), row.reason.to_owned()))
    } else if row.ingest_date != Day::of_arrival(row.ingestion_time) {
        let (expected, found) = (Day::of_arrival(row.ingestion_time), row.ingest_date);
        Some(("ingest_date is not the date of ingestion_time", expected.to_string(), found.to_string()))
    } else if kept != Ok(row.payload.len()) {
        let expected = format!("{} bytes, at most {MAX_DEAD_LETTER_BYTES}", row.payload_bytes);
        Some(("a dead letter holds less or more than its record", expected, format!("{} bytes", row.payload.len())))
    } else {
        None
    };
    match wrong {
        Some((what, expected, found)) => {
            Err(differ(what, format!("{}, {}", file.place(), name()), expected, found, RESTORE_FILE))
        }
        None => Ok(()),
    }
}

/// Reads the files again to name the record that is there twice.
async fn name_twice(
    env: &Env,
    files: &[&AuditedFile],
    keys: &(RandomState, RandomState),
    wanted: (u64, u64),
) -> Check<super::stop::Stop> {
    let mut found = Vec::new();
    let mut name = String::new();
    for file in files {
        let failed = lake_error(file);
        for batch in env.lake.read_rejected(&file.live, None).await.map_err(&failed)? {
            for row in batch.map_err(&failed)?.iter() {
                let place = place_of(&row);
                if (keys.0.hash_one(place), keys.1.hash_one(place)) == wanted {
                    found.push(format!("{} in {}", row.reason, file.live.path));
                    name = format!("{} at {}/{}", row.shard_id, row.sequence_number, row.sub_sequence_number);
                }
            }
        }
    }
    let place = format!("table auth_events_rejected, shard {name}");
    Ok(differ("a record is rejected twice", place, "one row of each position", found.join("; "), ROLL_BACK))
}

fn compare(journals: &Journals, tally: &Tally) -> Check<()> {
    let mut stored = Tally::new();
    for shard in journals.shards.values() {
        for (reason, n) in shard.rejected.iter().filter(|(_, n)| **n > 0) {
            *stored.entry((shard.name().to_owned(), reason.clone())).or_default() += n;
        }
    }
    let keys = stored.keys().chain(tally.keys());
    let differs = keys.into_iter().find(|key| stored.get(*key) != tally.get(*key));
    let Some(key @ (shard, reason)) = differs else { return Ok(()) };
    let rows = |tally: &Tally| format!("{} rows", tally.get(key).copied().unwrap_or(0));
    let place = format!("table auth_events_rejected, reason {reason}, shard {shard}");
    Err(differ("dead letters are not as many as the journal counts", place, rows(&stored), rows(tally), ROLL_BACK))
}
