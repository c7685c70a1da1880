//! Checks one row of `auth_events_curated` by itself: everything in it that follows from something else in it.

use super::popularity::View;
use authpulse_engine::flags::FIRST;
use authpulse_engine::flags::{Flag, Flags};
use authpulse_engine::popularity::newest_closed_day;
use authpulse_engine::rows::{RiskLevel, Windows};
use authpulse_engine::rules::{Features, LIST, RuleSet};
use authpulse_engine::settings::ARRIVAL_SLACK;
use authpulse_event::id::{canonical_line, content_id, looks_like_content_id};
use authpulse_event::time::SECOND;
use authpulse_event::{Day, EventTime, MAX_EVENT_ID_BYTES, MAX_NAME_BYTES, Span, TimeForm};
use authpulse_lake::read::CuratedRow;
use std::borrow::Cow;

/// The rules and settings against which rows are checked.
pub(super) struct RowRules {
    pub base: EventTime,
    pub settle: Span,
    pub rules: RuleSet,
    /// The digest of `rules`.
    pub digest: String,
}

/// What is wrong with a row: what, expected, found.
pub(super) type Wrong = (Cow<'static, str>, String, String);

/// What a check of the row by itself cannot decide.
pub(super) struct CheckedRow {
    /// Where its id comes from.
    pub id: IdKind,
    /// Those of the first four rules that fired.
    pub fired: Flags,
    /// Set if RARE_HOST did not fire but should have, which is right only if it was off under the other rules that scored the row.
    pub quiet: Option<Wrong>,
    /// NEW_DEVICE was on: a 0 means that the pair was known.
    pub new_device_on: bool,
}

/// Where a row's id comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdKind {
    /// From the event's content.
    Content,
    /// From its producer.
    Own,
    /// From its producer, although it looks like a content id.
    Doubtful,
}

/// Fails with `wrong` unless `holds`; the words are made only then.
fn holds(holds: bool, wrong: impl FnOnce() -> Wrong) -> Result<(), Wrong> {
    if holds { Ok(()) } else { Err(wrong()) }
}

fn wrong(what: &'static str, expected: impl ToString, found: impl ToString) -> Wrong {
    (what.into(), expected.to_string(), found.to_string())
}

