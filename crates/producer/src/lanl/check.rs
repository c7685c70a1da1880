//! Compares a file of events with the real figures.

use std::collections::HashMap;

use super::graph::Pairs;
use super::model::Model;
use super::{LanlError, LanlOptions, Profile};

const DAY_S: u64 = 86_400;
const MILLION: u64 = 1_000_000;
const HEAD: u64 = 10_000;
/// The numbers of events at which nodes and pairs are counted.
const SIZES: [u64; 4] = [MILLION, 5 * MILLION, 20 * MILLION, 100 * MILLION];
/// The number of events from which the pace is compared with the real one.
const PACE_FROM: u64 = 20 * MILLION;
/// Quantiles, in percent.
const QUANTILES: [usize; 5] = [25, 50, 75, 95, 99];
const SECONDS_QUANTILES: [usize; 6] = [5, 25, 50, 75, 95, 99];

/// How a figure compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Within the tolerance.
    Within,
    /// Outside of the tolerance.
    Off,
    /// The file is too short to have it.
    TooShort,
    /// The data does not have it: it is made up, shown and not checked.
    MadeUp,
}

impl Verdict {
    /// The verdict as it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Within => "within",
            Verdict::Off => "OFF",
            Verdict::TooShort => "too short",
            Verdict::MadeUp => "made up",
        }
    }
}

/// One figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What it is, with its unit.
    pub name: String,
    /// The value in LANL's data; none for what the data does not have.
    pub real: Option<f64>,
    /// Of the file; none where it is too short.
    pub found: Option<f64>,
    /// The tolerance, in percent of the real value; 0 if it is not checked.
    pub tolerance: f64,
    /// How the two compare.
    pub verdict: Verdict,
}

impl Figure {
    fn held(name: String, real: f64, found: Option<f64>, tolerance: f64) -> Figure {
        let verdict = match found {
            None => Verdict::TooShort,
            Some(found) if (found - real).abs() * 100.0 <= tolerance * real.abs() => Verdict::Within,
            Some(_) => Verdict::Off,
        };
        Figure { name, real: Some(real), found, tolerance, verdict }
    }

    fn made_up(name: String, found: Option<f64>) -> Figure {
        Figure { name, real: None, found, tolerance: 0.0, verdict: Verdict::MadeUp }
    }
}

/// Counts a file, line by line.
pub struct Figures {
    events: u64,
    /// Lines that are not `time,user,computer`.
    pub other_lines: u64,
    users: Names,
    computers: Names,
    pairs: Pairs,
    of_user: Vec<u32>,
    of_computer: Vec<u32>,
    /// (users, computers, pairs) at each of [`SIZES`].
    at: Vec<(u64, u64, u64)>,
    /// Time of each millionth event.
    millions: Vec<u64>,
    last: u64,
    hours: [u64; 24],
    /// Events, first meetings and users of each day.
    days: Vec<Day>,
    seen_on: Vec<u32>,
    head: Head,
}

#[derive(Debug, Clone, Copy, Default)]
struct Day {
    events: u64,
    pairs: u64,
    users: u64,
}

#[derive(Default)]
struct Head {
    users: HashMap<u32, u64>,
    groups: HashMap<(u64, u32), u64>,
    seconds: HashMap<u64, u64>,
    counts: (u64, u64, u64),
    last: u64,
}

/// Numbers for names, in order of first appearance.
#[derive(Default)]
struct Names {
    known: HashMap<Box<[u8]>, u32>,
    /// For names of a letter and a number: the name's number plus one, by the number in the name.
    direct: Vec<u32>,
    count: u32,
}

