//! Everyday logons, second by second, as the plan and the rhythm say.
//!
//! A group is one user on one to five computers in one second. First meetings happen exactly at their events; between them, groups repeat
//! what a user knows. Each hour begins new random numbers, and nothing but the plan outlasts an hour, so the events of an hour are the same
//! wherever a run begins.

use super::plan::Plan;
use super::rhythm::Rhythm;
use super::rng::{Rng, Weighted};

/// A logon, before names are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Logon {
    /// The user's number, from 0.
    pub(super) user: u32,
    /// The computer's number, from 0.
    pub(super) computer: u32,
    /// The attack it belongs to, from 1; 0 for everyday traffic.
    pub(super) attack: u32,
}

/// A computer in a user's list, and when the user was last on it.
#[derive(Debug, Clone, Copy)]
struct Known {
    computer: u32,
    second: u32,
}

/// Of 256: how often somebody of the office is on the first computer that they met. Made up.
const HOME_OF_256: u32 = 96;
/// How often a user is drawn before the one of the latest first meeting is taken; only a network's first minutes need that.
const DRAWS_MAX: u32 = 64;
/// How many groups of a second may come to nothing (all that the user knows is used in this second) before the rest is put off.
const IDLE_MAX: u32 = 200;

/// Of 10: the factor by which a group of one is rarer than the first 10,000 events say. Drawn users know fewer computers than the real ones
/// who are as busy, and a user who knows a single computer is always alone. Made up, so that as many events share user and second.
const SINGLE_OF_10: u32 = 9;

/// Everyday traffic, second by second.
pub(super) struct Traffic {
    /// Who meets which computer, and when.
    pub(super) plan: Plan,
    /// How many events each hour and second has.
    pub(super) rhythm: Rhythm,
    seed: u64,
    begins: Vec<u32>,
    list: Vec<Known>,
    /// Computers each user knows so far.
    known: Vec<u32>,
    /// Users each computer has met so far.
    met_by: Vec<u32>,
    users: u32,
    computers: u32,
    /// The index of the next first meeting in the plan.
    next: usize,
    event: u64,
    hour: Hour,
    choice: Choice,
    sizes: Vec<u32>,
    joined: u32,
}

struct Hour {
    number: u32,
    rng: Rng,
    seconds: Vec<u32>,
    always: u32,
    put_off: u32,
}

/// The tables that users are drawn from, for one day.
struct Choice {
    day: u32,
    by_day: bool,
    always: Option<Weighted>,
    office: Option<Weighted>,
}

impl Traffic {
    /// Begins at midnight of a day.
    pub(super) fn new(plan: Plan, rhythm: Rhythm, sizes: Vec<u32>, joined: u32, seed: u64, from_day: u32) -> Traffic {
        let (begins, list) = plan.by_user();
        let hour = from_day * 24;
        let event = rhythm.before(hour);
        let by_day = plan.users.iter().any(|user| user.days != u64::MAX);
        let mut traffic = Traffic {
            known: vec![0; plan.users.len()],
            met_by: vec![0; plan.computers as usize],
            list: list.into_iter().map(|computer| Known { computer, second: 0 }).collect(),
            begins,
            seed,
            users: 0,
            computers: 0,
            next: 0,
            event,
            hour: Hour { number: u32::MAX, rng: Rng::of_hour(seed, hour), seconds: Vec::new(), always: 0, put_off: 0 },
            choice: Choice { day: u32::MAX, by_day, always: None, office: None },
            sizes,
            joined,
            rhythm,
            plan,
        };
        while traffic.next < traffic.plan.until(event) {
            traffic.meet();
        }
        traffic
    }

    /// Users who have appeared; their numbers from 0.
    pub(super) fn users(&self) -> u32 {
        self.users
    }

    /// Computers that have appeared; their numbers from 0.
    pub(super) fn computers(&self) -> u32 {
        self.computers
    }

    /// First meetings so far.
    pub(super) fn pairs(&self) -> usize {
        self.next
    }

