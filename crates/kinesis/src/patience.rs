//! Asks again if Kinesis throttles questions about the stream as a whole. An account may ask for DescribeStreamSummary 20 times a second,
//! and workers that start together ask together; without an answer a worker does not start.

use crate::api::ApiError;
use crate::limits::{READ_BACKOFF, READ_BACKOFF_MAX};
use crate::pace::Backoff;
use crate::time::{Chance, Time};

/// How many times it asks again: for some 40 s on average.
const THROTTLED_MAX: u32 = 10;

/// Asks until the answer is not a throttle.
///
/// # Errors
/// The error of `ask`; a throttle only after the last attempt.
pub(crate) async fn patiently<T, F>(
    time: &dyn Time,
    chance: &Chance,
    action: &'static str,
    ask: impl Fn() -> F,
) -> Result<T, ApiError>
where
    F: Future<Output = Result<T, ApiError>>,
{
    let mut backoff = Backoff::new(READ_BACKOFF, READ_BACKOFF_MAX);
    loop {
        match ask().await {
            Err(ApiError::Throttled(why)) if backoff.failures() < THROTTLED_MAX => {
                tracing::debug!(action, why, failures = backoff.failures(), "throttled");
                time.sleep(backoff.failed(chance.next())).await;
            }
            answer => return answer,
        }
    }
}
