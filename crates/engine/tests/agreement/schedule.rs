//! Schedules: when a service does what. The rows must not depend on it.

use proptest::collection::vec;
use proptest::prelude::*;

/// One schedule.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// The moves are repeated in this order until every shard is read to its end.
    pub moves: Vec<Move>,
    /// The seed for all that the moves leave open.
    pub chance: u64,
}

impl Schedule {
    /// Reads every shard in one go; nothing goes wrong.
    pub const CALM: Schedule = Schedule { moves: Vec::new(), chance: 0 };
}

/// What happens next. `shard` is an index into the list of shards that are being read.
#[derive(Debug, Clone, Copy)]
pub enum Move {
    /// A shard takes up to this many steps.
    Take { shard: u8, steps: u8 },
    /// A shard scores what it can.
    Score { shard: u8 },
    /// A shard stores an entry, with a snapshot in pieces of this many bytes or without one.
    Store { shard: u8, piece_bytes: Option<u16> },
    /// A shard loses what it has not stored, and is rebuilt.
    Crash { shard: u8, from: Origin },
    /// All shards crash, and the popularity index is rebuilt too.
    CrashAll { from: Origin },
    /// The popularity index drops the days that no shard can need any more.
    Forget,
}

/// From what a shard is rebuilt, beside its last entry.
#[derive(Debug, Clone, Copy)]
pub enum Origin {
    /// The snapshot that is `back` before the newest, and the rows stored since. If there is no snapshot: as `Rows`.
    Snapshot { back: u8 },
    /// All rows, also those of its ancestors.
    Rows,
    /// The ends of its parents, and its own rows. If it has no parents: as `Rows`.
    Parents,
}

/// Random choices of a run, from its seed.
pub struct Chance(pub u64);

impl Chance {
    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ (bits >> 31)) % limit as u64) as usize
    }

    /// Shuffles things.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for at in (1..things.len()).rev() {
            things.swap(at, self.below(at + 1));
        }
    }

    /// A random way to rebuild a shard.
    pub fn origin(&mut self) -> Origin {
        match self.below(4) {
            0 => Origin::Rows,
            1 => Origin::Parents,
            back => Origin::Snapshot { back: back as u8 - 2 },
        }
    }
}

/// A strategy for random schedules.
pub fn schedule() -> impl Strategy<Value = Schedule> {
    (vec(one_move(), 0..60), any::<u64>()).prop_map(|(moves, chance)| Schedule { moves, chance })
}

fn one_move() -> impl Strategy<Value = Move> {
    let shard = any::<u8>;
    let piece_bytes = prop_oneof![2 => Just(None), 1 => (1..2_000u16).prop_map(Some)];
    prop_oneof![
        8 => (shard(), 1..24u8).prop_map(|(shard, steps)| Move::Take { shard, steps }),
        4 => shard().prop_map(|shard| Move::Score { shard }),
        4 => (shard(), piece_bytes).prop_map(|(shard, piece_bytes)| Move::Store { shard, piece_bytes }),
        2 => (shard(), origin()).prop_map(|(shard, from)| Move::Crash { shard, from }),
        1 => origin().prop_map(|from| Move::CrashAll { from }),
        1 => Just(Move::Forget),
    ]
}

fn origin() -> impl Strategy<Value = Origin> {
    prop_oneof![
        2 => (0..3u8).prop_map(|back| Origin::Snapshot { back }),
        1 => Just(Origin::Rows),
        1 => Just(Origin::Parents),
    ]
}
