//! What arrives, in which order, how it is counted, and when the stream is closed.

use super::*;
use authpulse_stream::{LocalStream, StreamError};
use proptest::prelude::*;

/// Lines of every kind, blank ones at the start, in between and at the end.
const MIXED: &[u8] =
    b"\xef\xbb\xbf\n1,U1,C1\n \t\nheader\n2,U2,C1\r\n{\"time\":3,\"user\":\"U1\",\"computer\":\"C2\"}\n\
    {\"time\":3}\n {\"time\":3,\"user\":\"U1\",\"computer\":\"C2\"}\n\xff\xfe\n4,\"U,1\",C1\n5,U\\1,C1\n1,U1,C1\n\n \n";

const MIXED_COUNTS: Counts = Counts { lines: 14, events: 5, unparsed: 5, shortened: 0 };

/// This many events of a few users.
pub(super) fn events(count: usize) -> Vec<u8> {
    (0..count).flat_map(|n| format!("{},U{},C{}\n", 1 + n / 3, n % 7, n).into_bytes()).collect()
}

#[tokio::test]
async fn every_kind_of_line_arrives() {
    let stream = memory(&VirtualClock::default());
    let summary = run(&File::new(MIXED), &stream, &by(3)).await.expect("replays");
    assert_eq!((summary.outcome, summary.run, summary.job), (Outcome::Complete, MIXED_COUNTS, MIXED_COUNTS));
    assert_eq!((summary.run.records(), summary.run.blank()), (10, 4));
    assert_eq!((summary.resumed_from, summary.resumable, summary.closed), (None, true, false));
    assert_holds(&stream, &MIXED[3..]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_embedded_stream_takes_the_same() {
    let dir = tempfile::tempdir().expect("a place for the stream");
    let stream = LocalStream::create(dir.path(), CreateOptions::default()).expect("creates");
    let file = [MIXED, &events(25_000)].concat();
    let summary = run(&File::new(&file), &stream, &by(BATCH_RECORDS_DEFAULT)).await.expect("replays");
    assert_eq!(summary.run.records(), 25_010);
    assert_holds(&stream, &file[3..]).await;
}

#[tokio::test]
async fn several_inputs_are_one_sequence() {
    let stream = memory(&VirtualClock::default());
    let [first, second] = [File::new(b"1,U1,C1\n2,U1,C1"), File::new(b"3,U1,C1\n")];
    let sources = [&first, &second, &first].map(|file| Source::File(file.path.clone())).to_vec();
    let summary = run(sources, &stream, &by(2)).await.expect("replays");
    assert_eq!(summary.job.lines, 5);
    assert_holds(&stream, b"1,U1,C1\n2,U1,C1\n3,U1,C1\n1,U1,C1\n2,U1,C1").await;
}

#[tokio::test]
async fn an_empty_input_is_complete() {
    let stream = memory(&VirtualClock::default());
    let file = File::new(b"\n\n");
    let summary = run(&file, &stream, &by(2)).await.expect("replays");
    assert_eq!((summary.outcome, summary.run.lines, summary.run.blank()), (Outcome::Complete, 2, 2));
    assert_eq!(run(&file, &stream, &by(2)).await.expect("replays").outcome, Outcome::AlreadyComplete);
}

#[tokio::test]
async fn a_complete_job_is_not_sent_again_but_closed_if_wished() {
    let stream = memory(&VirtualClock::default());
    let file = File::new(MIXED);
    run(&file, &stream, &by(4)).await.expect("replays");
    for close in [false, true, true] {
        // The name of a file is not its identity.
        let moved = File::new(MIXED);
        let summary = run(&moved, &stream, &ReplayOptions { close, ..by(4) }).await.expect("replays");
        assert_eq!((summary.outcome, summary.closed), (Outcome::AlreadyComplete, close));
        assert_eq!((summary.run, summary.job, summary.resumed_from), (Counts::default(), MIXED_COUNTS, Some(14)));
        assert_eq!(stream.describe().await.expect("describes").closed, close);
    }
    assert_holds(&stream, &MIXED[3..]).await;
    let other = run(&File::new(b"1,U1,C1"), &stream, &by(4)).await.expect_err("the stream is closed");
    assert!(matches!(&other, ReplayError::Put { attempts: 1, source: StreamError::Refused { .. }, .. }), "{other}");
}

#[tokio::test]
async fn at_most_so_many_events_of_the_job_are_sent() {
    let stream = memory(&VirtualClock::default());
    let bytes = events(20);
    let file = File::new(&bytes);
    let until = |max| ReplayOptions { max_events: Some(max), ..by(3) };
    for (max, sent, outcome) in [
        (0, 0, Outcome::LimitReached),
        (8, 8, Outcome::LimitReached),
        (8, 0, Outcome::LimitReached),
        (5, 0, Outcome::LimitReached),
        (9, 1, Outcome::LimitReached),
        (20, 11, Outcome::Complete),
        (8, 0, Outcome::AlreadyComplete),
    ] {
        let summary = run(&file, &stream, &until(max)).await.expect("replays");
        assert_eq!((summary.run.records(), summary.outcome), (sent, outcome), "{max}");
    }
    assert_holds(&stream, &bytes).await;
    let closing = memory(&VirtualClock::default());
    let summary = run(&file, &closing, &ReplayOptions { close: true, ..until(4) }).await.expect("replays");
    assert!(summary.closed && summary.outcome == Outcome::LimitReached);
    let again = run(&file, &closing, &ReplayOptions { close: true, ..until(4) }).await.expect("nothing is to be done");
    assert!(again.closed && again.run == Counts::default());
}

#[tokio::test]
async fn what_is_no_file_is_sent_each_time() {
    let stream = memory(&VirtualClock::default());
    for _ in 0..2 {
        let summary = run(reader(MIXED), &stream, &by(4)).await.expect("replays");
        assert_eq!((summary.run, summary.resumable, summary.resumed_from), (MIXED_COUNTS, false, None));
    }
    assert_eq!(read_all(&stream).await.concat().len(), 20);
}

/// A line of a live source waits neither for the batch to fill nor for the end.
#[tokio::test]
async fn a_live_source_is_sent_as_it_comes() {
    struct Live(std::sync::mpsc::Receiver<Vec<u8>>);
    impl Read for Live {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let Ok(line) = self.0.recv() else { return Ok(0) };
            out[..line.len()].copy_from_slice(&line);
            Ok(line.len())
        }
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    let input = ReplayInput::Reader { name: "live".to_owned(), reader: Box::new(Live(receiver)) };
    let stream = memory(&VirtualClock::default());
    let mut sender = Some(sender);
    let mut seen = Vec::new();
    let write_on = |status: Status| {
        seen.push(status.run.records());
        // The next line is written only after the one before has been sent.
        if seen.len() == 4 {
            sender = None;
        }
        if let Some(sender) = &sender {
            sender.send(format!("{},U1,C1\n", seen.len()).into_bytes()).expect("it listens");
        }
        false
    };
    let summary = run_until(input, &stream, &by(100), &VirtualClock::default(), write_on).await.expect("replays");
    assert_eq!(summary.run.events, 3);
    assert_eq!(seen, [0, 1, 2, 3, 3]);
}

#[tokio::test]
async fn a_live_source_ends_at_the_limit() {
    let (_writer, reader) = std::io::pipe().map(|(reader, writer)| (writer, reader)).expect("a pipe");
    (&_writer).write_all(b"1,U1,C1\n2,U1,C1\n").expect("writes");
    let input = ReplayInput::Reader { name: "pipe".to_owned(), reader: Box::new(reader) };
    let stream = memory(&VirtualClock::default());
    let summary = run(input, &stream, &ReplayOptions { max_events: Some(2), ..by(100) }).await.expect("replays");
    assert_eq!((summary.outcome, summary.run.events), (Outcome::LimitReached, 2));
}

#[tokio::test]
async fn whole_lines_before_damage_are_sent() {
    let stream = memory(&VirtualClock::default());
    let mut packed = zstd::encode_all(&events(1_000)[..], 1).expect("packs");
    packed.truncate(packed.len() - 1);
    let error = run(&File::new(&packed), &stream, &by(100)).await.expect_err("the end is missing");
    assert!(matches!(error, ReplayError::Input(InputError::Truncated { .. })), "{error}");
    let sent = read_all(&stream).await.concat().len();
    let missing = run(vec![Source::File("/nowhere".into())], &stream, &by(1)).await.expect_err("there is none");
    assert!(matches!(missing, ReplayError::Input(InputError::NotFound { .. })), "{missing}");
    assert_eq!(read_all(&stream).await.concat().len(), sent);
}

#[tokio::test]
async fn nonsense_is_refused() {
    let stream = memory(&VirtualClock::default());
    for (options, words) in [
        (ReplayOptions { pace: Pace::Rate(0.0), ..by(1) }, "a rate of 0 "),
        (ReplayOptions { pace: Pace::Speed(f64::NAN), ..by(1) }, "a speed of NaN "),
        (by(0), "an append of 0 records"),
        (by(100_001), "an append of 100001 records"),
    ] {
        let error = run(reader(b""), &stream, &options).await.expect_err("refused").to_string();
        assert!(error.starts_with(words), "{error}");
    }
}

#[test]
fn the_total_is_estimated_from_the_bytes() {
    let counts = Counts { lines: 100, events: 90, unparsed: 10, shortened: 0 };
    let status = |read_bytes, total_bytes, max_events| {
        Status { job: counts, run: counts, read_bytes, total_bytes, max_events }.estimated_records()
    };
    assert_eq!(status(50, Some(200), None), Some(400));
    assert_eq!(status(50, Some(200), Some(150)), Some(150));
    assert_eq!(status(0, Some(200), None), None);
    assert_eq!(status(50, None, Some(150)), Some(150));
}

#[test]
fn a_replay_may_run_in_a_task_of_its_own() {
    fn is_send(_: impl Send) {}
    let stream = memory(&VirtualClock::default());
    let clock = SystemPace::default();
    let around = Surroundings { clock: &clock, stop: watch::channel(false).1, probe: &|_| {}, progress: &mut |_| {} };
    is_send(replay(reader(b""), &stream, &by(1), around));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn all_lines_arrive_in_order(lines in prop::collection::vec(super::wire::line(), 0..40), size in 1usize..12, end in "\r?\n") {
        // An event first: without one, a file that happens to look like another format would be refused.
        let file: Vec<u8> = [&[b"1,U1,C1".to_vec()], &lines[..]].concat().join(end.as_bytes());
        let stream = memory(&VirtualClock::default());
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("starts");
        runtime.block_on(async {
            let summary = run(&File::new(&file), &stream, &by(size)).await.expect("replays");
            assert_holds(&stream, &file).await;
            prop_assert_eq!(summary.run.records(), record_lines(&file).len() as u64);
            prop_assert_eq!(summary.run.lines, summary.run.events + summary.run.unparsed + summary.run.blank());
            Ok(())
        })?;
    }
}
