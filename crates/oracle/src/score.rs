//! Sections 3 to 6: the rows of accepted events.
//!
//! A choice where the page is silent: popularity counts every accepted event of every shard. This is sound because a day is
//! used only `settle` after its end, and from then on an event of that day is late in every shard that has published the
//! day.

use std::collections::{BTreeMap, BTreeSet};

use crate::admission::{History, admit, holds};
use crate::calendar::date_of;
use crate::edges::{Edge, EdgeCounts};
use crate::model::{Curated, DAY, Daily, HOUR, Hourly, Outcome, Rejected, SECOND, Settings, Shard};
use crate::parse::Event;

/// All rows that the input gives by the semantics page.
pub fn evaluate(settings: &Settings, shards: &[Shard]) -> Outcome {
    let mut edge_counts = EdgeCounts::new();
    let histories = admit(settings, shards, &mut edge_counts);
    let mut popularity = Popularity::new(settings, &histories);
    let mut curated = Vec::new();
    for (shard, history) in histories.iter().enumerate() {
        for at in history.inherited..history.accepted.len() {
            let windows = Windows::of(history, at, &mut edge_counts);
            let host = popularity.rate(&history.accepted[at], &mut edge_counts);
            curated.push(row(settings, shard, &history.accepted[at], &windows, &host));
        }
    }
    count_row_edges(settings, &curated, &mut edge_counts);
    let waiting = count_waiting(shards, &histories);
    if waiting > 0 {
        edge_counts.insert(Edge::StillWaiting, 1);
    }
    let rejected: Vec<Rejected> = histories.iter().flat_map(|history| history.rejected.iter().cloned()).collect();
    Outcome {
        hourly: hourly(&curated),
        daily: daily(&curated),
        curated,
        rejected,
        waiting,
        watermarks: histories.iter().map(|history| history.watermark).collect(),
        edge_counts,
    }
}

/// "+ what still waits": the waiting events that no child has inherited.
fn count_waiting(shards: &[Shard], histories: &[History]) -> usize {
    let taken =
        |at: usize, user: &str| shards.iter().any(|child| child.parents.contains(&at) && holds(child.range, user));
    histories
        .iter()
        .enumerate()
        .flat_map(|(at, history)| history.waiting.iter().map(move |it| (at, it)))
        .filter(|(at, it)| !taken(*at, &it.arrived.event.user))
        .count()
}

/// Section 3: the windows at one event.
struct Windows {
    login_count_1h: i64,
    login_count_24h: i64,
    unique_computers_1h: i64,
    unique_computers_24h: i64,
    /// Section 4: "no event of this user on this computer was accepted before (in order of acceptance, over all
    /// time)".
    new_device: bool,
}

impl Windows {
    /// "Let `T` be the newest accepted `event_time` of the user, the event at hand included. The windows are
    /// `(T - 3600 s, T]` and `(T - 86400 s, T]`; they hold what has been accepted so far, so of two events in one
    /// second the first to arrive does not see the second. `login_count_*` counts events, `unique_computers_*` distinct
    /// computers, exactly."
    fn of(history: &History, at: usize, edge_counts: &mut EdgeCounts) -> Windows {
        let event = &history.accepted[at];
        let own: Vec<&Event> = history.accepted[..=at].iter().filter(|other| other.user == event.user).collect();
        let newest = own.iter().map(|other| other.time).max().expect("the event at hand");
        let window = |length: i64| {
            let inside: Vec<&str> =
                own.iter().filter(|other| other.time > newest - length).map(|other| other.computer.as_str()).collect();
            let unique: BTreeSet<&str> = inside.iter().copied().collect();
            (count(inside.len()), count(unique.len()))
        };
        let (login_count_1h, unique_computers_1h) = window(HOUR);
        let (login_count_24h, unique_computers_24h) = window(DAY);
        let before = &own[..own.len() - 1];
        let new_device = before.iter().all(|other| other.computer != event.computer);

        let mut count_edge_if = |reached: bool, edge: Edge| {
            if reached {
                *edge_counts.entry(edge).or_default() += 1;
            }
        };
        let at_age = |from: i64, to: i64| before.iter().any(|other| (from..to).contains(&(newest - other.time)));
        count_edge_if(at_age(HOUR, HOUR + 1), Edge::HourWindowEdge);
        count_edge_if(at_age(HOUR - SECOND, HOUR), Edge::HourWindowInside);
        count_edge_if(at_age(DAY, DAY + 1), Edge::DayWindowEdge);
        count_edge_if(at_age(DAY - SECOND, DAY), Edge::DayWindowInside);
        count_edge_if(event.time < newest, Edge::OutOfOrder);
        count_edge_if(before.iter().any(|other| other.time == event.time), Edge::SameInstant);
        let inherited = history.accepted[..history.inherited]
            .iter()
            .any(|other| other.user == event.user && other.time > newest - DAY);
        count_edge_if(inherited, Edge::InheritedWindow);

        Windows { login_count_1h, login_count_24h, unique_computers_1h, unique_computers_24h, new_device }
    }
}

