//! How tables after the first four are filled: from what an entry stores, by a function in the table's definition.

use crate::cells::Value;
use authpulse_engine::names::UserNamesView;
use authpulse_engine::rows::{DayRow, HourRow, RejectedRecord};
use authpulse_event::{ProcessingTime, ShardId};

/// What an entry stores and later tables are filled from. Each row is in exactly one entry, and stays there.
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
    /// When the rows are made.
    pub processing_time: ProcessingTime,
}

/// A row's values, in the order of the table's columns and of their types.
pub type LaterRow<'a> = Vec<Option<Value<'a>>>;

/// Makes a table's rows from what an entry stores, in any order; they must depend on nothing else. Empty if there is nothing to store.
pub type Fill = for<'a> fn(&'a EntryRows<'a>) -> Vec<LaterRow<'a>>;
