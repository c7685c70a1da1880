//! Ranks account-days, and counts how many labelled ones a budget of alerts catches. Pure: rows come in, figures go out.

use authpulse_event::time::SECOND;
use authpulse_event::{EventTime, Span};
use authpulse_producer::labels::{AttackKind, Label};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// The budgets that are measured, in alerts a day.
pub const BUDGETS: [u64; 4] = [20, 50, 100, 308];

/// What account-days are ranked by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// The highest `risk_score` of the day, then their sum.
    Score,
    /// How often a rule fired.
    Rule(String),
    /// How often the account was new on a computer.
    FirstSeen,
    /// Random: the hash of user and day alone.
    Random,
}

/// The columns of a row of `auth_events_curated` that ranking needs.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    pub time: EventTime,
    pub user: &'a str,
    pub computer: &'a str,
    pub score: i32,
    pub is_new_device: bool,
    /// Whether the rule that is ranked by fired.
    pub fires: bool,
}

/// A user, numbered in order of reading, and a day since 1970.
pub type Account = (u32, i64);
/// Time, user, computer.
pub type EventKey = (EventTime, String, String);
/// How an account-day sorts: its value, highest first; its hash, which orders equals; the account-day itself.
type Ranked = (Reverse<(i64, i64)>, u64, Account);

/// What one account did on one day.
#[derive(Clone, Copy, Debug, Default)]
struct Day {
    highest: i32,
    sum: i64,
    fired: u64,
    new_devices: u64,
}

/// A label whose row is in the lake.
#[derive(Clone, Debug)]
struct LabelledEvent {
    attack: u32,
    kind: AttackKind,
    time: EventTime,
    account: Account,
    computer: String,
    score: i32,
    fires: bool,
}

/// All account-days and the labels that they match. Rows are added one by one, in any order.
pub struct Days {
    base: EventTime,
    users: HashMap<String, u32>,
    names: Vec<String>,
    days: HashMap<Account, Day>,
    wanted: HashMap<EventKey, Vec<Label>>,
    times: HashSet<EventTime>,
    stored: Vec<LabelledEvent>,
    rows: u64,
}

/// One way to rank, and what it catches.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ranking {
    /// What it ranks by.
    pub by: String,
    /// What each budget catches.
    pub budgets: Vec<Budget>,
    /// The mean, over the labelled account-days, of the precision at the place of each.
    pub average_precision: f64,
}

/// What one budget of alerts catches.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Budget {
    /// Alerts a day. An alert is one account-day.
    pub per_day: u64,
    /// Alerts raised: at most the budget. An account-day whose value is 0 raises none, except in random order.
    pub alerts: u64,
    /// Alerts whose account-day has a label.
    pub caught: u64,
    /// The share of the labelled account-days that was caught.
    pub recall: f64,
    /// The share of the alerts that has a label.
    pub precision: f64,
    /// Attacks with a labelled event in a caught account-day that reaches the lowest score alerted on; for a rule, one that fired it.
    pub attacks_detected: u64,
    /// Seconds from an attack's first label to that event: the median over the detected attacks.
    pub median_seconds_to_detection: Option<u64>,
    /// By kind of attack and computers of the attack on that account-day.
    pub kinds: Vec<KindCaught>,
}

/// What was caught of one kind and size. An account-day with two attacks counts for each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KindCaught {
    /// The kind of attack.
    pub kind: &'static str,
    /// `1`, `2-6` or `7+` distinct computers.
    pub size: &'static str,
    /// Account-days that were caught.
    pub caught: u64,
    /// All account-days of this kind and size.
    pub of: u64,
}

impl Days {
    /// `base` is the time of second 0, as labels count.
    pub fn new(labels: Vec<Label>, base: EventTime) -> Days {
        let mut wanted: HashMap<_, Vec<Label>> = HashMap::new();
        for label in labels {
            let time = base.saturating_add(SECOND.saturating_mul(i64::try_from(label.time).unwrap_or(i64::MAX)));
            wanted.entry((time, label.user.clone(), label.computer.clone())).or_default().push(label);
        }
        Days {
            base,
            users: HashMap::new(),
            names: Vec::new(),
            days: HashMap::new(),
            times: wanted.keys().map(|key: &EventKey| key.0).collect(),
            wanted,
            stored: Vec::new(),
            rows: 0,
        }
    }

