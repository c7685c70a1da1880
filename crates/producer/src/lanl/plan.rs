//! Who meets which computer for the first time, and at which event: decided in advance for the whole run.
//!
//! ```text
//! model (growth, degrees) -> graph -> order of first meetings -> Plan -- read by --> traffic, attacks
//! ```
//!
//! The plan is small (a pair is 16 bytes) and decides all that outlasts an hour: numbers, and who knows what when. So traffic can begin on
//! any day.

use super::graph::{Pairs, deal, shuffle};
use super::model::Model;
use super::rng::{Purpose, Rng};
use super::size::Share;

/// All first meetings, in order.
pub(super) struct Plan {
    /// User and computer, numbered from 0 by first appearance.
    pub(super) pairs: Vec<(u32, u32)>,
    /// The event at which each takes place, counted from 0; rising.
    pub(super) at: Vec<u64>,
    /// Users by number.
    pub(super) users: Vec<User>,
    /// How many computers are met.
    pub(super) computers: u32,
}

/// What is known of a user, apart from whom they meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct User {
    /// Whether it is a machine account.
    pub(super) machine: bool,
    /// How busy, compared with the others of the same table: `always` for those that do not depend on the hour, `office` for those that
    /// keep office hours (in the 58 days: machines and users).
    pub(super) always: u32,
    /// See `always`.
    pub(super) office: u32,
    /// The days on which the user is there, a bit each.
    pub(super) days: u64,
}

/// One row of growth: totals since the beginning.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Growth {
    /// Events so far.
    pub(super) events: u64,
    /// Users seen so far.
    pub(super) users: u64,
    /// Computers seen so far.
    pub(super) computers: u64,
    /// Pairs seen so far.
    pub(super) pairs: u64,
}

/// Of the meetings drawn from those that are possible, this share of 256 is among the latest to become possible, so that a new user soon
/// knows more. Made up.
const LATELY_OF_256: u32 = 128;
const LATELY: u32 = 400;
/// Of so many drawn, the one with the busiest user takes place: who works all day meets more. Because of that, as many events share user
/// and second as in the first 10,000.
const BUSIEST_OF: usize = 4;

/// The rows of growth of the nine months; the first one is all zeros.
pub(super) fn growth(model: &Model, share: Share, pairs: u64) -> Vec<Growth> {
    let sums = |name| model.sums(name);
    let (events, users) = (sums("growth_events"), sums("growth_users"));
    let (computers, all_pairs) = (sums("growth_computers"), sums("growth_pairs"));
    let last = all_pairs.last().copied().unwrap_or(1).max(1);
    let mut rows = vec![Growth::default()];
    for index in 0..events.len() {
        rows.push(Growth {
            events: share.events(events[index]),
            users: share.of(users[index]),
            computers: share.of(computers[index]),
            pairs: all_pairs[index] * pairs / last,
        });
    }
    rows
}

/// The plan of the nine months, or of a network that is a share of it.
pub(super) fn nine_months(model: &Model, share: Share, seed: u64) -> Plan {
    let mut rng = Rng::new(seed, Purpose::LanlGraph);
    let mut users = share.sample(&model.small("user_degrees"), u32::MAX);
    let mut computers = share.sample(&model.small("computer_degrees"), share.hub());
    super::size::even_out(&mut users, &mut computers, &mut rng);
    let total = users.iter().map(|&degree| u64::from(degree)).sum();
    let growth = growth(model, share, total);
    let people = people(model, share, &users, &mut rng);
    let pairs = meetings(users, computers, &growth, &people, &mut rng);
    numbered(pairs, &growth, people, &mut rng)
}

fn people(model: &Model, share: Share, degrees: &[u32], rng: &mut Rng) -> Vec<User> {
    let (rates, office) = (model.small("rates"), model.small("office"));
    let all = model.small("user_degrees").len();
    (0..degrees.len())
        .map(|user| User {
            machine: false,
            always: share.original(user, all).and_then(|user| rates.get(user)).copied().unwrap_or(0),
            // A user who knows more computers is busier, by the square root: made up, like the spread itself.
            office: office[rng.below(office.len() as u32) as usize] * (16 * degrees[user]).isqrt() / 16,
            days: u64::MAX,
        })
        .collect()
}

