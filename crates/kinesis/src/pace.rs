//! How fast a shard is written to, and how long to wait after it refused. Pure: times and chance come in.

use crate::limits::{BACKOFF_FIRST, BACKOFF_MAX, WRITE_BYTES, WRITE_RECORDS};
use std::time::Duration;

/// Pauses after failures in a row: full jitter, drawn from 0 to a bound that doubles
/// (<https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/>).
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff::new(BACKOFF_FIRST, BACKOFF_MAX)
    }
}

impl Backoff {
    /// Pauses whose bound doubles from `first` up to `most`.
    pub fn new(first: Duration, most: Duration) -> Backoff {
        Backoff { first, most, failures: 0 }
    }

    /// Counts one more failure and returns how long to wait. `chance` is from 0 to 1.
    pub fn failed(&mut self, chance: f64) -> Duration {
        let bound = self.most.min(self.first * 2u32.saturating_pow(self.failures.min(16)));
        self.failures += 1;
        bound.mul_f64(chance.clamp(0.0, 1.0))
    }

    /// Ends the failures in a row.
    pub fn worked(&mut self) {
        self.failures = 0;
    }

    /// The number of failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

/// The most credit that is kept for a burst, in seconds of the rate: a shard allows a burst of about a second.
const BURST: f64 = 1.0;
/// The most that one call may cost, in seconds of the rate: a call above a shard's credit is throttled in part, whenever it is sent.
const CALL: f64 = 0.5;
/// The factor after a throttled entry, as TCP does on loss, but weaker.
const DECREASE: f64 = 0.7;
/// The factor after a second that used most of the rate and was not throttled.
const INCREASE: f64 = 1.25;
/// The rate never falls below this part of a shard's limit: otherwise a shard that others fill would never be tried again.
const FLOOR: f64 = 0.05;
/// The least cost of a record, in bytes: a shard takes 1,000 records a second.
const RECORD_COST: f64 = WRITE_BYTES / WRITE_RECORDS;

/// A shard's rate in bytes a second. It begins at the shard's limit, falls when the shard throttles, and grows slowly while it does not.
/// It has no upper bound, because some services that speak Kinesis have other limits than AWS.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    bytes_a_second: f64,
    credit: f64,
    credited_at: Duration,
    /// Cost since `second_began`.
    spent: f64,
    second_began: Duration,
    throttled_at: Option<Duration>,
}

/// What a call costs a shard, in bytes; a record costs at least as much as 1,000 bytes.
pub fn cost(entries: usize, bytes: usize) -> f64 {
    (bytes as f64).max(entries as f64 * RECORD_COST)
}

impl Rate {
    /// The rate of a shard's limits, with a second's credit.
    pub fn new(now: Duration) -> Rate {
        Rate {
            bytes_a_second: WRITE_BYTES,
            credit: WRITE_BYTES * BURST,
            credited_at: now,
            spent: 0.0,
            second_began: now,
            throttled_at: None,
        }
    }

    /// The present rate, in bytes a second.
    pub fn bytes_a_second(&self) -> f64 {
        self.bytes_a_second
    }

    /// The most that a call may cost; a single record that costs more is a call of its own.
    pub fn call(&self) -> f64 {
        self.bytes_a_second * CALL
    }

    /// How long to wait before a call. A call that costs more than any credit may go once the credit is full.
    pub fn wait(&mut self, now: Duration, cost: f64) -> Duration {
        self.refill(now);
        let needed = cost.min(self.bytes_a_second * BURST);
        if self.credit >= needed {
            Duration::ZERO
        } else {
            Duration::from_secs_f64((needed - self.credit) / self.bytes_a_second)
        }
    }

    /// Notes that a call was sent.
    pub fn spend(&mut self, now: Duration, cost: f64) {
        self.refill(now);
        self.credit -= cost;
        self.spent += cost;
    }

    /// Notes that this much of a call was throttled: it used nothing of the shard's limit.
    pub fn refund(&mut self, now: Duration, cost: f64) {
        self.credit += cost;
        self.refill(now);
    }

    /// Notes that a call came back with nothing throttled.
    pub fn worked(&mut self, now: Duration) {
        let elapsed = now.saturating_sub(self.second_began);
        if elapsed >= Duration::from_secs(1) {
            let used = self.spent / elapsed.as_secs_f64();
            let calm = self.throttled_at.is_none_or(|at| now.saturating_sub(at) >= Duration::from_secs(1));
            if calm && used >= 0.8 * self.bytes_a_second {
                self.bytes_a_second *= INCREASE;
            }
            (self.spent, self.second_began) = (0.0, now);
        }
    }

    /// Notes that the shard refused something. Several refusals within half a second count once: those calls were all on their way.
    pub fn throttled(&mut self, now: Duration) {
        if self.throttled_at.is_none_or(|at| now.saturating_sub(at) >= Duration::from_millis(500)) {
            self.bytes_a_second = (self.bytes_a_second * DECREASE).max(WRITE_BYTES * FLOOR);
            self.throttled_at = Some(now);
        }
        (self.spent, self.second_began) = (0.0, now);
    }

