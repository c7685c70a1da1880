//! What the engine decides about records: the rows of the lake's tables, independent of any table format.

use crate::flags::Flags;
use crate::names::{ComputerId, UserId};
use authpulse_event::{ArrivalTime, Attributes, Day, EventTime, Position, TimeForm};
use std::fmt;

/// A score as one of four words for people (semantics, section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RiskLevel {
    /// 0 to 25.
    Low,
    /// 26 to 50.
    Medium,
    /// 51 to 75.
    High,
    /// 76 to 100.
    Critical,
}

impl RiskLevel {
    /// The level of a score.
    pub fn of(score: u8) -> RiskLevel {
        match score {
            0..=25 => RiskLevel::Low,
            26..=50 => RiskLevel::Medium,
            51..=75 => RiskLevel::High,
            _ => RiskLevel::Critical,
        }
    }
    /// The name in the column `risk_level`.
    pub fn name(self) -> &'static str {
        match self {
            RiskLevel::Low => "LOW",
            RiskLevel::Medium => "MEDIUM",
            RiskLevel::High => "HIGH",
            RiskLevel::Critical => "CRITICAL",
        }
    }
}

/// Where an accepted event's id comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EventId {
    /// The SHA-256 of the canonical line, whose time has this form. It is computed only where the id is needed.
    Content(TimeForm),
    /// The producer's own id.
    Own(Box<str>),
}

/// The four windows of section 3 at one event, the event itself included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Windows {
    /// The user's events within an hour: the column `login_count_1h`.
    pub logons_1h: u32,
    /// The user's events within 24 hours: the column `login_count_24h`.
    pub logons_24h: u32,
    /// Distinct computers within an hour: the column `unique_computers_1h`.
    pub computers_1h: u32,
    /// Distinct computers within 24 hours: the column `unique_computers_24h`.
    pub computers_24h: u32,
}

/// An event that was accepted and not yet scored: everything that acceptance fixed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedEvent {
    /// Event time.
    pub event_time: EventTime,
    /// Arrival in the stream, or the start of the run for a file.
    pub ingestion_time: ArrivalTime,
    /// The user's number in the shard's table of names.
    pub user: UserId,
    /// The computer's number in the shard's table of names.
    pub computer: ComputerId,
    /// Where its `event_id` comes from.
    pub id: EventId,
    /// The windows at acceptance.
    pub windows: Windows,
    /// Whether the user was never accepted on this computer before.
    pub new_device: bool,
    /// The attributes that the event carries.
    pub attributes: Attributes,
}

/// A row of `auth_events_curated`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoredEvent {
    /// What acceptance fixed.
    pub event: AcceptedEvent,
    /// The column `host_popularity`; `None` where the look-back holds fewer than `min_hosts` computers.
    pub popularity: Option<u64>,
    /// The rules that fired.
    pub flags: Flags,
    /// Sum of their weights, 0 to 100.
    pub score: u8,
}

/// A row of `user_behavior_hourly`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HourRow {
    /// Start of the clock hour (UTC).
    pub window_start: EventTime,
    /// The user's number in the shard's table of names.
    pub user: UserId,
    /// Accepted events.
    pub total_logins: u64,
    /// Distinct computers.
    pub unique_computers: u64,
    /// Events with a score above 0.
    pub anomaly_count: u64,
    /// Sum of the scores.
    pub total_risk_score: u64,
    /// Highest score.
    pub max_risk_score: u8,
}

/// A row of `host_popularity_daily`. Names are strings: the row sums counts of several shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayRow {
    /// The day (UTC).
    pub day: Day,
    /// The computer's name.
    pub computer: String,
    /// Distinct users.
    pub unique_users: u64,
    /// Accepted events.
    pub total_logins: u64,
    /// Events with level HIGH or CRITICAL.
    pub high_risk_events: u64,
}

/// Why a record became a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// It does not parse or breaks a rule of section 1.
    Invalid,
    /// Its user belongs to another shard.
    Misrouted,
    /// Its time lies too far ahead.
    Future,
    /// Its time lies below the watermark.
    Late,
    /// The same event was accepted already, or waits.
    Duplicate,
    /// The code failed on it three times.
    Failed,
}

impl Reason {
    /// All reasons, in the order in which admission checks them.
    pub const ALL: [Reason; 6] =
        [Reason::Invalid, Reason::Misrouted, Reason::Future, Reason::Late, Reason::Duplicate, Reason::Failed];

    /// The name in the column `reason`.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Invalid => "invalid",
            Reason::Misrouted => "misrouted",
            Reason::Future => "future",
            Reason::Late => "late",
            Reason::Duplicate => "duplicate",
            Reason::Failed => "failed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A row of `auth_events_rejected`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedRecord {
    /// The reason, which is a column of its own.
    pub reason: Reason,
    /// Why, in words, with the figures that decided.
    pub detail: String,
    /// The first 64 KiB of the record.
    pub payload: Vec<u8>,
    /// The record's whole length, in bytes.
    pub payload_bytes: u64,
    /// Where the record lies in its shard.
    pub position: Position,
    /// Arrival in the stream, or the start of the run for a file.
    pub ingestion_time: ArrivalTime,
}
