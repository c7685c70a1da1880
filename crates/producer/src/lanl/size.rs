//! How large a network is: as it was, or a share of it.

use super::rng::Rng;

/// A share of users, computers and events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    /// The share of users and computers: `part` of `whole`.
    pub(super) part: u64,
    /// See `part`.
    pub(super) whole: u64,
    /// The share of events: `events.0` of `events.1`.
    pub(super) events: (u64, u64),
}

impl Share {
    /// The share of so many events.
    pub(super) fn events(self, whole: u64) -> u64 {
        (u128::from(whole) * u128::from(self.events.0) / u128::from(self.events.1)) as u64
    }

    /// The share of so many nodes.
    pub(super) fn of(self, whole: u64) -> u64 {
        whole * self.part / self.whole
    }

    /// A node with more neighbours than this always stays in the small network, with fewer of them. It is what a hundredth of the other
    /// side knows: a small network, too, has one of the servers that everybody uses.
    pub(super) fn hub(self) -> u32 {
        if self.part == self.whole { u32::MAX } else { (self.whole / 100) as u32 }
    }

    /// Which node of the whole network the nth of the sample is.
    pub(super) fn original(self, nth: usize, all: usize) -> Option<usize> {
        let at = ((nth as u64 + 1) * self.whole).div_ceil(self.part) as usize - 1;
        (at < all).then_some(at)
    }

    /// Takes every n-th node, in order, so that their number is the share of the nodes. A node with more neighbours than `hub` is always
    /// taken, with a share of them.
    pub(super) fn sample(self, degrees: &[u32], hub: u32) -> Vec<u32> {
        if self.part == self.whole {
            return degrees.to_vec();
        }
        let wished = self.of(degrees.len() as u64) as usize;
        let mut sample = Vec::with_capacity(wished);
        let hubs = degrees.iter().filter(|&&degree| degree > hub).count().min(wished / 4);
        let (mut taken, mut passed) = (0u64, 0u64);
        let (small, room) = ((degrees.len() - hubs) as u64, (wished - hubs) as u64);
        let mut hubs_left = hubs;
        for &degree in degrees {
            if degree > hub && hubs_left > 0 {
                hubs_left -= 1;
                sample.push((self.of(u64::from(degree)) as u32).max(1));
                continue;
            }
            passed += 1;
            if passed * room / small.max(1) > taken {
                taken += 1;
                sample.push(degree);
            }
        }
        sample
    }
}

/// Makes the two sums of places equal: takes some from the larger side, at random, never the last of a node.
pub(super) fn even_out(users: &mut [u32], computers: &mut [u32], rng: &mut Rng) {
    let room = (users.len() as u32, computers.len() as u32);
    users.iter_mut().for_each(|degree| *degree = (*degree).min(room.1));
    computers.iter_mut().for_each(|degree| *degree = (*degree).min(room.0));
    let sum = |side: &[u32]| side.iter().map(|&degree| u64::from(degree)).sum::<u64>();
    let (left, right) = (sum(users), sum(computers));
    let (side, mut surplus) = if left > right { (users, left - right) } else { (computers, right - left) };
    let mut spare: Vec<u32> = Vec::new();
    if surplus > 0 {
        let node = |(node, &degree): (usize, &u32)| std::iter::repeat_n(node as u32, degree.saturating_sub(1) as usize);
        spare = side.iter().enumerate().flat_map(node).collect();
    }
    while surplus > 0 && !spare.is_empty() {
        side[spare.swap_remove(rng.below(spare.len() as u32) as usize) as usize] -= 1;
        surplus -= 1;
    }
}
