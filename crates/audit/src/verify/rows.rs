//! Counts the rows that were read, and notes about them.

use super::VerifyOptions;
use super::stop::{Check, ROLL_BACK, differ};
use super::tables::Files;
use authpulse_lake::Table;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows read so far.
pub(super) struct Rows {
    read: BTreeMap<Table, u64>,
    total: BTreeMap<Table, u64>,
    tell: Arc<dyn Fn(u64, u64) + Send + Sync>,
    /// The number of ids that producers made, or seem to have made.
    pub own_ids: u64,
    /// The number of those that have the form of a content id.
    pub doubtful_ids: u64,
}

impl Rows {
    /// No row is read yet. `files` gives the number of all rows.
    pub fn new(files: &Files, options: &VerifyOptions) -> Rows {
        let total = files.files.iter().map(|(table, files)| (*table, files.iter().map(|f| f.live.rows).sum()));
        let (total, tell) = (total.collect(), options.progress.clone());
        Rows { read: BTreeMap::new(), total, tell, own_ids: 0, doubtful_ids: 0 }
    }

    /// Counts rows that were read, and reports the progress.
    pub fn add(&mut self, table: Table, rows: usize) {
        *self.read.entry(table).or_default() += rows as u64;
        (self.tell)(self.done(), self.total.values().sum());
    }

    /// The number of rows read so far.
    pub fn done(&self) -> u64 {
        self.read.values().sum()
    }

    /// Checks that every row of every file was read.
    pub fn check_complete(&self) -> Check<()> {
        for (table, total) in &self.total {
            let read = self.read.get(table).copied().unwrap_or(0);
            if read != *total {
                let (place, what) = (format!("table {table}"), "rows lie where nobody looks for them");
                let (expected, found) = (format!("{total} rows within their files' days"), format!("{read} rows"));
                return Err(differ(what, place, expected, found, ROLL_BACK));
            }
        }
        Ok(())
    }

    /// Notes for the report.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.doubtful_ids > 0 {
            notes.push(format!(
                "{} rows have an event_id that looks like a content id and is not the one of their content: their producers sent \
                 ids of their own, or the rows were edited",
                self.doubtful_ids
            ));
        }
        notes
    }
}
