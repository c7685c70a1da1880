//! Clocks that are ahead: how far an event with a time beyond its arrival raises the watermark.

use super::{Fixed, case, case_with};
use crate::model::Settings;

const SENTENCE: &str = "the highest of `min(event_time, arrival)` over the accepted events";

/// How many of the logons of [`sixty`] score CRITICAL, and how many HIGH.
pub const SIXTY: (usize, usize) = (13, 38);

/// Sixty logons on sixty computers within a minute, delivered at its end, 11 to 70 s late. If `ahead`, a record of another user, whose
/// clock is 298 s ahead, comes right before them.
pub fn sixty(ahead: bool) -> String {
    let mut script = "shard s1\n9990 U1 H0 @9990\n9992 U1 H0 @9992\n9994 U1 H0 @9994\n".to_owned();
    if ahead {
        script += "10367 U2 C1 @10069\n";
    }
    script.extend((0..60).map(|at| format!("{} U1 H{at} @10070\n", 10_000 + at)));
    script
}

pub(super) fn clocks() -> Vec<Fixed> {
    // A day closes soon after its end, so that an event ahead needs a day that its shard would not have passed.
    let quick = Settings { settle: 300, min_hosts: 3, ..Settings::default() };
    let burst = |name, ahead: bool| {
        let last = "10059 U1 H59 -> 90 CRITICAL NBL 63 63 60 60 -";
        case(name, SENTENCE, &sixty(ahead), &format!("{last}\n+{}", 62 + usize::from(ahead)))
    };
    vec![
        case(
            "a_clock_ahead_makes_nothing_late",
            SENTENCE,
            r"shard s1
              1000 U1 C1 @1000
              1308 U2 C2 @1010
              1000 U3 C3 @1020
              1331 U4 C4 @1030
              1320 U1 C5 @1320
              1015 U3 C6 @1330",
            r#"1000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -
               1308 U2 C2 -> 30 MEDIUM N 1 1 1 1 -
               1000 U3 C3 -> 30 MEDIUM N 1 1 1 1 -
               1320 U1 C5 -> 30 MEDIUM N 2 2 2 2 -
               future {"time":1331
               late {"time":1015"#,
        ),
        burst("sixty_logons_delivered_late", false),
        burst("sixty_logons_delivered_late_after_a_clock_ahead", true),
        case(
            "a_clock_ahead_bends_the_windows_of_its_own_user",
            "a clock that is ahead bends the windows of its own user alone",
            "shard s1\n5000 U1 C1 @5000\n8600 U1 C2 @8300\n5100 U1 C3 @8300\n8200 U1 C3 @8300\n8200 U2 C3 @8300",
            r#"5000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -
               8600 U1 C2 -> 30 MEDIUM N 1 2 1 2 -
               8200 U1 C3 -> 30 MEDIUM N 2 3 2 3 -
               8200 U2 C3 -> 30 MEDIUM N 1 1 1 1 -
               late {"time":5100"#,
        ),
        case(
            "the_high_water_mark_is_measured_by_arrival",
            "High-water mark = watermark + tolerance",
            "shard s1\n5000 U1 C1 @4700\n8300 U2 C2 @9000\n8300+1us U3 C3 @9000",
            "5000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\n8300 U2 C2 -> 30 MEDIUM N 1 1 1 1 -\n8300+1us U3 C3 -> 30 MEDIUM N 1 1 1 1 -",
        ),
        case(
            "beyond_max_jump_from_the_arrival_of_one_ahead",
            "the time lies more than `max_jump` (3600 s) beyond it",
            "shard s1\n5000 U1 C1 @4700\n8300+1us U2 C2 @9000",
            "5000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\nwaiting 1",
        ),
        case(
            "arrival_of_one_that_waited_is_its_own",
            "each record's own arrival, also if it waited or was inherited",
            "5000 U1 C1 @4700\n4700 U2 C2 @4700\n4700 U3 C3 @4700\n4400 U1 C4 @4700\n4399 U1 C5 @4700",
            r"5000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -
              4700 U2 C2 -> 30 MEDIUM N 1 1 1 1 -
              4700 U3 C3 -> 30 MEDIUM N 1 1 1 1 -
              4400 U1 C4 -> 30 MEDIUM N 2 2 2 2 -
              late 4399",
        ),
        case(
            "arrival_of_one_that_was_inherited_is_its_own",
            "each record's own arrival, also if it waited or was inherited",
            r"shard file
              5000 U1 C1 @4700
              shard s1 from file
              4900 U2 C2 @4900
              4600 U3 C3 @4901
              4599 U3 C4 @4902",
            r#"5000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -
               4900 U2 C2 -> 30 MEDIUM N 1 1 1 1 -
               4600 U3 C3 -> 30 MEDIUM N 1 1 1 1 -
               late {"time":4599"#,
        ),
        case_with(
            quick,
            "a_day_closed_for_one_ahead",
            "or the end of the newest day closed for an accepted event (section 5)",
            r"shard s1
              86000 U1 C1 @86000
              86000 U2 C2 @86000
              86001 U3 C3 @86001
              86700 U1 C1 @86450
              86399 U2 C2 @86460
              86400 U2 C4 @86460",
            r#"86000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -
               86000 U2 C2 -> 30 MEDIUM N 1 1 1 1 -
               86001 U3 C3 -> 30 MEDIUM N 1 1 1 1 -
               86700 U1 C1 -> 10 LOW R 2 2 1 1 1
               86400 U2 C4 -> 30 MEDIUM N 2 2 2 2 -
               late {"time":86399"#,
        ),
    ]
}
