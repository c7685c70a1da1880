//! Auditing a lake, and making lakes to audit.

use super::SmallLake;
use authpulse_audit::verify::{Difference, VerifyOptions, VerifyReport, verify};
use authpulse_journal::Env;
use authpulse_lake::entry::Entry;
use authpulse_lake::{Table, TableFile};

pub async fn report(env: &Env) -> VerifyReport {
    verify(env, &VerifyOptions::default()).await.unwrap()
}

pub async fn difference(env: &Env) -> Difference {
    let report = report(env).await;
    report.difference.clone().unwrap_or_else(|| panic!("nothing was noticed:\n{report}"))
}

/// The difference that was found; it must contain all of these words.
pub async fn expect(env: &Env, words: &[&str]) {
    let difference = difference(env).await;
    let text = difference.to_string();
    for word in words {
        assert!(text.contains(word), "'{word}' is not in\n{text}");
    }
    assert!(!difference.remedy.is_empty());
}

/// The first file of a table.
pub fn first_file(entries: &[Entry], table: Table) -> TableFile {
    entries.iter().flat_map(|e| &e.files).find(|f| f.table == table).unwrap().clone()
}

/// A lake whose tables are empty, so that only entries and rows speak.
pub struct Uncommitted {
    pub lake: SmallLake,
    pub entries: Vec<Entry>,
}

impl Uncommitted {
    pub async fn new() -> Uncommitted {
        let lake = SmallLake::backfilled(false).await;
        let entries = lake.entries("file").await;
        Uncommitted { lake, entries }
    }

    /// The difference that is found after a change to entries.
    pub async fn changed(&self, change: impl Fn(&mut [Entry]), words: &[&str]) {
        let mut entries = self.entries.clone();
        change(&mut entries);
        expect(&self.lake.with_entries(&entries).await, words).await;
    }
}
