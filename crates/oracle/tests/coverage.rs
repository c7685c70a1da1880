//! The random cases reach every rule and every limit of the page.

use authpulse_oracle::cases::{Case, file_bytes, file_case, stream_case};
use authpulse_oracle::{Coverage, Edge, Step, evaluate, parse, split_lines};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use std::collections::{BTreeMap, BTreeSet};

const CASES: u32 = 600;

fn cover(strategy: impl Strategy<Value = Case>) -> Coverage {
    let mut runner = TestRunner::deterministic();
    let mut coverage = Coverage::default();
    for _ in 0..CASES {
        let case = strategy.new_tree(&mut runner).expect("a case").current();
        let outcome = evaluate(&case.settings, &case.shards);
        let records = case.shards.iter().flat_map(|shard| &shard.steps);
        let received = records.filter(|step| matches!(step, Step::Record(_))).count();
        assert_eq!(outcome.received(), received, "nothing is lost");
        coverage.add(&outcome);
    }
    coverage
}

#[test]
fn files_reach_every_edge_of_a_file() {
    let coverage = cover(file_case());
    assert_eq!(coverage.rare(Edge::of_files()), [], "{coverage:#?}");
}

#[test]
fn streams_reach_every_edge() {
    let coverage = cover(stream_case());
    assert_eq!(coverage.rare(Edge::ALL.iter().copied()), [], "{coverage:#?}");
}

/// What a payload holds that events may have although RFC 8259, or the common form of RFC 3339, does not allow it.
fn oddities(payload: &[u8]) -> Vec<&'static str> {
    let holds = |part: &[u8]| payload.windows(part.len()).any(|window| window == part);
    // In a shape, `d` stands for a digit and `?` for the end of a time.
    let shaped = |shape: &str| {
        let fits = |(byte, of): (&u8, u8)| match of {
            b'd' => byte.is_ascii_digit(),
            b'?' => b",\"".contains(byte),
            of => *byte == of,
        };
        payload.windows(shape.len()).any(|window| window.iter().zip(shape.bytes()).all(fits))
    };
    let found = [
        ("t", shaped("-ddtdd:")),
        ("z", shaped("dz?")),
        ("a space for T", shaped("-dd dd:")),
        ("an offset without colon", shaped("+dddd?") || shaped("-dddd?")),
        ("a comma before the fraction", shaped(":dd,d") && payload[0] == b'{'),
        ("a leap second", shaped(":60?") || shaped(":60.d") || shaped(":60z")),
        ("a byte that begins no character", holds(b"\xFF")),
        ("a raw control character", holds(b"\x01")),
        ("an escape that there is not", holds(br"\x41")),
        ("no number", holds(b"NaN")),
    ];
    found.into_iter().filter_map(|(name, is)| is.then_some(name)).collect()
}

#[test]
fn events_are_written_in_every_way_that_is_read() {
    let mut runner = TestRunner::deterministic();
    let mut reached: BTreeMap<&str, u32> = BTreeMap::new();
    for at in 0..CASES {
        let case = if at % 2 == 0 { file_case().boxed() } else { stream_case().boxed() };
        let case = case.new_tree(&mut runner).expect("a case").current();
        let records = case.shards.iter().flat_map(|shard| &shard.steps).filter_map(|step| match step {
            Step::Record(record) => Some(record),
            _ => None,
        });
        let events = records.filter(|record| parse(&case.settings, record).is_some());
        let odd: BTreeSet<&str> = events.flat_map(|record| oddities(&record.payload)).collect();
        odd.into_iter().for_each(|name| *reached.entry(name).or_default() += 1);
    }
    assert_eq!(reached.len(), 10, "{reached:?}");
    assert!(reached.values().all(|cases| cases * 100 >= CASES), "{reached:?}");
}

proptest! {
    #![proptest_config(Config { cases: 200, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_file_reads_back_as_its_payloads(case in file_case(), style in any::<u64>()) {
        let payloads: Vec<Vec<u8>> = case.shards[0].steps.iter().filter_map(|step| match step {
            Step::Record(record) => Some(record.payload.clone()),
            _ => None,
        }).collect();
        prop_assert_eq!(split_lines(&file_bytes(&payloads, style)), payloads);
    }
}
