//! Which rows of hours are stored already, for a shard that is being rebuilt.

use crate::shard::NamedEvent;
use authpulse_event::EventTime;
use authpulse_event::time::hour_of;
use std::collections::HashMap;

/// The hours that the last entry and those before it wrote.
#[derive(Default)]
pub(crate) struct WrittenHours {
    /// The first hour that the watermark has not passed.
    current: Option<i64>,
    /// By user: hours that it has passed but that hold events not yet scored.
    open: HashMap<String, Vec<i64>>,
}

impl WrittenHours {
    /// From what the last entry says: every user's hour that ends at `through` or before is written, except where it holds an event of
    /// `unscored`.
    pub fn of(through: Option<EventTime>, unscored: &[NamedEvent]) -> WrittenHours {
        let mut written = WrittenHours { current: through.map(hour_of), ..WrittenHours::default() };
        for named in unscored {
            let hour = hour_of(named.event.event_time);
            if written.current.is_some_and(|current| hour < current) {
                written.open.entry(named.user.clone()).or_default().push(hour);
            }
        }
        written
    }

    /// Whether the row of a user's hour is stored.
    pub fn contains(&self, user: &str, hour: i64) -> bool {
        self.current.is_some_and(|current| hour < current)
            && !self.open.get(user).is_some_and(|open| open.contains(&hour))
    }
}
