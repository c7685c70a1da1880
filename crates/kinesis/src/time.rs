//! Time and chance, handed in.

use async_trait::async_trait;
use authpulse_event::Micros;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The clocks that are looked at.
#[async_trait]
pub trait Time: Send + Sync {
    /// Since any fixed moment; never goes back.
    fn monotonic(&self) -> Duration;
    /// The time of day.
    fn now(&self) -> Micros;
    /// Waits.
    async fn sleep(&self, duration: Duration);
}

/// The clocks of the operating system.
#[derive(Clone, Copy, Debug)]
pub struct SystemTimes {
    start: Instant,
}

impl SystemTimes {
    /// Begins to count.
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
    fn now(&self) -> Micros {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Micros::try_from(since_1970.as_micros()).unwrap_or(Micros::MAX)
    }
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Chance from a seed: enough to keep many clients from coming back at the same moment, and no more (SplitMix64).
#[derive(Debug)]
pub struct Chance(AtomicU64);

impl Chance {
    /// From a seed; other seeds, other pauses.
    pub fn new(seed: u64) -> Chance {
        Chance(AtomicU64::new(seed))
    }

    /// From 0 up to 1.
    pub fn next(&self) -> f64 {
        let mut z = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}
