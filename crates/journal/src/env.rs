//! The environment of the consumer: clock, ids, work for other threads, files, journal, tables. Each is a trait, so that one seed can
//! simulate all of them with faults.

mod threads;

use crate::sink::DecisionSink;
use async_trait::async_trait;
pub use authpulse_engine::Inspect;
use authpulse_event::{ProcessingTime, Span, Tick};
use authpulse_lake::{CommitterLock, Journal, Lake, ObjectStore};
use futures::future::BoxFuture;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
pub use threads::TokioWork;
use tokio::sync::OwnedSemaphorePermit;

/// Time for arrival of files, ages and intervals. Event time never comes from here.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The time of day.
    fn now(&self) -> ProcessingTime;
    /// A clock that never goes back. Leases go by it, because no correction of the clock may decide whether one expires.
    fn ticks(&self) -> Tick;
    /// Returns after this long, or sooner.
    async fn sleep(&self, duration: Duration);
}

/// A span as a duration; zero if it is negative.
pub fn duration(span: Span) -> Duration {
    Duration::from_micros(span.micros().max(0).cast_unsigned())
}

/// Fresh names for entries and files.
pub trait Ids: Send + Sync {
    /// A commit id that was never given out before, in characters that a file name may hold.
    fn commit_id(&self) -> String;
}

/// Runs work that computes or blocks.
#[async_trait]
pub trait Work: Send + Sync {
    /// Starts the work, on another thread where there are any. The returned future resolves when the work is done and must be awaited: a
    /// simulation may run the work only then.
    fn start(&self, work: BoxFuture<'static, ()>) -> BoxFuture<'static, ()>;

    /// As [`Work::start`], for work that decisions wait for.
    fn start_urgent(&self, work: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        self.start(work)
    }

    /// Waits for a turn to compute for long, so that no more pieces of work do so at once than there are processors.
    async fn turn(&self) -> Turn {
        Turn(None)
    }
}

/// A turn to compute; it ends when this is dropped.
pub struct Turn(#[expect(dead_code, reason = "held, not used")] Option<OwnedSemaphorePermit>);

/// Starts work with a result; `None` if it panicked.
pub fn start<T: Send + 'static>(
    work: &dyn Work,
    job: impl Future<Output = T> + Send + 'static,
) -> BoxFuture<'static, Option<T>> {
    start_by(job, |job| work.start(job))
}

/// As [`start`], for work that decisions wait for.
pub fn start_urgent<T: Send + 'static>(
    work: &dyn Work,
    job: impl Future<Output = T> + Send + 'static,
) -> BoxFuture<'static, Option<T>> {
    start_by(job, |job| work.start_urgent(job))
}

fn start_by<T: Send + 'static>(
    job: impl Future<Output = T> + Send + 'static,
    start: impl FnOnce(BoxFuture<'static, ()>) -> BoxFuture<'static, ()>,
) -> BoxFuture<'static, Option<T>> {
    let (send, receive) = tokio::sync::oneshot::channel();
    let done = start(Box::pin(async move {
        // The receiver is gone only if the worker was dropped; then nobody needs the result.
        let _ = send.send(job.await);
    }));
    Box::pin(async move {
        done.await;
        receive.await.ok()
    })
}

/// The result of `work`, or `None` if it takes longer than `patience`. Without `patience` there is no bound.
pub async fn within<T>(env: &Env, patience: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = env.clock.sleep(patience.unwrap_or_default()), if patience.is_some() => None,
    }
}

/// Named moments at which a test may end the process or fail; called with the moment's name and its subject.
pub type Probe = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// Everything outside that a worker needs. Cheap to clone.
#[derive(Clone)]
pub struct Env {
    /// The lake's files.
    pub store: Arc<dyn ObjectStore>,
    /// The lake's journal.
    pub journal: Arc<dyn Journal>,
    /// The lake's tables.
    pub lake: Arc<Lake>,
    /// Decides whether this process or another brings the tables up to the journals.
    pub committer: Arc<dyn CommitterLock>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Fresh names.
    pub ids: Arc<dyn Ids>,
    /// Runs work on other threads.
    pub work: Arc<dyn Work>,
    /// Where decisions go when they are made.
    pub sink: Arc<dyn DecisionSink>,
    /// Called at named moments; does nothing outside of tests.
    pub probe: Probe,
    /// Called with each record's payload right before it is admitted, and again before it goes on if it waited; a panic in it counts as a
    /// panic of the engine.
    pub inspect: Option<Inspect>,
}

/// The system's clock.
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> ProcessingTime {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).map_or(ProcessingTime::MAX, ProcessingTime::from_micros)
    }
    fn ticks(&self) -> Tick {
        static START: OnceLock<Instant> = OnceLock::new();
        let since = START.get_or_init(Instant::now).elapsed();
        i64::try_from(since.as_micros()).map_or(Tick::MAX, Tick::from_micros)
    }
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Random (version 4) UUIDs.
pub struct RandomIds;

impl Ids for RandomIds {
    fn commit_id(&self) -> String {
        uuid::Uuid::new_v4().simple().to_string()
    }
}
