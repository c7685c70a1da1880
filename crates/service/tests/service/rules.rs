//! Rules that are switched on and off in the life of a lake, and one rule more than the first four: what the rows say, and what the audit
//! makes of it.

use super::small_lake::rows::EditedRows;
use super::small_lake::{SmallLake, lines, options};
use authpulse_audit::verify::{VerifyOptions, VerifyReport, verify};
use authpulse_engine::flags::Flag;
use authpulse_engine::rows::ScoredEvent;
use authpulse_engine::rules::{Features, LIST, Rule, RuleSet, Threshold};
use authpulse_event::EventTime;
use authpulse_event::time::{HOUR, time_of_day};
use authpulse_journal::Env;
use authpulse_journal::sink::Decision;
use authpulse_lake::encode::{Later, LaterGroup};
use authpulse_lake::entry::Entry;
use authpulse_lake::read::Value;
use authpulse_lake::schema::{Column, Group, Kind};
use authpulse_lake::{Lake, MemoryCatalog, Shape, Table, TableFile};
use authpulse_settings::Options;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// Fires before an hour of the day, UTC. Only these tests have it.
const BY_NIGHT: Rule = Rule {
    name: "BY_NIGHT",
    column: "is_by_night",
    weight: 0,
    thresholds: &[Threshold {
        key: "night_to",
        default: 6,
        unit: "hour of the day",
        meaning: "Nights end before it.",
        bounds: (0, 24),
    }],
    fires: is_night,
    ..LIST[0]
};
const FIVE: &[Rule] = &[LIST[0], LIST[1], LIST[2], LIST[3], BY_NIGHT];
/// The rules that are on in the second half of the lake's life.
const ALL: [&str; 5] = ["NEW_DEVICE", "BURST_LOGIN", "LATERAL_MOVEMENT", "RARE_HOST", "BY_NIGHT"];
/// The rules that are on in the first half.
const TWO: [&str; 2] = ["BURST_LOGIN", "LATERAL_MOVEMENT"];

fn is_night(features: &Features, [to, ..]: &[u32; 4]) -> bool {
    time_of_day(features.time) / HOUR < i64::from(*to)
}

fn on(names: &[&str]) -> RuleSet {
    let mut rules = RuleSet::of(FIVE);
    // So low that each rule fires in each half.
    for (key, value) in [("burst_over", 4), ("lateral_from", 3), ("min_hosts", 5)] {
        rules.set_threshold(key, value).unwrap();
    }
    rules.turn_on(names).unwrap();
    rules
}

fn options_with(rules: RuleSet) -> Arc<Options> {
    let mut options = Options::clone(&options());
    options.engine.rules = rules;
    Arc::new(options)
}

/// A lake whose two halves were scored by different rules.
struct Switched {
    lake: SmallLake,
    entries: Vec<Entry>,
}

impl Switched {
    async fn new() -> Switched {
        let mut lake = SmallLake::new();
        let lines = lines(6_000);
        let parts = lines.chunks(lines.len() / 12 + 1).enumerate();
        let files: Vec<PathBuf> = parts.map(|(i, part)| lake.write_input(&format!("auth-{i:02}.txt"), part)).collect();
        for (files, names, more) in [(&files[..6], &TWO[..], true), (&files[6..], &ALL[..], false)] {
            let shape = Shape::default().with_rules(&on(names));
            lake.env.lake = Arc::new((*lake.env.lake).clone().with_shape(shape));
            lake.backfill(files, &options_with(on(names)), more).await;
        }
        let entries = lake.entries("file").await;
        Switched { lake, entries }
    }

    /// The files of curated rows of one half, with the positions of their entries.
    fn files(&self, rules: &RuleSet) -> Vec<(usize, TableFile)> {
        let of = self.entries.iter().enumerate().filter(|(_, entry)| entry.rule_set == rules.digest());
        let files = of.flat_map(|(at, entry)| entry.files.iter().map(move |file| (at, file.clone())));
        files.filter(|(_, file)| file.table == Table::CURATED).collect()
    }

    async fn rows(&self, rules: &RuleSet) -> Vec<ScoredEvent> {
        let mut rows = Vec::new();
        for (_, file) in self.files(rules) {
            rows.extend(EditedRows::read_under(rules.clone(), &self.lake, &file).await.rows);
        }
        rows
    }

