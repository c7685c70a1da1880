//! Logons in the shape of LANL's two data sets, attacks laid over them, and disturbances put in on purpose.
//!
//! `docs/generator.md` says what is real, what is made up, and how each was checked. A run follows from its options alone: the same options
//! give the same bytes on any machine (integers and the exact operations of IEEE 754; all that needs a logarithm is in the models, which
//! `model/derive.py` makes).
//!
//! ```text
//! Model (from the data) -> Plan (who meets whom, at which event) -> Traffic (a second's logons) -+-> Lines
//!                      `-> Rhythm (events an hour) -----------------^      `- read by - Attacks -'
//! ```

mod attacks;
mod check;
mod days;
mod graph;
mod lines;
mod model;
mod plan;
mod rhythm;
mod size;
#[cfg(test)]
mod tests;
mod traffic;

use std::io::{self, Write};

pub use crate::generate::GenerateError;
use crate::generate::rng;
use crate::labels::{Label, LabelWriter};
use attacks::Attacks;
pub use attacks::RedTeam;
pub use check::{Figure, Figures, Verdict};
use lines::Lines;
pub use lines::{Disturbance, Disturbed};
use model::Model;
use plan::Plan;
use rhythm::Rhythm;
use size::Share;
use traffic::Traffic;

/// How many events lie between two calls of the progress function.
const PROGRESS_EVENTS: u64 = 65_536;

/// Which of LANL's data sets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    /// "User-Computer Authentication Associations in Time": 708 million logons, 11,361 users.
    #[default]
    NineMonths,
    /// "Comprehensive, Multi-Source Cyber-Security Events": 1,051 million events of 80,553 accounts.
    FiftyEightDays,
}

impl Profile {
    /// The name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Profile::NineMonths => "lanl-9mo",
            Profile::FiftyEightDays => "lanl-58",
        }
    }

    /// How many days it has.
    pub fn days(self) -> u32 {
        match self {
            Profile::NineMonths => 273,
            Profile::FiftyEightDays => days::DAYS,
        }
    }

    /// How many users the whole network has (accounts, in the 58 days).
    pub fn users(self) -> u32 {
        match self {
            Profile::NineMonths => 11_361,
            Profile::FiftyEightDays => 80_553,
        }
    }
}

/// What to write.
///
/// The whole set from its first day, unless `from_day`, `days` or `events` say otherwise. With `users`, the network and its events are that
/// share of the whole. `events` and `days` together, without `users`, choose the share by which so many events fill so many days.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LanlOptions {
    /// The set.
    pub profile: Profile,
    /// The most everyday events.
    pub events: Option<u64>,
    /// The most days.
    pub days: Option<u32>,
    /// The first day, from 0. The network knows what it would know by then.
    pub from_day: u32,
    /// Users of a smaller network.
    pub users: Option<u32>,
    /// Leaves machine accounts out (58 days).
    pub users_only: bool,
    /// The seed of everyday traffic.
    pub seed: u64,
    /// The attacks' own seed.
    pub attack_seed: u64,
    /// Attacks of the four kinds that take turns.
    pub attacks: u32,
    /// The shape of a red team, if there is to be one.
    pub red_team: Option<RedTeam>,
    /// What goes wrong on purpose.
    pub disturbance: Disturbance,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Everyday events.
    pub events: u64,
    /// Events of attacks, on top of those.
    pub attack_events: u64,
    /// Attacks that have events.
    pub attacks: u32,
    /// Logons of the red team that lie outside of the days that were written.
    pub red_team_left_out: u64,
    /// Users named by the end.
    pub users: u32,
    /// Computers named by the end.
    pub computers: u32,
    /// Pairs of the everyday traffic by the end.
    pub pairs: u64,
    /// Days that were begun.
    pub days: u32,
    /// Lines, bad ones and copies among them.
    pub lines: u64,
    /// Bytes written as lines.
    pub bytes: u64,
    /// What came of the disturbances.
    pub disturbed: Disturbed,
}

/// Why options cannot be followed, or writing failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LanlError {
    /// A day is not in the data set.
    #[error(
        "cannot generate {days} days from day {from} on: {profile} has the days 0 to {last}; choose --from-day and --days within"
    )]
    Days {
        /// The set.
        profile: &'static str,
        /// Its last day.
        last: u32,
        /// The first day that was asked for.
        from: u32,
        /// How many days were asked for.
        days: u32,
    },
    /// There are no such number of events in those days.
    #[error("cannot generate {events} events: {profile} has {most} in those days; give --events between 1 and that")]
    Events {
        /// What was given.
        events: u64,
        /// The set.
        profile: &'static str,
        /// How many events there are.
        most: u64,
    },
    /// The network does not have so many users, or a network needs more.
    #[error("cannot generate {users} users: {profile} has {most}; give --users between {least} and that")]
    Users {
        /// What was given.
        users: u32,
        /// The set.
        profile: &'static str,
        /// How many users there are.
        most: u32,
        /// The fewest that make a network.
        least: u32,
    },
    /// An option of the other profile.
    #[error("--users-only is for the profile lanl-58: lanl-9mo has no machine accounts")]
    UsersOnly,
    /// Writing failed.
    #[error(transparent)]
    Write(#[from] GenerateError),
}

