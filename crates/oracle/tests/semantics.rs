//! The oracle gives the answers that were computed by hand; also small facts that are not in the table of cases.

use std::collections::BTreeSet;

use authpulse_oracle::admission::Admission;
use authpulse_oracle::calendar::format_utc;
use authpulse_oracle::cases::{file_case, stream_case};
use authpulse_oracle::spellings::{self, Read};
use authpulse_oracle::{
    Form, Record, Settings, Shard, Step, WHOLE_RING, days_closed_at, evaluate, fixed, hours_closed_at, parse,
    split_lines, split_lines_with_numbers,
};
use proptest::prelude::*;

#[test]
fn fixed_cases_have_the_answers_computed_by_hand() {
    let mut faults = Vec::new();
    for case in fixed::all() {
        let outcome = evaluate(&case.settings, &case.shards);
        let check = case.check(&outcome.curated, &outcome.rejected, &outcome.hourly, &outcome.daily, outcome.waiting);
        faults.extend(check.err());
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Words alone: how the page wraps and marks them says nothing.
fn words(text: &str) -> String {
    let lines = text.lines().map(|line| line.strip_prefix("> ").unwrap_or(line));
    let text = lines.collect::<Vec<_>>().join("\n").replace(['*', '`', '"'], "");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_fixed_case_tests_a_sentence_of_the_page() {
    let page = words(include_str!("../../../docs/semantics.md"));
    let is_there = |case: &&fixed::Fixed| page.contains(&words(case.sentence));
    let lost: Vec<_> =
        fixed::all().iter().filter(|case| !is_there(case)).map(|case| (case.name, case.sentence)).collect();
    assert!(lost.is_empty(), "the page does not say so: {lost:#?}");
}

#[test]
fn every_spelling_of_a_time_is_read_as_the_table_says() {
    let read = |payload: String, form| {
        let record =
            Record { payload: payload.into_bytes(), partition_key: String::new(), arrival: 0, place: (0, 0), form };
        parse(&Settings::default(), &record).map(|event| format_utc(event.time))
    };
    for spelling in spellings::ALL {
        for (payload, form, expected) in [
            (spelling.object("U1"), Form::Wire, spelling.json),
            (spelling.object("U1"), Form::Line, spelling.json),
            (spelling.as_line("U1"), Form::Line, spelling.line),
        ] {
            let instant = match expected {
                Read::At(instant) => Some(instant),
                Read::No(_) => None,
            };
            assert_eq!(read(payload, form).as_deref(), instant, "{spelling:?} as {form:?}");
        }
    }
}

#[test]
fn fixed_cases_have_names_of_their_own() {
    let all = fixed::all();
    let names: BTreeSet<&str> = all.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), all.len());
    assert!(all.len() >= 120, "{}", all.len());
}

#[test]
fn a_check_notices_what_differs() {
    for case in fixed::all() {
        let outcome = evaluate(&case.settings, &case.shards);
        let (mut curated, rejected) = (outcome.curated.clone(), outcome.rejected.clone());
        let check = |curated: &[_], rejected: &[_], waiting| {
            case.check(curated, rejected, &outcome.hourly, &outcome.daily, waiting)
        };
        check(&curated, &rejected, outcome.waiting).expect("the answer itself");
        assert!(check(&curated, &rejected, outcome.waiting + 1).is_err(), "{}", case.name);
        if !rejected.is_empty() {
            assert!(check(&curated, &rejected[1..], outcome.waiting).is_err(), "{}", case.name);
        }
        if let Some(at) = curated.iter().rposition(|row| !row.user_id.starts_with('O')) {
            curated.remove(at);
            assert!(check(&curated, &rejected, outcome.waiting).is_err(), "{}", case.name);
        }
    }
}

/// The worked example in section 2: arrival, event time, the watermark after it, and the decision.
#[test]
fn the_watermark_follows_arrival_where_clocks_are_ahead() {
    let example = [
        (1000, 1000, 700, "accepted"),
        (1010, 1308, 710, "accepted"),
        (1020, 1000, 710, "accepted"),
        (1030, 1331, 710, "future"),
        (1320, 1320, 1020, "accepted"),
        (1330, 1015, 1020, "late"),
    ];
    let settings = Settings::default();
    let script: String =
        (0..).zip(example).map(|(n, (arrival, time, ..))| format!("{time} U{n} C1 @{arrival}\n")).collect();
    let [shard] = &fixed::shards(&settings, &format!("shard s1\n{script}"))[..] else { panic!("one shard") };
    let mut admission = Admission::new(&settings, WHOLE_RING, true, &[]);
    for (step, (arrival, _, watermark, became)) in shard.steps.iter().zip(example) {
        let before = admission.history.accepted.len();
        admission.step(step);
        let rejected = admission.history.rejected.last().map_or("accepted", |rejected| rejected.reason);
        let told = if admission.history.accepted.len() > before { "accepted" } else { rejected };
        let found = admission.history.watermark.map(|it| (it - settings.base_micros) / 1_000_000);
        assert_eq!((found, told), (Some(watermark), became), "arrival {arrival}");
    }
}

#[test]
fn lines_are_split_as_the_page_says() {
    let cases: [(&[u8], &[&[u8]]); 16] = [
        (b"", &[]),
        (b"\n\n", &[]),
        (b"a", &[b"a"]),
        (b"a\n", &[b"a"]),
        (b"a\r\n", &[b"a"]),
        (b"a\r", &[b"a"]),
        (b"a\r\r\n", &[b"a\r"]),
        (b"a\rb\nc", &[b"a\rb", b"c"]),
        (b" \t\na\n\t\r\n\r", &[b"a"]),
        (b"\r\r\n", &[b"\r"]),
        (b"\xEF\xBB\xBFa\nb", &[b"a", b"b"]),
        (b"\xEF\xBB\xBF", &[]),
        (b"\xEF\xBB\xBF \n", &[]),
        (b"\xEF\xBB\xBF\xEF\xBB\xBFa", &[b"\xEF\xBB\xBFa"]),
        (b"a\n\xEF\xBB\xBFb", &[b"a", b"\xEF\xBB\xBFb"]),
        (b"\xEF\xBBa \n\xFF\x00", &[b"\xEF\xBBa ", b"\xFF\x00"]),
    ];
    for (file, lines) in cases {
        assert_eq!(split_lines(file), lines, "{}", file.escape_ascii());
    }
    let numbered = split_lines_with_numbers(b"\na\n \nb");
    assert_eq!(numbered, [(2, b"a".to_vec()), (4, b"b".to_vec())]);
}

#[test]
fn long_blank_lines_are_records() {
    let blank = |length: usize| vec![b' '; length];
    let long = 1_048_576;
    assert!(split_lines(&blank(long)).is_empty());
    assert_eq!(split_lines(&blank(long + 1)), [blank(long + 1)]);
    let around = |line: Vec<u8>| [b"\xEF\xBB\xBF".to_vec(), line, b"\r\n".to_vec()].concat();
    assert!(split_lines(&around(blank(long))).is_empty());
    assert_eq!(split_lines(&around(blank(long + 1))), [blank(long + 1)]);
}

#[test]
fn dead_letters_keep_64_kib_and_the_length() {
    for length in [1, 65_535, 65_536, 65_537, 200_000] {
        let record = Record {
            payload: vec![b'x'; length],
            partition_key: String::new(),
            arrival: 0,
            place: (0, 0),
            form: Form::Line,
        };
        let shard = Shard {
            id: "file".to_owned(),
            range: WHOLE_RING,
            parents: Vec::new(),
            live: false,
            steps: vec![Step::Record(record)],
        };
        let outcome = evaluate(&Settings::default(), &[shard]);
        let [rejected] = &outcome.rejected[..] else { panic!("one record") };
        assert_eq!(rejected.payload, vec![b'x'; length.min(65_536)]);
        assert_eq!(rejected.payload_bytes, i64::try_from(length).unwrap());
    }
}

#[test]
fn hours_and_days_are_written_when_the_watermark_is_at_their_end() {
    let case = fixed::all().into_iter().find(|case| case.name == "days_of_a_computer").expect("a case");
    let outcome = evaluate(&case.settings, &case.shards);
    let midnight = case.settings.base_micros + 86_400_000_000;
    let hours = |at| hours_closed_at(&outcome.hourly, |_| at).len();
    assert_eq!((hours(None), hours(Some(midnight - 1)), hours(Some(midnight))), (0, 0, 1));
    assert_eq!(hours(Some(midnight + 3_600_000_000)), outcome.hourly.len());
    let days = |at| days_closed_at(&outcome.daily, at).len();
    assert_eq!((days(None), days(Some(midnight - 1)), days(Some(midnight))), (0, 0, 1));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// The sums of the tables agree with the rows. (That the counts add up, and that two assignments of users give the same rows, is not
    /// tested here.)
    #[test]
    fn tables_add_up(case in prop_oneof![file_case(), stream_case()]) {
        let outcome = evaluate(&case.settings, &case.shards);
        let rows = i64::try_from(outcome.curated.len()).unwrap();
        prop_assert_eq!(outcome.hourly.iter().map(|row| row.total_logins).sum::<i64>(), rows);
        prop_assert_eq!(outcome.daily.iter().map(|row| row.total_logins).sum::<i64>(), rows);
        let score: i64 = outcome.curated.iter().map(|row| i64::from(row.risk_score)).sum();
        prop_assert_eq!(outcome.hourly.iter().map(|row| row.total_risk_score).sum::<i64>(), score);
        for row in &outcome.curated {
            prop_assert!(row.login_count_1h <= row.login_count_24h);
            prop_assert!(row.unique_computers_1h <= row.unique_computers_24h);
            prop_assert!(row.unique_computers_24h <= row.login_count_24h);
            prop_assert!((1..=100).contains(&row.risk_score) || row.risk_score == 0);
        }
        for (row, watermark) in outcome.curated.iter().map(|row| (row, outcome.watermarks[row.shard])) {
            // Section 2: the high-water mark, watermark + tolerance, may lie up to 300 s below the newest event accepted.
            let newest = watermark.expect("a shard that accepted") + (case.settings.tolerance + 300) * 1_000_000;
            prop_assert!(row.event_time <= newest);
        }
    }
}
