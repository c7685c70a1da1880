//! What putting records costs, at the list price of us-east-1. Pure.

use crate::limits::{PUT_UNIT_BYTES, PUT_UNIT_DOLLARS, SHARD_HOUR_DOLLARS, WRITE_BYTES, WRITE_RECORDS};
use std::fmt;

/// What was put, in the units of the bill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// User records: those that the producer put.
    pub user_records: u64,
    /// Kinesis records stored, including repeated ones.
    pub records: u64,
    /// The bytes of these, partition keys included.
    pub bytes: u64,
    /// PUT payload units: one for each 25 KB (25,600 bytes), or part of them, of a record.
    pub units: u64,
    /// The number of calls of PutRecords.
    pub calls: u64,
    /// The number of entries that were throttled and sent again.
    pub throttled: u64,
    /// User records that were sent again because they were stored on another shard than predicted.
    pub misplaced: u64,
}

impl Cost {
    /// Counts a Kinesis record that was stored.
    pub fn stored(&mut self, bytes: usize) {
        self.records += 1;
        self.bytes += bytes as u64;
        self.units += bytes.div_ceil(PUT_UNIT_BYTES).max(1) as u64;
    }

    /// Adds what another counter has counted.
    pub fn add(&mut self, other: &Cost) {
        self.user_records += other.user_records;
        self.records += other.records;
        self.bytes += other.bytes;
        self.units += other.units;
        self.calls += other.calls;
        self.throttled += other.throttled;
        self.misplaced += other.misplaced;
    }

    /// How many user records go into a PUT payload unit.
    pub fn per_unit(&self) -> f64 {
        self.user_records as f64 / (self.units as f64).max(1.0)
    }

    /// What the PUT payload units of a billion user records like these cost, in dollars.
    pub fn put_dollars_per_billion(&self) -> f64 {
        self.units as f64 / (self.user_records as f64).max(1.0) * 1e9 * PUT_UNIT_DOLLARS / 1e6
    }

    /// What the shard hours for a billion user records like these cost, in dollars, with shards half used.
    pub fn shard_dollars_per_billion(&self) -> f64 {
        let each = |n: u64| n as f64 / (self.user_records as f64).max(1.0) * 1e9;
        let seconds = (each(self.records) / WRITE_RECORDS).max(each(self.bytes) / WRITE_BYTES);
        seconds / 3_600.0 / 0.5 * SHARD_HOUR_DOLLARS
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (put, shards) = (self.put_dollars_per_billion(), self.shard_dollars_per_billion());
        write!(
            f,
            "{:.1} events per PUT unit; a billion like these cost ${put:.2} for PUT units and ${shards:.2} for shards used by \
             half (provisioned, us-east-1)",
            self.per_unit()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prices_are_those_of_the_list() {
        // A million events of 120 bytes each, one by one: $14.00 and $8.33 a billion.
        let mut plain = Cost { user_records: 1_000, ..Cost::default() };
        (0..1_000).for_each(|_| plain.stored(120));
        assert_eq!(plain.units, 1_000);
        assert_eq!(plain.to_string().split(';').next(), Some("1.0 events per PUT unit"));
        assert!((plain.put_dollars_per_billion() - 14.0).abs() < 1e-9);
        assert!((plain.shard_dollars_per_billion() - 8.333).abs() < 1e-3);
        // In aggregates of 25,600 bytes, 213 each.
        let mut aggregated = Cost { user_records: 213, ..Cost::default() };
        aggregated.stored(25_600);
        assert!((aggregated.put_dollars_per_billion() - 0.0657).abs() < 1e-3, "{aggregated}");
        aggregated.stored(25_601);
        aggregated.stored(0);
        assert_eq!(aggregated.units, 1 + 2 + 1);
    }
}
