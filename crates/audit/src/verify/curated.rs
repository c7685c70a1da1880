//! Decodes a file of curated rows, checks each row by itself, and keeps what has to agree between rows.

use super::files::{check_bytes, check_time, lake_error};
use super::others::{RuleSets, Under};
use super::popularity::View;
use super::row::{IdKind, RowRules, Wrong};
use super::rule_columns::RuleColumns;
use super::stop::{Check, RESTORE_FILE, differ};
use super::tables::AuditedFile;
use authpulse_engine::flags::Flag;
use authpulse_engine::names::{ComputerId, ComputerNames, UserId, UserNames};
use authpulse_event::time::format_rfc3339;
use authpulse_event::{Day, EventTime};
use authpulse_journal::env::Env;
use authpulse_lake::encode::TimeRange;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

/// What other rows depend on of an accepted event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    /// A digest of `event_id`, as two keyed hashes.
    pub id: (u64, u64),
    pub user: UserId,
    pub computer: ComputerId,
    pub time: EventTime,
    pub score: u8,
    pub new_device: bool,
    /// The rules under which `new_device` is false, if NEW_DEVICE may have been off under them.
    pub under: Under,
    /// Whether it is a row of the table. If not, it waits in an entry for its score.
    pub scored: bool,
}

/// The events of a file. Their names are numbered within the file.
#[derive(Default)]
pub(super) struct FileEvents {
    pub events: Vec<Event>,
    pub users: UserNames,
    pub computers: ComputerNames,
    /// Rows whose event id was made by the producer, or seems to be.
    pub own_ids: u64,
    /// Those of `own_ids` that look like a content id but are not the one of the row's content.
    pub doubtful_ids: u64,
    /// What the rows say of rule sets that the audit does not know.
    pub others: RuleSets,
}

/// What is needed to read a file. Cheap to clone.
#[derive(Clone)]
pub(super) struct CuratedReader {
    pub env: Env,
    /// The rules against which rows are checked.
    pub rules: Arc<RowRules>,
    /// The look-backs for events of the day that is being read.
    pub views: Arc<Vec<View>>,
    /// The keys of the digests of event ids.
    pub keys: Arc<(RandomState, RandomState)>,
}

impl CuratedReader {
    /// Reads the rows of one day from a file.
    pub async fn read(self, file: AuditedFile, day: Day) -> Check<FileEvents> {
        check_bytes(&self.env, &file).await?;
        let failed = lake_error(&file);
        // A file with a partition value holds one day. It is read whole, so that rows of another day are found.
        let times = file.live.partition.is_none().then(|| TimeRange::of_day(day));
        let told = RuleColumns::of(&self.rules.rules, &file);
        let batches = self.env.lake.read_curated_and(&file.live, &told.names(), times).await.map_err(&failed)?;
        let mut found = FileEvents::default();
        let mut line = Vec::new();
        for batch in batches {
            let (batch, values) = batch.map_err(&failed)?;
            found.events.reserve(batch.len());
            for (nth, row) in batch.iter().enumerate() {
                let name = || format!("row of user {} (time {})", row.user_id, row.event_time.micros());
                check_time(&file, row.event_time.micros(), name)?;
                let difference = |(what, expected, found): Wrong| {
                    let time = format_rfc3339(row.event_time);
                    let place =
                        format!("{}, row of user {} on {} at {time}", file.place(), row.user_id, row.computer_id);
                    differ(what, place, expected, found, RESTORE_FILE)
                };
                let checked = self.rules.check(&row, &self.views, &mut line).map_err(difference)?;
                told.check(&self.rules, &row, |column| values.value(nth, column)).map_err(difference)?;
                match checked.id {
                    IdKind::Content => {}
                    IdKind::Own => found.own_ids += 1,
                    IdKind::Doubtful => {
                        (found.own_ids, found.doubtful_ids) = (found.own_ids + 1, found.doubtful_ids + 1)
                    }
                }
                let mut under = Under::KNOWN;
                if !checked.new_device_on {
                    under = found.others.met(row.rule_set, checked.fired);
                    if let Some(quiet) = checked.quiet {
                        found.others.was_quiet(under, Flag::RARE_HOST, difference(quiet))?;
                    }
                }
                found.events.push(Event {
                    id: (self.keys.0.hash_one(row.event_id), self.keys.1.hash_one(row.event_id)),
                    user: found.users.intern(row.user_id),
                    computer: found.computers.intern(row.computer_id),
                    time: row.event_time,
                    score: u8::try_from(row.risk_score).unwrap_or(u8::MAX),
                    new_device: row.is_new_device == 1,
                    under,
                    scored: true,
                });
            }
        }
        Ok(found)
    }
}
