//! What no file may hold, and how many lines it may have.

use crate::{files, shown};

/// Above this a file has more than one subject.
const LINES_MAX: usize = 700;
/// Above this it probably has more than one.
const LINES_MANY: usize = 600;

/// Lists of cases for the oracle. These files grow with the number of cases, not of subjects.
const CASES: &[&str] = &["crates/oracle/src/cases.rs", "crates/oracle/src/fixed/table.rs"];

#[test]
fn no_file_holds_paths_of_a_machine_or_unfinished_work() {
    // Put together here, so that this file does not hold them itself.
    let paths = ["home", "root", "work", "Users"].map(|dir| format!("/{dir}/"));
    let unfinished = ["TO DO", "FIX ME", "X XX", "unimple mented!", "to do!"].map(|word| word.replace(' ', ""));
    let mut faults = Vec::new();
    for file in files() {
        // A file that is not text is data.
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        for (number, line) in (1..).zip(text.lines()) {
            // Only where a path begins, not within a longer path or an address.
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
