//! Who there is: users with a home computer and a few servers, and the computers that they come to know.
//!
//! Computers have internal numbers in three ranges: servers (chosen by a Zipf law, so that a few are everyone's), one home for each user,
//! and spare ones (laboratories, meeting rooms). How many logons pass before a user knows a new computer grows with the square of what is
//! known. So the pairs of the whole network grow as they did at LANL: 3 % of the first million events are a new pair, 0.04 % of seven
//! hundred million.

use super::rng::{Purpose, Rng, Weighted};
use super::scale::Scale;

/// What a user is, which decides when and how they log on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// An account of a program: all day long, far more than 50 an hour, on few computers. Fires BURST_LOGIN.
    Service,
    /// An inventory or backup account: some 30 an hour over many computers. Fires LATERAL_MOVEMENT.
    Scanner,
    /// A person or program at work at any hour.
    Shift,
    /// A person at work by day.
    Office,
}

/// A computer that a user knows, and when the user was last on it: no line of the output may repeat.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    /// The computer's internal number.
    pub(super) computer: u32,
    /// The second of the user's last logon on it; 0 before the first.
    pub(super) last_second: u32,
}

/// A user, with what drives their logons.
#[derive(Debug, Clone)]
pub(super) struct User {
    /// When and how the user logs on.
    pub(super) role: Role,
    /// Computers that the user knows: home first, then in the order in which they were met.
    pub(super) known: Vec<Slot>,
    /// Logons so far.
    pub(super) logons: u32,
    /// The number of logons at which the next computer is met.
    next_new: u32,
    /// How many computers are met within the first logons.
    first_known: u32,
    known_max: u32,
    /// New computers per square root of logons.
    curiosity: f64,
    /// Activity relative to others of the same role.
    pub(super) weight: f64,
    /// The first day on which the user may appear.
    pub(super) from_day: u32,
}

/// All users, and the computers there are to meet.
#[derive(Debug)]
pub(super) struct Population {
    /// By internal number.
    pub(super) users: Vec<User>,
    /// How many computers there are.
    pub(super) computers: u32,
    servers: Weighted,
    server_count: u32,
}

/// How many users have homes near each other, and therefore meet each other's computers.
const TEAM_USERS: u32 = 12;

/// The most computers that a person comes to know, about the 99.9th percentile at LANL. It bounds memory, too.
const PERSON_KNOWN_MAX: u32 = 330;
/// The same for a scanner: LANL's largest account.
const SCANNER_KNOWN_MAX: u32 = 6_726;

impl Population {
    /// The population of a network of this scale.
    pub(super) fn new(scale: &Scale, seed: u64) -> Population {
        let mut rng = Rng::new(seed, Purpose::Population);
        let total = scale.users();
        let server_count = 12 + total * 3 / 100;
        let computers = server_count + total + total * 9 / 10;
        let services = 2 + scale.users_first / 1_600;
        let scanners = 1 + scale.users_first / 4_000;
        let mut users = Vec::with_capacity(total as usize);
        for index in 0..total {
            let role = match index {
                _ if index < services => Role::Service,
                _ if index < services + scanners => Role::Scanner,
                // There must be one of the office, however small the network.
                _ if index > services + scanners && rng.below(4) == 0 => Role::Shift,
                _ => Role::Office,
            };
            let mut user = User::new(role, index, computers, &mut rng);
            if index >= scale.users_first {
                let joined = u64::from(index - scale.users_first) * u64::from(scale.days - 1);
                user.from_day = 1 + (joined / u64::from(scale.users_joining)) as u32;
            }
            users.push(user);
        }
        let servers = Weighted::new(&(0..server_count).map(|rank| 1.0 / f64::from(rank + 1)).collect::<Vec<_>>());
        Population { users, computers, servers, server_count }
    }

