//! The targets of log lines.

use crate::{files, shown};
use std::collections::BTreeSet;

/// Log targets that operators may filter by, and that are older than the crates which write them.
const TARGETS_KEPT: &[&str] = &[
    "authpulse_consumer::aside",
    "authpulse_consumer::columns",
    "authpulse_consumer::committer",
    "authpulse_consumer::drive",
    "authpulse_consumer::follow::registered",
    "authpulse_consumer::follow::tables",
    "authpulse_consumer::lease_keeper",
    "authpulse_consumer::log",
    "authpulse_consumer::redrive",
    "authpulse_consumer::restore",
    "authpulse_consumer::service",
    "authpulse_consumer::sink",
    "authpulse_consumer::worker",
    "authpulse_consumer::worker::landing",
    "authpulse_consumer::worker::told",
];

#[test]
fn log_targets_stay_what_filters_name() {
    let (mut targets, mut faults) = (BTreeSet::new(), Vec::new());
    for file in files() {
        let shown = shown(&file);
        let kept = ["journal", "worker", "service", "audit", "settings"];
        if !kept.iter().any(|dir| shown.starts_with(&format!("crates/{dir}/src/"))) || !shown.ends_with(".rs") {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("a source is text");
        targets.extend(
            text.lines().filter_map(|line| {
                line.strip_prefix("const TARGET: &str = \"")?.strip_suffix("\";").map(str::to_owned)
            }),
        );
        for level in ["error", "warn", "info", "debug", "trace"] {
            let call = format!("tracing::{level}!(");
            if text.split(call.as_str()).skip(1).any(|call| !call.trim_start().starts_with("target: TARGET,")) {
                faults.push(shown.clone());
            }
        }
    }
    assert_eq!(targets, TARGETS_KEPT.iter().map(|target| (*target).to_owned()).collect());
    assert!(faults.is_empty(), "these log without naming their target: {faults:#?}");
}
