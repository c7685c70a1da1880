//! One row of `auth_events_curated` by itself: everything in it that follows from something else in it.

use super::popularity::View;
use authpulse_engine::popularity::newest_closed_day;
use authpulse_engine::rows::{Flag, RiskLevel};
use authpulse_engine::settings::{ARRIVAL_SLACK, RuleSet};
use authpulse_event::id::{canonical_line, content_id, looks_like_content_id};
use authpulse_event::time::SECOND;
use authpulse_event::{Day, MAX_EVENT_ID_BYTES, MAX_NAME_BYTES, Micros, TimeForm};
use authpulse_lake::read::CuratedRow;

/// What rows are measured by.
pub(super) struct RowRules {
    pub base: Micros,
    pub settle: Micros,
    pub rules: RuleSet,
    /// The digest of `rules`.
    pub digest: String,
}

/// What is wrong with a row: what, expected, found.
pub(super) type Wrong = (&'static str, String, String);

/// Where a row's id comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdKind {
    /// Its content.
    Content,
    /// Its producer.
    Own,
    /// Its producer, and yet it looks like a content id.
    Doubtful,
}

/// Says what is wrong, in words that are made only where something is.
fn holds(holds: bool, wrong: impl FnOnce() -> Wrong) -> Result<(), Wrong> {
    if holds { Ok(()) } else { Err(wrong()) }
}

fn wrong(what: &'static str, expected: impl ToString, found: impl ToString) -> Wrong {
    (what, expected.to_string(), found.to_string())
}

impl RowRules {
    /// Checks a row whose time is one. `views` are the look-backs that events of its day may have.
    pub fn check(&self, row: &CuratedRow<'_>, views: &[View], line: &mut Vec<u8>) -> Result<IdKind, Wrong> {
        let day = Day::of(row.event_time);
        holds(row.event_date == day, || wrong("event_date is not the date of event_time", day, row.event_date))?;
        let latest = row.ingestion_time.saturating_add(ARRIVAL_SLACK);
        holds(row.event_time <= latest, || {
            wrong("an event lies ahead of its arrival", format!("event_time up to {latest}"), row.event_time)
        })?;
        for (what, text, max) in [
            ("user_id is no name", row.user_id, MAX_NAME_BYTES),
            ("computer_id is no name", row.computer_id, MAX_NAME_BYTES),
            ("event_id is no id", row.event_id, MAX_EVENT_ID_BYTES),
        ] {
            holds((1..=max).contains(&text.len()), || {
                wrong(what, format!("1 to {max} bytes"), format!("{} bytes", text.len()))
            })?;
        }
        check_windows(row)?;
        self.check_score(row)?;
        self.check_popularity(row, views)?;
        Ok(self.id_kind(row, line))
    }

    fn check_score(&self, row: &CuratedRow<'_>) -> Result<(), Wrong> {
        let flags = [row.is_new_device, row.is_burst_login, row.is_lateral_movement, row.is_rare_host];
        holds(flags.iter().all(|f| matches!(f, 0 | 1)), || {
            wrong("a flag is neither 0 nor 1", "0 or 1", format!("{flags:?}"))
        })?;
        let fired = || Flag::ALL.into_iter().zip(flags).filter(|(_, fires)| *fires == 1).map(|(flag, _)| flag);
        holds(fired().map(Flag::name).eq(row.risk_flags.iter().copied()), || {
            let names: Vec<&str> = fired().map(Flag::name).collect();
            wrong("risk_flags are not the flags that are 1", names.join(", "), row.risk_flags.join(", "))
        })?;
        let score = u8::try_from(row.risk_score).ok().filter(|score| *score <= 100);
        let score = score.ok_or_else(|| wrong("risk_score is none", "0 to 100", row.risk_score))?;
        let level = RiskLevel::of(score).name();
        holds(level == row.risk_level, || wrong("risk_level is not the level of risk_score", level, row.risk_level))?;
        if row.rule_set != self.digest {
            return Ok(());
        }
        let sum: u32 = fired().map(|flag| u32::from(self.rules.weight(flag))).sum();
        holds(sum == u32::from(score), || wrong("risk_score is not the sum of its flags' weights", sum, score))?;
        let burst = row.login_count_1h > i64::from(self.rules.burst_over);
        holds(burst == (row.is_burst_login == 1), || {
            let expected = format!("{} for {} logons", i32::from(burst), row.login_count_1h);
            wrong("is_burst_login does not follow from login_count_1h", expected, row.is_burst_login)
        })?;
        let lateral = row.unique_computers_1h >= i64::from(self.rules.lateral_from);
        holds(lateral == (row.is_lateral_movement == 1), || {
            let expected = format!("{} for {} computers", i32::from(lateral), row.unique_computers_1h);
            wrong("is_lateral_movement does not follow from unique_computers_1h", expected, row.is_lateral_movement)
        })
    }