impl RowRules {
    /// Checks a row whose time is valid. `views` are the look-backs that events of its day may have; `line` is a buffer.
    ///
    /// # Errors
    /// Something in the row does not follow from the rest of it.
    pub fn check(&self, row: &CuratedRow<'_>, views: &[View], line: &mut Vec<u8>) -> Result<CheckedRow, Wrong> {
        let day = Day::of(row.event_time);
        holds(row.event_date == day, || wrong("event_date is not the date of event_time", day, row.event_date))?;
        let latest = row.ingestion_time.saturating_add(ARRIVAL_SLACK).as_event_time();
        holds(row.event_time <= latest, || {
            wrong(
                "an event lies ahead of its arrival",
                format!("event_time up to {}", latest.micros()),
                row.event_time.micros(),
            )
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
        let first = Self::check_flags(row)?;
        let own = row.rule_set == self.digest;
        let fired = if own { self.check_sum(row, first)? } else { first };
        let newest = newest_closed_day(row.event_time, self.settle);
        let view = views.iter().find(|view| view.newest == newest);
        let popularity = view.map(|view| self.check_popularity(row, view, own)).transpose()?;
        let mut quiet = None;
        if own {
            self.check_rules(row, fired, popularity)?;
        } else if let Some(popularity) = popularity {
            let rare = popularity.is_some_and(|(popularity, p5)| popularity <= p5);
            if rare != fired.has(Flag::RARE_HOST) {
                let figures = format!("{} for {}", i32::from(rare), popular(popularity));
                let wrong = wrong("is_rare_host does not follow from host_popularity", figures, row.is_rare_host);
                // A rule that is switched off never fires.
                if !rare {
                    return Err(wrong);
                }
                quiet = Some(wrong);
            }
        }
        Ok(CheckedRow {
            id: self.id_kind(row, line),
            fired: first,
            quiet,
            new_device_on: own && self.rules.is_on(Flag::NEW_DEVICE),
        })
    }

    /// Checks that the flags agree with each other, and the score with its level. Returns those of the first four that fired.
    fn check_flags(row: &CuratedRow<'_>) -> Result<Flags, Wrong> {
        let columns = [row.is_new_device, row.is_burst_login, row.is_lateral_movement, row.is_rare_host];
        holds(columns.iter().all(|f| matches!(f, 0 | 1)), || {
            wrong("a flag is neither 0 nor 1", "0 or 1", format!("{columns:?}"))
        })?;
        let fired: Flags =
            Flag::FIRST.into_iter().zip(columns).filter(|(_, fires)| *fires == 1).map(|(f, _)| f).collect();
        // Every list of rules begins with these four.
        let first = &LIST[..FIRST];
        let names = || fired.iter().map(|flag| first[flag.index()].name);
        let (listed, later) = row.risk_flags.split_at_checked(fired.iter().count()).unwrap_or((&[], &row.risk_flags));
        let no_first = !later.iter().any(|name| first.iter().any(|rule| rule.name == *name));
        holds(names().eq(listed.iter().copied()) && no_first, || {
            let names: Vec<&str> = names().collect();
            wrong("risk_flags are not the flags that are 1", names.join(", "), row.risk_flags.join(", "))
        })?;
        let score = u8::try_from(row.risk_score).ok().filter(|score| *score <= 100);
        let score = score.ok_or_else(|| wrong("risk_score is none", "0 to 100", row.risk_score))?;
        let level = RiskLevel::of(score).name();
        holds(level == row.risk_level, || wrong("risk_level is not the level of risk_score", level, row.risk_level))?;
        Ok(fired)
    }

    /// For a row that the given rules scored: returns all flags that fired, and checks that the score is the sum of their weights.
    fn check_sum(&self, row: &CuratedRow<'_>, first: Flags) -> Result<Flags, Wrong> {
        let (mut fired, mut known) = (first, true);
        for name in row.risk_flags.iter().skip(first.iter().count()) {
            match self.rules.flag(name) {
                Some(flag) if !fired.has(flag) => fired.set(flag, true),
                _ => known = false,
            }
        }
        let in_order = self.rules.names(fired).eq(row.risk_flags.iter().copied());
        holds(known && in_order && fired.iter().all(|flag| self.rules.is_on(flag)), || {
            let on: Vec<&str> = self.rules.names(self.rules.on()).collect();
            wrong("risk_flags are not of the rules that are on, in order", on.join(", "), row.risk_flags.join(", "))
        })?;
        let sum: u32 = fired.iter().map(|flag| u32::from(self.rules.weight(flag))).sum();
        holds(i64::from(sum) == i64::from(row.risk_score), || {
            wrong("risk_score is not the sum of its flags' weights", sum, row.risk_score)
        })?;
        Ok(fired)
    }

    /// Checks popularity, which is counted again from the rows of the look-back.
    fn check_popularity(&self, row: &CuratedRow<'_>, view: &View, own: bool) -> Result<Option<(u64, u64)>, Wrong> {
        let known = if own {
            view.computers >= self.rules.min_hosts()
        } else {
            // It is unknown how many computers the other rules require at least.
            row.host_popularity.is_some()
        };
        let popularity = known.then(|| view.of(row.computer_id));
        let expected = popularity.map(|popularity| i64::try_from(popularity).unwrap_or(i64::MAX));
        holds(expected == row.host_popularity, || {
            let words = |p: Option<i64>| p.map_or("null".to_owned(), |p| p.to_string());
            let of = format!("{} (logons in the look-back that ends with {})", words(expected), view.newest);
            wrong("host_popularity is not what the rows say", of, words(row.host_popularity))
        })?;
        Ok(popularity.map(|popularity| (popularity, view.p5)))
    }

    /// For a row that the given rules scored: checks that each rule that is on fired where it should. If a feature is unknown, either
    /// outcome is right.
    fn check_rules(&self, row: &CuratedRow<'_>, fired: Flags, view: Option<Option<(u64, u64)>>) -> Result<(), Wrong> {
        // All rows of the pair tell whether this is right. If the rule is off, the column says nothing.
        let is_new = row.is_new_device == 1;
        let new_device = [is_new, is_new || !self.rules.is_on(Flag::NEW_DEVICE)];
        let popularity = view.map_or([None, Some((0, 0))], |known| [known, known]);
        let features =
            |new_device, popularity| Features { time: row.event_time, windows: windows(row), new_device, popularity };
        for flag in self.rules.on().iter() {
            let (rule, thresholds) = (self.rules.rule(flag), self.rules.thresholds(flag));
            let possible = new_device.iter().any(|new| {
                popularity.iter().any(|popular| (rule.fires)(&features(*new, *popular), thresholds) == fired.has(flag))
            });
            holds(possible, || {
                let figures = describe(&features(is_new, popularity[0]));
                let expected = format!("{} for {figures}", i32::from(!fired.has(flag)));
                let what = format!("{} does not follow from the row's figures", rule.column);
                (what.into(), expected, i32::from(fired.has(flag)).to_string())
            })?;
        }
        Ok(())
    }

    fn id_kind(&self, row: &CuratedRow<'_>, line: &mut Vec<u8>) -> IdKind {
        if !looks_like_content_id(row.event_id) {
            return IdKind::Own;
        }
        let since = row.event_time.saturating_since(self.base);
        let seconds = since >= SECOND && since % SECOND == Span::ZERO;
        for form in [seconds.then_some(TimeForm::Seconds), Some(TimeForm::Rfc3339)].into_iter().flatten() {
            canonical_line(line, self.base, row.event_time, form, row.user_id, row.computer_id);
            if content_id(line) == row.event_id.as_bytes() {
                return IdKind::Content;
            }
        }
        IdKind::Doubtful
    }
}

/// Checks that both windows contain the event itself, that the long one contains the short one, and that there are not more computers
/// than logons.
fn check_windows(row: &CuratedRow<'_>) -> Result<(), Wrong> {
    let (short, long) = (row.login_count_1h, row.login_count_24h);
    let (short_computers, long_computers) = (row.unique_computers_1h, row.unique_computers_24h);
    let sane = short_computers >= 1
        && short_computers <= short
        && short <= long
        && short_computers <= long_computers
        && long_computers <= long
        && long <= i64::from(u32::MAX);
    holds(sane, || {
        let expected = "1 <= computers <= logons, and no more in an hour than in 24";
        let found =
            format!("1h: {short} logons, {short_computers} computers; 24h: {long} logons, {long_computers} computers");
        wrong("windows contradict each other", expected, found)
    })
}

/// The windows of a row; `check_windows` has checked them.
fn windows(row: &CuratedRow<'_>) -> Windows {
    let count = |n: i64| u32::try_from(n).unwrap_or(u32::MAX);
    Windows {
        logons_1h: count(row.login_count_1h),
        logons_24h: count(row.login_count_24h),
        computers_1h: count(row.unique_computers_1h),
        computers_24h: count(row.unique_computers_24h),
    }
}

fn describe(features: &Features) -> String {
    let Windows { logons_1h, computers_1h, .. } = features.windows;
    format!("{logons_1h} logons on {computers_1h} computers within an hour, {}", popular(features.popularity))
}

fn popular(popularity: Option<(u64, u64)>) -> String {
    let words = |(popularity, p5)| format!("popularity {popularity} where the bottom 5% reach to {p5}");
    popularity.map_or("no popularity".to_owned(), words)
}
