//! The plan of the 58 days. Real are, of each account, the number of destinations, the first and the last day, the number of days on which
//! it is there and its logons; and so is the number of first meetings a day. Which day a meeting falls on is made up within that.

use super::graph::{Pairs, deal, shuffle};
use super::model::Model;
use super::plan::{Growth, Plan, User, numbered};
use super::rng::{Purpose, Rng};
use super::size::{Share, even_out};

/// How many days the data set has.
pub(super) const DAYS: u32 = 58;

/// Of 256 destinations of an account, how many it meets on its first day: 213,227 of 486,751, which is what the accounts of day 0 met on
/// it.
const FIRST_DAY_OF_256: u32 = 112;
/// The account with the second most destinations met 9,166 of its 9,188 on one day: the one with far more first meetings than its week.
const BURST_DAY: u32 = 49;
const BURST_OF_10_000: u64 = 9_976;
/// How much less likely an account that is not there every day is there on a day off: in 65,536ths of the whole range of chance. Made up,
/// so that accounts a day come out as counted.
const DAY_OFF: u64 = 45_000;

struct Account {
    machine: bool,
    first: u32,
    last: u32,
    days: u64,
    degree: u32,
    logons: u64,
}

/// The plan of the 58 days, or of a network that is a share of it.
pub(super) fn fifty_eight_days(model: &Model, share: Share, seed: u64) -> Plan {
    let mut rng = Rng::new(seed, Purpose::LanlGraph);
    let accounts = accounts(model, share, &mut rng);
    let mut users: Vec<u32> = accounts.iter().map(|account| account.degree).collect();
    let mut computers = share.sample(&model.small("computer_degrees"), share.hub());
    even_out(&mut users, &mut computers, &mut rng);
    shuffle(&mut computers, &mut rng);
    let mut taken = Pairs::with_room(users.iter().map(|&degree| degree as usize).sum());
    let pairs = deal(&mut users, &mut computers, &mut taken, &mut rng);
    drop(taken);
    let quotas = quotas(&model.counts("day_pairs"), pairs.len() as u64);
    let (pairs, counts) = meetings(pairs, &accounts, &quotas, &mut rng);
    let mut growth = vec![Growth::default()];
    for (events, met) in model.counts("day_events").into_iter().zip(counts) {
        let Growth { events: before, pairs, .. } = growth[growth.len() - 1];
        growth.push(Growth { events: before + events, pairs: pairs + met, ..Growth::default() });
    }
    growth.iter_mut().for_each(|row| row.events = share.events(row.events));
    let people = accounts.iter().map(|account| {
        // In 64ths of a logon on each day that it is there, so that a day's sum fits.
        let busy =
            (account.logons * 64 / u64::from(account.days.count_ones().max(1))).clamp(1, u64::from(u32::MAX)) as u32;
        let (always, office) = if account.machine { (busy, 0) } else { (0, busy) };
        User { machine: account.machine, always, office, days: account.days }
    });
    numbered(pairs, &growth, people.collect(), &mut rng)
}

fn accounts(model: &Model, share: Share, rng: &mut Rng) -> Vec<Account> {
    let (first, idle) = (model.sums("first_day"), model.small("idle_days"));
    let (degrees, logons, steps) = (model.small("degrees"), model.small("logons"), model.counts("sizes_of_step"));
    let before_end = model.small("last_day");
    let people = model.counts("machine")[0] as usize;
    // A sample of positions, so that what belongs to an account stays together.
    let positions: Vec<u32> = (0..degrees.len() as u32).collect();
    let sampled: Vec<u32> = if share.part == share.whole { positions } else { share.sample(&positions, u32::MAX) };
    sampled
        .into_iter()
        .map(|at| {
            let at = at as usize;
            let (first, last) = (first[at] as u32, DAYS - 1 - before_end[at]);
            let logons = ((1u64 << (logons[at] / 16)) * steps[logons[at] as usize % 16]) >> 16;
            let days = active_days(first, last, last - first + 1 - idle[at], at >= people, rng);
            Account { machine: at >= people, first, last, days, degree: degrees[at], logons: logons.max(1) }
        })
        .collect()
}

/// Whether a day is a Saturday or a Sunday, by the events a day. (A holiday or two have as few events, and count as working days.)
pub(super) fn is_day_off(day: u32) -> bool {
    matches!(day % 7, 3 | 4)
}

