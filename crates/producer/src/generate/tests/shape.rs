//! Whether generated traffic looks like a network: LANL's figures, with wide tolerances.

use std::collections::{HashMap, HashSet, VecDeque};

use super::*;

/// The percentage of events that the two rules of quantity flag, for people and for all users.
#[derive(Debug, Default)]
struct Flagged {
    burst: f64,
    lateral: f64,
    burst_people: f64,
    lateral_people: f64,
    new_device: f64,
}

/// Applies the rules, in their simplest form, to everyday traffic by internal numbers.
fn flagged(scale: &Scale) -> Flagged {
    let mut traffic = Traffic::new(scale, 1);
    let mut hours: Vec<VecDeque<(u32, u32)>> = vec![VecDeque::new(); traffic.population.users.len()];
    let mut seen = HashSet::new();
    let (mut all, mut flagged, mut logons) = (0, Flagged::default(), Vec::new());
    for second in 1.. {
        if traffic.is_done() {
            break;
        }
        logons.clear();
        traffic.second(second, &mut logons);
        for logon in &logons {
            let hour = &mut hours[logon.user as usize];
            hour.push_back((second, logon.computer));
            while hour.front().is_some_and(|&(then, _)| then + 3_600 <= second) {
                hour.pop_front();
            }
            let mut computers: Vec<u32> = hour.iter().map(|&(_, computer)| computer).collect();
            computers.sort_unstable();
            computers.dedup();
            let person = f64::from(u8::from(traffic.population.users[logon.user as usize].is_person()));
            let burst = f64::from(u8::from(hour.len() > 50));
            let lateral = f64::from(u8::from(computers.len() >= 10));
            flagged.burst += burst;
            flagged.lateral += lateral;
            flagged.burst_people += burst * person;
            flagged.lateral_people += lateral * person;
            flagged.new_device += f64::from(u8::from(seen.insert((logon.user, logon.computer))));
            all += 1;
        }
    }
    let percent = 100.0 / f64::from(all);
    Flagged {
        burst: flagged.burst * percent,
        lateral: flagged.lateral * percent,
        burst_people: flagged.burst_people * percent,
        lateral_people: flagged.lateral_people * percent,
        new_device: flagged.new_device * percent,
    }
}

#[test]
fn people_rarely_fire_the_rules_of_quantity() {
    let demo = flagged(&Scale::new(None, None).expect("in range"));
    assert!(demo.burst_people < 0.2 && demo.lateral_people < 0.2, "{demo:?}");
    assert!(demo.burst < 6.0 && demo.lateral < 1.0, "{demo:?}");
    assert!((0.8..4.0).contains(&demo.new_device), "{demo:?}");
    let full = flagged(&Scale::new(None, Some(4)).expect("in range"));
    assert!(full.burst_people < 4.0 && full.lateral_people < 0.2, "{full:?}");
    assert!((0.2..1.0).contains(&full.new_device), "{full:?}");
}

/// Runs everyday traffic until there are so many events.
fn traffic_until(traffic: &mut Traffic, events: &mut usize, second: &mut u32, target: usize) {
    let mut logons = Vec::new();
    while *events < target {
        logons.clear();
        *second += 1;
        traffic.second(*second, &mut logons);
        *events += logons.len();
    }
}

fn percentile(sorted: &[u32], percent: usize) -> u32 {
    sorted[(sorted.len() - 1) * percent / 100]
}

#[test]
fn users_and_computers_pair_up_as_at_lanl() {
    let scale = Scale::new(None, Some(10)).expect("in range");
    let mut traffic = Traffic::new(&scale, 1);
    let (mut events, mut second) = (0, 0);
    // LANL's numbers of pairs after so many events.
    for (target, lanl) in [(1_000_000, 31_598), (5_000_000, 50_645), (20_000_000, 70_969)] {
        traffic_until(&mut traffic, &mut events, &mut second, target);
        let pairs: usize = traffic.population.users.iter().map(|user| user.known.len()).sum();
        assert!((lanl * 6 / 10..lanl * 14 / 10).contains(&pairs), "{pairs} pairs after {target}, LANL {lanl}");
    }
    let mut computers_of: Vec<u32> = Vec::new();
    let mut users_of: HashMap<u32, u32> = HashMap::new();
    for user in traffic.population.users.iter().filter(|user| !user.known.is_empty()) {
        computers_of.push(user.known.len() as u32);
        user.known.iter().for_each(|slot| *users_of.entry(slot.computer).or_default() += 1);
    }
    let mut users_of: Vec<u32> = users_of.into_values().collect();
    computers_of.sort_unstable();
    users_of.sort_unstable();
    assert!((4..32).contains(&percentile(&computers_of, 50)));
    assert!(percentile(&computers_of, 100) > 200, "some scanner knows many");
    assert!(percentile(&users_of, 25) == 1 && percentile(&users_of, 50) <= 3, "most computers have few users");
    assert!(percentile(&users_of, 99) > 20 && percentile(&users_of, 100) > 2_000, "a few are everyone's");
    let mut popularity = traffic.popularity;
    popularity.sort_unstable_by(|a, b| b.cmp(a));
    let ten_busiest = popularity[..10].iter().sum::<u32>() as usize * 100 / events;
    assert!((10..30).contains(&ten_busiest), "the ten busiest computers have {ten_busiest} %");
}

#[test]
fn half_of_the_events_share_user_and_second() {
    let events = parse(&run(&GenerateOptions { events: Some(400_000), ..options(0, 0) }).0);
    let sharing: usize = events
        .chunk_by(|a, b| a.time == b.time)
        .map(|second| {
            let mut users: HashMap<u32, usize> = HashMap::new();
            second.iter().for_each(|event| *users.entry(event.user).or_default() += 1);
            users.into_values().filter(|&count| count > 1).sum::<usize>()
        })
        .sum();
    let percent = sharing * 100 / events.len();
    assert!((30..60).contains(&percent), "{percent} %, LANL 47 %");
    let out_of_order = events.chunk_by(|a, b| a.time == b.time).filter(|second| !second.is_sorted_by_key(|e| e.user));
    assert!(out_of_order.count() > 10_000, "within a second there is no order by number");
}

#[test]
fn days_and_hours_have_their_rhythm() {
    let options = GenerateOptions { events: Some(600_000), days: Some(14), ..GenerateOptions::default() };
    let (text, _, summary) = run(&options);
    assert_eq!(summary.last_time / 86_400, 13, "the events fill the days and no more");
    let (mut days, mut hours) = ([0i64; 7], [0i64; 24]);
    for event in parse(&text) {
        days[(event.time / 86_400 % 7) as usize] += 1;
        hours[(event.time / 3_600 % 24) as usize] += 1;
    }
    let sum: i64 = days.iter().sum();
    for (day, lanl) in days.into_iter().zip([281, 298, 313, 321, 241, 180, 182]) {
        let want = sum * lanl / 1_816;
        assert!((day - want).abs() * 20 < want, "{days:?}");
    }
    let busiest = (0..24).max_by_key(|&hour| hours[hour]).expect("24 hours");
    let quietest = (0..24).min_by_key(|&hour| hours[hour]).expect("24 hours");
    assert!((10..=13).contains(&busiest) && (quietest >= 22 || quietest <= 3), "{hours:?}");
    assert!(hours[busiest] * 10 >= hours[quietest] * 17, "{hours:?}");
}
