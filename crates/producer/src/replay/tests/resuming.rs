//! A replay that was stopped or killed anywhere sends the rest when it is run again, and nothing twice.

use super::sending::events;
use super::*;
use authpulse_stream::StreamError;
use authpulse_stream::memory::{Moment, Operation};
use std::sync::atomic::{AtomicU32, Ordering};

fn failure(retry: bool) -> StreamError {
    StreamError::Storage { stream: "memory".to_owned(), action: "put", cause: "on purpose".to_owned(), retry }
}

/// Fails the `nth` operation of a kind, counted from 1, for `times` times.
fn fail(
    of_kind: fn(&Operation) -> bool,
    at: Moment,
    nth: u32,
    times: u32,
    retry: bool,
) -> impl Fn(&Operation, Moment) -> Option<StreamError> + Send + Sync {
    let seen = AtomicU32::new(0);
    move |operation, moment| {
        if moment != at || !of_kind(operation) {
            return None;
        }
        let seen = seen.fetch_add(1, Ordering::SeqCst) + 1;
        (nth..nth + times).contains(&seen).then(|| failure(retry))
    }
}

fn is_put(operation: &Operation) -> bool {
    matches!(operation, Operation::Put { .. })
}

#[tokio::test]
async fn stopped_at_each_border_it_goes_on_behind_it() {
    let bytes = [events(10), b"\n\nbroken\n \n".to_vec(), events(9)].concat();
    let file = File::new(&bytes);
    for appends in 0..10 {
        let stream = memory(&VirtualClock::default());
        let clock = VirtualClock::default();
        let mut left = appends;
        let stop = |_: Status| {
            left -= 1;
            left < 0
        };
        let first = run_until(&file, &stream, &by(3), &clock, stop).await.expect("stops");
        // Ten records and ten make seven appends.
        let whole = appends >= 7;
        assert_eq!(first.outcome, if whole { Outcome::Complete } else { Outcome::Stopped });
        assert_eq!(first.run.records(), (3 * appends as u64).min(20));
        let second = run(&file, &stream, &by(3)).await.expect("goes on");
        assert_eq!(second.outcome, if whole { Outcome::AlreadyComplete } else { Outcome::Complete });
        assert_eq!(second.resumed_from, (appends > 0).then_some(first.job.lines));
        assert_eq!(second.run.records(), 20 - first.run.records());
        assert_eq!(second.run.lines + first.run.lines, 23);
        assert_eq!((second.job.events, second.job.unparsed, second.job.blank()), (19, 1, 3));
        assert_holds(&stream, &bytes).await;
    }
}

#[tokio::test]
async fn killed_before_or_after_each_append_nothing_is_lost_or_repeated() {
    let bytes = events(20);
    let file = File::new(&bytes);
    for moment in [Moment::Before, Moment::After] {
        for nth in 1..=7 {
            let stream = faulty(fail(is_put, moment, nth, 1, false));
            let error = run(&file, &stream, &by(3)).await.expect_err("it was killed");
            let sent = u64::from(nth - 1) * 3;
            assert!(
                matches!(&error, ReplayError::Put { line, attempts: 1, resumable: true, .. } if *line == sent),
                "{error}"
            );
            let second = run(&file, &stream, &by(3)).await.expect("goes on");
            let stored = if moment == Moment::After { (sent + 3).min(20) } else { sent };
            assert_eq!(second.resumed_from.unwrap_or(0), stored);
            assert_eq!(second.job.events, 20);
            assert_holds(&stream, &bytes).await;
        }
    }
}

#[tokio::test]
async fn an_append_that_fails_for_a_while_is_tried_again_and_never_repeated() {
    let bytes = events(20);
    for moment in [Moment::Before, Moment::After] {
        for nth in 1..=7 {
            for input in [ReplayInput::from(&File::new(&bytes)), reader(&bytes)] {
                let stream = faulty(fail(is_put, moment, nth, 3, true));
                let clock = VirtualClock::default();
                let summary = run_until(input, &stream, &by(3), &clock, |_| false).await;
                assert_eq!(summary.expect("replays").run.events, 20);
                assert_holds(&stream, &bytes).await;
                let waited = clock.now();
                assert!(waited >= BACKOFF_FIRST, "{waited:?}");
            }
        }
    }
}

#[tokio::test]
async fn it_gives_up_in_the_end_and_says_what_is_next() {
    let bytes = events(9);
    let stream = faulty(fail(is_put, Moment::Before, 2, PUT_ATTEMPTS, true));
    let clock = VirtualClock::default();
    let file = File::new(&bytes);
    let error = run_until(&file, &stream, &by(3), &clock, |_| false).await.expect_err("it gives up");
    assert_eq!(
        error.to_string(),
        "cannot append to the stream, at attempt 8; \
         lines up to 3 are in it: once the cause is mended, run the same again to continue"
    );
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    assert_eq!(cause.as_deref(), Some("stream memory: put failed: on purpose"));
    assert_eq!(clock.now(), Duration::from_millis(100 + 200 + 400 + 800 + 1_600 + 3_200 + 5_000));
    assert_eq!(run(&file, &stream, &by(3)).await.expect("goes on").resumed_from, Some(3));
    assert_holds(&stream, &bytes).await;
}