/// The days of an account: the first, the last, and some between; a day off is less likely than others.
fn active_days(first: u32, last: u32, count: u32, machine: bool, rng: &mut Rng) -> u64 {
    let mut days = 1 << first | 1 << last;
    let mut between: Vec<(u64, u32)> = (first + 1..last.max(first + 1))
        .map(|day| {
            let off = if is_day_off(day) && !machine { DAY_OFF } else { 0 };
            (u64::from(rng.below(65_536)) + off, day)
        })
        .collect();
    between.sort_unstable();
    let more = count.saturating_sub(u64::count_ones(days)) as usize;
    between.iter().take(more).for_each(|&(_, day)| days |= 1 << day);
    days
}

/// The first meetings of each day, scaled so that they sum to the pairs there are.
fn quotas(days: &[u64], pairs: u64) -> Vec<u64> {
    let whole: u64 = days.iter().sum();
    let mut until = 0;
    let sums: Vec<u64> = days
        .iter()
        .map(|&day| {
            until += day;
            until * pairs / whole
        })
        .collect();
    (0..sums.len()).map(|day| sums[day] - if day > 0 { sums[day - 1] } else { 0 }).collect()
}

/// Orders the pairs day by day, and counts those of each day. What must happen on a day does: the first meeting of an account that appears,
/// and all that is left to one that is not seen again. The rest of the day's number is drawn from all that could happen; pairs with few
/// days left come first.
fn meetings(
    pairs: Vec<(u32, u32)>,
    accounts: &[Account],
    quotas: &[u64],
    rng: &mut Rng,
) -> (Vec<(u32, u32)>, Vec<u64>) {
    let mut degrees = vec![0u64; accounts.len()];
    pairs.iter().for_each(|&(account, _)| degrees[account as usize] += 1);
    let burst = burst(&degrees, accounts);
    let (mut left, mut order, mut counts) = (pairs, Vec::new(), Vec::new());
    shuffle(&mut left, rng);
    let mut met = vec![0u64; accounts.len()];
    for (day, &quota) in (0..).zip(quotas) {
        // Sorted by how soon: 0 is what must be today; otherwise a random number weighted by the days that are left.
        let mut possible: Vec<(u64, u32)> = Vec::with_capacity(left.len());
        let mut planned = vec![0u64; accounts.len()];
        for (at, &(number, _)) in (0..).zip(&left) {
            let account = &accounts[number as usize];
            if account.days >> day & 1 == 0 {
                continue;
            }
            let (met, planned) = (met[number as usize], &mut planned[number as usize]);
            let days_left = u64::from((account.days >> day).count_ones());
            let bursts = Some(number) == burst;
            let is_due = account.last == day
                || met + *planned == 0
                || bursts && day == BURST_DAY && *planned < degrees[number as usize] * BURST_OF_10_000 / 10_000;
            let chance = u64::from(rng.below(u32::MAX)) + 1;
            let soon = if is_due {
                0
            } else if bursts && day < BURST_DAY {
                u64::MAX
            } else if account.first == day && (chance >> 24) < u64::from(FIRST_DAY_OF_256) {
                // An account's own first day goes before what the others might still do.
                chance
            } else {
                (1 << 33) + chance * days_left
            };
            if is_due {
                *planned += 1;
            }
            if soon < u64::MAX {
                possible.push((soon, at));
            }
        }
        let due = possible.iter().filter(|&&(soon, _)| soon == 0).count();
        let take = (quota as usize).max(due).min(possible.len());
        if take < possible.len() && take > 0 {
            possible.select_nth_unstable(take - 1);
        }
        let mut today: Vec<u32> = possible[..take].iter().map(|&(_, at)| at).collect();
        today.sort_unstable();
        // What stays keeps its order. What goes is in random order already.
        let mut taken = today.into_iter().peekable();
        let mut stays = Vec::with_capacity(left.len() - take);
        for (at, pair) in (0..).zip(left) {
            if taken.next_if_eq(&at).is_some() {
                met[pair.0 as usize] += 1;
                order.push(pair);
            } else {
                stays.push(pair);
            }
        }
        left = stays;
        counts.push(take as u64);
    }
    (order, counts)
}

/// The account of the great burst: the one with the second most destinations, if it is there on that day.
fn burst(degrees: &[u64], accounts: &[Account]) -> Option<u32> {
    let mut most: Vec<u32> = (0..degrees.len() as u32).collect();
    most.sort_by_key(|&account| std::cmp::Reverse(degrees[account as usize]));
    most.get(1).copied().filter(|&account| accounts[account as usize].days >> BURST_DAY & 1 == 1)
}
