//! Decides which leases to take and which to ask for. Pure: leases and times come in, wishes come out.

use crate::{Lease, Ticks};
use std::collections::{BTreeMap, BTreeSet};

/// How leases are shared between workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseSettings {
    /// How long a lease may stand still before others take it, in microseconds. A longer duration survives longer pauses; a shorter one
    /// means that others take over sooner after a crash. All workers of an application need the same.
    pub duration: Ticks,
    /// How often a worker looks at all leases, in microseconds.
    pub scan_every: Ticks,
    /// The most leases that one worker takes.
    pub max_leases: usize,
    /// How long an owner that was asked for a lease may take to hand it over before it is taken, in microseconds.
    pub hand_over_within: Ticks,
}

impl Default for LeaseSettings {
    fn default() -> Self {
        const SECOND: Ticks = 1_000_000;
        // The duration is that of the Kinesis Client Library. That library looks every 20 s, and a released lease waits as long for a
        // taker.
        LeaseSettings { duration: 10 * SECOND, scan_every: SECOND, max_leases: 10_000, hand_over_within: 30 * SECOND }
    }
}

impl LeaseSettings {
    /// How often held leases are renewed: three times within the duration.
    pub fn renew_every(&self) -> Ticks {
        (self.duration / 3).max(1)
    }
}

/// A change that a worker wants to make. Each is one conditional write, which may fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Take a lease that nobody works on.
    Take(Lease),
    /// Ask for a lease whose owner has more than its part.
    Ask(Lease),
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    counter: u64,
    /// When the counter was first seen at this value; `None` if the lease has no owner, so that nobody renews it.
    since: Option<Ticks>,
    /// When the owner was first seen to be asked for it.
    asked: Option<Ticks>,
}

/// What one worker knows of all leases.
#[derive(Clone, Debug)]
pub struct Coordinator {
    worker: String,
    settings: LeaseSettings,
    leases: BTreeMap<String, (Lease, Seen)>,
}

impl Coordinator {
    /// A worker that knows nothing yet.
    pub fn new(worker: impl Into<String>, settings: LeaseSettings) -> Coordinator {
        Coordinator { worker: worker.into(), settings, leases: BTreeMap::new() }
    }

    /// The worker's name.
    pub fn worker(&self) -> &str {
        &self.worker
    }
    /// How leases are shared between workers.
    pub fn settings(&self) -> &LeaseSettings {
        &self.settings
    }

    /// Takes in all leases as they are at `now`.
    pub fn observe(&mut self, now: Ticks, leases: Vec<Lease>) {
        let mut before = std::mem::take(&mut self.leases);
        for lease in leases {
            let known = before.remove(&lease.key).map(|(_, seen)| seen);
            let asked = lease.next_owner.is_some().then(|| known.and_then(|seen| seen.asked).unwrap_or(now));
            let since = match known {
                // Nobody renews a lease without an owner, whatever the counter did before.
                _ if lease.owner.is_none() => None,
                Some(seen) if seen.counter == lease.counter => seen.since,
                _ => Some(now),
            };
            let seen = Seen { counter: lease.counter, since, asked };
            self.leases.insert(lease.key.clone(), (lease, seen));
        }
    }

    /// Whether there is a lease with this key.
    pub fn knows(&self, key: &str) -> bool {
        self.leases.contains_key(key)
    }

    /// The leases that other workers renew.
    pub fn of_others(&self, now: Ticks) -> BTreeSet<String> {
        let leases = self.leases.values().filter(|(lease, seen)| {
            lease.owner.as_ref().is_some_and(|owner| *owner != self.worker) && !self.is_free(now, lease, seen)
        });
        leases.map(|(lease, _)| lease.key.clone()).collect()
    }

    fn is_free(&self, now: Ticks, lease: &Lease, seen: &Seen) -> bool {
        let stands_still = seen.since.is_none_or(|since| now - since >= self.settings.duration);
        let not_handed_over = lease.next_owner.as_ref() == Some(&self.worker)
            && seen.asked.is_some_and(|asked| now - asked >= self.settings.hand_over_within);
        stands_still || not_handed_over
    }

