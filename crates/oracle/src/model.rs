//! Input and output of the oracle: settings, shards and records, and the rows of the tables.

use std::fmt;

use crate::attributes::Attributes;
use crate::edges::EdgeCounts;

/// Microseconds in a second: every time is a count of microseconds since 1970, UTC.
pub const SECOND: i64 = 1_000_000;
/// Microseconds in a clock hour.
pub const HOUR: i64 = 3_600 * SECOND;
/// Microseconds in a UTC day.
pub const DAY: i64 = 86_400 * SECOND;
/// "`future`: more than 300 s ahead of its own arrival", and the same 300 s of "within 300 s of its own arrival on a
/// stream". Not a setting.
pub const FUTURE_LIMIT: i64 = 300 * SECOND;
/// "a dead letter the first 64 KiB and the length".
pub const DEAD_LETTER_BYTES: usize = 64 * 1024;
/// "A line above 1,048,576 bytes (without mark and line end) is one invalid record."
pub const LINE_BYTES_MAX: usize = 1_048_576;
/// The whole 128-bit ring, both ends included.
pub const WHOLE_RING: (u128, u128) = (0, u128::MAX);

/// The settings that decide rows. Times are in seconds, as in the settings file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// "`base` is a setting, an RFC 3339 time, `2015-01-01T00:00:00Z` by default": microseconds since 1970.
    pub base_micros: i64,
    /// "the tolerance (300 s; a setting below 3600 s)".
    pub tolerance: i64,
    /// "more than `max_jump` (3600 s) beyond it".
    pub max_jump: i64,
    /// "the `lookback` (30) calendar days".
    pub lookback: i64,
    /// "`settle` (3600 s; at least the tolerance)".
    pub settle: i64,
    /// "With fewer than `min_hosts` (20) computers in the look-back the rule never fires." An empty look-back
    /// counts as too small even if this is 0.
    pub min_hosts: i64,
    /// "`login_count_1h > 50`".
    pub burst_over: i64,
    /// "`unique_computers_1h >= 10`".
    pub lateral_at_least: i64,
    /// Weights in the order of the table of section 4. A sum above 100 is refused.
    pub weights: [i32; 4],
    /// The event model: 1 ignores the keys of attributes, 2 takes them in. Stored with the lake.
    pub event_model: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            base_micros: 1_420_070_400 * SECOND,
            tolerance: 300,
            max_jump: 3_600,
            lookback: 30,
            settle: 3_600,
            min_hosts: 20,
            burst_over: 50,
            lateral_at_least: 10,
            weights: [30, 25, 35, 10],
            event_model: 1,
        }
    }
}

/// Where a record comes from, which decides how its bytes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// A line of a LANL file, or an event in the wire form if its first byte is `{`.
    Line,
    /// A record of a stream.
    Wire,
}

/// One record as received.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The record's bytes, unchanged.
    pub payload: Vec<u8>,
    /// The producer's partition key; without meaning for [`Form::Line`].
    pub partition_key: String,
    /// "Arrival is the time a record was appended to its stream; for a backfilled file, the (stored) start of the
    /// run." Microseconds since 1970.
    pub arrival: i64,
    /// The record's sequence number and its place within an aggregate. If a child inherits waiting events with equal arrivals from two
    /// parents, this says which was first. Events with equal places keep the order of the parents.
    pub place: (u64, u64),
    /// Whether it is read as a line or as a record of a stream.
    pub form: Form,
}

/// One thing that happens to a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A record arrives and is admitted.
    Record(Record),
    /// The watermark advances to this (microseconds since 1970). Before that, waiting events go on as "Rises" in section 2 says.
    Advance(i64),
    /// Waiting events are flushed, which is the first part of sealing.
    Flush,
}

/// A shard and all that happens to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// The shard's name, as in the column `shard_id`.
    pub id: String,
    /// The part of the ring it owns, both ends included.
    pub range: (u128, u128),
    /// Earlier shards (indices into the same list) whose users, waiting events and watermark it inherits.
    pub parents: Vec<usize>,
    /// Whether it is a shard of a stream, whose events can be live. False for `file`: "a backfilled file has no such events".
    pub live: bool,
    /// What happens to it, in order.
    pub steps: Vec<Step>,
}

