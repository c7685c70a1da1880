//! Checks tables behind the first four: each file is as its entry says, and each row lies in the partition of its time. The values of a
//! row cannot be computed here from anything else.

use super::files::{check_bytes, check_time, lake_error};
use super::rows::Rows;
use super::stop::{Check, RESTORE_FILE, differ};
use super::tables::{AuditedFile, Files};
use authpulse_journal::env::Env;
use authpulse_lake::Table;
use authpulse_lake::read::Value;

/// Checks the rows of all these tables.
pub(super) async fn check(env: &Env, tables: &Files, rows: &mut Rows) -> Check<()> {
    for (table, files) in tables.files.iter().filter(|(table, _)| !table.is_first()) {
        for file in files {
            check_file(env, *table, file, rows).await?;
        }
    }
    Ok(())
}

async fn check_file(env: &Env, table: Table, file: &AuditedFile, rows: &mut Rows) -> Check<()> {
    check_bytes(env, file).await?;
    let failed = lake_error(file);
    let name = table.time_column();
    let mut before = 0;
    for batch in env.lake.read_values(&file.live, &[name], None).await.map_err(&failed)? {
        let batch = batch.map_err(&failed)?;
        for row in 0..batch.len() {
            let place = || format!("row {} of the file", before + row + 1);
            let time = match batch.value(row, 0) {
                Some(Value::Time(time)) => time,
                Some(Value::Date(day)) => day.start().micros(),
                other => {
                    let place = format!("{}, {}", file.place(), place());
                    let found = other.map_or("null".to_owned(), |other| format!("{other:?}"));
                    let what = "a row's time is none";
                    return Err(differ(what, place, format!("a time in {name}"), found, RESTORE_FILE));
                }
            };
            check_time(file, time, place)?;
        }
        before += batch.len();
        rows.add(table, batch.len());
    }
    Ok(())
}