fn count(length: usize) -> i64 {
    i64::try_from(length).expect("a length")
}

/// Section 5: the popularity of computers.
struct Popularity<'a> {
    settings: &'a Settings,
    /// Every accepted logon: its day since 1970 and its computer.
    logons: Vec<(i64, &'a str)>,
    /// A cache, only for speed: look-backs that were computed before, by their newest day.
    seen: BTreeMap<i64, BTreeMap<&'a str, i64>>,
}

/// The values that RARE_HOST looks at, and whether it fires.
struct Host {
    popularity: Option<i64>,
    p5: Option<i64>,
    rare: bool,
}

impl<'a> Popularity<'a> {
    fn new(settings: &'a Settings, histories: &'a [History]) -> Popularity<'a> {
        let logons = histories
            .iter()
            .flat_map(|history| &history.accepted[history.inherited..])
            .map(|event| (event.time.div_euclid(DAY), event.computer.as_str()))
            .collect();
        Popularity { settings, logons, seen: BTreeMap::new() }
    }

    /// "A day is closed for an event at its own `event_time` `t` when `t >= end of that day + settle`."
    fn newest_closed_day(&self, time: i64) -> i64 {
        let mut day = time.div_euclid(DAY);
        while time < (day + 1) * DAY + self.settings.settle * SECOND {
            day -= 1;
        }
        day
    }

    /// Section 5: popularity is the logons accepted on that computer, by all users, in the look-back: the `lookback` (30)
    /// calendar days (UTC, event time) that end with the newest **closed** day, days without events included.
    fn of_look_back(&mut self, newest: i64) -> &BTreeMap<&'a str, i64> {
        let oldest = newest - self.settings.lookback + 1;
        let logons = &self.logons;
        self.seen.entry(newest).or_insert_with(|| {
            let mut popularity = BTreeMap::new();
            for (day, computer) in logons {
                if (oldest..=newest).contains(day) {
                    *popularity.entry(*computer).or_default() += 1;
                }
            }
            popularity
        })
    }

    /// "`p5` = the 5th percentile of popularity over the computers with an event in the look-back, nearest rank, in
    /// integers: ascending, element number `(n + 19) div 20`, counted from 1. The rule fires when popularity `<= p5`,
    /// ties included; a computer without an event there has popularity 0. With fewer than `min_hosts` (20) computers in
    /// the look-back the rule never fires." "null where the look-back holds fewer than `min_hosts` computers".
    fn rate(&mut self, event: &Event, edge_counts: &mut EdgeCounts) -> Host {
        let newest = self.newest_closed_day(event.time);
        let min_hosts = self.settings.min_hosts;
        let host = {
            let look_back = self.of_look_back(newest);
            let n = look_back.len();
            if n == 0 || count(n) < min_hosts {
                Host { popularity: None, p5: None, rare: false }
            } else {
                let mut ascending: Vec<i64> = look_back.values().copied().collect();
                ascending.sort_unstable();
                let p5 = ascending[n.div_ceil(20) - 1];
                let popularity = look_back.get(event.computer.as_str()).copied().unwrap_or(0);
                Host { popularity: Some(popularity), p5: Some(p5), rare: popularity <= p5 }
            }
        };
        self.count_edge(event, newest, &host, edge_counts);
        host
    }

    fn count_edge(&mut self, event: &Event, newest: i64, host: &Host, edge_counts: &mut EdgeCounts) {
        let mut count_edge_if = |reached: bool, edge: Edge| {
            if reached {
                *edge_counts.entry(edge).or_default() += 1;
            }
        };
        let n = count(self.of_look_back(newest).len());
        let is_rated = host.popularity.is_some();
        count_edge_if(n > 0 && !is_rated, Edge::TooFewHosts);
        count_edge_if(is_rated && n == self.settings.min_hosts, Edge::JustEnoughHosts);
        count_edge_if(is_rated && !host.rare, Edge::CommonHost);
        count_edge_if(is_rated && host.popularity == Some(0), Edge::PopularityZero);
        if is_rated && host.popularity == host.p5 {
            let all = self.of_look_back(newest).values();
            count_edge_if(all.filter(|&&it| Some(it) == host.p5).count() >= 2, Edge::PercentileTie);
        }
        let settle = self.settings.settle * SECOND;
        let has_events = |day: i64| self.logons.iter().any(|(other, _)| *other == day);
        let at_settle = event.time == (newest + 1) * DAY + settle;
        count_edge_if(is_rated && at_settle && has_events(newest), Edge::DayClosedAtSettle);
        let open = (newest + 1..event.time.div_euclid(DAY)).any(has_events);
        count_edge_if(is_rated && open, Edge::DayNotYetClosed);
        let on = |day: i64| self.logons.iter().any(|(other, computer)| *other == day && *computer == event.computer);
        let oldest = newest - self.settings.lookback + 1;
        count_edge_if(is_rated && on(oldest), Edge::LookbackFirstDay);
        count_edge_if(is_rated && on(oldest - 1), Edge::LookbackDayBefore);
    }
}

