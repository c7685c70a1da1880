//! Asking again where Kinesis throttles questions about the stream as a whole: DescribeStreamSummary may be asked 20 times a second in
//! an account, and workers that start together ask together. One that could not be told would not start.

use crate::api::ApiError;
use crate::limits::{READ_BACKOFF, READ_BACKOFF_MAX};
use crate::pace::Backoff;
use crate::time::{Chance, Time};

/// How often it is asked again: for some 40 s in the mean.
const THROTTLED_MAX: u32 = 10;

/// Asks until there is an answer other than to slow down.
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