    /// The changes that this worker should make now, given the leases it has.
    ///
    /// It takes leases that nobody renews at once, up to its part of all leases. Beyond its part it takes those without an owner, and
    /// those that nobody has renewed for three durations: no other worker seems to want them. It asks other workers for leases only when
    /// there is nothing to take.
    pub fn wishes(&self, now: Ticks, held: &BTreeSet<String>) -> Vec<Wish> {
        let living = || self.leases.values().filter(|(lease, _)| !lease.ended);
        let mut loads: BTreeMap<&str, usize> = BTreeMap::from([(self.worker.as_str(), 0)]);
        let mut free = Vec::new();
        let mut asked = 0;
        for (lease, seen) in living() {
            if held.contains(&lease.key) {
                *loads.entry(&self.worker).or_default() += 1;
            } else if self.is_free(now, lease, seen) {
                free.push((lease, seen));
            } else {
                // A lease that is asked for counts for the worker that will get it.
                let owner = lease.next_owner.as_ref().or(lease.owner.as_ref());
                asked += usize::from(lease.next_owner.as_ref() == Some(&self.worker));
                if let Some(owner) = owner {
                    *loads.entry(owner).or_default() += 1;
                }
            }
        }
        let part = living().count().div_ceil(loads.len()).min(self.settings.max_leases);
        let mine = loads.get(self.worker.as_str()).copied().unwrap_or(0).max(held.len() + asked);
        let mut needed = part.saturating_sub(mine);
        // Each worker begins at another place, so that workers that start together seldom want the same lease.
        free.sort_by_key(|(lease, _)| spread(&self.worker, &lease.key));
        let mut wishes = Vec::new();
        let mut room = self.settings.max_leases.saturating_sub(mine);
        for (lease, seen) in free {
            let unwanted = seen.since.is_none_or(|since| now - since >= 3 * self.settings.duration);
            if room > 0 && (needed > 0 || unwanted) {
                needed = needed.saturating_sub(1);
                room -= 1;
                wishes.push(Wish::Take(lease.clone()));
            }
        }
        if wishes.is_empty() && needed > 0 {
            wishes.extend(self.to_ask_for(needed, part, &loads));
        }
        wishes
    }

    /// Leases of the most loaded worker to ask for: no more than it takes to bring both workers to their part.
    fn to_ask_for(&self, needed: usize, part: usize, loads: &BTreeMap<&str, usize>) -> Vec<Wish> {
        let others = loads.iter().filter(|(worker, _)| **worker != self.worker);
        let Some((most, load)) = others.max_by_key(|(worker, load)| (**load, spread(&self.worker, worker))) else {
            return Vec::new();
        };
        let surplus = load.saturating_sub(part);
        // An owner that has just its part, rounded up, gives one lease to a worker that lacks more than one.
        let count = if surplus == 0 { usize::from(needed > 1) } else { needed.min(surplus) };
        let mut theirs: Vec<&Lease> = self
            .leases
            .values()
            .map(|(lease, _)| lease)
            .filter(|l| !l.ended && l.next_owner.is_none() && l.owner.as_deref() == Some(*most))
            .collect();
        theirs.sort_by_key(|lease| spread(&self.worker, &lease.key));
        theirs.into_iter().take(count).map(|lease| Wish::Ask(lease.clone())).collect()
    }
}

