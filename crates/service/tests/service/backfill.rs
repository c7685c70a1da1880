//! Loading files: which run continues with which files, how a run is given up, and lines that are sorted first.

use crate::small_lake::audit::{expect, report};
use crate::small_lake::{SmallLake, lines, options};
use authpulse_audit::status::status;
use authpulse_event::ProcessingTime;
use authpulse_event::time::{DEFAULT_BASE, SECOND};
use authpulse_files::{InputError, Source};
use authpulse_journal::{ConsumerError, Env};
use authpulse_lake::Table;
use authpulse_lake::entry::{Backfill, Entry};
use authpulse_service::backfill::{BackfillRequest, Sorting, prepare, prepare_giving_up, refuse_disorder};
use authpulse_service::committer::commit_all;
use authpulse_settings::Options;
use authpulse_worker::worker::StepOutcome;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

/// An entry for every stride of 1,024 lines.
fn many_entries() -> Arc<Options> {
    Arc::new(Options { entry_bytes: 1, ..(*options()).clone() })
}

fn request(files: &[PathBuf]) -> BackfillRequest {
    BackfillRequest::new(files.iter().cloned().map(Source::File).collect())
}

fn sorting(lake: &SmallLake) -> Option<Sorting> {
    Some(Sorting { dir: lake.dir.path().join("lake"), progress: Arc::new(|_| ()) })
}

/// Steps a run so many times, or to its end.
async fn steps(env: &Env, options: &Arc<Options>, request: &BackfillRequest, steps: u32) -> Result<(), ConsumerError> {
    let mut run = prepare(env, options.clone(), request).await?;
    for _ in 0..steps {
        if run.worker.step().await? == StepOutcome::Done {
            break;
        }
    }
    Ok(())
}

async fn load(env: &Env, options: &Arc<Options>, request: &BackfillRequest) -> Result<(), ConsumerError> {
    steps(env, options, request, u32::MAX).await
}

async fn give_up(env: &Env) -> Result<(), ConsumerError> {
    let mut run = prepare_giving_up(env, options()).await?;
    while run.worker.step().await? != StepOutcome::Done {}
    Ok(())
}

async fn last(lake: &SmallLake) -> (Entry, Backfill) {
    let tail = lake.entries("file").await.pop().unwrap();
    let backfill = tail.backfill.clone().unwrap();
    (tail, backfill)
}

/// The error with which an attempt was refused; it must contain all of these words.
fn refused(outcome: Result<(), ConsumerError>, words: &[&str]) -> ConsumerError {
    let error = outcome.expect_err("this must be refused");
    let told = error.to_string();
    words.iter().for_each(|word| assert!(told.contains(word), "'{word}' is not in: {told}"));
    error
}