impl Names {
    fn of(&mut self, name: &[u8], letter: u8) -> u32 {
        let number = match name {
            [first, digits @ ..] if *first == letter && (1..=7).contains(&digits.len()) && digits[0] != b'0' => {
                digits.iter().try_fold(0usize, |number, digit| {
                    digit.is_ascii_digit().then(|| number * 10 + usize::from(digit - b'0'))
                })
            }
            _ => None,
        };
        let Some(number) = number else {
            if let Some(&number) = self.known.get(name) {
                return number;
            }
            self.known.insert(name.into(), self.count);
            self.count += 1;
            return self.count - 1;
        };
        if self.direct.len() <= number {
            self.direct.resize(number + 1, 0);
        }
        if self.direct[number] == 0 {
            self.count += 1;
            self.direct[number] = self.count;
        }
        self.direct[number] - 1
    }
}

impl Default for Figures {
    fn default() -> Self {
        Figures::new()
    }
}

impl Figures {
    /// Nothing counted yet.
    pub fn new() -> Figures {
        Figures {
            events: 0,
            other_lines: 0,
            users: Names::default(),
            computers: Names::default(),
            pairs: Pairs::with_room(100_000),
            of_user: Vec::new(),
            of_computer: Vec::new(),
            at: Vec::new(),
            millions: Vec::new(),
            last: 0,
            hours: [0; 24],
            days: Vec::new(),
            seen_on: Vec::new(),
            head: Head::default(),
        }
    }

    /// Events counted.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Counts one line, without its line break.
    pub fn line(&mut self, line: &[u8]) {
        let mut fields = line.splitn(3, |&byte| byte == b',');
        let (Some(time), Some(user), Some(computer)) = (fields.next(), fields.next(), fields.next()) else {
            self.other_lines += 1;
            return;
        };
        let digit = |number: u64, digit: &u8| digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'));
        let number =
            Some(time).filter(|time| (1..=12).contains(&time.len())).and_then(|time| time.iter().try_fold(0, digit));
        // At most ten years: anything beyond is another kind of time.
        match number.filter(|&time| time < 3_650 * DAY_S && !user.is_empty() && !computer.is_empty()) {
            Some(time) => self.event(time, user, computer),
            None => self.other_lines += 1,
        }
    }

    fn event(&mut self, time: u64, user: &[u8], computer: &[u8]) {
        let (user, computer) = (self.users.of(user, b'U'), self.computers.of(computer, b'C'));
        self.events += 1;
        self.last = time;
        let is_new = self.pairs.insert(user, computer);
        if is_new {
            for (degrees, node) in [(&mut self.of_user, user), (&mut self.of_computer, computer)] {
                let node = node as usize;
                if degrees.len() <= node {
                    degrees.resize(node + 1, 0);
                }
                degrees[node] += 1;
            }
        }
        self.hours[(time / 3_600 % 24) as usize] += 1;
        let day = (time / DAY_S) as usize;
        if self.days.len() <= day {
            self.days.resize(day + 1, Day::default());
        }
        if self.seen_on.len() <= user as usize {
            self.seen_on.resize(user as usize + 1, 0);
        }
        let count = &mut self.days[day];
        count.events += 1;
        count.pairs += u64::from(is_new);
        if self.seen_on[user as usize] != day as u32 + 1 {
            self.seen_on[user as usize] = day as u32 + 1;
            count.users += 1;
        }
        if self.events <= HEAD {
            *self.head.users.entry(user).or_default() += 1;
            *self.head.groups.entry((time, user)).or_default() += 1;
            *self.head.seconds.entry(time).or_default() += 1;
            self.head.last = time;
            self.head.counts = self.counts();
        }
        if self.events.is_multiple_of(MILLION) {
            self.millions.push(time);
            if SIZES.contains(&self.events) {
                self.at.push(self.counts());
            }
        }
    }

    fn counts(&self) -> (u64, u64, u64) {
        (u64::from(self.users.count), u64::from(self.computers.count), self.pairs.len() as u64)
    }

    /// All figures of a profile. Those of the whole graph are what the generator draws with these options.
    ///
    /// # Errors
    /// An option is out of its range, or belongs to the other profile.
    pub fn figures(&self, options: &LanlOptions) -> Result<Vec<Figure>, LanlError> {
        let mut figures = match options.profile {
            Profile::NineMonths => self.nine_months(),
            Profile::FiftyEightDays => self.fifty_eight_days(),
        };
        figures.extend(whole_graph(options)?);
        figures.extend(self.made_up());
        Ok(figures)
    }