/// Gives each worker an order of keys of its own, which stays the same (FNV-1a).
fn spread(worker: &str, key: &str) -> u64 {
    let bytes = worker.bytes().chain([0]).chain(key.bytes());
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Ticks = 1_000_000;

    fn lease(key: &str, owner: Option<&str>, counter: u64) -> Lease {
        Lease { owner: owner.map(str::to_owned), counter, ..Lease::new(key) }
    }

    fn keys(wishes: &[Wish]) -> Vec<String> {
        let mut keys: Vec<String> = wishes
            .iter()
            .map(|wish| match wish {
                Wish::Take(lease) => format!("take {}", lease.key),
                Wish::Ask(lease) => format!("ask {}", lease.key),
            })
            .collect();
        keys.sort();
        keys
    }

    fn held(keys: &[&str]) -> BTreeSet<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    #[test]
    fn what_nobody_has_is_taken_at_once_also_beyond_ones_part() {
        let mut me = Coordinator::new("me", LeaseSettings::default());
        me.observe(0, vec![lease("a", None, 0), lease("b", None, 3), lease("c", Some("you"), 1)]);
        assert_eq!(keys(&me.wishes(0, &held(&[]))), ["take a", "take b"]);
    }

    #[test]
    fn a_lease_expires_when_its_counter_stands_still_on_the_watchers_clock() {
        let mut me = Coordinator::new("me", LeaseSettings::default());
        let leases = |counter| vec![lease("a", Some("you"), counter)];
        me.observe(100 * SECOND, leases(5));
        assert_eq!(me.wishes(109 * SECOND, &held(&[])), []);
        me.observe(109 * SECOND, leases(6));
        me.observe(118 * SECOND, leases(6));
        assert_eq!(me.wishes(118 * SECOND, &held(&[])), []);
        me.observe(119 * SECOND, leases(6));
        assert_eq!(keys(&me.wishes(119 * SECOND, &held(&[]))), ["take a"]);
    }

    #[test]
    fn an_expired_lease_waits_for_others_where_one_has_ones_part() {
        let mut me = Coordinator::new("me", LeaseSettings::default());
        let leases = || vec![lease("a", Some("me"), 1), lease("b", Some("you"), 1), lease("c", Some("gone"), 1)];
        me.observe(0, leases());
        let mut at = |seconds: Ticks, you: u64| {
            let mut now = leases();
            now[1].counter = you;
            me.observe(seconds * SECOND, now);
            keys(&me.wishes(seconds * SECOND, &held(&["a"])))
        };
        // Three leases for two living workers: each may have two.
        assert_eq!(at(11, 2), ["take c"]);
        let mut me = Coordinator::new("me", LeaseSettings::default());
        let four = |you| {
            vec![
                lease("a", Some("me"), 1),
                lease("d", Some("me"), 1),
                lease("b", Some("you"), you),
                lease("c", Some("gone"), 1),
            ]
        };
        me.observe(0, four(1));
        me.observe(11 * SECOND, four(2));
        assert_eq!(keys(&me.wishes(11 * SECOND, &held(&["a", "d"]))), Vec::<String>::new());
        me.observe(29 * SECOND, four(3));
        me.observe(31 * SECOND, four(4));
        assert_eq!(keys(&me.wishes(31 * SECOND, &held(&["a", "d"]))), ["take c"]);
    }

    #[test]
    fn a_newcomer_asks_the_most_loaded_for_its_part() {
        let mut me = Coordinator::new("me", LeaseSettings::default());
        let mut leases: Vec<Lease> = ["a", "b", "c", "d", "e"].iter().map(|key| lease(key, Some("you"), 1)).collect();
        leases.push(lease("f", Some("her"), 1));
        me.observe(0, leases.clone());
        // Six leases, three workers: two each. You have three too many, and I ask for the two that I lack.
        let wishes = me.wishes(0, &held(&[]));
        assert_eq!(wishes.len(), 2);
        assert!(wishes.iter().all(|w| matches!(w, Wish::Ask(l) if l.owner.as_deref() == Some("you"))), "{wishes:?}");
        // Once asked, nothing more is asked for.
        for wish in wishes {
            let Wish::Ask(asked) = wish else { continue };
            let lease = leases.iter_mut().find(|l| l.key == asked.key).unwrap();
            (lease.next_owner, lease.counter) = (Some("me".to_owned()), 2);
        }
        me.observe(SECOND, leases.clone());
        assert_eq!(me.wishes(SECOND, &held(&[])), []);
        // The owner lives but does not hand over: after a while the leases are taken.
        for at in 2..=31 {
            leases.iter_mut().for_each(|l| l.counter += 1);
            me.observe(at * SECOND, leases.clone());
        }
        assert_eq!(me.wishes(31 * SECOND, &held(&[])).len(), 2);
        assert!(me.wishes(31 * SECOND, &held(&[])).iter().all(|wish| matches!(wish, Wish::Take(_))));
    }

    #[test]
    fn what_has_ended_is_left_alone() {
        let mut me = Coordinator::new("me", LeaseSettings::default());
        me.observe(0, vec![Lease { ended: true, ..lease("a", None, 1) }, lease("b", Some("you"), 1)]);
        assert_eq!(me.wishes(SECOND, &held(&[])), []);
    }

    proptest::proptest! {
        #[test]
        fn however_leases_are_spread_workers_come_to_rest_with_even_parts(
            owners in proptest::collection::vec(0usize..5, 1..40), workers in 1usize..5
        ) {
            // Perfect hand-overs, round after round: a worker that asks gets the lease.
            let name = |n: usize| format!("w{n}");
            let mut leases: Vec<Lease> = owners.iter().enumerate()
                .map(|(n, owner)| lease(&format!("s{n}"), (*owner < workers).then(|| name(*owner)).as_deref(), 1))
                .collect();
            let mut all: Vec<Coordinator> =
                (0..workers).map(|n| Coordinator::new(name(n), LeaseSettings::default())).collect();
            for round in 0..60 {
                for (n, me) in all.iter_mut().enumerate() {
                    me.observe(round * SECOND, leases.clone());
                    let mine = leases.iter().filter(|l| l.owner == Some(name(n))).map(|l| l.key.clone()).collect();
                    for wish in me.wishes(round * SECOND, &mine) {
                        let (Wish::Take(wanted) | Wish::Ask(wanted)) = wish;
                        let lease = leases.iter_mut().find(|l| l.key == wanted.key).unwrap();
                        (lease.owner, lease.counter) = (Some(name(n)), lease.counter + 1);
                    }
                    for lease in leases.iter_mut() {
                        lease.counter += 1;
                    }
                }
            }
            let loads: Vec<usize> =
                (0..workers).map(|n| leases.iter().filter(|l| l.owner == Some(name(n))).count()).collect();
            proptest::prop_assert_eq!(loads.iter().sum::<usize>(), leases.len());
            let (most, least) = (loads.iter().max().unwrap(), loads.iter().min().unwrap());
            proptest::prop_assert!(most - least <= 1 || *most <= leases.len().div_ceil(workers), "{:?}", loads);
        }
    }
}