    /// The lake after one row of one half was changed, the first that `which` finds, together with its entry and checksum.
    async fn edited(
        &self,
        rules: &RuleSet,
        which: impl Fn(&ScoredEvent) -> bool,
        change: impl Fn(&mut ScoredEvent),
    ) -> Env {
        for (at, file) in self.files(rules) {
            let mut rows = EditedRows::read_under(rules.clone(), &self.lake, &file).await;
            let Some(row) = rows.rows.iter_mut().find(|row| which(row)) else { continue };
            change(row);
            let files = rows.write(&self.lake, 1_000_000).await;
            let mut entries = self.entries.clone();
            let place = entries[at].files.iter().position(|f| *f == file).unwrap();
            entries[at].files.splice(place..=place, files);
            return self.uncommitted(&entries).await;
        }
        panic!("no such row");
    }

    /// The lake after the first file of one half was written again with this value in the column of BY_NIGHT.
    async fn with_column(
        &self,
        rules: &RuleSet,
        value: impl Fn(&ScoredEvent) -> Option<i32> + Send + Sync + 'static,
    ) -> Env {
        let (at, file) = self.files(rules).remove(0);
        let mut rows = EditedRows::read_under(rules.clone(), &self.lake, &file).await;
        let group = Group::Rule(BY_NIGHT.name);
        let column = Column::later(group, BY_NIGHT.column, Kind::Int, "as somebody edited it");
        let groups = [LaterGroup::new(vec![column], |_| true, move |row, _| value(row).map(Value::Int))];
        let ids = self.lake.env.lake.columns(Table::CURATED, &[group]).await.unwrap();
        rows.later = Some(Later::new(&groups, &ids));
        let files = rows.write(&self.lake, 1_000_000).await;
        let mut entries = self.entries.clone();
        let place = entries[at].files.iter().position(|f| *f == file).unwrap();
        entries[at].files.splice(place..=place, files);
        self.uncommitted(&entries).await
    }

    /// The lake with these entries and empty tables, so that only entries and rows speak.
    async fn uncommitted(&self, entries: &[Entry]) -> Env {
        let tables = Lake::new(self.lake.env.store.clone(), Arc::new(MemoryCatalog::new()));
        tables.ensure_tables().await.unwrap();
        Env { lake: Arc::new(tables), ..self.lake.with_entries(entries).await }
    }
}

async fn audit(env: &Env, rules: &RuleSet) -> VerifyReport {
    verify(env, &VerifyOptions { rules: rules.clone(), ..VerifyOptions::default() }).await.unwrap()
}

#[tokio::test]
async fn rows_say_what_fired_of_the_rules_that_were_on() {
    let switched = Switched::new().await;
    let fired = |rows: &[ScoredEvent], rules: &RuleSet| -> BTreeSet<_> {
        rows.iter().flat_map(|row| rules.names(row.flags).collect::<Vec<_>>()).collect()
    };
    let two = on(&TWO);
    let rows = switched.rows(&two).await;
    assert!(rows.len() > 2_000, "{}", rows.len());
    assert_eq!(fired(&rows, &two), BTreeSet::from(TWO));
    let all = on(&ALL);
    let rows = switched.rows(&all).await;
    assert!(rows.len() > 2_000 && rows.iter().any(|row| row.popularity.is_some()), "{}", rows.len());
    assert_eq!(fired(&rows, &all), BTreeSet::from(ALL));
    let night = all.flag("BY_NIGHT").unwrap();
    for row in &rows {
        assert_eq!(row.flags.has(night), time_of_day(row.event.event_time) < 6 * HOUR);
        let without: u8 =
            Flag::FIRST.into_iter().filter(|flag| row.flags.has(*flag)).map(|flag| all.weight(flag)).sum();
        assert_eq!(row.score, without);
    }
    let row = rows.iter().find(|row| row.flags.has(night)).unwrap();
    let decision =
        Decision { scored: row, user: "U1", computer: "C1", base: EventTime::default(), rules: &all }.to_value();
    assert!(decision["risk_flags"].as_array().unwrap().contains(&"BY_NIGHT".into()), "{decision}");
}

#[tokio::test]
async fn a_lake_whose_rules_were_switched_is_sound_under_any_configuration() {
    let switched = Switched::new().await;
    let env = switched.uncommitted(&switched.entries).await;
    for rules in [on(&TWO), on(&ALL), RuleSet::default()] {
        let report = audit(&env, &rules).await;
        assert_eq!(report.difference, None, "{report}");
        assert!(report.totals().curated > 5_900, "{report}");
    }
}

