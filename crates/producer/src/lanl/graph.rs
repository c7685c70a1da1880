//! A random graph of users and computers: each node has its wished number of neighbours, and no pair stands twice.
//!
//! Hubs of both sides come first. A hub that wants `d` neighbours takes a node with `r` places left with probability `r / (r + k)`, where
//! `k` is such that the probabilities sum to `d`. (These are the probabilities of the random graph of greatest entropy with these degrees,
//! as far as places left stand for the fugacity. With `r / k` instead, a computer that nearly everybody uses would ask for some users
//! twice.) The rest is dealt at random, and pairs that then stand twice swap ends with others.

use super::rng::Rng;

/// A node that has more neighbours than one in so many of the other side is a hub.
const HUB_ONE_IN: usize = 100;
/// How many attempts are made to find another pair to swap ends with.
const SWAPS_MAX: u32 = 400;

/// A set of pairs, by open addressing.
pub(super) struct Pairs {
    /// A pair plus one; 0 is empty.
    slots: Vec<u64>,
    mask: usize,
    used: usize,
}

impl Pairs {
    /// An empty set with room for that many pairs; it grows.
    pub(super) fn with_room(pairs: usize) -> Pairs {
        let slots = (pairs * 2).next_power_of_two().max(16);
        Pairs { slots: vec![0; slots], mask: slots - 1, used: 0 }
    }

    fn place(&self, key: u64) -> usize {
        let mut at = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24) as usize & self.mask;
        while self.slots[at] != 0 && self.slots[at] != key {
            at = (at + 1) & self.mask;
        }
        at
    }

    /// How many pairs are in the set.
    pub(super) fn len(&self) -> usize {
        self.used
    }

    /// Whether a pair is in the set.
    pub(super) fn contains(&self, user: u32, computer: u32) -> bool {
        self.slots[self.place(key(user, computer))] != 0
    }

    /// Adds a pair; returns whether it was not there before.
    pub(super) fn insert(&mut self, user: u32, computer: u32) -> bool {
        let key = key(user, computer);
        let at = self.place(key);
        if self.slots[at] != 0 {
            return false;
        }
        self.slots[at] = key;
        self.used += 1;
        if self.used * 4 > self.slots.len() * 3 {
            let old = std::mem::take(&mut self.slots);
            self.slots = vec![0; old.len() * 2];
            self.mask = self.slots.len() - 1;
            for key in old.into_iter().filter(|&key| key != 0) {
                let at = self.place(key);
                self.slots[at] = key;
            }
        }
        true
    }
}

fn key(user: u32, computer: u32) -> u64 {
    (u64::from(user) << 32 | u64::from(computer)) + 1
}

/// Deals the places left of users and computers into pairs that are not in `taken`, and adds them to it. The two sums should be equal. What
/// one side has more of is left over, as are the few pairs for which no other ends are found.
pub(super) fn deal(users: &mut [u32], computers: &mut [u32], taken: &mut Pairs, rng: &mut Rng) -> Vec<(u32, u32)> {
    let mut pairs = Vec::with_capacity(users.iter().map(|&places| places as usize).sum());
    let mut hubs: Vec<(u64, bool, u32)> = Vec::new();
    let sides = [(true, &*users, computers.len()), (false, &*computers, users.len())];
    for (is_user, side, others) in sides {
        for (node, &places) in side.iter().enumerate().filter(|&(_, &places)| places as usize * HUB_ONE_IN > others) {
            // The share of the other side, in billionths.
            hubs.push((u64::from(places) * 1_000_000_000 / others.max(1) as u64, is_user, node as u32));
        }
    }
    hubs.sort_unstable_by_key(|&(share, is_user, node)| (std::cmp::Reverse(share), is_user, node));
    for (_, is_user, node) in hubs {
        let (own, others) = if is_user { (&mut *users, &mut *computers) } else { (&mut *computers, &mut *users) };
        let wished = std::mem::take(&mut own[node as usize]);
        let pair = |other: u32| if is_user { (node, other) } else { (other, node) };
        let found = neighbours(wished, others, |other| taken.contains(pair(other).0, pair(other).1), rng);
        for other in found {
            others[other as usize] -= 1;
            let (user, computer) = pair(other);
            taken.insert(user, computer);
            pairs.push((user, computer));
        }
    }
    deal_rest(users, computers, taken, &mut pairs, rng);
    pairs
}

