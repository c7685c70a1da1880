//! `authpulse verify`: compares a lake's journals, files and tables with each other, row by row.
//!
//! ```text
//! journals --> every entry by itself, after the one before, and between shards     (entry, journal, spans, family)
//!    |  the files they name
//!    v
//! tables   --> what is live is what the entries name, or replaces it row by row    (tables, replaced)
//!    |  live files, and those of entries that a table does not hold yet
//!    v
//! rows     --> day by day: each row by itself, no event twice, the same popularity,
//!              and hours, days and counts add up to the rows                       (curated, row, day, history, popularity, hours, days)
//!          --> tables behind the first four: each row where its time belongs           (later)
//!          --> dead letters and raw records: each position once, counts as stored  (rejected, raw)
//! ```
//!
//! It reads every byte, stops at the first difference, changes nothing and needs no lock. It looks at tables before journals: in a lake
//! that is in use, the journals are then only ever ahead, and they explain the tables. One day of rows bounds its memory.

mod curated;
mod day;
mod days;
mod entry;
mod family;
mod files;
mod history;
mod hours;
mod journal;
mod later;
mod others;
mod popularity;
mod raw;
mod rejected;
mod replaced;
mod report;
mod row;
mod rows;
mod rule_columns;
mod spans;
mod stop;
mod tables;

use authpulse_engine::rules::RuleSet;
use authpulse_journal::env::Env;
use authpulse_journal::error::Result;
use std::sync::Arc;
use stop::{Check, Stop};

pub use report::{Difference, RawTotals, ShardTotals, TableTotals, Totals, VerifyReport};

/// How many times the audit starts over if entries may have been folded while it read.
const ATTEMPTS: u32 = 3;

/// What the audit may assume, and the callback for its progress.
#[derive(Clone)]
pub struct VerifyOptions {
    /// Thresholds and weights. Rows whose `rule_set` is the digest of these rules are checked against them.
    pub rules: RuleSet,
    /// Called with the number of rows read and the number of all rows.
    pub progress: Arc<dyn Fn(u64, u64) + Send + Sync>,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        VerifyOptions { rules: RuleSet::default(), progress: Arc::new(|_, _| {}) }
    }
}

/// Audits a lake. The report holds the first difference, if there is one.
///
/// # Errors
/// Something could not be read, for reasons that may pass; or a newer version wrote it.
pub async fn verify(env: &Env, options: &VerifyOptions) -> Result<VerifyReport> {
    let mut attempt = 1;
    loop {
        let mut report = VerifyReport::default();
        match audit(env, options, &mut report).await {
            Ok(()) => return Ok(report),
            Err(Stop::Error(error)) => return Err(error),
            // One run of maintenance folds entries once, within moments, so a second attempt finds them folded.
            Err(Stop::Folded(_)) if attempt < ATTEMPTS => attempt += 1,
            Err(Stop::Difference(difference) | Stop::Folded(difference)) => {
                report.difference = Some(*difference);
                return Ok(report);
            }
        }
    }
}

async fn audit(env: &Env, options: &VerifyOptions, report: &mut VerifyReport) -> Check<()> {
    let live = tables::read(env).await;
    let raw_files = raw::list(env).await?;
    let journals = journal::audit(env, report).await?;
    report.notes.extend(journals.given_up());
    family::check(&journals)?;
    let tables = tables::compare(env, &live?, &journals, report).await?;
    replaced::compare(env, &tables, report).await?;
    let mut rows = rows::Rows::new(&tables, options);
    let checked = match rejected::check(env, &journals, &tables, &mut rows).await {
        Ok(()) => later::check(env, &tables, &mut rows).await,
        stop => stop,
    };
    let checked = match checked {
        Ok(()) => day::check_all(env, options, &journals, &tables, &mut rows).await,
        stop => stop,
    };
    report.rows = rows.done();
    report.notes.extend(rows.notes());
    checked?;
    raw::check(env, &journals, &raw_files, report).await
}