/// Below this there are not enough computers for a fan-out.
const USERS_MIN: u32 = 20;

/// What options mean: the share of the network, its rhythm, and the events before the first and after the last day.
struct Extent {
    share: Share,
    rhythm: Rhythm,
    begin: u64,
    end: u64,
}

impl LanlOptions {
    /// Refuses options that cannot be followed; a command does this before it makes a file.
    ///
    /// # Errors
    /// An option is out of its range, or belongs to the other profile.
    pub fn check(&self) -> Result<(), LanlError> {
        self.extent(&self.model()).map(drop)
    }

    fn model(&self) -> Model {
        match self.profile {
            Profile::NineMonths => Model::nine_months(),
            Profile::FiftyEightDays => Model::fifty_eight_days(),
        }
    }

    fn rhythm(&self, model: &Model, share: Share) -> Rhythm {
        match self.profile {
            Profile::NineMonths => Rhythm::nine_months(model, share),
            Profile::FiftyEightDays => Rhythm::fifty_eight_days(model, &Model::nine_months(), share, self.users_only),
        }
    }

    fn extent(&self, model: &Model) -> Result<Extent, LanlError> {
        let (profile, all_days, whole) = (self.profile.as_str(), self.profile.days(), self.profile.users());
        if self.users_only && self.profile == Profile::NineMonths {
            return Err(LanlError::UsersOnly);
        }
        let days = self.days.unwrap_or(all_days.saturating_sub(self.from_day));
        if days == 0 || self.from_day.checked_add(days).is_none_or(|end| end > all_days) {
            return Err(LanlError::Days { profile, last: all_days - 1, from: self.from_day, days });
        }
        if let Some(users) = self.users
            && !(USERS_MIN..=whole).contains(&users)
        {
            return Err(LanlError::Users { users, profile, most: whole, least: USERS_MIN });
        }
        let all = Share { part: 1, whole: 1, events: (1, 1) };
        let window = |rhythm: &Rhythm| (rhythm.before(self.from_day * 24), rhythm.before((self.from_day + days) * 24));
        let rhythm = self.rhythm(model, all);
        let (begin, end) = window(&rhythm);
        if let Some(events) = self.events.filter(|&events| events == 0 || events > end - begin) {
            return Err(LanlError::Events { events, profile, most: end - begin });
        }
        let share = match (self.users, self.events) {
            (Some(users), _) => {
                let (part, whole) = (u64::from(users), u64::from(whole));
                Share { part, whole, events: (part, whole) }
            }
            // Rounded up, so that the last event is within the last day.
            (None, Some(events)) if self.days.is_some() && events < end - begin => {
                let users = u128::from(whole) * u128::from(events) / u128::from(end - begin);
                let part = (users as u64).clamp(u64::from(USERS_MIN), u64::from(whole));
                Share { part, whole: u64::from(whole), events: (events + 1, end - begin) }
            }
            _ => Share { part: u64::from(whole), whole: u64::from(whole), events: (1, 1) },
        };
        let rhythm = self.rhythm(model, share);
        let (begin, end) = window(&rhythm);
        let end = self.events.map_or(end, |events| end.min(begin + events));
        Ok(Extent { share, rhythm, begin, end })
    }

    fn plan(&self, model: &Model, share: Share) -> Plan {
        match self.profile {
            Profile::NineMonths => plan::nine_months(model, share, self.seed),
            Profile::FiftyEightDays => {
                let plan = days::fifty_eight_days(model, share, self.seed);
                if !self.users_only {
                    return plan;
                }
                let users: u64 = model.counts("hour_users").iter().sum();
                let all: u64 = users + model.counts("hour_machines").iter().sum::<u64>();
                plan.without_machines(|event| (u128::from(event) * u128::from(users) / u128::from(all)) as u64)
            }
        }
    }

    /// The numbers of computers by user and of users by computer in the whole graph, each sorted; no event is made.
    ///
    /// # Errors
    /// An option is out of its range, or belongs to the other profile.
    pub fn degrees(&self) -> Result<(Vec<u32>, Vec<u32>), LanlError> {
        let model = self.model();
        let share = self.extent(&model)?.share;
        Ok(self.plan(&model, share).degrees())
    }
}

