//! What pure means: crates that only compute.

use crate::{crates, files, shown};

/// Crates that only compute: the same input gives the same output, on any machine at any time.
const PURE: &[(&str, &str)] =
    &[("event", "authpulse-event"), ("engine", "authpulse-engine"), ("kpl", "kpl-aggregation")];

/// What pure crates may be built of: hashing, searching, hash tables, error texts.
const PURE_DEPENDENCIES: &[&str] =
    &["authpulse-event", "bytes", "foldhash", "hashbrown", "md-5", "memchr", "sha2", "thiserror"];

/// What sources of pure crates do not mention: clocks, files, networks, random numbers, output, runtimes.
const IMPURE_WORDS: &[&str] = &[
    "SystemTime",
    "Instant",
    "fs",
    "net",
    "env",
    "process",
    "thread",
    "io",
    "print",
    "println",
    "eprint",
    "eprintln",
    "dbg",
    "tracing",
    "log",
    "rand",
    "getrandom",
    "async",
    "await",
    "tokio",
    "futures",
];

#[test]
fn pure_crates_are_built_of_nothing_impure() {
    let crates = crates();
    for (_, name) in PURE {
        for (dependency, kind) in &crates[*name] {
            let allowed = kind == "dev" || PURE_DEPENDENCIES.contains(&dependency.as_str());
            assert!(allowed, "{name} only computes; may it depend on {dependency}? Then add that to PURE_DEPENDENCIES");
        }
    }
}

/// The words of a line of code, without those in comments and string literals.
fn words(line: &str) -> impl Iterator<Item = &str> {
    // `core::net` has addresses, but no network.
    let code = line.split("//").next().unwrap_or_default().trim_start_matches("use core::net::");
    let outside = code.split('"').step_by(2);
    outside.flat_map(|code| code.split(|c: char| !c.is_alphanumeric() && c != '_'))
}

#[test]
fn pure_crates_ask_nobody_for_time_chance_or_files() {
    let mut faults = Vec::new();
    for file in files() {
        let shown = shown(&file);
        let is_pure = PURE.iter().any(|(dir, _)| shown.starts_with(&format!("crates/{dir}/src/")));
        if !is_pure || file.extension().is_none_or(|e| e != "rs") {
            continue;
        }
        let source = std::fs::read_to_string(&file).expect("a source is text");
        for (number, line) in (1..).zip(source.lines()) {
            for word in words(line).filter(|word| IMPURE_WORDS.contains(word)) {
                faults.push(format!("{shown}:{number}: '{word}': {}", line.trim()));
            }
        }
    }
    assert!(faults.is_empty(), "these crates only compute; hand it in instead:\n{}", faults.join("\n"));
}