    /// Computers that a user knows, in the order in which they were met.
    pub(super) fn known(&self, user: u32) -> impl ExactSizeIterator<Item = u32> + '_ {
        let begin = self.begins[user as usize] as usize;
        self.list[begin..begin + self.known[user as usize] as usize].iter().map(|known| known.computer)
    }

    /// Users that a computer has met.
    pub(super) fn met_by(&self, computer: u32) -> u32 {
        self.met_by[computer as usize]
    }

    /// Makes the next first meeting happen; returns its user and computer.
    fn meet(&mut self) -> (u32, u32) {
        let (user, computer) = self.plan.pairs[self.next];
        self.next += 1;
        self.known[user as usize] += 1;
        self.met_by[computer as usize] += 1;
        self.users = self.users.max(user + 1);
        self.computers = self.computers.max(computer + 1);
        (user, computer)
    }

    /// Events until the next first meeting.
    fn room(&self) -> u64 {
        self.plan.at.get(self.next).map_or(u64::MAX, |at| at.saturating_sub(self.event))
    }

    /// Appends the logons of one second. Seconds come in order.
    pub(super) fn second(&mut self, second: u32, out: &mut Vec<Logon>) {
        if self.hour.number != second / 3_600 {
            self.begin_hour(second / 3_600);
        }
        let within = second as usize % 3_600;
        let mut left = self.hour.seconds[within] + std::mem::take(&mut self.hour.put_off);
        let mut idle = 0;
        while left > 0 {
            let room = self.room();
            let made = if room == 0 {
                1 + self.first_meeting(second, left - 1, out)
            } else {
                self.group(second, room.min(u64::from(left)) as u32, out)
            };
            left -= made;
            idle = if made == 0 { idle + 1 } else { 0 };
            if idle > IDLE_MAX {
                self.hour.put_off = left;
                break;
            }
        }
        if within == 3_599 {
            // The events that a tiny network could not make in its hour are left out; its first meetings are not.
            while self.plan.at.get(self.next).is_some_and(|&at| at < self.rhythm.before(self.hour.number + 1)) {
                self.first_meeting(second, 0, out);
            }
        }
    }

    fn begin_hour(&mut self, number: u32) {
        let mut rng = Rng::of_hour(self.seed, number);
        let seconds = self.rhythm.seconds(number, &mut rng);
        self.event = self.rhythm.before(number);
        self.hour = Hour { number, rng, seconds, always: self.rhythm.always(number), put_off: 0 };
        let day = number / 24;
        if self.choice.day == u32::MAX || self.choice.by_day && self.choice.day != day {
            self.choice.day = day;
            let there = |days: u64| days == u64::MAX || days >> day.min(63) & 1 == 1;
            let of = |weight: fn(&super::plan::User) -> u32| {
                let weights: Vec<f64> = self
                    .plan
                    .users
                    .iter()
                    .map(|user| if there(user.days) { f64::from(weight(user)) } else { 0.0 })
                    .collect();
                weights.iter().any(|&weight| weight > 0.0).then(|| Weighted::new(&weights))
            };
            (self.choice.always, self.choice.office) = (of(|user| user.always), of(|user| user.office));
        }
    }

    /// Makes a first meeting, often in a group with a computer that the user knows. Returns how many logons that added.
    fn first_meeting(&mut self, second: u32, room: u32, out: &mut Vec<Logon>) -> u32 {
        let (user, computer) = self.meet();
        let known = self.known[user as usize];
        self.list[(self.begins[user as usize] + known - 1) as usize].second = second;
        self.event += 1;
        out.push(Logon { user, computer, attack: 0 });
        if known < 2 || room == 0 || self.room() == 0 || self.hour.rng.below(1_000) >= self.joined {
            return 0;
        }
        let at = self.hour.rng.below(known - 1);
        u32::from(self.log_on(user, at, second, out))
    }

    /// Logs a user on, unless the user was on that computer in this second already; returns whether it did.
    fn log_on(&mut self, user: u32, nth: u32, second: u32, out: &mut Vec<Logon>) -> bool {
        let known = &mut self.list[(self.begins[user as usize] + nth) as usize];
        if known.second == second {
            return false;
        }
        known.second = second;
        self.event += 1;
        out.push(Logon { user, computer: known.computer, attack: 0 });
        true
    }

    /// Makes a group: a user on some computers. Returns how many logons it has.
    fn group(&mut self, second: u32, room: u32, out: &mut Vec<Logon>) -> u32 {
        let always = self.hour.rng.below(65_536) < self.hour.always;
        let Some(user) = self.user(always) else { return 0 };
        let known = self.known[user as usize];
        let random = self.hour.rng.next();
        let size = match known {
            1 => 1,
            _ => {
                let sizes = &self.sizes[(known.min(4) as usize - 2) * 4..][..4];
                let chance = (((random >> 48) * 1_000) >> 16) as u32;
                1 + sizes.iter().filter(|&&below| chance >= below * SINGLE_OF_10 / 10).count() as u32
            }
        };
        let place = (((random & 0xffff) * ((random >> 16) & 0xffff)) >> 16) as u32;
        let nth = if !always && ((random >> 32) & 0xff) < u64::from(HOME_OF_256) { 0 } else { (place * known) >> 16 };
        let mut made = 0;
        for step in 0..size.min(room).min(known) {
            made += u32::from(self.log_on(user, (nth + step) % known, second, out));
        }
        made
    }

    /// Draws a user who has appeared.
    fn user(&mut self, always: bool) -> Option<u32> {
        let table = match always {
            true => self.choice.always.as_ref().or(self.choice.office.as_ref()),
            false => self.choice.office.as_ref().or(self.choice.always.as_ref()),
        };
        let rng = &mut self.hour.rng;
        let drawn = table.and_then(|table| {
            (0..DRAWS_MAX).map(|_| table.pick(rng.next())).find(|&user| self.known[user as usize] > 0)
        });
        drawn.or_else(|| self.next.checked_sub(1).map(|last| self.plan.pairs[last].0))
    }
}
