//! The engine's parser against the oracle's. They share no code.

use crate::damage::{damage, damaged};
use crate::random;
use crate::rows;
use crate::service::Check;
use authpulse_engine::rows::Reason;
use authpulse_engine::{Incoming, Output, Shard, SourceKind};
use authpulse_event::id::{canonical_line, content_id};
use authpulse_event::time::{SECOND, format_rfc3339};
use authpulse_event::{
    ArrivalTime, EventIdRef, EventTime, HashRange, Invalid, ParsedEvent, Position, parse_line, parse_record,
};
use authpulse_oracle::attributes::{Attributes, samples};
use authpulse_oracle::cases::{Case, file_case, stream_case};
use authpulse_oracle::spellings::{self, Read};
use authpulse_oracle::{Event, Form, Record, Settings, Step, broken, parse};
use proptest::collection::vec;
use proptest::prelude::*;
use std::cell::Cell;

/// Time, user, computer and id of a valid event, its attributes, and how many of them were dropped.
type Seen = (i64, String, String, String, Attributes, usize);

fn parsed<'a>(settings: &Settings, record: &'a Record) -> Result<ParsedEvent<'a>, Invalid> {
    let reading = rows::settings(settings).reading();
    match record.form {
        Form::Line => parse_line(&record.payload, reading),
        Form::Wire => parse_record(&record.payload, record.partition_key.as_bytes(), reading),
    }
}

fn engine(settings: &Settings, record: &Record) -> Option<Seen> {
    let base = EventTime::from_micros(settings.base_micros);
    let event = parsed(settings, record).ok()?;
    let id = match event.id() {
        EventIdRef::Own(id) => id.to_owned(),
        EventIdRef::Content(form) => {
            let mut line = Vec::new();
            canonical_line(&mut line, base, event.time, form, &event.user, &event.computer);
            content_id(&line).map(char::from).iter().collect()
        }
    };
    let attributes = rows::attributes(&event.attributes);
    let (user, computer) = (event.user.into_owned(), event.computer.into_owned());
    Some((event.time.micros(), user, computer, id, attributes, event.fields_dropped.into()))
}

fn oracle(settings: &Settings, record: &Record) -> Option<Seen> {
    let seen = |e: Event| (e.time, e.user, e.computer, e.id, e.attributes, e.fields_dropped);
    parse(settings, record).map(seen)
}

fn agree(settings: &Settings, record: &Record) -> Check {
    let mut seen = Vec::new();
    for event_model in [1, 2] {
        let settings = Settings { event_model, ..settings.clone() };
        prop_assert_eq!(engine(&settings, record), oracle(&settings, record), "{} {:?}", event_model, record);
        seen.push(engine(&settings, record));
    }
    // Attributes do not change what is an event, and the first model has none.
    let first_fields =
        |seen: &Option<Seen>| seen.clone().map(|(time, user, computer, id, ..)| (time, user, computer, id));
    prop_assert_eq!(first_fields(&seen[0]), first_fields(&seen[1]), "{:?}", record);
    prop_assert!(seen[0].as_ref().is_none_or(|(.., attributes, dropped)| attributes.is_empty() && *dropped == 0));
    Ok(())
}

fn records(case: &Case) -> impl Iterator<Item = &Record> {
    case.shards.iter().flat_map(|shard| &shard.steps).filter_map(|step| match step {
        Step::Record(record) => Some(record),
        _ => None,
    })
}

#[test]
fn what_is_broken_is_invalid() {
    let settings = Settings::default();
    for (payload, partition_key, form) in all_broken("U1") {
        let record = Record { payload, partition_key, arrival: 0, place: (0, 0), form };
        assert_eq!(engine(&settings, &record), None, "{record:?}");
    }
}

/// The oracle's own tests check the same table. The words for a dead letter are the parser's alone.
#[test]
fn every_spelling_of_a_time_is_read_as_the_table_says() {
    for spelling in spellings::ALL {
        for (payload, form, expected) in [
            (spelling.object("U1"), Form::Wire, spelling.json),
            (spelling.object("U1"), Form::Line, spelling.json),
            (spelling.as_line("U1"), Form::Line, spelling.line),
        ] {
            let payload = payload.into_bytes();
            let record = Record { payload, partition_key: "U1".to_owned(), arrival: 0, place: (0, 0), form };
            let event = parsed(&Settings::default(), &record).map(|event| format_rfc3339(event.time));
            match (event, expected) {
                (Ok(time), Read::At(instant)) => assert_eq!(time, instant, "{spelling:?} as {form:?}"),
                (Err(Invalid(words)), Read::No(wanted)) => {
                    assert!(words.contains(wanted), "{spelling:?} as {form:?}: {words}");
                }
                (event, _) => panic!("{spelling:?} as {form:?}: {event:?}"),
            }
        }
    }
}