    /// Adds a row.
    pub fn add(&mut self, event: &Event<'_>) {
        self.rows += 1;
        let user = match self.users.get(event.user) {
            Some(&user) => user,
            None => {
                let user = self.names.len() as u32;
                self.users.insert(event.user.to_owned(), user);
                self.names.push(event.user.to_owned());
                user
            }
        };
        let account = (user, day_of(event.time));
        let day = self.days.entry(account).or_default();
        day.highest = day.highest.max(event.score);
        day.sum += i64::from(event.score);
        day.fired += u64::from(event.fires);
        day.new_devices += u64::from(event.is_new_device);
        // Names are looked up only for rows of the few seconds in which there are labels.
        if !self.times.contains(&event.time) {
            return;
        }
        let key = (event.time, event.user.to_owned(), event.computer.to_owned());
        for label in self.wanted.remove(&key).unwrap_or_default() {
            self.stored.push(LabelledEvent {
                attack: label.attack,
                kind: label.kind,
                time: event.time,
                account,
                computer: label.computer,
                score: event.score,
                fires: event.fires,
            });
        }
    }

    /// Rows taken in.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Labels whose rows are in the lake.
    pub fn stored(&self) -> u64 {
        self.stored.len() as u64
    }

    /// Labels whose rows are not: time, user and computer, and how many labels name them.
    pub fn missing(&self) -> impl Iterator<Item = (&EventKey, u64)> {
        self.wanted.iter().map(|(key, labels)| (key, labels.len() as u64))
    }

    /// Days with a row from the day of the first label to that of the last; none without a label in the lake.
    pub fn span(&self) -> BTreeSet<i64> {
        let days = || self.stored.iter().map(|stored| stored.account.1);
        let (Some(first), Some(last)) = (days().min(), days().max()) else { return BTreeSet::new() };
        self.days.keys().map(|account| account.1).filter(|day| (first..=last).contains(day)).collect()
    }

    /// Account-days that have a label.
    pub fn labelled(&self) -> HashSet<Account> {
        self.stored.iter().map(|stored| stored.account).collect()
    }

    /// Account-days within the span.
    pub fn account_days(&self) -> u64 {
        let span = self.span();
        self.days.keys().filter(|account| span.contains(&account.1)).count() as u64
    }

    /// Ranks the account-days of the span, and measures each budget.
    pub fn rank_by(&self, by: &By) -> Ranking {
        let span = self.span();
        let labelled = self.labelled();
        let mut ranked: Vec<Ranked> = self
            .days
            .iter()
            .filter(|(account, _)| span.contains(&account.1))
            .map(|(&account, day)| (Reverse(value(by, day)), self.hash(account), account))
            .collect();
        ranked.sort_unstable();
        let (mut hits, mut sum) = (0u64, 0.0);
        for (place, (_, _, account)) in (1u64..).zip(&ranked) {
            if labelled.contains(account) {
                hits += 1;
                sum += hits as f64 / place as f64;
            }
        }
        // In random order every account-day may raise an alert, otherwise only those with a value above 0.
        let alerts = ranked.iter().filter(|(Reverse(value), ..)| *by == By::Random || value.0 > 0).count();
        let budgets = BUDGETS
            .map(|per_day| {
                let most = usize::try_from(per_day * span.len() as u64).unwrap_or(usize::MAX);
                let taken = &ranked[..most.min(alerts)];
                self.budget(by, per_day, taken, &labelled)
            })
            .to_vec();
        let average_precision = if labelled.is_empty() { 0.0 } else { sum / labelled.len() as f64 };
        Ranking { by: by.name(), budgets, average_precision }
    }

    fn budget(&self, by: &By, per_day: u64, taken: &[Ranked], labelled: &HashSet<Account>) -> Budget {
        let alerts = taken.len() as u64;
        let cut = taken.last().map_or(0, |(Reverse(value), ..)| value.0);
        let taken: HashSet<Account> = taken.iter().map(|&(_, _, account)| account).collect();
        let caught = labelled.iter().filter(|account| taken.contains(account)).count() as u64;
        let mut first: BTreeMap<u32, (EventTime, Option<EventTime>)> = BTreeMap::new();
        for stored in &self.stored {
            let attack = first.entry(stored.attack).or_insert((stored.time, None));
            attack.0 = attack.0.min(stored.time);
            let reaches = match by {
                By::Score => i64::from(stored.score) >= cut,
                By::Rule(_) => stored.fires,
                By::FirstSeen | By::Random => true,
            };
            if reaches && taken.contains(&stored.account) {
                attack.1 = Some(attack.1.map_or(stored.time, |time| time.min(stored.time)));
            }
        }
        let mut delays: Vec<Span> = first.values().filter_map(|(begun, seen)| Some((*seen)? - *begun)).collect();
        delays.sort_unstable();
        let share = |of: u64, all: u64| if all == 0 { 0.0 } else { of as f64 / all as f64 };
        Budget {
            per_day,
            alerts,
            caught,
            recall: share(caught, labelled.len() as u64),
            precision: share(caught, alerts),
            attacks_detected: delays.len() as u64,
            median_seconds_to_detection: delays
                .get(delays.len() / 2)
                .map(|delay| (delay.abs() / SECOND).unsigned_abs()),
            kinds: self.kinds(&taken),
        }
    }

