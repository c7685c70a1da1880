//! Checks the bytes of a file, and the times of its rows.

use super::stop::{Check, RESTORE_FILE, Stop, differ};
use super::tables::AuditedFile;
use authpulse_event::Day;
use authpulse_event::id::sha256_hex;
use authpulse_event::time::{END_TIME, MIN_TIME};
use authpulse_journal::env::Env;
use authpulse_lake::{LakeError, Partition};

/// Compares a file's bytes with the length and digest that its writer stored.
pub(super) async fn check_bytes(env: &Env, file: &AuditedFile) -> Check<()> {
    if file.sha256.is_empty() {
        return Ok(());
    }
    let bytes = env.store.get(&file.live.path).await.map_err(|e| in_file(file, e))?;
    if bytes.len() as u64 != file.live.bytes {
        let (expected, found) = (format!("{} bytes", file.live.bytes), format!("{} bytes", bytes.len()));
        return Err(differ("a file was cut off or edited", file.place(), expected, found, RESTORE_FILE));
    }
    let found = sha256_hex(&bytes);
    if found != file.sha256 {
        let (expected, found) = (format!("SHA-256 {}", file.sha256), format!("SHA-256 {found}"));
        return Err(differ("a file was edited", file.place(), expected, found, RESTORE_FILE));
    }
    Ok(())
}

/// Adds to a difference which file, and so which entry, it is about.
pub(super) fn in_file(file: &AuditedFile, error: impl Into<Stop>) -> Stop {
    match error.into() {
        Stop::Difference(mut difference) => {
            difference.place = file.place();
            Stop::Difference(difference)
        }
        stop => stop,
    }
}

/// Like [`in_file`], as a function to map errors with while rows are decoded.
pub(super) fn lake_error(file: &AuditedFile) -> impl Fn(LakeError) -> Stop + '_ {
    |error| in_file(file, error)
}

/// Refuses a row whose time, in microseconds, lies outside of the years 0001 to 9999 or of its file's partition.
pub(super) fn check_time(file: &AuditedFile, time: i64, row: impl Fn() -> String) -> Check<()> {
    let place = || format!("{}, {}", file.place(), row());
    if !(MIN_TIME.micros()..END_TIME.micros()).contains(&time) {
        return Err(differ("a row's time is none", place(), "a time in the years 0001 to 9999", time, RESTORE_FILE));
    }
    let found: Partition = file.live.table.partition_of_day(Day::of_micros(time));
    match file.live.partition {
        Some(partition) if partition != found.value() => {
            let expected = format!("rows of {}", file.live.table.partition_from_value(partition));
            Err(differ("a row lies in the wrong partition", place(), expected, found, RESTORE_FILE))
        }
        _ => Ok(()),
    }
}
