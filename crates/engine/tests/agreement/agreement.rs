//! Engine and oracle give the same rows, however the run goes.

use crate::random;
use crate::schedule::{Schedule, schedule};
use crate::service::{Answer, Check, Deed, run};
use authpulse_oracle::cases::{Case, file_case, stream_case};
use authpulse_oracle::{Coverage, Edge, Outcome, Settings, Step, evaluate, fixed};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// Schedules under which each fixed case is run.
const SCHEDULES: usize = 24;
/// With this many cases, every edge must have been reached often enough.
const ENOUGH_CASES: u64 = 500;

#[test]
fn fixed_cases_have_the_answers_computed_by_hand() {
    let mut runner = TestRunner::deterministic();
    let mut schedules = vec![Schedule::CALM];
    schedules.extend((1..SCHEDULES).map(|_| schedule().new_tree(&mut runner).expect("a schedule").current()));
    let mut faults = Vec::new();
    for fixed in fixed::all() {
        let case = Case { settings: fixed.settings.clone(), shards: fixed.shards.clone() };
        for schedule in &schedules {
            let answer = match run(&case, schedule) {
                Ok(answer) => answer,
                Err(error) => {
                    faults.push(format!("{} with {schedule:?}: {error}", fixed.name));
                    break;
                }
            };
            let Answer { curated, rejected, hourly, daily, waiting, .. } = answer;
            if let Err(fault) = fixed.check(&curated, &rejected, &hourly, &daily, waiting) {
                faults.push(format!("with {schedule:?} {fault}"));
                break;
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn files() {
    agree_on(2_500, file_case(), Edge::of_files(), &Deed::ALONE);
}

#[test]
fn streams() {
    agree_on(2_500, stream_case(), Edge::ALL.iter().copied(), &[&Deed::ALONE[..], &Deed::OF_CHILDREN].concat());
}

/// Attributes change neither what is an event, nor what is accepted, nor its score: the other columns are as in the first model.
#[test]
fn what_events_carry_changes_nothing_else() {
    let carried = RefCell::new(0);
    random::check(400, &(prop_oneof![file_case(), stream_case()], schedule()), |(case, schedule)| {
        let under = |event_model| {
            let settings = Settings { event_model, ..case.settings.clone() };
            run(&Case { settings, shards: case.shards.clone() }, &schedule)
        };
        let (first, mut second) = (under(1)?, under(2)?);
        prop_assert!(first.curated.iter().all(|row| row.attributes.is_empty()), "the first model knows none");
        for row in &mut second.curated {
            *carried.borrow_mut() += std::mem::take(&mut row.attributes).len();
        }
        same("curated", first.curated, second.curated)?;
        same("rejected", first.rejected, second.rejected)?;
        same("hourly", first.hourly, second.hourly)?;
        same("daily", first.daily, second.daily)?;
        prop_assert_eq!(first.waiting, second.waiting, "what still waits");
        Ok(())
    });
    let carried = carried.into_inner();
    assert!(carried > 200, "{carried}");
}

fn agree_on(cases: u32, strategy: impl Strategy<Value = Case>, edges: impl Iterator<Item = Edge>, deeds: &[Deed]) {
    let coverage = RefCell::new(Coverage::default());
    let done = RefCell::new(BTreeMap::<Deed, u64>::new());
    random::check(cases, &(strategy, schedule()), |(case, schedule)| {
        let outcome = evaluate(&case.settings, &case.shards);
        coverage.borrow_mut().add(&outcome);
        let answer = run(&case, &schedule)?;
        answer.deeds.iter().for_each(|deed| *done.borrow_mut().entry(*deed).or_default() += 1);
        agree(&case, &outcome, answer)
    });
    let (coverage, done) = (coverage.into_inner(), done.into_inner());
    println!("{} cases, of which so many reached: {:?} {done:?}", coverage.cases, coverage.reached);
    if coverage.cases >= ENOUGH_CASES {
        assert_eq!(coverage.rare(edges), [], "{coverage:#?}");
        let often = |deed: &Deed| done.get(deed).is_some_and(|cases| cases * 100 >= coverage.cases);
        assert!(deeds.iter().all(often), "{done:#?} of {}", coverage.cases);
    }
}

/// The service wrote exactly the rows that the oracle finds.
pub fn agree(case: &Case, outcome: &Outcome, answer: Answer) -> Check {
    let mut curated = outcome.curated.clone();
    // The shard that wrote a row is no column, so it is not compared.
    curated.iter_mut().for_each(|row| row.shard = 0);
    same("curated", curated, answer.curated)?;
    same("rejected", outcome.rejected.clone(), answer.rejected)?;
    same("hourly", outcome.hourly.clone(), answer.hourly)?;
    same("daily", outcome.daily.clone(), answer.daily)?;
    prop_assert_eq!(outcome.waiting, answer.waiting, "what still waits");
    prop_assert_eq!(&outcome.watermarks, &answer.watermarks, "watermarks");
    let steps = case.shards.iter().flat_map(|shard| &shard.steps);
    let received = steps.filter(|step| matches!(step, Step::Record(_))).count();
    prop_assert_eq!(received, outcome.received(), "nothing is lost");
    Ok(())
}

fn same<T: Ord + Debug>(table: &str, mut expected: Vec<T>, mut found: Vec<T>) -> Check {
    expected.sort();
    found.sort();
    if expected == found {
        return Ok(());
    }
    let missing = without(&expected, &found);
    let other = without(&found, &expected);
    Err(TestCaseError::fail(format!("{table}: missing {missing:#?}, instead {other:#?}")))
}

/// The items of the sorted list `all` that are not in the sorted list `but`. Repeated items count each time.
fn without<'a, T: Ord>(all: &'a [T], but: &[T]) -> Vec<&'a T> {
    let mut but = but.iter().peekable();
    let mut left = Vec::new();
    for row in all {
        while but.next_if(|other| *other < row).is_some() {}
        if but.next_if(|other| *other == row).is_none() {
            left.push(row);
        }
    }
    left
}
