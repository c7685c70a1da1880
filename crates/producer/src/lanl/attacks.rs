//! Attacks laid over the traffic without changing it. They read who has appeared and who knows what, and use only users and computers that
//! were named before that moment. When each happens comes from the attacks' own seed alone.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};

use super::model::Model;
use super::rng::{Purpose, Rng};
use super::traffic::{Logon, Traffic};
use crate::labels::AttackKind;

const HOUR_S: u64 = 3_600;
const DAY_S: u64 = 86_400;

/// The kinds that take turns.
const TURNS: [AttackKind; 4] =
    [AttackKind::FanOut, AttackKind::Burst, AttackKind::LateralOverDays, AttackKind::StolenCredentials];

/// The fewest computers that a victim knows, if one can be found: there must be a habit to break.
const HABIT: usize = 2;
/// How many draws look for one that fits.
const DRAWS_MAX: u32 = 200;
/// From so many drawn, the one at the wished place of popularity is taken.
const CANDIDATES: usize = 8;

/// The shape of the red team.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedTeam {
    /// Of 100 first uses of a target, how many are by an account that has never been on it.
    pub novelty: u32,
    /// 0: targets that few use; 100: those that many use; 50: the middle of some drawn at random.
    pub popularity: u32,
    /// 0: accounts that know few computers; 100: those that know many.
    pub accounts: u32,
}

impl Default for RedTeam {
    /// Accounts like the real ones, which know many computers. The rest cannot be known from the data, and is in the middle.
    fn default() -> RedTeam {
        RedTeam { novelty: 75, popularity: 50, accounts: 100 }
    }
}

/// All attacks of a run.
pub(super) struct Attacks {
    seed: u64,
    /// Latest first.
    planned: Vec<Planned>,
    under_way: BinaryHeap<Reverse<Pending>>,
    made: u64,
    kinds: BTreeMap<u32, AttackKind>,
    victims: HashSet<u32>,
    red: RedTeam,
    /// The user that stands for each account of the red team.
    red_accounts: HashMap<u32, u32>,
    red_targets: HashMap<u32, u32>,
    end: u64,
    /// Logons of the red team that lie outside of the run.
    pub(super) red_left_out: u64,
}

/// Second, the order in which it was made, attack, user, computer.
type Pending = (u64, u64, u32, u32, u32);

#[derive(Debug, Clone, Copy)]
struct Planned {
    start: u64,
    number: u32,
    /// For the red team: account and target.
    red: Option<(u32, u32)>,
}

impl Attacks {
    /// Spreads `count` attacks over the later half of the seconds from `begin` to `end`, and puts the red team's logons where they were, if
    /// that lies within.
    pub(super) fn new(seed: u64, count: u32, red: Option<RedTeam>, begin: u64, end: u64) -> Attacks {
        let mut rng = Rng::new(seed, Purpose::LanlAttacks);
        let half = begin + (end - begin) / 2;
        let mut kinds = BTreeMap::new();
        let mut planned: Vec<Planned> = (0..count)
            .map(|index| {
                let kind = TURNS[index as usize % TURNS.len()];
                kinds.insert(index + 1, kind);
                // Not in the last tenth, so that most of an attack lies within.
                let room = (end - half) * 9 / 10;
                let part = u64::from(index) * 65_536 + u64::from(rng.below(65_536));
                let at = half + (u128::from(room) * u128::from(part) / (u128::from(count) * 65_536)) as u64;
                let start = if kind == AttackKind::StolenCredentials { odd_hour(at, half, end, &mut rng) } else { at };
                Planned { start, number: index + 1, red: None }
            })
            .collect();
        let mut red_left_out = 0;
        if red.is_some() {
            let model = Model::fifty_eight_days();
            let list = model.sums("red_seconds").into_iter().zip(model.small("red_accounts"));
            for ((time, account), target) in list.zip(model.small("red_targets")) {
                if (begin..end).contains(&time) {
                    let number = count + 1 + account;
                    kinds.insert(number, AttackKind::RedTeam);
                    planned.push(Planned { start: time, number, red: Some((account, target)) });
                } else {
                    red_left_out += 1;
                }
            }
        }
        planned.sort_by_key(|attack| Reverse((attack.start, attack.number, attack.red)));
        Attacks {
            seed,
            planned,
            under_way: BinaryHeap::new(),
            made: 0,
            kinds,
            victims: HashSet::new(),
            red: red.unwrap_or_default(),
            red_accounts: HashMap::new(),
            red_targets: HashMap::new(),
            end,
            red_left_out,
        }
    }