    fn nine_months(&self) -> Vec<Figure> {
        let model = Model::nine_months();
        let mut figures = self.head(&model);
        let growth = [
            model.sums("growth_events"),
            model.sums("growth_users"),
            model.sums("growth_computers"),
            model.sums("growth_pairs"),
        ];
        for (index, size) in SIZES.into_iter().enumerate() {
            let row = growth[0].partition_point(|&events| events < size);
            let found = self.at.get(index);
            let millions = size / MILLION;
            let nodes = (growth[1][row] + growth[2][row]) as f64;
            let found_nodes = found.map(|&(users, computers, _)| (users + computers) as f64);
            figures.push(Figure::held(format!("users and computers after {millions} M"), nodes, found_nodes, 10.0));
            let found_pairs = found.map(|&(_, _, pairs)| pairs as f64);
            figures.push(Figure::held(format!("pairs after {millions} M"), growth[3][row] as f64, found_pairs, 10.0));
        }
        figures.extend(self.pace(&model));
        figures
    }

    fn head(&self, model: &Model) -> Vec<Figure> {
        let reached = self.events >= HEAD;
        let real = model.counts("real_head");
        let head = &self.head;
        let mut busiest: Vec<u64> = head.users.values().copied().collect();
        busiest.sort_unstable_by(|a, b| b.cmp(a));
        let of = |count: usize| busiest.iter().take(count).sum::<u64>();
        let ties = head.groups.values().filter(|&&events| events > 1).sum();
        let mut seconds: Vec<u64> =
            (1..=head.last).map(|second| head.seconds.get(&second).copied().unwrap_or(0)).collect();
        seconds.sort_unstable();
        let (users, computers, pairs) = head.counts;
        let mut found = vec![users, computers, pairs, of(1), of(10), of(100), ties];
        found.extend(SECONDS_QUANTILES.map(|percent| quantile(&seconds, percent)));
        let mut names: Vec<String> =
            ["users", "computers", "pairs", "events of the busiest user", "events of the 10 busiest users"]
                .map(str::to_owned)
                .to_vec();
        names.push("events of the 100 busiest users".to_owned());
        names.push("events that share user and second".to_owned());
        names.extend(SECONDS_QUANTILES.map(|percent| format!("events a second, {percent} %")));
        names
            .into_iter()
            .zip(real)
            .zip(found)
            .map(|((name, real), found)| {
                Figure::held(format!("first 10,000: {name}"), real as f64, reached.then_some(found as f64), 15.0)
            })
            .collect()
    }

    /// Seconds a million events, smoothed over five million, and means by weekday.
    fn pace(&self, model: &Model) -> Vec<Figure> {
        let seconds = model.sums("real_seconds");
        let reached = self.events >= PACE_FROM;
        let name = |what: &str| format!("seconds for five million events: {what}");
        let mut worst: Option<(f64, f64, usize)> = None;
        let at = |sums: &[u64], index: usize| index.checked_sub(1).map_or(0, |index| sums[index]) as f64;
        for from in (0..(self.millions.len().min(seconds.len()) / 5) * 5).step_by(5) {
            let real = at(&seconds, from + 5) - at(&seconds, from);
            let found = at(&self.millions, from + 5) - at(&self.millions, from);
            let off = (found / real - 1.0).abs();
            if worst.is_none_or(|(real, found, _)| off > (found / real - 1.0f64).abs()) {
                worst = Some((real, found, from));
            }
        }
        let mut figures = vec![match worst.filter(|_| reached) {
            Some((real, found, from)) => {
                Figure::held(name(&format!("the worst, from {from} M on")), real, Some(found), 5.0)
            }
            None => Figure::held(name("the worst"), seconds[4] as f64, None, 5.0),
        }];
        let real_days = model.counts("real_days");
        // The last day is not whole.
        let whole = self.days.len().saturating_sub(1).min(real_days.len() - 1);
        for weekday in 0..7 {
            let days: Vec<usize> = (weekday..whole).step_by(7).collect();
            let mean =
                |of: &dyn Fn(usize) -> u64| days.iter().map(|&day| of(day)).sum::<u64>() as f64 / days.len() as f64;
            let name = format!("events a day, day mod 7 = {weekday}");
            figures.push(if reached && !days.is_empty() {
                Figure::held(name, mean(&|day| real_days[day]), Some(mean(&|day| self.days[day].events)), 5.0)
            } else {
                Figure::held(name, real_days[weekday] as f64, None, 5.0)
            });
        }
        figures
    }