    fn kinds(&self, taken: &HashSet<Account>) -> Vec<KindCaught> {
        let mut computers: BTreeMap<(AttackKind, u32, Account), HashSet<&str>> = BTreeMap::new();
        for stored in &self.stored {
            computers.entry((stored.kind, stored.attack, stored.account)).or_default().insert(&stored.computer);
        }
        let mut counts: BTreeMap<(AttackKind, usize), (u64, u64)> = BTreeMap::new();
        for ((kind, _, account), computers) in computers {
            let size = match computers.len() {
                1 => 0,
                2..=6 => 1,
                _ => 2,
            };
            let count = counts.entry((kind, size)).or_default();
            count.0 += u64::from(taken.contains(&account));
            count.1 += 1;
        }
        let row = |((kind, size), (caught, of)): ((AttackKind, usize), (u64, u64))| KindCaught {
            kind: kind.as_str(),
            size: ["1", "2-6", "7+"][size],
            caught,
            of,
        };
        counts.into_iter().map(row).collect()
    }

    /// FNV-1a of the user's name, a comma, and the day counted from that of second 0 (1 January 2015 by default): the order
    /// of equals, the same in every run and in every lake of the same events.
    fn hash(&self, (user, day): Account) -> u64 {
        let text = format!("{},{}", self.names[user as usize], day - day_of(self.base));
        text.bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
    }
}

fn day_of(time: EventTime) -> i64 {
    authpulse_event::Day::of(time).0.into()
}

fn value(by: &By, day: &Day) -> (i64, i64) {
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    match by {
        By::Score => (i64::from(day.highest), day.sum),
        By::Rule(_) => (count(day.fired), 0),
        By::FirstSeen => (count(day.new_devices), 0),
        By::Random => (0, 0),
    }
}

impl By {
    /// The name under which it is printed.
    pub fn name(&self) -> String {
        match self {
            By::Score => "score".to_owned(),
            By::Rule(name) => format!("rule {name}"),
            By::FirstSeen => "first-seen".to_owned(),
            By::Random => "random".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(attack: u32, time: u64, user: &str, computer: &str) -> Label {
        Label { attack, kind: AttackKind::RedTeam, time, user: user.to_owned(), computer: computer.to_owned() }
    }

    fn event<'a>(second: u64, user: &'a str, computer: &'a str, score: i32) -> Event<'a> {
        Event {
            time: EventTime::default() + second as i64 * SECOND,
            user,
            computer,
            score,
            is_new_device: score >= 30,
            fires: score == 25,
        }
    }

    #[test]
    fn a_small_case_by_hand() {
        let day = 86_400;
        let labels = vec![
            label(1, 10, "A", "C1"),
            label(1, 60, "A", "C2"),
            label(2, day + 5, "B", "C1"),
            label(3, 7, "Z", "C1"),
        ];
        let mut days = Days::new(labels, EventTime::default());
        // Day 0: A is worst, B second; day 1: B has nothing but its label; day 2 is past the last label.
        for row in [
            event(10, "A", "C1", 0),
            event(60, "A", "C2", 65),
            event(70, "B", "C2", 30),
            event(80, "B", "C3", 30),
            event(day + 5, "B", "C1", 0),
            event(2 * day, "C", "C1", 100),
        ] {
            days.add(&row);
        }
        assert_eq!((days.stored(), days.missing().count(), days.span().len()), (3, 1, 2));
        assert_eq!(days.account_days(), 3);
        let ranking = days.rank_by(&By::Score);
        let first = &ranking.budgets[0];
        assert_eq!((first.per_day, first.alerts, first.caught), (20, 2, 1), "what shows nothing is no alert");
        assert_eq!((first.recall, first.precision), (0.5, 0.5));
        // A's second event reaches the cut of 30, 50 seconds after its first.
        assert_eq!((first.attacks_detected, first.median_seconds_to_detection), (1, Some(50)));
        assert!((ranking.average_precision - (1.0 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
        let sizes: Vec<_> = first.kinds.iter().map(|kind| (kind.size, kind.caught, kind.of)).collect();
        assert_eq!(sizes, [("1", 0, 1), ("2-6", 1, 1)]);
        assert_eq!(days.rank_by(&By::Random).budgets[0].alerts, 3);
        assert_eq!(days.rank_by(&By::Rule("X".to_owned())).budgets[0].alerts, 0);
    }
}