/// Seconds since 1970 lie decades ahead if `base` is LANL's default. The dead letter says what to set.
#[test]
fn a_time_of_unix_under_another_base_is_told_the_base() {
    let oracle = Settings::default();
    let settings = rows::settings(&oracle);
    let arrival = ArrivalTime::default() + 1_795_947_300 * SECOND;
    let detail = |line: &[u8]| {
        let mut shard = Shard::new(settings.clone(), SourceKind::File, HashRange::FULL);
        let mut out = Output::default();
        let record = Incoming { payload: line, payload_bytes: line.len() as u64, position: Position::START, arrival };
        shard.admit(record, parse_line(line, settings.reading()), &mut out);
        let [letter] = &out.rejected[..] else { panic!("{:?}", out.rejected) };
        assert_eq!(letter.reason, Reason::Future);
        letter.detail.clone()
    };
    let hint = "; if it is seconds since 1970, set base = \"1970-01-01T00:00:00Z\" for a new lake";
    for line in [&b"1795947000,U1,C1"[..], br#"{"time":1448000000,"user":"U1","computer":"C1","event_id":"e"}"#] {
        assert!(detail(line).ends_with(hint), "{}", detail(line));
    }
    for line in [&b"1800000000,U1,C1"[..], b"400000000,U1,C1", b"2060-11-19T00:00:00Z,U1,C1"] {
        assert!(detail(line).ends_with("at most 300 s are allowed"), "{}", detail(line));
    }
}

#[test]
fn generated_payloads_are_read_alike() {
    random::check(400, &prop_oneof![file_case(), stream_case()], |case| {
        records(&case).try_for_each(|record| agree(&case.settings, record))
    });
}

/// Attributes alone, valid and invalid, whole and damaged, because the random cases hold too few of them.
#[test]
fn attributes_are_read_alike() {
    let cases = (any::<u16>(), prop_oneof![2 => vec(damage(), 0..1), 3 => vec(damage(), 1..4)]);
    let (found, dropped) = (Cell::new(0), Cell::new(0));
    random::check(20_000, &cases, |(n, damages)| {
        let payload = format!("{{{}\"user\":\"U1\",\"time\":1,\"computer\":\"C1\"}}", samples::members(n)).into_bytes();
        let payload = damaged(payload, &damages);
        let record = Record { payload, partition_key: "U1".to_owned(), arrival: 0, place: (0, 0), form: Form::Wire };
        let settings = Settings { event_model: 2, ..Settings::default() };
        if let Some((.., attributes, of_record)) = engine(&settings, &record) {
            found.set(found.get() + attributes.len());
            dropped.set(dropped.get() + of_record);
        }
        agree(&settings, &record)
    });
    assert!(found.get() > 1_000 && dropped.get() > 1_000, "{found:?} {dropped:?}");
}

#[test]
fn damaged_payloads_are_read_alike() {
    let cases = (prop_oneof![file_case(), stream_case()], vec(vec(damage(), 1..4), 1..40));
    random::check(400, &cases, |(case, damages)| {
        for (record, damages) in records(&case).filter(|record| record.payload.len() < 1_000).zip(&damages) {
            let payload = damaged(record.payload.clone(), damages);
            agree(&case.settings, &Record { payload, ..record.clone() })?;
        }
        Ok(())
    });
}

#[test]
fn what_is_broken_and_then_damaged_is_read_alike() {
    let broken: Vec<_> = all_broken("U1").into_iter().filter(|(payload, ..)| payload.len() < 1_000).collect();
    let cases = (proptest::sample::select(broken), vec(damage(), 0..4));
    random::check(20_000, &cases, |((payload, partition_key, form), damages)| {
        let payload = damaged(payload, &damages);
        agree(&Settings::default(), &Record { payload, partition_key, arrival: 0, place: (0, 0), form })
    });
}

fn all_broken(user: &str) -> Vec<(Vec<u8>, String, Form)> {
    let lines = broken::lines(user).into_iter().map(|line| (line, String::new(), Form::Line));
    let records = broken::records(user).into_iter().map(|(payload, key)| (payload, key, Form::Wire));
    lines.chain(records).collect()
}