    /// Lets a user meet a new computer, if it is time. Everyone knows at least one after their first logon.
    #[inline]
    pub(super) fn meet(&mut self, user: u32, rng: &mut Rng) {
        let person = &self.users[user as usize];
        if person.logons >= person.next_new {
            self.meet_now(user, rng);
        }
    }

    #[cold]
    fn meet_now(&mut self, index: u32, rng: &mut Rng) {
        // A few tries suffice if anything is left to meet; a user who knows nearly all of them waits for the next time.
        let met = (0..12).map(|_| self.candidate(index, rng)).find(|&computer| !self.knows(index, computer));
        let user = &mut self.users[index as usize];
        if let Some(computer) = met {
            user.known.push(Slot { computer, last_second: 0 });
        }
        user.next_new = user.logons_until_next(rng);
    }

    fn candidate(&self, index: u32, rng: &mut Rng) -> u32 {
        let user = &self.users[index as usize];
        if user.known.is_empty() && user.role != Role::Service {
            return self.server_count + index;
        }
        let early = (user.known.len() as u32) < user.first_known;
        let server_percent = match user.role {
            Role::Service => 70,
            Role::Scanner => 5,
            Role::Shift | Role::Office if early => 100,
            Role::Shift | Role::Office => 55,
        };
        if rng.below(100) < server_percent {
            return self.servers.pick(rng.next());
        }
        let anyone = self.computers - self.server_count;
        if rng.below(100) < 15 || !user.is_person() {
            return self.server_count + rng.below(anyone);
        }
        let users = self.users.len() as u32;
        let mate = (index / TEAM_USERS * TEAM_USERS + rng.below(TEAM_USERS)) % users;
        // The spare computers lie beyond the homes: nine to ten users.
        if rng.below(100) < 40 {
            (self.server_count + users + mate * 9 / 10).min(self.computers - 1)
        } else {
            self.server_count + mate
        }
    }

    /// Whether a user has met a computer.
    pub(super) fn knows(&self, user: u32, computer: u32) -> bool {
        self.users[user as usize].known.iter().any(|slot| slot.computer == computer)
    }
}

impl User {
    fn new(role: Role, index: u32, computers: u32, rng: &mut Rng) -> User {
        let skew = rng.unit();
        let square = skew * skew;
        let wide = if rng.below(100) == 0 { 6.0 } else { 1.0 };
        let first_known = rng.between(1, 5);
        let (curiosity, first_known, known_max, weight) = match role {
            // At most 8, so that an hour never holds the ten computers of LATERAL_MOVEMENT.
            Role::Service => (0.02, 5, 8, 1.0 / f64::from(index + 1)),
            Role::Scanner => (6.0, 2, SCANNER_KNOWN_MAX.min(computers / 3), 1.0),
            Role::Shift | Role::Office => (
                (0.04 + 0.26 * rng.unit() * rng.unit()) * wide,
                first_known,
                PERSON_KNOWN_MAX.min(computers / 3),
                0.4 + 1.8 * square,
            ),
        };
        User { role, known: Vec::new(), logons: 0, next_new: 0, first_known, known_max, curiosity, weight, from_day: 0 }
    }

    /// Whether the user is a person, not an account of a program.
    pub(super) fn is_person(&self) -> bool {
        matches!(self.role, Role::Shift | Role::Office)
    }

    /// The number of logons at which the next computer is met. The gap is the difference of two squares, times a half to one and a half.
    fn logons_until_next(&self, rng: &mut Rng) -> u32 {
        let known = self.known.len() as u32;
        if known >= self.known_max {
            return u32::MAX;
        }
        let spread = 0.5 + rng.unit();
        if known < self.first_known {
            return self.logons.saturating_add(1 + (4.0 * spread) as u32);
        }
        let later = f64::from(known - self.first_known);
        let gap = (2.0 * later + 1.0) / (self.curiosity * self.curiosity);
        self.logons.saturating_add(1 + (gap * spread) as u32)
    }
}