    /// Popularity and rarity, counted again from the rows of the look-back.
    fn check_popularity(&self, row: &CuratedRow<'_>, views: &[View]) -> Result<(), Wrong> {
        let newest = newest_closed_day(row.event_time, self.settle);
        let Some(view) = views.iter().find(|view| view.newest == newest) else { return Ok(()) };
        let counted = || i64::try_from(view.of(row.computer_id)).unwrap_or(i64::MAX);
        let expected = if row.rule_set == self.digest {
            (view.hosts >= self.rules.min_hosts.max(1) as usize).then(counted)
        } else {
            // Under other rules it is unknown how few computers were too few.
            row.host_popularity.map(|_| counted())
        };
        let words = |p: Option<i64>| p.map_or("null".to_owned(), |p| p.to_string());
        holds(expected == row.host_popularity, || {
            let of = format!("{} (logons in the look-back that ends with {newest})", words(expected));
            wrong("host_popularity is not what the rows say", of, words(row.host_popularity))
        })?;
        let rare = expected.is_some_and(|popularity| u64::try_from(popularity).is_ok_and(|p| p <= view.p5));
        holds(rare == (row.is_rare_host == 1), || {
            let (popularity, p5) = (words(expected), view.p5);
            let expected = format!("{} for {popularity} where the bottom 5% reach to {p5}", i32::from(rare));
            wrong("is_rare_host does not follow from host_popularity", expected, row.is_rare_host)
        })
    }

    fn id_kind(&self, row: &CuratedRow<'_>, line: &mut Vec<u8>) -> IdKind {
        if !looks_like_content_id(row.event_id) {
            return IdKind::Own;
        }
        let since = row.event_time.saturating_sub(self.base);
        let seconds = since >= SECOND && since % SECOND == 0;
        for form in [seconds.then_some(TimeForm::Seconds), Some(TimeForm::Rfc3339)].into_iter().flatten() {
            canonical_line(line, self.base, row.event_time, form, row.user_id, row.computer_id);
            if content_id(line) == row.event_id.as_bytes() {
                return IdKind::Content;
            }
        }
        IdKind::Doubtful
    }
}

/// The event itself is in both windows, the long one holds the short one, and computers are not more than logons.
fn check_windows(row: &CuratedRow<'_>) -> Result<(), Wrong> {
    let (short, long) = (row.login_count_1h, row.login_count_24h);
    let (short_hosts, long_hosts) = (row.unique_computers_1h, row.unique_computers_24h);
    let sane = short_hosts >= 1
        && short_hosts <= short
        && short <= long
        && short_hosts <= long_hosts
        && long_hosts <= long
        && long <= i64::from(u32::MAX);
    holds(sane, || {
        let expected = "1 <= computers <= logons, and no more in an hour than in 24";
        let found = format!("1h: {short} logons, {short_hosts} computers; 24h: {long} logons, {long_hosts} computers");
        wrong("windows contradict each other", expected, found)
    })
}
