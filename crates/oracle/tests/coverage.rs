//! The random cases reach every rule and every edge of the page.

use authpulse_oracle::cases::{Case, file_bytes, file_case, stream_case};
use authpulse_oracle::{Coverage, Edge, Step, evaluate, split_lines};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

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
