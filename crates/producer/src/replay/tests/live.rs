//! Replays that look live: the first event is now, the others follow as they are sent.

use super::*;
use authpulse_event::EventTime;
use authpulse_event::rfc3339::parse_rfc3339;
use authpulse_event::time::{HOUR, SECOND};
use authpulse_stream::ProducerProgress;

fn now_at(speed: f64) -> ReplayOptions {
    ReplayOptions { pace: Pace::Speed(speed), clock: Clock::Now, batch_size: Some(2), ..ReplayOptions::default() }
}

/// The arrival, and the time as it is written, of each event in the stream.
async fn sent(stream: &MemoryStream) -> Vec<(ArrivalTime, String)> {
    let records = in_order(stream).await;
    let times = records.iter().map(|record| {
        let event = serde_json::from_slice::<serde_json::Value>(&record.payload).unwrap_or_default();
        (record.arrival, event["time"].as_str().unwrap_or_default().to_owned())
    });
    times.collect()
}

const LINES: &[u8] =
    b"7000,U1,C1\n7001,U1,C2\n7006,U2,C1\nbroken\n7005,U2,C3\n{\"event_id\":\"a\\\"b\",\"user\":\"U3\",\"more\":1,\
\"computer\":\"C1\",\"time\":\"2015-01-01T01:56:50.5Z\"}\n";

#[tokio::test]
async fn every_event_carries_the_time_at_which_it_is_sent() {
    let (clock, file) = (VirtualClock::default(), File::new(LINES));
    let stream = memory(&clock);
    clock.advance(Duration::from_secs(5));
    let summary = run_until(&file, &stream, &now_at(2.0), &clock, |_| false).await.expect("replays");
    let first = parse_rfc3339(b"2015-01-01T01:56:40Z").expect("a time");
    assert_eq!(summary.shift, Some(Shift { first, start: EventTime::made_at(BEGIN + 5 * SECOND), speed: 2.0 }));
    let mut written: Vec<String> = payloads(&in_order(&stream).await);
    written.sort();
    assert_eq!(
        written,
        [
            "broken",
            r#"{"time":"2027-01-15T08:00:05.000000Z","user":"U1","computer":"C1"}"#,
            r#"{"time":"2027-01-15T08:00:05.500000Z","user":"U1","computer":"C2"}"#,
            // Disorder stays as it is.
            r#"{"time":"2027-01-15T08:00:07.500000Z","user":"U2","computer":"C3"}"#,
            r#"{"time":"2027-01-15T08:00:08.000000Z","user":"U2","computer":"C1"}"#,
            r#"{"time":"2027-01-15T08:00:10.250000Z","user":"U3","computer":"C1","event_id":"a\"b"}"#,
        ]
    );
    for (arrival, time) in sent(&stream).await.into_iter().filter(|(_, time)| !time.is_empty()) {
        let behind = behind_of(arrival, &time);
        assert!((-ONE_TICK..SECOND).contains(&behind), "{time} arrived {behind:?} us later");
    }
}

