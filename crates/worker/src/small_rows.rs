//! The rows of which an entry has few: hours, days, dead letters, and what later tables make of them.

use crate::columns::Asking;
use authpulse_engine::names::UserNamesView;
use authpulse_engine::rows::{DayRow, HourRow, RejectedRecord};
use authpulse_event::{ProcessingTime, ShardId};
use authpulse_journal::env::Env;
use authpulse_journal::error::Result;
use authpulse_lake::encode::{EntryRows, encode_daily, encode_hourly, encode_later_table, encode_rejected};
use authpulse_lake::{EncodeOptions, EncodedFile, Table};

/// See the module.
pub struct SmallRows {
    /// Hours that are complete.
    pub hours: Vec<HourRow>,
    /// Names of their users.
    pub users: UserNamesView,
    /// Days that are complete.
    pub days: Vec<DayRow>,
    /// Dead letters.
    pub rejected: Vec<RejectedRecord>,
    /// The shard by the name that rows carry.
    pub shard: ShardId,
    /// When the entry is written.
    pub processing_time: ProcessingTime,
}

impl SmallRows {
    /// Encodes them, a file or more for each table that has any.
    ///
    /// # Errors
    /// As for [`Asking::later`], or a row cannot be encoded.
    pub async fn encode(self, env: Env, asking: Asking, options: EncodeOptions) -> Result<Vec<EncodedFile>> {
        let SmallRows { hours, users, days, rejected, shard, processing_time } = self;
        let shape = env.lake.shape();
        let of_hours = asking.later(&env, Table::HOURLY, &shape.hourly, &hours).await?;
        let of_days = asking.later(&env, Table::DAILY, &shape.daily, &days).await?;
        let of_rejected = asking.later(&env, Table::REJECTED, &shape.rejected, &rejected).await?;
        let _turn = env.work.turn().await;
        let mut files = Vec::new();
        if !hours.is_empty() {
            files.extend(encode_hourly(&hours, &users, of_hours.as_ref(), &options)?);
        }
        if !days.is_empty() {
            files.extend(encode_daily(&days, of_days.as_ref(), &options)?);
        }
        if !rejected.is_empty() {
            files.extend(encode_rejected(&rejected, &shard, processing_time, of_rejected.as_ref(), &options)?);
        }
        let rows = EntryRows {
            shard: &shard,
            hours: &hours,
            users: &users,
            days: &days,
            rejected: &rejected,
            processing_time,
        };
        for table in env.lake.tables().iter().filter(|table| !table.is_first()) {
            files.extend(encode_later_table(*table, &rows, &options)?);
        }
        Ok(files)
    }
}
