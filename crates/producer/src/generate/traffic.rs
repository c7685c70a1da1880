//! Everyday logons, second by second.
//!
//! A minute has an expected number of events: size × rhythm, corrected by what earlier minutes owe. A second has a random number of groups.
//! A group is one user who logs on to one to four computers in that second. Half of LANL's events share user and second with another, which
//! is what the groups are for.

use super::population::{Population, Role};
use super::rhythm;
use super::rng::{Poisson, Purpose, Rng, Weighted};
use super::scale::Scale;

/// A logon by internal numbers, before names are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Logon {
    /// The user's internal number.
    pub(super) user: u32,
    /// The computer's internal number.
    pub(super) computer: u32,
    /// The attack it belongs to, counted from 1; 0 for everyday traffic.
    pub(super) attack: u32,
}

/// Shares of the mean traffic that do not depend on the hour. The rest is [`Role::Office`] and takes the whole rhythm.
const SERVICE_SHARE: f64 = 0.05;
const SHIFT_SHARE: f64 = 0.20;
/// How often a scanner logs on in an hour, in a network large enough; never more than the share below.
const SCANNER_PER_HOUR: f64 = 30.0;
const SCANNER_SHARE_MAX: f64 = 0.01;

/// Of 100 groups, how many have at most 1, 2, 3 logons; the rest have 4.
const GROUP_PERCENT: [u32; 3] = [72, 89, 96];
const GROUP_MEAN: f64 = 1.43;

/// The wished number of events is due this long before the last day ends. These minutes make up for rounding and chance, so that no events
/// spill into one more day.
const SPARE_MINUTES: u32 = 10;
const SPARE_EVENTS_A_MINUTE: f64 = 4.0;
/// How much of the events owed an earlier minute makes up for.
const CATCH_UP: f64 = 0.25;

/// Everyday traffic, second by second.
pub(super) struct Traffic {
    /// Who there is, and what they know.
    pub(super) population: Population,
    /// Logons on each computer so far.
    pub(super) popularity: Vec<u32>,
    rng: Rng,
    scale: Scale,
    /// Expected events of a minute of weight 1.
    per_minute: f64,
    due: f64,
    emitted: u64,
    minute: Minute,
    any_hour: Choice,
    office: Choice,
    scanner_share: f64,
}

/// What holds for one minute.
struct Minute {
    number: u32,
    groups_a_second: Poisson,
    /// Of 2^32: how likely a group is one whose user does not depend on the hour.
    any_hour_below: u32,
}

/// Users and the weights they are drawn by.
struct Choice {
    users: Vec<u32>,
    table: Weighted,
}

impl Traffic {
    /// Traffic before its first second.
    pub(super) fn new(scale: &Scale, seed: u64) -> Traffic {
        let population = Population::new(scale, seed);
        let spare: f64 = (1..=SPARE_MINUTES).map(|back| rhythm::weight(scale.days * 1440 - back)).sum();
        let scanner_share = scanner_share(scale, &population);
        let (any_hour, office) = choices(&population, scanner_share, 0);
        Traffic {
            scanner_share,
            popularity: vec![0; population.computers as usize],
            population,
            rng: Rng::new(seed, Purpose::Traffic),
            per_minute: scale.events as f64 / (rhythm::total(scale.days) - spare),
            scale: scale.clone(),
            due: 0.0,
            emitted: 0,
            minute: Minute { number: u32::MAX, groups_a_second: Poisson::new(0.0), any_hour_below: 0 },
            any_hour,
            office,
        }
    }

    /// Whether all wished events were made.
    pub(super) fn is_done(&self) -> bool {
        self.emitted >= self.scale.events
    }

    /// Appends the logons of one second. Seconds come in order, from 1.
    pub(super) fn second(&mut self, second: u32, out: &mut Vec<Logon>) {
        if self.minute.number != second / 60 {
            self.begin_minute(second / 60);
        }
        for _ in 0..self.minute.groups_a_second.draw(&mut self.rng) {
            let user = self.pick_user();
            let random = self.rng.below(100);
            let size = 1 + GROUP_PERCENT.iter().filter(|&&percent| random >= percent).count();
            for _ in 0..size {
                if self.is_done() {
                    return;
                }
                if let Some(computer) = self.log_on(user, second) {
                    self.emitted += 1;
                    out.push(Logon { user, computer, attack: 0 });
                }
            }
        }
    }

