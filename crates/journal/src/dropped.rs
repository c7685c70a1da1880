//! Names the attributes that are left out because they have no value of their form, each once a process. How many there are is in the
//! entries, and `authpulse status` shows it.

use authpulse_event::{ParsedEvent, Reading, parse_line, parse_record};
use std::collections::BTreeSet;

/// At most this many records are searched for such fields: each search parses the record once more for every attribute that there is.
const LOOKED_AT_MAX: u32 = 10_000;

/// Stands for a record whose attributes are each of their form, but together are too much.
const TOO_MUCH: &str = "(all together)";

/// The fields that were named already.
#[derive(Debug, Default)]
pub(crate) struct Dropped {
    named: BTreeSet<&'static str>,
    looked_at: u32,
}

impl Dropped {
    /// The fields that `reading` drops from a record and that were not named before. The record is one of which some are dropped. A record
    /// of a stream has a partition key, a line of a file has none.
    pub(crate) fn new_in(&mut self, payload: &[u8], key: Option<&[u8]>, reading: Reading) -> Vec<&'static str> {
        if self.looked_at >= LOOKED_AT_MAX {
            return Vec::new();
        }
        self.looked_at += 1;
        let mut fields = fields(payload, key, reading);
        fields.retain(|field| self.named.insert(field));
        fields
    }
}

/// The keys that have no value of their form in a record. Each is read as if it were the only one.
fn fields(payload: &[u8], key: Option<&[u8]>, reading: Reading) -> Vec<&'static str> {
    let list = reading.attributes;
    let is_dropped = |at: usize| {
        let alone = Reading { attributes: &list[at..=at], ..reading };
        let parsed = match key {
            Some(key) => parse_record(payload, key, alone),
            None => parse_line(payload, alone),
        };
        matches!(parsed, Ok(ParsedEvent { fields_dropped: 1.., .. }))
    };
    let found: Vec<&str> = (0..list.len()).filter(|at| is_dropped(*at)).map(|at| list[at].key).collect();
    if found.is_empty() { vec![TOO_MUCH] } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;
    use authpulse_event::EventModel;
    use authpulse_event::time::DEFAULT_BASE;

    const READING: fn() -> Reading = || Reading::new(DEFAULT_BASE, EventModel::Attributes);

    fn record(members: &str) -> String {
        format!(r#"{{"time":1,"user":"U1","computer":"C1",{members}}}"#)
    }

    #[test]
    fn each_field_is_named_once() {
        let mut dropped = Dropped::default();
        let mut new_in = |members: &str, key| dropped.new_in(record(members).as_bytes(), key, READING());
        assert_eq!(new_in(r#""lat":95,"site":3,"app":"a","outcome":"success""#, None), ["site", "lat"]);
        assert_eq!(new_in(r#""lat":96,"site":"s","app":"a","app":"b""#, Some(b"U1")), ["app"]);
        assert!(new_in(r#""lat":95,"app":7"#, None).is_empty());
    }

    #[test]
    fn no_more_records_are_looked_at_than_it_takes_to_know() {
        let mut dropped = Dropped { looked_at: LOOKED_AT_MAX - 1, ..Dropped::default() };
        assert_eq!(dropped.new_in(record(r#""lat":95"#).as_bytes(), None, READING()), ["lat"]);
        assert!(dropped.new_in(record(r#""lon":195"#).as_bytes(), None, READING()).is_empty());
    }

    #[test]
    fn what_is_too_much_together_is_no_single_field() {
        assert_eq!(fields(record(r#""app":"a""#).as_bytes(), None, READING()), [TOO_MUCH]);
    }
}