/// Attributes that a lake may take go along as they are written, even those that it will drop; keys that no lake knows do not.
#[tokio::test]
async fn what_events_carry_goes_along() {
    let line = |members: &str| format!("{{\"time\":7000,\"user\":\"U1\",{members}\"computer\":\"C1\"}}\n");
    let long = format!("\"user_agent\":\"{}\",", "a".repeat(1_048_576 - 80));
    let lines = [
        line(r#""source_ip":"::1", "x":1,"m\u0066a" : true ,"lat":[4.0],"app":"a \"\u00fc\"","app":null,"#),
        line(&long),
    ];
    let (clock, file) = (VirtualClock::default(), File::new(lines.concat().as_bytes()));
    let stream = memory(&clock);
    run_until(&file, &stream, &now_at(2.0), &clock, |_| false).await.expect("replays");
    let sent = payloads(&in_order(&stream).await);
    let start = r#"{"time":"2027-01-15T08:00:00.000000Z","user":"U1","computer":"C1""#;
    let carried = r#","source_ip":"::1","mfa":true,"lat":[4.0],"app":"a \"\u00fc\"","app":null}"#;
    // The longest line would be too long with the longer time.
    assert_eq!(sent, [format!("{start}{carried}"), format!("{start}}}")]);
    // With their own times, lines are sent as they are.
    let stream = memory(&clock);
    run(&file, &stream, &by(3)).await.expect("replays");
    let mut sent = payloads(&in_order(&stream).await);
    sent.sort_by_key(String::len);
    assert_eq!(sent, lines.map(|line| line.trim_end().to_owned()));
}

const ONE_TICK: Span = Span::from_micros(TICK.as_micros() as i64);

/// How much later than its own time an event arrived. Arrivals are given from when clocks began.
fn behind_of(arrival: ArrivalTime, time: &str) -> Span {
    let time: EventTime = parse_rfc3339(time.as_bytes()).expect("a time");
    EventTime::made_at(BEGIN + (arrival - ArrivalTime::default())) - time
}

#[tokio::test]
async fn a_run_that_continues_shifts_as_the_first_one_did() {
    let (clock, file) = (VirtualClock::default(), File::new(LINES));
    let (whole, parts) = (memory(&clock), memory(&clock));
    run_until(&file, &whole, &now_at(2.0), &VirtualClock::default(), |_| false).await.expect("replays");
    let two = ReplayOptions { max_events: Some(2), ..now_at(2.0) };
    let first = run_until(&file, &parts, &two, &VirtualClock::default(), |_| false).await.expect("replays");
    assert_eq!(first.outcome, Outcome::LimitReached);
    clock.advance(Duration::from_secs(3_600));
    let second = run_until(&file, &parts, &now_at(2.0), &clock, |_| false).await.expect("goes on");
    assert_eq!((second.outcome, second.shift, second.run.records()), (Outcome::Complete, first.shift, 4));
    let times = |sent: Vec<(ArrivalTime, String)>| {
        let mut times: Vec<String> = sent.into_iter().map(|(_, time)| time).collect();
        times.sort();
        times
    };
    assert_eq!(times(sent(&parts).await), times(sent(&whole).await));
    assert!(clock.wall() >= BEGIN + HOUR, "an hour later");
    // A complete job stays complete, and with its own times the input is another job.
    let again = run_until(&file, &parts, &now_at(2.0), &clock, |_| false).await.expect("nothing to do");
    assert_eq!(again.outcome, Outcome::AlreadyComplete);
    assert_eq!(run(&file, &parts, &by(3)).await.expect("replays").run.records(), 6);
}

/// How much later than its own time each event arrived, in order of arrival.
async fn behind(stream: &MemoryStream) -> Vec<Span> {
    let mut sent = sent(stream).await;
    sent.sort();
    sent.into_iter().map(|(arrival, time)| behind_of(arrival, &time)).collect()
}

#[tokio::test]
async fn no_event_is_sent_before_its_time_however_often_a_replay_is_stopped() {
    let (clock, file) = (VirtualClock::default(), File::new(b"1,U1,C1\n501,U1,C2\n1001,U1,C3\n1002,U1,C4\n"));
    let stream = memory(&clock);
    for (most, pause) in [(1, 20), (2, 100), (4, 0)] {
        let options = ReplayOptions { max_events: Some(most), ..now_at(1.0) };
        run_until(&file, &stream, &options, &clock, |_| false).await.expect("replays");
        clock.advance(Duration::from_secs(pause));
    }
    let behind = behind(&stream).await;
    assert!(behind.iter().all(|behind| (-ONE_TICK..SECOND).contains(behind)), "{behind:?}");
}

#[tokio::test]
async fn a_silence_is_waited_for_and_a_corrupt_clock_is_not() {
    let (clock, file) = (VirtualClock::default(), File::new(b"1,U1,C1\n40001,U1,C2\n999999,U1,C3\n40002,U1,C4\n"));
    let stream = memory(&clock);
    run_until(&file, &stream, &ReplayOptions { batch_size: Some(1), ..now_at(1.0) }, &clock, |_| false)
        .await
        .expect("replays");
    let behind = behind(&stream).await;
    let near = |behind: Span, seconds: i64| (-ONE_TICK..SECOND).contains(&(behind - seconds * SECOND));
    // The event of the corrupt clock is sent like any other after a long silence, and the next ones a little late.
    let waited = SPEED_WAIT_MAX.as_secs() as i64;
    assert!(near(behind[0], 0) && near(behind[1], 0), "{behind:?}");
    assert!(behind[2] < -900_000 * SECOND && behind[3] <= (waited + 1) * SECOND && behind[3] >= -SECOND, "{behind:?}");
}

#[tokio::test]
async fn what_would_not_look_live_is_refused() {
    let (stream, file) = (memory(&VirtualClock::default()), File::new(LINES));
    for pace in [Pace::Max, Pace::Rate(5.0)] {
        let told = run(&file, &stream, &ReplayOptions { pace, ..now_at(1.0) }).await.expect_err("refused").to_string();
        assert!(told.contains("give --speed"), "{told}");
    }
    run(&file, &stream, &ReplayOptions { max_events: Some(1), ..now_at(3.0) }).await.expect("replays");
    let told = run(&file, &stream, &now_at(4.0)).await.expect_err("refused").to_string();
    assert!(told.contains("--speed 3") && told.contains("not 4"), "{told}");
    run(&file, &stream, &now_at(3.0)).await.expect("goes on");
}

#[tokio::test]
async fn a_program_that_knows_no_shifts_does_not_go_on_with_one() {
    let (stream, file) = (memory(&VirtualClock::default()), File::new(LINES));
    run(&file, &stream, &ReplayOptions { max_events: Some(1), ..now_at(1.0) }).await.expect("replays");
    let job = super::super::identify(&[Source::File(file.path.clone())], Clock::Now).expect("a file").name;
    let note = stream.progress(&job).await.expect("there").expect("one");
    assert!(note.contains(r#""version":2"#), "{note}");
    let later = note.replace(r#""version":2"#, r#""version":3"#);
    stream.put(vec![], Some(ProducerProgress { job, state: later })).await.expect("stored");
    let told = run(&file, &stream, &now_at(1.0)).await.expect_err("refused").to_string();
    assert!(told.contains("version 3"), "{told}");
}