    fn refill(&mut self, now: Duration) {
        let gained = now.saturating_sub(self.credited_at).as_secs_f64() * self.bytes_a_second;
        self.credit = (self.credit + gained).min(self.bytes_a_second * BURST);
        self.credited_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_double_to_a_bound_and_begin_anew() {
        let mut backoff = Backoff::default();
        let bounds: Vec<Duration> = (0..8).map(|_| backoff.failed(1.0)).collect();
        assert_eq!(bounds[..3], [100, 200, 400].map(Duration::from_millis));
        assert_eq!(bounds[7], BACKOFF_MAX);
        assert_eq!(
            (backoff.failed(0.0), backoff.failures()),
            (Duration::ZERO, 9),
            "full jitter reaches down to nothing"
        );
        backoff.worked();
        assert_eq!(backoff.failed(0.5), Duration::from_millis(50));
        let mut long = Backoff::default();
        for _ in 0..100 {
            long.failed(1.0);
        }
        assert_eq!(long.failed(1.0), BACKOFF_MAX, "however long it lasts");
    }

    /// Sends calls of a cost for some seconds, to a shard that takes `limit` bytes a second. Returns how much it took a second at the
    /// end.
    fn sent(limit: f64, cost: f64, seconds: u64) -> f64 {
        let (mut now, mut rate) = (Duration::ZERO, Rate::new(Duration::ZERO));
        let (mut credit, mut credited, mut taken) = (limit, Duration::ZERO, 0.0);
        let measured_from = Duration::from_secs(seconds / 2);
        while now < Duration::from_secs(seconds) {
            now += rate.wait(now, cost) + Duration::from_millis(5);
            rate.spend(now, cost);
            credit = (credit + (now - credited).as_secs_f64() * limit).min(limit);
            credited = now;
            if credit >= cost {
                credit -= cost;
                rate.worked(now);
                taken += if now >= measured_from { cost } else { 0.0 };
            } else {
                rate.throttled(now);
            }
        }
        taken / (now - measured_from).as_secs_f64()
    }

    #[test]
    fn the_rate_finds_what_a_shard_takes() {
        for limit in [200_000.0, 1_000_000.0, 20_000_000.0] {
            let sent = sent(limit, limit / 20.0, 120);
            assert!((0.6 * limit..=1.05 * limit).contains(&sent), "{sent} of {limit}");
        }
    }

    /// Sends records of a size one by one, in calls as large as they may be, to a shard that throttles entry by entry. Returns how much
    /// it took a second at the end.
    fn sent_one_by_one(limit: f64, bytes: usize, seconds: u64) -> f64 {
        let (mut now, mut rate) = (Duration::ZERO, Rate::new(Duration::ZERO));
        let (mut credit, mut credited, mut taken) = (limit, Duration::ZERO, 0.0);
        let one = cost(1, bytes);
        while now < Duration::from_secs(seconds) {
            let entries = ((rate.call() / one) as usize).clamp(1, 500);
            now += rate.wait(now, one * entries as f64) + Duration::from_millis(5);
            rate.spend(now, one * entries as f64);
            credit = (credit + (now - credited).as_secs_f64() * limit).min(limit);
            credited = now;
            let took = ((credit / one) as usize).min(entries);
            credit -= took as f64 * one;
            taken += if now >= Duration::from_secs(seconds / 2) { took as f64 * one } else { 0.0 };
            if took < entries {
                rate.refund(now, one * (entries - took) as f64);
                rate.throttled(now);
            } else {
                rate.worked(now);
            }
        }
        taken / (seconds / 2) as f64
    }

    #[test]
    fn records_one_by_one_find_what_a_shard_takes_whatever_their_size() {
        for limit in [100_000.0, 1_000_000.0] {
            for bytes in [100, 2_000, 4_000, 10_000, 100_000] {
                let sent = sent_one_by_one(limit, bytes, 240);
                assert!((0.6 * limit..=1.05 * limit).contains(&sent), "{sent} of {limit}, records of {bytes} bytes");
            }
        }
    }

    #[test]
    fn small_records_count_by_their_number() {
        assert_eq!((cost(500, 60_000), cost(2, 100_000)), (500_000.0, 100_000.0));
        let mut rate = Rate::new(Duration::ZERO);
        rate.spend(Duration::ZERO, cost(1_000, 0));
        let wait = rate.wait(Duration::ZERO, cost(500, 0));
        assert!((0.49..=0.51).contains(&wait.as_secs_f64()), "{wait:?}");
        // A call that costs more than a second's worth waits for a full second, and not for ever.
        assert!(rate.wait(Duration::ZERO, 5e6) <= SECOND && rate.wait(2 * SECOND, 5e6) == Duration::ZERO);
    }

    #[test]
    fn refusals_on_their_way_count_once_and_there_is_a_floor() {
        let mut rate = Rate::new(Duration::ZERO);
        (0..10).for_each(|_| rate.throttled(SECOND));
        assert_eq!(rate.bytes_a_second(), WRITE_BYTES * DECREASE);
        (2..100).for_each(|second| rate.throttled(second * SECOND));
        assert_eq!(rate.bytes_a_second(), WRITE_BYTES * FLOOR);
    }
}
