//! What a new stream is made from: its settings and its clock.

use crate::StreamError;
use crate::limits::{DEFAULT_RETENTION, DEFAULT_SHARDS, MAX_NAME_BYTES, MAX_OPEN_SHARDS};
use authpulse_event::{ArrivalTime, Span};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The stream's clock: stamps arrivals and decides about retention. Handed in, so that simulations own the time.
pub type Clock = Arc<dyn Fn() -> ArrivalTime + Send + Sync>;

/// The clock of the operating system.
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since_1970.as_micros()).map_or(ArrivalTime::MAX, ArrivalTime::from_micros)
    })
}

/// Settings of a new stream.
#[derive(Clone)]
pub struct CreateOptions {
    /// Its name, for people: 1 to [`MAX_NAME_BYTES`] bytes.
    pub name: String,
    /// Shards at first, over which the ring is divided evenly: 1 to [`MAX_OPEN_SHARDS`]. Consumers share the work by shards.
    pub shards: u32,
    /// How long records are kept at least after their arrival; positive. More lets a consumer come back
    /// later and needs more disk.
    pub retention: Span,
    /// The stream's clock.
    pub clock: Clock,
}

impl Default for CreateOptions {
    fn default() -> Self {
        CreateOptions {
            name: "authpulse".to_owned(),
            shards: DEFAULT_SHARDS,
            retention: DEFAULT_RETENTION,
            clock: system_clock(),
        }
    }
}

impl CreateOptions {
    /// Checks that the options are within their bounds.
    ///
    /// # Errors
    /// [`StreamError::Refused`] if the name, the number of shards or the retention is out of bounds.
    pub(crate) fn check(&self) -> Result<(), StreamError> {
        let refuse = |why: String| Err(StreamError::Refused { what: format!("new stream '{}'", self.name), why });
        if self.name.is_empty() || self.name.len() > MAX_NAME_BYTES {
            return refuse(format!("its name has {} bytes; 1 to {MAX_NAME_BYTES} are allowed", self.name.len()));
        }
        if self.shards == 0 || self.shards > MAX_OPEN_SHARDS {
            return refuse(format!("{} shards were asked for; 1 to {MAX_OPEN_SHARDS} are allowed", self.shards));
        }
        if self.retention <= Span::ZERO {
            return refuse(format!("its retention is {} µs; it must be positive", self.retention.micros()));
        }
        Ok(())
    }
}
