//! Cases that once gave wrong rows, each as small as possible.

use crate::agreement::agree;
use crate::schedule::{Move, Origin, Schedule};
use crate::service::run;
use authpulse_oracle::cases::Case;
use authpulse_oracle::{Settings, evaluate, fixed};

/// Runs a case with several seeds for what the schedule leaves to chance.
fn check(script: &str, moves: &[Move]) {
    let settings = Settings::default();
    let case = Case { shards: fixed::shards(&settings, script), settings };
    let outcome = evaluate(&case.settings, &case.shards);
    for chance in 0..8 {
        let schedule = Schedule { moves: moves.to_vec(), chance };
        let answer = run(&case, &schedule).and_then(|answer| agree(&case, &outcome, answer));
        answer.unwrap_or_else(|fault| panic!("{fault}"));
    }
}

/// One parent had written its hours while the other lagged behind in scoring. A child that was rebuilt from all rows then wrote the
/// first parent's hours again.
#[test]
fn a_child_rebuilt_from_all_rows_writes_no_hour_of_a_parent_again() {
    check(
        r"shard s0 0..7
          1000 U2 C1
          1000 U4 C1
          1000 U5 C1
          shard s1 8..f
          5000 U1 C1
          5000 U3 C1
          5000 U9 C1
          8600 U1 C1
          shard s2 from s0,s1",
        &[
            Move::Take { shard: 0, steps: 10 },
            Move::Take { shard: 1, steps: 10 },
            Move::Store { shard: 0, piece_bytes: None },
            Move::Store { shard: 1, piece_bytes: None },
            Move::Score { shard: 1 },
            Move::Store { shard: 1, piece_bytes: None },
            Move::Store { shard: 2, piece_bytes: None },
            Move::Crash { shard: 0, from: Origin::Rows },
        ],
    );
}

/// Two events have the same user, time and own id, on two computers; one was accepted but not yet scored when the snapshot was taken.
/// Compared by user, time and id alone, the row of the other was mistaken for it, and the first was added twice.
#[test]
fn events_of_one_id_and_instant_are_told_apart_by_their_computers() {
    check(
        r"shard s1 0..7
          1000 U2 C1
          1000 U4 C1
          1000 U5 C1
          1d+4000 U4 C1
          1d+4000 U5 C1
          1d+4000 U2 C2 id=a
          1d+4000 U2 C3 id=a
          1d+4001 U2 C2 id=a
          1d+4001 U2 C3 id=a
          1d+4000 U2 C3 id=a
          shard s2 8..f
          1000 U1 C1
          1000 U3 C1
          1000 U9 C1
          1d+4000 U1 C1
          1d+4000 U3 C1
          1d+4000 U9 C1",
        &[
            // The second day cannot be scored before the other shard has published its counts of the first.
            Move::Take { shard: 0, steps: 6 },
            Move::Store { shard: 0, piece_bytes: Some(500) },
            Move::Take { shard: 0, steps: 1 },
            Move::Take { shard: 1, steps: 6 },
            Move::Store { shard: 1, piece_bytes: None },
            Move::Score { shard: 0 },
            Move::Store { shard: 0, piece_bytes: None },
            Move::Crash { shard: 0, from: Origin::Snapshot { back: 0 } },
            Move::Take { shard: 0, steps: 9 },
        ],
    );
}
