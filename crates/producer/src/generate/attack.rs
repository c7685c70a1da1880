//! Attacks put into the everyday traffic without changing it: they read who knows what, and draw from random numbers of their own.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use super::population::Role;
use super::rng::{Purpose, Rng};
use super::scale::Scale;
use super::traffic::{Logon, Traffic};
use crate::labels::AttackKind;

const HOUR_S: u32 = 3_600;
const DAY_S: u32 = 86_400;

/// The longest attack (slow lateral movement), in seconds: 16 computers at 24 minutes and a little.
const LONGEST_S: u32 = 7 * HOUR_S;

/// A victim's logons before the attack, at least: there must be a habit to break.
const HISTORY_LOGONS: u32 = 10;

/// All attacks of a run: those that are planned, and the logons still to come of those that have begun.
pub(super) struct Attacks {
    rng: Rng,
    /// Latest first.
    planned: Vec<Planned>,
    under_way: BinaryHeap<Reverse<Pending>>,
    /// Orders the pending logons of one second as they were made.
    made: u64,
    victims: HashSet<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Planned {
    start: u32,
    /// From 1, in the order of their planned times. The kinds take turns.
    number: u32,
    kind: AttackKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Pending {
    second: u32,
    made: u64,
    logon: Logon,
}

impl Attacks {
    /// Spreads `count` attacks over the later half, where history exists.
    pub(super) fn new(scale: &Scale, seed: u64, count: u32) -> Attacks {
        let mut rng = Rng::new(seed, Purpose::Attacks);
        let half = scale.span_s() / 2;
        let room = f64::from(half - LONGEST_S);
        let mut planned: Vec<Planned> = (0..count)
            .map(|index| {
                let part = (f64::from(index) + rng.unit()) / f64::from(count);
                let at = half + (room * part) as u32;
                let kind = AttackKind::of(index + 1);
                let start = if kind == AttackKind::StolenCredentials { odd_hour(at, half, &mut rng) } else { at };
                Planned { start, number: index + 1, kind }
            })
            .collect();
        planned.sort_by_key(|attack| Reverse((attack.start, attack.number)));
        Attacks { rng, planned, under_way: BinaryHeap::new(), made: 0, victims: HashSet::new() }
    }

    /// The next second in which an attack does something; `None` when all are over.
    pub(super) fn next_second(&self) -> Option<u32> {
        let planned = self.planned.last().map(|attack| attack.start);
        let under_way = self.under_way.peek().map(|Reverse(pending)| pending.second);
        planned.into_iter().chain(under_way).min()
    }

    /// Adds the attacks' logons of this second to those of everyday traffic. A logon that traffic already made in this second is put off to
    /// the next, because the data holds no line twice.
    pub(super) fn second(&mut self, second: u32, traffic: &Traffic, out: &mut Vec<Logon>) {
        while let Some(attack) = self.planned.pop_if(|attack| attack.start <= second) {
            self.begin(attack, second, traffic);
        }
        while let Some(&Reverse(pending)) = self.under_way.peek()
            && pending.second <= second
        {
            self.under_way.pop();
            let Logon { user, computer, .. } = pending.logon;
            if out.iter().any(|other| (other.user, other.computer) == (user, computer)) {
                self.under_way.push(Reverse(Pending { second: second + 1, ..pending }));
            } else {
                let place = self.rng.below(out.len() as u32 + 1);
                out.insert(place as usize, pending.logon);
            }
        }
    }

    fn begin(&mut self, attack: Planned, now: u32, traffic: &Traffic) {
        let user = self.victim(traffic);
        match attack.kind {
            AttackKind::FanOut => {
                let count = self.rng.between(12, 24);
                let gap_s = self.rng.between(15 * 60, 50 * 60) / count;
                for (step, computer) in self.fresh(user, count, traffic).into_iter().enumerate() {
                    let at = now + step as u32 * gap_s + self.rng.below(gap_s);
                    self.push(attack, at, user, computer);
                }
            }
            AttackKind::Burst => {
                let count = self.rng.between(60, 140);
                let within_s = self.rng.between(15 * 60, 45 * 60);
                let computer = self.usual(user, traffic);
                for _ in 0..count {
                    let at = now + self.rng.below(within_s);
                    self.push(attack, at, user, computer);
                }
            }
            AttackKind::SlowLateral | AttackKind::LateralOverDays => {
                let count = self.rng.between(8, 16);
                let every_s = self.rng.between(8, 24) * 60;
                for (step, computer) in self.fresh(user, count, traffic).into_iter().enumerate() {
                    let at = now + step as u32 * every_s + self.rng.below(every_s / 4);
                    self.push(attack, at, user, computer);
                }
            }
            AttackKind::StolenCredentials | AttackKind::RedTeam => {
                let computer = self.rare(user, traffic);
                let mut at = now;
                for _ in 0..self.rng.between(1, 4) {
                    self.push(attack, at, user, computer);
                    at += self.rng.between(5, 180);
                }
            }
        }
    }

    fn push(&mut self, attack: Planned, second: u32, user: u32, computer: u32) {
        let logon = Logon { user, computer, attack: attack.number };
        self.made += 1;
        self.under_way.push(Reverse(Pending { second, made: self.made, logon }));
    }

    /// A person with some history. Each is taken only once while there are enough of them.
    fn victim(&mut self, traffic: &Traffic) -> u32 {
        let users = &traffic.population.users;
        let count = users.len() as u32;
        let mut fallback = None;
        for _ in 0..400 {
            let index = self.rng.below(count);
            let user = &users[index as usize];
            if !user.is_person() || user.logons == 0 {
                continue;
            }
            if user.logons >= HISTORY_LOGONS && self.victims.insert(index) {
                return index;
            }
            fallback = fallback.or(Some(index));
        }
        // In a tiny network hardly anybody has logged on yet; then anybody of the office will do.
        let anyone = || users.iter().position(|user| user.role == Role::Office).map(|index| index as u32);
        fallback.or_else(anyone).unwrap_or(0)
    }

    /// Computers the user has never been on, as many as wished if there are.
    fn fresh(&mut self, user: u32, count: u32, traffic: &Traffic) -> Vec<u32> {
        let population = &traffic.population;
        let mut found = Vec::with_capacity(count as usize);
        for _ in 0..count * 50 {
            let computer = self.rng.below(population.computers);
            if found.len() < count as usize && !found.contains(&computer) && !population.knows(user, computer) {
                found.push(computer);
            }
        }
        found
    }

    /// One of the user's own computers.
    fn usual(&mut self, user: u32, traffic: &Traffic) -> u32 {
        let known = &traffic.population.users[user as usize].known;
        match known.get(self.rng.below(known.len() as u32) as usize) {
            Some(slot) => slot.computer,
            None => self.rng.below(traffic.population.computers),
        }
    }

    /// The least used of some random computers that the user does not know; preferably one that has been used at all.
    fn rare(&mut self, user: u32, traffic: &Traffic) -> u32 {
        let population = &traffic.population;
        let some: Vec<u32> = (0..64).map(|_| self.rng.below(population.computers)).collect();
        some.iter()
            .copied()
            .filter(|&computer| !population.knows(user, computer))
            .min_by_key(|&computer| match traffic.popularity[computer as usize] {
                0 => u32::MAX,
                used => used,
            })
            .unwrap_or(some[0])
    }
}

/// A time between 23 and 4 o'clock near `at`, not before `half`.
fn odd_hour(at: u32, half: u32, rng: &mut Rng) -> u32 {
    let midnight = at / DAY_S * DAY_S;
    let early = midnight + rng.below(4 * HOUR_S);
    let late = midnight + 23 * HOUR_S + rng.below(HOUR_S / 2);
    if early >= half { early } else { late }
}