/// Orders the pairs: the first meeting of each user and computer comes when growth says, and between those comes whatever is possible.
fn meetings(
    mut users: Vec<u32>,
    mut computers: Vec<u32>,
    growth: &[Growth],
    people: &[User],
    rng: &mut Rng,
) -> Vec<(u32, u32)> {
    let total: usize = users.iter().map(|&degree| degree as usize).sum();
    let mut taken = Pairs::with_room(total);
    let first = arrivals(&mut users, &mut computers, growth, &mut taken, rng);
    let (mut user_came, mut computer_came) = (vec![u32::MAX; users.len()], vec![u32::MAX; computers.len()]);
    for (step, &(_, (user, computer))) in (0..).zip(&first) {
        user_came[user as usize] = user_came[user as usize].min(step);
        computer_came[computer as usize] = computer_came[computer as usize].min(step);
    }
    let mut rest = deal(&mut users, &mut computers, &mut taken, rng);
    shuffle(&mut rest, rng);
    let came = |&(user, computer): &(u32, u32)| user_came[user as usize].max(computer_came[computer as usize]);
    rest.sort_by_key(came);
    let mut pairs = Vec::with_capacity(total);
    let (mut rest, mut possible) = (rest.into_iter().peekable(), Vec::<(u32, u32)>::new());
    let mut arriving = (0..).zip(first).peekable();
    loop {
        let due = arriving.peek().is_some_and(|&(_, (step, _))| step <= pairs.len() as u64);
        if due || possible.is_empty() {
            let Some((step, (_, pair))) = arriving.next() else { break };
            pairs.push(pair);
            while let Some(pair) = rest.next_if(|pair| came(pair) <= step) {
                possible.push(pair);
            }
        } else {
            let count = possible.len() as u32;
            let lately = count.min(LATELY);
            let from = if rng.below(256) < LATELY_OF_256 { count - lately } else { 0 };
            let busy = |at: &u32| people[possible[*at as usize].0 as usize].always;
            // The first of the busiest drawn, so that nothing changes where nobody is busy.
            let drawn: [u32; BUSIEST_OF] = std::array::from_fn(|_| from + rng.below(count - from));
            let at = drawn.into_iter().rev().max_by_key(busy).unwrap_or(from);
            pairs.push(possible.swap_remove(at as usize));
        }
    }
    pairs
}

/// The pair by which each user and computer appears, and the pair before which that is due. Numbers are by first appearance, so the next
/// user is always the one with the next number.
fn arrivals(
    users: &mut [u32],
    computers: &mut [u32],
    growth: &[Growth],
    taken: &mut Pairs,
    rng: &mut Rng,
) -> Vec<(u64, (u32, u32))> {
    let mut first = Vec::with_capacity(users.len() + computers.len());
    // Those who have come, each as often as it has places left.
    let (mut open_users, mut open_computers) = (Vec::<u32>::new(), Vec::<u32>::new());
    let (mut user, mut computer) = (0, 0);
    let mut arrive = |step, new_user, new_computer| {
        let (mut new_user, mut new_computer): (bool, bool) = (new_user, new_computer);
        new_user |= open_users.is_empty() && user < users.len();
        new_computer |= open_computers.is_empty() && computer < computers.len();
        let mut one_of = |open: &mut Vec<u32>| match open.len() as u32 {
            // Nobody has a place left. That happens to the network's last ones, and node 0 gets one more than it should.
            0 => 0,
            count => open.swap_remove(rng.below(count) as usize),
        };
        let pair = (
            if new_user { user as u32 } else { one_of(&mut open_users) },
            if new_computer { computer as u32 } else { one_of(&mut open_computers) },
        );
        for (is_new, node, degrees, open) in [
            (new_user, &mut user, &mut *users, &mut open_users),
            (new_computer, &mut computer, &mut *computers, &mut open_computers),
        ] {
            if is_new {
                open.extend(std::iter::repeat_n(*node as u32, (degrees[*node] - 1) as usize));
                *node += 1;
            }
        }
        taken.insert(pair.0, pair.1);
        first.push((step, pair));
        (user as u64, computer as u64)
    };
    let (mut here, all) = (
        (0, 0),
        (growth.last().copied().unwrap_or_default().users, growth.last().copied().unwrap_or_default().computers),
    );
    for rows in growth.windows(2) {
        let (from, to) = (rows[0], rows[1]);
        for step in from.pairs..to.pairs {
            let part = |a: u64, b: u64| a + (b - a) * (step + 1 - from.pairs) / (to.pairs - from.pairs);
            let due = (part(from.users, to.users).max(1), part(from.computers, to.computers).max(1));
            let next = (here.0 < due.0, here.1 < due.1);
            if next.0 || next.1 {
                here = arrive(step, next.0, next.1);
            }
        }
    }
    while here.0 < all.0 || here.1 < all.1 {
        here = arrive(u64::MAX, here.0 < all.0, here.1 < all.1);
    }
    // Takes away the places that first meetings used.
    for &(_, (user, computer)) in &first {
        users[user as usize] = users[user as usize].saturating_sub(1);
        computers[computer as usize] = computers[computer as usize].saturating_sub(1);
    }
    first
}