    /// The kind of an attack, by its number.
    pub(super) fn kind(&self, number: u32) -> AttackKind {
        self.kinds.get(&number).copied().unwrap_or(AttackKind::RedTeam)
    }

    /// Attacks of this run.
    pub(super) fn count(&self) -> u32 {
        self.kinds.len() as u32
    }

    /// The next second in which an attack does something.
    pub(super) fn next_second(&self) -> Option<u64> {
        let planned = self.planned.last().map(|attack| attack.start);
        planned.into_iter().chain(self.under_way.peek().map(|Reverse(logon)| logon.0)).min()
    }

    /// Begins the attacks of this second. It is called before the second's traffic, so that all it may choose was named before.
    pub(super) fn begin(&mut self, second: u64, traffic: &Traffic) {
        while let Some(attack) = self.planned.pop_if(|attack| attack.start <= second) {
            if traffic.users() == 0 {
                // Nobody has been named yet.
                self.planned.push(Planned { start: second + 1, ..attack });
                break;
            }
            // Each attack draws its own random numbers, so that they do not depend on what another attack found.
            let salt = attack.red.map_or(0, |(account, target)| (u64::from(account) << 32 | u64::from(target)) + 1);
            let own = self.seed ^ u64::from(attack.number) << 40 ^ salt;
            let mut whom = Rng::new(own, Purpose::LanlAttacks);
            match attack.red {
                Some((account, target)) => self.red(attack, account, target, second, traffic, &mut whom),
                None => self.start(attack, second, traffic, &mut Rng::new(!own, Purpose::LanlAttacks), &mut whom),
            }
        }
    }

    /// Adds the attacks' logons of this second. A logon that traffic already made in it is put off to the next: no line stands twice.
    pub(super) fn second(&mut self, second: u64, out: &mut Vec<Logon>) {
        while let Some(&Reverse((time, made, attack, user, computer))) = self.under_way.peek()
            && time <= second
        {
            self.under_way.pop();
            if out.iter().any(|other| (other.user, other.computer) == (user, computer)) {
                self.under_way.push(Reverse((second + 1, made, attack, user, computer)));
            } else {
                out.push(Logon { user, computer, attack });
            }
        }
    }

    fn push(&mut self, attack: Planned, second: u64, user: u32, computer: u32) {
        self.made += 1;
        self.under_way.push(Reverse((second, self.made, attack.number, user, computer)));
    }

    /// `rng` draws how many and when, `whom` the user and the computers: so times do not depend on what the traffic knows.
    fn start(&mut self, attack: Planned, now: u64, traffic: &Traffic, rng: &mut Rng, whom: &mut Rng) {
        let user = self.victim(traffic, whom);
        match self.kind(attack.number) {
            AttackKind::FanOut => {
                let count = rng.between(12, 24);
                let gap = u64::from(rng.between(15 * 60, 50 * 60) / count);
                for (step, computer) in (0..).zip(fresh(user, count, traffic, whom)) {
                    self.push(attack, now + step * gap + u64::from(rng.below(gap as u32)), user, computer);
                }
            }
            AttackKind::Burst => {
                let (count, within) = (rng.between(60, 140), rng.between(15 * 60, 45 * 60));
                let known = traffic.known(user);
                let nth = whom.below(known.len() as u32) as usize;
                let Some(computer) = traffic.known(user).nth(nth) else { return };
                for _ in 0..count {
                    self.push(attack, now + u64::from(rng.below(within)), user, computer);
                }
            }
            AttackKind::LateralOverDays | AttackKind::SlowLateral => {
                // One or two computers a day for four to ten days; in a shorter run, as far apart as it allows.
                let count = rng.between(6, 14);
                let span = (u64::from(rng.between(4, 10)) * DAY_S).min(self.end.saturating_sub(now)).max(HOUR_S);
                let gap = span / u64::from(count);
                for (step, computer) in (0..).zip(fresh(user, count, traffic, whom)) {
                    self.push(attack, now + step * gap + u64::from(rng.below((gap / 2) as u32 + 1)), user, computer);
                }
            }
            AttackKind::StolenCredentials | AttackKind::RedTeam => {
                let known: HashSet<u32> = traffic.known(user).collect();
                let some = (0..64).map(|_| whom.below(traffic.computers())).filter(|one| !known.contains(one));
                let Some(computer) = some.min_by_key(|&one| traffic.met_by(one)) else { return };
                let mut at = now;
                for _ in 0..rng.between(1, 4) {
                    self.push(attack, at, user, computer);
                    at += u64::from(rng.between(5, 180));
                }
            }
        }
    }

