//! House rules that the compiler does not know: which crate may know which, what pure means, what no file may hold.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each crate, and the crates of this workspace that it may depend on. Knowledge runs one way, from the top of this list down.
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
    ("authpulse-lake", &["authpulse-event", "authpulse-engine"]),
    ("authpulse-lease", &[]),
    ("authpulse-stream", &["authpulse-event"]),
    ("authpulse-engine", &["authpulse-event"]),
    ("authpulse-event", &[]),
    ("authpulse-oracle", &[]),
    ("kpl-aggregation", &[]),
];

/// Crates that only compute: the same input gives the same output, on any machine at any time.
const PURE: &[(&str, &str)] =
    &[("event", "authpulse-event"), ("engine", "authpulse-engine"), ("kpl", "kpl-aggregation")];

/// What pure crates may be built of: hashing, searching, hash tables, error texts.
const PURE_DEPENDENCIES: &[&str] =
    &["authpulse-event", "bytes", "foldhash", "hashbrown", "md-5", "memchr", "sha2", "thiserror"];

/// What sources of pure crates do not mention: clocks, files, networks, chance, output, runtimes.
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

/// Above this a file has more than one subject.
const LINES_MAX: usize = 700;
/// Above this it probably has.
const LINES_MANY: usize = 600;

/// Cases of the second opinion, one after another: these files grow with their number, not with their subjects.
const CASES: &[&str] = &["crates/oracle/src/cases.rs", "crates/oracle/src/fixed/table.rs"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace is above this crate").to_owned()
}

/// What a program prints, run in the workspace's root.
fn output(program: &str, words: &[&str]) -> String {
    let ran = Command::new(program).args(words).current_dir(root()).output();
    let ran = ran.unwrap_or_else(|e| panic!("{program} cannot be run: {e}"));
    assert!(ran.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).expect("text")
}

/// The workspace's crates: name, and (dependency, kind), where the kind of a normal one is empty.
fn crates() -> BTreeMap<String, Vec<(String, String)>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let text = output(&cargo, &["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&text).expect("cargo metadata is JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    list(&metadata["packages"])
        .iter()
        .map(|package| {
            let dependencies = list(&package["dependencies"]);
            (text(&package["name"]), dependencies.iter().map(|d| (text(&d["name"]), text(&d["kind"]))).collect())
        })
        .collect()
}

/// The repository's own files: known to git or about to be, and not ignored.
fn files() -> Vec<PathBuf> {
    let listed = output("git", &["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let root = root();
    let files: Vec<PathBuf> = listed.split('\0').filter(|f| !f.is_empty()).map(|f| root.join(f)).collect();
    files.into_iter().filter(|f| f.is_file()).collect()
}

fn shown(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}

#[test]
fn dependencies_point_one_way() {
    let crates = crates();
    let known: BTreeSet<&str> = MAY_DEPEND_ON.iter().map(|(name, _)| *name).collect();
    let found: BTreeSet<&str> = crates.keys().map(String::as_str).collect();
    assert_eq!(found, known, "each crate has its place in MAY_DEPEND_ON");
    let mut faults = Vec::new();
    for (name, allowed) in MAY_DEPEND_ON {
        for (dependency, kind) in &crates[*name] {
            // The second opinion serves tests of any crate, and nothing that is shipped; what a service has written is audited.
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
    // The same question finds them where they are.
    let with = clouds(&of_program(&["--features", "aws"]));
    for name in ["authpulse-aws", "authpulse-kinesis", "aws-sdk-s3", "aws-sdk-kinesis", "aws-sdk-dynamodb", "rustls"] {
        assert!(with.contains(name), "{name} is not among {with:?}");
    }
}

/// The packages of a build, one a line, each with a set of features.
fn tree(more: &[&str]) -> String {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let words = ["tree", "--offline", "--locked", "--prefix", "none", "--no-dedupe", "--format", "{p} [{f}]"];
    output(&cargo, &[&words[..], more].concat())
}

/// Those from elsewhere.
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

/// The words of a line of code, without what a comment or a string literal holds.
fn words(line: &str) -> impl Iterator<Item = &str> {
    // `core` has addresses and no network.
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

#[test]
fn no_file_holds_paths_of_a_machine_or_unfinished_work() {
    // Put together here, so that this file does not hold them either.
    let paths = ["home", "root", "work", "Users"].map(|dir| format!("/{dir}/"));
    let unfinished = ["TO DO", "FIX ME", "X XX", "unimple mented!", "to do!"].map(|word| word.replace(' ', ""));
    let mut faults = Vec::new();
    for file in files() {
        // What is not text is data.
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        for (number, line) in (1..).zip(text.lines()) {
            // The beginning of a path, and no part of a longer one or of an address.
            let begins = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-~}".contains(c));
            let path = paths.iter().find(|path| line.match_indices(path.as_str()).any(|(at, _)| begins(at)));
            let word = unfinished.iter().find(|word| line.contains(word.as_str()));
            if let Some(what) = path.or(word) {
                faults.push(format!("{}:{number}: {what}", shown(&file)));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn sources_have_one_subject_each() {
    let mut faults = Vec::new();
    for file in files() {
        let shown = shown(&file);
        if !shown.starts_with("crates/") || !shown.contains("/src/") || !shown.ends_with(".rs") {
            continue;
        }
        let lines = std::fs::read_to_string(&file).expect("a source is text").lines().count();
        if lines > LINES_MAX && !CASES.contains(&shown.as_str()) {
            faults.push(format!("{shown} has {lines} lines, more than {LINES_MAX}"));
        } else if lines > LINES_MANY {
            eprintln!("{shown} has {lines} lines: one subject still?");
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// What is wrong with the `#[error(…)]` attributes of a source: words that contain the error beneath, which the chain prints again.
fn repeated_causes(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for part in text.split("#[error(").skip(1) {
        let (words, rest) = part.split_once(")]").expect("an attribute ends");
        let variant = rest.split("\n}").next().unwrap_or_default();
        let mut beneath = vec!["source".to_owned()];
        for mark in ["#[source]", "#[from]"] {
            for after in variant.split(mark).skip(1) {
                let name: String =
                    after.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                // A field without a name is the first one: no variant here has two.
                let named = after.trim_start()[name.len()..].starts_with(':');
                beneath.push(if named { name } else { "0".to_owned() });
            }
        }
        let repeated = beneath.iter().any(|name| words.contains(&format!("{{{name}}}")));
        if repeated {
            faults.push(words.trim().to_owned());
        }
    }
    faults
}

#[test]
fn an_error_leaves_its_cause_to_the_chain() {
    assert_eq!(repeated_causes("#[error(\"a: {source}\")]\n A { source: B },").len(), 1);
    assert_eq!(repeated_causes("#[error(\"a: {cause}\")]\n A {\n #[source]\n cause: B },").len(), 1);
    assert_eq!(repeated_causes("#[error(\"a: {0}\")]\n A(#[from] B),").len(), 1);
    assert_eq!(repeated_causes("#[error(\"{0}\")]\n A(String),\n #[error(transparent)]\n A(#[from] B),").len(), 0);
    let mut faults = Vec::new();
    for file in files() {
        let shown = shown(&file);
        if shown.starts_with("crates/") && shown.contains("/src/") && shown.ends_with(".rs") {
            let text = std::fs::read_to_string(&file).expect("a source is text");
            faults.extend(repeated_causes(&text).iter().map(|words| format!("{shown}: {words}")));
        }
    }
    assert!(faults.is_empty(), "the program prints the chain of causes itself:\n{}", faults.join("\n"));
}

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
