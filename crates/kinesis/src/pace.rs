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
    /// From `first` doubling to `most`.
    pub fn new(first: Duration, most: Duration) -> Backoff {
        Backoff { first, most, failures: 0 }
    }

    /// One more failure: how long to wait. `chance` lies between 0 and 1.
    pub fn failed(&mut self, chance: f64) -> Duration {
        let bound = self.most.min(self.first * 2u32.saturating_pow(self.failures.min(16)));
        self.failures += 1;
        bound.mul_f64(chance.clamp(0.0, 1.0))
    }

    /// It worked.
    pub fn worked(&mut self) {
        self.failures = 0;
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

/// At most so much credit is kept for a burst, in seconds: a shard allows for one of about a second.
const BURST: f64 = 1.0;
/// What one call may cost, in seconds: a call of more than a shard has credit for is throttled in part, whenever it is sent.
const CALL: f64 = 0.5;
/// After a throttled entry, as TCP does on loss, but less.
const DECREASE: f64 = 0.7;
/// After a second that used most of what was allowed and was not throttled.
const INCREASE: f64 = 1.25;
/// Never below this part of what a shard takes, or a shard that others fill is never tried again.
const FLOOR: f64 = 0.05;
/// What a record costs at least, in bytes: a shard takes 1,000 of them a second.
const RECORD_COST: f64 = WRITE_BYTES / WRITE_RECORDS;

/// A shard's rate in bytes a second: begins with what a shard takes by its limits, falls when it is throttled, rises slowly
/// while it is not. There is no upper bound, as not every service that speaks Kinesis has the limits of AWS.
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

/// What a call costs a shard.
pub fn cost(entries: usize, bytes: usize) -> f64 {
    (bytes as f64).max(entries as f64 * RECORD_COST)
}

impl Rate {
    /// At the limits of a shard, with a second's credit.
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

    /// Bytes a second now.
    pub fn bytes_a_second(&self) -> f64 {
        self.bytes_a_second
    }

    /// What a call may cost; a single record that costs more is a call of its own.
    pub fn call(&self) -> f64 {
        self.bytes_a_second * CALL
    }

    /// How long to wait before a call. A call that costs more than any credit is let through once the credit is full.
    pub fn wait(&mut self, now: Duration, cost: f64) -> Duration {
        self.refill(now);
        let needed = cost.min(self.bytes_a_second * BURST);
        if self.credit >= needed {
            Duration::ZERO
        } else {
            Duration::from_secs_f64((needed - self.credit) / self.bytes_a_second)
        }
    }

    /// A call was sent.
    pub fn spend(&mut self, now: Duration, cost: f64) {
        self.refill(now);
        self.credit -= cost;
        self.spent += cost;
    }

    /// So much of a call was throttled: it took nothing of what the shard allows.
    pub fn refund(&mut self, now: Duration, cost: f64) {
        self.credit += cost;
        self.refill(now);
    }

    /// A call came back with nothing throttled.
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

    /// The shard refused something. Several within half a second are one event: they were all on their way.
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

    /// Sends calls of a cost against a shard that takes `limit` bytes a second, for some seconds; what it took a second at the end.
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

    /// Sends records of a size one by one, in calls as large as they may be, to a shard that throttles entry by entry; what it took a
    /// second at the end.
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
        // More than a second's worth waits for a full second, not for ever.
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