    /// A user with a habit, no machine; each is taken only once while there are enough of them.
    fn victim(&mut self, traffic: &Traffic, rng: &mut Rng) -> u32 {
        let mut fallback = 0;
        for _ in 0..DRAWS_MAX {
            let user = rng.below(traffic.users());
            if traffic.plan.users[user as usize].machine {
                continue;
            }
            if traffic.known(user).len() >= HABIT && self.victims.insert(user) {
                return user;
            }
            fallback = user;
        }
        fallback
    }

    fn red(&mut self, attack: Planned, account: u32, target: u32, now: u64, traffic: &Traffic, rng: &mut Rng) {
        let user = match self.red_accounts.get(&account) {
            Some(&user) => user,
            None => {
                let mut some: Vec<u32> = Vec::new();
                for _ in 0..DRAWS_MAX {
                    let user = rng.below(traffic.users());
                    let taken = self.red_accounts.values().any(|&other| other == user);
                    if !taken && !traffic.plan.users[user as usize].machine && some.len() < CANDIDATES {
                        some.push(user);
                    }
                }
                let user = at_place(some, self.red.accounts, |user| traffic.known(user).len() as u32).unwrap_or(0);
                self.red_accounts.insert(account, user);
                user
            }
        };
        let computer = match self.red_targets.get(&target) {
            Some(&computer) => computer,
            None => {
                let known: HashSet<u32> = traffic.known(user).collect();
                let is_new = rng.below(100) < self.red.novelty;
                let free =
                    |computer: &u32, targets: &HashMap<u32, u32>| !targets.values().any(|other| other == computer);
                let mut some: Vec<u32> = Vec::new();
                for _ in 0..DRAWS_MAX {
                    let computer = if is_new || known.is_empty() {
                        rng.below(traffic.computers())
                    } else {
                        let nth = rng.below(known.len() as u32) as usize;
                        traffic.known(user).nth(nth).unwrap_or(0)
                    };
                    let fits = !is_new || !known.contains(&computer);
                    if some.len() < CANDIDATES && fits && free(&computer, &self.red_targets) {
                        some.push(computer);
                    }
                }
                if some.is_empty() {
                    // All that the user knows stands for other targets already: any computer that does not.
                    let any: Vec<u32> = (0..DRAWS_MAX).map(|_| rng.below(traffic.computers())).collect();
                    some.push(any.iter().copied().find(|one| free(one, &self.red_targets)).unwrap_or(any[0]));
                }
                let computer = at_place(some, self.red.popularity, |one| traffic.met_by(one)).unwrap_or(0);
                self.red_targets.insert(target, computer);
                computer
            }
        };
        self.push(attack, now, user, computer);
    }
}

/// The one at `place` of 100 when sorted by a figure.
fn at_place(mut some: Vec<u32>, place: u32, figure: impl Fn(u32) -> u32) -> Option<u32> {
    some.sort_by_key(|&one| (figure(one), one));
    let last = some.len().checked_sub(1)?;
    Some(some[(last * place.min(100) as usize + 50) / 100])
}

/// Computers that the user does not know: `count` of them, if enough are found.
fn fresh(user: u32, count: u32, traffic: &Traffic, rng: &mut Rng) -> Vec<u32> {
    let known: HashSet<u32> = traffic.known(user).collect();
    let mut found = Vec::with_capacity(count as usize);
    for _ in 0..count * 50 {
        let computer = rng.below(traffic.computers());
        if found.len() < count as usize && !found.contains(&computer) && !known.contains(&computer) {
            found.push(computer);
        }
    }
    found
}

/// A time between 23 and 4 o'clock near `at`, within the run.
fn odd_hour(at: u64, half: u64, end: u64, rng: &mut Rng) -> u64 {
    let midnight = at / DAY_S * DAY_S;
    let early = midnight + u64::from(rng.below(4 * HOUR_S as u32));
    let late = midnight + 23 * HOUR_S + u64::from(rng.below(HOUR_S as u32 / 2));
    [early, late].into_iter().find(|time| (half..end).contains(time)).unwrap_or(at)
}
