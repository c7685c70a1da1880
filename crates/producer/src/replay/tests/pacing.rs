//! When records are sent, on a clock that only the replay moves.

use super::sending::events;
use super::*;

fn paced(pace: Pace) -> ReplayOptions {
    ReplayOptions { pace, ..ReplayOptions::default() }
}

/// Arrival and payload of each record, in order.
async fn replayed(file: &[u8], options: &ReplayOptions) -> Vec<(Duration, String)> {
    let clock = VirtualClock::default();
    let stream = memory(&clock);
    run_until(&File::new(file), &stream, options, &clock, |_| false).await.expect("replays");
    assert_holds(&stream, file).await;
    let records = in_order(&stream).await;
    let arrivals = records.iter().map(|record| Duration::from_micros(record.arrival.micros().unsigned_abs()));
    arrivals.zip(payloads(&records)).collect()
}

#[tokio::test]
async fn a_rate_is_kept_smoothly() {
    let arrivals = replayed(&events(10_000), &paced(Pace::default())).await;
    for (n, (arrival, _)) in arrivals.iter().enumerate() {
        let due = Duration::from_micros(n as u64 * 500);
        assert!((due..due + TICK).contains(arrival), "record {n} at {arrival:?}");
    }
    let mut appends: Vec<Duration> = arrivals.iter().map(|(arrival, _)| *arrival).collect();
    appends.dedup();
    assert_eq!(appends.len(), 100, "twenty a second for five seconds");
}

#[tokio::test]
async fn a_low_rate_sends_one_at_a_time() {
    let arrivals = replayed(&events(4), &paced(Pace::Rate(0.1))).await;
    assert_eq!(arrivals.iter().map(|(arrival, _)| arrival.as_secs()).collect::<Vec<_>>(), [0, 10, 20, 30]);
}

#[tokio::test]
async fn a_high_rate_keeps_to_the_batch_size() {
    let options = ReplayOptions { batch_size: Some(100), ..paced(Pace::Rate(1e6)) };
    let arrivals = replayed(&events(1_000), &options).await;
    for (arrival, _) in &arrivals {
        assert!(*arrival < Duration::from_millis(1));
    }
}

/// A slow stream makes the replay late; it catches up by a second's worth, no more.
#[tokio::test]
async fn what_was_missed_is_caught_up_within_bounds() {
    let clock = VirtualClock::default();
    let stream = memory(&clock);
    let (mut appends, slow) = (0, clock.clone());
    let stall = |_: Status| {
        appends += 1;
        if appends == 51 {
            slow.advance(Duration::from_secs(60));
        }
        false
    };
    let (file, options) = (File::new(&events(200)), paced(Pace::Rate(10.0)));
    let summary = run_until(&file, &stream, &options, &clock, stall).await.expect("replays");
    assert_eq!(summary.run.events, 200);
    let late = in_order(&stream).await.iter().filter(|record| record.arrival.micros() / 1_000 == 64_900).count();
    assert_eq!(late, 11, "the one that was due and those of a second");
    assert_eq!(clock.now(), Duration::from_millis(19_900 + 60_000 - 100 - 1_000));
}

#[tokio::test]
async fn event_time_is_followed() {
    let file = b"header\n100,U1,C1\n100,U2,C1\n110,U1,C1\nbroken\n105,U1,C2\n2015-01-01T00:02:00Z,U1,C1\n";
    let arrivals = replayed(file, &paced(Pace::Speed(2.0))).await;
    let seconds: Vec<u64> = arrivals.iter().map(|(arrival, _)| arrival.as_secs()).collect();
    assert_eq!(seconds, [0, 0, 0, 5, 5, 5, 10]);
}

#[tokio::test]
async fn a_long_silence_is_cut_and_a_new_beginning_does_not_wait() {
    let file = b"100,U1,C1\n99999999999,U1,C1\n101,U1,C1\n111,U1,C1\n5000,U1,C1\n5,U1,C1\n6,U1,C1\n";
    let arrivals = replayed(file, &paced(Pace::Speed(1.0))).await;
    let seconds: Vec<u64> = arrivals.iter().map(|(arrival, _)| arrival.as_secs()).collect();
    let cut = SPEED_WAIT_MAX.as_secs();
    assert_eq!(seconds, [0, cut, cut, cut + 10, 2 * cut + 10, 2 * cut + 10, 2 * cut + 11]);
}

#[tokio::test]
async fn a_fast_speed_sends_ticks_of_event_time() {
    // A second of event time takes a millisecond: 50 seconds are a tick.
    let file: Vec<u8> = (1..=200).flat_map(|second| format!("{second},U1,C1\n").into_bytes()).collect();
    let mut appends: Vec<Duration> =
        replayed(&file, &paced(Pace::Speed(1_000.0))).await.into_iter().map(|r| r.0).collect();
    appends.dedup();
    assert_eq!(appends, [49, 99, 149, 199].map(Duration::from_millis));
}

#[tokio::test]
async fn the_pace_of_a_run_that_goes_on_begins_anew() {
    let clock = VirtualClock::default();
    let stream = memory(&clock);
    let file = File::new(&events(100));
    for _ in 0..2 {
        let stopped =
            run_until(&file, &stream, &paced(Pace::Rate(1.0)), &clock, |status| status.run.events == 50).await;
        assert_eq!(stopped.expect("replays").run.events, 50);
    }
    assert_eq!(clock.now(), Duration::from_secs(98));
}

#[tokio::test]
async fn the_clock_of_this_machine_runs() {
    let clock = SystemPace::default();
    let before = clock.now();
    tokio::task::LocalSet::new().run_until(clock.sleep(Duration::from_millis(5))).await;
    assert!(clock.now() - before >= Duration::from_millis(5));
}
