//! How a table behind the first four is filled: of what an entry stores, by the table's description.

use crate::cells::Value;
use authpulse_engine::names::UserNamesView;
use authpulse_engine::rows::{DayRow, HourRow, RejectedRecord};
use authpulse_event::{ProcessingTime, ShardId};

/// What an entry stores, as far as later tables are filled from it. Each row of it is in one entry, once and for all.
pub struct EntryRows<'a> {
    /// The shard, by the name that rows carry.
    pub shard: &'a ShardId,
    /// Rows of `user_behavior_hourly`.
    pub hours: &'a [HourRow],
    /// The names of their users.
    pub users: &'a UserNamesView,
    /// Rows of `host_popularity_daily`.
    pub days: &'a [DayRow],
    /// Dead letters.
    pub rejected: &'a [RejectedRecord],
    /// When the entry is made.
    pub processing_time: ProcessingTime,
}

/// A row's values, in the order of the table's columns and of their types.
pub type LaterRow<'a> = Vec<Option<Value<'a>>>;

/// Makes a table's rows of an entry, in any order; none where there is nothing to say. They depend on nothing else.
pub type Fill = for<'a> fn(&'a EntryRows<'a>) -> Vec<LaterRow<'a>>;
