//! Compares `host_popularity_daily`, and the counts that shards published, with the rows of `auth_events_curated`.

use super::curated::Event;
use super::files::{check_bytes, check_time, lake_error};
use super::hours::days_within;
use super::journal::{DaySums, Journals};
use super::rows::Rows;
use super::spans::{Span, ring_published};
use super::stop::{Check, RESTORE_FILE, RESTORE_JOURNAL, ROLL_BACK, Stop, differ};
use super::tables::AuditedFile;
use authpulse_engine::names::{ComputerId, ComputerNames};
use authpulse_engine::rows::RiskLevel;
use authpulse_event::Day;
use authpulse_journal::env::Env;
use authpulse_lake::Table;
use authpulse_lake::encode::TimeRange;
use std::collections::{BTreeSet, HashMap};

/// The sums of one computer on one day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    users: u64,
    logons: u64,
    high_risk: u64,
}

impl std::fmt::Display for Sums {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Sums { users, logons, high_risk } = self;
        write!(f, "unique_users {users}, total_logins {logons}, high_risk_events {high_risk}")
    }
}

/// The rows of the daily table, the published counts, and the last day whose rows are written.
pub(super) struct Days<'a> {
    files: &'a [AuditedFile],
    journals: &'a Journals,
    daily_counts: Vec<Span>,
    scores: Vec<Span>,
    through: Option<i32>,
}

