//! Cases that once had another answer, as small as they get.

use crate::agreement::agree;
use crate::schedule::{Move, Origin, Schedule};
use crate::service::run;
use authpulse_oracle::cases::Case;
use authpulse_oracle::{Settings, evaluate, fixed};

fn check(script: &str, moves: Vec<Move>) {
    let settings = Settings::default();
    let case = Case { shards: fixed::shards(&settings, script), settings };
    let outcome = evaluate(&case.settings, &case.shards);
    let answer = run(&case, &Schedule { moves, chance: 0 }).and_then(|answer| agree(&case, &outcome, answer));
    answer.unwrap_or_else(|fault| panic!("{fault}"));
}

/// A parent had written its hours, the other one lagged behind in scoring. Rebuilt from all rows, the heir wrote the first
/// parent's hours again.
#[test]
fn an_heir_rebuilt_from_all_rows_writes_no_hour_of_a_parent_again() {
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
        vec![
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
