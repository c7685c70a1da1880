//! Random tests that try the same cases each time unless `AUTHPULSE_SEED` says otherwise.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use std::fmt::Debug;

/// Checks random values, `cases` of them or as many as `AUTHPULSE_CASES` says, and shrinks the first that fails.
pub fn check<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(S::Value) -> Result<(), TestCaseError>)
where
    S::Value: Debug,
{
    let cases = from_environment("AUTHPULSE_CASES").map_or(cases, |n| u32::try_from(n).expect("a number of cases"));
    let seed = from_environment("AUTHPULSE_SEED").unwrap_or(0);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 50_000, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    match runner.run(strategy, test) {
        Ok(()) => {}
        Err(TestError::Fail(reason, value)) => panic!("{reason}\nwith {value:#?}"),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, which is no number")))
}
