//! Clocks and chance, which callers hand in.

use async_trait::async_trait;
use authpulse_event::time::SECOND;
use authpulse_event::{ArrivalTime, Span};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The clocks that reader and writer use.
#[async_trait]
pub trait Time: Send + Sync {
    /// The time since some fixed moment; never goes back.
    fn monotonic(&self) -> Duration;
    /// The time of day, as close as known to the clock of the service, by which records arrive.
    fn now(&self) -> ArrivalTime;
    /// Waits for this long.
    async fn sleep(&self, duration: Duration);
}

/// The clocks of the operating system.
#[derive(Clone, Copy, Debug)]
pub struct SystemTimes {
    start: Instant,
}

impl SystemTimes {
    /// Clocks that begin to count now.
    pub fn new() -> SystemTimes {
        SystemTimes { start: Instant::now() }
    }
}

impl Default for SystemTimes {
    fn default() -> Self {
        SystemTimes::new()
    }
}

#[async_trait]
impl Time for SystemTimes {
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
    fn now(&self) -> ArrivalTime {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since_1970.as_micros()).map_or(ArrivalTime::MAX, ArrivalTime::from_micros)
    }
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// The clocks of the operating system, with the time of day corrected to the service's (`Date` in its answers, in whole seconds). Arrival
/// is by that clock, so a host that is minutes ahead must not take what arrives next for late.
#[derive(Debug)]
pub struct ServiceTimes {
    local: SystemTimes,
    /// How far the service's clock is ahead of this host's, in microseconds; 0 while they agree to the second.
    ahead: AtomicI64,
}

impl ServiceTimes {
    /// Clocks that begin to count now. Before the first answer, the host's time of day is used.
    pub fn new() -> ServiceTimes {
        ServiceTimes { local: SystemTimes::new(), ahead: AtomicI64::new(0) }
    }

    /// Takes in the `Date` of an answer.
    pub fn told(&self, date: ArrivalTime) {
        let ahead = ahead(date, self.local.now());
        let before = Span::from_micros(self.ahead.swap(ahead.micros(), Ordering::Relaxed));
        // Logged once, and not again while the difference stays about the same.
        if (ahead - before).abs() > SKEW_REPORTED {
            let seconds = ahead.as_seconds();
            tracing::warn!(
                seconds,
                "the clock of this host is behind that of Kinesis by so much (ahead, where negative); Kinesis' is used"
            );
        }
    }
}

/// A change of the difference between the clocks by more than this is logged.
const SKEW_REPORTED: Span = Span::seconds(5);

/// How far the service's clock is ahead of the local one, if it was somewhere in the second that begins with `date`.
fn ahead(date: ArrivalTime, local: ArrivalTime) -> Span {
    local.clamp(date, date.saturating_add(SECOND)) - local
}

impl Default for ServiceTimes {
    fn default() -> Self {
        ServiceTimes::new()
    }
}

#[async_trait]
impl Time for ServiceTimes {
    fn monotonic(&self) -> Duration {
        self.local.monotonic()
    }
    fn now(&self) -> ArrivalTime {
        self.local.now().saturating_add(Span::from_micros(self.ahead.load(Ordering::Relaxed)))
    }
    async fn sleep(&self, duration: Duration) {
        self.local.sleep(duration).await;
    }
}

/// Chance from a seed: enough to keep many clients from coming back at the same moment, but not for more (SplitMix64).
#[derive(Debug)]
pub struct Chance(AtomicU64);

impl Chance {
    /// Chance from a seed; another seed gives other pauses.
    pub fn new(seed: u64) -> Chance {
        Chance(AtomicU64::new(seed))
    }

    /// The next number, from 0 up to but not including 1.
    pub fn next(&self) -> f64 {
        let mut z = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_held_to_the_second_that_it_was_told() {
        let at = ArrivalTime::from_micros;
        for (local, held) in [(0, 7_000_000), (6_999_999, 7_000_000), (7_000_000, 7_000_000), (7_400_000, 7_400_000)] {
            assert_eq!(at(local) + ahead(at(7_000_000), at(local)), at(held));
        }
        for ahead_of_it in [8_000_000, 8_000_001, 400_000_000] {
            assert_eq!(at(ahead_of_it) + ahead(at(7_000_000), at(ahead_of_it)), at(8_000_000));
        }
        let times = ServiceTimes::new();
        times.told(at(1_000_000_000));
        assert!((at(1_000_000_000)..at(1_100_000_000)).contains(&times.now()), "the host is fifty years ahead");
        let since_1970 = times.local.now() - at(0);
        times.told(at(0) + since_1970 / SECOND * SECOND + 600 * SECOND);
        assert!(times.now() - times.local.now() > 598 * SECOND, "and now ten minutes behind");
    }
}