#[tokio::test]
async fn a_row_is_checked_by_the_rules_that_were_on() {
    let switched = Switched::new().await;
    let (two, all, other) = (on(&TWO), on(&ALL), RuleSet::default());
    let night = all.flag("BY_NIGHT").unwrap();
    let any = |_: &ScoredEvent| true;
    let toggled = |flag: Flag| move |row: &mut ScoredEvent| row.flags.set(flag, !row.flags.has(flag));
    let expect = async |env: Env, rules: &RuleSet, words: &str| {
        let report = audit(&env, rules).await;
        let difference = report.difference.clone().unwrap_or_else(|| panic!("{words}: nothing was noticed:\n{report}"));
        assert!(difference.to_string().contains(words), "'{words}' is not in\n{difference}");
    };
    // By its own rules.
    expect(switched.edited(&all, any, toggled(night)).await, &all, "is_by_night does not follow").await;
    expect(switched.edited(&two, any, |row| row.score += 1).await, &two, "risk_score is not the sum").await;
    let rare = |row: &mut ScoredEvent| {
        row.flags.set(Flag::RARE_HOST, true);
        row.score += 10;
    };
    let off = "risk_flags are not of the rules that are on";
    expect(switched.edited(&two, |row| row.score == 0, rare).await, &two, off).await;
    // Audited by other rules: a rule that fired once was on, so elsewhere it must not be quiet without a reason.
    let quiet = |flag: Flag| move |row: &ScoredEvent| row.flags.has(flag);
    let known = |row: &ScoredEvent| !row.flags.has(Flag::RARE_HOST) && row.popularity.is_some_and(|p| p > 50);
    let rare_host = "is_rare_host does not follow";
    expect(switched.edited(&all, known, toggled(Flag::RARE_HOST)).await, &other, rare_host).await;
    expect(switched.edited(&all, quiet(Flag::RARE_HOST), toggled(Flag::RARE_HOST)).await, &other, rare_host).await;
    let new_device = "is_new_device is not 1";
    expect(switched.edited(&all, quiet(Flag::NEW_DEVICE), toggled(Flag::NEW_DEVICE)).await, &other, new_device).await;
    expect(switched.edited(&two, any, toggled(Flag::NEW_DEVICE)).await, &other, new_device).await;
}

#[tokio::test]
async fn the_column_of_a_later_rule_says_what_risk_flags_say() {
    let switched = Switched::new().await;
    let (two, all, knows) = (on(&TWO), on(&ALL), RuleSet::of(FIVE));
    let has = |(_, file): &(usize, TableFile)| file.columns.iter().any(|column| column.name == BY_NIGHT.column);
    assert!(switched.files(&all).iter().all(has) && !switched.files(&two).iter().any(has));
    let night = all.flag("BY_NIGHT").unwrap();
    let fired = move |row: &ScoredEvent| i32::from(row.flags.has(night));
    let one = |row: &ScoredEvent| row.event.event_time.micros() % 7 == 0;
    let expect = async |env: Env, rules: &RuleSet, words: Option<&str>| {
        let report = audit(&env, rules).await;
        match (&report.difference, words) {
            (None, None) => {}
            (Some(difference), Some(words)) => {
                let text = difference.to_string();
                assert!(text.contains("is_by_night does not follow from risk_flags"), "{text}");
                assert!(text.contains(words), "'{words}' is not in\n{text}");
            }
            (_, words) => panic!("{words:?}:\n{report}"),
        }
    };
    let written = move |row: &ScoredEvent| Some(fired(row));
    // An auditor that knows this rule compares it as well, even for rows scored by other rules.
    for rules in [&all, &knows] {
        expect(switched.with_column(&all, written).await, rules, None).await;
        for wrong in [|fired: i32| Some(1 - fired), |_| None, |_| Some(2)] {
            let column = move |row: &ScoredEvent| if one(row) { wrong(fired(row)) } else { Some(fired(row)) };
            let env = switched.with_column(&all, column).await;
            expect(env, rules, Some("is_by_night")).await;
        }
    }
    // A rule that is off leaves no values.
    expect(switched.with_column(&two, |_| Some(0)).await, &two, Some("null, for the rule was off")).await;
    expect(switched.with_column(&two, |_| Some(1)).await, &knows, Some("is_by_night")).await;
    // An auditor that does not know it says nothing of it.
    expect(switched.with_column(&all, |_| Some(2)).await, &RuleSet::default(), None).await;
}