/// Section 4: "`risk_score` = sum of the weights of the flags that fire. `risk_flags` lists the flags in the order of
/// the table". Section 6: the columns of `auth_events_curated`.
fn row(settings: &Settings, shard: usize, event: &Event, windows: &Windows, host: &Host) -> Curated {
    let new_device = windows.new_device;
    let burst = windows.login_count_1h > settings.burst_over;
    let lateral = windows.unique_computers_1h >= settings.lateral_at_least;
    let rules =
        [("NEW_DEVICE", new_device), ("BURST_LOGIN", burst), ("LATERAL_MOVEMENT", lateral), ("RARE_HOST", host.rare)];
    let mut risk_flags = Vec::new();
    let mut risk_score = 0;
    for ((flag, fires), weight) in rules.into_iter().zip(settings.weights) {
        if fires {
            risk_flags.push(flag);
            risk_score += weight;
        }
    }
    Curated {
        event_time: event.time,
        event_id: event.id.clone(),
        user_id: event.user.clone(),
        computer_id: event.computer.clone(),
        login_count_1h: windows.login_count_1h,
        login_count_24h: windows.login_count_24h,
        unique_computers_1h: windows.unique_computers_1h,
        unique_computers_24h: windows.unique_computers_24h,
        is_new_device: i32::from(new_device),
        is_burst_login: i32::from(burst),
        is_lateral_movement: i32::from(lateral),
        is_rare_host: i32::from(host.rare),
        risk_flags,
        risk_score,
        risk_level: risk_level(risk_score),
        host_popularity: host.popularity,
        event_date: i32::try_from(event.time.div_euclid(DAY)).expect("a day before the year 10000"),
        attributes: event.attributes.clone(),
        shard,
    }
}

/// "`risk_level`: LOW 0-25, MEDIUM 26-50, HIGH 51-75, CRITICAL 76 and more."
fn risk_level(risk_score: i32) -> &'static str {
    match risk_score {
        ..=25 => "LOW",
        26..=50 => "MEDIUM",
        51..=75 => "HIGH",
        _ => "CRITICAL",
    }
}

/// "`user_behavior_hourly` — one row a user and clock hour (UTC) of event time in which the user has an accepted event.
/// anomaly_count (events with risk_score > 0)."
fn hourly(curated: &[Curated]) -> Vec<Hourly> {
    let keys: BTreeSet<(i64, &str)> =
        curated.iter().map(|row| (row.event_time.div_euclid(HOUR) * HOUR, row.user_id.as_str())).collect();
    keys.into_iter()
        .map(|(window_start, user)| {
            let window_end = window_start + HOUR;
            let rows: Vec<&Curated> = curated
                .iter()
                .filter(|row| row.user_id == user)
                .filter(|row| (window_start..window_end).contains(&row.event_time))
                .collect();
            let computers: BTreeSet<&str> = rows.iter().map(|row| row.computer_id.as_str()).collect();
            Hourly {
                window_start,
                window_end,
                user_id: user.to_owned(),
                total_logins: count(rows.len()),
                unique_computers: count(computers.len()),
                anomaly_count: count(rows.iter().filter(|row| row.risk_score > 0).count()),
                total_risk_score: rows.iter().map(|row| i64::from(row.risk_score)).sum(),
                max_risk_score: rows.iter().map(|row| row.risk_score).max().expect("a row"),
            }
        })
        .collect()
}

