//! Compares `user_behavior_hourly` with the rows of `auth_events_curated`: every hour that must be written is there once, with the sums
//! of its rows.

use super::curated::Event;
use super::family::Owners;
use super::files::{check_bytes, check_time, lake_error};
use super::rows::Rows;
use super::stop::{Check, RESTORE_FILE, ROLL_BACK, Stop, differ};
use super::tables::AuditedFile;
use authpulse_engine::names::{UserId, UserNames};
use authpulse_event::time::{DAY, HOUR, format_rfc3339, hour_of, start_of_hour};
use authpulse_event::{Day, EventTime};
use authpulse_journal::env::Env;
use authpulse_lake::Table;
use authpulse_lake::encode::TimeRange;
use std::collections::HashMap;

/// The sums of one user in one hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    logons: u64,
    computers: u64,
    anomalies: u64,
    total_score: u64,
    max_score: u64,
}

impl std::fmt::Display for Sums {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Sums { logons, computers, anomalies, total_score, max_score } = self;
        write!(
            f,
            "total_logins {logons}, unique_computers {computers}, anomaly_count {anomalies}, total_risk_score {total_score}, \
             max_risk_score {max_score}"
        )
    }
}

/// A user and the start of an hour; ordered by user, then time.
type Key = (UserId, EventTime);

/// The rows of the hourly table, and for each user the end of the hours that are written.
pub(super) struct Hours<'a> {
    files: &'a [AuditedFile],
    through: HashMap<UserId, Option<EventTime>>,
}

impl<'a> Hours<'a> {
    /// The rows in these files are read day by day.
    pub fn new(files: &'a [AuditedFile]) -> Hours<'a> {
        Hours { files, through: HashMap::new() }
    }

    /// Checks a day, and reorders its events.
    pub async fn check(
        &mut self,
        env: &Env,
        day: Day,
        events: &mut [Event],
        users: &mut UserNames,
        owners: &Owners<'_>,
        rows: &mut Rows,
    ) -> Check<()> {
        let stored = self.stored(env, day, users, rows).await?;
        let counted = sum(events);
        let mut stored = stored.into_iter().peekable();
        for (key, hour) in counted {
            if let Some((other, _)) = stored.next_if(|(other, _)| *other < key) {
                return Err(differ_at(other, users, "no row: the user has no row in this hour", "a row"));
            }
            let found = stored.next_if(|(other, _)| *other == key).map(|(_, sums)| sums);
            let (user, start) = key;
            let through = *self.through.entry(user).or_insert_with(|| owners.hours_through(users.get(user)));
            let written = hour.complete && through >= Some(start + HOUR);
            match (written, found) {
                (true, Some(found)) if found == hour.sums => {}
                (true, Some(found)) => return Err(differ_at(key, users, hour.sums, found)),
                (true, None) => return Err(differ_at(key, users, hour.sums, "no row")),
                (false, None) => {}
                (false, Some(found)) => return Err(differ_at(key, users, "no row: the hour is still open", found)),
            }
        }
        match stored.next() {
            Some((key, _)) => Err(differ_at(key, users, "no row: the user has no row in this hour", "a row")),
            None => Ok(()),
        }
    }

    /// The stored rows of a day, in order; each key may have one.
    async fn stored(&self, env: &Env, day: Day, users: &mut UserNames, rows: &mut Rows) -> Check<Vec<(Key, Sums)>> {
        let mut found: Vec<(Key, Sums)> = Vec::new();
        for file in self.files.iter().filter(|f| holds(f, day)) {
            check_bytes(env, file).await?;
            let failed = lake_error(file);
            let times = file.live.partition.is_none().then(|| TimeRange::of_day(day));
            for batch in env.lake.read_hourly(&file.live, times).await.map_err(&failed)? {
                let batch = batch.map_err(&failed)?;
                rows.add(Table::HOURLY, batch.len());
                for row in batch.iter() {
                    let name = || format!("row of user {}, hour from {}", row.user_id, row.window_start.micros());
                    check_time(file, row.window_start.micros(), name)?;
                    let figures = [
                        row.total_logins,
                        row.unique_computers,
                        row.anomaly_count,
                        row.total_risk_score,
                        i64::from(row.max_risk_score),
                    ];
                    let whole = row.window_start == start_of_hour(hour_of(row.window_start))
                        && row.window_end == row.window_start + HOUR;
                    if !whole || figures.iter().any(|n| *n < 0) {
                        let place = format!("{}, {}", file.place(), name());
                        let (expected, found) = ("a clock hour and figures from 0", format!("{row:?}"));
                        return Err(differ("a row is no hour", place, expected, found, RESTORE_FILE));
                    }
                    let [logons, computers, anomalies, total_score, max_score] = figures.map(i64::cast_unsigned);
                    let sums = Sums { logons, computers, anomalies, total_score, max_score };
                    found.push(((users.intern(row.user_id), row.window_start), sums));
                }
            }
        }
        found.sort_unstable_by_key(|(key, _)| *key);
        match found.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(twice) => Err(differ_at(twice[0].0, users, "one row", "two rows")),
            None => Ok(found),
        }
    }
}

/// Whether a file may hold rows of a day.
pub(super) fn holds(file: &AuditedFile, day: Day) -> bool {
    match (file.live.partition, file.live.times) {
        (Some(partition), _) => partition == day.0,
        (None, Some(times)) => times.overlaps(&TimeRange::of_day(day)),
        (None, None) => true,
    }
}

/// The days in a range of time; none if a damaged description makes it absurdly long.
pub(super) fn days_within(times: TimeRange) -> impl Iterator<Item = Day> {
    /// Longer than any file of this lake.
    const DAYS_MAX: i64 = 36_600;
    let long = times.max.saturating_sub(times.min) / DAY.micros() > DAYS_MAX;
    let (first, last) = (Day::of_micros(times.min).0, Day::of_micros(times.max).0);
    (if long { first..=first.saturating_sub(1) } else { first..=last }).map(Day)
}

struct Counted {
    sums: Sums,
    /// Whether all events of the hour are scored.
    complete: bool,
}

/// The sums of each user's hours, ordered by key.
fn sum(events: &mut [Event]) -> Vec<(Key, Counted)> {
    let hour = |e: &Event| start_of_hour(hour_of(e.time));
    events.sort_unstable_by_key(|e| (e.user, hour(e), e.computer));
    let same_hour = |a: &Event, b: &Event| (a.user, hour(a)) == (b.user, hour(b));
    let counted = events.chunk_by(same_hour).map(|group| {
        let scores = || group.iter().map(|e| u64::from(e.score));
        let sums = Sums {
            logons: group.len() as u64,
            computers: group.chunk_by(|a, b| a.computer == b.computer).count() as u64,
            anomalies: scores().filter(|score| *score > 0).count() as u64,
            total_score: scores().sum(),
            max_score: scores().max().unwrap_or(0),
        };
        ((group[0].user, hour(&group[0])), Counted { sums, complete: group.iter().all(|e| e.scored) })
    });
    counted.collect()
}

fn differ_at(key: Key, users: &UserNames, expected: impl ToString, found: impl ToString) -> Stop {
    let place = format!("table user_behavior_hourly, user {}, hour from {}", users.get(key.0), format_rfc3339(key.1));
    let what = "an hour is not the sum of its rows in auth_events_curated";
    differ(what, place, expected, found, ROLL_BACK)
}
