//! What holds between rows of different days: no event twice within the tolerance, and each pair of user and computer new once.

use super::curated::Event;
use super::stop::{Check, ROLL_BACK, differ};
use authpulse_engine::names::{NameId, Names};
use authpulse_event::time::format_rfc3339;
use authpulse_event::{Day, Micros};
use std::collections::{HashMap, HashSet};

/// Which rows lie at the end of the day before.
pub(super) struct Duplicates {
    tolerance: Micros,
    /// Events of the last tolerance of the day before.
    carried: Vec<Event>,
}

impl Duplicates {
    pub fn new(tolerance: Micros) -> Duplicates {
        Duplicates { tolerance, carried: Vec::new() }
    }

    /// Checks the rows of a day; leaves them in some order.
    pub fn check(&mut self, day: Day, events: &mut Vec<Event>, users: &Names) -> Check<()> {
        let own = events.len();
        let reach = day.start().saturating_sub(self.tolerance);
        events.extend(self.carried.drain(..).filter(|event| event.time >= reach));
        events.sort_unstable_by_key(|e| (e.user, e.id, e.time));
        for pair in events.windows(2) {
            let (a, b) = (&pair[0], &pair[1]);
            if (a.user, a.id) == (b.user, b.id) && b.time - a.time <= self.tolerance {
                let place = format!("table auth_events_curated, user {}", users.get(a.user));
                let expected = format!("one row of the event at {}", format_rfc3339(a.time));
                let found = format!("another of the same event_id at {}", format_rfc3339(b.time));
                return Err(differ("an event is in the table twice", place, expected, found, ROLL_BACK));
            }
        }
        events.retain(|event| event.time >= day.start());
        debug_assert_eq!(events.len(), own);
        let end = day.end().saturating_sub(self.tolerance);
        self.carried.extend(events.iter().filter(|event| event.time >= end));
        Ok(())
    }
}

/// Which users were on which computers.
pub(super) struct NewDevices {
    tolerance: Micros,
    known: HashSet<(NameId, NameId)>,
    /// Pairs whose new row must come right after midnight: the user was faster than its clock.
    owed: HashMap<(NameId, NameId), Micros>,
}

impl NewDevices {
    pub fn new(tolerance: Micros) -> NewDevices {
        NewDevices { tolerance, known: HashSet::new(), owed: HashMap::new() }
    }

    /// Checks the rows of a day: the first that was accepted of a pair, and no other, is new. Later ones may lie earlier by at
    /// most the tolerance.
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
                Some(first) if first.time - earliest <= self.tolerance => {
                    self.known.insert(pair);
                }
                Some(first) => {
                    let found = format!("0 at {}, 1 only at {}", format_rfc3339(earliest), format_rfc3339(first.time));
                    return bad("1 on the first row", found);
                }
                None if before.is_none() && group[0].time >= day.end().saturating_sub(self.tolerance) => {
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
    fn an_event_is_twice_there_across_midnight_and_within_the_tolerance_only() {
        let run = |second: Micros| {
            let mut duplicates = Duplicates::new(300 * SECOND);
            let names = names();
            assert!(fine(duplicates.check(Day(0), &mut vec![event(DAY - SECOND, 1, true)], &names)));
            fine(duplicates.check(Day(1), &mut vec![event(second, 1, false), event(DAY, 2, false)], &names))
        };
        assert!(!run(DAY + 299 * SECOND));
        assert!(run(DAY + 300 * SECOND));
    }

    #[test]
    fn a_pair_is_new_once_and_first_but_for_the_tolerance() {
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
        assert!(!run(&[&[(5, false), (301 * SECOND, true)]]));
        assert!(!run(&[&[(DAY - 1, false)], &[(DAY + 300 * SECOND, true)]]));
        assert!(!run(&[&[(DAY - 1, false)], &[]]));
        assert!(!run(&[&[(DAY - 1, false)]]));
    }
}