    fn begin_minute(&mut self, number: u32) {
        if number.is_multiple_of(1440) && number > 0 {
            (self.any_hour, self.office) = choices(&self.population, self.scanner_share, number / 1440);
        }
        let weight = rhythm::weight(number);
        let owed = self.due - self.emitted as f64;
        let expected = if number < self.scale.days * 1440 - SPARE_MINUTES {
            let planned = self.per_minute * weight;
            self.due += planned;
            (planned + CATCH_UP * owed).max(0.0)
        } else {
            // All that is owed at once, and always enough that the last event comes.
            owed.max(SPARE_EVENTS_A_MINUTE)
        };
        let any_hour = SERVICE_SHARE + SHIFT_SHARE + self.scanner_share;
        self.minute = Minute {
            number,
            groups_a_second: Poisson::new(expected / (60.0 * GROUP_MEAN)),
            any_hour_below: ((any_hour / weight).min(1.0) * f64::from(u32::MAX)) as u32,
        };
    }

    fn pick_user(&mut self) -> u32 {
        let any_hour = (self.rng.next() >> 32) as u32;
        let choice = if any_hour < self.minute.any_hour_below { &self.any_hour } else { &self.office };
        choice.users[choice.table.pick(self.rng.next()) as usize]
    }

    /// A computer that the user has not been on in this second; `None` if there is none left to try.
    fn log_on(&mut self, user: u32, second: u32) -> Option<u32> {
        self.population.meet(user, &mut self.rng);
        let random = self.rng.next();
        let user = &mut self.population.users[user as usize];
        let known = user.known.len() as u32;
        let first = match user.role {
            // If the user has just met a computer, this logon is on it.
            _ if user.known.last().is_some_and(|slot| slot.last_second == 0) => known - 1,
            Role::Service => skewed(random, known),
            Role::Scanner => uniform(random, known),
            Role::Shift | Role::Office => match random & 0xff {
                0..128 => 0,
                128..244 => 1 + skewed(random, known.min(FAVOURITES) - 1),
                _ => uniform(random, known),
            },
        };
        let reach = known.min(FAVOURITES);
        let free = std::iter::once(first)
            .chain((1..reach).map(|step| (first + step) % reach))
            .find(|&index| user.known.get(index as usize).is_some_and(|slot| slot.last_second != second))?;
        let slot = &mut user.known[free as usize];
        slot.last_second = second;
        user.logons = user.logons.saturating_add(1);
        let popularity = &mut self.popularity[slot.computer as usize];
        *popularity = popularity.saturating_add(1);
        Some(slot.computer)
    }
}

/// A user's usual computers, home included. Few enough that an ordinary hour stays below ten.
const FAVOURITES: u32 = 6;

/// 0 to `bound` - 1 from the upper half of `random`; 0 for an empty range.
fn uniform(random: u64, bound: u32) -> u32 {
    (((random >> 32) * u64::from(bound)) >> 32) as u32
}

/// The same, with small numbers far more often (the square of a uniform number).
fn skewed(random: u64, bound: u32) -> u32 {
    let upper = random >> 32;
    uniform(((upper * upper) >> 32) << 32, bound)
}

/// The share of all scanners together in the mean traffic.
fn scanner_share(scale: &Scale, population: &Population) -> f64 {
    let scanners = population.users.iter().filter(|user| user.role == Role::Scanner).count();
    scanners as f64 * (SCANNER_PER_HOUR / 3600.0 / scale.rate).min(SCANNER_SHARE_MAX)
}

/// Who is there on a day: users who do not depend on the hour, and those of the office.
fn choices(population: &Population, scanner_share: f64, day: u32) -> (Choice, Choice) {
    let here = || population.users.iter().enumerate().filter(move |(_, user)| user.from_day <= day);
    let sum = |role: Role| here().filter(|(_, user)| user.role == role).map(|(_, user)| user.weight).sum::<f64>();
    let per_weight = |role: Role, share: f64| share / sum(role).max(f64::MIN_POSITIVE);
    let service = per_weight(Role::Service, SERVICE_SHARE);
    let scanner = per_weight(Role::Scanner, scanner_share);
    let shift = per_weight(Role::Shift, SHIFT_SHARE);
    let factor = |role: Role| match role {
        Role::Service => service,
        Role::Scanner => scanner,
        Role::Shift => shift,
        Role::Office => 1.0,
    };
    let choice = |office: bool| {
        let (users, weights): (Vec<u32>, Vec<f64>) = here()
            .filter(|(_, user)| (user.role == Role::Office) == office)
            .map(|(index, user)| (index as u32, user.weight * factor(user.role)))
            .unzip();
        Choice { users, table: Weighted::new(&weights) }
    };
    (choice(false), choice(true))
}