/// Writes the lines to `out` and, for each event of an attack, a row to `labels`, below lines with what was counted. `progress` is called
/// now and then with the events so far. Both writers are flushed; neither needs a buffer of its own.
///
/// Memory grows with pairs of user and computer (some 20 MB for nine months, 60 MB for 58 days) and labels, not with events.
///
/// # Errors
/// An option cannot be followed, or a file cannot be written.
pub fn write(
    options: &LanlOptions,
    out: impl Write,
    labels: Option<impl Write>,
    mut progress: impl FnMut(u64),
) -> Result<Written, LanlError> {
    let model = options.model();
    let Extent { share, rhythm, begin, end } = options.extent(&model)?;
    let plan = options.plan(&model, share);
    let mut lines = Lines::new(out, &plan, options.disturbance, options.seed, end - begin);
    let groups = Model::nine_months();
    let joined = groups.small("joined")[0];
    let hours = (options.from_day * 24..rhythm.hours()).take_while(|&hour| rhythm.before(hour) < end);
    let last_hour = hours.last().unwrap_or(options.from_day * 24);
    // The last hour counts as far as there are events in it.
    let (before, after) = (rhythm.before(last_hour), rhythm.before(last_hour + 1));
    let part = u128::from(end - before) * 3_600 / u128::from((after - before).max(1));
    let begin_s = u64::from(options.from_day) * 86_400;
    let end_s = u64::from(last_hour) * 3_600 + part as u64;
    let mut attacks =
        Attacks::new(options.attack_seed, options.attacks, options.red_team, begin_s.max(1), end_s.max(2));
    let mut traffic = Traffic::new(plan, rhythm, groups.small("sizes"), joined, options.seed, options.from_day);

    let write_error = |lines| move |source| LanlError::Write(GenerateError::Write { lines, source });
    let (mut second, mut events, mut told, mut logons, mut found) = (begin_s.max(1), 0, 0, Vec::new(), Vec::new());
    let wished = end - begin;
    let mut last_second = second;
    loop {
        // A tiny network may not find room for all events that its hours have.
        let open = events < wished && second / 3_600 <= u64::from(last_hour);
        let attack = attacks.next_second();
        if !open {
            // The rest of the attacks comes after the traffic.
            let Some(next) = attack else { break };
            second = second.max(next);
        }
        logons.clear();
        if attack.is_some_and(|attack| attack <= second) {
            attacks.begin(second, &traffic);
        }
        if open {
            traffic.second(second as u32, &mut logons);
            logons.truncate(usize::try_from(wished - events).unwrap_or(usize::MAX));
            events += logons.len() as u64;
        }
        if attack.is_some() {
            attacks.second(second, &mut logons);
        }
        for logon in &logons {
            let so_far = lines.lines;
            lines.write(second, logon).map_err(write_error(so_far))?;
            if logon.attack > 0 {
                let (user, computer) = (lines.user(logon.user), format!("C{}", logon.computer + 1));
                found.push(Label {
                    attack: logon.attack,
                    kind: attacks.kind(logon.attack),
                    time: second,
                    user,
                    computer,
                });
            }
        }
        if !logons.is_empty() {
            last_second = second;
        }
        second += 1;
        if events - told >= PROGRESS_EVENTS {
            told = events;
            progress(events);
        }
    }
    let so_far = lines.lines;
    lines.finish().map_err(write_error(so_far))?;
    progress(events);
    let written = Written {
        events,
        attack_events: found.len() as u64,
        attacks: attacks.count(),
        red_team_left_out: attacks.red_left_out,
        users: traffic.users(),
        computers: traffic.computers(),
        pairs: traffic.pairs() as u64,
        days: (last_second / 86_400) as u32 + 1 - options.from_day,
        lines: lines.lines,
        bytes: lines.bytes(),
        disturbed: lines.disturbed,
    };
    if let Some(labels) = labels {
        let labels_error = |source| LanlError::Write(GenerateError::WriteLabels { source });
        write_labels(labels, options, &written, &found).map_err(labels_error)?;
    }
    Ok(written)
}

fn write_labels(out: impl Write, options: &LanlOptions, written: &Written, labels: &[Label]) -> io::Result<()> {
    let disturbed = &written.disturbed;
    let counts = [
        ("profile", options.profile.as_str().to_owned()),
        ("seed", options.seed.to_string()),
        ("attack_seed", options.attack_seed.to_string()),
        ("everyday_events", written.events.to_string()),
        ("attack_events", written.attack_events.to_string()),
        ("red_team_left_out", written.red_team_left_out.to_string()),
        ("lines", written.lines.to_string()),
        ("bad_lines", disturbed.bad_lines.to_string()),
        ("duplicate_lines", disturbed.duplicate_lines.to_string()),
        ("disordered_lines", disturbed.disordered_lines.to_string()),
        ("disorder_seconds", disturbed.disorder_seconds.to_string()),
        ("skewed_computers", disturbed.skewed_computers.to_string()),
        ("skewed_lines", disturbed.skewed_lines.to_string()),
        ("spelled_users", disturbed.spelled_users.to_string()),
        ("spelled_lines", disturbed.spelled_lines.to_string()),
    ];
    let mut writer = LabelWriter::with_counts(out, &counts)?;
    labels.iter().try_for_each(|label| writer.write(label))?;
    writer.finish()
}
