//! Clocks that are ahead of arrival: how the watermark moves, step by step, and which hours and days stay open.

use crate::agreement::agree;
use crate::schedule::{Move, Origin, Schedule};
use crate::service::run;
use authpulse_engine::settings::ARRIVAL_SLACK;
use authpulse_engine::{Incoming, Output, PopularityIndex, Settings, Shard, SourceKind};
use authpulse_event::time::{DAY, DEFAULT_BASE, HOUR, SECOND};
use authpulse_event::{ArrivalTime, EventTime, HashRange, Position, Reading, parse_record};
use authpulse_oracle::cases::Case;
use authpulse_oracle::fixed::{self, SIXTY, sixty};

/// Admits an event of a user on a stream; times are in seconds since `base`. Returns "accepted", or the reason of the rejection.
fn admit(shard: &mut Shard, out: &mut Output, user: &str, time: i64, arrival: i64) -> &'static str {
    let payload = format!(r#"{{"time":{time},"user":"{user}","computer":"C"}}"#).into_bytes();
    let parsed = parse_record(&payload, user.as_bytes(), Reading::three_fields(DEFAULT_BASE));
    let arrival = ArrivalTime::from_micros((DEFAULT_BASE + arrival * SECOND).micros());
    let payload_bytes = payload.len() as u64;
    let before = out.rejected.len();
    shard.admit(Incoming { payload: &payload, payload_bytes, position: Position::START, arrival }, parsed, out);
    out.rejected.get(before).map_or("accepted", |rejected| rejected.reason.name())
}

fn seconds(time: Option<EventTime>) -> i64 {
    (time.expect("a time") - DEFAULT_BASE) / SECOND
}

/// The worked example in section 2 of the semantics: arrival, event time, the watermark after it, and the decision.
#[test]
fn the_watermark_follows_arrival_where_clocks_are_ahead() {
    let mut shard = Shard::new(Settings::default(), SourceKind::Stream, HashRange::FULL);
    let mut out = Output::default();
    for (n, (arrival, time, watermark, became)) in (0..).zip([
        (1000, 1000, 700, "accepted"),
        (1010, 1308, 710, "accepted"),
        (1020, 1000, 710, "accepted"),
        (1030, 1331, 710, "future"),
        (1320, 1320, 1020, "accepted"),
        (1330, 1015, 1020, "late"),
    ]) {
        let told = admit(&mut shard, &mut out, &format!("U{n}"), time, arrival);
        assert_eq!((seconds(shard.watermark()), told), (watermark, became), "arrival {arrival}");
    }
    assert_eq!(seconds(shard.high_water()), 1320);
}

/// Sixty logons within a minute are delivered together at its end. One record whose clock is ahead must not change their scores.
#[test]
fn one_clock_ahead_does_not_hide_a_burst() {
    for ahead in [false, true] {
        let settings = authpulse_oracle::Settings::default();
        let case = Case { shards: fixed::shards(&settings, &sixty(ahead)), settings };
        let answer = run(&case, &Schedule::CALM).unwrap();
        let of = |level| answer.curated.iter().filter(|row| row.risk_level == level).count();
        assert_eq!((of("CRITICAL"), of("HIGH")), SIXTY, "with a record ahead: {ahead}");
        assert_eq!(answer.rejected, []);
    }
}

/// The watermark has passed the day that an event ahead needs for its score, however short `settle` is. Otherwise scoring, which goes
/// in order of acceptance, would wait for itself.
#[test]
fn scoring_never_waits_for_the_shard_itself() {
    for (tolerance, settle) in
        [(0, 0), (300, 300), (300, 599), (300, 600), (3_599, 3_599), (3_599, 3_899), (300, 3_600)]
    {
        let mut settings = Settings::default();
        (settings.time.tolerance, settings.time.settle) = (tolerance * SECOND, settle * SECOND);
        let mut index = PopularityIndex::new(settings.time.lookback_days);
        let mut shard = Shard::new(settings.clone(), SourceKind::Stream, HashRange::FULL);
        let mut out = Output::default();
        let midnight = DAY / SECOND;
        for time in [midnight - 7_200, midnight - 10] {
            assert_eq!(admit(&mut shard, &mut out, "U1", time, time), "accepted");
        }
        // Each second around the moment at which the day closes.
        for time in midnight + settle - 2..midnight + settle + 3 {
            assert_eq!(admit(&mut shard, &mut out, "U1", time, time - 300), "accepted", "settle {settle}");
            shard.cut().daily_counts.iter().for_each(|counts| index.add_counts(counts));
            shard.score_ready(&mut index, &mut out);
            assert_eq!(
                shard.unscored_len(),
                0,
                "tolerance {tolerance}, settle {settle}: {:?}",
                shard.waits_for_day(&index)
            );
        }
    }
}

/// A restart neither loses nor doubles hours and days that are open beyond the high-water mark. With the longest tolerance and slack
/// these are three hours and two days.
#[test]
fn hours_and_days_beyond_the_high_water_mark_are_open() {
    // Tolerance, and a `settle` longer than tolerance and slack: a shorter one would close the day.
    let cases = [
        (300, 3_600, "86200 U1 C1 @86200\n86450 U1 C2 @86200\n86300 U2 C1 @86201\n86399 U1 C2 @86201"),
        (
            3_599,
            3_900,
            "86399 U1 C1 @86399\n82810 U1 C2 @86399\n86400 U1 C1 @86400\n86699 U1 C3 @86399\n90298 U1 C4 @89998\n\
             86400 U1 C5 @89998\n86399 U1 C6 @89998\n86399 U2 C6 @89998\n90299 U2 C1 @89999",
        ),
    ];
    for (tolerance, settle, script) in cases {
        let settings = authpulse_oracle::Settings { tolerance, settle, ..Default::default() };
        let case = Case { shards: fixed::shards(&settings, &format!("shard s1\n{script}")), settings };
        let outcome = authpulse_oracle::evaluate(&case.settings, &case.shards);
        assert_eq!(outcome.rejected, []);
        for (piece_bytes, from) in [(None, Origin::Rows), (Some(1), Origin::Snapshot { back: 0 })] {
            let moves = vec![
                Move::Take { shard: 0, steps: 1 },
                Move::Score { shard: 0 },
                Move::Store { shard: 0, piece_bytes },
                Move::Crash { shard: 0, from },
            ];
            let answer = run(&case, &Schedule { moves, chance: 0 }).and_then(|it| agree(&case, &outcome, it));
            answer.unwrap_or_else(|fault| panic!("{fault}"));
        }
    }
    let reach = 3_599 * SECOND + ARRIVAL_SLACK;
    assert!(reach > HOUR && reach < DAY, "two open days are enough");
}