    fn fifty_eight_days(&self) -> Vec<Figure> {
        let model = Model::fifty_eight_days();
        let (events, pairs, accounts) =
            (model.counts("day_events"), model.counts("day_pairs"), model.counts("day_accounts"));
        let whole = self.days.len().saturating_sub(1);
        let mut figures = Vec::new();
        for day in 0..events.len() {
            let found = self.days.get(day).filter(|_| day < whole || day + 1 == events.len());
            let figure = |name: &str, real: u64, of: fn(&Day) -> u64| {
                Figure::held(format!("{name}, day {day}"), real as f64, found.map(|found| of(found) as f64), 10.0)
            };
            figures.push(figure("pairs seen for the first time", pairs[day], |day| day.pairs));
            figures.push(figure("events", events[day], |day| day.events));
            let accounts = Some(accounts[day] as f64);
            figures.push(Figure {
                real: accounts,
                ..Figure::made_up(format!("accounts, day {day}"), found.map(|day| day.users as f64))
            });
        }
        figures
    }

    fn made_up(&self) -> Vec<Figure> {
        let mut figures = Vec::new();
        let busiest = self.hours.iter().max().copied().unwrap_or(0) as f64;
        let days = self.days.iter().filter(|day| day.events > 0).count();
        let quiet = self.hours.iter().min().copied().unwrap_or(0) as f64;
        let ratio = Some(busiest / quiet).filter(|ratio| days > 1 && ratio.is_finite());
        figures.push(Figure::made_up("events of the busiest hour of the day, of the quietest".to_owned(), ratio));
        for (side, degrees) in [("computers by user", &self.of_user), ("users by computer", &self.of_computer)] {
            let mut sorted: Vec<u64> = degrees.iter().map(|&degree| u64::from(degree)).collect();
            sorted.sort_unstable();
            for percent in QUANTILES {
                let found = (!sorted.is_empty()).then(|| quantile(&sorted, percent) as f64);
                figures.push(Figure::made_up(format!("{side} at the end of the file, {percent} %"), found));
            }
        }
        figures
    }
}

/// Degrees of the whole graph that these options draw, without events.
fn whole_graph(options: &LanlOptions) -> Result<Vec<Figure>, LanlError> {
    let model = options.model();
    let (users, computers) =
        LanlOptions { events: None, days: None, from_day: 0, users: None, users_only: false, ..options.clone() }
            .degrees()?;
    let (user_degrees, name) = match options.profile {
        Profile::NineMonths => ("user_degrees", "computers by user"),
        Profile::FiftyEightDays => ("degrees", "computers by account"),
    };
    let mut figures = Vec::new();
    for (real, found, name) in [(user_degrees, users, name), ("computer_degrees", computers, "users by computer")] {
        let mut real = model.counts(real);
        real.sort_unstable();
        let found: Vec<u64> = found.into_iter().map(u64::from).collect();
        for percent in QUANTILES {
            let found = quantile(&found, percent) as f64;
            let name = format!("the generator's whole graph: {name}, {percent} %");
            figures.push(Figure::held(name, quantile(&real, percent) as f64, Some(found), 10.0));
        }
    }
    Ok(figures)
}

/// The element below which so many percent of the elements lie.
fn quantile(sorted: &[u64], percent: usize) -> u64 {
    // The element at the whole part of the position.
    sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
}