/// "`host_popularity_daily` — one row a day and computer with an accepted event. high_risk_events (HIGH or CRITICAL)."
fn daily(curated: &[Curated]) -> Vec<Daily> {
    let keys: BTreeSet<(i32, &str)> = curated.iter().map(|row| (row.event_date, row.computer_id.as_str())).collect();
    keys.into_iter()
        .map(|(date, computer)| {
            let rows: Vec<&Curated> =
                curated.iter().filter(|row| row.event_date == date && row.computer_id == computer).collect();
            let users: BTreeSet<&str> = rows.iter().map(|row| row.user_id.as_str()).collect();
            let high = |row: &&&Curated| matches!(row.risk_level, "HIGH" | "CRITICAL");
            Daily {
                date,
                computer_id: computer.to_owned(),
                unique_users: count(users.len()),
                total_logins: count(rows.len()),
                high_risk_events: count(rows.iter().filter(high).count()),
            }
        })
        .collect()
}

/// Counts the edges that finished rows show.
fn count_row_edges(settings: &Settings, curated: &[Curated], edge_counts: &mut EdgeCounts) {
    let mut count_edge_if = |reached: bool, edge: Edge| {
        if reached {
            *edge_counts.entry(edge).or_default() += 1;
        }
    };
    for row in curated {
        count_edge_if(row.is_new_device == 1, Edge::NewDevice);
        count_edge_if(row.is_new_device == 0, Edge::KnownDevice);
        count_edge_if(row.is_burst_login == 1, Edge::BurstLogin);
        count_edge_if(row.login_count_1h == settings.burst_over, Edge::BurstNotQuite);
        count_edge_if(row.login_count_1h == settings.burst_over + 1, Edge::BurstBarely);
        count_edge_if(row.is_lateral_movement == 1, Edge::LateralMovement);
        let lateral = settings.lateral_at_least;
        count_edge_if(row.unique_computers_1h == lateral - 1, Edge::LateralNotQuite);
        count_edge_if(row.unique_computers_1h == lateral, Edge::LateralBarely);
        count_edge_if(row.is_rare_host == 1, Edge::RareHost);
        count_edge_if(row.risk_flags.is_empty(), Edge::NoFlag);
        count_edge_if(row.risk_level == "LOW", Edge::Low);
        count_edge_if(row.risk_level == "MEDIUM", Edge::Medium);
        count_edge_if(row.risk_level == "HIGH", Edge::High);
        count_edge_if(row.risk_level == "CRITICAL", Edge::Critical);
        let time = row.event_time;
        let (_, month, day) = date_of(time.div_euclid(DAY));
        let midnight = time.rem_euclid(DAY) == 0;
        count_edge_if(time.rem_euclid(HOUR) == 0, Edge::HourEdge);
        count_edge_if(midnight, Edge::MidnightEdge);
        count_edge_if(midnight && day == 1, Edge::MonthEdge);
        count_edge_if(midnight && day == 1 && month == 1, Edge::YearEdge);
        count_edge_if(time.rem_euclid(SECOND) != 0, Edge::Microseconds);
        count_edge_if(time < settings.base_micros, Edge::BeforeBase);
    }
    let ids: BTreeMap<&str, &str> = curated.iter().map(|row| (row.event_id.as_str(), row.user_id.as_str())).collect();
    count_edge_if(curated.iter().any(|row| ids[row.event_id.as_str()] != row.user_id), Edge::SameIdOtherUser);
    let both = curated.iter().enumerate().any(|(at, row)| {
        let key = |row: &Curated| (row.event_time, row.user_id.clone(), row.computer_id.clone());
        let is_hash = |row: &Curated| row.event_id.len() == 64;
        curated[..at].iter().any(|other| {
            other.event_time == row.event_time
                && key(other) == key(row)
                && is_hash(row)
                && is_hash(other)
                && other.event_id != row.event_id
        })
    });
    count_edge_if(both, Edge::BothFormsOfTime);
}
