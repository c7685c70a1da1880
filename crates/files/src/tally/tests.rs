//! Which files are named in warnings, and in which words.

use super::*;
use crate::BlockKind;
use authpulse_event::time::DEFAULT_BASE;
use authpulse_event::{Reading, parse_line};
use bytes::Bytes;

/// Files of lines, each with the reason for which it is rejected.
fn tally(files: &[&[(&str, &str)]], order: &[usize]) -> Tally {
    let mut tally = Tally::new((0..files.len()).map(|file| format!("f{file}.txt")).collect());
    let mut number = 1;
    for file in order {
        for (line, reason) in files[*file] {
            let block = LineBlock {
                bytes: Bytes::copy_from_slice(line.as_bytes()),
                source: *file,
                first_line: number,
                first_line_in_source: 1,
                line_count: 1,
                offset: 0,
                kind: BlockKind::Lines,
                origins: None,
            };
            tally.lines(&block, 1);
            let parsed = parse_line(line.as_bytes(), Reading::three_fields(DEFAULT_BASE));
            if let Ok(event) = &parsed {
                tally.event(event);
            }
            if !reason.is_empty() {
                tally.rejected(number, reason, &parsed.map_or_else(|invalid| invalid.to_string(), |_| String::new()));
            }
            number += 1;
        }
    }
    tally
}

#[test]
fn a_file_most_of_which_is_rejected_for_one_reason_is_named() {
    let (good, bad) = (("1,U1,C1", ""), ("1,U1", "invalid"));
    for (what, lines, words) in [
        ("all good", vec![good; 4], None),
        ("half bad", vec![good, bad, good, bad], None),
        (
            "most bad",
            vec![good, bad, bad],
            Some(
                "f0.txt: 2 of 3 records (66 %) are rejected as invalid; most often: 2 comma-separated fields; a line has",
            ),
        ),
        (
            "most late",
            vec![("1,U1,C1", "late"); 3],
            Some(
                "(100 %) are rejected as late; lines lie behind others that are newer by more than the tolerance: load the files into another lake with `authpulse backfill --sort`",
            ),
        ),
        ("most again", vec![("1,U1,C1", "duplicate"); 3], Some("as duplicate; they repeat events")),
        ("most ahead", vec![("1,U1,C1", "future"); 3], Some("`base`")),
        ("of all kinds", vec![("1,U1,C1", "future"), bad, ("1,U1,C1", "late")], None),
        ("of nothing", vec![], None),
    ] {
        let told = tally(&[&lines], &[0]).warnings();
        assert_eq!(told.len(), usize::from(words.is_some()), "{what}: {told:?}");
        assert!(words.is_none_or(|words| told[0].contains(words)), "{what}: {told:?}");
    }
}

#[test]
fn each_file_of_a_run_counts_by_itself() {
    let (good, bad) = (("1,U1,C1", ""), ("1,U1", "invalid"));
    let files: [&[(&str, &str)]; 3] = [&[good; 5], &[bad, bad, good], &[good; 9]];
    let told = tally(&files, &[0, 1, 2]).warnings();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("f1.txt: 2 of 3"), "{told:?}");
    // Mixed in order of time, lines have no file that could be named.
    let told = tally(&[&[bad; 3], &[bad; 2]], &[0, 1, 0]).warnings();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("the files of this run: 8 of 8"), "{told:?}");
    let two = [bad; 2];
    let many: Vec<&[(&str, &str)]> = vec![&two; 30];
    let told = tally(&many, &(0..30).collect::<Vec<_>>()).warnings();
    assert!(told.len() == FILES_LISTED + 1 && told[FILES_LISTED].contains("10 more of 30 files"), "{told:?}");
}

#[test]
fn files_that_overlap_are_told_with_the_share_that_was_late() {
    let files: [&[(&str, &str)]; 3] = [
        &[("1,U1,C1", ""), ("900,U1,C1", "")],
        &[("700,U1,C1", ""), ("500,U2,C1", "late"), ("950,U3,C1", ""), ("960,U3,C1", "")],
        // In order behind the others; that its own lines are out of order does not count as an overlap of files.
        &[("990,U1,C1", ""), ("400,U1,C1", "late"), ("995,U1,C1", "")],
    ];
    let told = tally(&files, &[0, 1, 2]).warnings();
    assert_eq!(told.len(), 1, "{told:?}");
    for words in ["f1.txt: 1 of 4 records (25 %) are late", "overlap", "--sort"] {
        assert!(told[0].contains(words), "{told:?}");
    }
}

#[test]
fn the_commonest_words_are_told_as_they_stand() {
    let lines = [("1,U\u{7f},C1", "invalid"), ("1,U1", "invalid"), ("2,U1", "invalid"), ("0,U1,C1", "invalid")];
    let told = tally(&[&lines], &[0]).warnings();
    assert!(told[0].contains("a line has exactly three"), "{told:?}");
    assert_eq!(without_figures("not UTF-8 from byte 1234 on"), "not UTF-N from byte N on");
}
