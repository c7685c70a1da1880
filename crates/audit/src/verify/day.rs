//! Checks the rows of `auth_events_curated` a day at a time, with everything that must agree with them.

use super::VerifyOptions;
use super::curated::{CuratedReader, Event, FileEvents};
use super::days::Days;
use super::family::Owners;
use super::history::{NewDevices, no_event_twice};
use super::hours::{Hours, days_within, holds};
use super::journal::Journals;
use super::others::{RuleSets, Under};
use super::popularity::Popularity;
use super::row::RowRules;
use super::rows::Rows;
use super::stop::{Check, Stop};
use super::tables::{AuditedFile, Files};
use authpulse_engine::NamedEvent;
use authpulse_engine::names::{ComputerNames, NameId, Names, UserNames};
use authpulse_event::Day;
use authpulse_journal::env::{Env, start};
use authpulse_journal::error::ConsumerError;
use authpulse_journal::refusal::Refusal;
use authpulse_lake::Table;
use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Checks all days, in order.
pub(super) async fn check_all(
    env: &Env,
    options: &VerifyOptions,
    journals: &Journals,
    tables: &Files,
    rows: &mut Rows,
) -> Check<()> {
    let Some(rules) = &journals.rules else { return rows.check_complete() };
    let owners = Owners::of(journals);
    let unscored = unscored(journals, &owners);
    let files = |table: Table| tables.files.get(&table).map_or(&[][..], Vec::as_slice);
    let days = Days::new(env, files(Table::DAILY), journals, owners.daily_through()).await?;
    let mut all: BTreeSet<Day> = days.days();
    all.extend(unscored.keys());
    all.extend(days_of(files(Table::CURATED))?);
    all.extend(days_of(files(Table::HOURLY))?);
    let row_rules = RowRules {
        base: rules.base,
        settle: rules.settle,
        digest: options.rules.digest(),
        rules: options.rules.clone(),
    };
    let mut reader = CuratedReader {
        env: env.clone(),
        rules: Arc::new(row_rules),
        views: Arc::default(),
        keys: Arc::new((RandomState::new(), RandomState::new())),
    };
    let mut names = Interned::default();
    let mut popularity = Popularity::new(rules.lookback_days, rules.settle);
    let mut pairs = NewDevices::new(rules.tolerance);
    let mut hours = Hours::new(files(Table::HOURLY));
    for day in all {
        reader.views = popularity.views(day, &names.computers);
        let own = files(Table::CURATED).iter().filter(|f| holds(f, day)).cloned().collect();
        let mut events = read_day(&reader, own, day, &mut names, rows).await?;
        no_event_twice(&mut events, &names.users)?;
        pairs.check(day, &mut events, &names.users, &names.computers, &mut names.others)?;
        events.extend(unscored.get(&day).into_iter().flatten().map(|event| names.unscored(event)));
        hours.check(env, day, &mut events, &mut names.users, &owners, rows).await?;
        popularity.add(day, days.check(env, day, &mut events, &mut names.computers, rows).await?);
    }
    pairs.finish(&names.users, &names.computers, &mut names.others)?;
    names.others.finish()?;
    rows.check_complete()
}

/// The names in all files, and the rule sets that scored their rows.
#[derive(Default)]
struct Interned {
    users: UserNames,
    computers: ComputerNames,
    others: RuleSets,
}

impl Interned {
    /// Adds the events of a file, with its names renumbered.
    fn take(&mut self, file: FileEvents, events: &mut Vec<Event>) {
        let users = renumber(&file.users, &mut self.users);
        let computers = renumber(&file.computers, &mut self.computers);
        let others = self.others.take(file.others);
        events.extend(file.events.into_iter().map(|event| Event {
            user: users[event.user.index()],
            computer: computers[event.computer.index()],
            under: RuleSets::renumbered(event.under, &others),
            ..event
        }));
    }

    fn unscored(&mut self, named: &NamedEvent) -> Event {
        Event {
            id: (0, 0),
            user: self.users.intern(&named.user),
            computer: self.computers.intern(&named.computer),
            time: named.event.event_time,
            score: 0,
            new_device: named.event.new_device,
            under: Under::KNOWN,
            scored: false,
        }
    }
}

/// For each name of a file, in the order of its numbers, the number of the name in `all`.
fn renumber<Kind: Copy>(own: &Names<Kind>, all: &mut Names<Kind>) -> Vec<NameId<Kind>> {
    own.ids().map(|id| all.intern(own.get(id))).collect()
}

/// Reads the files of a day, several at a time.
async fn read_day(
    reader: &CuratedReader,
    files: Vec<AuditedFile>,
    day: Day,
    names: &mut Interned,
    rows: &mut Rows,
) -> Check<Vec<Event>> {
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    let mut events = Vec::new();
    let mut under_way = VecDeque::new();
    let mut files = files.into_iter();
    loop {
        while under_way.len() < at_once
            && let Some(file) = files.next()
        {
            under_way.push_back(start(&*reader.env.work, reader.clone().read(file, day)));
        }
        let Some(next) = under_way.pop_front() else { return Ok(events) };
        let bug = || Stop::Error(ConsumerError::Bug("reading a file".to_owned()));
        let found = next.await.ok_or_else(bug)??;
        rows.add(Table::CURATED, found.events.len());
        rows.own_ids += found.own_ids;
        rows.doubtful_ids += found.doubtful_ids;
        names.take(found, &mut events);
    }
}

/// The days in the files of a table that is partitioned by day.
fn days_of(files: &[AuditedFile]) -> Check<BTreeSet<Day>> {
    let mut days = BTreeSet::new();
    for file in files {
        match (file.live.partition, file.live.times) {
            (Some(day), _) => {
                days.insert(Day(day));
            }
            (None, Some(times)) => days.extend(days_within(times)),
            (None, None) => {
                return Err(Stop::Error(Refusal::NoBounds(file.place()).into()));
            }
        }
    }
    Ok(days)
}

/// Events accepted and not yet scored, by day. Each is counted only for the shard that owns its user now.
fn unscored(journals: &Journals, owners: &Owners<'_>) -> BTreeMap<Day, Vec<NamedEvent>> {
    let mut days: BTreeMap<Day, Vec<NamedEvent>> = BTreeMap::new();
    for shard in journals.shards.values() {
        for event in shard.spill.unscored.iter().map(|event| event.to_event(&[])) {
            if owners.speaks_for(shard, &event.user) {
                days.entry(Day::of(event.event.event_time)).or_default().push(event);
            }
        }
    }
    days
}
