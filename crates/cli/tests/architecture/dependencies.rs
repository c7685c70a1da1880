//! Which crate may depend on which, and what a build compiles.

use crate::{crates, output};
use std::collections::BTreeSet;

/// Each crate, and the crates of this workspace that it may depend on. A crate depends only on crates further down in this list.
const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    (
        "authpulse",
        &[
            "authpulse-event",
            "authpulse-engine",
            "authpulse-stream",
            "authpulse-lake",
            "authpulse-lease",
            "authpulse-files",
            "authpulse-settings",
            "authpulse-journal",
            "authpulse-worker",
            "authpulse-service",
            "authpulse-audit",
            "authpulse-producer",
            "authpulse-aws",
            "authpulse-kinesis",
        ],
    ),
    (
        "authpulse-simulation",
        &[
            "authpulse-event",
            "authpulse-engine",
            "authpulse-stream",
            "authpulse-lake",
            "authpulse-lease",
            "authpulse-settings",
            "authpulse-journal",
            "authpulse-worker",
            "authpulse-service",
            "authpulse-kinesis",
            "kpl-aggregation",
        ],
    ),
    (
        "authpulse-audit",
        &[
            "authpulse-event",
            "authpulse-engine",
            "authpulse-stream",
            "authpulse-lake",
            "authpulse-lease",
            "authpulse-journal",
        ],
    ),
    (
        "authpulse-service",
        &[
            "authpulse-event",
            "authpulse-engine",
            "authpulse-stream",
            "authpulse-lake",
            "authpulse-lease",
            "authpulse-files",
            "authpulse-settings",
            "authpulse-journal",
            "authpulse-worker",
            "authpulse-producer",
        ],
    ),
    (
        "authpulse-worker",
        &[
            "authpulse-event",
            "authpulse-engine",
            "authpulse-stream",
            "authpulse-lake",
            "authpulse-files",
            "authpulse-settings",
            "authpulse-journal",
        ],
    ),
    (
        "authpulse-journal",
        &[
            "authpulse-event",
            "authpulse-engine",
            "authpulse-stream",
            "authpulse-lake",
            "authpulse-lease",
            "authpulse-files",
            "authpulse-settings",
        ],
    ),
    ("authpulse-settings", &["authpulse-event", "authpulse-engine", "authpulse-lake", "authpulse-lease"]),
    ("authpulse-producer", &["authpulse-event", "authpulse-stream", "authpulse-files"]),
    ("authpulse-files", &["authpulse-event"]),
    ("authpulse-aws", &["authpulse-event", "authpulse-lake", "authpulse-aws-client"]),
    (
        "authpulse-kinesis",
        &["authpulse-event", "authpulse-stream", "authpulse-lease", "authpulse-aws-client", "kpl-aggregation"],
    ),
    ("authpulse-aws-client", &[]),
    ("authpulse-lake", &["authpulse-event", "authpulse-engine", "authpulse-sqlite"]),
    ("authpulse-lease", &["authpulse-event", "authpulse-sqlite"]),
    ("authpulse-stream", &["authpulse-event", "authpulse-sqlite"]),
    ("authpulse-sqlite", &["authpulse-event"]),
    ("authpulse-engine", &["authpulse-event"]),
    ("authpulse-event", &[]),
    ("authpulse-oracle", &[]),
    ("kpl-aggregation", &[]),
];

#[test]
fn dependencies_point_one_way() {
    let crates = crates();
    let known: BTreeSet<&str> = MAY_DEPEND_ON.iter().map(|(name, _)| *name).collect();
    let found: BTreeSet<&str> = crates.keys().map(String::as_str).collect();
    assert_eq!(found, known, "each crate has its place in MAY_DEPEND_ON");
    let mut faults = Vec::new();
    for (name, allowed) in MAY_DEPEND_ON {
        for (dependency, kind) in &crates[*name] {
            // The oracle serves the tests of any crate, and nothing that is shipped. Tests of the service audit what it wrote.
            let in_test = kind == "dev"
                && (dependency == "authpulse-oracle"
                    || (*name == "authpulse-service" && dependency == "authpulse-audit"));
            if known.contains(dependency.as_str()) && !allowed.contains(&dependency.as_str()) && !in_test {
                faults.push(format!("{name} must not depend on {dependency}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_default_build_has_nothing_of_aws_in_it() {
    let of_program = |more: &[&str]| tree(&[&["--package", "authpulse", "--edges", "normal,build"], more].concat());
    let clouds = |tree: &str| -> BTreeSet<String> {
        let names = tree.lines().filter_map(|line| line.split(' ').next());
        let is_cloud = |name: &&str| {
            name.starts_with("aws-")
                || ["authpulse-aws", "authpulse-aws-client", "authpulse-kinesis", "rustls", "hyper-rustls", "opendal"]
                    .contains(name)
        };
        names.filter(is_cloud).map(str::to_owned).collect()
    };
    assert_eq!(clouds(&of_program(&[])), BTreeSet::new(), "only the feature `aws` may bring these");
    // The same question finds them in the build that has them.
    let with = clouds(&of_program(&["--features", "aws"]));
    for name in ["authpulse-aws", "authpulse-kinesis", "aws-sdk-s3", "aws-sdk-kinesis", "aws-sdk-dynamodb", "rustls"] {
        assert!(with.contains(name), "{name} is not among {with:?}");
    }
}

/// The packages of a build, one a line, each with its features.
fn tree(more: &[&str]) -> String {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let words = ["tree", "--offline", "--locked", "--prefix", "none", "--no-dedupe", "--format", "{p} [{f}]"];
    output(&cargo, &[&words[..], more].concat())
}

/// The packages of a build that are not of this workspace.
fn compiled(more: &[&str]) -> BTreeSet<String> {
    let tree = tree(more);
    let of_here = ["authpulse", "kpl-aggregation"];
    let lines = tree.lines().map(|line| line.trim_end_matches(" (*)"));
    lines.filter(|line| !of_here.iter().any(|name| line.starts_with(name))).map(str::to_owned).collect()
}

#[test]
fn builds_share_what_they_compile() {
    let default = compiled(&["--package", "authpulse", "--edges", "normal,build"]);
    let with_aws = compiled(&["--package", "authpulse", "--features", "aws", "--edges", "normal,build"]);
    let tests = compiled(&["--workspace", "--features", "authpulse/aws", "--edges", "normal,build,dev"]);
    assert!(
        default.len() > 100 && default.len() < with_aws.len(),
        "{} packages, with AWS {}",
        default.len(),
        with_aws.len()
    );
    for (smaller, larger, who) in [(&default, &with_aws, "AWS"), (&with_aws, &tests, "the tests")] {
        let twice: Vec<&String> = smaller.difference(larger).collect();
        assert!(
            twice.is_empty(),
            "the build with {who} would compile these once more, with other features: give them those features for their own sake, \
             beside `futures-sink` in Cargo.toml: {twice:#?}"
        );
    }
}
