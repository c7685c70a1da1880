//! What holds between rows: no event twice, and, over all days, each pair of user and computer new once.

use super::curated::Event;
use super::stop::{Check, ROLL_BACK, differ};
use authpulse_engine::names::{NameId, Names};
use authpulse_engine::settings::ARRIVAL_SLACK;
use authpulse_event::time::format_rfc3339;
use authpulse_event::{Day, Micros};
use std::collections::{HashMap, HashSet};

/// Checks that no two rows of a day are of the same event: of the same user, id, time and computer. Leaves them in some order.
pub(super) fn no_event_twice(events: &mut [Event], users: &Names) -> Check<()> {
    let key = |e: &Event| (e.user, e.id, e.time, e.computer);
    events.sort_unstable_by_key(key);
    match events.windows(2).find(|pair| key(&pair[0]) == key(&pair[1])) {
        None => Ok(()),
        Some(twice) => {
            let place = format!("table auth_events_curated, user {}", users.get(twice[0].user));
            let expected = format!("one row of the event at {}", format_rfc3339(twice[0].time));
            let found = "another of the same event_id, time and computer";
            Err(differ("an event is in the table twice", place, expected, found, ROLL_BACK))
        }
    }
}

/// Which users were on which computers.
pub(super) struct NewDevices {
    /// How much later than a pair's earliest row its first accepted one may lie: what is accepted lies at most that far beyond the
    /// watermark.
    disorder: Micros,
    known: HashSet<(NameId, NameId)>,
    /// Pairs whose new row must come right after midnight: the user was faster than its clock.
    owed: HashMap<(NameId, NameId), Micros>,
}

impl NewDevices {
    pub fn new(tolerance: Micros) -> NewDevices {
        NewDevices { disorder: tolerance + ARRIVAL_SLACK, known: HashSet::new(), owed: HashMap::new() }
    }

    /// Checks the rows of a day: the first that was accepted of a pair, and no other, is new. Later ones may lie earlier by at
    /// most the tolerance and 300 s.
    pub fn check(&mut self, day: Day, events: &mut [Event], users: &Names, computers: &Names) -> Check<()> {
        events.sort_unstable_by_key(|e| (e.user, e.computer, e.time));
        let mut owed = std::mem::take(&mut self.owed);
        for group in events.chunk_by(|a, b| (a.user, a.computer) == (b.user, b.computer)) {
            let pair = (group[0].user, group[0].computer);
            let before = owed.remove(&pair);
            let bad = |expected: &str, found: String| {
                let place = format!(
                    "table auth_events_curated, user {} on {}, {day}",
                    users.get(pair.0),
                    computers.get(pair.1)
                );
                Err(differ("is_new_device is not 1 on a pair's first row alone", place, expected, found, ROLL_BACK))
            };
            let mut new = group.iter().filter(|e| e.new_device);
            let first = new.next();
            if self.known.contains(&pair) {
                if let Some(again) = first {
                    return bad("0: the pair was seen before", format!("1 at {}", format_rfc3339(again.time)));
                }
                continue;
            }
            if let Some(again) = new.next() {
                return bad("one row with 1", format!("another at {}", format_rfc3339(again.time)));
            }
            let earliest = before.unwrap_or(group[0].time);
            match first {
                Some(first) if first.time - earliest <= self.disorder => {
                    self.known.insert(pair);
                }
                Some(first) => {
                    let found = format!("0 at {}, 1 only at {}", format_rfc3339(earliest), format_rfc3339(first.time));
                    return bad("1 on the first row", found);
                }
                None if before.is_none() && group[0].time >= day.end().saturating_sub(self.disorder) => {
                    self.owed.insert(pair, group[0].time);
                }
                None => return bad("1 on the first row", format!("0 on all of {} rows", group.len())),
            }
        }
        none_owed(&owed, users, computers)
    }

    /// Nothing may be owed after the last day.
    pub fn finish(&self, users: &Names, computers: &Names) -> Check<()> {
        none_owed(&self.owed, users, computers)
    }
}

fn none_owed(owed: &HashMap<(NameId, NameId), Micros>, users: &Names, computers: &Names) -> Check<()> {
    let Some(((user, computer), time)) = owed.iter().next() else { return Ok(()) };
    let place = format!("table auth_events_curated, user {} on {}", users.get(*user), computers.get(*computer));
    let found = format!("0 at {}, and no row with 1", format_rfc3339(*time));
    let what = "is_new_device is not 1 on a pair's first row alone";
    Err(differ(what, place, "1 on the first row", found, ROLL_BACK))
}

#[cfg(test)]
mod tests {
    use super::super::stop::Stop;
    use super::*;
    use authpulse_event::time::{DAY, SECOND};

    fn event(time: Micros, id: u64, new_device: bool) -> Event {
        Event { id: (id, id), user: 0, computer: 0, time, score: 0, new_device, scored: true }
    }

    fn names() -> Names {
        let mut names = Names::default();
        names.intern("N");
        names
    }

    fn fine(check: Check<()>) -> bool {
        match check {
            Ok(()) => true,
            Err(Stop::Difference(_)) => false,
            Err(Stop::Error(error)) => panic!("{error}"),
            Err(Stop::Folded(_)) => panic!("nothing folds here"),
        }
    }

    #[test]
    fn an_event_is_told_by_id_time_and_computer() {
        let run = |second: Event| fine(no_event_twice(&mut [event(DAY, 1, true), second], &names()));
        assert!(!run(event(DAY, 1, false)));
        assert!(run(event(DAY, 2, false)));
        assert!(run(event(DAY + 1, 1, false)));
        assert!(run(Event { computer: 1, ..event(DAY, 1, false) }));
        assert!(run(Event { user: 1, ..event(DAY, 1, false) }));
    }

    #[test]
    fn a_pair_is_new_once_and_first_but_for_the_tolerance_and_a_clock_ahead() {
        let run = |days: &[&[(Micros, bool)]]| {
            let mut pairs = NewDevices::new(300 * SECOND);
            let names = names();
            let each = |(day, rows): (i32, &&[(Micros, bool)])| {
                let mut events: Vec<Event> = rows.iter().map(|(t, new)| event(*t, 1, *new)).collect();
                pairs.check(Day(day), &mut events, &names, &names)
            };
            fine((0..).zip(days).try_for_each(each)) && fine(pairs.finish(&names, &names))
        };
        assert!(run(&[&[(5, true), (6, false)], &[(DAY, false)]]));
        assert!(run(&[&[(5, false), (6, true)]]));
        assert!(run(&[&[(DAY - 1, false)], &[(DAY + 1, true)]]));
        assert!(!run(&[&[(5, true)], &[(DAY, true)]]));
        assert!(run(&[&[(5 * SECOND, false), (605 * SECOND, true)]]));
        assert!(!run(&[&[(5 * SECOND, false), (605 * SECOND + 1, true)]]));
        assert!(run(&[&[(DAY - 600 * SECOND, false)], &[(DAY, true)]]));
        assert!(run(&[&[(DAY - SECOND, false)], &[(DAY + 599 * SECOND, true)]]));
        assert!(!run(&[&[(DAY - SECOND, false)], &[(DAY + 599 * SECOND + 1, true)]]));
        assert!(!run(&[&[(DAY - 600 * SECOND - 1, false)], &[(DAY, true)]]));
        assert!(!run(&[&[(DAY - 1, false)], &[]]));
        assert!(!run(&[&[(DAY - 1, false)]]));
    }
}