/// Chooses `wished` of the others, by their places left.
fn neighbours(wished: u32, others: &[u32], is_taken: impl Fn(u32) -> bool, rng: &mut Rng) -> Vec<u32> {
    let free: Vec<u32> =
        (0..others.len() as u32).filter(|&other| others[other as usize] > 0 && !is_taken(other)).collect();
    if free.len() <= wished as usize {
        return free;
    }
    let mut counts: Vec<u32> = Vec::new();
    for &other in &free {
        let places = others[other as usize] as usize;
        if counts.len() <= places {
            counts.resize(places + 1, 0);
        }
        counts[places] += 1;
    }
    let present: Vec<(f64, f64)> = (1..)
        .zip(&counts[1..])
        .filter(|&(_, &n)| n > 0)
        .map(|(places, &n)| (f64::from(places), f64::from(n)))
        .collect();
    let expected = |k: f64| present.iter().map(|&(places, n)| n * (places / (places + k))).sum::<f64>();
    // The sum falls as k grows; halving the interval 60 times is exact enough, and gives the same everywhere.
    let (mut low, mut high) = (0.0, 1e9);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if expected(middle) > f64::from(wished) { low = middle } else { high = middle }
    }
    let mut found = Vec::with_capacity(wished as usize);
    let mut rest = Vec::new();
    for other in free {
        let places = f64::from(others[other as usize]);
        if rng.unit() < places / (places + high) { found.push(other) } else { rest.push(other) }
    }
    while found.len() > wished as usize {
        found.swap_remove(rng.below(found.len() as u32) as usize);
    }
    while found.len() < wished as usize {
        found.push(rest.swap_remove(rng.below(rest.len() as u32) as usize));
    }
    found
}

/// Deals at random what the hubs left.
fn deal_rest(users: &mut [u32], computers: &mut [u32], taken: &mut Pairs, pairs: &mut Vec<(u32, u32)>, rng: &mut Rng) {
    let places = |side: &mut [u32]| -> Vec<u32> {
        let node = |(node, places): (usize, &mut u32)| vec![node as u32; std::mem::take(places) as usize];
        side.iter_mut().enumerate().flat_map(node).collect()
    };
    let (mut left, mut right) = (places(users), places(computers));
    shuffle(&mut left, rng);
    shuffle(&mut right, rng);
    let begun = pairs.len();
    let mut twice = Vec::new();
    for (user, computer) in left.into_iter().zip(right) {
        if taken.insert(user, computer) { pairs.push((user, computer)) } else { twice.push((user, computer)) }
    }
    // A pair that swapped ends stays in the set under its old ends, too. Of hundreds of thousands, that keeps a few more from being dealt,
    // and it saves removing from an open table.
    for (user, computer) in twice {
        for _ in 0..SWAPS_MAX {
            if pairs.len() == begun {
                break;
            }
            let at = begun + rng.below((pairs.len() - begun) as u32) as usize;
            let (other_user, other_computer) = pairs[at];
            if !taken.contains(user, other_computer) && !taken.contains(other_user, computer) {
                taken.insert(user, other_computer);
                taken.insert(other_user, computer);
                pairs[at] = (user, other_computer);
                pairs.push((other_user, computer));
                break;
            }
        }
    }
}

/// Puts items in random order.
pub(super) fn shuffle<T>(items: &mut [T], rng: &mut Rng) {
    for at in (1..items.len()).rev() {
        items.swap(at, rng.below(at as u32 + 1) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::super::rng::Purpose;
    use super::*;

    #[test]
    fn each_gets_the_neighbours_it_wishes_and_no_pair_stands_twice() {
        // Two computers that nearly everybody uses, one user who knows most computers, and many small ones.
        let mut users: Vec<u32> = (0..1_000).map(|user| 1 + user % 9).collect();
        users[7] = 700;
        let mut computers = vec![2; 1_300];
        (computers[0], computers[1]) = (900, 800);
        let (left, right) = (users.iter().sum::<u32>(), computers.iter().sum::<u32>());
        let lack = left - right;
        (0..lack as usize).for_each(|nth| computers[2 + nth % 1_298] += 1);
        let (wish_users, wish_computers) = (users.clone(), computers.clone());
        let mut taken = Pairs::with_room(8);
        let pairs = deal(&mut users, &mut computers, &mut taken, &mut Rng::new(5, Purpose::LanlGraph));
        let (mut of_user, mut of_computer, mut once) =
            (vec![0; 1_000], vec![0; 1_300], std::collections::HashSet::new());
        for &(user, computer) in &pairs {
            of_user[user as usize] += 1;
            of_computer[computer as usize] += 1;
            assert!(once.insert((user, computer)), "{user} and {computer} stand twice");
            assert!(taken.contains(user, computer));
        }
        assert_eq!((of_user, of_computer), (wish_users, wish_computers));
    }
}
