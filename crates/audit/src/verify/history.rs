//! Checks what holds between rows: no event appears twice, and over all days each pair of user and computer is new once.

use super::curated::Event;
use super::others::{RuleSets, Under};
use super::stop::{Check, ROLL_BACK, Stop, differ};
use authpulse_engine::flags::Flag;
use authpulse_engine::names::{ComputerId, ComputerNames, UserId, UserNames};
use authpulse_engine::settings::ARRIVAL_SLACK;
use authpulse_event::time::format_rfc3339;
use authpulse_event::{Day, EventTime, Span};
use std::collections::{HashMap, HashSet};

const WHAT: &str = "is_new_device is not 1 on a pair's first row alone";

/// Checks that no two rows of a day are the same event, which is the same user, id, time and computer. Reorders the events.
pub(super) fn no_event_twice(events: &mut [Event], users: &UserNames) -> Check<()> {
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

/// The pairs of users and computers seen so far.
pub(super) struct NewDevices {
    /// How much later than a pair's earliest row its first accepted row may be: an accepted event lies at most that far beyond the
    /// watermark.
    disorder: Span,
    known: HashSet<(UserId, ComputerId)>,
    /// Pairs whose new row must still come, right after midnight: rows of the day before were accepted later but lie earlier.
    owed: HashMap<(UserId, ComputerId), Owed>,
}

/// A pair that has rows, none of which is new.
#[derive(Clone, Copy)]
struct Owed {
    /// The time of its earliest row.
    since: EventTime,
    under: Mixed,
}

/// The rules under which rows were scored; `None` if these are several. Then NEW_DEVICE was off for some rows, or nothing can be said.
type Mixed = Option<Under>;

impl NewDevices {
    /// No pair was seen yet. `tolerance` is the lake's setting.
    pub fn new(tolerance: Span) -> NewDevices {
        NewDevices { disorder: tolerance + ARRIVAL_SLACK, known: HashSet::new(), owed: HashMap::new() }
    }

    /// Checks the rows of a day: of each pair, the first accepted row is new, and no other. Rows accepted later may lie earlier, by at
    /// most the tolerance and 300 s.
    pub fn check(
        &mut self,
        day: Day,
        events: &mut [Event],
        users: &UserNames,
        computers: &ComputerNames,
        others: &mut RuleSets,
    ) -> Check<()> {
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
                differ(WHAT, place, expected, found, ROLL_BACK)
            };
            let mut new = group.iter().filter(|e| e.new_device);
            let first = new.next();
            if self.known.contains(&pair) {
                if let Some(again) = first {
                    return Err(bad("0: the pair was seen before", format!("1 at {}", format_rfc3339(again.time))));
                }
                continue;
            }
            if let Some(again) = new.next() {
                return Err(bad("one row with 1", format!("another at {}", format_rfc3339(again.time))));
            }
            let earliest = before.map_or(group[0].time, |owed| owed.since);
            match first {
                Some(first) if first.time - earliest <= self.disorder => {
                    self.known.insert(pair);
                }
                Some(first) => {
                    let found = format!("0 at {}, 1 only at {}", format_rfc3339(earliest), format_rfc3339(first.time));
                    return Err(bad("1 on the first row", found));
                }
                None => {
                    // The row that was accepted first is among these.
                    let first = group.iter().take_while(|e| e.time - earliest <= self.disorder).map(|e| Some(e.under));
                    let under = first.chain(before.map(|owed| owed.under)).reduce(|a, b| if a == b { a } else { None });
                    let under = under.unwrap_or_default();
                    if before.is_none() && group[0].time >= day.end().saturating_sub(self.disorder) {
                        self.owed.insert(pair, Owed { since: earliest, under });
                        continue;
                    }
                    let difference = bad("1 on the first row", format!("0 on all of {} rows", group.len()));
                    self.was_not_new(pair, under, difference, others)?;
                }
            }
        }
        self.none_owed(owed, users, computers, others)
    }

    /// Checks that no pair still lacks its new row after the last day.
    pub fn finish(&mut self, users: &UserNames, computers: &ComputerNames, others: &mut RuleSets) -> Check<()> {
        let owed = std::mem::take(&mut self.owed);
        self.none_owed(owed, users, computers, others)
    }

    fn none_owed(
        &mut self,
        owed: HashMap<(UserId, ComputerId), Owed>,
        users: &UserNames,
        computers: &ComputerNames,
        others: &mut RuleSets,
    ) -> Check<()> {
        for (pair, Owed { since, under }) in owed {
            let place = format!("table auth_events_curated, user {} on {}", users.get(pair.0), computers.get(pair.1));
            let found = format!("0 at {}, and no row with 1", format_rfc3339(since));
            self.was_not_new(pair, under, differ(WHAT, place, "1 on the first row", found, ROLL_BACK), others)?;
        }
        Ok(())
    }

    /// No row of a pair is new where one should be: right only if NEW_DEVICE was off.
    fn was_not_new(
        &mut self,
        pair: (UserId, ComputerId),
        under: Mixed,
        difference: Stop,
        others: &mut RuleSets,
    ) -> Check<()> {
        self.known.insert(pair);
        under.map_or(Ok(()), |under| others.was_quiet(under, Flag::NEW_DEVICE, difference))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use authpulse_engine::flags::Flags;
    use authpulse_event::time::{DAY, MICROSECOND, SECOND};

    /// An event this long after the beginning of 1970.
    fn event(time: Span, id: u64, new_device: bool) -> Event {
        let (time, user, computer) = (EventTime::default() + time, UserId::default(), ComputerId::default());
        Event { id: (id, id), user, computer, time, score: 0, new_device, under: Under::KNOWN, scored: true }
    }

    fn us(n: i64) -> Span {
        n * MICROSECOND
    }

    fn names() -> (UserNames, ComputerNames) {
        let (mut users, mut computers) = (UserNames::default(), ComputerNames::default());
        users.intern("N");
        computers.intern("N");
        (users, computers)
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
        let (mut users, mut computers) = names();
        let (other_user, other_computer) = (users.intern("M"), computers.intern("M"));
        let run = |second: Event| fine(no_event_twice(&mut [event(DAY, 1, true), second], &names().0));
        assert!(!run(event(DAY, 1, false)));
        assert!(run(event(DAY, 2, false)));
        assert!(run(event(DAY + us(1), 1, false)));
        assert!(run(Event { computer: other_computer, ..event(DAY, 1, false) }));
        assert!(run(Event { user: other_user, ..event(DAY, 1, false) }));
    }

    #[test]
    fn a_pair_is_new_once_and_first_but_for_the_tolerance_and_a_clock_ahead() {
        let run = |days: &[&[(Span, bool)]]| {
            let mut pairs = NewDevices::new(300 * SECOND);
            let ((users, computers), mut others) = (names(), RuleSets::default());
            let each = |(day, rows): (i32, &&[(Span, bool)])| {
                let mut events: Vec<Event> = rows.iter().map(|(t, new)| event(*t, 1, *new)).collect();
                pairs.check(Day(day), &mut events, &users, &computers, &mut others)
            };
            let checked = (0..).zip(days).try_for_each(each);
            fine(checked) && fine(pairs.finish(&users, &computers, &mut others)) && fine(others.finish())
        };
        assert!(run(&[&[(us(5), true), (us(6), false)], &[(DAY, false)]]));
        assert!(run(&[&[(us(5), false), (us(6), true)]]));
        assert!(run(&[&[(DAY - us(1), false)], &[(DAY + us(1), true)]]));
        assert!(!run(&[&[(us(5), true)], &[(DAY, true)]]));
        assert!(run(&[&[(5 * SECOND, false), (605 * SECOND, true)]]));
        assert!(!run(&[&[(5 * SECOND, false), (605 * SECOND + us(1), true)]]));
        assert!(run(&[&[(DAY - 600 * SECOND, false)], &[(DAY, true)]]));
        assert!(run(&[&[(DAY - SECOND, false)], &[(DAY + 599 * SECOND, true)]]));
        assert!(!run(&[&[(DAY - SECOND, false)], &[(DAY + 599 * SECOND + us(1), true)]]));
        assert!(!run(&[&[(DAY - 600 * SECOND - us(1), false)], &[(DAY, true)]]));
        assert!(!run(&[&[(DAY - us(1), false)], &[]]));
        assert!(!run(&[&[(DAY - us(1), false)]]));
    }

    #[test]
    fn a_pair_may_lack_a_new_row_only_where_the_rule_was_off() {
        // Each row: its day, time of day, user, `rule_set` ("" is known), new.
        let run = |rows: &[(i32, Span, usize, &str, bool)]| {
            let mut pairs = NewDevices::new(300 * SECOND);
            let ((mut users, computers), mut others) = (names(), RuleSets::default());
            let ids = ["A", "B"].map(|name| users.intern(name));
            let checked = (0..3).try_for_each(|day| {
                let mut events = Vec::new();
                for (_, time, user, digest, new_device) in rows.iter().filter(|row| row.0 == day) {
                    let fired = Flag::NEW_DEVICE.index() as u32;
                    let fired = Flags::from_bits(u32::from(*new_device) << fired);
                    let under = if digest.is_empty() { Under::KNOWN } else { others.met(digest, fired) };
                    let time = i64::from(day) * DAY + *time;
                    events.push(Event { user: ids[*user], under, ..event(time, 1, *new_device) });
                }
                pairs.check(Day(day), &mut events, &users, &computers, &mut others)
            });
            fine(checked) && fine(pairs.finish(&users, &computers, &mut others)) && fine(others.finish())
        };
        assert!(!run(&[(0, us(5), 0, "", false)]));
        assert!(run(&[(0, us(5), 0, "off", false), (1, us(5), 0, "off", false), (1, us(7), 0, "", false)]));
        assert!(!run(&[(0, us(5), 0, "off", false), (1, us(7), 0, "", true)]), "it was known by then");
        assert!(!run(&[(0, us(5), 0, "on", false), (1, us(5), 1, "on", true)]), "it was on");
        assert!(run(&[(0, us(5), 0, "off", false), (1, us(5), 1, "on", true)]));
        // Accepted first with the rule off, then an earlier event with the rule on; and the same across midnight.
        assert!(run(&[(0, us(9), 0, "off", false), (0, us(5), 0, "", false)]));
        assert!(run(&[(0, us(9), 0, "off", false), (0, us(5), 0, "on", false), (1, us(5), 1, "on", true)]));
        assert!(!run(&[(0, us(9), 0, "on", false), (0, us(5), 0, "on", false), (1, us(5), 1, "on", true)]));
        assert!(run(&[(0, DAY - us(5), 0, "off", false), (1, us(5), 0, "", false)]));
        assert!(run(&[(0, DAY - us(5), 0, "off", false)]));
        assert!(run(&[(0, DAY - us(5), 0, "off", false), (1, us(5), 0, "on", true)]));
        assert!(!run(&[(0, DAY - us(5), 0, "on", false), (1, us(5), 1, "on", true)]));
        assert!(!run(&[(0, DAY - us(5), 0, "", false), (1, us(5), 0, "", false)]));
    }
}