/// A row of `auth_events_curated`, less the columns that differ between runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Curated {
    /// Event time, in microseconds since 1970.
    pub event_time: i64,
    /// The content id (lower-case hexadecimal), or the producer's own.
    pub event_id: String,
    /// The user's name, trimmed.
    pub user_id: String,
    /// The computer's name, trimmed.
    pub computer_id: String,
    /// Events of the user in the hour that ends with the newest, this one included.
    pub login_count_1h: i64,
    /// Events of the user in the 24 hours that end with the newest.
    pub login_count_24h: i64,
    /// Distinct computers among the events of the hour.
    pub unique_computers_1h: i64,
    /// Distinct computers among the events of the 24 hours.
    pub unique_computers_24h: i64,
    /// 1 where NEW_DEVICE fires, else 0.
    pub is_new_device: i32,
    /// 1 where BURST_LOGIN fires, else 0.
    pub is_burst_login: i32,
    /// 1 where LATERAL_MOVEMENT fires, else 0.
    pub is_lateral_movement: i32,
    /// 1 where RARE_HOST fires, else 0.
    pub is_rare_host: i32,
    /// The rules that fire, in the order of section 4.
    pub risk_flags: Vec<&'static str>,
    /// Sum of their weights, 0 to 100.
    pub risk_score: i32,
    /// LOW, MEDIUM, HIGH or CRITICAL.
    pub risk_level: &'static str,
    /// Logons on the computer in the look-back; `None` where that holds fewer than `min_hosts` computers.
    pub host_popularity: Option<i64>,
    /// The day of the event, in days since 1970.
    pub event_date: i32,
    /// The attributes that the event has, by column.
    pub attributes: Attributes,
    /// The index of the shard that accepted it (the child, if it went on there). Not a column.
    pub shard: usize,
}

/// A row of `auth_events_rejected`, less the columns that differ between runs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rejected {
    /// One of the six reasons of section 6.
    pub reason: &'static str,
    /// The first 64 KiB of the record.
    pub payload: Vec<u8>,
    /// The record's whole length, in bytes.
    pub payload_bytes: i64,
}

/// A row of `user_behavior_hourly`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hourly {
    /// Start of the clock hour (UTC), microseconds since 1970.
    pub window_start: i64,
    /// Its end, 3600 s later.
    pub window_end: i64,
    /// The user's name.
    pub user_id: String,
    /// Accepted events of the user in that hour.
    pub total_logins: i64,
    /// Distinct computers among them.
    pub unique_computers: i64,
    /// Those events with a score above 0.
    pub anomaly_count: i64,
    /// The sum of the events' scores.
    pub total_risk_score: i64,
    /// The highest of the events' scores, 0 to 100.
    pub max_risk_score: i32,
}

/// A row of `host_popularity_daily`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Daily {
    /// The day, in days since 1970.
    pub date: i32,
    /// The computer's name.
    pub computer_id: String,
    /// Distinct users with an accepted event on it that day.
    pub unique_users: i64,
    /// Accepted events on it that day.
    pub total_logins: i64,
    /// Those events of level HIGH or CRITICAL.
    pub high_risk_events: i64,
}

/// All rows that an input gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Shard by shard, in order of acceptance.
    pub curated: Vec<Curated>,
    /// Shard by shard, in order of decision.
    pub rejected: Vec<Rejected>,
    /// All user-hours, as if the whole input were sealed; see [`hours_closed_at`].
    pub hourly: Vec<Hourly>,
    /// All days, as if the whole input were sealed; see [`days_closed_at`].
    pub daily: Vec<Daily>,
    /// "what still waits": events that wait in a shard after its last step and that no child has inherited.
    pub waiting: usize,
    /// The watermark of each shard after its last step, so before a seal advances it.
    pub watermarks: Vec<Option<i64>>,
    /// Which rules and edges the input reached, and how often.
    pub edge_counts: EdgeCounts,
}

impl Outcome {
    /// How many records were received, by the sum of "Nothing is lost" in section 2.
    pub fn received(&self) -> usize {
        self.curated.len() + self.rejected.len() + self.waiting
    }
}

/// "Written once the watermark is at or past `window_end`": the rows of an input that is not sealed, given the
/// watermark of each user's shard.
pub fn hours_closed_at(hourly: &[Hourly], watermark: impl Fn(&str) -> Option<i64>) -> Vec<Hourly> {
    let closed = |row: &&Hourly| watermark(&row.user_id).is_some_and(|at| at >= row.window_end);
    hourly.iter().filter(closed).cloned().collect()
}

/// Section 6: written when daily counts cover the ring and the day is scored in every shard. The rows of an input that is
/// not sealed, given the lowest watermark of the shards that cover the ring (`None` while a shard has none).
pub fn days_closed_at(daily: &[Daily], lowest: Option<i64>) -> Vec<Daily> {
    let closed = |row: &&Daily| lowest.is_some_and(|at| at >= (i64::from(row.date) + 1) * DAY);
    daily.iter().filter(closed).cloned().collect()
}

/// Bytes as text that a person can read and paste. Long ones are shortened to their start and their length.
fn readable(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(400)];
    let more = if shown.len() < bytes.len() { format!("... ({} bytes)", bytes.len()) } else { String::new() };
    format!("b\"{}\"{more}", shown.escape_ascii())
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {} by {:?}: {}", self.form, self.arrival, self.partition_key, readable(&self.payload))
    }
}

impl fmt::Debug for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({} bytes)", self.reason, readable(&self.payload), self.payload_bytes)
    }
}
