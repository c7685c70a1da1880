//! How many events each hour has, and each second of it.

use super::graph::shuffle;
use super::model::Model;
use super::rng::Rng;
use super::size::Share;

const HOUR_S: usize = 3_600;

/// The events of each hour, in order from midnight of day 0.
pub(super) struct Rhythm {
    /// Events before each hour; one more at the end.
    before: Vec<u64>,
    /// Of 65,536: how many of an hour's groups are by users who do not depend on the hour (in the 58 days: machines).
    always: Vec<u32>,
    /// How events a second are spread: the value of each of sixty-four equal parts of all seconds.
    spread: Vec<u32>,
    /// Events of the first seconds of the whole run, which begins slowly.
    slow: Vec<u32>,
}

impl Rhythm {
    /// The rhythm of the nine months, or of a share of the network.
    pub(super) fn nine_months(model: &Model, share: Share) -> Rhythm {
        let hours = model.counts("hours");
        let always_on = model.counts("always_on")[0];
        Rhythm {
            before: before(&hours, share),
            // At night nearly all of them, but never quite all.
            always: hours.iter().map(|&hour| (always_on * 62_000 / hour.max(1)).min(62_000) as u32).collect(),
            spread: model.small("spread"),
            slow: before(&model.counts("slow"), share).windows(2).map(|sums| (sums[1] - sums[0]) as u32).collect(),
        }
    }

    /// The rhythm of the 58 days, or of a share of the network. Each day has its own number of events; its hours share it as all days
    /// together do. With `users_only`, hours are those of the users, and each day has the users' share of all days.
    pub(super) fn fifty_eight_days(model: &Model, spread: &Model, share: Share, users_only: bool) -> Rhythm {
        let (users, machines) = (model.counts("hour_users"), model.counts("hour_machines"));
        let all: u64 = users.iter().chain(&machines).sum();
        let of_hour = |hour: usize| users[hour] + if users_only { 0 } else { machines[hour] };
        let mut hours = Vec::new();
        for day in model.counts("day_events") {
            let (mut until, mut given) = (0, 0);
            hours.extend((0..24).map(|hour| {
                until += of_hour(hour);
                let before =
                    std::mem::replace(&mut given, (u128::from(day) * u128::from(until) / u128::from(all)) as u64);
                given - before
            }));
        }
        let by_machines = |hour: usize| if users_only { 0 } else { (machines[hour] * 65_536 / of_hour(hour)) as u32 };
        Rhythm {
            before: before(&hours, share),
            always: (0..hours.len()).map(|hour| by_machines(hour % 24)).collect(),
            spread: spread.small("spread"),
            slow: Vec::new(),
        }
    }

    /// How many hours there are.
    pub(super) fn hours(&self) -> u32 {
        self.always.len() as u32
    }

    /// Events before an hour; all of them for one past the end.
    pub(super) fn before(&self, hour: u32) -> u64 {
        self.before[(hour as usize).min(self.before.len() - 1)]
    }

    /// Of 65,536: how many groups of an hour are by users who do not depend on the hour.
    pub(super) fn always(&self, hour: u32) -> u32 {
        self.always[hour as usize]
    }

    /// The events of each second of an hour.
    pub(super) fn seconds(&self, hour: u32, rng: &mut Rng) -> Vec<u32> {
        // Times begin at 1. The first seconds are as the model says; nothing in them is random.
        let slow: &[u32] = if hour == 0 { &self.slow } else { &[] };
        let mut seconds = if hour == 0 { vec![0] } else { Vec::new() };
        seconds.extend(slow);
        let given: u64 = seconds.iter().map(|&events| u64::from(events)).sum();
        let events = (self.before(hour + 1) - self.before(hour)).saturating_sub(given);
        // Each of the sixty-four parts once in as many seconds, in random order: there are busy and quiet seconds, but minutes are alike.
        let (mut until, mut round) = (0u64, Vec::new());
        let sums: Vec<u64> = (seconds.len()..HOUR_S)
            .map(|_| {
                if round.is_empty() {
                    round.extend_from_slice(&self.spread);
                    shuffle(&mut round, rng);
                }
                until += u64::from(round.pop().unwrap_or(1));
                until
            })
            .collect();
        let all = until.max(1);
        let mut done = 0;
        seconds.extend(sums.into_iter().map(|until| {
            let now = (u128::from(events) * u128::from(until) / u128::from(all)) as u64;
            (now - std::mem::replace(&mut done, now)) as u32
        }));
        seconds
    }
}

fn before(hours: &[u64], share: Share) -> Vec<u64> {
    let sums = hours.iter().scan(0, |sum: &mut u64, hour| {
        *sum += hour;
        Some(share.events(*sum))
    });
    std::iter::once(0).chain(sums).collect()
}
