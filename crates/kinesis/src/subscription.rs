//! The parts of enhanced fan-out: the consumer that subscribes, and the subscription of one shard. `fan_out` decides when there is one.

use crate::api::{Api, ApiError, Event, Events};
use crate::limits::{READ_EVERY, SUBSCRIBE_BACKOFF, SUBSCRIBE_BACKOFF_MAX, SUBSCRIPTIONS, TIP_EVERY};
use crate::pace::Backoff;
use crate::time::Time;
use futures::StreamExt;
use futures::future::{Either, select};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

/// The registered consumer, and the places for subscriptions of this process.
pub(crate) struct FanOut {
    name: String,
    /// Its ARN, once it is active.
    arn: Mutex<Option<String>>,
    /// Has a permit for each subscription that may be open.
    pub(crate) places: Arc<Semaphore>,
}

impl FanOut {
    /// The consumer of this name; nothing is asked yet.
    pub(crate) fn new(name: &str) -> FanOut {
        FanOut { name: name.to_owned(), arn: Mutex::default(), places: Arc::new(Semaphore::new(SUBSCRIPTIONS)) }
    }

    /// The ARN of the consumer, which is registered if it is missing. Many callers may ask at once. All but one of those that register
    /// are told that it is in use, and ask again later.
    ///
    /// # Errors
    /// The consumer is not active yet ([`ApiError::InUse`]), or the calls fail.
    pub(crate) async fn consumer(&self, api: &dyn Api) -> Result<String, ApiError> {
        let known = self.arn.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(arn) = known {
            return Ok(arn);
        }
        let consumer = match api.consumer(&self.name).await {
            Err(ApiError::NotFound(_)) => api.register(&self.name).await?,
            consumer => consumer?,
        };
        if consumer.status != "ACTIVE" {
            return Err(ApiError::InUse(format!("the consumer {} is {}", self.name, consumer.status)));
        }
        *self.arn.lock().unwrap_or_else(PoisonError::into_inner) = Some(consumer.arn.clone());
        Ok(consumer.arn)
    }

    /// Forgets the ARN: the consumer may have been deregistered, and is looked up again.
    pub(crate) fn forget(&self) {
        *self.arn.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The state of a subscription.
pub(crate) enum Line {
    Closed,
    /// A task of its own, which goes on while nobody reads, and is ended when this is dropped.
    Opening(JoinSet<Result<Events, ApiError>>),
    Open(Events),
}

/// The result of waiting for a subscription.
pub(crate) enum Heard {
    Opened(Events),
    Event(Event),
    /// The subscription ended normally.
    End,
    Failed(ApiError),
    /// The time is up, and nothing came.
    Nothing,
}

/// The subscription of one shard, and when to ask for what.
pub(crate) struct Feed {
    /// The state of the subscription.
    pub(crate) line: Line,
    /// Its place among all subscriptions of the process.
    pub(crate) place: Option<OwnedSemaphorePermit>,
    /// Whether the last event said that nothing follows for now.
    pub(crate) caught_up: bool,
    /// When the subscription was last requested.
    pub(crate) asked: Duration,
    /// When it began, or the last event came.
    pub(crate) heard: Duration,
    /// When the tip was last asked for.
    pub(crate) looked: Duration,
    /// No subscription is requested before this time.
    pub(crate) not_before: Duration,
    /// The pauses after failed subscriptions.
    pub(crate) backoff: Backoff,
}

impl Default for Feed {
    fn default() -> Feed {
        Feed {
            line: Line::Closed,
            place: None,
            caught_up: false,
            asked: Duration::ZERO,
            heard: Duration::ZERO,
            looked: Duration::ZERO,
            not_before: Duration::ZERO,
            backoff: Backoff::new(SUBSCRIBE_BACKOFF, SUBSCRIBE_BACKOFF_MAX),
        }
    }
}

impl Feed {
    /// For a cursor that moves within the shard: without the subscription, which is of no use there, but with the limits.
    pub(crate) fn moved(&self) -> Feed {
        Feed { not_before: self.not_before, backoff: self.backoff, ..Feed::default() }
    }

    /// Closes the subscription and gives its place back.
    pub(crate) fn hang_up(&mut self) {
        (self.line, self.place) = (Line::Closed, None);
    }

    /// Closes the subscription, and puts the next one off; `chance` is from 0 to 1.
    pub(crate) fn put_off(&mut self, now: Duration, chance: f64) {
        self.hang_up();
        self.not_before = self.not_before.max(now + self.backoff.failed(chance));
    }

    /// Until when to wait for an event before GetRecords is called.
    pub(crate) fn until(&self, now: Duration, poll_from: Duration) -> Duration {
        match self.line {
            Line::Open(_) if self.caught_up => (self.looked + TIP_EVERY).max(self.heard + READ_EVERY).max(poll_from),
            Line::Open(_) => now + TIP_EVERY,
            Line::Opening(_) | Line::Closed => poll_from,
        }
    }

    /// Waits for what comes next, until the given time. What comes later is returned by the next call.
    pub(crate) async fn listen(&mut self, time: &dyn Time, until: Duration) -> Heard {
        let heard = async {
            match &mut self.line {
                Line::Closed => Heard::Nothing,
                Line::Opening(task) => match task.join_next().await {
                    Some(Ok(Ok(events))) => Heard::Opened(events),
                    Some(Ok(Err(error))) => Heard::Failed(error),
                    Some(Err(_)) | None => Heard::Failed(ApiError::Unclear("subscribing was given up".to_owned())),
                },
                Line::Open(events) => match events.next().await {
                    Some(Ok(event)) => Heard::Event(event),
                    Some(Err(error)) => Heard::Failed(error),
                    None => Heard::End,
                },
            }
        };
        let wait = until.saturating_sub(time.monotonic());
        match select(pin!(heard), time.sleep(wait)).await {
            Either::Left((heard, _)) => heard,
            Either::Right(_) => Heard::Nothing,
        }
    }
}
