//! The engine's parser and the oracle's, of which neither knows the other.

use crate::damage::{damage, damaged};
use crate::random;
use crate::service::Check;
use authpulse_event::id::{canonical_line, content_id};
use authpulse_event::{EventIdRef, parse_line, parse_record};
use authpulse_oracle::cases::{Case, file_case, stream_case};
use authpulse_oracle::{Form, Record, Settings, Step, broken, parse};
use proptest::collection::vec;
use proptest::prelude::*;

/// Time, user, computer and id of a valid event.
type Seen = (i64, String, String, String);

fn engine(settings: &Settings, record: &Record) -> Option<Seen> {
    let base = settings.base_micros;
    let event = match record.form {
        Form::Line => parse_line(&record.payload, base),
        Form::Wire => parse_record(&record.payload, record.partition_key.as_bytes(), base),
    };
    let event = event.ok()?;
    let id = match event.id() {
        EventIdRef::Own(id) => id.to_owned(),
        EventIdRef::Content(form) => {
            let mut line = Vec::new();
            canonical_line(&mut line, base, event.time, form, &event.user, &event.computer);
            content_id(&line).map(char::from).iter().collect()
        }
    };
    Some((event.time, event.user.into_owned(), event.computer.into_owned(), id))
}

fn oracle(settings: &Settings, record: &Record) -> Option<Seen> {
    parse(settings, record).map(|event| (event.time, event.user, event.computer, event.id))
}

fn agree(settings: &Settings, record: &Record) -> Check {
    prop_assert_eq!(engine(settings, record), oracle(settings, record), "{:?}", record);
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

#[test]
fn generated_payloads_are_read_alike() {
    random::check(400, &prop_oneof![file_case(), stream_case()], |case| {
        records(&case).try_for_each(|record| agree(&case.settings, record))
    });
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
