//! Finds out, in bounded memory, whether each id that a producer sends belongs to one event alone.

use authpulse_event::ParsedEvent;
use std::hash::{BuildHasher, RandomState};

/// How many recent ids are remembered, by their hashes: 32 KiB.
const SLOTS: usize = 2_048;
/// How many ids are counted by name, once they repeat.
const NAMED: usize = 32;
/// From this many on, repetitions are no chance.
const REPEATS_LEAST: u64 = 10;

/// Counts events whose own id another event had recently. An event that is only sent again, with the same time, user and computer, is not
/// another one.
#[derive(Debug, Default)]
pub struct OwnIds {
    hasher: RandomState,
    /// For each slot the hash of an id, and the hash of the event that had it last.
    slots: Vec<(u64, u64)>,
    /// Events with an own id.
    events: u64,
    /// Of those, events whose id another event had.
    repeats: u64,
    /// Ids that repeat, and how often each occurs.
    named: Vec<(String, u64)>,
}

impl OwnIds {
    /// Looks at an event.
    #[inline]
    pub fn see(&mut self, event: &ParsedEvent<'_>) {
        if let Some(id) = event.own_id.as_deref() {
            self.see_id(id, event);
        }
    }

    fn see_id(&mut self, id: &str, event: &ParsedEvent<'_>) {
        if self.slots.is_empty() {
            self.slots = vec![(0, 0); SLOTS];
        }
        self.events += 1;
        let hash = self.hasher.hash_one(id);
        let whole = self.hasher.hash_one((hash, event.time, &*event.user, &*event.computer));
        let slot = &mut self.slots[hash as usize % SLOTS];
        if slot.0 != hash {
            *slot = (hash, whole);
            return;
        }
        let another = slot.1 != whole;
        slot.1 = whole;
        if another {
            self.repeats += 1;
        }
        if let Some((_, n)) = self.named.iter_mut().find(|(named, _)| named == id) {
            *n += 1;
        } else if another && self.named.len() < NAMED {
            self.named.push((id.to_owned(), 2));
        }
    }

    /// Events with an own id.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The warning if most ids repeat, for example because the kind of an event is sent as its id.
    pub fn warning(&self) -> Option<String> {
        if self.repeats < REPEATS_LEAST || self.repeats * 2 <= self.events {
            return None;
        }
        let (id, n) = self.named.iter().max_by_key(|(_, n)| *n)?;
        Some(format!(
            "most event ids repeat: event_id '{id}' stands in {n} of {} events that have one, and {} of them carry an id that another \
             event had; if it names a kind of event (as 4624 does), leave it out or send an id of each event's own, or two logons of one \
             user on one computer at one instant count as one",
            self.events, self.repeats
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use authpulse_event::time::DEFAULT_BASE;
    use authpulse_event::{Reading, parse_line};

    fn warning(ids: impl IntoIterator<Item = (u64, String)>) -> Option<String> {
        let mut seen = OwnIds::default();
        for (time, id) in ids {
            let line = format!(r#"{{"time":{time},"user":"U{}","computer":"C1","event_id":"{id}"}}"#, time % 7);
            seen.see(&parse_line(line.as_bytes(), Reading::three_fields(DEFAULT_BASE)).expect("an event"));
        }
        seen.warning()
    }

    #[test]
    fn a_kind_of_event_is_no_id() {
        let told = warning((1..=400).map(|n| (n, if n % 4 == 0 { format!("own-{n}") } else { "4624".to_owned() })));
        let told = told.expect("most ids repeat");
        // By chance a unique id has the same slot, so that two of the repetitions are not noticed.
        let stands_in =
            told.split("event_id '4624' stands in ").nth(1).and_then(|rest| rest.split_once(" of 400 events"));
        let stands_in = stands_in.and_then(|(n, _)| n.parse::<u32>().ok());
        assert!(stands_in.is_some_and(|n| (290..=300).contains(&n)), "{told}");
        // Many kinds, none of which is in the majority; and a counter that starts again each hour.
        for kinds in [20, 500] {
            assert!(warning((1..=30_000).map(|n| (n, (n % kinds).to_string()))).is_some(), "{kinds} kinds");
        }
    }

    #[test]
    fn ids_of_their_own_and_repetitions_of_one_event_are_nothing_to_tell() {
        assert_eq!(warning((1..=100_000).map(|n| (n, format!("id-{n}")))), None);
        assert_eq!(warning((3..300).map(|n| (n / 3, format!("id-{}", n / 3)))), None, "each event is sent three times");
        assert_eq!(warning((1..=REPEATS_LEAST).map(|n| (n, "one".to_owned()))), None, "too few to tell");
        assert_eq!(warning([]), None);
    }
}