/// Numbers users and computers by first appearance, and gives each pair an event.
pub(super) fn numbered(mut pairs: Vec<(u32, u32)>, growth: &[Growth], people: Vec<User>, rng: &mut Rng) -> Plan {
    let (mut users, mut user_numbers) = (Vec::with_capacity(people.len()), vec![u32::MAX; people.len()]);
    let mut computer_numbers: Vec<u32> = Vec::new();
    let mut computers = 0;
    for (user, computer) in &mut pairs {
        let number = &mut user_numbers[*user as usize];
        if *number == u32::MAX {
            *number = users.len() as u32;
            users.push(people[*user as usize]);
        }
        *user = *number;
        let at = *computer as usize;
        if computer_numbers.len() <= at {
            computer_numbers.resize(at + 1, u32::MAX);
        }
        if computer_numbers[at] == u32::MAX {
            computer_numbers[at] = computers;
            computers += 1;
        }
        *computer = computer_numbers[at];
    }
    let mut at = Vec::with_capacity(pairs.len());
    let mut next = 0;
    for rows in growth.windows(2) {
        let (from, to) = (rows[0], rows[1]);
        let (count, span) = (to.pairs - from.pairs, to.events - from.events);
        for pair in 0..count {
            // Spread evenly; each at a random place within its part.
            let place = from.events + (u128::from(pair) * u128::from(span) / u128::from(count)) as u64;
            let within = (span / count).min(u64::from(u32::MAX)) as u32;
            let event = if at.is_empty() { 0 } else { (place + u64::from(rng.below(within))).max(next) };
            at.push(event);
            next = event + 1;
        }
    }
    // A few pairs could not be dealt, or (in a small network) there are some more than growth has rows for.
    while at.len() < pairs.len() {
        at.push(next);
        next += 1;
    }
    at.truncate(pairs.len());
    Plan { pairs, at, users, computers }
}

impl Plan {
    /// How many first meetings come before that event.
    pub(super) fn until(&self, event: u64) -> usize {
        self.at.partition_point(|&at| at < event)
    }

    /// Each user's computers in the order in which they are met: where each user begins in the list (with one more at the end), and the
    /// list.
    pub(super) fn by_user(&self) -> (Vec<u32>, Vec<u32>) {
        let mut begins = vec![0u32; self.users.len() + 1];
        self.pairs.iter().for_each(|&(user, _)| begins[user as usize + 1] += 1);
        for user in 0..self.users.len() {
            begins[user + 1] += begins[user];
        }
        let (mut next, mut list) = (begins.clone(), vec![0; self.pairs.len()]);
        for &(user, computer) in &self.pairs {
            list[next[user as usize] as usize] = computer;
            next[user as usize] += 1;
        }
        (begins, list)
    }

    /// The numbers of computers by user, and of users by computer, each sorted.
    pub(super) fn degrees(&self) -> (Vec<u32>, Vec<u32>) {
        let (mut users, mut computers) = (vec![0; self.users.len()], vec![0; self.computers as usize]);
        for &(user, computer) in &self.pairs {
            users[user as usize] += 1;
            computers[computer as usize] += 1;
        }
        users.sort_unstable();
        computers.sort_unstable();
        (users, computers)
    }

    /// Leaves machine accounts out, and numbers the rest anew.
    pub(super) fn without_machines(self, share_of_events: impl Fn(u64) -> u64) -> Plan {
        let mut kept: Vec<((u32, u32), u64)> = Vec::new();
        for (&pair, &at) in self.pairs.iter().zip(&self.at) {
            if !self.users[pair.0 as usize].machine {
                let at = share_of_events(at).max(kept.last().map_or(0, |&(_, last)| last + 1));
                kept.push((pair, at));
            }
        }
        let (pairs, mut at): (Vec<_>, Vec<_>) = kept.into_iter().unzip();
        if let Some(first) = at.first_mut() {
            *first = 0;
        }
        // The events are known already, so nothing random is needed for them.
        let plan = numbered(pairs, &[], self.users, &mut Rng::new(0, Purpose::LanlGraph));
        Plan { at, ..plan }
    }
}
