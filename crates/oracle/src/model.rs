//! The words of the page: what goes in and what comes out.

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
    /// tells nothing, even where this is 0.
    pub min_hosts: i64,
    /// "`login_count_1h > 50`".
    pub burst_over: i64,
    /// "`unique_computers_1h >= 10`".
    pub lateral_at_least: i64,
    /// Weights in the order of the table of section 4; "weights summing to more than 100 are refused".
    pub weights: [i32; 4],
    /// "1 ignores the new keys; 2 takes them in": stored with the lake.
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

/// Where a record's bytes come from, which decides how they are read.
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
    /// Its bytes, unchanged.
    pub payload: Vec<u8>,
    /// The producer's partition key; of no meaning for [`Form::Line`].
    pub partition_key: String,
    /// "Arrival is the time a record was appended to its stream; for a backfilled file, the (stored) start of the
    /// run." Microseconds since 1970.
    pub arrival: i64,
    /// Its sequence number and its place within that record: tells which of those that wait with equal arrivals was there
    /// first, once two parents bring them together. Equal places keep the order of the parents.
    pub place: (u64, u64),
    /// Which rules of section 1 its bytes follow.
    pub form: Form,
}

/// What happens to a shard, one after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A record arrives and is admitted.
    Record(Record),
    /// The watermark advances to this (microseconds since 1970), after those that wait have gone on as "Rises" says.
    Advance(i64),
    /// What waits is settled: the first act of sealing.
    Flush,
}

/// A shard and all that happens to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Its name, as `shard_id` has it.
    pub id: String,
    /// The part of the ring it owns, both ends included.
    pub range: (u128, u128),
    /// Earlier shards (indices into the same list) whose users, waiting events and watermark it inherits.
    pub parents: Vec<usize>,
    /// A shard of a stream; false for `file`, which "has no such events" that arrive as they happen.
    pub live: bool,
    /// What happens to it, in order.
    pub steps: Vec<Step>,
}

/// A row of `auth_events_curated`, less the columns that differ between runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Curated {
    /// Microseconds since 1970.
    pub event_time: i64,
    /// The content id (lower-case hexadecimal), or the producer's own.
    pub event_id: String,
    /// Who, trimmed.
    pub user_id: String,
    /// Where, trimmed.
    pub computer_id: String,
    /// Events of the user in the hour that ends with the newest, this one included.
    pub login_count_1h: i64,
    /// The same over 24 hours.
    pub login_count_24h: i64,
    /// Distinct computers among the events of that hour.
    pub unique_computers_1h: i64,
    /// The same over 24 hours.
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
    /// Logons on the computer in the look-back; nothing where that holds fewer than `min_hosts` computers.
    pub host_popularity: Option<i64>,
    /// Days since 1970.
    pub event_date: i32,
    /// The attributes that the event has, by column.
    pub attributes: Attributes,
    /// Index of the shard that accepted it (a child, if it waited there). Not a column.
    pub shard: usize,
}

/// A row of `auth_events_rejected`, less the columns that differ between runs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rejected {
    /// One of the six words of section 6.
    pub reason: &'static str,
    /// The first 64 KiB.
    pub payload: Vec<u8>,
    /// The whole length in bytes.
    pub payload_bytes: i64,
}

/// A row of `user_behavior_hourly`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hourly {
    /// Start of the clock hour (UTC), microseconds since 1970.
    pub window_start: i64,
    /// Its end, 3600 s later.
    pub window_end: i64,
    /// Who.
    pub user_id: String,
    /// Accepted events of the user in that hour.
    pub total_logins: i64,
    /// Distinct computers among them.
    pub unique_computers: i64,
    /// Those with a score above 0.
    pub anomaly_count: i64,
    /// Sum of their scores.
    pub total_risk_score: i64,
    /// The highest of their scores, 0 to 100.
    pub max_risk_score: i32,
}

/// A row of `host_popularity_daily`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Daily {
    /// Days since 1970.
    pub date: i32,
    /// Where.
    pub computer_id: String,
    /// Distinct users with an accepted event on it that day.
    pub unique_users: i64,
    /// Accepted events on it that day.
    pub total_logins: i64,
    /// Those of level HIGH or CRITICAL.
    pub high_risk_events: i64,
}

/// Every row that the input gives.
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
    /// "what still waits": events that wait in a shard at its end and that no child has taken.
    pub waiting: usize,
    /// The watermark of each shard after its last step, before the rise of a seal.
    pub watermarks: Vec<Option<i64>>,
    /// Which rules and edges the input reached, and how often.
    pub edge_counts: EdgeCounts,
}

impl Outcome {
    /// Records received, as "Nothing is lost" counts them.
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

/// "when shares cover the ring and the day is scored in every shard": the rows of an input that is not sealed, given
/// the lowest watermark of the shards that cover the ring (none while a shard has none).
pub fn days_closed_at(daily: &[Daily], lowest: Option<i64>) -> Vec<Daily> {
    let closed = |row: &&Daily| lowest.is_some_and(|at| at >= (i64::from(row.date) + 1) * DAY);
    daily.iter().filter(closed).cloned().collect()
}

/// Bytes as text that a person can read and paste; of long ones the start and the length.
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