/// A stop does not wait for the pauses: one more attempt, then it ends.
#[tokio::test]
async fn a_stop_ends_the_retries() {
    struct Stopping<'a>(&'a watch::Sender<bool>, VirtualClock);
    impl PaceClock for Stopping<'_> {
        fn now(&self) -> Duration {
            self.1.now()
        }
        async fn sleep(&self, _: Duration) {
            self.0.send_replace(true);
            std::future::pending().await
        }
    }
    for (times, ends_well) in [(1, true), (2, false)] {
        let (sender, stop) = watch::channel(false);
        let stream = faulty(fail(is_put, Moment::Before, 1, times, true));
        let clock = Stopping(&sender, VirtualClock::default());
        let around = Surroundings { clock: &clock, stop, probe: &|_| {}, progress: &mut |_| {} };
        let result = replay((&File::new(&events(9))).into(), &stream, &by(3), around).await;
        match result {
            Ok(summary) => assert_eq!((ends_well, summary.outcome, summary.run.events), (true, Outcome::Stopped, 3)),
            Err(error) => assert!(!ends_well && matches!(error, ReplayError::Put { attempts: 2, .. }), "{error}"),
        }
    }
}

#[tokio::test]
async fn what_fails_besides_appends_is_tried_again_too() {
    let bytes = events(5);
    let of_progress: fn(&Operation) -> bool = |operation| matches!(operation, Operation::Progress { .. });
    let of_close: fn(&Operation) -> bool = |operation| matches!(operation, Operation::Close);
    for kind in [of_progress, of_close] {
        let stream = faulty(fail(kind, Moment::Before, 1, 3, true));
        let summary = run(&File::new(&bytes), &stream, &ReplayOptions { close: true, ..by(3) }).await.expect("replays");
        assert!(summary.closed);
        assert_holds(&stream, &bytes).await;
        let stream = faulty(fail(kind, Moment::Before, 1, 1, false));
        run(&File::new(&bytes), &stream, &ReplayOptions { close: true, ..by(3) }).await.expect_err("it is final");
    }
}

#[tokio::test]
async fn a_note_that_cannot_be_read_stops_it_before_anything_is_sent() {
    let file = File::new(&events(5));
    let sources = vec![Source::File(file.path.clone())];
    let job = identify(&sources, Clock::Input).expect("identifies").name;
    for (state, words) in [
        ("", "EOF"),
        (r#"{"version":2,"counts":{"lines":1,"events":1,"unparsed":0,"shortened":0},"complete":false}"#, "version 2"),
        (r#"{"version":1,"counts":{"lines":1,"events":2,"unparsed":0,"shortened":0},"complete":false}"#, "add up"),
        (r#"{"version":1,"counts":{"lines":6,"events":1,"unparsed":0,"shortened":0},"complete":false}"#, "input has 5"),
    ] {
        let stream = memory(&VirtualClock::default());
        let progress = authpulse_stream::ProducerProgress { job: job.clone(), state: state.to_owned() };
        stream.put(Vec::new(), Some(progress)).await.expect("stores");
        let error = run(&file, &stream, &by(2)).await.expect_err("unusable").to_string();
        assert!(error.contains(words) && error.contains(&job), "{error}");
        assert!(read_all(&stream).await.concat().is_empty());
    }
}

/// A stop is heeded while nothing comes from the input.
#[tokio::test]
async fn it_stops_while_it_waits_for_the_input() {
    let (pipe, _writer) = std::io::pipe().expect("a pipe");
    let input = ReplayInput::Reader { name: "pipe".to_owned(), reader: Box::new(pipe) };
    let stream = memory(&VirtualClock::default());
    let clock = VirtualClock::default();
    let summary = run_until(input, &stream, &by(2), &clock, |_| true).await.expect("stops");
    assert_eq!((summary.outcome, summary.run), (Outcome::Stopped, Counts::default()));
}

#[tokio::test]
async fn the_probe_stands_around_each_append() {
    let (points, stream) = (Mutex::new(Vec::new()), memory(&VirtualClock::default()));
    let probe = |point: &str| points.lock().expect("one thread").push(point.to_owned());
    let clock = VirtualClock::default();
    let around = Surroundings { clock: &clock, stop: watch::channel(false).1, probe: &probe, progress: &mut |_| {} };
    replay((&File::new(&events(5))).into(), &stream, &by(3), around).await.expect("replays");
    assert_eq!(*points.lock().expect("one thread"), [PROBE_BEFORE, PROBE_AFTER, PROBE_BEFORE, PROBE_AFTER]);
}