fn write(lake: &SmallLake, name: &str, bytes: &[u8]) -> PathBuf {
    let path = lake.dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Each part in a frame of its own.
fn packed(parts: &[&[u8]]) -> Vec<u8> {
    parts.iter().flat_map(|part| zstd::bulk::compress(part, 1).unwrap()).collect()
}

/// All rows that depend on scores, in any order.
async fn rows(env: &Env) -> Vec<String> {
    commit_all(env).await.unwrap();
    let mut rows = Vec::new();
    for file in env.lake.live_files(Table::CURATED).await.unwrap().files {
        for batch in env.lake.read_curated(&file, None).await.unwrap() {
            for row in batch.unwrap().iter() {
                rows.push(format!(
                    "{} {:?} {} {} {:?}",
                    row.event_id,
                    row.event_time,
                    row.login_count_1h,
                    row.risk_score,
                    (row.login_count_24h, row.unique_computers_1h, row.unique_computers_24h, row.host_popularity)
                ));
            }
        }
    }
    rows.sort();
    rows
}

/// Details of dead letters with the numbers of their lines, in the order of the lines.
async fn letters(env: &Env) -> Vec<(u64, String, String)> {
    commit_all(env).await.unwrap();
    let mut letters = Vec::new();
    for file in env.lake.live_files(Table::REJECTED).await.unwrap().files {
        for batch in env.lake.read_rejected(&file, None).await.unwrap() {
            for row in batch.unwrap().iter() {
                letters.push((row.sequence_number.parse().unwrap(), row.reason.to_owned(), row.detail.to_owned()));
            }
        }
    }
    letters.sort();
    letters
}

async fn audited(env: &Env) {
    let report = report(env).await;
    assert_eq!(report.difference, None, "{report}");
    assert!(report.totals().adds_up(), "{report}");
}

/// A file that is cut off; then the same lines whole: packed again, packed otherwise, plain.
struct Cut {
    lake: SmallLake,
    plain: Vec<u8>,
    cut: PathBuf,
    whole: Vec<(&'static str, PathBuf)>,
}

impl Cut {
    /// The lake holds what could be read of the file.
    async fn new() -> Cut {
        let lake = SmallLake::new();
        let plain = lines(6_000).concat().into_bytes();
        let (a, b) = plain.split_at(plain.len() / 3);
        let (b, c) = b.split_at(b.len() / 2);
        let packed_whole = packed(&[a, b, c]);
        let cut = write(&lake, "events.zst", &packed_whole[..packed_whole.len() - 9]);
        let whole = vec![
            ("fetched again", write(&lake, "again.zst", &packed_whole)),
            ("packed anew", write(&lake, "anew.zst", &packed(&[&plain]))),
            ("plain", write(&lake, "events.txt", &plain)),
        ];
        let error = load(&lake.env, &many_entries(), &request(std::slice::from_ref(&cut))).await;
        refused(error, &["events.zst", "cut off"]);
        let stored = last(&lake).await.1;
        assert!(!stored.finished && stored.digest.is_some(), "{stored:?}");
        Cut { lake, plain, cut, whole }
    }
}

#[tokio::test]
async fn a_run_goes_on_with_the_same_lines_however_they_are_packed() {
    let undisturbed = SmallLake::new();
    let plain = undisturbed.write_input("events.txt", &lines(6_000));
    load(&undisturbed.env, &options(), &request(&[plain])).await.unwrap();
    let expected = rows(&undisturbed.env).await;
    for which in 0..3 {
        let Cut { lake, whole, cut, .. } = Cut::new().await;
        let (what, file) = &whole[which];
        // It is still cut off, and the error says so.
        refused(load(&lake.env, &options(), &request(std::slice::from_ref(&cut))).await, &["cut off"]);
        load(&lake.env, &options(), &request(std::slice::from_ref(file))).await.unwrap();
        assert_eq!(rows(&lake.env).await, expected, "{what}");
        audited(&lake.env).await;
        let again = load(&lake.env, &options(), &request(std::slice::from_ref(file))).await;
        refused(again, &["is in the lake already"]);
    }
}

#[tokio::test]
async fn other_lines_are_refused_and_change_nothing() {
    let Cut { lake, plain, .. } = Cut::new().await;
    let before = lake.entries("file").await;
    let stored: u64 = before.last().unwrap().to.sequence.parse().unwrap();
    let mut other = plain.clone();
    other[0] = b'9';
    let short: Vec<u8> =
        plain.split_inclusive(|byte| *byte == b'\n').take(stored as usize - 1).flatten().copied().collect();
    let mut blank = b"\n".to_vec();
    blank.extend_from_slice(&plain);
    let words = ["events.zst", "not finished", "--give-up"];
    for (what, bytes, why) in [
        ("another first line", other, "do not begin with"),
        ("a blank line more", blank, "do not begin with"),
        ("fewer lines than are stored", short, "hold only"),
    ] {
        let file = write(&lake, "other.txt", &bytes);
        refused(load(&lake.env, &options(), &request(&[file])).await, &[words[0], words[1], words[2], why]);
        assert_eq!(lake.entries("file").await, before, "{what}");
    }
    let stored_of = |bytes: &[u8]| write(&lake, "sorted.txt", bytes);
    let sorted = BackfillRequest { sort: sorting(&lake), ..request(&[stored_of(&plain)]) };
    refused(load(&lake.env, &options(), &sorted).await, &["without --sort"]);
    assert_eq!(lake.entries("file").await, before);
}

/// The same journal, as a former program would have left it.
async fn without_digests(lake: &SmallLake) -> Env {
    let mut entries = lake.entries("file").await;
    for backfill in entries.iter_mut().filter_map(|entry| entry.backfill.as_mut()) {
        backfill.digest = None;
    }
    lake.with_entries(&entries).await
}

#[tokio::test]
async fn a_run_of_before_goes_on_with_its_own_bytes_only() {
    let lake = SmallLake::new();
    let file = lake.write_input("events.txt", &lines(6_000));
    let own = request(std::slice::from_ref(&file));
    steps(&lake.env, &many_entries(), &own, 3).await.unwrap();
    let env = without_digests(&lake).await;
    let repacked = write(&lake, "events.zst", &packed(&[&std::fs::read(&file).unwrap()]));
    let words = ["not finished", "these files are others", "--give-up"];
    refused(load(&env, &options(), &request(&[repacked])).await, &words);
    load(&env, &options(), &own).await.unwrap();
    audited(&env).await;
}

/// Blank lines at the edges of entries, files without a line end at their end, byte-order marks, CRs, an overlong line.
#[tokio::test]
async fn the_digest_is_that_of_the_lines_wherever_a_run_is_interrupted() {
    let mut first = b"\xef\xbb\xbf".to_vec();
    for n in 1..2_500 {
        first.extend_from_slice(format!("{n},U{},C{}\r\n\n \t\n", n % 90, n % 7).as_bytes());
    }
    first.extend_from_slice(b"2500,U1,C1");
    let long = 1_048_580;
    let mut second = vec![b'x'; long];
    second.extend_from_slice(b"\r\n2600,U1,C1\n\n\n");
    // As the page says it.
    let mut said = Sha256::new();
    said.update(&first[3..]);
    said.update(b"\n");
    said.update(&second[..long]);
    said.update(format!("\n{long}\n2600,U1,C1\n\n\n"));
    let said = format!("{:x}", said.finalize());
    for stop_after in 1..12 {
        let lake = SmallLake::new();
        let files = [write(&lake, "a.txt", &first), write(&lake, "b.txt", &second)];
        let mut attempts = 0;
        loop {
            steps(&lake.env, &many_entries(), &request(&files), stop_after + attempts).await.unwrap();
            attempts += 1;
            if lake.entries("file").await.last().is_some_and(|tail| tail.sealed.is_some()) {
                break;
            }
        }
        assert_eq!(last(&lake).await.1.digest.as_ref(), Some(&said), "stopped after {stop_after} steps");
        audited(&lake.env).await;
        assert_eq!(rows(&lake.env).await.len(), 2_501);
    }
}

#[tokio::test]
async fn a_run_that_is_given_up_keeps_its_rows_and_lets_the_lake_go_on() {
    let Cut { lake, cut, .. } = Cut::new().await;
    let before = last(&lake).await;
    give_up(&lake.env).await.unwrap();
    let (tail, backfill) = last(&lake).await;
    let stored: u64 = tail.to.sequence.parse().unwrap();
    assert_eq!(tail.to, before.0.to);
    assert_eq!((backfill.finished, backfill.given_up, tail.sealed), (true, Some(stored), None));
    assert_eq!(backfill.digest, before.1.digest);
    assert_eq!((tail.counts.waiting, tail.counts.unscored), (0, 0));
    audited(&lake.env).await;
    let told = report(&lake.env).await.to_string();
    assert!(told.contains(&format!("events.zst was given up after line {stored}")), "{told}");
    let told = status(&lake.env, None, None).await.unwrap().to_string();
    assert!(told.contains("given up there"), "{told}");
    // Repeated, it says so; it does not say that these files are "in the lake".
    let again = refused(give_up(&lake.env).await, &["was given up after line"]);
    assert!(matches!(again, ConsumerError::NothingToDo(_)));
    refused(load(&lake.env, &options(), &request(&[cut])).await, &["was given up after line", "another lake"]);
    let later = lake.write_input("later.txt", &["300000,U1,C1\n".to_owned(), "300001,U2,C1\n".to_owned()]);
    load(&lake.env, &options(), &request(&[later])).await.unwrap();
    assert!(last(&lake).await.0.sealed.is_some());
    audited(&lake.env).await;
}

#[tokio::test]
async fn what_waits_is_flushed_when_a_run_is_given_up_also_one_of_before() {
    let lake = SmallLake::new();
    let mut text: Vec<String> = (1..1_200).map(|n| format!("{n},U{},C1\n", n % 50)).collect();
    // Hours ahead of the others, and the only one: it waits.
    text.insert(1_020, "20000,U-ahead,C9\n".to_owned());
    let file = lake.write_input("events.txt", &text);
    steps(&lake.env, &many_entries(), &request(&[file]), 2).await.unwrap();
    let env = without_digests(&lake).await;
    let shard = authpulse_event::ShardId::file();
    let tail = authpulse_journal::log::read_tail(&env, &shard).await.unwrap().unwrap();
    assert_eq!((tail.counts.waiting, tail.to.sequence.as_str()), (1, "1024"));
    give_up(&env).await.unwrap();
    let tail = authpulse_journal::log::read_tail(&env, &shard).await.unwrap().unwrap();
    assert_eq!(tail.counts.waiting, 0);
    assert_eq!(tail.backfill.as_ref().unwrap().given_up, Some(1_024));
    let letters = letters(&env).await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!((letters[0].0, letters[0].1.as_str()), (1_021, "future"));
    audited(&env).await;
}

#[tokio::test]
async fn only_an_unfinished_run_is_given_up() {
    let lake = SmallLake::new();
    refused(give_up(&lake.env).await, &["the lake holds no backfill", "nothing to give up"]);
    let file = lake.write_input("events.txt", &lines(500));
    load(&lake.env, &options(), &request(&[file])).await.unwrap();
    refused(give_up(&lake.env).await, &["events.txt is finished", "nothing to give up"]);
}

#[tokio::test]
async fn an_entry_that_contradicts_giving_up_is_noticed() {
    let Cut { lake, .. } = Cut::new().await;
    give_up(&lake.env).await.unwrap();
    let entries = lake.entries("file").await;
    type Change = fn(&mut Entry, &mut Backfill);
    let changes: [(Change, &str); 3] = [
        (|_, run| run.given_up = Some(7), "the line after which a backfill was given up"),
        (|_, run| run.finished = false, "a backfill that was given up goes on"),
        (|entry, _| entry.sealed = entry.watermark, "a backfill that was given up goes on"),
    ];
    for (change, what) in changes {
        let mut changed = entries.clone();
        let tail = changed.last_mut().unwrap();
        let mut run = tail.backfill.take().unwrap();
        change(tail, &mut run);
        tail.backfill = Some(run);
        expect(&lake.with_entries(&changed).await, &[what]).await;
    }
}

/// Files of an hour each. The shell sorts their names in another order than their times.
fn hours(lake: &SmallLake, named: &[(&str, u32)]) -> Vec<PathBuf> {
    let text = |hour: u32| (1..301).map(move |n| format!("{},U{},C{}\n", hour * 3_600 + n * 12, n % 40, n % 9));
    named.iter().map(|(name, hour)| lake.write_input(name, &text(*hour).collect::<Vec<_>>())).collect()
}

const SHELL: [(&str, u32); 4] = [("d1.log", 1), ("d10.log", 10), ("d11.log", 11), ("d2.log", 2)];
const BY_TIME: [(&str, u32); 4] = [("d1.log", 1), ("d2.log", 2), ("d10.log", 10), ("d11.log", 11)];

#[tokio::test]
async fn files_in_no_order_are_refused_before_a_line_is_admitted() {
    let lake = SmallLake::new();
    let files = hours(&lake, &SHELL);
    let words = ["d2.log begins at 2015-01-01T02:00:12", "d11.log", "begins at 2015-01-01T11:00:12", "--sort"];
    refused(load(&lake.env, &options(), &request(&files)).await, &words);
    assert!(lake.entries("file").await.is_empty());
}

#[tokio::test]
async fn what_counts_is_where_files_begin() {
    let lake = SmallLake::new();
    let now = lake.env.clock.now();
    let begins = |name: &str, text: &str| write(&lake, name, text.as_bytes());
    let a = begins("a", "10000,U1,C1\n");
    let cases: [(&str, PathBuf, bool); 7] = [
        ("the tolerance below", begins("b", "9700,U1,C1\n"), true),
        ("a second more", begins("c", "9699,U1,C1\n"), false),
        ("junk first", begins("d", "no event\n\n9000,U1,C1\n20000,U1,C1\n"), false),
        ("no event at all", begins("e", "no event\n"), true),
        ("nothing", begins("f", ""), true),
        ("packed", write(&lake, "g", &packed(&[b"9000,U1,C1\n"])), false),
        // It will be rejected as `future`, so the file begins behind it.
        ("a clock years ahead", begins("h", "900000000,U1,C1\n10001,U1,C1\n"), true),
    ];
    for (what, file, fits) in cases {
        let after = begins("z", "10002,U1,C1\n");
        let files: Vec<Source> = [a.clone(), file, after].into_iter().map(Source::File).collect();
        let told = refuse_disorder(&files, &options(), now, &watch::channel(false).1);
        assert_eq!(told.is_ok(), fits, "{what}: {told:?}");
    }
}

#[tokio::test]
async fn an_unfinished_run_goes_on_whatever_the_order_of_its_files() {
    let lake = SmallLake::new();
    let files = hours(&lake, &SHELL);
    // All that a former program's run stored about the order.
    steps(&lake.env, &many_entries(), &request(&files[..2]), 2).await.unwrap();
    let (tail, mut run) = last(&lake).await;
    assert!(!run.finished && tail.to.sequence != "0");
    let mut entries = lake.entries("file").await;
    for (file, path) in [(2, &files[2]), (3, &files[3])] {
        let bytes = std::fs::read(path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let sha256 = format!("{:x}", Sha256::digest(&bytes));
        run.files.insert(file, authpulse_lake::entry::BackfillFile { name, bytes: bytes.len() as u64, sha256 });
    }
    run.digest = None;
    entries.iter_mut().for_each(|entry| entry.backfill = Some(run.clone()));
    let env = lake.with_entries(&entries).await;
    load(&env, &options(), &request(&files)).await.unwrap();
    audited(&env).await;
}

/// New files of a continued run are checked like those of a new run.
#[tokio::test]
async fn files_that_come_to_an_unfinished_run_lie_in_order() {
    let lake = SmallLake::new();
    let files = hours(&lake, &SHELL);
    steps(&lake.env, &many_entries(), &request(&files[..2]), 2).await.unwrap();
    let entries = lake.entries("file").await;
    assert!(!last(&lake).await.1.finished);
    refused(load(&lake.env, &options(), &request(&files)).await, &["d2.log begins at", "--sort"]);
    assert_eq!(lake.entries("file").await.len(), entries.len(), "nothing is stored");
    load(&lake.env, &options(), &request(&files[..3])).await.unwrap();
    audited(&lake.env).await;
}

#[tokio::test]
async fn sorted_files_give_the_rows_of_files_in_order() {
    let ordered = SmallLake::new();
    load(&ordered.env, &options(), &request(&hours(&ordered, &BY_TIME))).await.unwrap();
    let expected = rows(&ordered.env).await;
    assert_eq!(expected.len(), 1_200);
    let lake = SmallLake::new();
    let sorted = BackfillRequest { sort: sorting(&lake), ..request(&hours(&lake, &SHELL)) };
    load(&lake.env, &options(), &sorted).await.unwrap();
    assert_eq!(rows(&lake.env).await, expected);
    assert!(letters(&lake.env).await.is_empty());
    audited(&lake.env).await;
    let (tail, run) = last(&lake).await;
    assert!(run.sorted && tail.sealed.is_some());
}

/// Ranks in the sorted order; and dead letters that give the original line, also of events that waited.
#[tokio::test]
async fn a_sorted_dead_letter_names_file_and_line() {
    let lake = SmallLake::new();
    let mut late: Vec<String> = (1..1_500).rev().map(|n| format!("{n},U{},C1\n", n % 50)).collect();
    late.insert(3, "\n".to_owned());
    late.insert(5, "no event\n".to_owned());
    let twice = "1499,U49,C1\n";
    let files = [
        lake.write_input("a.txt", &late),
        lake.write_input("b.txt", &["90000,U-ahead,C9\n".to_owned(), twice.to_owned(), "nor this\n".to_owned()]),
    ];
    let sorted = BackfillRequest { sort: sorting(&lake), ..request(&files) };
    let expected = |dir: &Path| {
        let (a, b) = (dir.join("a.txt"), dir.join("b.txt"));
        [
            (1, "invalid", format!("(line 6 of {})", a.display())),
            (2, "invalid", format!("(line 3 of {})", b.display())),
            (1_502, "duplicate", format!("(line 2 of {})", b.display())),
        ]
    };
    // However often it is interrupted.
    for stop_after in [1, 2, 3, u32::MAX] {
        steps(&lake.env, &many_entries(), &sorted, stop_after).await.unwrap();
    }
    let letters = letters(&lake.env).await;
    let expected = expected(lake.dir.path());
    assert_eq!(letters.len(), expected.len(), "{letters:?}");
    for ((rank, reason, detail), (line, why, place)) in letters.iter().zip(&expected) {
        assert_eq!((rank, reason.as_str()), (line, *why), "{letters:?}");
        assert!(detail.ends_with(place.as_str()), "{detail}");
    }
    audited(&lake.env).await;
    assert_eq!(rows(&lake.env).await.len(), 1_500);
}

#[tokio::test]
async fn an_event_that_waited_keeps_its_place_through_a_restart() {
    let lake = SmallLake::new();
    // It comes after a gap, so it waits. Others come near it in the next entry, and the engine fails on it as it goes on.
    let mut text: Vec<String> = (1..1_023).map(|n| format!("{n},U{},C1\n", n % 50)).collect();
    text.push("40000,U-alone,C9\n".to_owned());
    // Long enough to begin a block of its own, so that the waiting event lies in the block before.
    let pad = "x".repeat(1_040_000);
    text.push(format!("{{\"time\":40100,\"user\":\"U0\",\"computer\":\"C1\",\"pad\":\"{pad}\"}}\n"));
    text.extend((1..1_500).map(|n| format!("{},U{},C1\n", 40_100 + n, n % 50)));
    text.reverse();
    let file = lake.write_input("a.txt", &text);
    let sorted = BackfillRequest { sort: sorting(&lake), ..request(std::slice::from_ref(&file)) };
    steps(&lake.env, &many_entries(), &sorted, 2).await.unwrap();
    let tail = last(&lake).await.0;
    assert_eq!((tail.counts.waiting, tail.to.sequence.as_str()), (1, "1023"));
    let mut env = lake.env.clone();
    env.inspect = Some(Arc::new(|payload: &[u8]| assert!(!payload.ends_with(b"U-alone,C9"), "a bug")));
    let mut run = prepare(&env, options(), &sorted).await.unwrap();
    let mut panics = 0;
    loop {
        match run.worker.step().await {
            Ok(StepOutcome::Done) => break,
            Ok(_) => {}
            Err(ConsumerError::Panicked { .. }) => {
                panics += 1;
                run = run.rebuild(&env).await.unwrap();
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(panics, 3);
    let letters = letters(&env).await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!((letters[0].0, letters[0].1.as_str()), (1_023, "failed"));
    assert!(letters[0].2.ends_with(&format!("(line 1501 of {})", file.display())), "{letters:?}");
    audited(&env).await;
}

#[tokio::test]
async fn a_sorted_run_goes_on_sorted_and_with_the_same_lines() {
    let lake = SmallLake::new();
    let files = hours(&lake, &SHELL);
    let sorted = |files: &[PathBuf]| BackfillRequest { sort: sorting(&lake), ..request(files) };
    steps(&lake.env, &many_entries(), &sorted(&files), 2).await.unwrap();
    let before = lake.entries("file").await;
    refused(load(&lake.env, &options(), &request(&files)).await, &["not finished", "with --sort"]);
    refused(load(&lake.env, &options(), &sorted(&files[1..])).await, &["hold only 900 of the 1024 lines"]);
    let more = [files.clone(), hours(&lake, &[("d0.log", 0)])].concat();
    refused(load(&lake.env, &options(), &sorted(&more)).await, &["do not begin with"]);
    assert_eq!(lake.entries("file").await, before);
    // The order in which files are named decides ties only.
    let named: Vec<PathBuf> = files.iter().rev().cloned().collect();
    load(&lake.env, &options(), &sorted(&named)).await.unwrap();
    assert_eq!(rows(&lake.env).await.len(), 1_200);
    audited(&lake.env).await;
}

#[tokio::test]
async fn a_sorted_run_may_not_begin_below_the_lake_either() {
    let lake = SmallLake::new();
    let early = lake.write_input("early.txt", &["90000,U1,C1\n".to_owned()]);
    load(&lake.env, &options(), &request(&[early])).await.unwrap();
    let before = lake.entries("file").await;
    let file = lake
        .write_input("file.txt", &["200000,U1,C1\n".to_owned(), "no event\n".to_owned(), "5000,U1,C1\n".to_owned()]);
    let sorted = BackfillRequest { sort: sorting(&lake), ..request(&[file]) };
    refused(
        load(&lake.env, &options(), &sorted).await,
        &["line 3 of", "file.txt", "2015-01-01T01:23:20", "is sealed up to"],
    );
    assert_eq!(lake.entries("file").await, before);
    assert!(lake.env.clock.now().micros() > (DEFAULT_BASE + SECOND).micros());
}

/// Before a line is admitted, files are hashed, checked for their order, sorted, and read again as far as they are stored. Wherever the
/// stop comes, the run ends, nothing is changed, and the next run goes on.
#[tokio::test]
async fn a_stop_is_heard_before_the_first_line_is_admitted() {
    let told_to_end = |error: Option<ConsumerError>| {
        assert!(matches!(error, Some(ConsumerError::Input(InputError::ToldToEnd))), "{error:?}");
    };
    let stopped = watch::channel(true).1;
    for sorted in [false, true] {
        let lake = SmallLake::new();
        let files = [lake.write_input("events.txt", &lines(5_000))];
        let sort = || if sorted { sorting(&lake) } else { None };
        let request = || BackfillRequest { sort: sort(), ..request(&files) };
        steps(&lake.env, &many_entries(), &request(), 3).await.unwrap();
        let stored = last(&lake).await.0.n;

        let at_once = BackfillRequest { stop: stopped.clone(), ..request() };
        told_to_end(prepare(&lake.env, many_entries(), &at_once).await.err());
        told_to_end(
            refuse_disorder(&at_once.files, &options(), ProcessingTime::from_micros(DEFAULT_BASE.micros()), &stopped)
                .err(),
        );
        if sorted {
            // At that point only the stored lines are still to be read again.
            let (stop, heard) = watch::channel(false);
            let progress = Arc::new(move |bytes: Option<u64>| {
                stop.send_replace(bytes.is_none());
            });
            let sort = Some(Sorting { progress, ..sorting(&lake).unwrap() });
            let later = BackfillRequest { sort, stop: heard, ..request() };
            told_to_end(prepare(&lake.env, many_entries(), &later).await.err());
        }
        assert_eq!(last(&lake).await.0.n, stored);
        load(&lake.env, &many_entries(), &request()).await.unwrap();
        audited(&lake.env).await;
    }
}