impl<'a> Days<'a> {
    /// Checks the files' bytes once. Their rows are read day by day.
    pub async fn new(
        env: &Env,
        files: &'a [AuditedFile],
        journals: &'a Journals,
        through: Option<i32>,
    ) -> Check<Days<'a>> {
        for file in files {
            check_bytes(env, file).await?;
        }
        let shards = || journals.shards.values();
        let daily_counts = shards().flat_map(|s| &s.daily_counts).cloned().collect();
        let scores = shards().flat_map(|s| &s.scores).cloned().collect();
        Ok(Days { files, journals, daily_counts, scores, through })
    }

    /// The days of which the table may have rows, and those that were published.
    pub fn days(&self) -> BTreeSet<Day> {
        let times = self.files.iter().filter_map(|f| f.live.times);
        let rows = times.flat_map(days_within);
        rows.chain(self.journals.sums.keys().copied()).collect()
    }

    /// Checks a day, and reorders its events. Returns the number of logons by computer.
    pub async fn check(
        &self,
        env: &Env,
        day: Day,
        events: &mut [Event],
        computers: &mut ComputerNames,
        rows: &mut Rows,
    ) -> Check<HashMap<ComputerId, u64>> {
        let counted = sum(events);
        let mut stored = self.stored(env, day, computers, rows).await?;
        let complete = events.iter().all(|e| e.scored);
        let written = self.through.is_some_and(|through| day.0 <= through) && complete;
        for (computer, sums) in counted.iter().filter(|_| written) {
            match stored.remove(computer) {
                Some(found) if found == *sums => {}
                Some(found) => return Err(differ_at(day, computers.get(*computer), sums, found)),
                None => return Err(differ_at(day, computers.get(*computer), sums, "no row")),
            }
        }
        if let Some((computer, found)) = stored.into_iter().next() {
            let why = if written { "no row: nobody was there" } else { "no row: the day is still open" };
            return Err(differ_at(day, computers.get(computer), why, found));
        }
        self.check_daily_counts(day, &counted, computers)?;
        Ok(counted.into_iter().map(|(computer, sums)| (computer, sums.logons)).collect())
    }

    /// Compares the published counts of a day with its rows, if the whole ring has published it.
    fn check_daily_counts(&self, day: Day, counted: &[(ComputerId, Sums)], computers: &ComputerNames) -> Check<()> {
        let published = self.journals.sums.get(&day).copied().unwrap_or_default();
        let mut rows = DaySums::default();
        for (computer, sums) in counted {
            let (hasher, name) = (&self.journals.hasher, computers.get(*computer));
            rows.logons.add(hasher, name, sums.logons);
            rows.users.add(hasher, name, sums.users);
            rows.high_risk.add(hasher, name, sums.high_risk);
        }
        // If the counts are folded, only their sums over all computers are left.
        let is_past = self.journals.past.contains(&day);
        let agree = |what: &str,
                     spans: &[Span],
                     daily_counts: [super::journal::Sketch; 2],
                     rows: [super::journal::Sketch; 2]| {
            let same = daily_counts.map(|s| s.total) == rows.map(|s| s.total);
            if daily_counts == rows || (is_past && same) || !ring_published(spans, day) {
                return Ok(());
            }
            let words = |[a, b]: [super::journal::Sketch; 2]| format!("{} and {} ({what})", a.total, b.total);
            let found = words(daily_counts) + if same { ", divided otherwise among computers" } else { "" };
            let place = format!("the shares of {day} in the journals");
            let title = "what shards published of a day is not the sum of its rows in auth_events_curated";
            Err(differ(title, place, words(rows), found, RESTORE_JOURNAL))
        };
        agree(
            "logons, and users summed over computers",
            &self.daily_counts,
            [published.logons, published.users],
            [rows.logons, rows.users],
        )?;
        let high_risk = |sums: &DaySums| [sums.high_risk; 2];
        agree("high-risk events", &self.scores, high_risk(&published), high_risk(&rows))
    }

    /// The stored rows of a day; each computer may have one.
    async fn stored(
        &self,
        env: &Env,
        day: Day,
        computers: &mut ComputerNames,
        rows: &mut Rows,
    ) -> Check<HashMap<ComputerId, Sums>> {
        let times = TimeRange::of_day(day);
        let mut found = HashMap::new();
        for file in self.files.iter().filter(|f| f.live.times.is_none_or(|t| t.overlaps(&times))) {
            let failed = lake_error(file);
            for batch in env.lake.read_daily(&file.live, Some(times)).await.map_err(&failed)? {
                let batch = batch.map_err(&failed)?;
                rows.add(Table::DAILY, batch.len());
                for row in batch.iter() {
                    let name = || format!("row of computer {} on {}", row.computer_id, row.date);
                    check_time(file, row.date.start().micros(), name)?;
                    let figures = [row.unique_users, row.total_logins, row.high_risk_events];
                    if figures.iter().any(|n| *n < 0) {
                        let (place, found) = (format!("{}, {}", file.place(), name()), format!("{figures:?}"));
                        return Err(differ("a figure is negative", place, "0 or more", found, RESTORE_FILE));
                    }
                    let [users, logons, high_risk] = figures.map(i64::cast_unsigned);
                    let computer = computers.intern(row.computer_id);
                    if found.insert(computer, Sums { users, logons, high_risk }).is_some() {
                        return Err(differ_at(day, row.computer_id, "one row", "two rows"));
                    }
                }
            }
        }
        Ok(found)
    }
}

/// The sums by computer.
fn sum(events: &mut [Event]) -> Vec<(ComputerId, Sums)> {
    events.sort_unstable_by_key(|e| (e.computer, e.user));
    let counted = events.chunk_by(|a, b| a.computer == b.computer).map(|group| {
        let high_risk = |e: &&Event| e.scored && RiskLevel::of(e.score) >= RiskLevel::High;
        let sums = Sums {
            users: group.chunk_by(|a, b| a.user == b.user).count() as u64,
            logons: group.len() as u64,
            high_risk: group.iter().filter(high_risk).count() as u64,
        };
        (group[0].computer, sums)
    });
    counted.collect()
}

fn differ_at(day: Day, computer: &str, expected: impl ToString, found: impl ToString) -> Stop {
    let place = format!("table host_popularity_daily, computer {computer}, {day}");
    let what = "a day is not the sum of its rows in auth_events_curated";
    differ(what, place, expected, found, ROLL_BACK)
}
