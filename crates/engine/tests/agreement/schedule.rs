//! When a service does what: the part of a run that must not matter.

use proptest::collection::vec;
use proptest::prelude::*;

/// How a run goes.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// Made one after another, again and again, until every shard is read to its end.
    pub moves: Vec<Move>,
    /// Decides what the moves leave open.
    pub chance: u64,
}

impl Schedule {
    /// Every shard is read in one go, and nothing goes wrong.
    pub const CALM: Schedule = Schedule { moves: Vec::new(), chance: 0 };
}

/// What happens next. `shard` is a place in the list of those that are being read.
#[derive(Debug, Clone, Copy)]
pub enum Move {
    /// A shard takes up to so many steps.
    Take { shard: u8, steps: u8 },
    /// It scores what it can.
    Score { shard: u8 },
    /// It stores an entry, with a snapshot in pieces of so many bytes or without.
    Store { shard: u8, piece_bytes: Option<u16> },
    /// It loses what it has not stored, and is rebuilt.
    Crash { shard: u8, from: Origin },
    /// All do, and the popularity index too.
    CrashAll { from: Origin },
    /// The popularity index forgets what nobody can ask for any more.
    Forget,
}

/// What a shard is rebuilt from, besides its last entry.
#[derive(Debug, Clone, Copy)]
pub enum Origin {
    /// A snapshot, this many before the newest, and the rows stored since. Without any: as `Rows`.
    Snapshot { back: u8 },
    /// All rows there are, its ancestors' too.
    Rows,
    /// The ends of its parents, and its own rows. Without parents: as `Rows`.
    Parents,
}

/// Where a run leaves a choice.
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

    /// Puts things in any order.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for at in (1..things.len()).rev() {
            things.swap(at, self.below(at + 1));
        }
    }

    /// Any way to rebuild a shard.
    pub fn origin(&mut self) -> Origin {
        match self.below(4) {
            0 => Origin::Rows,
            1 => Origin::Parents,
            back => Origin::Snapshot { back: back as u8 - 2 },
        }
    }
}

/// Any schedule.
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
