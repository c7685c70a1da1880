//! When a record is due, and how to wait for it.
//!
//! [`Schedule`] says when a record is due, counted from the start of the run; it runs ahead, where records are prepared. [`Pacer`] waits by
//! a clock. A replay that falls behind (a slow stream, a slow pipe) catches up by at most [`BURST`]; any further delay is forgiven.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use authpulse_event::time::HOUR;
use authpulse_event::{EventTime, ProcessingTime, Span};
use tokio::sync::watch;

/// Records a second, unless options say otherwise.
pub const RATE_DEFAULT: f64 = 2_000.0;
/// The lowest rate (records a second) and speed (times event time).
pub const PACE_MIN: f64 = 0.001;
/// The highest rate and speed.
pub const PACE_MAX: f64 = 1e9;
/// What falls due within this time goes into one append of a paced replay: 20 appends a second.
pub const TICK: Duration = Duration::from_millis(50);
/// The most that a paced replay catches up after it fell behind.
pub const BURST: Duration = Duration::from_secs(1);
/// The longest that [`Pace::Speed`] waits between two records. A longer silence in event time is cut to this: one corrupt
/// time must not stop a replay for years.
pub const SPEED_WAIT_MAX: Duration = Duration::from_secs(600);
/// If event time falls back by more than this, the schedule goes on from there (another file, or the time before it was corrupt); smaller
/// falls are disorder and do not change the schedule.
pub const SPEED_RESTART: Span = HOUR;

/// How fast to send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Records a second, [`PACE_MIN`] to [`PACE_MAX`].
    Rate(f64),
    /// So many times as fast as event time, [`PACE_MIN`] to [`PACE_MAX`]. A line without a time goes with the line before it.
    Speed(f64),
    /// As fast as the stream takes them.
    Max,
}

impl Default for Pace {
    fn default() -> Self {
        Pace::Rate(RATE_DEFAULT)
    }
}

impl Pace {
    /// The name and value of a pace that is out of range.
    pub(super) fn out_of_range(self) -> Option<(&'static str, f64)> {
        let (what, value) = match self {
            Pace::Rate(value) => ("rate", value),
            Pace::Speed(value) => ("speed", value),
            Pace::Max => return None,
        };
        (!(PACE_MIN..=PACE_MAX).contains(&value)).then_some((what, value))
    }
}

/// The time by which a replay is paced. It grows steadily, from any beginning. Tests hand in their own.
pub trait PaceClock: Sync {
    /// The time now.
    fn now(&self) -> Duration;
    /// The time of day, for event times that are made now.
    fn wall(&self) -> ProcessingTime {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).map_or(ProcessingTime::MAX, ProcessingTime::from_micros)
    }
    /// Waits for this long.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send;
}

/// The time of this machine.
#[derive(Debug, Clone, Copy)]
pub struct SystemPace {
    start: Instant,
}

impl Default for SystemPace {
    fn default() -> Self {
        SystemPace { start: Instant::now() }
    }
}

impl PaceClock for SystemPace {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// When the next record is due, counted from the start of the run; never earlier than the one before.
#[derive(Debug)]
pub(super) enum Schedule {
    Rate { rate: f64, records: u64 },
    Speed { speed: f64, newest: Option<EventTime>, due_seconds: f64 },
    Max,
}

impl Schedule {
    /// A schedule of this pace, before the first record.
    pub(super) fn new(pace: Pace) -> Self {
        match pace {
            Pace::Rate(rate) => Schedule::Rate { rate, records: 0 },
            Pace::Speed(speed) => Schedule::Speed { speed, newest: None, due_seconds: 0.0 },
            Pace::Max => Schedule::Max,
        }
    }

    /// When the next record is due; `time` is its event time, if it has one.
    pub(super) fn due(&mut self, time: Option<EventTime>) -> Duration {
        match self {
            Schedule::Max => Duration::ZERO,
            Schedule::Rate { rate, records } => {
                let due_seconds = *records as f64 / *rate;
                *records += 1;
                Duration::from_secs_f64(due_seconds)
            }
            Schedule::Speed { speed, newest, due_seconds } => {
                match (time, *newest) {
                    (None, _) => {}
                    (Some(time), None) => *newest = Some(time),
                    (Some(time), Some(before)) if time > before => {
                        let wait_seconds = (time - before).as_seconds() / *speed;
                        *due_seconds += wait_seconds.min(SPEED_WAIT_MAX.as_secs_f64());
                        *newest = Some(time);
                    }
                    (Some(time), Some(before)) if before - time > SPEED_RESTART => *newest = Some(time),
                    _ => {}
                }
                Duration::from_secs_f64(*due_seconds)
            }
        }
    }
}

/// Waits until records are due.
pub(super) struct Pacer<'a, C> {
    clock: &'a C,
    /// The clock's time at which a record due at zero is sent.
    origin: Option<Duration>,
}

impl<'a, C: PaceClock> Pacer<'a, C> {
    /// A pacer whose run starts at the first wait.
    pub(super) fn new(clock: &'a C) -> Self {
        Pacer { clock, origin: None }
    }

    /// Waits until `due`; false if the replay is to stop instead.
    pub(super) async fn wait(&mut self, due: Duration, stop: &mut watch::Receiver<bool>) -> bool {
        let now = self.clock.now();
        let target = *self.origin.get_or_insert(now) + due;
        if target > now {
            return sleep(self.clock, target - now, stop).await;
        }
        let forgiven = (now - target).saturating_sub(BURST);
        self.origin = self.origin.map(|origin| origin + forgiven);
        !*stop.borrow()
    }
}

/// Sleeps; false if the replay is to stop instead.
pub(super) async fn sleep(clock: &impl PaceClock, duration: Duration, stop: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        biased;
        () = stopped(stop) => false,
        () = clock.sleep(duration) => true,
    }
}

/// Returns once the replay is to stop; never if the sender was dropped, for then nothing will ask for a stop.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}
